"""Who runs when, with real workers: classes in order of preference, experiments side by side, max_parallel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from optml_queue.store import Store
from optml_queue.trial import TrialState
from tests.cluster import cluster
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with valkey_server() as running:
        yield running


def begun(store: Store, experiment: str) -> list[float]:
    """When each trial began, in order."""
    return sorted(trial.started_at or 0.0 for trial in store.stream(experiment))


def test_a_worker_of_two_classes_takes_the_preferred_one_first(server: ValkeyServer, tmp_path: Path) -> None:
    with cluster({"OPTML_BROKER_URL": server.url}, tmp_path, processes=1, classes=("zeta", "alpha")) as workers:
        held = workers.submit("  sleep_s: {value: 60.0}\n  polite: {value: true}", "resources: {class: alpha}")
        workers.until(lambda: workers.store.experiment(held).counts[TrialState.RUNNING] == 1, "a busy worker")
        grid = "  value: {min: 1, max: 8, step: 1}"
        second, first = (workers.submit(grid, f"resources: {{class: {name}}}") for name in ("alpha", "zeta"))
        workers.until(lambda: all(workers.store.experiment(x).published == 8 for x in (first, second)), "full queues")
        workers.store.cancel(held)
        for experiment in (first, second):
            workers.end(experiment)
        assert begun(workers.store, first)[-1] <= begun(workers.store, second)[0]


def test_a_small_experiment_does_not_stand_behind_a_large_one(server: ValkeyServer, tmp_path: Path) -> None:
    with cluster({"OPTML_BROKER_URL": server.url}, tmp_path) as workers:
        sleep = "  sleep_s: {value: 0.1}"
        large = workers.submit(f"  value: {{min: 1, max: 100000, step: 1}}\n{sleep}")
        workers.until(lambda: workers.store.experiment(large).finished >= 2, "a running experiment")
        small = workers.submit(f"  value: {{min: 1, max: 4, step: 1}}\n{sleep}")
        ended = workers.end(small, limit_s=20)
        assert workers.store.experiment(large).finished < 90  # else it was the window that was used up
        assert ended.counts[TrialState.COMPLETE] == 4
        workers.store.cancel(large)
        workers.end(large)


def test_max_parallel_holds_with_more_workers(server: ValkeyServer, tmp_path: Path) -> None:
    with cluster({"OPTML_BROKER_URL": server.url}, tmp_path, processes=4) as workers:
        grid = "  value: {min: 1, max: 12, step: 1}\n  sleep_s: {value: 0.1}"
        experiment = workers.submit(grid, "max_parallel: 2")
        workers.end(experiment)
        spans = [(t.started_at or 0.0, t.finished_at or 0.0) for t in workers.trials(experiment)]
        at_once = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
        assert max(at_once) == 2
