"""One experiment at a glance: how far, how fast, how long still, and the best so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optml_queue.cli import units
from optml_queue.cli.outcome import census, troubles
from optml_queue.cli.progress import Total, total_of
from optml_queue.cli.ranking import Standing, examples, ranked
from optml_queue.eta import Eta, estimate, recent_rate
from optml_queue.trial import Trial

if TYPE_CHECKING:
    from optml_queue.cli.connection import Source
    from optml_queue.store import Experiment, WorkerInfo

RECENT = 50


@dataclass(frozen=True, slots=True)
class Status:
    """What `optml status EXPERIMENT` tells. `per_second` is None when nobody works on it."""

    experiment: Experiment
    total: Total
    best: Standing | None
    per_second: float | None
    durations_s: Sequence[float]
    workers: Sequence[WorkerInfo]
    failed: Trial | None
    diverged: Trial | None
    now: float

    @classmethod
    def of(cls, source: Source, experiment: Experiment) -> Status:
        """Read what there is to tell about an experiment."""
        now = time.time()
        best = ranked(source, experiment, 1)
        last = source.finished(experiment.id, max(0, experiment.finished - RECENT), experiment.finished)
        last = [trial for trial in last if not trial.reused_from]  # those took no time
        failed, diverged = examples(source, experiment)
        workers = [w for w in source.workers() if w.resource_class == experiment.resource_class]
        return cls(
            experiment=experiment,
            total=total_of(experiment),
            best=best[0] if best else None,
            per_second=recent_rate(last, now) if workers and not experiment.is_over else None,
            durations_s=[trial.run_s for trial in last if trial.run_s is not None],
            workers=workers,
            failed=failed,
            diverged=diverged,
            now=now,
        )

    @property
    def eta(self) -> Eta | None:
        """How long it takes still; None when nothing tells."""
        if self.experiment.is_over or self.experiment.state == "paused":
            return None
        at_once = min(len(self.workers), self.experiment.max_parallel or len(self.workers))
        left = self.total.trials - self.experiment.terminal
        return estimate(left, self.durations_s, at_once, per_second=self.per_second)

    def document(self) -> dict[str, Any]:
        """The status as JSON. `eta_s` is a median; between `eta_low_s` and `eta_high_s` the end comes 8 times in 10."""
        eta = self.eta
        return experiment_document(self.experiment) | {
            "total": self.total.trials,
            "best": self.best.document(self.experiment.metric) if self.best else None,
            "trials_per_s": self.per_second,
            "eta_s": eta and eta.median_s,
            "eta_low_s": eta and eta.low_s,
            "eta_high_s": eta and eta.high_s,
            "workers": len(self.workers),
        }

    def rows(self) -> list[tuple[str, str]]:
        """The status as labels and what each has to say."""
        x = self.experiment
        reason = f" ({x.reason})" if x.reason else ""
        rows = [
            ("experiment", x.id),
            ("state", f"{self._course()}{reason}"),
            ("trials", f"{self._tally()}: {census(x.counts, x.reused)}"),
            ("speed", self._speed()),
            ("best", self._best()),
            *[("trouble", line) for line in troubles(self.failed, self.diverged, x.counts)],
            ("submitted", f"{units.local_time(x.created_at)}, {units.duration(self.now - x.created_at)} ago"),
            ("limits", self._limits()),
            ("took", units.duration(took_s(x)) if x.finished_at is not None else ""),
            ("workers", self._workers()),
        ]
        return [(label, text) for label, text in rows if text]

    def _course(self) -> str:
        """The state; of one that is ending, what it waits for."""
        if not self.experiment.ending or self.experiment.is_over:
            return self.experiment.state
        return "stopping" if self.experiment.ending == "stopped" else "ending"

    def _tally(self) -> str:
        bound = "" if self.total.exact else "≤ "
        return f"{units.count(self.experiment.terminal)}/{bound}{units.count(self.total.trials)}"

    def _limits(self) -> str:
        """Target and budget, and the worker time of attempts that ended."""
        x = self.experiment
        target = [] if x.target is None else [f"target {x.metric} {units.number(x.target)}"]
        budget = [f"{key} {units.number(limit)}" for key, limit in x.budget.to_dict().items()]
        if not target and not budget:
            return ""
        return f"{', '.join([*target, *budget])}; spent {x.worker_s / 3600:.3g} worker hours"

    def _speed(self) -> str:
        if self.per_second is None:
            return ""
        left = f", {units.time_left(self.eta)}" if self.eta is not None else ""
        return units.rate(self.per_second) + left

    def _best(self) -> str:
        if self.best is None:
            return ""
        spread = f" ± {self.best.sd:.2g} over {self.best.n} seeds" if self.best.sd is not None else ""
        figure = f"{self.experiment.metric} {units.number(self.best.mean)}{spread}"
        return f"{figure} at {units.point(self.best.trial.params)} (trial {self.best.trial.number})"

    def _workers(self) -> str:
        if self.experiment.is_over:
            return ""
        what = f"of class {self.experiment.resource_class}"
        return f"{len(self.workers)} {what}" if self.workers else f"none {what}: nothing runs until one is started"


def experiment_document(experiment: Experiment) -> dict[str, Any]:
    """An experiment as JSON; times in seconds since the epoch, UTC."""
    return {
        "experiment": experiment.id,
        "name": experiment.name,
        "state": experiment.state,
        "reason": experiment.reason,
        "counts": dict(experiment.counts),
        "reused": experiment.reused,
        "total": experiment.total,
        "metric": experiment.metric,
        "goal": experiment.goal,
        "class": experiment.resource_class,
        "priority": experiment.priority,
        "created_at": experiment.created_at,
        "finished_at": experiment.finished_at,
    }


def took_s(experiment: Experiment) -> float | None:
    """Seconds from submission to the end; None while it goes on."""
    return None if experiment.finished_at is None else experiment.finished_at - experiment.created_at
