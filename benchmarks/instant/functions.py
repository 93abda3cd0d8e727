"""The work itself, for ours and for every peer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


def squared(params: Mapping[str, Any]) -> float:
    """The square of `value`, after `sleep_s` seconds."""
    if params.get("sleep_s"):
        time.sleep(params["sleep_s"])
    value: float = params["value"]
    return value * value
