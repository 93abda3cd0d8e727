"""Who runs when, with real workers, on Redis' protocol and on SQS.

The same holds on both, though SQS cannot take back what was recalled: there workers decline it, message by message.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest

from optml_queue.store import Store
from optml_queue.trial import TrialState
from tests.cluster import Cluster, cluster
from tests.sqs_installation import sqs_installation
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.integration

COST = """

def cost(params, rows):
    return params["sleep_s"]
"""


@pytest.fixture(scope="module", params=["valkey", "sqs"])
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three workers, for the tests of a broker."""
    with ExitStack() as stack:
        if request.param == "sqs":
            environment = stack.enter_context(sqs_installation())
        else:
            environment = {"OPTML_BROKER_URL": stack.enter_context(valkey_server()).url}
        yield stack.enter_context(cluster(environment, tmp_path_factory.mktemp(request.param), processes=3))


def grid(trials: int, sleep_s: float) -> str:
    return f"  value: {{min: 1, max: {trials}, step: 1}}\n  sleep_s: {{value: {sleep_s}}}"


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


def test_newcomers_do_not_stand_behind_a_large_experiment_and_urgent_ones_have_most_of_the_workers(
    workers: Cluster,
) -> None:
    store = workers.store
    huge = workers.submit(grid(100_000, 0.1), "max_parallel: 40", name="huge")
    workers.until(lambda: store.experiment(huge).finished >= 4, "a running experiment")

    def meanwhile(newcomer: str) -> int:
        """How many of the huge one's trials began between the newcomer's first reservation and its last begin."""
        first = min(trial.queued_at or 0.0 for trial in store.stream(newcomer))
        return sum(first <= at <= begun(store, newcomer)[-1] for at in begun(store, huge))

    small = workers.submit(grid(4, 0.1), name="small")
    assert workers.end(small, limit_s=20).counts[TrialState.COMPLETE] == 4
    urgent = workers.submit(grid(24, 0.1), "priority: 3", name="urgent")
    workers.end(urgent)
    assert meanwhile(small) < 20  # 36 stood in the queue
    assert meanwhile(urgent) < 16  # an eighth of 24, and some that were in hand; equal shares would be 24
    store.cancel(huge)
    workers.end(huge)


def test_max_parallel_holds_with_more_workers(workers: Cluster) -> None:
    experiment = workers.submit(grid(8, 0.1), "max_parallel: 2")
    workers.end(experiment)
    spans = [(t.started_at or 0.0, t.finished_at or 0.0) for t in workers.trials(experiment)]
    at_once = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(at_once) == 2


def test_the_longest_begin_first(workers: Cluster) -> None:
    driver = workers.algorithm / "driver.py"
    driver.write_text(driver.read_text() + COST)
    sleeps_s = [0.02 * n for n in range(1, 17)]
    random.Random(1).shuffle(sleeps_s)
    experiment = workers.submit(f"  sleep_s: {{values: {sleeps_s}}}", name="unequal")
    workers.end(experiment)
    in_order = sorted(workers.trials(experiment), key=lambda trial: trial.started_at or 0.0)
    pairs = list(combinations([float(str(trial.params["sleep_s"])) for trial in in_order], 2))
    # Three workers may begin three trials in any order; SQS may deliver some out of turn.
    assert sum(earlier < later for earlier, later in pairs) < 0.1 * len(pairs)
