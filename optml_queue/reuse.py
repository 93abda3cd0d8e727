"""Results of earlier experiments in place of trials that would be the same: `reuse: true`.

A result follows from code, data, metric, parameters and seed. At submission those that earlier experiments have for the
same code, data and metric are listed once, into a document of the archive; when the experiment's trials are reserved,
each is looked up there. So a trial is taken over or not whatever became of the earlier experiments, and every process
finds the same.

The document has a line for each result, in the order of keys: the SHA-256 of the parameters and the seed, a blank, and
the result. A look-up halves the lines that are left, in a memory map: it costs no memory, however many results there
are. Many are looked up together, those on either side of the one in the middle in the lines on its own side.
"""

from __future__ import annotations

import mmap
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from optml_queue.archive import Archive
from optml_queue.archive.earlier import keep, opened
from optml_queue.constraints import held_to
from optml_queue.data import SHIPPED
from optml_queue.driver import DURATION
from optml_queue.earlier import Earlier, EarlierExperiment
from optml_queue.errors import ArchiveError, OptmlError
from optml_queue.provenance import facts
from optml_queue.spec import Algorithm, Command, Spec
from optml_queue.spec.prior import Reuse
from optml_queue.store import NewTrial, ReusedResult
from optml_queue.trial import Params, Trial, TrialResult, TrialState, encode, fingerprint

RESULTS_MAX = 1_000_000  # listed for one experiment, those of the newest experiments: 250 MB
_OPEN = 8  # lists that a process keeps open


def identity_of(spec: Spec, told: Mapping[str, Any]) -> str:
    """What a result depends on besides parameters and seed, as text; "" when nobody can tell.

    `told` are the facts of the submission. The version of this package counts where its code or data are part of it.
    """
    if isinstance(spec.code, Command) and not spec.code.files:
        return ""
    code = {key: value for key, value in spec.code.to_dict().items() if key not in ("path", "files")}
    known = told.get(spec.code.kind, {}).get("digest", "")
    is_ours = isinstance(spec.code, Algorithm) or (spec.data is not None and spec.data.kind in SHIPPED)
    data = spec.data and spec.data.content_key
    version = told.get("optml_queue", "") if is_ours else ""
    return encode([code, known, data, version, spec.metric, spec.goal, spec.at]) if known else ""


def listed(earlier: Earlier, spec: Spec, without: str, path: Path) -> Reuse:
    """Write the results that trials of a spec may take over to a file, and say how many there are.

    The spec has the digests of its data and code. `without` is the experiment itself.
    """
    wanted = identity_of(spec, facts(spec))
    sources: dict[str, int] = {}
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a file that the system removes
        database.execute("BEGIN")
        database.execute("CREATE TABLE results (key TEXT PRIMARY KEY, line TEXT NOT NULL) WITHOUT ROWID")
        left = RESULTS_MAX
        same = [found for found in earlier.all() if wanted and _identity(found) == wanted]
        unruled = {found.record.id for found in same if Spec.from_json(found.record.spec).early_stopping is None}
        for found in same:
            if left and found.record.id != without:
                lines = islice(_lines(found, spec, unruled), left)
                added = database.executemany("INSERT OR IGNORE INTO results VALUES (?, ?)", lines).rowcount
                left -= added
                sources |= {found.record.id: added} if added > 0 else {}
        with path.open("wb") as file:
            rows = database.execute("SELECT key, line FROM results ORDER BY key")
            file.writelines(f"{key} {line}\n".encode() for key, line in rows)
    return Reuse(results=RESULTS_MAX - left, experiments=len(sources))


def keep_list(archive: Archive, earlier: Earlier, spec: Spec, without: str) -> Reuse:
    """List the results that trials of a spec may take over, in the archive."""
    with tempfile.TemporaryDirectory(prefix="optml-") as folder:
        path = Path(folder) / "results"
        found = listed(earlier, spec, without, path)
        return replace(found, digest=keep(archive, path)) if found.results else found


def looked_up(earlier: Earlier, spec: Spec) -> tuple[Reuse, Results | None]:
    """What trials of a spec may take over, to look them up here and now; no results where there are none."""
    with tempfile.TemporaryDirectory(prefix="optml-") as folder:
        path = Path(folder) / "results"
        found = listed(earlier, spec, "", path)
        return found, Results(path.open("rb")) if found.results else None  # the memory map outlives the folder


def _identity(experiment: EarlierExperiment) -> str | None:
    """None for an experiment of another version whose spec cannot be read."""
    try:
        return identity_of(Spec.from_json(experiment.record.spec), experiment.record.facts)
    except (KeyError, TypeError, ValueError, OptmlError):
        return None


def _lines(experiment: EarlierExperiment, spec: Spec, unruled: Set[str]) -> Iterator[tuple[str, str]]:
    """Key and line of each result that an experiment has; `unruled` are the experiments without early stopping.

    Where a rule chose those that are complete, a rung that their curves enter would have the best alone.
    """
    needed = {*spec.metric_names} | ({DURATION} if spec.measures_duration else set())
    own = experiment.record.id
    for trial in experiment.trials():
        result = _result(trial, needed, may_be_cut_short=own not in unruled)
        if result is not None:
            held = held_to(result, {**spec.defaults, **trial.params}, spec.constraints) if spec.constraints else result
            ran = trial.reused_from or f"{own}/{trial.number}"
            enters_rungs = ran.partition("/")[0] in unruled
            said = (held.state, encode(dict(held.metrics)), encode(held.reason))
            found = ReusedResult(own, trial.number, ran, *said, enters_rungs)
            yield _key(trial.params, trial.seed), found.to_line()


def _result(trial: Trial, needed: set[str], *, may_be_cut_short: bool) -> TrialResult | None:
    """The result, as it was before any constraint; None where another attempt might come to another.

    A trial that diverged does so again; under a rule of early stopping, it may have been the rule that ended it.
    """
    if trial.state is TrialState.COMPLETE and needed <= trial.metrics.keys():
        return TrialResult(trial.state, trial.metrics)
    if trial.state is TrialState.DIVERGED and not may_be_cut_short:
        return TrialResult(trial.state, trial.metrics, trial.reason)
    return None


def _key(params: Params, seed: int) -> str:
    return f"{fingerprint(params)}:{seed}"


class Results:
    """The list of an experiment, to look trials up in."""

    def __init__(self, file: BinaryIO) -> None:
        with file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def find(self, params: Params, seed: int) -> ReusedResult | None:
        """The result of a trial; None when there is none."""
        return self.find_all([(params, seed)])[0]

    def find_all(self, trials: Sequence[tuple[Params, int]]) -> list[ReusedResult | None]:
        """The results of trials, each given by its parameters and seed; None for those that have none."""
        keys = [_key(params, seed).encode() for params, seed in trials]
        wanted, found = sorted(set(keys)), dict[bytes, ReusedResult]()
        # Which of the keys wanted, and in which bytes their lines are, if there are any.
        ranges = [(0, len(wanted), 0, len(self._lines))] if wanted else []
        while ranges:
            first, end, low, high = ranges.pop()
            middle = (first + end) // 2
            place, line = self._place(wanted[middle], low, high)
            if line is not None:
                found[wanted[middle]] = ReusedResult.from_line(line.decode())
            if first < middle and low < place:
                ranges.append((first, middle, low, place))
            if middle + 1 < end and place < high:
                ranges.append((middle + 1, end, place, high))
        return [found.get(key) for key in keys]

    def _place(self, key: bytes, low: int, high: int) -> tuple[int, bytes | None]:
        """Where the line of a key begins, or would, among those from one place to another, and what it says."""
        lines = self._lines
        while low < high:
            start = lines.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = lines.find(b"\n", start) + 1
            found, _, text = lines[start:end].partition(b" ")
            if found == key:
                return start, text.rstrip(b"\n")
            low, high = (end, high) if found < key else (low, start)
        return low, None


_lists: OrderedDict[str, Results] = OrderedDict()


def _results(archive: Archive, list_digest: str) -> Results:
    """The list of a digest, opened once. Raises ArchiveError, UnreachableError."""
    found = _lists.pop(list_digest, None) or Results(opened(archive, list_digest))
    _lists[list_digest] = found
    while len(_lists) > _OPEN:
        _lists.popitem(last=False)
    return found


def with_results(trials: Sequence[NewTrial], reuse: Reuse | None, archive: Archive | None) -> Sequence[NewTrial]:
    """New trials, those with their results that have one. Raises ArchiveError, UnreachableError."""
    if reuse is None or not reuse.digest or not trials:
        return trials
    if archive is None:
        raise ArchiveError("the results to be reused lie in the archive, and there is none at hand")
    found = _results(archive, reuse.digest).find_all([(trial.params, trial.seed) for trial in trials])
    return [
        trial if result is None else replace(trial, reused=result) for trial, result in zip(trials, found, strict=True)
    ]
