"""One trial's training, side by side with what people would write themselves: is ours the fastest, and by how much?

    python benchmarks/training.py                     # five to ten minutes
    python benchmarks/training.py --quick             # that it runs, on a twentieth of the rows
    python benchmarks/training.py --output benchmarks/results

Everything runs in one process on one core with one thread, the contestants taking turns, so that a busy machine is
busy for all of them. The figures are medians of the rounds.

    LMS     one trial on the sunspot series: ours, a loop over NumPy rows, padasip (if it is installed)
    ANN     one epoch of the paper's perceptron on data shaped like MNIST: ours, Keras' `fit`, the same with many
            steps per execution, a torch loop; then the paper's 20 configurations as whole trials, ours and Keras'
    memory  what a process that trains holds (proportional set size), each in a process of its own
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from optml_queue.data import DataSpec, Series, Split, Table, load
from optml_queue.driver import ActiveTrial, load_driver
from optml_queue.trial import Params

FEATURES, CLASSES, BATCH_SIZE = 784, 10, 32
SIZES = (2, 8, 32, 128, 512)
RATES = (0.001, 0.01, 0.1, 0.5)
PAPER_EPOCHS = 10
STEPS_PER_EXECUTION = 125
RATE = 0.1
LMS_RATE = 1e-6
LMS_REPEATS = 20
ALIGNMENT = 64
OURS, KERAS = "ours", "Keras fit"

Epoch = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rows: int
    test_rows: int
    rounds: int
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    epochs: int


FULL = Scale(rows=60_000, test_rows=10_000, rounds=3, sizes=SIZES, rates=RATES, epochs=PAPER_EPOCHS)
QUICK = Scale(rows=3_000, test_rows=500, rounds=1, sizes=(2, 32), rates=(RATE,), epochs=1)


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole trials of every configuration: ours are evaluated and reported after each epoch, Keras' at the end."""

    configurations: int
    epochs: int
    ours_s: float
    keras_s: float

    @property
    def speedup(self) -> float:
        return self.keras_s / self.ours_s


@dataclass(frozen=True, slots=True)
class Warmth:
    """One epoch of a network that the process has not seen, of another size, and of the same again."""

    first_s: float
    other_size_s: float
    again_s: float
    traced: int  # graphs in all


@dataclass(frozen=True, slots=True)
class Memory:
    """Proportional set size of a process in MiB: all of it, and the part that is files which processes share."""

    total_mib: float
    files_mib: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured, and on what. Epochs are by size and contestant, in seconds; LMS trials likewise."""

    scale: Scale
    lms_s: dict[str, float]
    epoch_s: dict[int, dict[str, float]]
    warmth: Warmth
    grid: Grid
    memory: dict[str, Memory]
    machine: dict[str, str]

    def paper_s(self, contestant: str) -> float:
        """Ten epochs of every size under four rates, from the epochs measured."""
        return sum(len(RATES) * PAPER_EPOCHS * epochs[contestant] for epochs in self.epoch_s.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    if options.epochs:
        scale = Scale(**{**asdict(scale), "epochs": options.epochs})
    if options.part:
        print(json.dumps(asdict(PARTS[options.part](scale))))
        return
    pin()
    report = measure(scale)
    text = markdown(report)
    print(text)
    if options.output:
        store(report, text, options.output)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="few rows, few sizes, one round")
    result.add_argument("--epochs", type=int, metavar="N", help="epochs of the trials of the grid (10)")
    result.add_argument("--output", type=Path, metavar="DIR", help="store the tables as JSON and Markdown")
    # What this script asks of copies of itself: a part that needs a process of its own.
    result.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    return result


def pin() -> None:
    """Keep this process, and all threads that it will start, on one core (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(scale: Scale) -> Report:
    """Everything, one after the other."""
    say("memory …")
    memory = {name: Memory(**run_part(name, scale)) for name in PARTS}
    say("LMS …")
    lms_s = measure_lms(scale)
    table = mnist_shaped(scale.rows, scale.test_rows)
    warmth = measure_warmth(table)  # before anything else has traced
    epoch_s = measure_epochs(table, scale)
    grid = measure_grid(table, scale)
    return Report(scale, lms_s, epoch_s, warmth, grid, memory, machine())


def taking_turns(contestants: Mapping[str, Epoch], rounds: int) -> dict[str, float]:
    """The median seconds of each, after one call that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for run in range(rounds + 1):
        for name, epoch in contestants.items():
            began = time.perf_counter()
            epoch()
            if run:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(durations) for name, durations in taken.items()}


# LMS


def measure_lms(scale: Scale) -> dict[str, float]:
    """Seconds of a trial."""
    lms = load_driver("lms")
    series = cast(Series, load(DataSpec("sunspots")))
    params = lms.complete({"learning_rate": LMS_RATE})
    trial = ActiveTrial(0, params, 0, series)
    long = ActiveTrial(0, {**params, "epochs": 2000}, 0, series)
    lms.train(long)  # so much work that it waits for the compiler
    contestants: dict[str, Epoch] = {OURS: lambda: lms.train(trial), "NumPy loop": lambda: numpy_lms(series)}
    if importlib.util.find_spec("padasip"):
        padasip = importlib.import_module("padasip")
        contestants["padasip"] = lambda: padasip_lms(padasip, series)
    repeated = {name: repeating(call, LMS_REPEATS) for name, call in contestants.items()}
    found = taking_turns(repeated, scale.rounds)
    return {name: duration_s / LMS_REPEATS for name, duration_s in found.items()}


def repeating(call: Epoch, times: int) -> Epoch:
    """The same, so many times."""

    def repeated() -> None:
        for _time in range(times):
            call()

    return repeated


def numpy_lms(series: Series) -> float:
    """The mean squared error of a filter of five taps, row after row."""
    train, test = series.parts()
    weights = np.random.default_rng(0).random(5)
    for first in range(len(train) - 5):
        row = train[first : first + 5]
        weights += LMS_RATE * (train[first + 5] - weights @ row) * row
    rows = np.lib.stride_tricks.sliding_window_view(test, 5)[:-1]
    return float(((test[5:] - rows @ weights) ** 2).mean())


def padasip_lms(padasip: ModuleType, series: Series) -> float:
    """The same by padasip."""
    train, test = series.parts()
    found = padasip.filters.FilterLMS(n=5, mu=LMS_RATE, w="random")
    found.run(train[5:], np.lib.stride_tricks.sliding_window_view(train, 5)[:-1])
    rows = np.lib.stride_tricks.sliding_window_view(test, 5)[:-1]
    return float(((test[5:] - rows @ found.w) ** 2).mean())


# ANN


def mnist_shaped(rows: int, test_rows: int) -> Table:
    """Random pixels and classes: what they are changes nothing in how long training takes."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        inputs = aligned(count, FEATURES)
        rng.random(out=inputs, dtype=np.float32)
        inputs.flags.writeable = False
        return Split(inputs, rng.integers(0, CLASSES, count))

    return Table(split(rows), split(0), split(test_rows), tuple("0123456789"), "")


def aligned(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """An array as the package's own tables are: whole vectors from its first byte on."""
    memory = np.empty(rows * columns * 4 + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + rows * columns * 4].view(np.float32).reshape(rows, columns)


def one_hot(labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Targets as every contestant but ours wants them."""
    targets: npt.NDArray[np.float32] = np.eye(CLASSES, dtype=np.float32)[labels]
    return targets


def ann_functions() -> Any:
    """Our functions, TensorFlow set to one thread."""
    package = load_driver("ann").train.__module__.rpartition(".")[0]
    importlib.import_module(f"{package}.runtime").start(1)
    return importlib.import_module(f"{package}.functions")


def architecture() -> Any:
    """The paper's: one hidden layer, SGD, squared error."""
    return ann_functions().Architecture(
        hidden_layers=1, activation="relu", optimizer="sgd", loss="mse", momentum=False, l2=False, dropout=False
    )


def trial(table: Table, size: int, rate: float, epochs: int) -> ActiveTrial:
    """One configuration of the paper's grid."""
    params: Params = {"learning_rate": rate, "network_size": [size], "epochs": epochs}
    return ActiveTrial(0, load_driver("ann").complete(params), 0, table)


def measure_warmth(table: Table) -> Warmth:
    """Whether a second trial pays for tracing."""
    say("ANN: what a second trial saves …")
    ann, functions = load_driver("ann"), ann_functions()

    def train_s(size: int) -> float:
        began = time.perf_counter()
        ann.train(trial(table, size, RATE, epochs=1))
        return time.perf_counter() - began

    first_s, other_size_s, again_s = train_s(32), train_s(8), train_s(8)
    traced = functions.graphs(architecture()).epoch.experimental_get_tracing_count()
    return Warmth(first_s, other_size_s, again_s, traced)


def measure_epochs(table: Table, scale: Scale) -> dict[int, dict[str, float]]:
    """Seconds of an epoch by size and contestant."""
    found = {}
    for size in scale.sizes:
        say(f"ANN: one epoch, network size {size} …")
        contestants = {
            OURS: our_epoch(table, size),
            KERAS: keras_epoch(table, size),
            f"Keras, {STEPS_PER_EXECUTION} steps per execution": keras_epoch(table, size, STEPS_PER_EXECUTION),
        }
        if importlib.util.find_spec("torch"):
            contestants["torch loop"] = torch_epoch(table, size)
        found[size] = taking_turns(contestants, scale.rounds)
    return found


def our_epoch(table: Table, size: int) -> Epoch:
    """An epoch as the driver does it, with a new order each time."""
    functions = ann_functions()
    graphs = functions.graphs(architecture())
    state = functions.begin(architecture(), functions.initialise([FEATURES, size, CLASSES], 0))
    inputs = functions.tensor_of(table.train.inputs)
    targets = functions.one_hot(table.train.targets, CLASSES)
    rates = functions.Rates(learning_rate=RATE, momentum=0.0, l2=0.0, dropout=0.0)
    done = 0

    def epoch() -> float:
        nonlocal state, done
        done += 1
        state = graphs.epoch(inputs, targets, functions.order(table.rows, 0, done), state, BATCH_SIZE, rates, 0)
        return float(state.weights[0][0, 0])  # waits for the end

    return epoch


def keras_model(size: int, rate: float, steps_per_execution: int = 1) -> Any:
    """The paper's network by Keras."""
    keras = importlib.import_module("keras")
    layers = [keras.layers.Dense(size, "relu"), keras.layers.Dense(CLASSES, "softmax")]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, loss="mse", metrics=["accuracy"], steps_per_execution=steps_per_execution)
    return model


def keras_epoch(table: Table, size: int, steps_per_execution: int = 1) -> Epoch:
    """An epoch of `fit`."""
    ann_functions()  # sets the threads
    model, targets = keras_model(size, RATE, steps_per_execution), one_hot(table.train.targets)
    return lambda: model.fit(table.train.inputs, targets, batch_size=BATCH_SIZE, epochs=1, verbose=0)


def torch_epoch(table: Table, size: int) -> Epoch:
    """An epoch of the loop that everybody writes, on tensors that are there already."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(FEATURES, size), nn.ReLU(), nn.Linear(size, CLASSES), nn.Softmax(dim=1))
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=RATE), nn.MSELoss()
    inputs, targets = torch.from_numpy(table.train.inputs.copy()), torch.from_numpy(one_hot(table.train.targets))

    def epoch() -> None:
        order = torch.randperm(len(inputs))
        for first in range(0, len(inputs), BATCH_SIZE):
            chosen = order[first : first + BATCH_SIZE]
            optimizer.zero_grad()
            criterion(model(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()

    return epoch


def measure_grid(table: Table, scale: Scale) -> Grid:
    """Every configuration as a whole trial, ours and Keras' in turn."""
    ann = load_driver("ann")
    ours_s = keras_s = 0.0
    for size in scale.sizes:
        say(f"ANN: whole trials, network size {size} …")
        for rate in scale.rates:
            began = time.perf_counter()
            ann.train(trial(table, size, rate, scale.epochs))
            between = time.perf_counter()
            keras_trial(table, size, rate, scale.epochs)
            ours_s += between - began
            keras_s += time.perf_counter() - between
    return Grid(len(scale.sizes) * len(scale.rates), scale.epochs, ours_s, keras_s)


def keras_trial(table: Table, size: int, rate: float, epochs: int) -> float:
    """One configuration: build, fit, evaluate."""
    model = keras_model(size, rate)
    targets = one_hot(table.train.targets)
    model.fit(table.train.inputs, targets, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    _loss, accuracy = model.evaluate(table.test.inputs, one_hot(table.test.targets), verbose=0)
    return 1.0 - float(accuracy)


# Memory


def run_part(part: str, scale: Scale) -> Any:
    """What a copy of this script found out."""
    command = [sys.executable, __file__, "--part", part, *(["--quick"] if scale.rows == QUICK.rows else [])]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def lms_memory(_scale: Scale) -> Memory:
    """Of a process that has trained and compiled filters."""
    measure_lms(QUICK)
    return memory()


def ann_memory(scale: Scale) -> Memory:
    """Of a process that has trained the largest network of the paper, its data in the process' own memory."""
    table = mnist_shaped(scale.rows, scale.test_rows)
    load_driver("ann").train(trial(table, max(SIZES), RATE, epochs=1))
    return memory()


def memory() -> Memory:
    """Of this process, by the kernel's figures; zero where there are none."""
    path = Path("/proc/self/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    mib = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return Memory(total_mib=mib.get("Pss:", 0.0), files_mib=mib.get("Pss_File:", 0.0))


PARTS: dict[str, Callable[[Scale], Memory]] = {"lms": lms_memory, "ann": ann_memory}


# Telling and keeping


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = [name for name in ("tensorflow", "keras", "torch", "numba", "padasip") if name in sys.modules]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def markdown(report: Report) -> str:
    """The tables as people read them."""
    found = dict(report.machine)
    versions = ", ".join(f"{name} {found[name]}" for name in found if name not in ("cpu", "cores", "system"))
    lines = [
        "# Training, side by side on one core",
        "",
        f"{found['cores']} cores ({found['cpu']}), {found['system']}, {versions}.",
        "",
        *epoch_table(report),
        "",
        *ann_notes(report),
        "",
        *lms_table(report),
        "",
        *memory_table(report),
    ]
    return "\n".join(lines) + "\n"


def epoch_table(report: Report) -> Iterator[str]:
    """Seconds of an epoch."""
    names = list(next(iter(report.epoch_s.values())))
    yield f"## ANN: seconds for an epoch of {report.scale.rows:,} × {FEATURES}, batches of {BATCH_SIZE}, SGD, MSE"
    yield ""
    yield f"| network size | {' | '.join(names)} | fit / ours | next best / ours |"
    yield "|---" * (len(names) + 3) + "|"
    for size, epochs in report.epoch_s.items():
        ours = epochs[OURS]
        next_best = min(duration_s for name, duration_s in epochs.items() if name != OURS)
        figures = " | ".join(f"{epochs[name]:.3f}" for name in names)
        yield f"| {size} | {figures} | {epochs[KERAS] / ours:.1f} | {next_best / ours:.1f} |"


def ann_notes(report: Report) -> Iterator[str]:
    """What stands below the table of epochs."""
    grid, warmth = report.grid, report.warmth
    if report.scale.sizes == SIZES:
        ours, keras = report.paper_s(OURS), report.paper_s(KERAS)
        yield (
            f"- The paper's 20 configurations of {PAPER_EPOCHS} epochs, by these epochs: ours {ours:.0f} s, "
            f"Keras fit {keras:.0f} s; {keras / ours:.1f} times."
        )
    yield (
        f"- {grid.configurations} configurations, epochs: {grid.epochs}, as whole trials (ours tested after each "
        f"epoch, Keras' once): ours {grid.ours_s:.1f} s, Keras {grid.keras_s:.1f} s; {grid.speedup:.1f} times."
    )
    yield (
        f"- A trial of one epoch: the first of a process {warmth.first_s:.2f} s, then one of another size "
        f"{warmth.other_size_s:.2f} s and the same again {warmth.again_s:.2f} s; traced for all three: {warmth.traced}."
    )


def lms_table(report: Report) -> Iterator[str]:
    """Milliseconds of a trial."""
    yield "## LMS: one trial on the sunspot series"
    yield ""
    yield "| | ms | times ours |"
    yield "|---|---|---|"
    for name, duration_s in report.lms_s.items():
        yield f"| {name} | {duration_s * 1e3:.3f} | {duration_s / report.lms_s[OURS]:.0f} |"


def memory_table(report: Report) -> Iterator[str]:
    """Proportional set sizes."""
    yield "## Memory of a process that has trained (proportional set size)"
    yield ""
    yield "| | MiB | of these, files that processes share |"
    yield "|---|---|---|"
    for name, found in report.memory.items():
        yield f"| {name} | {found.total_mib:.0f} | {found.files_mib:.0f} |"


def store(report: Report, text: str, folder: Path) -> None:
    """Write JSON and Markdown into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paper = {name: report.paper_s(name) for name in (OURS, KERAS)} if report.scale.sizes == SIZES else None
    content = {**asdict(report), "grid_speedup": report.grid.speedup, "paper_s": paper}
    (folder / "training.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "training.md").write_text(text)


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
