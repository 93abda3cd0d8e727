"""From the store to the archive, and back from an archive alone.

While an experiment runs, what finished goes into immutable parts, `parts/<first>-<last>-<digest>.jsonl`; first and
last are positions in the log of finished trials. At its end, `consolidate` writes the final files in the order
of numbers. Both can be repeated, and done by two processes at once, without harm.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
import re
import sqlite3
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from optml_queue import summary
from optml_queue.archive import Archive
from optml_queue.budget import Budget
from optml_queue.driver import Goal
from optml_queue.errors import ArchiveError, NotFoundError
from optml_queue.export import Spool, utc, write_csv, write_jsonl
from optml_queue.pareto import front
from optml_queue.provenance import surroundings
from optml_queue.spec import Spec
from optml_queue.store.experiment import Experiment, ExperimentState
from optml_queue.store.records import WorkerInfo
from optml_queue.trial import TERMINAL_STATES, Attempt, Trial, TrialState, encode

PART_LENGTH = 1_000  # entries of the log in one part
TELLING = 20  # complete trials before the archive says which parameter matters: Optuna takes half a second to import
TELLING_MAX = 5_000  # finished trials up to which it does: about two seconds
_PART_KEY = re.compile(r"/parts/(\d+)-(\d+)-[0-9a-f]+\.jsonl")
_NUMBER = re.compile(rb'\{"number":(\d+),')  # how a line begins; see Trial.to_json
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


# Writing


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
    _put_json(archive, _record_key(experiment.id), _experiment_document(experiment))


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
    names = [metric.name for metric in spec.metrics]
    return {"metrics": names, "front": [trial.number for trial in front(trials, spec.metrics)]}


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


# The experiment's record


def _experiment_document(record: Experiment) -> dict[str, Any]:
    named = {each.name: getattr(record, each.name) for each in fields(record)}
    return named | {"budget": record.budget.to_dict()}


def _experiment_from(document: Mapping[str, Any]) -> Experiment:
    """Fields that this version does not know are left out; those of a later one may be missing."""
    known = {each.name for each in fields(Experiment)}
    given = {name: value for name, value in dict(document).items() if name in known}
    counts = {state: int(given["counts"].get(state, 0)) for state in TrialState}
    budget = Budget.from_dict(given.get("budget", {}))
    return Experiment(**(given | {"state": ExperimentState(given["state"]), "counts": counts, "budget": budget}))


# Reading


class ArchiveSource:
    """Experiments out of an archive alone, with the reading methods of a store.

    A consolidated experiment is read from its results.jsonl and the parts written since (it may have been
    reopened), one that is not from its parts. The last record of a trial wins.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def experiments(self) -> list[Experiment]:
        """All experiments, the newest first."""
        found = [self.experiment(each) for each in self.ids()]
        return sorted(found, key=lambda record: (record.created_at, record.id), reverse=True)

    def experiment(self, experiment: str) -> Experiment:
        """Raises NotFoundError.

        Of one that was running when its archive ended, the counts are those of the trials that are there.
        """
        record = self._record(experiment)
        if record.consolidated >= 0 and not self._parts(record):
            return record
        counts = Counter(dict.fromkeys(TrialState, 0))
        counts.update(trial.state for trial in self.stream(experiment))
        created = max(record.created, counts.total())
        return replace(record, counts=counts, created=created, published=0)

    def record(self, experiment: str) -> Experiment:
        """The experiment as it was put down last. Raises NotFoundError."""
        return self._record(experiment)

    def has(self, experiment: str) -> bool:
        """Whether the archive has an experiment of this id."""
        return self.archive.exists(_record_key(experiment))

    def news(self, record: Experiment) -> list[str]:
        """The keys of parts with trials that the final files do not cover."""
        return self._parts(record)

    def folders(self) -> list[str]:
        """The names of what may be experiments: `has` tells."""
        return [name for name in self.archive.children() if name not in ("data", "programs", "earlier")]

    def log_length(self, experiment: str) -> int:
        """How many entries of the log of finished trials the archive knows of."""
        record = self._record(experiment)
        spans = (part for key in self.archive.keys(f"{experiment}/parts") if (part := _PART_KEY.search(key)))
        return max([record.finished, *(int(part[2]) + 1 for part in spans)])

    def all_attempts(self, experiment: str) -> Iterator[tuple[int, Attempt]]:
        """Every attempt that ended without a result, with its trial's number, in the order of numbers."""
        key = f"{experiment}/attempts.jsonl"
        if not self.archive.exists(key):
            return
        with self.archive.open(key) as file:
            for document in map(json.loads, file):
                yield document.pop("number"), Attempt(**document)

    def resolve(self, text: str) -> str:
        """The id meant by `text`: an id, or `latest`. Raises NotFoundError, naming the ids that are near."""
        ids = self.ids()
        if text in ids:
            return text
        if text == "latest" and ids:
            return max((self._record(each) for each in ids), key=lambda record: record.created_at).id
        near = get_close_matches(text, ids, 3, 0.4) or [each for each in ids if each.startswith(text)][:3]
        advice = f"did you mean {', '.join(near)}?" if near else "`optml ls` shows those there are"
        raise NotFoundError(f"the archive {self.archive.url} has no experiment {text!r}; {advice}")

    def stream(self, experiment: str) -> Iterator[Trial]:
        """Every trial there is, in the order of numbers, in constant memory."""
        record = self._record(experiment)
        documents = self._documents(record)
        if len(documents) == 1 and record.consolidated >= 0:
            return self._lines(documents[0])
        return self._merged(documents)

    def parts(self, experiment: str, start: int, stop: int) -> Iterator[Trial]:
        """The trials in the parts that hold entries `start` to `stop` (exclusive) of the log, the last ones last."""
        for first, last, key in self._spans(experiment):
            if first < stop and last >= start:
                yield from self._lines(key)

    def trials(self, experiment: str, numbers: Sequence[int]) -> list[Trial]:
        """The trials of those numbers that exist, in the order asked for."""
        wanted = frozenset(numbers)
        found: dict[int, Trial] = {}
        for key in self._documents(self._record(experiment)):
            found.update((trial.number, trial) for trial in self._lines(key, wanted))
        return [found[number] for number in numbers if number in found]

    def page(self, experiment: str, state: TrialState | None = None, offset: int = 0, limit: int = 100) -> list[Trial]:
        """Trials `offset` to `offset + limit` by number; complete ones, when asked for alone, best first."""
        if state is TrialState.COMPLETE:
            return self.best(experiment, offset + limit)[offset:]
        trials = (trial for trial in self.stream(experiment) if state in (None, trial.state))
        return list(islice(trials, offset, offset + limit))

    def best(self, experiment: str, limit: int = 1) -> list[Trial]:
        """The complete trials with the best metric, the best first."""
        record = self._record(experiment)
        return summary.top(self.stream(experiment), record.metric, Goal(record.goal), limit)

    def finished(self, experiment: str, start: int, stop: int) -> list[Trial]:
        """Entries `start` to `stop` (exclusive) of the trials that ended, in the order of ending."""
        ended = (trial for trial in self.stream(experiment) if trial.state in TERMINAL_STATES)
        return heapq.nsmallest(stop, ended, key=lambda trial: (trial.finished_at or 0.0, trial.number))[start:]

    def attempts(self, experiment: str, number: int) -> list[Attempt]:
        """The attempts of a trial that ended without a result, the first one first."""
        self._record(experiment)
        return [attempt for of, attempt in self.all_attempts(experiment) if of == number]

    def recoveries(self, experiment: str) -> list[float]:
        """Seconds from the loss of each attempt to the begin of the next, by the trials' numbers."""
        by_trial: dict[int, list[Attempt]] = {}
        for number, attempt in self.all_attempts(experiment):
            by_trial.setdefault(number, []).append(attempt)
        found = []
        for trial in self.trials(experiment, [n for n in by_trial if any(a.reason == "lost" for a in by_trial[n])]):
            ended = by_trial[trial.number]
            begins = [*(attempt.started_at for attempt in ended[1:]), trial.started_at]
            pairs = zip(ended, begins, strict=True)
            found += [begun - a.ended_at for a, begun in pairs if a.reason == "lost" and begun and begun >= a.ended_at]
        return found

    def logs(self, experiment: str, number: int, start: int = 0) -> list[str]:
        """The lines kept with a trial, from line `start` on."""
        self._record(experiment)
        key = f"{experiment}/logs/{number}.txt"
        if not self.archive.exists(key):
            return []
        return self.archive.get(key).decode().split("\n")[:-1][start:]

    def workers(self) -> list[WorkerInfo]:
        """None: nobody works for an archive."""
        return []

    def ids(self) -> list[str]:
        """The ids of all experiments, in alphabetical order."""
        return [each for each in self.folders() if self.has(each)]

    def _record(self, experiment: str) -> Experiment:
        key = _record_key(experiment)
        try:
            document = self.archive.get(key)
        except ArchiveError:
            self.resolve(experiment)  # raises NotFoundError when the document is missing
            document = self.archive.get(key)  # it came in this very moment, or cannot be read
        try:
            return _experiment_from(json.loads(document))
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"the archive {self.archive.url}: {key} is no experiment's record: {error}") from error

    def _documents(self, record: Experiment) -> list[str]:
        """What has trials of an experiment; of two records of one trial, the later one holds."""
        final = [f"{record.id}/results.jsonl"] if record.consolidated >= 0 else []
        return final + self._parts(record)

    def _parts(self, record: Experiment) -> list[str]:
        """The parts that hold entries of the log which the final files do not cover, in the log's order."""
        return [key for _, last, key in self._spans(record.id) if last >= record.consolidated]

    def _spans(self, experiment: str) -> list[tuple[int, int, str]]:
        """The first and the last entry of the log in each part, and its key."""
        keys = self.archive.keys(f"{experiment}/parts")
        return sorted((int(part[1]), int(part[2]), key) for key in keys if (part := _PART_KEY.search(key)))

    def _lines(self, key: str, wanted: Container[int] | None = None) -> Iterator[Trial]:
        """The trials in a document, or the wanted ones: the others are passed over without decoding them."""
        with self.archive.open(key) as file:
            for line_number, line in enumerate(file, start=1):
                number = _NUMBER.match(line)
                if wanted is None or number is None or int(number[1]) in wanted:
                    yield self._trial(line, key, line_number)

    def _trial(self, line: bytes, key: str, line_number: int) -> Trial:
        try:
            return Trial.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(
                f"the archive {self.archive.url}: {key}, line {line_number} is no trial's record: {error}"
            ) from error

    def _merged(self, documents: Sequence[str]) -> Iterator[Trial]:
        """The last record of each trial by number, through a temporary database that the system removes."""
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            database.execute("BEGIN")
            database.execute("CREATE TABLE trials (number INTEGER PRIMARY KEY, record TEXT NOT NULL)")
            for key in documents:
                rows = ((trial.number, trial.to_json()) for trial in self._lines(key))
                database.executemany("INSERT OR REPLACE INTO trials VALUES (?, ?)", rows)
            for (record,) in database.execute("SELECT record FROM trials ORDER BY number"):
                yield Trial.from_json(record)


def _record_key(experiment: str) -> str:
    return f"{experiment}/experiment.json"
