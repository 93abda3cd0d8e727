"""`optml worker --check` beside real workers: busy ones and lonely ones are healthy, frozen ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.faults.times import TIMES
from tests.processes import children_of
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.faults

WEDGED_S = 2.0  # a loop notes once a second that it turns
CHECK = f"""
import sys
from optml_queue.cli.main import main
from optml_queue.worker import probe
probe.WEDGED_S = {WEDGED_S}
try:
    main()
finally:
    heavy = {{"celery", "kombu", "redis", "numpy", "boto3"}} & set(sys.modules)
    assert not heavy, heavy
"""


def check(cache: Path, verb: str = "worker") -> tuple[int, str]:
    """The probe's exit code and line, from a process of its own as Kubernetes has it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, verb, "--check"],
        env=environment | {"OPTML_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


def test_a_trial_in_c_code_is_no_wedged_worker(workers: Cluster, tmp_path: Path) -> None:
    experiment = workers.submit(f"  sleep_s: {{value: 2.5}}\n  marks: {{value: {tmp_path}}}")
    workers.marked(tmp_path, "0.1")
    time.sleep(1.5 * WEDGED_S)
    assert check(workers.folder / "cache") == (0, "healthy: 2 workers and the control process")
    assert check(workers.folder / "cache", "controller") == (0, "healthy: the control process")
    workers.end(experiment)


def test_a_frozen_worker_is_told_until_it_wakes(workers: Cluster) -> None:
    cache = workers.folder / "cache"
    name, main = next(iter(workers.mains().items()))
    os.kill(main, signal.SIGSTOP)
    try:
        workers.until(lambda: "its heartbeat has not turned" in check(cache)[1], "verdict")
        code, said = check(cache)
        assert code == 1
        assert said.startswith(f"wedged: {name.partition('@')[0]} (process {main}): its loop has not turned for")
        assert check(cache, "controller")[0] == 0, "the control process is another matter"
    finally:
        os.kill(main, signal.SIGCONT)
    workers.until(lambda: check(cache)[0] == 0, "recovery")


def test_a_frozen_control_process_is_told_until_it_wakes(workers: Cluster) -> None:
    cache = workers.folder / "cache"
    assert workers.process is not None
    (control,) = set(children_of(workers.process.pid)) - set(workers.mains().values())
    os.kill(control, signal.SIGSTOP)
    try:
        workers.until(lambda: check(cache, "controller")[0] == 1, "verdict")
        assert f"wedged: control (process {control}): its loop" in check(cache)[1]
    finally:
        os.kill(control, signal.SIGCONT)
    workers.until(lambda: check(cache, "controller")[0] == 0, "recovery")


def test_a_killed_worker_is_being_started_again(workers: Cluster) -> None:
    main = next(iter(workers.mains().values()))
    os.kill(main, signal.SIGKILL)
    code, said = check(workers.folder / "cache")
    assert code == 0, said


def test_workers_whose_broker_is_away_are_healthy_and_say_so(workers: Cluster, server: ValkeyServer) -> None:
    server.kill()
    time.sleep(1.5 * WEDGED_S)
    code, said = check(workers.folder / "cache")
    server.start()
    assert code == 0, said
    assert "looks for its broker" in said
    assert "control waits for its store or broker" in said
    workers.until(lambda: "(for" not in check(workers.folder / "cache")[1], "connected workers")


def test_workers_that_start_before_their_broker_say_so_once_each_and_wait(tmp_path: Path) -> None:
    with valkey_server() as server:
        server.kill()
        workers = Cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path, 2)
        try:
            workers.launch()
            workers.until(lambda: check(tmp_path / "cache")[1].count("looks for its broker") == 2, "workers that look")
            said = workers.log.read_text()
            assert workers.process is not None
            family = {main: children_of(main) for main in children_of(workers.process.pid)}
            for child in (child for children in family.values() for child in children):
                os.kill(child, signal.SIGKILL)  # missed when the broker is there
            server.start()
            experiment = workers.submit("  value: {values: [1.0, 2.0]}")
            workers.end(experiment)
            assert said.count("heartbeat: the store") == 2
            assert children_of(workers.process.pid) == list(family), "the workers that waited are those that work"
        finally:
            workers.stop()
            workers.store.close()
    assert check(tmp_path / "cache") == (1, f"gone: no worker runs here (none left a note in {tmp_path / 'cache'})")
