"""What workers take for a trial's message, and how an attempt is fenced."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.publish import TrialMessage
from optml_queue.trial import Params
from optml_queue.worker.message import TrialCall, read_message, token_of

EXPERIMENTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)
COUNTS = st.integers(0, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(JSON, max_size=4), st.dictionaries(st.sampled_from(["generation", "more", "x"]), JSON, max_size=2))
def test_no_arguments_raise(args: list[Any], kwargs: dict[str, Any]) -> None:
    call = read_message(args, kwargs)
    assert call is None or (isinstance(call.experiment, str) and call.number >= 0)


@given(EXPERIMENTS, COUNTS, COUNTS)
def test_a_trials_arguments_are_read(experiment: str, number: int, generation: int) -> None:
    params: Params = {"rate": 0.1}
    call = read_message([experiment, number, params], {"generation": generation})
    assert call == TrialCall(experiment, number, params, generation)


@given(EXPERIMENTS, st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=5, unique_by=lambda each: each[0]))
def test_more_trials_come_after_the_first(experiment: str, trials: list[tuple[int, int]]) -> None:
    (number, generation), *more = trials
    call = read_message([experiment, number, {}], {"generation": generation, "more": [list(each) for each in more]})
    assert call is not None
    assert call.trials == tuple(trials)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {"generation": 1}),
        (["e", 0, {}], {}),
        (["e", 0, {}, 1], {"generation": 1}),
        (["", 0, {}], {"generation": 1}),
        (["e" * 101, 0, {}], {"generation": 1}),
        (["e", 2**53, {}], {"generation": 1}),
        (["e", False, {}], {"generation": 1}),
        (["e", 0.0, {}], {"generation": 1}),
        (["e", 0, {"x": "y" * 65_536}], {"generation": 1}),
        (["e", 0, {}], {"generation": True}),
        (["e", 0, {}], {"generation": 1, "more": 3}),
        (["e", 0, {}], {"generation": 1, "more": [[1]]}),
        (["e", 0, {}], {"generation": 1, "more": [[1, "2"]]}),
        (["e", 0, {}], {"generation": 1, "more": [[0, 2]]}),
        (["e", 0, {}], {"generation": 1, "more": [[1, 2], [1, 3]]}),
        (["e", 0, {}], {"generation": 1, "more": [[n, n] for n in range(1, 502)]}),
    ],
)
def test_what_is_not_a_trials_is_declined(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert read_message(args, kwargs) is None


@given(EXPERIMENTS, COUNTS, COUNTS)
def test_a_task_id_tells_its_trial(experiment: str, number: int, generation: int) -> None:
    message = TrialMessage(experiment, number, generation)
    assert TrialMessage.parse(str(message)) == message


@pytest.mark.parametrize("task_id", ["", "e", "e.1", ".1.2", "e.1.x", "e.-1.2", "e.1.²", "e.1." + "9" * 30])
def test_other_task_ids_are_nobodys(task_id: str) -> None:
    assert TrialMessage.parse(task_id) is None


def test_a_token_tells_deliveries_workers_and_processes_apart() -> None:
    tokens = {token_of(tag, worker, pid) for tag in "ab" for worker in ("w@h", "v@h") for pid in (1, 2)}
    assert len(tokens) == 8
    assert token_of("a", "w@h", 1) == token_of("a", "w@h", 1)
