"""Which results of earlier experiments a searcher is told, before it suggests anything: `start_from`."""

from __future__ import annotations

import heapq
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from optml_queue.archive import Archive
from optml_queue.archive.earlier import keep
from optml_queue.driver import Goal
from optml_queue.earlier import Earlier, EarlierExperiment
from optml_queue.errors import ExpressionError, NotFoundError, Problem, SpecError
from optml_queue.search.adaptive import FRONT
from optml_queue.search.history import outcome
from optml_queue.search.start import EarlierPoint
from optml_queue.space import identity
from optml_queue.spec import Spec
from optml_queue.spec.prior import Source, StartFrom
from optml_queue.trial import Params, ParamValue, TrialState, encode

BEST, OTHERS = 200, 1_800  # points: all of the best, and an even sample of the others, where there are more
_WORDS = {
    TrialState.FAILED: "failed",
    TrialState.CANCELLED: "were cancelled",
    TrialState.QUEUED: "have not ended",
    TrialState.RUNNING: "have not ended",
}
_TOO_MANY = f"left out: more than {BEST + OTHERS:,} points"


def start_of(earlier: Earlier, spec: Spec) -> tuple[StartFrom, list[EarlierPoint]]:
    """What a spec's `start_from` comes to, and the points, from the worst to the best.

    Raises SpecError where an experiment is unknown, is judged in another way, or has nothing that can be used.
    """
    if spec.start_from is None:
        raise ValueError("the spec starts from nothing")
    fitting = Fitting(spec)
    sample = _Sample(spec.goal)
    usable: list[tuple[str, Counter[str]]] = []
    for name in spec.start_from.named:
        found = _found(earlier, name, spec)
        usable.append((found.record.id, Counter()))
        for point, trials in fitting.points(found, usable[-1][1]):
            sample.add(point, trials)
    used = Counter[str]()
    for point, trials in sample.kept:
        used[point.experiment] += trials
    sources = tuple(_source(id_, used[id_], reasons) for id_, reasons in usable)
    if not used.total():
        raise _refusal(spec, "; ".join(map(source_line, sources)), "name an experiment over the same space")
    return replace(spec.start_from, sources=sources), [point for point, _ in sample.kept]


def keep_start(archive: Archive, points: Iterable[EarlierPoint]) -> str:
    """Put points into the archive; the SHA-256 of the document."""
    with tempfile.TemporaryDirectory(prefix="optml-") as folder:
        path = Path(folder) / "points"
        path.write_text("".join(f"{point.to_json()}\n" for point in points), encoding="utf-8")
        return keep(archive, path)


def source_line(source: Source) -> str:
    """`lms-k3f9a: 31 of 36 trials are used; 3 failed; 2 with another learning_rate than is searched`."""
    said = [f"{count:,} {reason}" for reason, count in source.unused.items()]
    return f"{source.experiment}: " + "; ".join([f"{source.used:,} of {source.trials:,} trials are used", *said])


def _found(earlier: Earlier, name: str, spec: Spec) -> EarlierExperiment:
    try:
        found = earlier.find(name)
    except NotFoundError as error:
        message, _, advice = str(error).partition("; ")
        raise _refusal(spec, message, advice) from error
    record = found.record
    theirs, ours = _judged(Spec.from_json(record.spec)), _judged(spec)
    if theirs != ours:
        message = f"{record.id} is judged by {theirs}, this experiment by {ours}"
        raise _refusal(spec, message, "name one that has the same metric")
    return found


def _refusal(spec: Spec, message: str, advice: str) -> SpecError:
    return SpecError("spec", [Problem("start_from", message, spec.line_of("start_from"), advice)])


def _judged(spec: Spec) -> str:
    return f"{spec.metric} ({spec.goal}, at: {spec.at})"


def _source(experiment: str, used: int, reasons: Counter[str]) -> Source:
    total = reasons.total()
    unused = Counter(reasons)
    fit = unused.pop("", 0)
    if fit > used:
        unused[_TOO_MANY] = fit - used
    return Source(experiment, used, total, dict(unused.most_common()))


class Fitting:
    """Sorts out which points of other experiments lie in a spec's space."""

    def __init__(self, spec: Spec) -> None:
        self._space = spec.space
        self._metrics = spec.metric_names
        self._seeks_front = any(stage.method in FRONT for stage in spec.search.course)
        self._axes = {axis.name: axis for axis in spec.space.axes}
        self._defaults = spec.defaults

    def points(self, experiment: EarlierExperiment, reasons: Counter[str]) -> Iterator[tuple[EarlierPoint, int]]:
        """The points that fit, each with the number of its trials; `reasons` counts the trials, "" is for no reason.

        Trials that follow one another and differ only in their seeds are one point.
        """
        for _, group in groupby(experiment.trials(), lambda trial: encode(trial.params)):
            trials = list(group)
            point, problem = self.fitted(trials[0].params)
            if point is None:
                reasons[problem] += len(trials)
                continue
            ended = [trial for trial in trials if trial.state not in _WORDS]
            reasons.update(_WORDS[trial.state] for trial in trials if trial.state in _WORDS)
            if not ended:
                continue
            found = EarlierPoint(experiment.record.id, ended[0].number, point, *outcome(ended, self._metrics))
            lacking = self._lacking(found)
            reasons[lacking and f"have no {lacking}"] += len(ended)
            if not lacking:
                yield found, len(ended)

    def _lacking(self, point: EarlierPoint) -> str:
        """A metric that the search needs and the point has no figure of; "" if there is none."""
        if point.state is TrialState.FAILED:
            return self._metrics[0]
        if point.state is not TrialState.COMPLETE or not self._seeks_front:
            return ""
        return next((name for name, figure in zip(self._metrics[1:], point.others, strict=True) if figure is None), "")

    def fitted(self, params: Params) -> tuple[Params | None, str]:
        """A point as the space has it, or None and why it has not.

        Parameters that the code has a default for, and that were not given, had the default.
        """
        known = {**self._defaults, **params}
        try:
            point = self._space.complete({name: self._own(name, known[name]) for name in self._axes if name in known})
            excluded = self._space.excluded_by(point)
        except KeyError as error:
            return None, f"lack {error.args[0]}"
        except ExpressionError:
            return None, "have values for which a condition has no answer"
        for name, value in point.items():
            if name not in known:
                return None, f"lack {name}"
            if not self._axes[name].contains(value):
                return None, f"have another {name} than is searched"
        for name, value in params.items():
            if name not in point and not self._is_default(name, value):
                return None, f"have {name}, which is not searched"
        return (None, "are excluded") if excluded else (point, "")

    def _own(self, name: str, value: ParamValue) -> ParamValue:
        """The value as the space writes it: 5, where a list of values has that and the other experiment had 5.0."""
        index = self._axes[name].index(value)
        return value if index is None else self._axes[name].value(index)

    def _is_default(self, name: str, value: ParamValue) -> bool:
        return name in self._defaults and identity(self._defaults[name]) == identity(value)


@dataclass(frozen=True, slots=True)
class _Entry:
    cost: float  # infinite for one that diverged
    place: int
    point: EarlierPoint
    trials: int

    def __lt__(self, other: _Entry) -> bool:
        """The worse one comes first."""
        return (self.cost, self.place) > (other.cost, other.place)


class _Sample:
    """The best of any number of points, and an even sample of the others."""

    def __init__(self, goal: Goal) -> None:
        self._sign = -1.0 if goal is Goal.MAXIMIZE else 1.0
        self._best: list[_Entry] = []  # a heap, the worst on top
        self._others: list[_Entry] = []
        self._stride = 1
        self._count = 0

    def add(self, point: EarlierPoint, trials: int) -> None:
        cost = math.inf if point.value is None else self._sign * point.value
        entry = _Entry(cost, self._count, point, trials)
        self._count += 1
        if len(self._best) < BEST:
            heapq.heappush(self._best, entry)
            return
        other = heapq.heappushpop(self._best, entry)
        if other.place % self._stride == 0:
            self._others.append(other)
        while len(self._others) > OTHERS:
            self._stride *= 2
            self._others = [each for each in self._others if each.place % self._stride == 0]

    @property
    def kept(self) -> list[tuple[EarlierPoint, int]]:
        """The points with the numbers of their trials, from the worst to the best; diverged ones behind the worst.

        A searcher takes a point that diverged for as bad as the worst it was told before; evolution has the last ones
        as its first population.
        """
        entries = sorted([*self._best, *self._others])
        finite = [entry for entry in entries if math.isfinite(entry.cost)]
        diverged = [entry for entry in entries if not math.isfinite(entry.cost)]
        return [(entry.point, entry.trials) for entry in (*finite[:1], *diverged, *finite[1:])]
