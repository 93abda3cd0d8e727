"""Real workers for tests: a supervisor with its children, on a broker and store that the test started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from optml_queue.archive import open_archive
from optml_queue.driver import load_driver
from optml_queue.experiments import submit
from optml_queue.spec import Algorithm, Spec, parse_spec
from optml_queue.store import Experiment, Store
from optml_queue.trial import Trial, TrialState
from tests.processes import members_of

# What is waited for in earnest (a lost message, a trial that does not obey, an archive that fails) takes a fraction of
# the time here, and an experiment of a hundred trials is archived in several parts.
SUPERVISE = """
import os
import sys
import time
right_time, wrong_by_s = time.time, float(os.environ.get("CLOCK_WRONG_BY_S", "0"))
if wrong_by_s:
    time.time = lambda: right_time() + wrong_by_s
from optml_queue import experiments, results
from optml_queue.worker import archivist, dead_letters, heartbeat
from optml_queue.worker.supervisor import supervise
experiments.IDLE_S, experiments.GRACE_S = 1.0, 0.5
heartbeat.OBEY_LIMIT_S = float(os.environ.get("OBEY_LIMIT_S", "1"))
results.PART_LENGTH, dead_letters.LOOK_S, archivist.STAND_BACK_S = 20, 0.5, 0.5
sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
"""

# An algorithm that does what its parameters say: sleep, raise, die, or hold the interpreter in C code.
DRIVER = """
from optml_queue.driver import Metric, Parameter
from .functions import behave

PARAMETERS = (
    Parameter("value", float, 0.0),
    Parameter("sleep_s", float, 0.0),
    Parameter("fails", int, 0, help="attempts that raise"),
    Parameter("dies_of", int, 0, help="the signal that the process sends itself"),
    Parameter("deaths", int, 1, help="attempts that die"),
    Parameter("polite", bool, False, help="asks whether to stop"),
    Parameter("mischief", str, "", help="what it does to its surroundings"),
    Parameter("marks", str, "", help="a folder that gets a file for each attempt"),
)
METRICS = (Metric("nmse"),)
DATA = ("sunspots",)


def train(trial):
    return {"nmse": behave(trial)}
"""
FUNCTIONS = """
import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(what, bytes_):
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def misbehave(trial, mischief):
    if mischief == "fill the disk":
        Path("/dev/full").write_bytes(b"x")
    elif mischief == "write too much":
        with limited(resource.RLIMIT_FSIZE, 100_000):
            (trial.scratch / "big").write_bytes(bytes(1_000_000))
    elif mischief == "want too much memory":
        with limited(resource.RLIMIT_AS, 2**32):
            bytearray(2**33)
    elif mischief == "kill the worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


def behave(trial):
    params = trial.params
    if params["marks"]:
        (Path(params["marks"]) / f"{trial.number}.{trial.attempt}").write_text(str(os.getpid()))
    if params["dies_of"] and trial.attempt <= params["deaths"]:
        os.kill(os.getpid(), params["dies_of"])
    misbehave(trial, params["mischief"])
    if trial.attempt <= params["fails"]:
        raise ValueError(f"attempt {trial.attempt} fails")
    end = time.monotonic() + params["sleep_s"]
    while (rest := end - time.monotonic()) > 0:
        if not params["polite"]:
            time.sleep(rest)
        elif trial.should_stop():
            trial.report(0, 1.0)
        else:
            time.sleep(0.02)
    return params["value"] ** 2 + 1 / 3
"""


def write_algorithm(folder: Path) -> Path:
    """The algorithm `obedient` inside `folder`."""
    algorithm = folder / "obedient"
    algorithm.mkdir(exist_ok=True)
    (algorithm / "driver.py").write_text(DRIVER)
    (algorithm / "functions.py").write_text(FUNCTIONS)
    return algorithm


class Cluster:
    """A supervisor process, the store it uses, and what a test wants to know of both."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        processes: int,
        store_url: str | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.environment = dict(environment)
        self.folder = folder
        self.algorithm = write_algorithm(folder)
        self.log = folder / "workers.log"
        self.archive_url = environment.get("OPTML_ARCHIVE_URL", str(folder / "archive"))
        theirs = environment.get("OPTML_STORE_URL", environment["OPTML_BROKER_URL"])
        self.store = Store.from_url(store_url or theirs, retries=20)
        self._processes = processes
        self._classes = classes
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor and wait until its workers beat."""
        before = set(self.mains())
        self.launch()
        self.until(lambda: len(self.mains().keys() - before) >= self._processes, "workers that beat")

    def launch(self) -> None:
        """Start the supervisor, which its broker may know nothing of yet."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, str(self._processes), *self._classes],
                env=inherited | self._places() | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # all that it starts stay in it, and can be found
            )

    def _places(self) -> dict[str, str]:
        archive, cache = str(self.folder / "archive"), str(self.folder / "cache")
        return {"OPTML_ARCHIVE_URL": archive, "OPTML_CACHE_DIR": cache, "OPTML_ALLOW_PROGRAMS": "true"}

    def stop(self) -> int:
        """SIGTERM, and the exit code. Nothing that it started may be left then."""
        if self.process is None:
            return 0
        session = self.process.pid
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        finally:
            self.process = None
        self.until(lambda: not members_of(session), "end of all its processes", limit_s=5)
        return code

    def kill(self, *, everything: bool = False) -> None:
        """SIGKILL to the supervisor, or to all its processes at once; returns when none of them is left."""
        assert self.process is not None
        session = self.process.pid
        for pid in members_of(session) if everything else [session]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.until(lambda: not members_of(session), "end of all its processes")

    def submit(self, parameters: str, more: str = "", name: str = "test") -> str:
        """Submit a grid over the obedient algorithm; its id. `parameters` are lines of YAML, indented by two."""
        return self.submit_spec(self.spec(parameters, more, name))

    def spec(self, parameters: str, more: str = "", name: str = "test", method: str = "grid") -> Spec:
        """The spec of such a grid, or of a random search."""
        text = f"name: {name}\nalgorithm: obedient\nmethod: {method}\nparameters:\n{parameters}\n{more}\n"
        spec = parse_spec(text, "test.yaml", self.folder, drivers={"obedient": load_driver(self.algorithm)})
        # Workers do not know the name: they load the folder.
        return replace(spec, code=Algorithm(str(self.algorithm)))

    def submit_spec(self, spec: Spec) -> str:
        """Submit any spec; its id."""
        return submit(self.store, open_archive(self.archive_url), spec)

    @contextmanager
    def kept_busy(self) -> Iterator[None]:
        """Every worker has a trial in hand for the length of the block, and takes no message."""
        sleep = "  sleep_s: {value: 60.0}\n  polite: {value: true}"
        held = self.submit(f"  value: {{min: 1, max: {self._processes}, step: 1}}\n{sleep}", name="held")
        running = TrialState.RUNNING
        self.until(lambda: self.store.experiment(held).counts[running] == self._processes, "busy workers")
        yield
        self.store.cancel(held)
        self.end(held)

    def end(self, experiment: str, limit_s: float = 40.0) -> Experiment:
        """Wait until the experiment is over."""
        self.until(lambda: self.store.experiment(experiment).is_over, f"the end of {experiment}", limit_s)
        return self.store.experiment(experiment)

    def trials(self, experiment: str) -> list[Trial]:
        return list(self.store.stream(experiment))

    def until(self, true: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
        """Wait for something to become true; the workers' log is shown when it does not."""
        deadline = time.monotonic() + limit_s
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} in {limit_s} s; the workers say:\n{self.log.read_text()[-6000:]}")
            time.sleep(0.02)

    def mains(self) -> dict[str, int]:
        """The workers' main processes by the workers' names."""
        return {worker.name: int(worker.facts["pid"]) for worker in self.store.workers()}

    def marked(self, marks: Path, name: str) -> int:
        """Wait for the attempt `<number>.<attempt>` to begin; the process it runs in."""
        mark = marks / name
        self.until(lambda: mark.exists() and bool(mark.read_text()), f"attempt {name}")
        return int(mark.read_text())


@contextmanager
def cluster(
    environment: Mapping[str, str],
    folder: Path,
    processes: int = 2,
    store_url: str | None = None,
    classes: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Running workers, of the settings' class or of `classes`, stopped on leaving.

    `store_url` is the way to their store that is the test's own.
    """
    running = Cluster(environment, folder, processes, store_url, classes)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.store.close()
