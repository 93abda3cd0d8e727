"""Figures, durations and moments as people read them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

MISSING = "–"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def number(value: Any) -> str:
    """A figure with four significant digits; whole numbers whole, up to a million."""
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return {"inf": "∞", "-inf": "−∞"}.get(str(value), "not a number")
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value):,}"
    text = f"{abs(value):.4g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"−{text}" if value < 0 else text


def param(value: Any) -> str:
    """A parameter's value: numbers as they would be typed, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.6g}".replace("e-0", "e-")
    return json.dumps(value, ensure_ascii=False)


def duration(seconds: float | None) -> str:
    """A length of time, in the two largest units that it has."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            smaller, name = (*_UNITS, (1, "s"))[place + 1]
            rest = int(seconds % size // smaller)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {name}" if rest else "")
    return MISSING


def pace(per_second: float | None) -> str:
    """Trials in a unit of time that gives a number one can imagine."""
    if not per_second:
        return MISSING
    for factor, unit in ((1, "s"), (60, "min"), (3_600, "h"), (86_400, "d")):
        if per_second * factor >= 1:
            return f"{per_second * factor:,.{0 if per_second * factor >= 10 else 1}f} / {unit}"
    return f"{per_second * 86_400:.2g} / d"


def ago(moment: float | None) -> str:
    """How long ago something was."""
    if moment is None:
        return MISSING
    seconds = time.time() - moment
    if seconds < 5:
        return "just now"
    return f"{' '.join(duration(max(10, seconds)).split(' ')[:2])} ago" if seconds >= 10 else f"{seconds:.0f} s ago"


def moment(seconds: float | None) -> str:
    """A time of day and its date, UTC."""
    return MISSING if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(seconds: float) -> str:
    """A moment for machines."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def share(counts: dict[str, int], total: int, states: Sequence[str]) -> list[tuple[str, int, float, float]]:
    """The parts of a bar 100 long: state, count, where it begins, how long it is; parts of nothing are left out."""
    parts, begin = [], 0.0
    for state in states:
        length = 100.0 * counts.get(state, 0) / max(total, 1)
        if length:
            parts.append((state, counts[state], round(begin, 3), round(length, 3)))
        begin += length
    return parts
