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


def test_a_kill_is_taken_for_want_of_memory_only_where_the_kernel_counted_one() -> None:
    killed = "Worker exited prematurely: signal 9 (SIGKILL) Job: 0."
    told = (Reason.OUT_OF_MEMORY, "was killed by the kernel: out of memory")
    assert reason_of(killed, ran_out_of_memory=True) == told
    crashed = "Worker exited prematurely: signal 11 (SIGSEGV) Job: 0."
    assert reason_of(crashed, ran_out_of_memory=True) == (Reason.CRASHED, "crashed (SIGSEGV)")
