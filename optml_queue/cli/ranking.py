"""The rows of a leaderboard: points by their mean over seeds, then what could not be ranked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optml_queue.driver import Goal, Metric
from optml_queue.summary import leaderboard
from optml_queue.trial import Trial, TrialState

if TYPE_CHECKING:
    from optml_queue.cli.connection import Source
    from optml_queue.store import Experiment

UNRANKED = (TrialState.STOPPED_EARLY, TrialState.DIVERGED, TrialState.FAILED, TrialState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Standing:
    """A point's place. `trial` is its best trial, `mean` and `sd` are over the `n` complete ones of its `of` seeds.

    `rank` and `mean` are None for a trial that cannot be ranked.
    """

    trial: Trial
    rank: int | None = None
    mean: float | None = None
    sd: float | None = None
    n: int = 1
    of: int = 1

    def document(self, metric: str) -> dict[str, Any]:
        """The point as JSON; with several seeds, its mean and standard deviation too."""
        document = {
            "number": self.trial.number,
            "params": self.trial.params,
            "seed": self.trial.seed,
            "metric": metric,
            "value": self.trial.metrics.get(metric),
        }
        if self.of > 1:
            document |= {"mean": self.mean, "sd": self.sd, "seeds": self.n}
        return document


def ranked(source: Source, experiment: Experiment, limit: int) -> list[Standing]:
    """The best `limit` points, best first.

    With one seed the source's own ranking of trials is enough; with several, every trial is read once.
    """
    if has_one_seed(experiment):
        best = source.best(experiment.id, limit)
        return [
            Standing(trial, rank, mean=trial.metrics[experiment.metric]) for rank, trial in enumerate(best, start=1)
        ]
    points = leaderboard(source.stream(experiment.id), experiment.metric, Goal(experiment.goal), limit)
    trials = {t.number: t for t in source.trials(experiment.id, [point.number for point in points])}
    return [Standing(trials[p.number], p.rank, p.mean, p.sd, p.n, p.of) for p in points]


def unranked(source: Source, experiment: Experiment, limit: int) -> list[Standing]:
    """Trials that ended without a rank, at most `limit` of them."""
    found: list[Trial] = []
    for state in UNRANKED:
        if experiment.counts[state] and len(found) < limit:
            found += source.page(experiment.id, state, limit=limit - len(found))
    return [Standing(trial) for trial in found]


def examples(source: Source, experiment: Experiment) -> tuple[Trial | None, Trial | None]:
    """The first failed and the first diverged trial; None where there is none."""
    return _first(source, experiment, TrialState.FAILED), _first(source, experiment, TrialState.DIVERGED)


def front_document(trial: Trial, metrics: Sequence[Metric]) -> dict[str, Any]:
    """A trial on the Pareto front as JSON."""
    values = {metric.name: trial.metrics[metric.name] for metric in metrics}
    return {"number": trial.number, "params": trial.params, "seed": trial.seed, "metrics": values}


def _first(source: Source, experiment: Experiment, state: TrialState) -> Trial | None:
    found = source.page(experiment.id, state, limit=1) if experiment.counts[state] else []
    return found[0] if found else None


def has_one_seed(experiment: Experiment) -> bool:
    """Whether each point is tried under a single seed."""
    spec = json.loads(experiment.spec)
    searches: Sequence[dict[str, Sequence[int]]] = [spec, *spec.get("earlier", ())]
    return len({seed for search in searches for seed in search.get("seeds") or [0]}) == 1


def several_metrics(experiment: Experiment) -> list[Metric]:
    """The metrics that a Pareto front is of; none where there is only one."""
    return [Metric(each["name"], Goal(each["goal"])) for each in json.loads(experiment.spec).get("metrics", ())]
