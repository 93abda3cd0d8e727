"""What a spec would take over from earlier experiments if it were submitted now."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optml_queue.cli import units
from optml_queue.spec.prior import Reuse, StartFrom

if TYPE_CHECKING:
    from optml_queue.earlier import Earlier
    from optml_queue.spec import Spec

LOOKED_UP_MAX = 100_000  # trials


@dataclass(frozen=True, slots=True)
class Forecast:
    """`trials` is how many would take a result over; None where the plan does not tell, or has too many to look up."""

    start_from: StartFrom | None = None
    reuse: Reuse | None = None
    trials: int | None = None

    def document(self) -> dict[str, Any]:
        """The forecast as JSON; empty where the spec takes nothing over."""
        sources = [] if self.start_from is None else [source.to_dict() for source in self.start_from.sources]
        found: dict[str, Any] = {"start_from": sources} if sources else {}
        if self.reuse is not None:
            found["reuse"] = {
                "results": self.reuse.results,
                "experiments": self.reuse.experiments,
                "trials": self.trials,
            }
        return found

    def lines(self) -> list[str]:
        """The forecast in words."""
        from optml_queue.starting import source_line

        lines = [f"starts from {source_line(source)}" for source in self.start_from.sources] if self.start_from else []
        return [*lines, f"reuses {self._reused(self.reuse)}"] if self.reuse is not None else lines

    def _reused(self, reuse: Reuse) -> str:
        if not reuse.results:
            return "nothing: no earlier experiment has a result of the same code and data"
        there = f"{units.counted(reuse.results, 'result')} of {units.counted(reuse.experiments, 'earlier experiment')}"
        if self.trials is None:
            return f"what it comes to of {there} with the same code and data"
        return f"the results of {units.counted(self.trials, 'trial')}, of {there} with the same code and data"


NOTHING = Forecast()


def forecast(spec: Spec, results: Path | None) -> Forecast:
    """What the spec would take over. Starts nothing: without a cluster, it looks into the archive alone."""
    if spec.start_from is None and spec.reuse is None:
        return NOTHING
    with earlier_experiments(results) as earlier:
        return forecast_of(spec, earlier)


def forecast_of(spec: Spec, earlier: Earlier) -> Forecast:
    """What the spec would take over of earlier experiments. Raises InputError as submitting it would."""
    from optml_queue.reuse import listed
    from optml_queue.starting import start_of

    found = NOTHING
    if spec.start_from is not None:
        found = replace(found, start_from=start_of(earlier, spec)[0])
    if spec.reuse is None:
        return found
    with tempfile.TemporaryDirectory(prefix="optml-") as folder:
        path = Path(folder) / "results"
        reuse = listed(earlier, digested(spec, Path(folder)), "", path)
        return replace(found, reuse=reuse, trials=_trials(spec, path) if reuse.results else 0)


def _trials(spec: Spec, path: Path) -> int | None:
    """How many trials of the plan have a result in the list."""
    from optml_queue.reuse import Results
    from optml_queue.search import segments

    plan = segments(spec)
    if plan.learns or plan.count(LOOKED_UP_MAX)[0] > LOOKED_UP_MAX:
        return None
    results = Results(path.open("rb"))
    return sum(results.find(params, seed) is not None for _number, params, seed in plan)


def digested(spec: Spec, folder: Path) -> Spec:
    """The spec with the digests that its code and data would have in an archive; the folder takes them up."""
    from optml_queue.archive import open_archive
    from optml_queue.experiments import with_files
    from optml_queue.settings import settings

    return with_files(open_archive(str(folder / "archive")), spec, settings().cache_dir)


@contextmanager
def earlier_experiments(results: Path | None) -> Iterator[Earlier]:
    """Where earlier experiments are found: in the cluster's store and archive; without one, in the archive alone."""
    from optml_queue.archive import open_archive
    from optml_queue.cli.connection import documents, steering
    from optml_queue.earlier import Earlier
    from optml_queue.settings import settings

    if results is None and not settings().is_embedded:
        with steering() as connection:
            yield Earlier(open_archive(connection.archive_url), connection.store)
        return
    yield Earlier(documents(results))
