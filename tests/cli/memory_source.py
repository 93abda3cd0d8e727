"""A source of trials in memory, for the verbs that read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from optml_queue.driver import Goal
from optml_queue.errors import NotFoundError
from optml_queue.store import Experiment, ExperimentState, WorkerInfo
from optml_queue.summary import top
from optml_queue.trial import TERMINAL_STATES, Attempt, Trial, TrialState

RATES = (0.5, 1e-6, 5e-7)


def trial(number: int, state: str = "complete", **fields: Any) -> Trial:
    defaults: dict[str, Any] = {
        "params": {"learning_rate": RATES[number % 3], "filter_size": 5},
        "seed": 0,
        "metrics": {"nmse": 0.1 + number / 100},
        "attempts": 1,
        "worker": "default-a1b2c3@host",
        "queued_at": 1_000.0,
        "started_at": 1_001.0,
        "finished_at": 1_001.5 + number,
    }
    return Trial(number=number, state=TrialState(state), **(defaults | fields))


def experiment(trials: Sequence[Trial], **fields: Any) -> Experiment:
    counts = dict.fromkeys(TrialState, 0)
    for each in trials:
        counts[each.state] += 1
    defaults: dict[str, Any] = {
        "id": "lms-k3f9a",
        "name": "lms",
        "state": ExperimentState.COMPLETE,
        "spec": json.dumps({"seeds": sorted({each.seed for each in trials}) or [0]}),
        "created_at": 1_000.0,
        "finished_at": 1_080.0,
        "end": len(trials),
        "next": len(trials),
        "exhausted": True,
        "counts": counts,
        "metric": "nmse",
        "goal": "minimize",
        "resource_class": "default",
        "created": len(trials),
        "finished": sum(each.state in TERMINAL_STATES for each in trials),
    }
    return Experiment(**(defaults | fields))


class MemorySource:
    """One experiment and its trials, with the reading methods of a store."""

    def __init__(self, trials: Sequence[Trial], **fields: Any) -> None:
        self.all = list(trials)
        self.record = experiment(trials, **fields)
        self.ended_attempts: list[Attempt] = []
        self.lines: list[str] = []
        self.live: list[WorkerInfo] = []

    def experiments(self) -> list[Experiment]:
        return [self.record]

    def experiment(self, _experiment: str, /) -> Experiment:
        return self.record

    def resolve(self, text: str, /) -> str:
        if text not in ("latest", self.record.id):
            raise NotFoundError(f"there is no experiment {text!r}; did you mean {self.record.id}?")
        return self.record.id

    def trials(self, _experiment: str, numbers: Sequence[int], /) -> list[Trial]:
        by_number = {each.number: each for each in self.all}
        return [by_number[number] for number in numbers if number in by_number]

    def page(
        self, experiment: str, /, state: TrialState | None = None, offset: int = 0, limit: int = 100
    ) -> list[Trial]:
        if state is TrialState.COMPLETE:
            return self.best(experiment, offset + limit)[offset:]
        return list(islice((t for t in self.all if state in (None, t.state)), offset, offset + limit))

    def best(self, _experiment: str, limit: int = 1, /) -> list[Trial]:
        return top(self.all, self.record.metric, Goal(self.record.goal), limit)

    def finished(self, _experiment: str, start: int, stop: int, /) -> list[Trial]:
        return [each for each in self.all if each.state in TERMINAL_STATES][start:stop]

    def stream(self, _experiment: str, /) -> Iterator[Trial]:
        return iter(self.all)

    def attempts(self, _experiment: str, _number: int, /) -> list[Attempt]:
        return self.ended_attempts

    def recoveries(self, _experiment: str, /) -> list[float]:
        return [0.5, 1.5, 9.0]

    def logs(self, _experiment: str, _number: int, start: int = 0, /) -> list[str]:
        return self.lines[start:]

    def workers(self) -> list[WorkerInfo]:
        return self.live
