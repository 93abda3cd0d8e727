"""A multi-layer perceptron trained by backpropagation: pure functions of tensors.

Between the inputs and the classes lie any number of dense layers with an activation; the last layer is dense with a
softmax. `weights` are kernel (fan-in, fan-out) and bias (fan-out,) of one layer after another, float32. `inputs` are
(n, features) float32, `targets` (n, classes) float32, one-hot.

An epoch is one call into TensorFlow: the loop over its batches is part of the graph. Python would spend ten times as
long on a batch of a small network as the network itself. No size stands in a graph: sizes, batch size, rows and rates
are tensors, so a process traces one graph for each `Architecture`, and all trials of a search usually share one.

The steps are those of Keras 3 (its sgd, rmsprop and adam with their defaults), down to the order of operations.

Sources: D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986), Learning representations by back-propagating errors,
Nature 323, 533–536; X. Glorot and Y. Bengio (2010), Understanding the difficulty of training deep feedforward neural
networks, AISTATS (initial weights); T. Tieleman and G. Hinton (2012), Lecture 6.5, Coursera (RMSprop); D. P. Kingma
and J. Ba (2015), Adam, ICLR; N. Srivastava et al. (2014), Dropout, JMLR 15, 1929–1958.

Importing this module imports TensorFlow; `runtime` does that first, and quietly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Tensor = Any  # TensorFlow has no types
Floats = npt.NDArray[np.float32]

RMSPROP_DECAY = 0.9
ADAM_DECAY_1, ADAM_DECAY_2 = 0.9, 0.999
EPSILON = 1e-7
TEST_ROWS = 1024  # passed through the network at once: activations of more rows would only fill memory
ALIGNMENT = 64  # bytes; TensorFlow's kernels read whole vectors

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": tf.nn.relu,
    "tanh": tf.math.tanh,
    "sigmoid": tf.math.sigmoid,
    "elu": tf.nn.elu,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the form of a graph depends on. `momentum`, `l2` and `dropout` say whether there is any."""

    hidden_layers: int
    activation: str
    optimizer: str
    loss: str
    momentum: bool
    l2: bool
    dropout: bool


class Rates(NamedTuple):
    """The numbers of a training that may differ between trials of one graph."""

    learning_rate: float
    momentum: float
    l2: float
    dropout: float


class State(NamedTuple):
    """A network in training: its weights, the optimizer's memory of each of them, and the updates made so far."""

    weights: list[Tensor]
    slots: list[list[Tensor]]
    updates: Tensor


class Errors(NamedTuple):
    """What a network makes of a part of the data; `finite` is false when any weight is not."""

    wrong: int
    loss: float
    finite: bool


class Graphs(NamedTuple):
    """The traced functions of one architecture."""

    epoch: Callable[..., State]
    test: Callable[..., Errors]


# Before the first epoch


def initialise(sizes: Sequence[int], seed: int) -> list[Floats]:
    """Weights of layers between `sizes` (features, …, classes): kernels Glorot-uniform, biases zero."""
    rng = _stream(seed, epoch=0)
    weights: list[Floats] = []
    for fan_in, fan_out in pairwise(sizes):
        limit = np.sqrt(6.0 / (fan_in + fan_out))
        weights.append(rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32))
        weights.append(np.zeros(fan_out, np.float32))
    return weights


def begin(architecture: Architecture, weights: Sequence[Floats]) -> State:
    """A training that starts from these weights."""
    rule = RULES[architecture.optimizer, architecture.momentum]
    tensors = [tf.constant(weight) for weight in weights]
    return State(tensors, [[tf.zeros_like(weight) for _ in range(rule.slots)] for weight in tensors], tf.constant(0))


def resume(weights: Sequence[Floats], slots: Sequence[Sequence[Floats]], updates: npt.NDArray[np.int32]) -> State:
    """The training whose state had these fields, now arrays."""
    tensors = [[tf.constant(slot) for slot in each] for each in slots]
    return State([tf.constant(weight) for weight in weights], tensors, tf.constant(updates))


def order(rows: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    """The order of the training rows in an epoch, counted from 1."""
    return _stream(seed, epoch).permutation(np.arange(rows, dtype=np.int32))


def _stream(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch))


def one_hot(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Class indices (n,) as targets (n, classes) float32."""
    return tf.one_hot(labels, classes)


def tensor_of(array: Floats) -> Tensor:
    """An array as a tensor, in the array's own memory where that is aligned as TensorFlow needs it.

    Such a tensor is read only, as the array is.
    """
    if array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous or not array.size:
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Exported(array)).__dlpack__())


class _Exported:
    """Memory of a read-only array for DLPack, whose older versions could not say that it is read only."""

    def __init__(self, array: Floats) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


# The network


class Dropout(NamedTuple):
    """What drops units of the hidden layers: a rate, and the two numbers that stand for a batch's random draw."""

    rate: Tensor
    seed: Tensor
    batch: Tensor


def logits(weights: Sequence[Tensor], inputs: Tensor, activation: str, dropout: Dropout | None = None) -> Tensor:
    """The last layer before its softmax; (n, classes)."""
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    values = inputs
    for layer, (kernel, bias) in enumerate(hidden):
        values = ACTIVATIONS[activation](tf.matmul(values, kernel) + bias)
        if dropout is not None:
            draw = tf.stack([dropout.seed, tf.cast(dropout.batch * len(hidden) + layer, tf.int64)])
            kept = tf.random.stateless_uniform(tf.shape(values), draw) >= dropout.rate
            values = tf.where(kept, values / (1.0 - dropout.rate), 0.0)
    kernel, bias = last
    return tf.matmul(values, kernel) + bias


def _squared_error(targets: Tensor, scores: Tensor) -> Tensor:
    return tf.reduce_mean(tf.math.squared_difference(tf.nn.softmax(scores), targets), axis=-1)


def _cross_entropy(targets: Tensor, scores: Tensor) -> Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(targets, scores)


# Of targets and logits; (n,), one for each row.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": _squared_error, "cross_entropy": _cross_entropy}


# The optimizers: what to take off a weight, and their memory afterwards


class Rule(NamedTuple):
    """An optimizer's step for one weight: (gradient, slots, rates, number of the update) → (decrease, slots)."""

    slots: int
    step: Callable[[Tensor, list[Tensor], Rates, Tensor], tuple[Tensor, list[Tensor]]]


def _sgd(gradient: Tensor, _slots: list[Tensor], rates: Rates, _update: Tensor) -> tuple[Tensor, list[Tensor]]:
    return gradient * rates.learning_rate, []


def _sgd_momentum(gradient: Tensor, slots: list[Tensor], rates: Rates, _update: Tensor) -> tuple[Tensor, list[Tensor]]:
    velocity = slots[0] * rates.momentum + gradient * rates.learning_rate
    return velocity, [velocity]


def _rmsprop(gradient: Tensor, slots: list[Tensor], rates: Rates, _update: Tensor) -> tuple[Tensor, list[Tensor]]:
    power = RMSPROP_DECAY * slots[0] + (1 - RMSPROP_DECAY) * tf.square(gradient)
    return rates.learning_rate * gradient / tf.sqrt(power + EPSILON), [power]


def _rmsprop_momentum(
    gradient: Tensor, slots: list[Tensor], rates: Rates, update: Tensor
) -> tuple[Tensor, list[Tensor]]:
    increment, powers = _rmsprop(gradient, slots[:1], rates, update)
    velocity = rates.momentum * slots[1] + increment
    return velocity, [*powers, velocity]


def _adam(gradient: Tensor, slots: list[Tensor], rates: Rates, update: Tensor) -> tuple[Tensor, list[Tensor]]:
    mean, power = slots
    mean += (gradient - mean) * (1 - ADAM_DECAY_1)
    power += (tf.square(gradient) - power) * (1 - ADAM_DECAY_2)
    step = tf.cast(update, tf.float32)
    unbiased = tf.sqrt(1 - tf.pow(ADAM_DECAY_2, step)) / (1 - tf.pow(ADAM_DECAY_1, step))
    return mean * (rates.learning_rate * unbiased) / (tf.sqrt(power) + EPSILON), [mean, power]


# By optimizer and whether there is momentum; Adam has its own.
RULES = {
    ("sgd", False): Rule(0, _sgd),
    ("sgd", True): Rule(1, _sgd_momentum),
    ("rmsprop", False): Rule(1, _rmsprop),
    ("rmsprop", True): Rule(2, _rmsprop_momentum),
    ("adam", False): Rule(2, _adam),
}


# The graphs


@lru_cache(maxsize=64)
def graphs(architecture: Architecture) -> Graphs:
    """`epoch(inputs, targets, order, state, batch_size, rates, seed)` and `test(inputs, targets, weights)`.

    Traced at the first call and kept for the process. Not compiled by XLA, which needs every size fixed: it would
    compile anew (half a second) for each network size, batch size and number of rows, to gain a fraction on the
    smallest networks and lose on the largest (benchmarks/training.py has the figures).
    """
    matrix, vector, number = (tf.TensorSpec([None] * rank, tf.float32) for rank in (2, 1, 0))
    weights = [matrix, vector] * (architecture.hidden_layers + 1)
    rule = RULES[architecture.optimizer, architecture.momentum]
    state = State(weights, [[weight] * rule.slots for weight in weights], tf.TensorSpec([], tf.int32))
    rows, batch_size = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)
    rates, seed = Rates(*[number] * len(Rates._fields)), tf.TensorSpec([], tf.int64)
    return Graphs(
        tf.function(partial(_epoch, architecture), [matrix, matrix, rows, state, batch_size, rates, seed]),
        tf.function(partial(_test, architecture), [matrix, matrix, weights]),
    )


def _epoch(
    architecture: Architecture,
    inputs: Tensor,
    targets: Tensor,
    rows: Tensor,
    state: State,
    batch_size: Tensor,
    rates: Rates,
    seed: Tensor,
) -> State:
    """One pass over `rows`, an update for each batch; the last batch may be smaller, as Keras has it."""

    def batch(start: Tensor, state: State) -> tuple[Tensor, State]:
        chosen = rows[start : start + batch_size]
        dropout = Dropout(rates.dropout, seed, state.updates) if architecture.dropout else None
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            scores = logits(state.weights, tf.gather(inputs, chosen), architecture.activation, dropout)
            loss = tf.reduce_mean(LOSSES[architecture.loss](tf.gather(targets, chosen), scores))
            if architecture.l2:
                loss += rates.l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in state.weights[::2]])
        return start + batch_size, _updated(architecture, state, tape.gradient(loss, state.weights), rates)

    _, state = tf.while_loop(
        lambda start, _state: start < tf.size(rows), batch, (tf.constant(0), state), parallel_iterations=1
    )
    return state


def _updated(architecture: Architecture, state: State, gradients: Sequence[Tensor], rates: Rates) -> State:
    step = RULES[architecture.optimizer, architecture.momentum].step
    updates = state.updates + 1
    decreases, slots = zip(
        *(step(*each, rates, updates) for each in zip(gradients, state.slots, strict=True)), strict=True
    )
    weights = [weight - decrease for weight, decrease in zip(state.weights, decreases, strict=True)]
    return State(weights, list(slots), updates)


def _test(architecture: Architecture, inputs: Tensor, targets: Tensor, weights: list[Tensor]) -> Errors:
    """How many rows are taken for another class, and the mean loss without any penalty."""

    def part(start: Tensor, wrong: Tensor, loss: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        truth = targets[start : start + TEST_ROWS]
        scores = logits(weights, inputs[start : start + TEST_ROWS], architecture.activation)
        missed = tf.not_equal(tf.argmax(scores, axis=-1), tf.argmax(truth, axis=-1))
        losses = LOSSES[architecture.loss](truth, scores)
        return (
            start + TEST_ROWS,
            wrong + tf.math.count_nonzero(missed),
            loss + tf.cast(tf.reduce_sum(losses), tf.float64),
        )

    rows = tf.shape(inputs)[0]
    zero = tf.constant(0), tf.constant(0, tf.int64), tf.constant(0, tf.float64)
    _, wrong, loss = tf.while_loop(lambda start, *_sums: start < rows, part, zero, parallel_iterations=1)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight)) for weight in weights])
    return Errors(wrong, loss / tf.cast(rows, tf.float64), finite)
