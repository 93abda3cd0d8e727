"""What the API costs: response times while trials run, pages of a large experiment, and memory of open event streams.

python benchmarks/api.py --trials 100000 --seconds 20 --streams 200
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from optml_queue.archive import open_archive
from optml_queue.cli.serving import address_of, listen
from optml_queue.embedded.provider import find_program
from optml_queue.embedded.server import LocalServer
from optml_queue.experiments import advance, submit
from optml_queue.spec import parse_spec
from optml_queue.store import Publication, Store
from optml_queue.store.tokens import Role, Tokens
from optml_queue.trial import TrialResult, TrialState, digest

SPEC = """name: {name}
algorithm: lms
parameters:
  learning_rate: {{min: 1, max: {trials}, step: 1}}
  filter_size: {{value: 5}}
"""


def carry_out(store: Store, experiment: str, rate: float | None = None, until: threading.Event | None = None) -> int:
    """Begin and finish trials by hand, `rate` a second (None: as fast as it goes); how many."""
    done, began = 0, time.monotonic()
    while until is None or not until.is_set():
        published: list[Publication] = []
        advance(store, published.extend, experiment)
        if not published:
            break
        for each in published:
            if until is not None and until.is_set():
                return done
            store.begin(experiment, each.number, each.generation, digest(each.params), "t", "w1", 60.0)
            metrics = {"nmse": 1 / (1 + (each.number * 7919) % 10_007), "mse": 1.0, "rmse": 1.0}
            store.finish(experiment, each.number, "t", TrialResult(TrialState.COMPLETE, metrics))
            done += 1
            if rate is not None:
                time.sleep(max(0.0, began + done / rate - time.monotonic()))
    return done


@contextlib.contextmanager
def served(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The API as a process of its own: its address and process id."""
    with listen("127.0.0.1", 0) as free:
        address, port = address_of(free), free.getsockname()[1]
    command = [sys.executable, "-c", "from optml_queue.cli.main import main; main()", "api", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            time.sleep(0.05)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def paced(client: httpx.Client, path: str, rate: float, seconds: float) -> list[float]:
    """Ask `rate` times a second whether or not answers are late; response times in seconds, from when it was due."""
    began = time.monotonic() + 0.1

    def ask(due: float) -> float:
        time.sleep(max(0.0, due - time.monotonic()))
        client.get(path).raise_for_status()
        return time.monotonic() - due

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask, [began + n / rate for n in range(int(rate * seconds))]))


def timed(client: httpx.Client, path: str, times: int = 3) -> dict[str, float]:
    """Seconds of the first and of the fastest later request, and the bytes of one answer."""
    taken, size = [], 0
    for _ in range(times):
        began = time.monotonic()
        response = client.get(path)
        response.raise_for_status()
        taken.append(time.monotonic() - began)
        size = len(response.content)
    return {"first_s": round(taken[0], 3), "later_s": round(min(taken[1:]), 3), "bytes": size}


def memory_mb(pid: int) -> float:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def streams_mb(client: httpx.Client, path: str, pid: int, count: int) -> float:
    """How much memory `count` open event streams take."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(client.stream("GET", path))  # what the first one loads is not theirs
        time.sleep(0.5)
        before = memory_mb(pid)
        held = [stack.enter_context(client.stream("GET", path)).iter_lines() for _ in range(count)]
        for lines in held:
            next(lines)
        time.sleep(2)
        return memory_mb(pid) - before


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def measure(trials: int, seconds: float, streams: int, folder: Path) -> dict[str, Any]:
    """All figures. Times in seconds."""
    server = LocalServer(find_program(folder), folder)
    server.start()
    try:
        store = Store.from_url(server.url)
        archive = open_archive(str(folder / "archive"))

        def submitted(name: str, size: int) -> str:
            return submit(store, archive, parse_spec(SPEC.format(name=name, trials=size), "spec", folder))

        large, live = submitted("large", trials), submitted("live", 1_000_000)
        carry_out(store, large)
        token, _ = Tokens(store).create("benchmark", Role.OPERATOR)
        environment = {
            "OPTML_BROKER_URL": server.url,
            "OPTML_ARCHIVE_URL": archive.url,
            "OPTML_API_REQUESTS_PER_MINUTE": "1000000",
        }
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {token}"}
        with (
            served(environment) as (address, pid),
            httpx.Client(
                base_url=f"{address}/api/v1/experiments", headers=headers, limits=limits, timeout=60
            ) as client,
        ):
            return figures(client, store, pid, large, live, seconds, streams)
    finally:
        server.stop()


def figures(
    client: httpx.Client, store: Store, pid: int, large: str, live: str, seconds: float, streams: int
) -> dict[str, Any]:
    """What the running API is asked for."""
    # First, while the process is fresh: what others freed would be used again, and look like nothing.
    memory = streams_mb(client, f"/{live}/events", pid, streams)
    ended = threading.Event()
    running = threading.Thread(target=carry_out, args=(store, live, 200.0, ended))
    running.start()
    taken = paced(client, f"/{live}", 50, seconds)
    ended.set()
    running.join()
    pages = {
        path: timed(client, f"/{large}{path}")
        for path in (
            "",
            "/trials",
            "/trials?offset=90000",
            "/trials?sort=metric&offset=50000",
            "/trials?sort=duration",
            "/trials?sort=params.learning_rate&descending=true&offset=50000",
            "/trials?where=learning_rate<100&sort=params.learning_rate",
            "/best",
            "/plots/points",
            "/plots/history",
            "/plots/timeline",
            "/plots/durations",
        )
    }
    return {
        "show_p50_s": round(percentile(taken, 50), 4),
        "show_p95_s": round(percentile(taken, 95), 4),
        "requests": len(taken),
        "pages": pages,
        "streams": streams,
        "streams_mb": round(memory, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="optml-bench-") as folder:
        print(json.dumps(measure(options.trials, options.seconds, options.streams, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
