"""What a run without a queue takes over from earlier experiments: read now, kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optml_queue.cli.forecast import earlier_experiments
from optml_queue.cli.submit import taken_over
from optml_queue.search.start import NO_START, Start

if TYPE_CHECKING:
    from optml_queue.earlier import Earlier
    from optml_queue.reuse import Results
    from optml_queue.spec import Spec
    from optml_queue.store import ReusedResult
    from optml_queue.trial import Params


@dataclass(frozen=True, slots=True)
class EarlierResults:
    """What was found; `said` says so in words. A `Prior` of the runner."""

    earlier: Earlier
    start: Start = NO_START
    results: Results | None = None
    said: tuple[str, ...] = ()

    def find(self, params: Params, seed: int, /) -> ReusedResult | None:
        return None if self.results is None else self.results.find(params, seed)

    def curve(self, experiment: str, number: int, /) -> Mapping[int, float]:
        return self.earlier.curve(experiment, number)


@contextmanager
def earlier_results(spec: Spec, results: Path | None) -> Iterator[EarlierResults | None]:
    """What a spec takes over; None where it wants nothing. Raises InputError as submitting it would."""
    if spec.start_from is None and spec.reuse is None:
        yield None
        return
    with earlier_experiments(results) as earlier:
        yield _found(spec, earlier)


def _found(spec: Spec, earlier: Earlier) -> EarlierResults:
    from optml_queue.forecast import with_digests
    from optml_queue.reuse import looked_up
    from optml_queue.settings import settings
    from optml_queue.starting import start_of

    found = EarlierResults(earlier)
    if spec.start_from is not None:
        start, points = start_of(earlier, spec)
        spec, found = replace(spec, start_from=start), replace(found, start=Start(tuple(points)))
    if spec.reuse is not None:
        reuse, results = looked_up(earlier, with_digests(spec, settings().cache_dir))
        spec, found = replace(spec, reuse=reuse), replace(found, results=results)
    return replace(found, said=tuple(taken_over(spec)))
