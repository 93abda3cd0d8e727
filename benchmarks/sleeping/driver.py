"""Stands in for another algorithm: takes the same parameters and data, declares the same metrics, and only sleeps.

`replaced.json` beside this file names the algorithm and the seconds; the benchmark writes it into a copy of this
folder. Beside the metrics, `ended_at` tells when the sleep was over: what is late after that is the queue's doing.
"""

from __future__ import annotations

import json
from pathlib import Path

from optml_queue.driver import ActiveTrial, load_driver

from .functions import sleep

_REPLACED = json.loads(Path(__file__).with_name("replaced.json").read_text())
_DRIVER = load_driver(_REPLACED["algorithm"])

PARAMETERS = tuple(_DRIVER.parameters.values())
METRICS = tuple(_DRIVER.metrics.values())
DATA = _DRIVER.data


def train(trial: ActiveTrial) -> dict[str, float]:
    """Sleep. Every declared metric is the trial's number, so that there is a best one."""
    ended_at = sleep(_REPLACED["sleep_s"])
    return dict.fromkeys(_DRIVER.metrics, float(trial.number)) | {"ended_at": ended_at}
