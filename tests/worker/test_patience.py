"""A store that is away is waited for."""

import pytest

from optml_queue.errors import UnreachableError
from optml_queue.worker.patience import LONGEST_PAUSE_S, patiently


def test_a_call_is_repeated_until_it_is_answered() -> None:
    pauses: list[float] = []

    def call() -> str:
        if len(pauses) < 9:
            raise UnreachableError("the store", "redis://:secret@host:6379/0", "gone")
        return "answer"

    assert patiently(call, "the result", pauses.append) == "answer"
    assert pauses == sorted(pauses)
    assert len(pauses) == 9
    assert max(pauses) == LONGEST_PAUSE_S


def test_other_errors_are_not_waited_out() -> None:
    def call() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        patiently(call, "the result", lambda _: pytest.fail("waited"))
