"""Results of earlier experiments in place of trials that would be the same: `reuse: true`.

A result follows from code, data, metric, parameters and seed. At submission those that earlier experiments have for the
same code, data and metric are listed once, into a document of the archive; when the experiment's trials are reserved,
each is looked up there. So a trial is taken over or not whatever became of the earlier experiments, and every process
finds the same.

The document has a line for each result, in the order of keys: the digest of the parameters and the seed, a blank, and
JSON. A look-up halves the lines that are left, in a memory map: it costs no memory, however many results there are.
"""

from __future__ import annotations

import json
import mmap
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
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
from optml_queue.trial import Params, Trial, TrialResult, TrialState, decode_metrics, digest, encode

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

    The spec's data and code lie in the archive, under their digests. `without` is the experiment itself.
    """
    wanted = identity_of(spec, facts(spec))
    sources: dict[str, int] = {}
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a file that the system removes
        database.execute("BEGIN")
        database.execute("CREATE TABLE results (key TEXT PRIMARY KEY, line TEXT NOT NULL) WITHOUT ROWID")
        left = RESULTS_MAX
        for found in earlier.all():
            if wanted and left and found.record.id != without and _identity(found) == wanted:
                lines = islice(_lines(found, spec), left)
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


def _identity(experiment: EarlierExperiment) -> str | None:
    """None for an experiment of another version whose spec cannot be read."""
    try:
        return identity_of(Spec.from_json(experiment.record.spec), experiment.record.facts)
    except (KeyError, TypeError, ValueError, OptmlError):
        return None


def _lines(experiment: EarlierExperiment, spec: Spec) -> Iterator[tuple[str, str]]:
    """Key and JSON of each result that an experiment has."""
    needed = {metric.name for metric in spec.metrics} | ({DURATION} if spec.measures_duration else set())
    may_be_cut_short = Spec.from_json(experiment.record.spec).early_stopping is not None
    for trial in experiment.trials():
        result = _result(trial, needed, may_be_cut_short=may_be_cut_short)
        if result is not None:
            held = held_to(result, spec.driver.complete(trial.params), spec.constraints) if spec.constraints else result
            trial_id = f"{experiment.record.id}/{trial.number}"
            where = [experiment.record.id, trial.number, trial.reused_from or trial_id]
            found = [trial.params, held.state, dict(held.metrics), held.reason]
            yield _key(trial.params, trial.seed), encode([*where, *found])


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
    return f"{digest(params)}:{seed}"


class Results:
    """The list of an experiment, to look trials up in."""

    def __init__(self, file: BinaryIO) -> None:
        with file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def find(self, params: Params, seed: int) -> ReusedResult | None:
        """The result of a trial; None when there is none."""
        key = _key(params, seed).encode()
        low, high = 0, len(self._lines)
        while low < high:
            start = self._lines.rfind(b"\n", 0, (low + high) // 2) + 1
            end = self._lines.find(b"\n", start) + 1
            found, _, text = self._lines[start:end].partition(b" ")
            if found == key:
                return _decoded(text, params)
            low, high = (end, high) if found < key else (low, start)
        return None


def _decoded(text: bytes, params: Params) -> ReusedResult | None:
    experiment, number, ran, known, state, metrics, reason = json.loads(text)
    if known != params:
        return None  # two points of one digest
    return ReusedResult(experiment, number, ran, TrialResult(TrialState(state), decode_metrics(metrics), reason))


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
    results = _results(archive, reuse.digest)
    return [replace(trial, reused=results.find(trial.params, trial.seed)) for trial in trials]
