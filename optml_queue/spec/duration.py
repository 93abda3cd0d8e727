"""Durations as people write them: 90s, 10m, 1h, 2h30m, 1d, 500ms."""

from __future__ import annotations

import math
import re

MAX_DURATION_S = 365 * 86_400.0

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in _UNITS_S))


def duration_s(value: object) -> float:
    """Seconds of a duration; a number is seconds already. Raises ValueError with the rule that is broken."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a duration")
    seconds = _parsed_s(value) if isinstance(value, str) else value
    if not (isinstance(seconds, int) or math.isfinite(seconds)) or not 0 < seconds <= MAX_DURATION_S:
        raise ValueError("must be more than 0 and at most 365 days")
    return float(seconds)


def _parsed_s(text: str) -> float:
    match = _DURATION.fullmatch("".join(text.split()))
    if match is None or not any(match.groups()):
        raise ValueError("must be a duration")
    return sum(float(part) * unit_s for part, unit_s in zip(match.groups(), _UNITS_S.values(), strict=True) if part)
