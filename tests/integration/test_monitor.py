"""Flower as a process, with real workers behind it: trials with readable arguments and runtimes, over each broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster import cluster
from tests.moto_server import aws_settings, moto_server
from tests.processes import wait_until
from tests.valkey_server import free_port, valkey_server

pytestmark = pytest.mark.integration

AUTH = ("ada", "only-she-knows")


@pytest.fixture(params=["valkey", "sqs"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    with valkey_server() as server:
        if request.param == "valkey":
            yield {"OPTML_BROKER_URL": server.url, "OPTML_EVENTS": "true"}
            return
        with moto_server() as endpoint:
            aws = aws_settings(endpoint)
            del aws["AWS_ENDPOINT_URL"]
            yield {
                "OPTML_BROKER_URL": f"sqs://testing:testing-secret@{endpoint.removeprefix('http://')}//",
                "OPTML_STORE_URL": server.url,
                "OPTML_SQS_REGION": "us-east-1",
                "OPTML_EVENTS": "true",
                **aws,
            }


@contextmanager
def flower(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """`optml monitor` as a process; its address, once it answers."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    # A file that Flower would run, did we not say otherwise.
    (folder / "flowerconfig.py").write_text("raise SystemExit('read from the current folder')\n")
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from optml_queue.cli.main import main; main()", "monitor", "--port", str(port)],
            env={**inherited, **environment, "OPTML_MONITOR_AUTH": ":".join(AUTH)},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(address), 30, "Flower")
            yield address
        finally:
            process.terminate()
            assert process.wait(15) == 0


def answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 401
    except httpx.TransportError:
        return False


def test_flower_shows_trials_as_a_person_reads_them(environment: dict[str, str], tmp_path: Path) -> None:
    with (
        flower(environment, tmp_path) as address,
        cluster(environment, tmp_path, processes=1) as running,
        httpx.Client(base_url=address, auth=AUTH) as client,
    ):

        def tasks() -> dict[str, Any]:
            found = client.get("/api/tasks", params={"limit": 100}).json()
            return {id_: task for id_, task in found.items() if task["state"] == "SUCCESS" and task["runtime"]}

        experiment = running.submit("  value: {values: [1.0, 2.0, 3.0]}\n  sleep_s: {value: 0.05}")
        running.end(experiment)
        wait_until(lambda: len(tasks()) == 3, 20, "the trials in Flower")
        task = next(task for id_, task in tasks().items() if id_.startswith(f"{experiment}.1."))
        assert task["args"] == f"('{experiment}', 1, {{'value': 2.0, 'sleep_s': 0.05}})"
        assert task["name"] == "optml.trial"
        assert task["runtime"] >= 0.05
        assert task["result"].startswith("'complete nmse=4.3")
        assert task["worker"] in running.mains()
        # "/" is the page of workers, "/tasks" that of trials; both ask for the password.
        assert httpx.get(f"{address}/tasks").status_code == 401
        page = client.get("/", params={"json": 1}).json()
        assert [(worker["hostname"], worker["status"]) for worker in page["data"]] == [(task["worker"], True)]
        assert client.get("/tasks").status_code == 200
        assert "only-she-knows" not in (tmp_path / "flower.log").read_text()
