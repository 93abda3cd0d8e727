"""Durations, numbers and times as people read them. Exact values belong into JSON and CSV, never through here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from optml_queue.eta import Eta
from optml_queue.trial import ParamValue

NOTHING = "–"


def duration(seconds: float | None) -> str:
    """A length of time: `0.7 ms`, `850 ms`, `2.5 s`, `1m 20s`, `3h 05m`, `2d 4h`; a dash for None."""
    if seconds is None:
        return NOTHING
    if seconds < 59.5:
        return _short_duration(seconds)
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {whole % 60:02}s"


def _short_duration(seconds: float) -> str:
    milliseconds = seconds * 1000
    if milliseconds < 9.95:
        return f"{milliseconds:.1f}".removesuffix(".0") + " ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def number(value: ParamValue | None) -> str:
    """A value for a table: floats to four significant digits, lists as JSON, a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def count(amount: int) -> str:
    """A count with its thousands set apart: `1,000,000`."""
    return f"{amount:,}"


def counted(amount: int, noun: str) -> str:
    """`1 trial`, `12 trials`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def point(params: Mapping[str, ParamValue]) -> str:
    """The parameters of a point on one line: `learning_rate 1e-06, filter_size 5`."""
    return ", ".join(f"{name} {number(value)}" for name, value in params.items())


def rate(per_second: float | None) -> str:
    """Throughput of trials; slow ones per minute or hour, so that the figure stays readable."""
    if per_second is None:
        return NOTHING
    for factor, unit in ((1, "s"), (60, "min")):
        if per_second * factor >= 1:
            return f"{_three_digits(per_second * factor)} trials/{unit}"
    return f"{_three_digits(per_second * 3600)} trials/h"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def local_time(time_s: float | None, *, seconds: bool = True) -> str:
    """A moment (seconds since the epoch) in the reader's time zone, to the second or minute; a dash for None."""
    if time_s is None:
        return NOTHING
    moment = datetime.fromtimestamp(time_s).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def time_left(eta: Eta) -> str:
    """`4.0 s left`, and the range from one in ten to nine in ten where it is one: `4.0 s (3.1 s–6.0 s) left`."""
    low, high = duration(eta.low_s), duration(eta.high_s)
    spread = f" ({low}–{high})" if low != high else ""
    return f"{duration(eta.median_s)}{spread} left"
