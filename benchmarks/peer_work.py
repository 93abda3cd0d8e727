"""What `peers.py` has every peer run, importable in their processes: one point in, one figure out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
if str(FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(FOLDER.parent))

from benchmarks.instant.functions import squared  # noqa: E402
from optml_queue.driver import ActiveTrial, load_driver  # noqa: E402
from optml_queue.runner import data_of, run_attempt  # noqa: E402
from optml_queue.spec import Algorithm, Spec, parse_spec  # noqa: E402

INSTANT = FOLDER / "instant"
LMS_PARAMETERS = ("learning_rate", "filter_size")


def evaluate(params: Mapping[str, Any]) -> float:
    """The metric of a point: an LMS filter's error where it has a learning rate, else a square after a sleep."""
    return _lms(params) if "learning_rate" in params else squared(params)


def instant_spec(trials: int, sleep_s: float = 0.0) -> Spec:
    """A grid of `trials` points that cost nothing but a sleep."""
    text = (
        f"name: instant\nalgorithm: instant\nmethod: grid\nparameters:\n"
        f"  value: {{min: 0.0, max: 1.0, count: {trials}}}\n  sleep_s: {{value: {sleep_s}}}\n"
    )
    spec = parse_spec(text, "instant", FOLDER, drivers={"instant": load_driver(INSTANT)})
    return replace(spec, code=Algorithm(str(INSTANT)))


def lms_spec(trials: int) -> Spec:
    """A grid of `trials` LMS filters (a multiple of four) on the sunspots."""
    text = (
        "name: lms\nalgorithm: lms\nmethod: grid\nparameters:\n"
        f"  learning_rate: {{min: 1e-9, max: 1e-5, count: {trials // 4}, scale: log}}\n"
        "  filter_size: {min: 3, max: 6, step: 1}\ndata: {name: sunspots}\n"
    )
    return parse_spec(text, "lms", FOLDER)


@lru_cache(maxsize=1)
def _lms_parts() -> tuple[Spec, Any]:
    spec = lms_spec(4 * 2)
    return spec, data_of(spec)


def _lms(params: Mapping[str, Any]) -> float:
    spec, data = _lms_parts()
    trial = ActiveTrial(number=0, params={name: params[name] for name in LMS_PARAMETERS}, seed=0)
    return run_attempt(spec.driver, data, trial, metric=spec.metric).metrics[spec.metric]
