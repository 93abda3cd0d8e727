"""Early stopping: which running trials are not worth their remaining steps.

The store decides, in one script at each report (store/scripts/report.lua). `Judge` is the same decision in this
process: for serial runs, and as the model that the script is tested against.

- asha: the stopping form of asynchronous successive halving (Li et al., "A System for Massively Parallel
  Hyperparameter Tuning", MLSys 2020, arXiv:1810.05934). Rungs lie at min_steps × reduction^k. A trial enters the
  highest rung at or below the step that it reports, once; it is stopped when its value is not among the best
  1/reduction of those there. The paper promotes trials that wait; here they run on, as no trial is ever put aside.
- hyperband: as many such brackets as fit below max_steps (Li et al., "Hyperband", JMLR 18, 2018); bracket b, whose
  first rung is min_steps × reduction^b, has the trials with number mod brackets = b.
- median: the median stopping rule (Golovin et al., "Google Vizier", KDD 2017): a trial is stopped at a step when its
  best value so far is worse than the median, over complete trials, of the mean of their values up to that step.

A trial that reports a value that is not finite is stopped by each of them. Others are compared with one that takes over
an earlier result as if it had run here, as far as its curve is known (see `Judge.take_over`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optml_queue.driver import Goal
from optml_queue.trial import TrialResult, TrialState

METHODS = ("asha", "hyperband", "median")


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """The rule of an experiment. Steps are those that drivers report, such as epochs.

    `reduction` belongs to asha and hyperband, `min_trials` (complete ones) to median. At `max_steps` and beyond nobody
    is stopped: what is done is done. 0 stands for none, which hyperband does not have.
    """

    method: str
    min_steps: int = 1
    reduction: int = 3
    max_steps: int = 0
    min_trials: int = 5

    @property
    def brackets(self) -> int:
        """How many brackets there are."""
        if self.method != "hyperband":
            return 1
        count, first = 1, self.min_steps
        while first * self.reduction <= self.max_steps:
            first *= self.reduction
            count += 1
        return count

    def rung(self, number: int, step: int) -> tuple[int, int] | None:
        """Bracket of a trial, and the highest rung at or below a step; None below the first and at the end."""
        bracket, found = number % self.brackets, None
        rung = self.min_steps * self.reduction**bracket
        while rung <= step and (not self.max_steps or max(rung, step) < self.max_steps):
            found = (bracket, rung)
            rung *= self.reduction
        return found

    def fields(self) -> dict[str, str]:
        """The fields of an experiment's hash, as report.lua reads them."""
        return {
            "stop": self.method,
            "stop_min": str(self.min_steps),
            "stop_reduction": str(self.reduction),
            "stop_max": str(self.max_steps),
            "stop_trials": str(self.min_trials),
        }

    def to_dict(self) -> dict[str, Any]:
        """The rule with the keys of a spec."""
        own: dict[str, Any] = (
            {"min_trials": self.min_trials} if self.method == "median" else {"reduction": self.reduction}
        )
        most = {"max_steps": self.max_steps} if self.max_steps else {}
        return {"method": self.method, "min_steps": self.min_steps, **own, **most}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EarlyStopping:
        """The rule that `to_dict` wrote."""
        return cls(**fields)


@dataclass(slots=True)
class Judge:
    """A rule at work on the trials of one process. `at` is the spec's: by "best", asha compares the best so far."""

    rule: EarlyStopping
    goal: Goal
    at: str = "last"
    curves: dict[int, dict[int, float]] = field(default_factory=dict)
    _rungs: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)
    _means: dict[int, list[float]] = field(default_factory=dict)
    _best: dict[int, float] = field(default_factory=dict)
    _stopped: set[int] = field(default_factory=set)

    def report(self, number: int, step: int, value: float) -> bool:
        """Take in the value of a trial at a step, the first of which stands. Whether the trial is to stop."""
        curve = self.curves.setdefault(number, {})
        if step not in curve:
            curve[step] = value
            if number not in self._stopped and self._is_to_stop(number, step, self._sign * value):
                self._stopped.add(number)
        return number in self._stopped

    def complete(self, number: int) -> None:
        """The trial is complete: it is one of those that others are compared with."""
        for step, mean in _running_means(self.curves.get(number, {})):
            self._means.setdefault(step, []).append(self._sign * mean)

    def take_over(self, number: int, curve: Mapping[int, float], *, is_complete: bool, enters_rungs: bool) -> None:
        """A trial has the result of an earlier one, whose curve (value by step) comes along.

        Others are compared with it as if it had run here: it enters rungs up to where it would have been stopped.
        """
        self.curves[number] = dict(curve)
        if self.rule.method == "median":
            if is_complete:
                self.complete(number)
        elif enters_rungs:
            self._enter_rungs(number, curve)

    def _enter_rungs(self, number: int, curve: Mapping[int, float]) -> None:
        for step in sorted(curve):
            if self._is_to_stop(number, step, self._sign * curve[step]):
                return

    @property
    def _sign(self) -> float:
        return 1.0 if self.goal is Goal.MINIMIZE else -1.0

    def _is_to_stop(self, number: int, step: int, score: float) -> bool:
        if not math.isfinite(score):
            return True
        best = self._best[number] = min(score, self._best.get(number, math.inf))
        if self.rule.method == "median":
            return self._is_below_median(step, best)
        return self._is_outside_top(number, step, best if self.at == "best" else score)

    def _is_outside_top(self, number: int, step: int, score: float) -> bool:
        key = self.rule.rung(number, step)
        if key is None or number in self._rungs.setdefault(key, {}):
            return False
        rung = self._rungs[key]
        rung[number] = score
        if len(rung) < self.rule.reduction:
            return False
        return sum(other < score for other in rung.values()) >= len(rung) // self.rule.reduction

    def _is_below_median(self, step: int, best: float) -> bool:
        means = self._means.get(step, [])
        is_at_end = self.rule.max_steps and step >= self.rule.max_steps
        if is_at_end or step < self.rule.min_steps or len(means) < self.rule.min_trials:
            return False
        return best > statistics.median(means)


def stopped(curve: Mapping[int, float], metric: str, goal: Goal, at: str) -> TrialResult:
    """What a trial came to that was told to stop: its last value, or by `at` "best" its best.

    Diverged where that is not finite; without any value when it had reported none.
    """
    if not curve:
        return TrialResult(TrialState.STOPPED_EARLY, {}, "stopped early")
    step = max(curve)
    value = curve[step]
    finite = [each for each in curve.values() if math.isfinite(each)]
    if at == "best" and finite:
        value = min(finite) if goal is Goal.MINIMIZE else max(finite)
    if not math.isfinite(value):
        return TrialResult(TrialState.DIVERGED, {metric: value}, f"{metric} is {value} at step {step}")
    return TrialResult(TrialState.STOPPED_EARLY, {metric: value}, f"stopped early at step {step}")


def _running_means(curve: Mapping[int, float]) -> Iterator[tuple[int, float]]:
    """Step and mean of the finite values up to it."""
    total, count = 0.0, 0
    for step in sorted(curve):
        if math.isfinite(curve[step]):
            total, count = total + curve[step], count + 1
            yield step, total / count
