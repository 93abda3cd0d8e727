"""A great experiment seen from outside: what submitting, reading and keeping it cost.

    python benchmarks/scale_reads.py [--points 1000000] [--finished 100000] [--output benchmarks/results]

- Submitting a grid of a million points, detached: how long the command takes, what memory, and when the first trial
  has begun, with two workers waiting.
- With 100,000 finished trials in the store: `optml status`, `optml best` and `optml export`, each a process of its
  own, its start included; and what a finished trial takes in the store, by the server's MEMORY USAGE of every key.
- The same with `retain: summary`, when the archive has all of them.
- The same grid again with `reuse: true`: how long the list of results takes at its submission, and how long it is
  until all trials have ended by it, with the processor time of the server and of the process that advances it.

The finished trials are brought in as `optml restore` does it, which leaves the same keys as running them would.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks.serial_vs_queued import machine, say  # noqa: E402
from optml_queue.archive import open_archive  # noqa: E402
from optml_queue.embedded import join  # noqa: E402
from optml_queue.experiments import advance, submit  # noqa: E402
from optml_queue.restoration import submission_of  # noqa: E402
from optml_queue.results import write_parts  # noqa: E402
from optml_queue.search import segments  # noqa: E402
from optml_queue.spec import Spec, parse_spec  # noqa: E402
from optml_queue.store import ExperimentState, Store  # noqa: E402
from optml_queue.trial import Trial, TrialState  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

SPEC = """
name: scale
algorithm: lms
method: grid
metric: {{name: nmse, goal: minimize}}
parameters:
  learning_rate: {{min: 1e-9, max: 1e-5, count: {count}, scale: log}}
  filter_size: {{min: 3, max: 12, step: 1}}
data: {{name: sunspots}}
"""
OPTML = "from optml_queue.cli.main import main; main()"
SUBMIT = "from optml_queue.cli.main import submit_main; submit_main()"
SIZES = 10  # of filters in the spec
BATCH = 1_000
WORKER = "worker-7f9c6d5b8-x2x9k-1"  # as long as a pod's name
LIMIT_S = 60.0


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5, help="how often each command runs; the median counts")
    parser.add_argument("--output", type=Path, help="folder for scale-reads.json")
    options = parser.parse_args()
    found = {"machine": machine(), "points": options.points, "finished": options.finished}
    with tempfile.TemporaryDirectory(prefix="optml-scale-") as folder:
        found |= submitting(Path(folder), options.points)
    with valkey_server() as server, tempfile.TemporaryDirectory(prefix="optml-scale-") as folder:
        found |= reading(server.url, Path(folder), options.finished, options.repeat)
    with valkey_server() as server, tempfile.TemporaryDirectory(prefix="optml-scale-") as folder:
        found |= retaining(server.url, Path(folder), options.finished)
    with valkey_server() as server, tempfile.TemporaryDirectory(prefix="optml-scale-") as folder:
        found |= reusing(server.url, Path(folder), options.finished)
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "scale-reads.json").write_text(text + "\n")


def spec_of(points: int, more: str = "") -> Spec:
    """A grid of `points` points, a multiple of ten; `more` keys."""
    return parse_spec(SPEC.format(count=points // SIZES) + more, "scale", FOLDER)


def submitting(folder: Path, points: int) -> dict[str, float]:
    """Submit a grid, detached, to two workers that wait."""
    say(f"submitting {points:,} points …")
    spec = folder / "scale.yaml"
    spec.write_text(SPEC.format(count=points // SIZES))
    results = folder / "results"
    with join(results, workers=2) as session:
        store = Store.from_url(session.url)
        command = [sys.executable, "-c", SUBMIT, str(spec), "--detach", "--results", str(results)]
        began = time.time()
        submitted = timed(command)
        experiment = store.resolve("latest")
        first_at = first_begin(store, experiment)
        created_at = store.experiment(experiment).created_at
        store.cancel(experiment)
        subprocess.run([sys.executable, "-c", OPTML, "down", "--results", str(results)], check=True)
    return {
        "submit_s": submitted.wall_s,
        "submitter_peak_mb": submitted.peak_mb,
        "first_begin_after_submission_s": first_at - created_at,
        "first_begin_after_start_of_command_s": first_at - began,
    }


def first_begin(store: Store, experiment: str) -> float:
    """When the first trial began, by the store's clock."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if begun := [t.started_at for t in store.finished(experiment, 0, BATCH) if t.started_at is not None]:
            return min(begun)
        time.sleep(0.02)
    sys.exit(f"no trial ended within {LIMIT_S:g} s")


def reading(url: str, folder: Path, trials: int, repeat: int) -> dict[str, float]:
    """Fill the store, then look at it as users do."""
    say(f"bringing {trials:,} finished trials …")
    store = Store.from_url(url)
    experiment = fill(store, folder, trials)
    environment = commands_environment(url, folder)
    table = folder / "table.csv"

    def median(*arguments: str) -> Run:
        say(f"optml {arguments[0]} …")
        command = [sys.executable, "-c", OPTML, *arguments]
        timed(command, environment)
        return sorted(timed(command, environment) for _ in range(repeat))[repeat // 2]

    export = median("export", experiment, "--format", "csv", "--output", str(table))
    with table.open("rb") as file:
        rows = sum(1 for _ in file) - 1
    if rows != trials:
        sys.exit(f"the table has {rows:,} rows, not {trials:,}")
    status, best = median("status", experiment), median("best", experiment)
    return {
        "status_s": status.wall_s,
        "status_cpu_s": status.cpu_s,
        "best_s": best.wall_s,
        "best_cpu_s": best.cpu_s,
        "export_csv_s": export.wall_s,
        "export_csv_cpu_s": export.cpu_s,
        "export_csv_rows_per_s": rows / export.wall_s,
        "export_csv_peak_mb": export.peak_mb,
        "bytes_per_finished_trial": stored_bytes(store) / trials,
    }


def retaining(url: str, folder: Path, trials: int) -> dict[str, float]:
    """With `retain: summary`: what the store holds when the archive has it all, and what reading costs then."""
    say(f"giving up the records of {trials:,} trials …")
    store = Store.from_url(url)
    experiment = fill(store, folder, trials, "retain: summary")
    archive = open_archive(str(folder))
    store.client.hset(f"optml:x:{experiment}", "archived", 0)  # a restored one counts as archived
    write_parts(store, archive, experiment, force=True)
    began = time.perf_counter()
    while store.forget(experiment):
        pass
    forgot_s = time.perf_counter() - began
    environment = commands_environment(url, folder)
    found = {"retain_summary_bytes_per_finished_trial": stored_bytes(store) / trials, "forget_s": forgot_s}
    for name, arguments in {
        "status": ("status", experiment),
        "best": ("best", experiment),
        "export_csv": ("export", experiment, "--format", "csv", "--output", str(folder / "table.csv")),
    }.items():
        command = [sys.executable, "-c", OPTML, *arguments]
        timed(command, environment)
        found[f"retain_summary_{name}_s"] = timed(command, environment).wall_s
    return found


def reusing(url: str, folder: Path, trials: int) -> dict[str, float]:
    """Every trial of a grid takes the result of the one before over."""
    say(f"taking over {trials:,} results …")
    store, archive = Store.from_url(url), open_archive(str(folder))
    fill(store, folder, trials)
    began = time.perf_counter()
    experiment = submit(store, archive, spec_of(trials, "reuse: true"))
    listed_s = time.perf_counter() - began
    began, cpu_s, server_cpu_s = time.perf_counter(), time.process_time(), server_time_s(store)
    while not store.experiment(experiment).is_over:
        if advance(store, lambda _publications: None, experiment, archive=archive):
            sys.exit("a trial has no result")
    return {
        "reuse_list_s": listed_s,
        "reuse_s": time.perf_counter() - began,
        "reuse_cpu_s": time.process_time() - cpu_s,
        "reuse_server_cpu_s": server_time_s(store) - server_cpu_s,
    }


def server_time_s(store: Store) -> float:
    """The server's processor time so far."""
    cpu = store.client.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def commands_environment(url: str, folder: Path) -> dict[str, str]:
    """Compiled, as an installed package is, from the second run of each command on."""
    compiled = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**compiled, "OPTML_BROKER_URL": url, "OPTML_STORE_URL": url, "OPTML_ARCHIVE_URL": str(folder)}


class Run(NamedTuple):
    """One run of a command, its start included. On a busy machine, CPU seconds say more than those of the clock."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def timed(command: list[str], environment: dict[str, str] | None = None) -> Run:
    """Run a command. Exits when it fails."""
    began = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, **quiet)  # type: ignore[call-overload]  # mypy: options by name
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command[3:])} failed")
    return Run(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def fill(store: Store, folder: Path, trials: int, more: str = "") -> str:
    """An experiment all of whose trials are complete, with figures as an LMS trial has them."""
    spec = spec_of(trials, more)
    experiment = submit(store, open_archive(str(folder)), spec)
    record = store.experiment(experiment)
    store.remove(experiment)
    store.restore(record, submission_of(spec, record.facts))
    remaining = finished(spec, trials)
    while batch := list(islice(remaining, BATCH)):
        store.restore_finished(experiment, batch)
    ended = replace(record, state=ExperimentState.COMPLETE, exhausted=True, next=trials, created=trials)
    store.restored(replace(ended, finished_at=time.time()), range(trials))
    return experiment


def finished(spec: Spec, trials: int) -> Iterator[Trial]:
    """Complete trials with floats that need all their digits."""
    now = time.time()
    for number, params, seed in islice(segments(spec), trials):
        value = 1 / (number + 3)
        yield Trial(
            number=number,
            state=TrialState.COMPLETE,
            params=params,
            seed=seed,
            metrics={"nmse": value, "mse": 1e3 * value, "rmse": (1e3 * value) ** 0.5},
            attempts=1,
            worker=WORKER,
            queued_at=now - 2,
            started_at=now - 1,
            finished_at=now,
        )


def stored_bytes(store: Store) -> int:
    """What all keys take, by the server's own reckoning of every element."""
    keys = store.client.scan_iter(count=BATCH)
    return sum(store.client.memory_usage(key, samples=0) for key in keys)


if __name__ == "__main__":
    main()
