"""The perceptron against Keras, against NumPy, and its promises about a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from optml_queue.data import DataSpec, Series, Split, Table, load
from optml_queue.driver import ActiveTrial, Order, load_driver
from optml_queue.errors import AttemptEndedError, DataError, DivergedError, DriverError, InputError, SpecError
from optml_queue.spec import parse_spec

ann = load_driver("ann")
driver_module = sys.modules[ann.train.__module__]
package = ann.train.__module__.rpartition(".")[0]
runtime: ModuleType = sys.modules[f"{package}.runtime"]

FEATURES, CLASSES = 12, 3
ROOT = Path(__file__).parent.parent.parent


def split(rows: int, seed: int) -> Split:
    """Rows whose class a network can learn: three clouds."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    targets = rng.integers(0, CLASSES, rows)
    inputs = (centres[targets] + rng.normal(scale=0.8, size=(rows, FEATURES))).astype(np.float32)
    inputs.flags.writeable = False
    return Split(inputs, targets)


@pytest.fixture(scope="module")
def table() -> Table:
    # 150 rows: four batches of 32 and one of 22.
    return Table(split(150, 1), split(40, 2), split(60, 3), ("a", "b", "c"), "")


@pytest.fixture(scope="module")
def functions() -> Any:
    runtime.start(1)
    return __import__(f"{package}.functions", fromlist=["functions"])


def train(table: Table | Series, seed: int = 0, metric: str = "", **params: Any) -> dict[str, float]:
    params = {"learning_rate": 0.1, "network_size": [8], "epochs": 3, **params}
    return dict(ann.train(ActiveTrial(0, ann.complete(params), seed, table, metric=metric)))


def forward(weights: list[Any], inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The network's answers by NumPy in float64: ReLU, then softmax."""
    values = inputs.astype(np.float64)
    *hidden, (kernel, bias) = zip(weights[::2], weights[1::2], strict=True)
    for inner_kernel, inner_bias in hidden:
        values = np.maximum(values @ np.asarray(inner_kernel) + np.asarray(inner_bias), 0)
    scores = values @ np.asarray(kernel) + np.asarray(bias)
    answers: npt.NDArray[Any] = np.exp(scores - scores.max(axis=1, keepdims=True))
    answers /= answers.sum(axis=1, keepdims=True)
    return answers


def point_of(**params: Any) -> Any:
    return driver_module._Point.of(ann.complete({"learning_rate": 0.1, **params}))


def trained(functions: Any, table: Table, epochs: int = 3, **params: Any) -> tuple[list[Any], list[Any]]:
    """Initial and final weights of a training whose rows come in their own order."""
    point = point_of(**params)
    architecture = point.architecture()
    start = functions.initialise([FEATURES, *point.network_size, CLASSES], 0)
    state = functions.begin(architecture, start)
    inputs, targets = functions.tensor_of(table.train.inputs), functions.one_hot(table.train.targets, CLASSES)
    for _epoch in range(epochs):
        order = np.arange(table.rows, dtype=np.int32)
        state = functions.graphs(architecture).epoch(inputs, targets, order, state, point.batch_size, point.rates(), 0)
    return start, [weight.numpy() for weight in state.weights]


def keras_weights(table: Table, start: list[Any], params: dict[str, Any], epochs: int = 3) -> list[Any]:
    """What Keras' own `fit` makes of the same weights and rows."""
    import keras

    rate, momentum = params["learning_rate"], params.get("momentum", 0.0)
    optimizers = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=momentum),
        "adam": lambda: keras.optimizers.Adam(rate),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, momentum=momentum),
    }
    penalty = keras.regularizers.L2(params["l2"]) if "l2" in params else None
    hidden = [
        keras.layers.Dense(units, params.get("activation", "relu"), kernel_regularizer=penalty)
        for units in params.get("network_size", [512])
    ]
    last = keras.layers.Dense(CLASSES, "softmax", kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, last])
    model.compile(
        optimizer=optimizers[params.get("optimizer", "sgd")](),
        loss={"mse": "mse", "cross_entropy": "categorical_crossentropy"}[params.get("loss_function", "mse")],
        jit_compile=False,  # compiling would take most of the test
    )
    model.set_weights(start)
    targets = np.eye(CLASSES, dtype=np.float32)[table.train.targets]
    batch_size = params.get("batch_size", 32)
    model.fit(table.train.inputs, targets, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0)
    weights: list[Any] = model.get_weights()
    return weights


@pytest.mark.training
class TestAgainstKeras:
    @pytest.mark.parametrize(
        "params",
        [
            {"learning_rate": 0.5, "network_size": [8]},
            {"learning_rate": 0.1, "network_size": [16, 8], "momentum": 0.9, "batch_size": 20},
            {"learning_rate": 0.1, "network_size": [], "loss_function": "cross_entropy"},
            {"learning_rate": 0.1, "network_size": [8], "loss_function": "cross_entropy", "l2": 0.01, "momentum": 0.5},
            {"learning_rate": 0.01, "network_size": [8], "optimizer": "adam"},
            {"learning_rate": 0.01, "network_size": [8], "optimizer": "adam", "loss_function": "cross_entropy"},
            {"learning_rate": 0.01, "network_size": [8], "optimizer": "rmsprop", "activation": "tanh"},
            {
                "learning_rate": 0.01, "network_size": [8, 8], "optimizer": "rmsprop", "momentum": 0.8,
                "loss_function": "cross_entropy", "activation": "sigmoid",
            },
            {"learning_rate": 0.1, "network_size": [8], "activation": "elu", "l2": 0.1, "batch_size": 1000},
        ],
        ids=lambda params: "-".join(str(value) for value in params.values()),
    )  # fmt: skip
    def test_three_epochs_give_the_weights_of_its_fit(
        self, functions: Any, table: Table, params: dict[str, Any]
    ) -> None:
        start, ours = trained(functions, table, **params)
        theirs = keras_weights(table, start, params)
        difference = max(float(np.abs(our - their).max()) for our, their in zip(ours, theirs, strict=True))
        moved = min(float(np.abs(our - before).max()) for our, before in zip(ours, start, strict=True))
        assert difference <= 1e-4 < moved


class TestNetwork:
    def test_initial_kernels_are_glorot_uniform_and_biases_zero(self, functions: Any) -> None:
        first, first_bias, second, second_bias = functions.initialise([300, 200, 10], 4)
        for kernel in (first, second):
            limit = np.sqrt(6 / sum(kernel.shape))
            assert 0.98 * limit < np.abs(kernel).max() <= limit
            assert kernel.var() == pytest.approx(limit**2 / 3, rel=0.05)
        assert not first_bias.any()
        assert not second_bias.any()
        assert (first_bias.shape, second_bias.shape, first.dtype) == ((200,), (10,), np.float32)

    def test_every_epoch_has_an_order_of_its_own(self, functions: Any) -> None:
        orders = [functions.order(500, seed, epoch) for seed, epoch in [(0, 1), (0, 2), (1, 1)]]
        assert all(sorted(order) == list(range(500)) for order in orders)
        assert len({tuple(order) for order in orders}) == 3
        assert (functions.order(500, 0, 2) == orders[1]).all()

    @pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
    def test_errors_are_those_of_numpy(self, functions: Any, loss: str) -> None:
        part = split(3000, 5)  # passed through in three parts
        point = point_of(network_size=[7], loss_function=loss)
        weights = [weight + np.float32(0.1) for weight in functions.initialise([FEATURES, 7, CLASSES], 0)]
        errors = functions.graphs(point.architecture()).test(
            part.inputs, functions.one_hot(part.targets, CLASSES), weights
        )
        answers, truth = forward(weights, part.inputs), np.eye(CLASSES)[part.targets]
        losses = {"mse": ((answers - truth) ** 2).mean(), "cross_entropy": -np.log((answers * truth).sum(1)).mean()}
        assert int(errors.wrong) == (answers.argmax(1) != part.targets).sum()
        assert float(errors.loss) == pytest.approx(losses[loss], rel=1e-5)
        assert bool(errors.finite)

    def test_dropout_leaves_out_that_fraction_and_keeps_the_sum(self, functions: Any) -> None:
        ones = np.ones((400, 500), np.float32)
        weights = [np.eye(500, dtype=np.float32), np.zeros(500, np.float32)] * 2

        def dropped(batch: int) -> npt.NDArray[Any]:
            seed = np.int64(3)
            result: npt.NDArray[Any] = functions.logits(
                weights, ones, "relu", functions.Dropout(np.float32(0.25), seed, np.int32(batch))
            ).numpy()
            return result

        values = dropped(0)
        assert (values == 0).mean() == pytest.approx(0.25, abs=0.005)
        assert values.max() == pytest.approx(1 / 0.75)
        assert (values == dropped(0)).all()
        assert (values != dropped(1)).any()

    def test_memory_is_shared_where_it_is_aligned(self, functions: Any) -> None:
        memory = np.arange(1000 + 16, dtype=np.float32)
        first = -memory.ctypes.data % 64 // 4
        for offset, shared in [(0, True), (1, False)]:
            array = memory[first + offset : first + offset + 1000].reshape(100, 10)
            array.flags.writeable = False
            tensor = functions.tensor_of(array)
            assert (tensor.numpy() == array).all()
            memory[first + offset] = -1.0  # what nobody may do shows whose memory it is
            assert (float(tensor[0, 0]) == -1.0) is shared
            assert not array.flags.writeable

    def test_a_file_mapped_read_only_can_be_trained_on(self, table: Table, tmp_path: Path) -> None:
        np.save(tmp_path / "inputs.npy", table.train.inputs)
        mapped = Split(np.load(tmp_path / "inputs.npy", mmap_mode="r"), table.train.targets)
        on_file = Table(mapped, table.validation, table.test, table.classes, "")
        assert train(on_file, momentum=0.9, dropout=0.1) == train(table, momentum=0.9, dropout=0.1)


class TestTrial:
    def test_it_learns(self, table: Table) -> None:
        metrics = train(table, epochs=30, learning_rate=0.5)
        assert metrics["error_rate"] <= 0.1
        assert metrics["accuracy"] == pytest.approx(1 - metrics["error_rate"])
        assert train(table, epochs=1, learning_rate=1e-6)["error_rate"] > 0.3

    def test_digits_are_told_apart(self) -> None:
        metrics = train(load(DataSpec("digits")), network_size=[32], epochs=20, momentum=0.9)
        assert metrics["error_rate"] < 0.1

    def test_the_metrics_are_of_the_split(self, table: Table) -> None:
        swapped = Table(table.train, table.test, table.validation, table.classes, "")
        on_validation = train(table, split="validation")
        assert on_validation == train(swapped)
        assert on_validation != train(table)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_the_seed_decides_the_bits(self, table: Table, optimizer: str) -> None:
        def point(seed: int) -> dict[str, float]:
            return train(table, seed, optimizer=optimizer, dropout=0.3, network_size=[40, 20])

        assert point(1) == point(1) != point(2)

    def test_whole_numbers_are_taken_for_rates(self, table: Table) -> None:
        assert train(table, learning_rate=1) == train(table, learning_rate=1.0)

    @pytest.mark.parametrize("metric", ["", "accuracy", "loss"])
    def test_an_epoch_is_one_call_and_one_report_of_the_metric(
        self, functions: Any, table: Table, monkeypatch: pytest.MonkeyPatch, metric: str
    ) -> None:
        graphs, calls, reports = functions.graphs, [], []

        def counted(architecture: Any) -> Any:
            original = graphs(architecture)

            def epoch(*arguments: Any) -> Any:
                calls.append(arguments)
                return original.epoch(*arguments)

            return original._replace(epoch=epoch)

        def report(step: int, value: float) -> Order:
            reports.append((step, value))
            return Order.OK

        monkeypatch.setattr(functions, "graphs", counted)
        params = ann.complete({"learning_rate": 0.1, "epochs": 4})
        metrics = ann.train(ActiveTrial(0, params, 0, table, on_report=report, metric=metric))
        assert len(calls) == 4
        assert [step for step, _value in reports] == [1, 2, 3, 4]
        assert reports[-1][1] == metrics[metric or "error_rate"]

    def test_an_order_ends_it_after_the_epoch(self, table: Table) -> None:
        params = ann.complete({"learning_rate": 0.1})
        with pytest.raises(AttemptEndedError):
            ann.train(ActiveTrial(0, params, 0, table, on_report=lambda _step, _value: Order.STOP))

    @pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
    def test_weights_that_run_away_are_a_divergence(self, table: Table, loss: str) -> None:
        with pytest.raises(DivergedError, match="not finite") as raised:
            train(table, learning_rate=1e30, loss_function=loss)
        assert set(raised.value.metrics) == {"loss"}

    def test_all_sizes_rates_and_batches_share_one_graph(self, functions: Any, table: Table) -> None:
        functions.graphs.cache_clear()
        for size, rate, batch_size in [(8, 0.1, 32), (5, 0.2, 32), (5, 0.1, 7)]:
            train(table, network_size=[size], learning_rate=rate, batch_size=batch_size)
        train(Table(split(77, 8), split(0, 8), split(9, 8), table.classes, ""))
        train(table, momentum=0.9)
        train(table, momentum=0.5)
        plain, with_momentum = (
            functions.graphs(point_of(network_size=[8], momentum=momentum).architecture()) for momentum in (0.0, 0.1)
        )
        assert functions.graphs.cache_info().currsize == 2
        counts = [graph.experimental_get_tracing_count() for graph in (*plain, *with_momentum)]
        assert counts == [1, 1, 1, 1]

    def test_cost_follows_what_training_takes(self) -> None:
        assert ann.cost is not None
        small, large = (ann.cost(ann.complete({"learning_rate": 0.1, "network_size": [n]}), 60_000) for n in (2, 512))
        assert 5 < large / small < 20  # measured: 9
        larger_batches = ann.complete({"learning_rate": 0.1, "network_size": [2], "batch_size": 64})
        assert ann.cost(larger_batches, 60_000) < 0.7 * small


class TestMistakes:
    def test_a_series_has_no_classes(self) -> None:
        with pytest.raises(
            DataError, match="ann needs a table of rows, such as digits, mnist, npz, table, not a series"
        ):
            train(load(DataSpec("sunspots")))

    def test_numbers_are_no_classes(self, table: Table) -> None:
        with pytest.raises(DataError, match="the targets of these data are numbers"):
            train(Table(table.train, table.validation, table.test, (), ""))

    def test_a_split_without_rows(self, table: Table) -> None:
        with pytest.raises(DataError, match=r"split: validation has no rows; give .* data: \{…, validation: 0.1\}"):
            train(Table(table.train, split(0, 1), table.test, table.classes, ""), split="validation")

    def test_adam_takes_no_momentum(self, table: Table) -> None:
        with pytest.raises(InputError, match="momentum must be 0 with optimizer adam"):
            train(table, optimizer="adam", momentum=0.9)

    def test_a_spec_with_a_point_of_both_is_refused_and_one_without_is_not(self) -> None:
        head = "name: x\nalgorithm: ann\nparameters:\n  learning_rate: 0.1\n  optimizer: [sgd, adam]\n"
        with pytest.raises(SpecError, match=r"ann\.yaml:6: parameters\.momentum.*: must be 0 with optimizer adam"):
            parse_spec(f"{head}  momentum: [0.0, 0.9]\n", "ann.yaml", Path())
        parse_spec(f"{head}  momentum: {{values: [0.0, 0.9], when: \"optimizer != 'adam'\"}}\n", "ann.yaml", Path())

    def test_an_unknown_parameter_gets_a_suggestion(self) -> None:
        with pytest.raises(SpecError, match=r"momentun: is no parameter of ann\n.*momentum"):
            parse_spec("name: x\nalgorithm: ann\nparameters: {learning_rate: 0.1, momentun: 0.5}\n", "ann.yaml", Path())

    @pytest.mark.parametrize("size", [[0], [8, -1], [2.5], [True], ["8"]])
    def test_a_layer_has_units(self, size: list[Any]) -> None:
        assert "is a list whose items must be" in ann.parameters["network_size"].problem(size)

    def test_missing_tensorflow_names_the_extra(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(DriverError, match=r"needs TensorFlow, which is not installed.*'optml-queue\[tensorflow\]'"):
            train(table)

    def test_broken_tensorflow_tells_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tensorflow.python", None)
        with pytest.raises(DriverError, match=r"cannot be loaded: .*tensorflow\.python"):
            runtime.load()


class TestQuiet:
    def test_only_the_libraries_chatter_is_lost(self, capfd: pytest.CaptureFixture[str]) -> None:
        with runtime._hushed():
            os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
            os.write(2, b"I0000 00:00:1795528301.548123    3958 port.cc:153] oneDNN custom operations are on.\n")
            os.write(2, b"E0000 00:00:1795528301.548123    3958 loader.cc:1] a real trouble\n")
            os.write(2, b"another thread's line\n")
        os.write(2, b"a later line\n")
        lines = capfd.readouterr().err.splitlines()
        assert [line.rpartition("] ")[2] for line in lines] == [
            "a real trouble",
            "another thread's line",
            "a later line",
        ]


PROCESS = """
import json, sys
from optml_queue.driver import ActiveTrial, load_driver
from optml_queue.data import DataSpec, load

import optml_queue.runner
lms = load_driver("lms")
lms.train(ActiveTrial(0, lms.complete({"learning_rate": 1e-6}), 0, load(DataSpec("sunspots"))))
ann = load_driver("ann")
params = ann.complete({"learning_rate": 0.5, "network_size": [300], "epochs": 2, "dropout": 0.1})
before = "tensorflow" in sys.modules
ann.prepare()
metrics = ann.train(ActiveTrial(0, params, 7, load(DataSpec("digits")), threads=2))
import tensorflow as tf
threads = tf.config.threading
print(json.dumps({
    "before": before,
    "metrics": metrics,
    "keras": [name for name in sys.modules if name.partition(".")[0] == "keras"],
    "threads": [threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()],
}))
from tensorflow.keras import layers  # as a user's program might, later in the same process
assert layers.Dense
"""


@pytest.fixture(scope="module")
def told() -> list[tuple[Any, str]]:
    """What two new processes at once say of themselves, and what they write to stderr."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _run in range(2)
    ]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    return [(json.loads(out), err) for out, err in outputs]


@pytest.mark.training
class TestProcess:
    def test_tensorflow_comes_with_the_first_ann_and_not_before(self, told: list[tuple[Any, str]]) -> None:
        assert told[0][0]["before"] is False

    def test_it_comes_without_keras_and_without_a_word(self, told: list[tuple[Any, str]]) -> None:
        assert told[0][0]["keras"] == []
        assert told[0][1].strip() == ""

    def test_it_has_the_threads_of_the_workers_share(self, told: list[tuple[Any, str]]) -> None:
        assert told[0][0]["threads"] == [2, 1]

    def test_two_processes_give_the_same_bits(self, told: list[tuple[Any, str]]) -> None:
        assert told[0][0]["metrics"] == told[1][0]["metrics"]
