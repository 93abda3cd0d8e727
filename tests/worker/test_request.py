"""Why a child died, in words."""

import pytest

from optml_queue.trial import Reason
from optml_queue.worker.request import reason_of


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL) Job: 0.", Reason.LOST, "was killed (SIGKILL): out of memory?"),
        ("Worker exited prematurely: signal 15 (SIGTERM) Job: 3.", Reason.LOST, "was ended (SIGTERM)"),
        ("Worker exited prematurely: signal 11 (SIGSEGV) Job: 0.", Reason.CRASHED, "crashed (SIGSEGV)"),
        ("Worker exited prematurely: signal 99 (None) Job: 0.", Reason.CRASHED, "crashed (signal 99)"),
        ("Worker exited prematurely: exitcode 3 Job: 0.", Reason.CRASHED, "exited with code 3"),
        ("gone", Reason.LOST, "ended"),
    ],
)
def test_a_death_is_told_by_its_signal_or_code(message: str, reason: Reason, said: str) -> None:
    assert reason_of(message) == (reason, said)
