"""Branin, Hartmann6 and others as an algorithm, so that searches can be watched through a real queue."""

from __future__ import annotations

from optml_queue.driver import ActiveTrial, Metric, Parameter

from .functions import FUNCTIONS, evaluated

PARAMETERS = (
    Parameter("function", str, "branin", choices=tuple(FUNCTIONS)),
    Parameter("sleep_s", float, 0.0, minimum=0.0, help="how long a trial takes"),
    Parameter("instant", int, 0, help="the first so many trials do not sleep"),
    Parameter("x", float, 0.0),
    Parameter("y", float, 0.0),
    Parameter("kind", str, "plain", choices=("plain", "deep")),
    Parameter("depth", int, 1),
    *(Parameter(f"x{i}", float, 0.0) for i in range(6)),
    Parameter("rate", float, 1.0, above=0.0),
    Parameter("learning_rate", float, 1e-5, above=0.0),
    Parameter("filter_size", int, 5, minimum=1),
    Parameter("momentum", float, 0.0, minimum=0.0, maximum=1.0),
    Parameter("units", int, 16, minimum=1),
    Parameter("batch_size", int, 32, minimum=1),
    Parameter("activation", str, "relu", choices=("relu", "tanh", "sigmoid", "elu")),
)
METRICS = (Metric("value"),)
DATA = ("sunspots",)


def train(trial: ActiveTrial) -> dict[str, float]:
    """Sleep, and evaluate."""
    return {"value": evaluated(trial.params, trial.number)}
