"""The local overlay rehearsed with real processes: an autoscaler follows the backlog from no worker to six and back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from optml_queue.store import Store
from optml_queue.trial import TrialState
from tests.deploy.manifests import Manifests
from tests.deploy.rehearsal import Autoscaler, Cluster, cluster
from tests.deploy.tools import ROOT, kustomize

SPEC = """
name: rehearsal
algorithm: lms
parameters:
  learning_rate: {{min: 1.0e-8, max: 1.0e-6, count: {count}}}
  filter_size: {{value: 5}}
data: {{name: sunspots}}
resources: {{class: {name}}}
"""
STEP_S = 0.5  # for KEDA's 15 s


def rehearse(folder: Path, trials: int, limit_s: float) -> None:
    manifests = Manifests.parse(kustomize(ROOT / "deploy" / "k8s" / "overlays" / "local"))
    with cluster(manifests, folder) as running:
        store = Store.from_url(running.pods[-1].environment["OPTML_BROKER_URL"])
        scaler = Autoscaler(running)
        scaler.step()
        assert scaler.seen == [(0, 0)], "without work there is no worker"
        experiments = [submit(running, name, trials // 2) for name in ("cpu-small", "cpu-large")]
        deadline = time.monotonic() + limit_s
        probed = False
        while not all(store.experiment(each).is_over for each in experiments) or scaler.workers():
            assert time.monotonic() < deadline, scaler.seen
            scaler.step()
            if not probed and scaler.workers() == 6:
                probed = True
                check_probes(running)
            time.sleep(STEP_S)
        assert max(workers for _, workers in scaler.seen) == 6
        assert scaler.seen[-1][1] == 0
        for experiment in experiments:
            every_trial_ran_once_or_says_why(store, experiment, trials // 2)
        while not all(pod.has_ended() for pod in running.ended):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        ended = [(pod.name, pod.process.returncode, pod.was_killed) for pod in running.ended]
        assert ended == [(pod.name, 0, False) for pod in running.ended], "a worker did not end in its grace"
        store.close()


def submit(running: Cluster, name: str, count: int) -> str:
    """Submit an experiment from the API's pod; its id."""
    (api,) = (pod for pod in running.pods if pod.workload.component == "api")
    spec = api.folder / f"{name}.yaml"
    spec.write_text(SPEC.format(count=count, name=name))
    return running.run(api, "optml", "submit", str(spec), "--detach").split()[0]


def check_probes(running: Cluster) -> None:
    """What the kubelet would ask of everything, while all workers are at it."""
    for pod in running.pods:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in pod.workload.container:
                running.until(lambda: pod.answers(probe), f"{probe} of {pod.name}", pod)  # noqa: B023 - called at once


def every_trial_ran_once_or_says_why(store: Store, experiment: str, count: int) -> None:
    trials = list(store.stream(experiment))
    assert [trial.number for trial in trials] == list(range(count))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    for trial in trials:
        recorded = [attempt.reason for attempt in store.attempts(experiment, trial.number)]
        assert len(recorded) == trial.attempts - 1
        assert set(recorded) <= {"released"}


@pytest.mark.deploy
def test_workers_follow_the_backlog_to_six_and_back_to_none(tmp_path: Path) -> None:
    rehearse(tmp_path, trials=200, limit_s=90)


@pytest.mark.soak
def test_two_thousand_trials(tmp_path: Path) -> None:
    rehearse(tmp_path, trials=2000, limit_s=600)
