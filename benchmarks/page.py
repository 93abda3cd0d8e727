"""The page of an experiment with many trials: server time, bytes, and how long the browser's main thread is held.

    python benchmarks/page.py --trials 100000

Starts a store and one process of the API, fills an experiment with finished trials by the store's own calls, opens its
page in Chromium (playwright; --chromium names the program) and scrolls through all of its plots, and then looks closer
at one. Needs the extras `api` and `search`, and playwright. Prints JSON: for the longest tasks of the main thread how
long they held it and, which a busy machine does not change, the processor time that they took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

from optml_queue.archive import open_archive
from optml_queue.embedded.provider import find_program
from optml_queue.embedded.server import LocalServer
from optml_queue.experiments import advance, submit
from optml_queue.spec import parse_spec
from optml_queue.store import Assignment, Publication, Store
from optml_queue.store.tokens import Role, Tokens
from optml_queue.trial import TrialResult, TrialState, digest

SPEC = """name: many
algorithm: lms
parameters:
  learning_rate: {{min: 1e-9, max: 1e-2, count: {rates}, scale: log}}
  filter_size: {{min: 1, max: 50, step: 1}}
  epochs: {{min: 1, max: 20, step: 1}}
data: sunspots
"""
POINTS_PER_RATE = 50 * 20
WARM_REQUESTS = 20
TRACED = ["toplevel", "devtools.timeline"]
TASKS = ("RunTask", "ThreadControllerImpl::RunTask")
SHOWN = 6
LIMIT_MS = 120_000  # for a plot to appear


def filled(store: Store, archive_url: str, trials: int) -> str:
    """An experiment whose trials have finished; its id. A tenth diverged."""
    text = SPEC.format(rates=max(2, trials // POINTS_PER_RATE))
    experiment = submit(store, open_archive(archive_url), parse_spec(text, "many", Path()))
    while True:
        published: list[Publication] = []
        advance(store, published.extend, experiment)
        if not published:
            return experiment
        for publication in published:
            _finish(store, publication)


def _finish(store: Store, publication: Publication) -> None:
    experiment, number, params = publication.experiment, publication.number, publication.params
    token, worker = f"t{number}", f"worker-{number % 16}"
    begun = store.begin(experiment, number, publication.generation, digest(params), token, worker, 60.0)
    if not isinstance(begun, Assignment):
        raise TypeError(f"trial {number} was declined: {begun.why}")
    rate, size = float(str(params["learning_rate"])), float(str(params["filter_size"]))
    noise = 0.005 * (number * 7919 % 97) / 97
    value = 0.06 + 0.02 * abs(math.log10(rate) + 5.5) ** 1.5 + 0.001 * abs(size - 12) + noise
    state = TrialState.DIVERGED if rate > 2e-3 else TrialState.COMPLETE
    metrics = {"nmse": math.nan if state is TrialState.DIVERGED else value}
    store.finish(experiment, number, token, TrialResult(state, metrics))


@contextmanager
def served(store_url: str, archive_url: str) -> Iterator[str]:
    """The address of one process of the API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
    environment |= {"OPTML_BROKER_URL": store_url, "OPTML_ARCHIVE_URL": archive_url}
    command = [sys.executable, "-m", "uvicorn", "optml_queue.api:create_app", "--factory", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)
    try:
        _await(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _await(address: str, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            urllib.request.urlopen(address).close()  # noqa: S310 - loopback
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def server_times(address: str, token: str, experiment: str) -> dict[str, Any]:
    """Seconds that the page's HTML takes: the first time, when nothing is cached, and then."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
    request = urllib.request.Request(f"{address}/experiments/{experiment}", headers=headers)  # noqa: S310 - loopback
    times, size = [], 0
    for _ in range(WARM_REQUESTS + 1):
        began = time.perf_counter()
        with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
            size = len(response.read())
        times.append(time.perf_counter() - began)
    return {
        "first_s": times[0],
        "median_s": statistics.median(times[1:]),
        "worst_s": max(times[1:]),
        "html_bytes": size,
    }


def browsed(address: str, token: str, experiment: str, chromium: str) -> dict[str, Any]:
    """What a browser downloads, and the tasks that hold its main thread, while all plots are scrolled through."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Experiments").wait_for()
        responses: list[Response] = []
        page.on("response", lambda response: responses.append(response))
        browser.start_tracing(page=page, categories=TRACED)
        page.goto(f"{address}/experiments/{experiment}")
        _scroll(page)
        tasks = _longest(browser.stop_tracing())
        loaded = [(each.url.removeprefix(address), each.request.sizes()["responseBodySize"]) for each in responses]
        browser.start_tracing(page=page, categories=TRACED)
        page.goto(f"{address}/experiments/{experiment}/plots/error")
        page.locator(".plot .main-svg").first.wait_for(timeout=LIMIT_MS)
        closer = _longest(browser.stop_tracing())
        browser.close()
    data = {name: size for name, size in loaded if not name.startswith("/static/")}
    return {
        "data_bytes": sum(size for name, size in loaded if not name.startswith("/static/")),
        "largest": dict(sorted(data.items(), key=lambda item: -item[1])[:5]),
        "library_bytes_once": sum(size for name, size in loaded if name.startswith("/static/")),
        "longest_tasks": tasks,
        "longest_tasks_looking_closer": closer,
    }


def _longest(trace: bytes) -> list[dict[str, int]]:
    """The longest tasks of main threads of pages in a trace of Chromium's, the longest first."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [e for e in events if e["ph"] == "X" and e["name"] in TASKS and (e["pid"], e["tid"]) in mains]
    tasks.sort(key=lambda task: -task.get("dur", 0))
    return [
        {"held_ms": round(task["dur"] / 1000), "processor_ms": round(task.get("tdur", 0) / 1000)}
        for task in tasks[:SHOWN]
    ]


def _scroll(page: Page) -> None:
    figures = page.locator(".plots figure")
    figures.first.wait_for()
    for figure in figures.element_handles():
        figure.evaluate("(it) => it.scrollIntoView({ block: 'center' })")
        drawn = "(it) => it.hidden || it.querySelector('.plot svg, .plot canvas') !== null"
        page.wait_for_function(drawn, arg=figure, timeout=LIMIT_MS)
    page.wait_for_timeout(1_000)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="optml-page-") as folder:
        home = Path(folder) / "store"
        home.mkdir()
        server = LocalServer(find_program(home), home)
        server.start()
        archive_url = str(Path(folder) / "archive")
        store = Store.from_url(server.url)
        try:
            token, _ = Tokens(store).create("benchmark", Role.OPERATOR)
            began = time.perf_counter()
            experiment = filled(store, archive_url, arguments.trials)
            report: dict[str, Any] = {"trials": store.experiment(experiment).finished}
            print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            with served(server.url, archive_url) as address:
                report["server"] = server_times(address, token, experiment)
                report["browser"] = browsed(address, token, experiment, arguments.chromium)
        finally:
            store.close()
            server.stop()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
