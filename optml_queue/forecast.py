"""What a spec would take over from earlier experiments if it were submitted now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from optml_queue.archive.dataset import download
from optml_queue.data import file_digest, find_file
from optml_queue.earlier import Earlier, TooManyTrialsError
from optml_queue.pack import digest_of, pack
from optml_queue.reuse import Results, looked_up
from optml_queue.search import segments
from optml_queue.spec import Algorithm, Spec
from optml_queue.spec.prior import Reuse, StartFrom
from optml_queue.starting import start_of

LOOKED_UP_MAX = 100_000  # trials
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """`trials` is how many would take a result over; None where the plan does not tell, or has too many to look up.

    `unread` are the keys of the spec for which too many earlier trials would have to be read.
    """

    start_from: StartFrom | None = None
    reuse: Reuse | None = None
    trials: int | None = None
    unread: tuple[str, ...] = ()

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


def forecast_of(spec: Spec, earlier: Earlier, cache_dir: Path, looked_up_max: int = LOOKED_UP_MAX) -> Forecast:
    """What the spec would take over of earlier experiments. Raises SpecError as submitting it would."""
    found = Forecast()
    if spec.start_from is not None:
        try:
            found = replace(found, start_from=start_of(earlier, spec)[0])
        except TooManyTrialsError:
            found = replace(found, unread=("start_from",))
    if spec.reuse is None:
        return found
    try:
        reuse, results = looked_up(earlier, with_digests(spec, cache_dir))
    except TooManyTrialsError:
        return replace(found, unread=(*found.unread, "reuse"))
    return replace(found, reuse=reuse, trials=_trials(spec, results, looked_up_max) if results else 0)


def with_digests(spec: Spec, cache_dir: Path) -> Spec:
    """The spec with the digests that its data and code would have in an archive; nothing is put there.

    What has to be downloaded for it stays in `cache_dir`. Raises DataError and DriverError.
    """
    data, code = spec.data, spec.code
    if data is not None and not data.digest:
        path = find_file(data, partial(download, cache_dir=cache_dir), cache_dir)
        data = data if path is None else replace(data, digest=file_digest(path))
    if not isinstance(code, Algorithm) and code.source and not code.digest:
        code = code.packed(digest_of(pack(Path(code.source))))
    return replace(spec, data=data, code=code)


def _trials(spec: Spec, results: Results, looked_up_max: int) -> int | None:
    """How many trials of the plan have a result."""
    plan = segments(spec)
    if plan.learns or plan.count(looked_up_max)[0] > looked_up_max:
        return None
    trials = [(params, seed) for _number, params, seed in plan]
    batches = (trials[i : i + _BATCH] for i in range(0, len(trials), _BATCH))
    return sum(found is not None for batch in batches for found in results.find_all(batch))
