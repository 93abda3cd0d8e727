"""How long workers stand idle because a sampler thinks, through a real queue with real workers.

    python benchmarks/suggestion_latency.py [--workers 8] [--history 1000] [--seconds 40] [--repeat 1] [--method tpe]
    python benchmarks/suggestion_latency.py --cost                # no queue: what one suggestion costs

Trials sleep for a second and evaluate Hartmann's function of six parameters; the first `--history` of an experiment
are random and do not sleep. From the first trial after those on, a worker's idle time is what lies between the end of
one trial and the begin of its next, by the store's clock. Set against it is the same course with random points, of
which nobody has to think: that much the queue itself takes.

`--controls N` has N supervisors with a control process each share the workers: any of them may suggest.
`--company N` submits N trials that do nothing meanwhile, and shows how many ended per second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks.test_functions.functions import hartmann6  # noqa: E402
from optml_queue.driver import Goal, load_driver  # noqa: E402
from optml_queue.search import RandomSearch  # noqa: E402
from optml_queue.search.adaptive import AdaptiveSearcher, Task, searcher  # noqa: E402
from optml_queue.search.history import Ask, History, Tell  # noqa: E402
from optml_queue.space import Interval, Space  # noqa: E402
from optml_queue.spec import Algorithm, Spec, parse_spec  # noqa: E402
from optml_queue.trial import Trial, TrialState  # noqa: E402
from tests.cluster import Cluster, cluster  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

ALGORITHM = Path(__file__).resolve().parent / "test_functions"
SPACE = Space(tuple(Interval(f"x{i}", 0.0, 1.0) for i in range(6)))
SPEC = """
name: latency
algorithm: test_functions
method: [{stages}]
parameters:
  function: {{value: hartmann6}}
  sleep_s: {{value: {sleep_s}}}
  instant: {{value: {history}}}
  x0: {{min: 0.0, max: 1.0}}
  x1: {{min: 0.0, max: 1.0}}
  x2: {{min: 0.0, max: 1.0}}
  x3: {{min: 0.0, max: 1.0}}
  x4: {{min: 0.0, max: 1.0}}
  x5: {{min: 0.0, max: 1.0}}
max_trials: {trials}
seed: {seed}
"""


@dataclass(frozen=True, slots=True)
class Idleness:
    """What workers did from the first trial after the history on: shares of their time, and gaps in milliseconds."""

    idle: float
    median_ms: float
    p95_ms: float
    trials: int

    @classmethod
    def of(cls, trials: Sequence[Trial], history: int) -> Idleness:
        """Each worker counts from the first begin of any until the end of its own last trial."""
        of_worker: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for trial in trials:
            if trial.number >= history and trial.started_at is not None and trial.finished_at is not None:
                of_worker[trial.worker].append((trial.started_at, trial.finished_at))
        began_at = min(start for spans in of_worker.values() for start, _ in spans)
        gaps, passed_s = [], 0.0
        for spans in map(sorted, of_worker.values()):
            gaps += [spans[0][0] - began_at, *(begin - end for (_, end), (begin, _) in pairwise(spans))]
            passed_s += spans[-1][1] - began_at
        counted = sum(map(len, of_worker.values()))
        p95_s = statistics.quantiles(gaps, n=20)[-1]
        return cls(sum(gaps) / passed_s, 1000 * statistics.median(gaps), 1000 * p95_s, counted)

    def row(self, name: str, per_s: float) -> str:
        """A table's row; `per_s` is how many trials of others ended per second."""
        gaps = f"{self.median_ms:.1f} | {self.p95_ms:.1f}"
        return f"| {name} | {self.trials} | {self.idle:.2%} | {gaps} | {per_s:.0f} |"


def spec(method: str, history: int, trials: int, sleep_s: float, seed: int) -> Spec:
    """An experiment with so many random trials that take no time, and so many of the method that sleep."""
    stages = f"random: {history}, {method}: rest" if history else f"{method}: rest"
    if method == "random":
        stages = "random: rest"
    text = SPEC.format(stages=stages, sleep_s=sleep_s, history=history, trials=history + trials, seed=seed)
    found = parse_spec(text, "latency.yaml", ROOT, drivers={ALGORITHM.name: load_driver(ALGORITHM)})
    return replace(found, code=Algorithm(str(ALGORITHM)))


@contextmanager
def supervisors(processes: int, controls: int) -> Iterator[Cluster]:
    """Workers under so many supervisors, each with a control process; the first of them."""
    with ExitStack() as stack:
        server = stack.enter_context(valkey_server())
        running = []
        for _ in range(controls):
            folder = Path(stack.enter_context(TemporaryDirectory()))
            environment = {"OPTML_BROKER_URL": server.url, "OPTML_ARCHIVE_URL": str(server.folder / "archive")}
            running.append(stack.enter_context(cluster(environment, folder, processes // controls)))
        yield running[0]


def course(workers: Cluster, wanted: Spec, history: int, company: int) -> tuple[Idleness, float]:
    """Run an experiment; how idle its workers were, and how many trials of others ended per second meanwhile."""
    experiment = workers.submit_spec(wanted)
    workers.until(lambda: workers.store.experiment(experiment).finished >= history, "the history", 600)
    began_at = time.monotonic()
    other = workers.submit(f"  value: {{min: 1, max: {company}, step: 1}}") if company else ""
    workers.end(experiment, 3600)
    per_s = 0.0
    if company:
        per_s = workers.store.experiment(other).finished / (time.monotonic() - began_at)
        workers.store.cancel(other)
        workers.end(other, 60)
    return Idleness.of(workers.trials(experiment), history), per_s


def through_the_queue(given: argparse.Namespace) -> None:
    """Measure, and print a table; the courses of both methods in turn."""
    trials = round(given.workers * given.seconds / given.sleep_s)
    with supervisors(given.workers, given.controls) as workers:
        course(workers, spec("tpe", 20, 16, 0.0, 99), 20, 0)  # everything is imported
        print("| course | trials | idle | gap between trials, median ms | 95 % | others' trials/s |")
        print("|---|---|---|---|---|---|", flush=True)
        beyond = []
        for seed in range(given.repeat):
            idle = {}
            for method in ("random", given.method):
                wanted = spec(method, given.history, trials, given.sleep_s, seed)
                found, per_s = course(workers, wanted, given.history, given.company)
                idle[method] = found.idle
                print(found.row(f"{method}, seed {seed}", per_s), flush=True)
            beyond.append(idle[given.method] - idle["random"])
        print(f"\nidle for sampling: {statistics.median(beyond):.2%} of the workers' time (median of {given.repeat})")


def grown(learner: AdaptiveSearcher, task: Task, length: int, suggestions: int) -> tuple[float, list[float]]:
    """What a suggestion from nothing but a history costs, and those after it, with eight trials running: CPU ms."""
    draws = RandomSearch(task.space, 1, draws=length + 8)
    points = [draws.point(index) or {} for index in range(length + 8)]
    asks = [Ask(number, point, max(0, number - 8), "random") for number, point in enumerate(points)]
    tells = [Tell(n, n, TrialState.COMPLETE, hartmann6(points[n])) for n in range(length)]
    took_ms = []
    for _ in range(suggestions + 1):
        began_at = time.process_time()
        point = learner.suggest(History(tuple(asks), tuple(tells), len(tells)), [len(asks)])[0].params
        took_ms.append(1000 * (time.process_time() - began_at))
        asks.append(Ask(len(asks), point, len(tells), task.method))
        ended = asks[len(tells)]
        tells.append(Tell(ended.number, len(tells), TrialState.COMPLETE, hartmann6(ended.params)))
    return took_ms[0], took_ms[1:]


def costs(methods: Sequence[str], lengths: Sequence[int]) -> None:
    """Print a table of what suggestions cost in one process."""
    print("| method | trials of history | a suggestion, median CPU ms | the first, in a new process, CPU ms |")
    print("|---|---|---|---|", flush=True)
    for method in methods:
        for length in lengths:
            task = Task(method, SPACE, Goal.MINIMIZE)
            cold_ms, warm_ms = grown(searcher(task), task, length, 20)
            print(f"| {method} | {length:,} | {statistics.median(warm_ms):.1f} | {cold_ms:.0f} |", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--controls", type=int, default=1, help="supervisors, each with a control process")
    parser.add_argument("--history", type=int, default=1_000)
    parser.add_argument("--sleep-s", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=40.0, help="of a course, at least")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--method", default="tpe")
    parser.add_argument("--company", type=int, default=0, help="trials of another experiment, which do nothing")
    parser.add_argument("--cost", action="store_true", help="what a suggestion costs, without a queue")
    parser.add_argument("--methods", nargs="+", default=["tpe", "cma-es", "nsga2", "evolution"], help="of --cost")
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 1_000, 5_000], help="histories of --cost")
    given = parser.parse_args()
    if given.cost:
        costs(given.methods, given.lengths)
    else:
        through_the_queue(given)


if __name__ == "__main__":
    main()
