"""Experiments out of an archive alone: what `results` writes, read with the methods of a store."""

from __future__ import annotations

import heapq
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

from optml_queue import summary
from optml_queue.archive import Archive
from optml_queue.budget import Budget
from optml_queue.driver import Goal
from optml_queue.errors import ArchiveError, NotFoundError
from optml_queue.store.experiment import Experiment, ExperimentState
from optml_queue.store.records import WorkerInfo
from optml_queue.trial import TERMINAL_STATES, Attempt, Trial, TrialState

_PART_KEY = re.compile(r"/parts/(\d+)-(\d+)-[0-9a-f]+\.jsonl")
_NUMBER = re.compile(rb'\{"number":(\d+),')  # how a line begins; see Trial.to_json


def record_key(experiment: str) -> str:
    """Where an experiment's own record lies."""
    return f"{experiment}/experiment.json"


def record_to_dict(record: Experiment) -> dict[str, Any]:
    """An experiment's record as the archive keeps it."""
    named = {each.name: getattr(record, each.name) for each in fields(record)}
    return named | {"budget": record.budget.to_dict()}


def record_from_dict(document: Mapping[str, Any]) -> Experiment:
    """The record that `record_to_dict` made. Fields that this version does not know are left out."""
    known = {each.name for each in fields(Experiment)}
    given = {name: value for name, value in dict(document).items() if name in known}
    counts = {state: int(given["counts"].get(state, 0)) for state in TrialState}
    budget = Budget.from_dict(given.get("budget", {}))
    return Experiment(**(given | {"state": ExperimentState(given["state"]), "counts": counts, "budget": budget}))


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
        return self.archive.exists(record_key(experiment))

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
        key = record_key(experiment)
        try:
            document = self.archive.get(key)
        except ArchiveError:
            self.resolve(experiment)  # raises NotFoundError when the document is missing
            document = self.archive.get(key)  # it came in this very moment, or cannot be read
        try:
            return record_from_dict(json.loads(document))
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
