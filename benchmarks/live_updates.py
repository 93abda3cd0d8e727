"""How soon a trial's end is seen: from the store's clock to an event at a client, and to the page in a browser.

    python benchmarks/live_updates.py --seconds 20 --rate 200

Starts a store and one process of the API, and begins and finishes trials by the store's own calls: of one experiment at
a pace, of another one every few seconds. A client follows each by server-sent events, and a browser (Chromium;
--chromium names it, --no-browser leaves it out) shows the page of each. Latency is counted for every trial: its
`finished_at` (the store's clock, in milliseconds; the same machine) is taken from the moment at which its event was
there, and at which the page's count of ended trials had reached it, once the page and its first plots stand. Needs the
extra `api` and playwright. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, only its own folder is there

from benchmarks.page import served
from optml_queue.archive import open_archive
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
  learning_rate: {{min: 1, max: 100000, step: 1}}
  filter_size: {{value: 5}}
"""
SETTLE_S = 3.0  # what is on its way arrives
# Kept by the page for us: when its count of ended trials changed, and to what.
WATCH = """window.shown = [];
const note = () => { const n = Number(document.getElementById("ended")?.textContent.replace(/\\D/g, ""));
    if (window.shown.at(-1)?.[1] !== n) window.shown.push([Date.now() / 1000, n]); };
document.addEventListener("DOMContentLoaded", () => {
    note();
    new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
});"""


class Pace:
    """Trials of one experiment that end by hand, at times that are given."""

    def __init__(self, store: Store, archive_url: str, name: str, every_s: float) -> None:
        self.store, self.every_s = store, every_s
        spec = parse_spec(SPEC.format(name=name), "spec", Path())
        self.experiment = submit(store, open_archive(archive_url), spec)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        began, done = time.monotonic(), 0
        while not self._ended.is_set():
            published: list[Publication] = []
            advance(self.store, published.extend, self.experiment)
            for each in published:
                done += 1
                if self._ended.wait(max(0.0, began + done * self.every_s - time.monotonic())):
                    return
                self.store.begin(each.experiment, each.number, each.generation, digest(each.params), "t", "w1", 60.0)
                result = TrialResult(TrialState.COMPLETE, {"nmse": 1 / (1 + (each.number * 7919) % 10_007)})
                self.store.finish(each.experiment, each.number, "t", result)

    def finished_at(self) -> list[float]:
        """When each of its trials ended, in the order of ending."""
        count = self.store.experiment(self.experiment).finished
        return [trial.finished_at or 0.0 for trial in self.store.finished(self.experiment, 0, count)]


class Follower:
    """A client of an experiment's events: how late each trial came, in seconds."""

    def __init__(self, address: str, token: str, experiment: str) -> None:
        self.late_s: list[float] = []
        self._client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        self._path = f"/api/v1/experiments/{experiment}/events?since=0"
        self._stopped = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._client.close()

    def _follow(self) -> None:
        event = ""
        with suppress(httpx.TransportError), self._client.stream("GET", self._path) as response:
            for line in response.iter_lines():
                now = time.time()
                if self._stopped:
                    return
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif event == "trials" and line.startswith("data: "):
                    trials = json.loads(line.removeprefix("data: "))
                    self.late_s += [now - trial["finished_at"] for trial in trials]


@contextmanager
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=chromium, args=options)
        yield running
        running.close()


def opened(running: Browser, address: str, token: str, experiment: str) -> Page:
    """The page of an experiment, in a window of its own."""
    page = running.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(WATCH)
    page.goto(address)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Experiments").wait_for()
    page.goto(f"{address}/experiments/{experiment}")
    page.locator(".plots figure .plot svg, .plots figure .plot canvas").first.wait_for()
    page.wait_for_timeout(SETTLE_S * 1000)
    page.evaluate("shown.splice(0, shown.length - 1)")
    return page


def shown_late_s(page: Page, finished_at: list[float]) -> list[float]:
    """How late each trial that ended while the page was open was counted in it, in seconds."""
    shown: list[tuple[float, int]] = page.evaluate("shown")
    late, seen = [], shown[0][1]
    for moment, count in shown[1:]:
        late += [moment - each for each in finished_at[seen:count]]
        seen = max(seen, count)
    return late


def figures(late_s: list[float]) -> dict[str, Any]:
    """Median, 95th percentile and maximum."""
    if not late_s:
        return {"trials": 0}
    p95 = statistics.quantiles(late_s, n=100)[94] if len(late_s) > 1 else late_s[0]
    named = {"median_s": statistics.median(late_s), "p95_s": p95, "max_s": max(late_s)}
    return {"trials": len(late_s), **{name: round(value, 3) for name, value in named.items()}}


def measure(server_url: str, archive_url: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures, while trials of both experiments run."""
    store = Store.from_url(server_url)
    token, _ = Tokens(store).create("benchmark", Role.OPERATOR)
    paces = {
        f"{options.rate:g} trials/s": Pace(store, archive_url, "quick", 1 / options.rate),
        f"a trial every {options.slow_s:g} s": Pace(store, archive_url, "slow", options.slow_s),
    }
    report: dict[str, Any] = {}
    with served(server_url, archive_url) as address, ExitStack() as stack:
        followers = {name: Follower(address, token, pace.experiment) for name, pace in paces.items()}
        for pace in paces.values():
            pace.start()
        pages = {}
        if not options.no_browser:
            running = stack.enter_context(browser(options.chromium))
            pages = {name: opened(running, address, token, pace.experiment) for name, pace in paces.items()}
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            for page in pages.values():
                page.wait_for_timeout(200)  # the browser's events are read here
            time.sleep(0.05)
        for pace in paces.values():
            pace.stop()
        time.sleep(SETTLE_S)
        for name, pace in paces.items():
            report[name] = {"event": figures(followers[name].late_s)}
            followers[name].stop()
            if pages:
                report[name]["page"] = figures(shown_late_s(pages[name], pace.finished_at()))
    store.close()
    return report


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0, help="trials that end in a second")
    parser.add_argument("--slow-s", type=float, default=2.0, help="seconds between two trials of the other experiment")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="optml-live-") as folder:
        home = Path(folder) / "store"
        home.mkdir()
        server = LocalServer(find_program(home), home)
        server.start()
        try:
            print(json.dumps(measure(server.url, str(Path(folder) / "archive"), options), indent=2))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
