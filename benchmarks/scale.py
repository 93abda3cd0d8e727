"""The policy played through at 10 to 10,000 workers, and the real thing beside it where two cores carry it.

    python benchmarks/scale.py [--real 50] [--trial-s 60] [--price-per-hour 0.04] [--output benchmarks/results]

A discrete-event simulation: workers come as the autoscaler finds a backlog (polled every --poll-s; nodes, then pods,
take their time to start; idle ones leave after --idle-s), take trials one by one, each at the measured cost of a trial
around its training, and wait when the window of published trials is empty, which the control process fills when a
fifth is gone. The control process publishes one message after another. The server does one thing at a time: publish,
begin and finish of a trial wait for it, at the processor time that a trial was measured to cost it, and beats take
their part of it away. Workers are lost without notice, each once in --lost-every-h hours on average: its work is
lost, the lease ends, the trial is published again, and another node comes.
With --real N, N workers that sleep run the same trials through a real queue, all there from the beginning; the server's
commands and processor time are measured, for a trial and for a worker that waits, and the simulation is run with them.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

IDLE_S = 6.0  # how long the load of workers that wait is measured


@dataclass(frozen=True, slots=True)
class Policy:
    """Delays and costs, in seconds. Of the server: commands and processor time for a trial, and for a second of a
    worker (its beats); the defaults are what --real 50 measured."""

    trial_overhead_s: float = 0.0103
    publish_s: float = 0.0002
    trial_commands: float = 74.2
    trial_server_s: float = 0.00059
    worker_commands: float = 5.5
    worker_server_s: float = 0.000263
    lease_s: float = 8.0
    beat_s: float = 2.0
    lost_every_s: float = math.inf
    poll_s: float = 15.0
    node_s: float = 60.0
    pod_s: float = 10.0
    idle_s: float = 300.0
    is_scaled: bool = True


@dataclass(frozen=True, slots=True)
class Course:
    """How a simulated experiment went. `worker_s` is what is paid for: from a worker's node until it left."""

    makespan_s: float
    worker_s: float
    attempts: int
    lost: int


def window_of(workers: int, per_second: float) -> int:
    """As the claim script has it, for an experiment that is alone."""
    return min(10_000, max(100, 2 * workers, math.ceil(0.25 * per_second)))


class Server:
    """Does one thing at a time, beside the beats of its workers."""

    def __init__(self, policy: Policy, workers: int) -> None:
        left = 1.0 - workers * policy.worker_server_s
        self._call_s = policy.trial_server_s / 3 / max(1e-3, left)  # publish, begin, finish
        self._free_s = 0.0

    def call(self, at_s: float) -> float:
        """When a call made then is answered."""
        self._free_s = max(self._free_s, at_s) + self._call_s
        return self._free_s


class Simulation:
    """One experiment on up to so many workers."""

    def __init__(self, durations_s: Sequence[float], workers: int, policy: Policy) -> None:
        self.durations_s, self.policy = durations_s, policy
        self.chance = random.Random(workers)
        self.server = Server(policy, workers)
        self.window = window_of(workers, workers * len(durations_s) / sum(durations_s))
        self.begun = 0  # of those published for the first time
        self.visible_s: list[float] = []
        self.control_free_s = self.last_s = self.paid_s = 0.0
        self.attempts = self.lost = 0
        self.again: list[tuple[float, float]] = []  # lost trials: when they are published again, duration
        self.free = [
            (at_s, at_s, False) for at_s in _arrivals(len(durations_s), workers, policy)
        ]  # when, since, after a trial
        heapq.heapify(self.free)

    def run(self) -> Course:
        """Play it through."""
        while self.free:
            now_s, since_s, ends_trial = heapq.heappop(self.free)
            if ends_trial:
                now_s = self.server.call(now_s) + self.policy.trial_overhead_s
                self.last_s = max(self.last_s, now_s)
            self._publish(now_s)
            taken = self._take(now_s)
            if taken is None:
                self._pay(since_s, now_s + (self.policy.idle_s if self.policy.is_scaled else 0.0))
            elif taken[0] > now_s + 1.0:  # a lost trial whose lease has yet to end
                heapq.heappush(self.again, taken)
                heapq.heappush(self.free, (taken[0], since_s, False))
            else:
                self._run(*taken, since_s)
        return Course(self.last_s, self.paid_s, self.attempts, self.lost)

    def _publish(self, now_s: float) -> None:
        if len(self.visible_s) - self.begun > 0.8 * self.window:
            return
        self.control_free_s = max(self.control_free_s, now_s)
        while len(self.visible_s) < min(self.begun + self.window, len(self.durations_s)):
            self.control_free_s = self.server.call(self.control_free_s + self.policy.publish_s)
            self.visible_s.append(self.control_free_s)

    def _take(self, now_s: float) -> tuple[float, float] | None:
        """When the next trial may begin, and how long it takes; a worker that finds none waits for a lost one."""
        if self.again and (self.again[0][0] <= now_s or self.begun == len(self.durations_s)):
            due_s, duration_s = heapq.heappop(self.again)
            return max(now_s, due_s), duration_s
        if self.begun == len(self.durations_s):
            return None
        self.begun += 1
        return max(now_s, self.visible_s[self.begun - 1]), self.durations_s[self.begun - 1]

    def _run(self, at_s: float, duration_s: float, since_s: float) -> None:
        begin_s = self.server.call(at_s)
        self.attempts += 1
        survives_s = self.chance.expovariate(1.0) * self.policy.lost_every_s
        if survives_s < duration_s:
            lost_s = begin_s + survives_s
            self.lost += 1
            heapq.heappush(self.again, (lost_s + self.policy.lease_s, duration_s))
            self._pay(since_s, lost_s)
            another_s = lost_s + self.policy.poll_s / 2 + self.policy.node_s + self.policy.pod_s
            heapq.heappush(self.free, (another_s, another_s, False))
            return
        heapq.heappush(self.free, (begin_s + duration_s, since_s, True))

    def _pay(self, since_s: float, until_s: float) -> None:
        self.paid_s += until_s - since_s + (self.policy.node_s if self.policy.is_scaled else 0.0)


def simulated(durations_s: Sequence[float], workers: int, policy: Policy) -> Course:
    """Play the trials through on up to so many workers."""
    return Simulation(durations_s, workers, policy).run()


def _arrivals(trials: int, workers: int, policy: Policy) -> list[float]:
    """When each worker begins to take trials: in one wave at the first poll, for the backlog is told whole."""
    needed = min(workers, trials)
    if not policy.is_scaled:
        return [0.0] * needed
    chance = random.Random(workers)
    first_poll_s = policy.poll_s / 2
    return [first_poll_s + policy.node_s * chance.uniform(0.75, 1.25) + policy.pod_s for _ in range(needed)]


def durations(trials: int, mean_s: float) -> list[float]:
    """Log-normal ones, of spread 0.5, longest first."""
    chance = random.Random(trials)
    drawn = [chance.lognormvariate(0.0, 0.5) for _ in range(trials)]
    factor = mean_s * trials / sum(drawn)
    return sorted((round(each * factor, 9) for each in drawn), reverse=True)


HEADER = (
    "| workers | trials | lost | lower bound s | makespan s | bound / makespan | paid time training | cost "
    "| store commands/s | server busy | broker requests/s |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one number of workers. Broker requests are those of SQS: ten messages a send, one a receive."""

    workers: int
    trials: int
    lost: int
    bound_s: float
    makespan_s: float
    efficiency: float
    paid_training: float
    cost: float
    commands_per_s: float
    server_busy: float
    broker_per_s: float

    def __str__(self) -> str:
        if self.server_busy >= 1:
            full = f"| {self.workers:,} | {self.trials:,} | | {self.bound_s:,.0f} | the server is full | | | "
            return f"{full}| {self.commands_per_s:,.0f} | {self.server_busy:.1%} | {self.broker_per_s:,.0f} |"
        return (
            f"| {self.workers:,} | {self.trials:,} | {self.lost:,} | {self.bound_s:,.0f} | {self.makespan_s:,.0f} "
            f"| {self.efficiency:.1%} | {self.paid_training:.1%} | {self.cost:,.2f} "
            f"| {self.commands_per_s:,.0f} | {self.server_busy:.1%} | {self.broker_per_s:,.0f} |"
        )


def row(workers: int, per_worker: int, trial_s: float, price: float, policy: Policy) -> Row:
    """Play one number of workers through."""
    durations_s = durations(workers * per_worker, trial_s)
    course = simulated(durations_s, workers, policy)
    total_s = sum(durations_s)
    bound_s = max(durations_s[0], total_s / workers)
    # What is asked of the server and the broker: were it full, trials would last longer, and ask for less.
    per_s = course.attempts / max(bound_s, min(course.makespan_s, 2 * bound_s))
    return Row(
        workers=workers,
        trials=len(durations_s),
        lost=course.lost,
        bound_s=bound_s,
        makespan_s=course.makespan_s,
        efficiency=bound_s / course.makespan_s,
        paid_training=total_s / course.worker_s,
        cost=course.worker_s / 3600 * price,
        commands_per_s=policy.trial_commands * per_s + policy.worker_commands * workers,
        server_busy=policy.trial_server_s * per_s + policy.worker_server_s * workers,
        broker_per_s=2.1 * per_s + workers / policy.beat_s,
    )


def _unless_full(row: Row, value: float) -> float:
    return value if row.server_busy < 1 else math.nan


def plot(rows: Sequence[Row], path: Path) -> None:
    """Efficiency, and the load on the server, by the number of workers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    workers = [each.workers for each in rows]
    part = figure.add_subplot(1, 2, 1)
    part.plot(
        workers,
        [_unless_full(each, each.efficiency) for each in rows],
        "o-",
        color="#4c72b0",
        label="lower bound / makespan",
    )
    part.plot(
        workers,
        [_unless_full(each, each.paid_training) for each in rows],
        "s--",
        color="#8c8c8c",
        label="paid time training",
    )
    part.set_ylim(0, 1)
    load = figure.add_subplot(1, 2, 2)
    load.plot(workers, [each.commands_per_s for each in rows], "o-", color="#4c72b0", label="store commands/s")
    load.plot(workers, [each.broker_per_s for each in rows], "s--", color="#c44e52", label="SQS requests/s")
    load.set_yscale("log")
    for axes in (part, load):
        axes.set_xscale("log")
        axes.set_xlabel("workers")
        axes.legend()
    figure.savefig(path, dpi=120)


def real(workers: int, per_worker: int, trial_s: float, policy: Policy) -> tuple[Policy, list[str]]:
    """Run it; the policy with what was measured, and lines that set it beside its simulation."""
    durations_s = durations(workers * per_worker, trial_s)
    with (
        valkey_server() as server,
        TemporaryDirectory() as name,
        cluster({"OPTML_BROKER_URL": server.url}, Path(name), workers) as crew,
    ):
        driver = crew.algorithm / "driver.py"
        driver.write_text(driver.read_text() + '\n\ndef cost(params, rows):\n    return params["sleep_s"]\n')
        _run(crew, [0.001 * (i + 1) for i in range(2 * workers)], "warm-up")
        idle = _load(crew)
        time.sleep(IDLE_S)
        before = _load(crew)
        worker_commands, worker_server_s = ((b - a) / IDLE_S / workers for a, b in zip(idle, before, strict=True))
        makespan_s, overhead_s = _run(crew, durations_s, "measured")
        spent = [b - a for a, b in zip(before, _load(crew), strict=True)]
    beats_s = workers * makespan_s
    policy = replace(
        policy,
        trial_overhead_s=overhead_s,
        worker_commands=worker_commands,
        worker_server_s=worker_server_s,
        trial_commands=max(0.0, spent[0] - worker_commands * beats_s) / len(durations_s),
        trial_server_s=max(0.0, spent[1] - worker_server_s * beats_s) / len(durations_s),
    )
    course = simulated(durations_s, workers, replace(policy, is_scaled=False, lost_every_s=math.inf))
    bound_s = max(durations_s[0], sum(durations_s) / workers)
    return policy, [
        f"- real, {workers} workers, {len(durations_s)} trials: {makespan_s:.2f} s; lower bound {bound_s:.2f} s",
        f"- simulated with what was measured: {course.makespan_s:.2f} s ({course.makespan_s / makespan_s - 1:+.1%})",
        (
            f"- a trial's time beyond its sleep, median {overhead_s * 1000:.1f} ms; of the server "
            f"{policy.trial_commands:.1f} commands and {policy.trial_server_s * 1e6:.0f} µs of processor time a trial, "
            f"{worker_commands:.1f} and {worker_server_s * 1e6:.0f} µs a second of a worker"
        ),
    ]


def _load(crew: Cluster) -> tuple[float, float]:
    """Commands that the server carried out, and its processor time."""
    cpu = crew.store.client.info("cpu")
    commands = crew.store.client.info("stats")["total_commands_processed"]
    return float(commands), float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def _run(crew: Cluster, durations_s: Sequence[float], name: str) -> tuple[float, float]:
    """The makespan, and the median time from the begin of a worker's trial to that of its next, less its sleep."""
    values = ", ".join(f"{each:.9f}" for each in durations_s)
    experiment = crew.submit(f"  sleep_s: {{values: [{values}]}}", name=name)
    crew.end(experiment, limit_s=300)
    trials = sorted(crew.trials(experiment), key=lambda trial: trial.started_at or 0.0)
    latest: dict[str, tuple[float, float]] = {}
    beyond = []
    for trial in trials:
        begun_s, sleep_s = trial.started_at or 0.0, float(trial.params["sleep_s"])  # type: ignore[arg-type]  # a number in this spec
        if trial.worker in latest:
            beyond.append(begun_s - sum(latest[trial.worker]))
        latest[trial.worker] = (begun_s, sleep_s)
    beyond.sort()
    ended = max(trial.finished_at or 0.0 for trial in trials)
    return ended - (trials[0].started_at or 0.0), beyond[len(beyond) // 2] if beyond else 0.0


def main() -> None:
    """Simulate, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=int, default=0, help="run with so many real workers, too")
    parser.add_argument("--real-trial-s", type=float, default=2.0)
    parser.add_argument("--trial-s", type=float, default=60.0, help="mean duration of a simulated trial")
    parser.add_argument("--per-worker", type=int, default=20, help="trials for each worker")
    parser.add_argument("--price-per-hour", type=float, default=0.04, help="of a worker, in any currency")
    parser.add_argument("--idle-s", type=float, default=Policy().idle_s)
    parser.add_argument("--lost-every-h", type=float, default=20.0, help="hours until a worker is lost, on average")
    parser.add_argument("--output", type=Path, help="folder for scale.md and scale.png")
    options = parser.parse_args()
    policy = Policy(idle_s=options.idle_s, lost_every_s=options.lost_every_h * 3600)
    lines: list[str] = []
    if options.real:
        policy, lines = real(options.real, 8, options.real_trial_s, policy)
    sizes = (10, 100, 1_000, 10_000)
    rows = [row(each, options.per_worker, options.trial_s, options.price_per_hour, policy) for each in sizes]
    text = "\n".join([*lines, "", HEADER, *map(str, rows)])
    print(text)
    if options.output:
        (options.output / "scale.md").write_text(f"# Scale\n\n`python {' '.join(sys.argv)}`\n\n{text}\n")
        plot(rows, options.output / "scale.png")


if __name__ == "__main__":
    main()
