"""Ours and what users would pick instead, side by side in one run on one machine.

    python benchmarks/peers.py --work instant --trials 5000 --rounds 5 --output benchmarks/results
    python benchmarks/peers.py --work replay --scale 0.5
    python benchmarks/peers.py --work lms --trials 2000

    instant   points that cost nothing: what is left is the tool. Many points are not put to tools that take seconds for
              a hundred; the table says how many each had.
    replay    the paper's grids as sleeps: 20 × 2.816 s on 20 workers, 16 × 2.16 s on 16
    lms       a grid of LMS filters on the sunspots

Every tool is warm: its workers have run a few points when the clock starts, which runs until all results are in the
submitter's hands. Rounds are interleaved: one of ours, one of stock Celery, and so on. A peer that is not installed
(`pip install optml-queue[peers]`) is left out, and the output says so. Stock Celery and Optuna's journal have a server
with its append-only file on, as ours.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
if str(ROOT) not in sys.path:  # run as a file, as the text above says
    sys.path.insert(0, str(ROOT))

from benchmarks.peer_work import evaluate, instant_spec, lms_spec  # noqa: E402
from benchmarks.serial_vs_queued import cpu_seconds, machine, say  # noqa: E402
from benchmarks.stock_celery import URL_VARIABLE  # noqa: E402
from optml_queue.archive import open_archive  # noqa: E402
from optml_queue.embedded import join  # noqa: E402
from optml_queue.experiments import advance, submit  # noqa: E402
from optml_queue.search import segments  # noqa: E402
from optml_queue.spec import Spec  # noqa: E402
from optml_queue.store import Publication, Store  # noqa: E402
from tests.valkey_server import valkey_server  # noqa: E402

Points = Sequence[Mapping[str, Any]]
Run = Callable[[Spec, Points], int]  # runs all points, returns how many results there are
WARM_UP = 40
LOOK_S = 0.5
LIMIT_S = 600.0
PAPER = ((20, 2.816), (16, 2.16))  # trials, one to a worker, and seconds of each


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool: how it is opened, what must be installed, and how many instant points are put to it at most."""

    name: str
    opened: Callable[[int], AbstractContextManager[tuple[Run, int]]]
    needs: tuple[str, ...] = ()
    most: int = 1_000_000


@dataclass(slots=True)
class Row:
    """One tool's rounds of one work. Times in seconds; CPU of all its processes in milliseconds a trial."""

    peer: str
    trials: int
    workers: int
    durations_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        return statistics.median(self.durations_s)

    @property
    def per_s(self) -> float:
        return self.trials / self.duration_s


# The tools. Each yields what runs points, and a process outside of this one's children whose CPU time is its own.


@contextmanager
def ours(workers: int, batch: str = "off") -> Iterator[tuple[Run, int]]:
    """This package with its own server, as a user without any broker has it."""
    os.environ["OPTML_ALLOW_PROGRAMS"] = "true"
    # The host that was joined may still write into its archive when the folder goes.
    folder_of = tempfile.TemporaryDirectory(prefix="optml-peers-", ignore_cleanup_errors=True)
    with folder_of as folder, join(Path(folder), workers=workers) as session:
        store, archive = Store.from_url(session.url), open_archive(session.archive_url)

        def run(spec: Spec, _points: Points) -> int:
            return finished(store, submit(store, archive, replace(spec, batch=batch)))

        yield run, session.record.pid


@contextmanager
def stock_celery(workers: int) -> Iterator[tuple[Run, int]]:
    """Celery out of the box, with the same writes to the same store; see `stock_celery`."""
    with valkey_server() as server, tempfile.TemporaryDirectory(prefix="stock-") as folder:
        os.environ[URL_VARIABLE] = server.url
        from benchmarks.stock_celery import app, trial

        producer = app.amqp.Producer(app.connection_for_write(server.url))
        arguments = ["-A", "benchmarks.stock_celery", "worker", "-c", str(workers), "-l", "WARNING"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
        worker = subprocess.Popen([sys.executable, "-m", "celery", *arguments], env=environment, cwd=folder)
        store, archive = Store.from_url(server.url), open_archive(folder)

        def publish(metric: str, publications: Sequence[Publication]) -> None:
            for each in publications:
                arguments = (each.experiment, each.number, dict(each.params), each.generation, metric)
                trial.apply_async(arguments, producer=producer)

        def run(spec: Spec, _points: Points) -> int:
            experiment = submit(store, archive, spec)
            advancing = partial(advance, store, partial(publish, spec.metric), experiment)
            return finished(store, experiment, advancing)

        try:
            yield run, worker.pid
        finally:
            producer.connection.release()
            worker.terminate()
            worker.wait(60)


def finished(store: Store, experiment: str, advancing: Callable[[], int] | None = None) -> int:
    """Wait for the last result and read them all. `advancing`: where no control process does that."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        if advancing is not None and store.wanted(0.02):
            advancing()
        found = store.experiment(experiment)
        if found.exhausted and found.terminal == found.total:
            return sum(1 for _ in store.stream(experiment))
        if time.monotonic() > deadline:
            sys.exit(f"{experiment} did not end within {LIMIT_S:g} s: {dict(found.counts)}")
        if advancing is None:
            store.wait(experiment, found.finished, LOOK_S)


@contextmanager
def process_pool(workers: int) -> Iterator[tuple[Run, int]]:
    """concurrent.futures, one point at a time."""
    with ProcessPoolExecutor(workers) as pool:
        yield lambda _spec, points: len(list(pool.map(evaluate, points, chunksize=1))), 0


@contextmanager
def loky(workers: int) -> Iterator[tuple[Run, int]]:
    """joblib's default: batches chosen by itself."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers) as parallel:
        yield lambda _spec, points: len(parallel(delayed(evaluate)(point) for point in points)), 0


@contextmanager
def grid_search(workers: int) -> Iterator[tuple[Run, int]]:
    """scikit-learn's GridSearchCV with one split, and no refit."""
    import numpy as np
    from sklearn.base import BaseEstimator
    from sklearn.model_selection import GridSearchCV

    class Point(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        """An estimator whose score is the point's."""

        def __init__(self, point: Mapping[str, Any] | None = None) -> None:
            self.point = point

        def fit(self, _inputs: Any, _targets: Any) -> Point:
            """There is nothing to fit."""
            return self

        def score(self, _inputs: Any, _targets: Any) -> float:
            """The work."""
            return evaluate(self.point or {})

    inputs, split = np.zeros((2, 1)), [(np.array([0]), np.array([1]))]

    def run(_spec: Spec, points: Points) -> int:
        grid = [{"point": [point]} for point in points]
        search = GridSearchCV(Point(), grid, cv=split, n_jobs=workers, refit=False)
        return len(search.fit(inputs, np.zeros(2)).cv_results_["mean_test_score"])

    yield run, 0


@contextmanager
def dask(workers: int) -> Iterator[tuple[Run, int]]:
    """dask.distributed: a local cluster of one thread a worker."""
    from distributed import Client, LocalCluster

    options = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers)
        yield lambda _spec, points: len(client.gather(client.map(evaluate, list(points), pure=False))), 0


@contextmanager
def ray_tune(workers: int) -> Iterator[tuple[Run, int]]:
    """Ray Tune with reused actors."""
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    import ray
    from ray import tune

    class Point(tune.Trainable):  # type: ignore[misc]  # ray has no types
        """A trainable that is done after one step."""

        def setup(self, config: dict[str, Any]) -> None:
            self.point = config["point"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.point = new_config["point"]
            return True

        def step(self) -> dict[str, Any]:
            return {"result": evaluate(self.point), "done": True}

        def save_checkpoint(self, _folder: str) -> dict[str, Any]:
            return {}  # Tune keeps one at the end of every trial

    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
    ray.init(num_cpus=workers, runtime_env=environment, **quiet)

    def run(_spec: Spec, points: Points) -> int:
        with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder:
            tuner = tune.Tuner(
                Point,
                param_space={"point": tune.grid_search(list(points))},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=workers),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            return len(tuner.fit())

    try:
        yield run, 0
    finally:
        ray.shutdown()


@contextmanager
def optuna_journal(workers: int) -> Iterator[tuple[Run, int]]:
    """Optuna, its journal in Redis, a process a worker, random sampling: its grid sampler slows with every trial."""
    with valkey_server() as server, optuna_processes("journal", server.url, workers) as run:
        yield run, 0


@contextmanager
def optuna_sqlite(workers: int) -> Iterator[tuple[Run, int]]:
    """The same with sqlite."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="optuna-"))
        yield stack.enter_context(optuna_processes("sqlite", f"sqlite:///{folder}/study.db", workers)), 0


@contextmanager
def optuna_processes(kind: str, url: str, workers: int) -> Iterator[Run]:
    """Processes that share a study."""
    with ProcessPoolExecutor(workers) as pool:

        def run(_spec: Spec, points: Points) -> int:
            name = uuid.uuid4().hex
            study = optuna_study(kind, url, name)
            parts = [list(points[first::workers]) for first in range(workers)]
            list(pool.map(partial(optimise, kind, url, name), parts))
            return len(study.get_trials(deepcopy=False))

        yield run


def optuna_study(kind: str, url: str, name: str) -> Any:
    """The study of that name, made by whoever comes first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any = url
    if kind == "journal":
        backend = importlib.import_module("optuna.storages.journal").JournalRedisBackend(url)
        storage = optuna.storages.JournalStorage(backend)
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(storage=storage, study_name=name, sampler=sampler, load_if_exists=True)


def optimise(kind: str, url: str, name: str, points: Points) -> None:
    """One process' part of a study: a value is drawn, as Optuna's users do, and the point evaluated."""
    remaining = iter(points)

    def objective(trial: Any) -> float:
        trial.suggest_float("value", 0.0, 1.0)
        return evaluate(next(remaining))

    optuna_study(kind, url, name).optimize(objective, n_trials=len(points))


PEERS = (
    Peer("OptML Queue", ours),
    Peer("stock Celery, same store writes", stock_celery),
    Peer("OptML Queue, batch: auto", partial(ours, batch="auto")),
    Peer("ProcessPoolExecutor, chunksize 1", process_pool),
    Peer("joblib/loky", loky, ("joblib",)),
    Peer("GridSearchCV", grid_search, ("sklearn",)),
    Peer("dask.distributed", dask, ("distributed",)),
    Peer("Optuna, journal in Redis", optuna_journal, ("optuna",), most=1_000),
    Peer("Optuna, sqlite", optuna_sqlite, ("optuna", "sqlalchemy"), most=200),
    Peer("Ray Tune, actors reused", ray_tune, ("ray.tune",), most=60),
)
INTERLEAVED = 2  # of the peers, the first ones: one message a trial on either side


# Measuring.


def is_installed(peer: Peer) -> bool:
    """Whether the peer can be measured; said when not."""
    for module in peer.needs:
        try:
            importlib.import_module(module)
        except ImportError as error:
            say(f"{peer.name} is left out: {error}")
            return False
    return True


def measure(
    peers: Sequence[Peer], make: Callable[[int], Spec], trials: int, workers: int, rounds: int
) -> Iterator[Row]:
    """Open the peers and let each run in turn, `rounds` times."""
    with ExitStack() as stack:
        opened = []
        for peer in peers:
            say(f"{peer.name}: starting {workers} workers …")
            run, outside = stack.enter_context(peer.opened(workers))
            row = Row(peer.name, min(trials, peer.most), workers)
            run(*prepared(make, min(row.trials, WARM_UP)))
            opened.append((run, outside, row))
        for _ in range(rounds):
            for run, outside, row in opened:
                once(run, outside, row, make)
        yield from (row for _, _, row in opened)


def once(run: Run, outside: int, row: Row, make: Callable[[int], Spec]) -> None:
    """One round."""
    spec, points = prepared(make, row.trials)
    before, began = cpu_seconds(outside), time.perf_counter()
    results = run(spec, points)
    row.durations_s.append(time.perf_counter() - began)
    spent = {pid: s - before.get(pid, (0, 0.0))[1] for pid, (_, s) in cpu_seconds(outside).items()}
    row.cpu_ms.append(1e3 * sum(spent.values()) / row.trials)
    if results != row.trials:
        sys.exit(f"{row.peer} gave {results} results for {row.trials} points")
    say(f"{row.peer}: {row.trials} in {row.durations_s[-1]:.2f} s, {row.cpu_ms[-1]:.2f} ms of CPU each")


def prepared(make: Callable[[int], Spec], trials: int) -> tuple[Spec, Points]:
    """The spec for ours, and its points for the others."""
    spec = make(trials)
    return spec, [params for _, params, _ in segments(spec)]


def works(options: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    """Each work that was asked for, with its rows."""
    peers = [peer for peer in PEERS if not options.only or any(part in peer.name for part in options.only)]
    peers = [peer for peer in peers if is_installed(peer)]
    for work in options.work:
        if work == "replay":
            for trials, sleep_s in PAPER:
                seconds = sleep_s * options.scale
                make = partial(instant_spec, sleep_s=seconds)
                yield f"{trials} sleeps of {seconds:.3g} s", compared(peers, make, trials, trials, 1)
        else:
            make = partial(instant_spec if work == "instant" else lms_spec)
            yield (
                f"{work}, {options.workers} workers",
                compared(peers, make, options.trials, options.workers, options.rounds),
            )


def compared(peers: Sequence[Peer], make: Callable[[int], Spec], trials: int, workers: int, rounds: int) -> list[Row]:
    """The first peers interleaved, with all of them open; the others one after another."""
    first, rest = peers[:INTERLEAVED], peers[INTERLEAVED:]
    rows = list(measure(first, make, trials, workers, rounds))
    for peer in rest:
        rows += measure([peer], make, trials, workers, min(rounds, 3))
    return rows


# Telling and keeping.


def markdown(found: Mapping[str, list[Row]]) -> str:
    """The tables."""
    on = machine()
    lines = ["# Peers", "", f"{on['cores']} cores ({on['cpu']}), {on['system']}, Python {on['python']}."]
    for work, rows in found.items():
        lines += ["", f"## {work}", ""]
        lines += [
            "| tool | trials | seconds, median | rounds | trials/s | ours / it | CPU ms a trial |",
            "|---" * 7 + "|",
        ]
        ours_per_s = rows[0].per_s
        lines += [
            f"| {row.peer} | {row.trials:,} | {row.duration_s:.3f} | {len(row.durations_s)} | {row.per_s:,.0f} "
            f"| {ours_per_s / row.per_s:.2f} | {statistics.median(row.cpu_ms):.2f} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def keep(found: Mapping[str, list[Row]], text: str, folder: Path) -> None:
    """JSON, Markdown and a plot."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "works": {work: [asdict(row) for row in rows] for work, rows in found.items()}}
    (folder / "peers.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "peers.md").write_text(text)
    plot(found, folder / "peers.png")


def plot(found: Mapping[str, list[Row]], path: Path) -> None:
    """Trials per second as bars, on a log scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (work, rows) in enumerate(found.items(), 1):
        axes = figure.add_subplot(len(found), 1, place)
        colors = ["#4c72b0" if "OptML" in row.peer else "#8c8c8c" for row in rows]
        drawn = axes.barh([row.peer for row in rows], [row.per_s for row in rows], color=colors)
        axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.invert_yaxis()
        axes.set_title(f"{work}: trials per second")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=("instant", "replay", "lms"), default=["instant", "replay", "lms"])
    parser.add_argument("--trials", type=int, default=4_000, help="of instant and lms; a multiple of four")
    parser.add_argument("--workers", type=int, default=2, help="of instant and lms")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the replay's sleeps")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tools whose name has this in it, beside ours")
    parser.add_argument("--output", type=Path, help="folder for peers.json, .md and .png")
    options = parser.parse_args()
    if options.only:
        options.only.append(PEERS[0].name)
    found = dict(works(options))
    text = markdown(found)
    print(text)
    if options.output:
        keep(found, text, options.output)


if __name__ == "__main__":
    main()
