"""Problems to search, with their spaces, also as the parameters of a spec: functions, a real filter, a real network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.test_functions.functions import branin, conditional, digits_ann, hartmann6, lms, rosenbrock4
from optml_queue.expression import parse
from optml_queue.space import Choices, Interval, Space
from optml_queue.trial import Params


@dataclass(frozen=True)
class Problem:
    """A function to be minimised. `parameters` is its space as lines of a spec.

    Regret is what a search found minus `minimum`, which is 0 where the least is not known.
    """

    name: str
    space: Space
    cost: Callable[[Params], float]
    minimum: float
    parameters: str


LMS_BEST = 0.06490696919895039  # the least of 2,001 learning rates for each length, at 5.12e-6 and 4
_DEEP = parse("kind == 'deep'", dict.fromkeys(("kind", "x", "y", "depth")))
_FOUR = (*(Interval(f"x{i}", -2.0, 2.0) for i in range(3)), Interval("rate", 1e-4, 1.0, log_scale=True))
PROBLEMS = (
    Problem(
        "branin",
        Space((Interval("x", -5.0, 10.0), Interval("y", 0.0, 15.0))),
        branin,
        0.39788735772973816,
        "  x: {min: -5.0, max: 10.0}\n  y: {min: 0.0, max: 15.0}\n",
    ),
    Problem(
        "hartmann6",
        Space(tuple(Interval(f"x{i}", 0.0, 1.0) for i in range(6))),
        hartmann6,
        -3.32236801141551,
        "".join(f"  x{i}: {{min: 0.0, max: 1.0}}\n" for i in range(6)),
    ),
    Problem(
        "rosenbrock4",
        Space(_FOUR),
        rosenbrock4,
        0.0,
        "".join(f"  x{i}: {{min: -2.0, max: 2.0}}\n" for i in range(3)) + "  rate: {min: 1e-4, max: 1.0, scale: log}\n",
    ),
    Problem(
        "conditional",
        Space(
            (
                Choices("kind", ("plain", "deep")),
                Interval("x", 0.0, 1.0),
                Interval("y", 0.0, 1.0, when=_DEEP),
                Interval("depth", 1, 8, when=_DEEP),
            )
        ),
        conditional,
        0.0,
        "  kind: {values: [plain, deep]}\n  x: {min: 0.0, max: 1.0}\n"
        "  y: {min: 0.0, max: 1.0, when: kind == 'deep'}\n  depth: {min: 1, max: 8, when: kind == 'deep'}\n",
    ),
    Problem(
        "lms",
        Space((Interval("learning_rate", 1e-8, 1e-2, log_scale=True), Interval("filter_size", 2, 20))),
        lms,
        LMS_BEST,
        "  learning_rate: {min: 1e-8, max: 1e-2, scale: log}\n  filter_size: {min: 2, max: 20}\n",
    ),
    Problem(
        "digits_ann",
        Space(
            (
                Interval("learning_rate", 1e-3, 3.0, log_scale=True),
                Interval("momentum", 0.0, 0.95),
                Interval("units", 4, 128, log_scale=True),
                Interval("batch_size", 16, 128, log_scale=True),
                Choices("activation", ("relu", "tanh", "sigmoid", "elu")),
            )
        ),
        digits_ann,
        0.0,
        "  learning_rate: {min: 1e-3, max: 3.0, scale: log}\n  momentum: {min: 0.0, max: 0.95}\n"
        "  units: {min: 4, max: 128, scale: log}\n  batch_size: {min: 16, max: 128, scale: log}\n"
        "  activation: {values: [relu, tanh, sigmoid, elu]}\n",
    ),
)
