"""An algorithm that costs nothing: it squares a value, after a sleep. What is left of a trial's time is the queue's."""

from __future__ import annotations

from optml_queue.driver import ActiveTrial, Metric, Parameter

from .functions import squared

PARAMETERS = (
    Parameter("value", float, default=0.0),
    Parameter("sleep_s", float, default=0.0, minimum=0.0),
)
METRICS = (Metric("square"),)
DATA = ("sunspots",)


def train(trial: ActiveTrial) -> dict[str, float]:
    """Sleep and square."""
    return {"square": squared(trial.params)}
