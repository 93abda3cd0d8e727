"""Strangers who can write to the broker: real bytes on a real queue, while real workers take from it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from optml_queue.archive import open_archive
from optml_queue.broker import queue_name
from optml_queue.pack import pack
from optml_queue.settings import read_settings
from optml_queue.spec import parse_spec
from optml_queue.store import ExperimentState
from optml_queue.trial import TrialState
from optml_queue.worker.application import Application
from tests.cluster import Cluster, cluster
from tests.processes import children_of
from tests.sqs_installation import SqsQueue, sqs_installation
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

QUEUE = queue_name("default")
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\nWARNING control: all is well\x00"
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "2", "OPTML_GRACE_S": "2"}
NOTHING_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(
    experiment: Any = "e-abcde",
    number: Any = 0,
    params: Any = None,
    *,
    headers: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    body: str | None = None,
    content: tuple[str, str] = ("application/json", "utf-8"),
) -> bytes:
    """A message as Celery would send it, but for what is given."""
    task = [[experiment, number, params or {}], {"generation": 1}, NOTHING_MORE]
    whole = {
        "body": base64.b64encode(json.dumps(task).encode()).decode() if body is None else body,
        "content-type": content[0],
        "content-encoding": content[1],
        "headers": {"lang": "py", "task": "optml.trial", "id": f"{experiment}.{number}.1", **(headers or {})},
        "properties": {
            "correlation_id": "c",
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "body_encoding": "base64",
            **(properties or {}),
        },
    }
    return json.dumps(whole).encode()


def pickled(path: Path) -> str:
    """A pickle that makes a file where it is read."""
    return base64.b64encode(f"cposix\nsystem\n(S'touch {path}'\ntR.".encode()).decode()


def hostile(folder: Path) -> list[bytes]:
    """One of each kind."""
    home = f"../../../../../..{folder}/reached"
    return [
        b"",
        b"no JSON " + ESCAPES.encode(),
        b"\xff\xfe\x00\x80" + b"A" * 50,
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"[" * 50_000,
        b"9" * 6_000,
        b'{"__type__": "uuid", "__value__": "' + b"x" * 9 + b'"}',
        message(headers={"task": "celery.chord_unlock"}),
        message(headers={"task": f"evil{ESCAPES}"}),
        message(headers={"task": "optml.trial", "id": None}),
        message(headers={"eta": "2999-01-01T00:00:00+00:00"}),
        message(headers={"expires": ["x"]}),
        message(headers={"timelimit": [-1, {}]}),
        message(headers={"compression": "zlib"}),
        message(body=pickled(folder / "reached"), content=("application/x-python-serialize", "binary")),
        message(body=pickled(folder / "reached"), content=("pickle", "utf-8")),
        message(body="LQ==", content=("application/x-yaml", "utf-8")),
        message(body="%%%"),
        message(body=""),
        message(properties={"delivery_tag": ["x"]}),
        message(properties={"delivery_tag": f"t{ESCAPES}"}),
        message(properties={"delivery_info": {"exchange": "celery.pidbox", "routing_key": "x"}}),
        message(properties={"delivery_info": None}),
        # What the workers understand, and the store knows nothing of.
        message("e-nobody", 3, {"rate": 0.5}),
        message("e-nobody", 2**53 - 1),
        message("e-nobody", -1),
        message("e-nobody", "0; rm"),
        message(home),
        message("/etc/passwd"),
        message(f"e{ESCAPES}"),
        message("e\x00f"),
        message("e" * 5_000),
        message("e-nobody", 0, {f"../{ESCAPES}": f"{home}\ud800"}),
    ]


@dataclass
class Target:
    """Workers, and the way in that a stranger has."""

    workers: Cluster
    put: Callable[[bytes], object]
    length: Callable[[], int]
    limit_bytes: int


@contextmanager
def on_valkey(folder: Path) -> Iterator[Target]:
    with valkey_server() as server, cluster({"OPTML_BROKER_URL": server.url, **TIMES}, folder) as workers:
        client = workers.store.client
        yield Target(
            workers,
            lambda body: client.lpush(QUEUE, body),
            lambda: client.llen(QUEUE),
            10_000_000,
        )


@contextmanager
def on_sqs(folder: Path) -> Iterator[Target]:
    with sqs_installation(**TIMES) as environment:
        queue = SqsQueue(environment)

        def put(body: bytes) -> None:
            # As kombu does, in base64, and as it is: but SQS takes only text, without control characters.
            text = "".join(c for c in body.decode("latin-1") if c.isprintable() or c in "\t\n\r")
            for sent in (base64.b64encode(body).decode(), text):
                queue.put(sent or "-")

        with cluster(environment, folder) as workers:
            yield Target(workers, put, lambda: queue.waiting() + queue.in_hand(), 100_000)


@pytest.fixture(params=[on_valkey, on_sqs], ids=["valkey", "sqs"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    with request.param(tmp_path) as found:
        yield found


def family(workers: Cluster) -> dict[str, list[int]]:
    """Every worker's processes."""
    return {name: [pid, *children_of(pid)] for name, pid in workers.mains().items()}


def assert_workers_work(workers: Cluster) -> None:
    """A normal experiment completes."""
    found = workers.end(workers.submit("  value: {min: 1, max: 20, step: 1}"))
    assert (found.state, found.terminal) == (ExperimentState.COMPLETE, 20)


def test_hostile_messages_are_refused_and_leave_no_trace(target: Target, tmp_path: Path) -> None:
    workers = target.workers
    processes = family(workers)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    bodies = hostile(tmp_path)
    for body in bodies:
        target.put(body)
    target.put(message("e-nobody", 0, {"x": "y" * target.limit_bytes}))
    workers.until(lambda: target.length() == 0, "empty queue", limit_s=20)
    assert_workers_work(workers)
    assert family(workers) == processes
    after = {path for path in tmp_path.rglob("*") if not {"cache", "archive"} & set(path.parts)}
    assert after <= before
    log = workers.log.read_text()
    assert "refused a message" in log
    assert "\x1b" not in log
    assert "owned" not in log
    assert "\nWARNING control: all is well" not in log
    assert "Traceback" not in log
    assert len(log.splitlines()) < 3 * len(bodies)
    assert max(map(len, log.splitlines())) < 600


def test_strangers_on_valkey_neither_stop_workers_nor_keep_messages_from_them(tmp_path: Path) -> None:
    with on_valkey(tmp_path) as target:
        workers, client = target.workers, target.workers.store.client
        # A broadcast is heard by those who listen already.
        workers.until(lambda: workers.log.read_text().count(" ready.") == 2, "workers that listen")
        processes = family(workers)
        # By Celery's remote control.
        control = Application(read_settings(workers.environment)).control
        control.shutdown()
        control.broadcast("pool_restart", arguments={"reload": True})
        control.revoke("e-abcde.0.1", terminate=True, signal="SIGKILL")
        control.rate_limit("optml.trial", "1/h")
        control.cancel_consumer(QUEUE)
        # In the store: experiments whose names lead elsewhere.
        for name in (f"../../{ESCAPES}", "/etc/passwd", "e-halfdone"):
            client.zadd("optml:active", {name: 1})
            client.zadd("optml:experiments", {name: 1})
            client.zadd("optml:wanted", {name: 1})
            client.hset(f"optml:x:{name}", "state", "running")
            client.zadd("optml:leases", {f"{name}|../0": 1})
        assert_workers_work(workers)
        workers.until(lambda: target.length() == 0, "empty queue")
        workers.until(lambda: client.zcard("optml:leases") == 0, "end of leases that are none")
        assert family(workers) == processes
        log = workers.log.read_text()
        assert "\x1b" not in log
        assert "Traceback" not in log, log
        assert "\nWARNING control: all is well" not in log


def test_a_program_that_was_changed_in_the_archive_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def train(trial):\n    return {'loss': 1.0}\n")
    text = "name: changed\nprogram: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {value: 1}}\n"
    with on_valkey(tmp_path) as target:
        workers = target.workers
        with workers.kept_busy():
            experiment = workers.submit_spec(parse_spec(text, "changed.yaml", tmp_path))
            archive = open_archive(workers.archive_url)
            (key,) = archive.keys("programs")
            archive.put(key, pack(_evil(tmp_path)))
        found = workers.end(experiment)
        (trial,) = workers.trials(experiment)
        assert (found.state, trial.state) == (ExperimentState.FAILED, TrialState.FAILED)
        assert f"{key} is damaged" in trial.error
        assert not (tmp_path / "reached").exists()


def _evil(folder: Path) -> Path:
    evil = folder / "evil"
    evil.mkdir()
    (evil / "train.py").write_text(f"open({str(folder / 'reached')!r}, 'w').close()\n")
    return evil
