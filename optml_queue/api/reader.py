"""Where the trials of an experiment are read from: the store, or for what it has forgotten, the archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from optml_queue.trial import Attempt, Trial, TrialState


class Reader(Protocol):
    """The reading methods of `Store` that routes need."""

    def trials(self, experiment: str, numbers: Sequence[int], /) -> list[Trial]: ...

    def page(
        self, experiment: str, /, state: TrialState | None = None, offset: int = 0, limit: int = 100
    ) -> list[Trial]: ...

    def best(self, experiment: str, /, limit: int = 1) -> list[Trial]: ...

    def finished(self, experiment: str, start: int, stop: int, /) -> list[Trial]: ...

    def stream(self, experiment: str, /) -> Iterator[Trial]: ...

    def attempts(self, experiment: str, number: int, /) -> Sequence[Attempt]: ...

    def curve(self, experiment: str, number: int, /) -> dict[int, float]: ...

    def logs(self, experiment: str, number: int, /, start: int = 0) -> list[str]: ...

    def live_workers(self, resource_class: str, /) -> int: ...
