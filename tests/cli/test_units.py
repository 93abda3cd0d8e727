"""Durations, numbers and times as people read them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.cli import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "0 ms"),
        (0.00072, "0.7 ms"),
        (0.00996, "10 ms"),
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (2.51, "2.5 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (59.6, "1m 00s"),
        (80, "1m 20s"),
        (3599.7, "1h 00m"),
        (11_100, "3h 05m"),
        (187_200, "2d 4h"),
    ],
)
def test_durations_use_the_units_people_use(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e8))
def test_a_duration_is_short_and_has_no_sixty_in_it(seconds: float) -> None:
    text = units.duration(seconds)
    assert len(text) <= 10
    assert not re.search(r"\b60[ms]", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0892137, "0.08921"),
        (1e-6, "1e-06"),
        (5.0, "5"),
        (123_456, "123456"),
        (True, "true"),
        ("relu", "relu"),
        ([32, 64], "[32, 64]"),
        (None, "–"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_have_four_significant_digits(value: object, text: str) -> None:
    assert units.number(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (None, "–"),
        (1234.5, "1,234 trials/s"),
        (31.25, "31.2 trials/s"),
        (0.5, "30 trials/min"),
        (0.001, "3.6 trials/h"),
        (0.0, "0 trials/h"),
    ],
)
def test_slow_rates_are_told_per_minute_or_hour(per_second: float | None, text: str) -> None:
    assert units.rate(per_second) == text


def test_counts_agree_with_their_noun() -> None:
    assert units.counted(1, "trial") == "1 trial"
    assert units.counted(1_000_000, "trial") == "1,000,000 trials"


def test_times_are_the_readers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert units.local_time(0) == "1970-01-01 09:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
