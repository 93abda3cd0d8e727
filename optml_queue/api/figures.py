"""The installation's figures as Prometheus' metric families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from optml_queue.store import Experiment, Store
from optml_queue.store.store import TIMES_S
from optml_queue.trial import TrialState

EXPERIMENTS_MAX = 500  # the newest ones; trials of older ones are not counted


class Figures(Collector):
    """Collected when asked for; nothing is kept in between."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        """None beforehand: describing would read the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the store: some round trips, whatever the number of trials."""
        experiments = self._store.of_ids(self._store.ids()[:EXPERIMENTS_MAX])
        yield self._trials(experiments)
        yield _failed(experiments)
        yield from self._queues()
        yield from self._archive(experiments)
        yield from self._times({each.resource_class for each in experiments})

    def _trials(self, experiments: list[Experiment]) -> Metric:
        family = GaugeMetricFamily(
            "optml_trials", "Trials of experiments that are not over", labels=["experiment", "state"]
        )
        for each in experiments:
            if not each.is_over:
                for state, count in each.counts.items():
                    family.add_metric([each.id, state], count)
        return family

    def _queues(self) -> Iterator[Metric]:
        backlog = GaugeMetricFamily("optml_backlog", "Trials that wait or run", labels=["class", "kind"])
        for name, waiting in self._store.backlog().items():
            for kind in ("queued", "running", "unpublished"):
                backlog.add_metric([name, kind], getattr(waiting, kind))
        yield backlog
        workers = GaugeMetricFamily("optml_workers", "Living workers", labels=["class"])
        for name, count in Counter(worker.resource_class for worker in self._store.workers()).items():
            workers.add_metric([name], count)
        yield workers
        ages = GaugeMetricFamily(
            "optml_oldest_queued_age_seconds", "Age of the oldest message that nobody has begun", labels=["class"]
        )
        for name, age_s in self._store.oldest_queued_ages().items():
            ages.add_metric([name], age_s)
        yield ages
        yield CounterMetricFamily(
            "optml_recovered_messages", "Messages that were lost and published again", self._store.recovered_total()
        )

    def _archive(self, experiments: list[Experiment]) -> Iterator[Metric]:
        lag = sum(each.finished - max(each.archived, each.consolidated) for each in experiments)
        yield GaugeMetricFamily("optml_archive_lag_trials", "Finished trials not in the archive yet", lag)

    def _times(self, classes: set[str]) -> Iterator[Metric]:
        families = {
            "run": HistogramMetricFamily(
                "optml_trial_duration_seconds", "How long the last attempts of finished trials ran", labels=["class"]
            ),
            "wait": HistogramMetricFamily(
                "optml_queue_wait_seconds", "How long trials waited for their last attempt", labels=["class"]
            ),
        }
        for name in sorted(classes):
            times = self._store.times(name)
            for what, family in families.items():
                if f"{what}_ms" in times:
                    family.add_metric([name], _buckets(times, what), times[f"{what}_ms"] / 1000)
        yield from families.values()


def _buckets(times: dict[str, int], what: str) -> list[tuple[str, float]]:
    """The counts up to each bound, as Prometheus wants them."""
    total, buckets = 0, []
    for place, bound in enumerate((*map(str, TIMES_S), "+Inf"), start=1):
        total += times.get(f"{what}:{place}", 0)
        buckets.append((bound, float(total)))
    return buckets


def _failed(experiments: list[Experiment]) -> Metric:
    totals: Counter[str] = Counter()
    for each in experiments:
        totals[each.resource_class] += each.counts[TrialState.FAILED]
    family = GaugeMetricFamily("optml_failed_trials", "Trials that failed for good", labels=["class"])
    for name, total in totals.items():
        family.add_metric([name], total)
    return family
