"""S3 and SQS for tests: moto's server as a process of its own, on loopback and a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

START_LIMIT_S = 30.0

# The port is chosen by the server, so that two of them never race for one.
_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()  # until its parent is gone
"""


@contextmanager
def moto_server() -> Iterator[str]:
    """The endpoint's URL; the server ends with the block, or with this process."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, f"moto's server ended with {process.wait()}"
        endpoint = f"http://{address}"
        _wait_for(endpoint)
        yield endpoint
    finally:
        process.kill()  # it keeps nothing that is worth a goodbye
        process.wait()
        process.stdin.close()
        process.stdout.close()


def aws_settings(endpoint: str) -> dict[str, str]:
    """The environment under which clients of AWS talk to this server, and to nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _wait_for(endpoint: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=5):  # noqa: S310 -- loopback
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
