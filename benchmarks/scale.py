"""The policy played through at 10 to 10,000 workers, and the real thing beside it where two cores carry it.

    python benchmarks/scale.py [--real 50] [--trial-s 60] [--price-per-hour 0.04]

A discrete-event simulation: workers come as the autoscaler finds a backlog (polled every --poll-s; nodes, then pods,
take their time to start; idle ones leave after --idle-s), take trials one by one, each at the measured cost of a trial
around its training, and wait when the window of published trials is empty, which the control process fills when a
fifth is gone. The control process publishes one message after another. The server's own time is not simulated; how many
commands a second it would have to carry out is told.
With --real N, N workers that sleep run the same trials through a real queue, all there from the beginning, and the
simulation is run for them alike.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402


@dataclass(frozen=True, slots=True)
class Policy:
    """Delays and costs, in seconds. `commands`, those inside scripts too, that the server carries out for a trial:
    as measured with --real 50, beats of trials of 2 s included."""

    trial_overhead_s: float = 0.006
    publish_s: float = 0.0002
    commands: float = 87.0
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


def window_of(workers: int, per_second: float) -> int:
    """As the claim script has it, for an experiment that is alone."""
    return min(10_000, max(100, 2 * workers, math.ceil(0.25 * per_second)))


def simulated(durations_s: Sequence[float], workers: int, policy: Policy) -> Course:
    """Play the trials through on up to so many workers."""
    arrivals = _arrivals(len(durations_s), workers, policy)
    events = [(at_s, number) for number, at_s in enumerate(arrivals)]
    heapq.heapify(events)
    next_, published, control_free_s, last_s, paid_s = 0, 0, 0.0, 0.0, 0.0
    started_s = list(arrivals)
    visible_s: list[float] = []
    window = window_of(workers, workers * len(durations_s) / sum(durations_s))
    while events:
        now_s, worker = heapq.heappop(events)
        if published - next_ <= 0.8 * window and published < len(durations_s):
            control_free_s = max(control_free_s, now_s)
            for _ in range(min(next_ + window, len(durations_s)) - published):
                control_free_s += policy.publish_s
                visible_s.append(control_free_s)
            published = len(visible_s)
        if next_ >= len(durations_s):
            leaves_s = now_s + (policy.idle_s if policy.is_scaled else 0.0)
            paid_s += leaves_s - started_s[worker] + (policy.node_s if policy.is_scaled else 0.0)
            continue
        begin_s = max(now_s, visible_s[next_])
        end_s = begin_s + durations_s[next_] + policy.trial_overhead_s
        next_ += 1
        last_s = max(last_s, end_s)
        heapq.heappush(events, (end_s, worker))
    return Course(last_s, paid_s)


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


def row(workers: int, per_worker: int, trial_s: float, price: float, policy: Policy) -> str:
    """A table's row."""
    durations_s = durations(workers * per_worker, trial_s)
    course = simulated(durations_s, workers, policy)
    total_s = sum(durations_s)
    bound_s = max(durations_s[0], total_s / workers)
    load = policy.commands * len(durations_s) / course.makespan_s
    return (
        f"| {workers:,} | {len(durations_s):,} | {bound_s:,.0f} | {course.makespan_s:,.0f} "
        f"| {bound_s / course.makespan_s:.1%} | {total_s / course.worker_s:.1%} "
        f"| {course.worker_s / 3600 * price:,.2f} | {load:,.0f} |"
    )


def real(workers: int, per_worker: int, trial_s: float) -> None:
    """Run it, and print it beside its simulation."""
    durations_s = durations(workers * per_worker, trial_s)
    with (
        valkey_server() as server,
        TemporaryDirectory() as name,
        cluster({"OPTML_BROKER_URL": server.url}, Path(name), workers) as crew,
    ):
        driver = crew.algorithm / "driver.py"
        driver.write_text(driver.read_text() + '\n\ndef cost(params, rows):\n    return params["sleep_s"]\n')
        _run(crew, [0.001 * (i + 1) for i in range(2 * workers)], "warm-up")
        before = _commands(crew)
        makespan_s, overhead_s = _run(crew, durations_s, "measured")
        commands = (_commands(crew) - before) / len(durations_s)
    print(f"real, {workers} workers, {len(durations_s)} trials: {makespan_s:.2f} s")
    print(f"lower bound {max(durations_s[0], sum(durations_s) / workers):.2f} s")
    print(
        f"beyond its sleep a trial takes {overhead_s * 1000:.1f} ms (median); {commands:.1f} commands each, with beats"
    )
    course = simulated(durations_s, workers, Policy(trial_overhead_s=overhead_s, is_scaled=False))
    print(f"simulated with that overhead {course.makespan_s:.2f} s ({course.makespan_s / makespan_s - 1:+.1%})")


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


def _commands(crew: Cluster) -> int:
    return int(crew.store.client.info("stats")["total_commands_processed"])


def main() -> None:
    """Simulate, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=int, default=0, help="run with so many real workers, too")
    parser.add_argument("--real-trial-s", type=float, default=2.0)
    parser.add_argument("--trial-s", type=float, default=60.0, help="mean duration of a simulated trial")
    parser.add_argument("--per-worker", type=int, default=20, help="trials for each worker")
    parser.add_argument("--price-per-hour", type=float, default=0.04, help="of a worker, in any currency")
    parser.add_argument("--overhead-s", type=float, default=Policy().trial_overhead_s)
    parser.add_argument("--commands", type=float, default=Policy().commands)
    parser.add_argument("--idle-s", type=float, default=Policy().idle_s)
    options = parser.parse_args()
    if options.real:
        real(options.real, 8, options.real_trial_s)
    policy = Policy(trial_overhead_s=options.overhead_s, commands=options.commands, idle_s=options.idle_s)
    print(
        "| workers | trials | lower bound s | makespan s | bound / makespan | paid time training | cost | commands/s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for workers in (10, 100, 1_000, 10_000):
        print(row(workers, options.per_worker, options.trial_s, options.price_per_hour, policy), flush=True)


if __name__ == "__main__":
    main()
