"""ANN: a multi-layer perceptron that classifies the rows of a table, trained by backpropagation on TensorFlow.

Every entry of `network_size` is a dense layer with an activation; then comes a dense layer with a softmax, one unit
for each class. The training part is passed `epochs` times in batches, in a new order each time. The same seed gives
the same bits on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from optml_queue.data import Split, Table
from optml_queue.driver import ActiveTrial, Goal, Metric, Parameter
from optml_queue.errors import DataError, DivergedError, InputError
from optml_queue.trial import Params

from . import runtime

if TYPE_CHECKING:
    from .functions import Architecture, Errors, Rates

PARAMETERS = (
    Parameter("learning_rate", float, help="step size of the optimizer", above=0.0),
    Parameter("network_size", list, [512], help="units of each hidden layer; [] for none", items=int, minimum=1),
    Parameter("momentum", float, 0.0, help="part of the last step that is kept (sgd, rmsprop)", minimum=0, maximum=1),
    Parameter("batch_size", int, 32, help="rows for each update", minimum=1, maximum=2**30),
    Parameter("epochs", int, 10, help="passes over the training part", minimum=1),
    Parameter("activation", str, "relu", help="of hidden layers", choices=("relu", "tanh", "sigmoid", "elu")),
    Parameter("optimizer", str, "sgd", help="how weights follow gradients", choices=("sgd", "adam", "rmsprop")),
    # Not `loss`: that is the metric.
    Parameter("loss_function", str, "mse", help="what is made small", choices=("mse", "cross_entropy")),
    Parameter("l2", float, 0.0, help="penalty on the squares of the kernels", minimum=0),
    Parameter("dropout", float, 0.0, help="fraction of hidden units left out of a batch", minimum=0, maximum=0.99),
    Parameter("split", str, "test", help="the part that metrics are of", choices=("test", "validation")),
)
METRICS = (
    Metric("error_rate", help="fraction of rows taken for another class: 1 - accuracy"),
    Metric("accuracy", Goal.MAXIMIZE, help="fraction of rows taken for their class"),
    Metric("loss", help="mean loss, without the penalty on the kernels"),
    Metric("parameters_count", help="weights and biases of the network"),
)
DATA = ("digits", "mnist", "npz", "table")

# Inputs and classes are not known to `cost`: MNIST's. A batch costs as much again as so many multiply-adds.
COST_INPUTS, COST_CLASSES = 784, 10
COST_OF_BATCH = 3e6


def train(trial: ActiveTrial) -> dict[str, float]:
    """Train one network and return what it makes of the split; reports once an epoch.

    Raises DivergedError when a weight or the loss is not finite, DataError when the data are not rows with a class,
    InputError when the parameters do not go together, DriverError when TensorFlow is missing.
    """
    if problems := check(trial.params):
        raise InputError("; ".join(f"{name} {problem}" for name, problem in problems.items()))
    point = _Point.of(trial.params)
    table = _classified(trial.data)
    held_out = _held_out(table, point.split)
    runtime.start(trial.threads)
    from . import functions

    architecture = point.architecture()
    graphs = functions.graphs(architecture)
    inputs, targets = _tensors(table, "train")
    test = _tensors(table, point.split)
    metric = trial.metric or METRICS[0].name
    sizes = [table.features, *point.network_size, len(table.classes)]
    parameters_count = float(sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes)))
    if kept := trial.restore():
        begun, state = kept["epoch"], functions.resume(*kept["network"])
    else:
        begun, state = 0, functions.begin(architecture, functions.initialise(sizes, trial.seed))
    for epoch in range(begun + 1, point.epochs + 1):
        order = functions.order(table.rows, trial.seed, epoch)
        state = graphs.epoch(inputs, targets, order, state, point.batch_size, point.rates(), trial.seed)
        metrics = {**_metrics(graphs.test(*test, state.weights), len(held_out)), "parameters_count": parameters_count}
        trial.report(epoch, metrics[metric])
        if epoch < point.epochs:
            trial.checkpoint_if_due(partial(dict, epoch=epoch, network=state))
    return metrics


def cost(params: Params, rows: int) -> float:
    """Multiply-adds of the layers, forwards and backwards, and what goes with every batch."""
    point = _Point.of(params)
    sizes = [COST_INPUTS, *point.network_size, COST_CLASSES]
    weights = sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))
    batches = math.ceil(rows / point.batch_size)
    return point.epochs * (3.0 * weights * rows + COST_OF_BATCH * batches)


def check(params: Params) -> dict[str, str]:
    """What does not go together in a point, by parameter."""
    momentum = params.get("momentum")
    if momentum and params.get("optimizer") == "adam":
        return {
            "momentum": f"must be 0 with optimizer adam, which has its own, got {momentum}; "
            "give the parameter  when: \"optimizer != 'adam'\""
        }
    return {}


def prepare() -> None:
    """Import TensorFlow."""
    runtime.load()


@dataclass(frozen=True, slots=True)
class _Point:
    """A point's parameters by their types."""

    learning_rate: float
    network_size: tuple[int, ...]
    momentum: float
    batch_size: int
    epochs: int
    activation: str
    optimizer: str
    loss_function: str
    l2: float
    dropout: float
    split: str

    @classmethod
    def of(cls, params: Params) -> _Point:
        return cls(**{**cast(Any, params), "network_size": tuple(cast(list[int], params["network_size"]))})

    def architecture(self) -> Architecture:
        from .functions import Architecture

        return Architecture(
            hidden_layers=len(self.network_size),
            activation=self.activation,
            optimizer=self.optimizer,
            loss=self.loss_function,
            momentum=self.momentum > 0,
            l2=self.l2 > 0,
            dropout=self.dropout > 0,
        )

    def rates(self) -> Rates:
        from .functions import Rates

        return Rates(self.learning_rate, self.momentum, self.l2, self.dropout)


def _classified(data: object) -> Table:
    if not isinstance(data, Table):
        raise DataError(f"ann needs a table of rows, such as {', '.join(DATA)}, not a series")
    if not data.classes:
        raise DataError("ann sorts rows into classes, but the targets of these data are numbers")
    return data


def _held_out(table: Table, name: str) -> Split:
    split: Split = getattr(table, name)
    if not len(split):
        raise DataError(f"split: {name} has no rows; give the data a part for it, as in  data: {{…, {name}: 0.1}}")
    return split


@lru_cache(maxsize=4)  # trials of an experiment share two parts of one table
def _tensors(table: Table, name: str) -> tuple[Any, Any]:
    """Inputs and one-hot targets of one part of a table."""
    from . import functions

    split: Split = getattr(table, name)
    return functions.tensor_of(split.inputs), functions.one_hot(cast(Any, split.targets), len(table.classes))


def _metrics(errors: Errors, rows: int) -> dict[str, float]:
    loss = float(errors.loss)
    if not (errors.finite and math.isfinite(loss)):
        raise DivergedError("the network's weights are not finite", {"loss": loss})
    wrong = int(errors.wrong)
    return {"error_rate": wrong / rows, "accuracy": (rows - wrong) / rows, "loss": loss}
