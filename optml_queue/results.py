"""From the store to the archive; `archive_source` reads what is written here.

While an experiment runs, what finished goes into immutable parts, `parts/<first>-<last>-<digest>.jsonl`; first and
last are positions in the log of finished trials. At its end, `consolidate` writes the final files in the order
of numbers. Both can be repeated, and done by two processes at once, without harm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from optml_queue import summary
from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource, record_key, record_to_dict
from optml_queue.driver import Goal
from optml_queue.errors import NotFoundError
from optml_queue.export import Spool, utc, write_csv, write_jsonl
from optml_queue.pareto import front
from optml_queue.provenance import surroundings
from optml_queue.spec import Spec
from optml_queue.store.experiment import Experiment, ExperimentState
from optml_queue.trial import Attempt, Trial, TrialState, encode

PART_LENGTH = 1_000  # entries of the log in one part
TELLING = 20  # complete trials before the archive says which parameter matters: Optuna takes half a second to import
TELLING_MAX = 5_000  # finished trials up to which it does: about two seconds
_LOG_BATCH = 256
_LOG_WRITERS = 8
_CLEAN_ENDS = frozenset({TrialState.COMPLETE, TrialState.DIVERGED, TrialState.STOPPED_EARLY})

logger = logging.getLogger(__name__)


class ReadableStore(Protocol):
    """The part of a store that archiving needs."""

    def experiment(self, experiment: str, /) -> Experiment: ...

    def finished(self, experiment: str, start: int, stop: int, /) -> Sequence[Trial]: ...

    def stream(self, experiment: str, /) -> Iterator[Trial]: ...

    def attempts(self, experiment: str, number: int, /) -> Sequence[Attempt]: ...

    def logged(self, experiment: str, /) -> Iterable[int]: ...

    def logs(self, experiment: str, number: int, /) -> Sequence[str]: ...

    def set_archived(self, experiment: str, position: int, /, *, if_was: int) -> bool: ...

    def set_consolidated(self, experiment: str, finished: int, /, *, if_was: int) -> bool: ...


def write_opening(archive: Archive, experiment: Experiment) -> None:
    """Put down at submission all that resuming would need if the store were lost."""
    _put_json(archive, _provenance_key(experiment.id), _provenance(experiment, {"submitted_by": surroundings()}))
    _put_record(archive, experiment)


def write_extension(archive: Archive, experiment: Experiment) -> None:
    """Put down a spec that an experiment is about to go on with. What the archive has of its results stays valid."""
    try:
        consolidated = ArchiveSource(archive).record(experiment.id).consolidated
    except NotFoundError:
        consolidated = -1
    state = ExperimentState.RUNNING if experiment.is_over else experiment.state
    _put_record(archive, replace(experiment, state=state, reason="", finished_at=None, consolidated=consolidated))


def _put_record(archive: Archive, experiment: Experiment) -> None:
    archive.put(f"{experiment.id}/spec.yaml", Spec.from_json(experiment.spec).to_yaml().encode())
    _put_json(archive, record_key(experiment.id), record_to_dict(experiment))


def write_parts(store: ReadableStore, archive: Archive, experiment: str, *, force: bool = False) -> int:
    """Archive what finished since the last part; returns how many trials were written.

    A part holds 1,000 entries of the log; `force` writes the last, shorter one too. Should two processes write
    the same entries, the parts agree and one of the two ends here.
    """
    record = store.experiment(experiment)
    position, written = record.archived, 0
    while position < record.finished:
        stop = min(position + PART_LENGTH, record.finished)
        if stop - position < PART_LENGTH and not force:
            break
        written += _write_part(archive, experiment, position, stop, store.finished(experiment, position, stop))
        if not store.set_archived(experiment, stop, if_was=position):
            break
        position = stop
    return written


def consolidate(store: ReadableStore, archive: Archive, experiment: str) -> None:
    """Write the final files as of now, and note in the store how much of the log they cover.

    The trials are read once, into a temporary file, so the files agree with each other. `experiment.json`, by
    which an archive is read, comes last.
    """
    record = store.experiment(experiment)
    tally = summary.Tally(record.metric, Goal(record.goal))
    suspects = array("q")
    spec = Spec.from_json(record.spec)
    parameters = [axis.name for axis in spec.space.axes]
    with Spool(_noted(store.stream(experiment), tally, suspects), parameters, [record.metric]) as spool:
        _put_results(archive, experiment, spool)
        _put_plots(archive, record, spec, spool)
        more = _front(spec, spool) | _importance(record, spec, spool)
    _put_attempts(store, archive, experiment, suspects)
    _put_logs(store, archive, experiment)
    _put_json(archive, f"{experiment}/summary.json", _summary(record, tally) | more)
    _put_provenance(archive, record)
    _put_record(archive, replace(record, consolidated=record.finished))
    store.set_consolidated(experiment, record.finished, if_was=record.consolidated)


def _write_part(archive: Archive, experiment: str, first: int, stop: int, trials: Sequence[Trial]) -> int:
    if not trials:  # all of them were reopened since, and will come again
        return 0
    body = "".join(f"{trial.to_json()}\n" for trial in trials).encode()
    digest = hashlib.sha256(body).hexdigest()[:16]
    archive.put(f"{experiment}/parts/{first:010d}-{stop - 1:010d}-{digest}.jsonl", body)
    return len(trials)


def _noted(trials: Iterable[Trial], tally: summary.Tally, suspects: MutableSequence[int]) -> Iterator[Trial]:
    """Pass trials on, counted, and the numbers noted of those that may have had attempts without a result."""
    for trial in trials:
        tally.add(trial)
        if trial.attempts > 1 or (trial.attempts == 1 and trial.state not in _CLEAN_ENDS):
            suspects.append(trial.number)
        yield trial


def _put_results(archive: Archive, experiment: str, spool: Spool) -> None:
    with _document(archive, f"{experiment}/results.jsonl") as out:
        write_jsonl(spool, out)
    with _document(archive, f"{experiment}/results.csv") as out:
        write_csv(spool, out)


def _put_attempts(store: ReadableStore, archive: Archive, experiment: str, numbers: Iterable[int]) -> None:
    """Write the attempts of these trials that ended without a result, if there are any."""
    lines = (
        encode({"number": number, **asdict(attempt)}) + "\n"
        for number in numbers
        for attempt in store.attempts(experiment, number)
    )
    first = next(lines, None)
    if first is None:
        return
    with _document(archive, f"{experiment}/attempts.jsonl") as out:
        out.writelines(line.encode() for line in chain([first], lines))


def _put_logs(store: ReadableStore, archive: Archive, experiment: str) -> None:
    def put(number: int) -> None:
        text = "".join(f"{line}\n" for line in store.logs(experiment, number))
        archive.put(f"{experiment}/logs/{number}.txt", text.encode(errors="backslashreplace"))

    numbers = iter(store.logged(experiment))
    with ThreadPoolExecutor(_LOG_WRITERS) as pool:
        while batch := list(islice(numbers, _LOG_BATCH)):
            list(pool.map(put, batch))


def _put_plots(archive: Archive, record: Experiment, spec: Spec, spool: Spool) -> None:
    # matplotlib takes half a second to import; nobody who only reads should pay for it.
    from optml_queue.plots import contour_plot, error_plot, pareto_plot

    judged = (record.metric, Goal(record.goal), record.id)
    pictures: dict[str, Callable[[], bytes | None]] = {
        "error": lambda: error_plot(spool, spool.columns.parameters, *judged),
        "contour": lambda: contour_plot(spool, spool.columns.parameters, *judged),
    }
    if spec.other_metrics:
        pictures["pareto"] = lambda: pareto_plot(spool, spec.metrics, record.id)
    for name, draw in pictures.items():
        try:
            image = draw()
        except Exception:
            # A figure is a convenience: whatever is odd about the data, the results must reach the archive.
            logger.exception("no %s.png for %s", name, record.id)
            continue
        if image is not None:
            archive.put(f"{record.id}/{name}.png", image)


def _summary(record: Experiment, tally: summary.Tally) -> dict[str, Any]:
    return {
        "experiment": record.id,
        "name": record.name,
        "state": record.state,
        "reason": record.reason,
        "created_at": utc(record.created_at),
        "finished_at": utc(record.finished_at),
        "archived_at": utc(time.time()),
        "log_position": record.finished,
        **tally.summary(),
    }


def _front(spec: Spec, trials: Iterable[Trial]) -> dict[str, Any]:
    """The numbers of the trials on the Pareto front, where there are several metrics."""
    if not spec.other_metrics:
        return {}
    return {"metrics": spec.metric_names, "front": [trial.number for trial in front(trials, spec.metrics)]}


def _importance(record: Experiment, spec: Spec, trials: Iterable[Trial]) -> dict[str, Any]:
    """How much each parameter matters, where Optuna is installed, several vary, and trials are neither few nor many."""
    varied = [axis for axis in spec.space.axes if axis.size != 1]
    is_worth_it = record.counts[TrialState.COMPLETE] >= TELLING and record.finished <= TELLING_MAX
    if len(varied) < 2 or not is_worth_it or find_spec("optuna") is None:
        return {}
    from optml_queue.study import importance

    try:
        found = importance(trials, spec)
    except Exception:
        # As with the figure: what Optuna cannot tell must not keep results from the archive.
        logger.exception("no importance for %s", record.id)
        return {}
    return {"importance": dict(found)} if found else {}


def _provenance_key(experiment: str) -> str:
    return f"{experiment}/provenance.json"


def _put_provenance(archive: Archive, record: Experiment) -> None:
    """Add to what is known of the submission who wrote the final files."""
    key = _provenance_key(record.id)
    opening = json.loads(archive.get(key)) if archive.exists(key) else {}
    submitted_by = {"submitted_by": opening["submitted_by"]} if "submitted_by" in opening else {}
    _put_json(archive, key, _provenance(record, {**submitted_by, "archived_by": surroundings()}))


def _provenance(record: Experiment, processes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "experiment": record.id,
        "submission": dict(record.facts),
        **processes,
        "spec": json.loads(record.spec),
    }


def _put_json(archive: Archive, key: str, document: Mapping[str, Any]) -> None:
    archive.put(key, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _document(archive: Archive, key: str) -> Iterator[BinaryIO]:
    """A file that is put under `key` when the block ends without an error."""
    with tempfile.TemporaryDirectory(prefix="optml-") as folder:
        path = Path(folder) / "document"
        with path.open("wb") as file:
            yield file
        archive.put_file(key, path)
