"""The pool of child processes."""

from __future__ import annotations

from typing import Any

from optml_queue.worker.pool import ChildProcesses


class Hub:
    """Keeps what it is to call."""

    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_soon(self, callback: Any) -> None:
        self.later.append(callback)


class Pool(ChildProcesses):
    """A pool without processes, that notes what it is asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __del__(self) -> None:
        """There is nothing to end."""

    def _untrack_child_process(self, _process: Any, _hub: Any) -> None:
        self.done.append("untracked")

    def maintain_pool(self) -> None:
        self.done.append("maintained")


def test_a_dead_child_is_replaced_after_the_events_that_came_with_its_death() -> None:
    pool, hub = Pool(), Hub()
    pool._event_process_exit(hub, object())
    assert pool.done == ["untracked"], "its number must not go to another child while events for it are handled"
    for callback in hub.later:
        callback()
    assert pool.done == ["untracked", "maintained"]
