"""What the routes answer with: experiments, trials and their figures as JSON documents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.reader import Reader
from optml_queue.eta import estimate, recent_rate
from optml_queue.store import Experiment, ExperimentState
from optml_queue.trial import Attempt, Trial, TrialState

RECENT = 50  # finished trials that the throughput is taken from


# Training may diverge, and JSON has no such numbers.
Figure = Annotated[
    float, WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"], "type": "string"}]})
]


class Document(BaseModel):
    """A response. Numbers that JSON lacks are the texts "NaN", "Infinity" and "-Infinity"."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


class ExperimentDocument(Document):
    """An experiment. `total` is an upper bound unless `total_is_exact`. Times are seconds since the epoch, UTC.

    One that is `archived` is not in the store any more: it can be looked at, and brought back.
    """

    experiment: str
    name: str
    state: ExperimentState
    ending: str
    reason: str
    counts: dict[TrialState, int]
    total: int
    total_is_exact: bool
    finished: int
    metric: str
    goal: str
    resource_class: str
    priority: int
    created_at: float
    finished_at: float | None
    archived: bool

    @classmethod
    def fields_of(cls, experiment: Experiment) -> dict[str, Any]:
        return {
            "experiment": experiment.id,
            "name": experiment.name,
            "state": experiment.state,
            "ending": experiment.ending,
            "reason": experiment.reason,
            "counts": dict(experiment.counts),
            "total": experiment.total,
            "total_is_exact": experiment.exhausted or experiment.is_over,
            "finished": experiment.finished,
            "metric": experiment.metric,
            "goal": experiment.goal,
            "resource_class": experiment.resource_class,
            "priority": experiment.priority,
            "created_at": experiment.created_at,
            "finished_at": experiment.finished_at,
            "archived": isinstance(experiment, ArchivedExperiment),
        }

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        return cls(**cls.fields_of(experiment))


class TrialDocument(Document):
    """A trial. `wait_s` runs from the queue to the last attempt's begin, `run_s` from there to its end.

    `origin` says where the point of one that was suggested comes from: `method`, `seen` (how many trials had ended),
    and of a child by evolution `parents`; empty for any other.
    """

    number: int
    state: TrialState
    params: dict[str, Any]
    seed: int
    metrics: dict[str, Figure]
    reason: str
    error: str
    attempts: int
    worker: str
    queued_at: float | None
    started_at: float | None
    finished_at: float | None
    wait_s: float | None
    run_s: float | None
    origin: dict[str, Any]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        return cls(**{name: getattr(trial, name) for name in cls.model_fields})


class AttemptDocument(Document):
    """An attempt that ended without a result. `output` is the end of what it wrote."""

    attempt: int
    worker: str
    started_at: float
    ended_at: float
    reason: str
    error: str
    traceback: str
    output: str

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class ExperimentDetail(ExperimentDocument):
    """An experiment, its best trial and its pace. `parameters` and `seeds` (how many) are what its spec has.

    `trials_per_s` and `eta_s` (seconds) are null when nobody works on it, or too little has finished to tell. `eta_s`
    is a median; the end comes between `eta_low_s` and `eta_high_s` eight times in ten. `missing` says in sentences what
    the archive does not have of an experiment that is not in the store any more.
    """

    best: TrialDocument | None
    trials_per_s: float | None
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    workers: int
    parameters: list[str]
    seeds: int
    missing: list[str]

    @classmethod
    def read(cls, store: Reader, experiment: Experiment, parameters: Sequence[str], seeds: int) -> Self:
        """Ask the store for what goes with an experiment: a few round trips, however many trials there are."""
        best = store.best(experiment.id)
        workers = store.live_workers(experiment.resource_class)
        works = workers > 0 and experiment.state is ExperimentState.RUNNING
        last = _last_finished(store, experiment) if works else []
        rate = recent_rate(last, time.time())
        durations_s = [trial.run_s for trial in last if trial.run_s is not None]
        at_once = min(workers, experiment.max_parallel or workers)
        eta = estimate(experiment.total - experiment.terminal, durations_s, at_once, per_second=rate) if works else None
        return cls(
            **cls.fields_of(experiment),
            best=TrialDocument.of(best[0]) if best else None,
            trials_per_s=rate,
            eta_s=eta and eta.median_s,
            eta_low_s=eta and eta.low_s,
            eta_high_s=eta and eta.high_s,
            workers=workers,
            parameters=list(parameters),
            seeds=seeds,
            missing=list(experiment.missing) if isinstance(experiment, ArchivedExperiment) else [],
        )

    @classmethod
    def listed(cls, experiment: ArchivedExperiment) -> Self:
        """What the list of the archive tells, without its trials being read."""
        return cls(
            **cls.fields_of(experiment),
            best=TrialDocument.of(experiment.best) if experiment.best else None,
            trials_per_s=None,
            eta_s=None,
            eta_low_s=None,
            eta_high_s=None,
            workers=0,
            parameters=[],
            seeds=1,
            missing=list(experiment.missing),
        )


def _last_finished(store: Reader, experiment: Experiment) -> list[Trial]:
    return store.finished(experiment.id, max(0, experiment.finished - RECENT), experiment.finished)
