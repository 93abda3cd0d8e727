"""A store and broker behind TLS, a password and least rights; and no secret anywhere that people read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
import redis

from optml_queue.broker import check_broker
from optml_queue.errors import SettingsError, UnreachableError
from optml_queue.settings import read_settings
from optml_queue.store import ExperimentState, Store
from tests.cluster import cluster
from tests.moto_server import aws_settings, moto_server
from tests.processes import members_of
from tests.tls_proxy import tls_proxy, write_certificate
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PASSWORD = "p@ss/w%rd:geheim?#1"
S3_SECRET = "s3-secret-of-the-archive"
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5", "OPTML_GRACE_S": "2"}


@dataclass(frozen=True)
class Guarded:
    """A server that is reached through TLS, by a user of few rights."""

    server: ValkeyServer
    port: int
    certificate: Path

    def url(self, password: str = PASSWORD) -> str:
        return f"rediss://optml:{quote(password, safe='')}@127.0.0.1:{self.port}/0"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    certificate, key = write_certificate(tmp_path_factory.mktemp("tls"))
    with valkey_server() as server, tls_proxy(server.port, certificate, key) as port:
        line = re.search(r"ACL SETUSER optml (.*)", PAGE.read_text())
        assert line, f"{PAGE} gives no ACL line"
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "optml", *line[1].replace("PASSWORD", PASSWORD).split())
        yield Guarded(server, port, certificate)


def optml(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a process of its own."""
    command = [sys.executable, "-c", "from optml_queue.cli.main import main; main()", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


def test_everything_runs_with_the_documented_rights_and_no_secret_is_said(guarded: Guarded, tmp_path: Path) -> None:
    with moto_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        aws = aws_settings(endpoint) | {"AWS_SECRET_ACCESS_KEY": S3_SECRET}
        for name, value in aws.items():
            patch.setenv(name, value)
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="optml")
        environment = {
            "OPTML_BROKER_URL": guarded.url(),
            "OPTML_TLS_CA_FILE": str(guarded.certificate),
            "OPTML_ARCHIVE_URL": "s3://optml/runs",
            **TIMES,
        }
        store_url = read_settings(environment).store
        with cluster({**environment, "OPTML_STORE_URL": store_url}, tmp_path) as workers:
            assert workers.process is not None
            experiment = workers.submit("  value: {min: 1, max: 10, step: 1}")
            failing = workers.submit("  fails: {value: 9}")
            deadly = workers.submit("  dies_of: {value: 9}")
            assert [workers.end(each).state for each in (experiment, failing, deadly)] == [
                ExperimentState.COMPLETE,
                ExperimentState.FAILED,
                ExperimentState.COMPLETE,
            ]
            workers.until(lambda: workers.store.experiment(experiment).is_consolidated, "archive")
            commands = b" ".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in members_of(workers.process.pid))
            said = [optml(environment, verb, *more) for verb, *more in (("ls",), ("status", failing), ("workers",))]
            said.append(optml({**environment, "OPTML_BROKER_URL": guarded.url("wrong")}, "ls"))
            said.append(optml({**environment, "OPTML_BROKER_URL": guarded.url().replace("optml:", "other:")}, "ls"))
        assert [process.returncode for process in said] == [0, 0, 0, 3, 3], said
        kept = [s3.get_object(Bucket="optml", Key=key["Key"]) for key in s3.list_objects_v2(Bucket="optml")["Contents"]]
        assert len(kept) > 5
        with redis.Redis.from_url(guarded.server.url) as client:
            client.config_set("rdbcompression", "no")  # of what is dumped, too
            dumps = [client.dump(key) or b"" for key in client.keys("*")]
    shown = {
        "log": workers.log.read_bytes(),
        "commands": commands,
        "output": "".join(process.stdout + process.stderr for process in said).encode(),
        "archive": b"".join(item["Body"].read() for item in kept),
        "store": b"".join(dumps),
    }
    told = {"log": b"fails", "commands": b"python", "output": b"fails", "archive": b"fails", "store": b"fails"}
    for place, content in shown.items():
        assert told[place] in content, place
        for secret in (PASSWORD, quote(PASSWORD, safe=""), S3_SECRET, "geheim"):
            assert secret.encode() not in content, f"{secret} in {place}"


def test_the_documented_rights_end_where_they_should(guarded: Guarded) -> None:
    with redis.Redis.from_url(guarded.url(), ssl_ca_certs=str(guarded.certificate)) as client:
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SET", "other", "1"), ("KEYS", "*"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_a_certificate_that_nobody_trusted_signed_is_refused(guarded: Guarded, tmp_path: Path) -> None:
    other, _ = write_certificate(tmp_path)
    for trusted in ({}, {"OPTML_TLS_CA_FILE": str(other)}):
        settings = read_settings({"OPTML_BROKER_URL": guarded.url(), **trusted})
        with pytest.raises(UnreachableError, match="certificate verify failed") as caught:
            check_broker(settings.broker)
        assert "geheim" not in str(caught.value)
        store = Store.from_url(settings.store, retries=0)
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            store.ping()
        store.close()


def test_a_certificate_of_another_host_is_refused(guarded: Guarded, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "127.0.0.2")
    with tls_proxy(guarded.server.port, certificate, key) as port:
        settings = read_settings(
            {"OPTML_BROKER_URL": f"rediss://127.0.0.1:{port}/0", "OPTML_TLS_CA_FILE": str(certificate)}
        )
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            check_broker(settings.broker)


def test_a_missing_file_of_certificates_is_said() -> None:
    with pytest.raises(SettingsError, match="OPTML_TLS_CA_FILE: must be a file of certificates"):
        read_settings({"OPTML_TLS_CA_FILE": "/no/such/file.pem"})
