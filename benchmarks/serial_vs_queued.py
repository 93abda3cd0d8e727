"""The same spec run serially in one process and through queue and workers: how much faster, and at what cost?

    python benchmarks/serial_vs_queued.py examples/lms-large.yaml --workers 2
    python benchmarks/serial_vs_queued.py examples/lms-sunspots.yaml --workers 16 --sleep 2.16

Measured, each told apart into a cold start (nothing runs, nothing is loaded) and a warm one:

    serial    one process, one trial after another, no queue
    queued    the embedded server and N workers; from the submission until the submitter sees the last result
    fresh     one new process for each trial, N at a time: the least that a container for each trial would cost

Not measured but counted, from a model that is stated below: what a Kubernetes Job for each trial would ask of the
API server, against a Deployment of N workers. `--sleep S` replaces training by a sleep, to show scheduling alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optml_queue.archive import open_archive
from optml_queue.embedded import Session, join
from optml_queue.experiments import submit
from optml_queue.runner import run_serial
from optml_queue.search import segments
from optml_queue.spec import Algorithm, Spec, load_spec
from optml_queue.store import Store
from optml_queue.trial import Trial, encode

SLEEPING = Path(__file__).with_name("sleeping")
POLL_S = 0.025  # between two looks whether the final files are written
LIMIT_S = 120.0  # a measurement longer than this stops and is extrapolated, and says so
FRESH_PROCESSES = 5
RUN_LIMIT_S = 3600.0
COLUMNS = (
    "start",
    "serial s",
    "queued s",
    "workers",
    "speed-up",
    "efficiency",
    "trials/s",
    "median queue wait s",
    "overhead per trial ms",
    "last result visible after ms",
)

# What one trial asks of a Kubernetes API server: objects made, and writes to it (reads and watches come on top).
# Counted for the simplest course: one Pod, one container, image on the node, no failure, nothing deleted.
# Job tracking with finalizers follows KEP-2307; events as `kubectl describe job,pod` shows them.
JOB_OBJECTS = {"Job": 1, "Pod": 1, "Event": 6}
JOB_WRITES = {
    "create the Job": 1,
    "create the Pod (Job controller)": 1,
    "bind the Pod (scheduler)": 1,
    "Pod status: pending, running, succeeded (kubelet)": 3,
    "Job status: active, uncounted, complete (Job controller)": 3,
    "take the finalizer off the Pod (Job controller)": 1,
    "events: SuccessfulCreate, Scheduled, Pulled, Created, Started, Completed": 6,
}
# A Deployment of workers, paid once and not for each trial.
DEPLOYMENT_OBJECTS = {"Deployment": 1, "ReplicaSet": 1, "Event": 1}
DEPLOYMENT_WRITES = {"create the Deployment": 1, "create the ReplicaSet": 1, "their status": 2, "event": 1}
WORKER_OBJECTS = {"Pod": 1, "Event": 5}
WORKER_WRITES = {"create the Pod": 1, "bind it": 1, "its status": 2, "events": 5}


@dataclass(frozen=True, slots=True)
class Serial:
    """One process. Cold counts from the start of the process. `digest` stands for all results, to the last bit."""

    cold_s: float
    warm_s: float
    digest: str
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """One run through the queue. `last_visible_s`: from the end of the last trial until the submitter saw it.

    `cpu_outside` is the part of all CPU time spent outside of the processes that train; None where it cannot be read.
    """

    duration_s: float
    median_wait_s: float
    last_visible_s: float
    digest: str
    cpu_outside: float | None = None


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Objects and writes, by the model above."""

    job_objects: int
    job_writes: int
    deployment_objects: int
    deployment_writes: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured, and on what."""

    spec: str
    trials: int
    workers: int
    sleep_s: float | None
    serial: Serial
    cold: Queued
    warm: Queued
    warm_runs: int
    fresh_process_s: float
    fresh_processes: int
    kubernetes: Kubernetes
    machine: dict[str, str]

    @property
    def fresh_s(self) -> float:
        """A new process for each trial, `workers` at a time (extrapolated from `fresh_processes`)."""
        return math.ceil(self.trials / self.workers) * self.fresh_process_s

    @property
    def identical(self) -> bool | None:
        """Whether queue and serial run gave the same results; None where they cannot be compared."""
        if self.sleep_s is not None or self.serial.extrapolated:
            return None
        return self.serial.digest == self.cold.digest == self.warm.digest

    def row(self, serial_s: float, run: Queued) -> dict[str, float]:
        """One line of the table."""
        speedup = serial_s / run.duration_s
        return {
            "serial_s": serial_s,
            "queued_s": run.duration_s,
            "workers": self.workers,
            "speedup": speedup,
            "efficiency": speedup / self.workers,
            "trials_per_s": self.trials / run.duration_s,
            "median_wait_s": run.median_wait_s,
            "overhead_per_trial_s": (run.duration_s * self.workers - serial_s) / self.trials,
            "last_visible_s": run.last_visible_s,
        }

    def rows(self) -> dict[str, dict[str, float]]:
        """The table: cold and warm."""
        return {"cold": self.row(self.serial.cold_s, self.cold), "warm": self.row(self.serial.warm_s, self.warm)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    options = parser().parse_args(arguments)
    with measured_spec(options) as spec:
        if options.part:
            PARTS[options.part](spec, numbers_of(spec))
            return
        report = measure(spec, options)
    text = markdown(report)
    print(text)
    if options.output:
        store(report, text, options.output)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("spec", type=Path)
    result.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    result.add_argument("--sleep", type=float, metavar="S", help="replace training by a sleep of S seconds")
    result.add_argument("--repeat", type=int, default=3, metavar="R", help="warm runs; the median one is told (3)")
    result.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the spec's keys")
    result.add_argument("--output", type=Path, metavar="DIR", help="store the table as JSON, Markdown and a plot")
    # What this script asks of copies of itself: a part that needs a process of its own.
    result.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    return result


@contextmanager
def measured_spec(options: argparse.Namespace) -> Iterator[Spec]:
    """The spec to measure: for `--sleep`, with a copy of the sleeping algorithm in place of its own."""
    spec = load_spec(options.spec, options.set)
    if options.sleep is None:
        yield spec
        return
    with tempfile.TemporaryDirectory(prefix="optml-benchmark-") as temporary:
        folder = Path(temporary) / "sleeping"
        shutil.copytree(SLEEPING, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "replaced.json").write_text(json.dumps({"algorithm": spec.code.name, "sleep_s": options.sleep}))
        yield replace(spec, code=Algorithm(str(folder)))


def numbers_of(spec: Spec) -> list[int]:
    """The numbers of the spec's trials."""
    plan = segments(spec)
    taken, _next = plan.take(0, plan.end, spec.max_trials, scan=plan.end)
    return [number for number, _params, _seed in taken]


def measure(spec: Spec, options: argparse.Namespace) -> Report:
    """All measurements of one spec."""
    trials = len(numbers_of(spec))
    say(f"{spec.name}: {trials} trials, {options.workers} workers")
    serial = measure_serial(options)
    fresh_process_s, fresh_processes = measure_fresh(options, trials)
    cold, warm = measure_queued(spec, options.workers, options.repeat)
    return Report(
        spec=str(options.spec),
        trials=trials,
        workers=options.workers,
        sleep_s=options.sleep,
        serial=serial,
        cold=cold,
        warm=warm,
        warm_runs=options.repeat,
        fresh_process_s=fresh_process_s,
        fresh_processes=fresh_processes,
        kubernetes=kubernetes(trials, options.workers),
        machine=machine(),
    )


# Serial: a process of its own, so that nothing is loaded when it starts.


def measure_serial(options: argparse.Namespace) -> Serial:
    """A process that runs all trials twice: once cold, once warm."""
    say("serial, cold and warm …")
    began_at = time.time()
    found = json.loads(run_part("serial", options))
    return replace(Serial(**found), cold_s=found["cold_s"] - began_at)


def print_serial(spec: Spec, numbers: list[int]) -> None:
    """Run the trials twice. `cold_s` is printed as the moment (seconds since the epoch) of the first pass' end."""
    began_at, done, digest = run_pass(spec, numbers)
    first_s = (time.time() - began_at) * len(numbers) / done
    again_at, done_again, _ = run_pass(spec, numbers)
    warm_s = (time.time() - again_at) * len(numbers) / done_again
    extrapolated = done < len(numbers) or done_again < len(numbers)
    print(json.dumps(asdict(Serial(began_at + first_s, warm_s, digest, extrapolated))))


def run_pass(spec: Spec, numbers: list[int]) -> tuple[float, int, str]:
    """Run the trials until the time is up: when it began, how many were done, and their digest."""
    began_at = time.time()
    results = []
    for number, result in run_serial(spec, numbers):
        results.append((number, result.state, result.metrics))
        if time.time() - began_at > LIMIT_S:
            break
    return began_at, len(results), digest(results)


def digest(results: Sequence[tuple[int, Any, Any]]) -> str:
    """A fingerprint of results: number, state and every bit of every metric."""
    lines = sorted(encode([number, state, dict(sorted(metrics.items()))]) for number, state, metrics in results)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# Fresh: one new process for each trial.


def measure_fresh(options: argparse.Namespace, trials: int) -> tuple[float, int]:
    """Seconds of a process that runs one trial (mean), and how many were run to find out."""
    say("a fresh process for each trial …")
    durations: list[float] = []
    while len(durations) < min(FRESH_PROCESSES, trials) and sum(durations) < LIMIT_S:
        began = time.perf_counter()
        run_part("fresh", options)
        durations.append(time.perf_counter() - began)
    return statistics.mean(durations), len(durations)


def print_fresh(spec: Spec, numbers: list[int]) -> None:
    """Run the middle trial: the first ones of a grid are often extremes."""
    ((number, result),) = run_serial(spec, [numbers[len(numbers) // 2]])
    print(number, result.state)


def run_part(part: str, options: argparse.Namespace) -> str:
    """The output of a copy of this script that does one part."""
    command = [sys.executable, __file__, str(options.spec), "--part", part]
    command += [argument for override in options.set for argument in ("--set", override)]
    command += [] if options.sleep is None else ["--sleep", str(options.sleep)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


PARTS: dict[str, Callable[[Spec, list[int]], None]] = {"serial": print_serial, "fresh": print_fresh}


# Queued: through the embedded server.


def measure_queued(spec: Spec, workers: int, repeat: int) -> tuple[Queued, Queued]:
    """A cold run, from nothing running; then the median of some warm ones with the same workers."""
    with tempfile.TemporaryDirectory(prefix="optml-benchmark-") as temporary:
        say("queued, cold …")
        began = time.perf_counter()
        with join(Path(temporary), workers=workers) as session:
            cold = run_queued(session, spec, began)
            warm = []
            for run in range(repeat):
                say(f"queued, warm {run + 1} of {repeat} …")
                warm.append(run_queued(session, spec, time.perf_counter()))
    return cold, sorted(warm, key=lambda run: run.duration_s)[(len(warm) - 1) // 2]


def run_queued(session: Session, spec: Spec, began: float) -> Queued:
    """Submit and wait until every trial is seen to have ended."""
    client = Store.from_url(session.url)
    before = cpu_seconds(session.record.pid)
    experiment = submit(client, open_archive(session.archive_url), spec)
    deadline = began + RUN_LIMIT_S
    while True:
        found = client.experiment(experiment)
        if (found.exhausted or found.is_over) and found.terminal == found.total:
            break
        if time.perf_counter() > deadline:
            sys.exit(f"the experiment did not end within {RUN_LIMIT_S:g} s: {dict(found.counts)}")
        client.wait(experiment, found.finished, limit_s=0.5)
    seen_at, duration_s = time.time(), time.perf_counter() - began
    after = cpu_seconds(session.record.pid)
    mains = {int(worker.facts["pid"]) for worker in client.workers()}
    trials = list(client.stream(experiment))
    while not client.experiment(experiment).is_consolidated:  # its last files are not to disturb the next run
        time.sleep(POLL_S)
    return Queued(
        duration_s=duration_s,
        median_wait_s=statistics.median(trial.wait_s or 0.0 for trial in trials),
        last_visible_s=seen_at - max(map(ended_at, trials)),
        digest=digest([(trial.number, trial.state, trial.metrics) for trial in trials]),
        cpu_outside=part_outside(before, after, mains),
    )


Cpu = dict[int, tuple[int, float]]  # of each process: its parent, and the CPU seconds it has spent


def cpu_seconds(host: int) -> Cpu:
    """What this process, the host and all below it have spent. Linux; empty elsewhere."""
    found: Cpu = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        ticks = int(fields[11]) + int(fields[12])
        found[int(path.parent.name)] = int(fields[1]), ticks / os.sysconf("SC_CLK_TCK")
    ours = {host, os.getpid()}
    while below := {pid for pid, (parent, _) in found.items() if parent in ours and pid not in ours}:
        ours |= below
    return {pid: found[pid] for pid in ours if pid in found}


def part_outside(before: Cpu, after: Cpu, mains: set[int]) -> float | None:
    """The part of the CPU time between two looks that was not spent by children of workers' main processes."""
    spent = {pid: seconds - before.get(pid, (0, 0.0))[1] for pid, (_, seconds) in after.items()}
    total = sum(spent.values())
    if not total:
        return None
    return 1 - sum(spent[pid] for pid, (parent, _) in after.items() if parent in mains) / total


def ended_at(trial: Trial) -> float:
    """When the training was over: by the sleeping algorithm's own word, else when the store took the result."""
    return trial.metrics.get("ended_at") or trial.finished_at or 0.0


# Kubernetes: counted, not measured.


def kubernetes(trials: int, workers: int) -> Kubernetes:
    """What the API server is asked for: a Job for each trial, or one Deployment of workers."""

    def total(counts: dict[str, int]) -> int:
        return sum(counts.values())

    return Kubernetes(
        job_objects=trials * total(JOB_OBJECTS),
        job_writes=trials * total(JOB_WRITES),
        deployment_objects=total(DEPLOYMENT_OBJECTS) + workers * total(WORKER_OBJECTS),
        deployment_writes=total(DEPLOYMENT_WRITES) + workers * total(WORKER_WRITES),
    )


# Telling and keeping.


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_lines() -> list[str]:
    """Linux' description of the processors; none elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def markdown(report: Report) -> str:
    """The tables as people read them."""
    found = report.machine
    lines = [
        f"# {Path(report.spec).stem}: {report.trials:,} trials, {report.workers} workers"
        + (f", each a sleep of {report.sleep_s:g} s" if report.sleep_s is not None else ""),
        "",
        f"{found['cores']} cores ({found['cpu']}), {found['system']}, Python {found['python']}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for name, row in report.rows().items():
        lines.append(
            f"| {name} | {row['serial_s']:.3f} | {row['queued_s']:.3f} | {row['workers']} | {row['speedup']:.2f} "
            f"| {row['efficiency']:.3f} | {row['trials_per_s']:.1f} | {row['median_wait_s']:.3f} "
            f"| {row['overhead_per_trial_s'] * 1e3:.2f} | {row['last_visible_s'] * 1e3:.0f} |"
        )
    return "\n".join([*lines, "", *notes(report)]) + "\n"


def notes(report: Report) -> Iterator[str]:
    """What stands below the table."""
    asked = report.kubernetes
    yield f"- Warm is the median of {report.warm_runs} runs."
    if report.warm.cpu_outside is not None:
        yield f"- CPU time outside of the processes that train, warm: {report.warm.cpu_outside:.1%} of all."
    yield (
        f"- A fresh process for each trial, {report.workers} at a time: {report.fresh_s:.1f} s, extrapolated from "
        f"{report.fresh_processes} processes of {report.fresh_process_s:.3f} s each, run one after another. "
        "A container costs more."
    )
    yield (
        f"- Kubernetes, by the model in the script: a Job for each trial makes {asked.job_objects:,} objects with "
        f"{asked.job_writes:,} writes; a Deployment of {report.workers} workers {asked.deployment_objects:,} with "
        f"{asked.deployment_writes:,}, however many trials follow."
    )
    if report.serial.extrapolated:
        yield f"- The serial figures are extrapolated from the trials that fit into {LIMIT_S:g} s."
    if report.identical is not None:
        verdict = "yes" if report.identical else "NO"
        yield f"- Results identical to the serial run's, to the last bit: {verdict}."


def store(report: Report, text: str, folder: Path) -> None:
    """Write JSON, Markdown and plot into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(report.spec).stem + (f"-sleep-{report.sleep_s:g}" if report.sleep_s is not None else "")
    content = {**asdict(report), "fresh_s": report.fresh_s, "identical": report.identical, "rows": report.rows()}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{name}.md").write_text(text)
    plot(report, folder / f"{name}.png")


def plot(report: Report, path: Path) -> None:
    """The durations as bars, on a log scale: they differ by orders of magnitude."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = {
        "serial, cold": report.serial.cold_s,
        "serial, warm": report.serial.warm_s,
        "fresh process\nfor each trial": report.fresh_s,
        "queued, cold": report.cold.duration_s,
        "queued, warm": report.warm.duration_s,
        "ideal": report.serial.warm_s / report.workers,
    }
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colors = ["#8c8c8c", "#8c8c8c", "#c44e52", "#4c72b0", "#4c72b0", "#55a868"]
    drawn = axes.bar(list(bars), list(bars.values()), color=colors)
    axes.bar_label(drawn, fmt="{:.3g} s")
    axes.set_yscale("log")
    axes.set_ylabel("seconds for all trials")
    axes.set_title(f"{Path(report.spec).stem}: {report.trials:,} trials, {report.workers} workers")
    figure.savefig(path, dpi=120)


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
