"""`optml up` and `optml api` as processes, and the tokens of a store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from optml_queue.cli.main import app
from optml_queue.cli.serving import is_loopback
from optml_queue.embedded import down, is_running
from tests.api.installations import SPEC as DIVERGING
from tests.api.installations import tar_of
from tests.processes import children_of, wait_until
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

SPEC = DIVERGING.replace("[1e-3, 1e-2, 0.1, 1.0]", "[1e-6, 2e-6, 5e-6, 1e-5]")
COMMAND = [sys.executable, "-c", "from optml_queue.cli.main import main; main()"]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    return inherited | more


def optml(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=60
    )


@contextmanager
def up(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Mapping[str, Any]]]:
    """`optml up` as a process, and what it prints."""
    process = subprocess.Popen(
        [*COMMAND, "up", "--workers", "1", "--json"],
        cwd=folder,
        env=environment(OPTML_API_PORT="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        down(folder / "optml-results")


def test_up_starts_everything_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with up(tmp_path) as (process, told):
        wait_until(lambda: answers(told["api"] + "/readyz"), what="the API")
        headers = {"Authorization": f"Bearer {told['token']}", "Content-Type": "application/yaml"}
        with httpx.Client(base_url=told["api"], headers=headers) as client:
            id_ = client.post("/api/v1/experiments", content=SPEC).json()["experiment"]
            wait_until(lambda: client.get(f"/api/v1/experiments/{id_}").json()["state"] == "complete", 20, "the end")
            program_runs(client)
            # What is submitted in this folder meanwhile runs there too.
            (tmp_path / "grid.yaml").write_text(SPEC)
            submitted = optml(tmp_path, "submit", "grid.yaml", "--json")
            assert submitted.returncode == 0, submitted.stderr
            assert client.get("/api/v1/experiments").json()["total"] == 3
        assert f"api at {told['api']}" in optml(tmp_path, "status").stdout
        flower = tuple(told["monitor_auth"].split(":"))
        wait_until(lambda: status_of(told["monitor"], flower) == 200, 20, "Flower")
        assert status_of(told["monitor"], ("optml", "wrong")) == 401
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert children
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not is_running(tmp_path / "optml-results")
        again = optml(tmp_path, "token", "ls")  # its own token went with it
        assert "no tokens" in again.stdout


def program_runs(client: httpx.Client) -> None:
    """A program and its files, uploaded and submitted over the API, run in the local workers, which allow it."""
    train = "from layers import double\n\n\ndef train(trial):\n    return {'loss': double(trial.params['a'])}\n"
    body = tar_of({"train.py": train, "layers.py": "def double(a):\n    return 2.0 * a\n"})
    reference = client.post("/api/v1/programs", content=body).json()["reference"]
    spec = f"name: mine\nprogram: '{reference}'\nmetric: loss\nparameters: {{a: [1, 2, 3]}}\n"
    id_ = client.post("/api/v1/experiments", content=spec).json()["experiment"]
    wait_until(lambda: client.get(f"/api/v1/experiments/{id_}").json()["finished"] == 3, 20, "the end of a program")
    trials = client.get(f"/api/v1/experiments/{id_}/trials").json()["trials"]
    assert [(each["state"], each["metrics"]["loss"]) for each in trials] == [("complete", 2.0 * n) for n in (1, 2, 3)]


def test_down_ends_up(tmp_path: Path) -> None:
    with up(tmp_path) as (process, told):
        wait_until(lambda: answers(told["api"] + "/readyz"), what="the API")
        ended = optml(tmp_path, "down")
        assert "ended" in ended.stdout
        assert process.wait(20) == 0
        assert not answers(told["api"] + "/healthz")


def answers(url: str) -> bool:
    return status_of(url) == 200


def status_of(url: str, auth: Any = None) -> int:
    try:
        return httpx.get(url, auth=auth).status_code
    except httpx.TransportError:
        return 0


def test_beyond_loopback_only_with_a_token(tmp_path: Path) -> None:
    with valkey_server() as server:
        refused = optml(tmp_path, "api", "--host", "0.0.0.0", OPTML_BROKER_URL=server.url)  # noqa: S104 - refused
        assert refused.returncode == 2
        assert "optml token create" in refused.stderr


def test_tokens_are_made_listed_and_revoked() -> None:
    with valkey_server() as server:

        def token(*arguments: str) -> Result:
            return CliRunner(env={"OPTML_BROKER_URL": server.url}).invoke(app, ["token", *arguments])

        made = token("create", "alice", "--role", "operator", "--expires", "30d")
        text = made.stdout.strip()
        assert text.startswith("optml_")
        assert "not shown again" in made.stderr
        listed = json.loads(token("ls", "--json").stdout)
        assert [(each["name"], each["role"]) for each in listed] == [("alice", "operator")]
        assert text not in token("ls").stdout
        assert token("create", "alice").exit_code == 2
        assert token("create", "bob", "--expires", "soon").exit_code == 2
        assert "alice" in token("revoke", "alice").stdout
        assert token("revoke", "alice").exit_code == 2


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    import socket

    with valkey_server() as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = optml(tmp_path, "api", "--port", port, OPTML_BROKER_URL=server.url)
        assert refused.returncode == 2
        assert port in refused.stderr


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
