"""What a spec would take over from earlier experiments, told before it is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from optml_queue.cli import units

if TYPE_CHECKING:
    from optml_queue.earlier import Earlier
    from optml_queue.forecast import Forecast
    from optml_queue.spec import Spec
    from optml_queue.spec.prior import Reuse


def forecast(spec: Spec, results: Path | None) -> Forecast | None:
    """What the spec would take over, if anything. Starts nothing: without a cluster, only the archive is looked at."""
    if spec.start_from is None and spec.reuse is None:
        return None
    from optml_queue.forecast import forecast_of
    from optml_queue.settings import settings

    with earlier_experiments(results) as earlier:
        return forecast_of(spec, earlier, settings().cache_dir)


def forecast_lines(found: Forecast) -> list[str]:
    """A forecast in words."""
    from optml_queue.starting import source_line

    lines = [f"starts from {source_line(source)}" for source in found.start_from.sources] if found.start_from else []
    return [*lines, f"reuses {_reused(found.reuse, found.trials)}"] if found.reuse is not None else lines


def _reused(reuse: Reuse, trials: int | None) -> str:
    if not reuse.results:
        return "nothing: no earlier experiment has a result of the same code and data"
    there = f"{units.counted(reuse.results, 'result')} of {units.counted(reuse.experiments, 'earlier experiment')}"
    if trials is None:
        return f"what it comes to of {there} with the same code and data"
    return f"the results of {units.counted(trials, 'trial')}, of {there} with the same code and data"


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
