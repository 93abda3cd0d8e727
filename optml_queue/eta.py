"""When an experiment will be done: the median of what may come, and where nine in ten and one in ten possibilities lie.

What is left is played through many times: durations are drawn from those observed, of which each play believes another
resample (a bootstrap: with few observations the range is wide), and given one by one to the first free worker, so that
the last long trial counts. Where so many trials are left that single ones do not matter, their sum is drawn.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optml_queue.trial import Trial

OBSERVED_MIN = 3  # fewer durations tell nothing of their spread
PLAYS = 40
PLAYED_SINGLY = 100  # beyond, the tail is a small part


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until the end: the median, and the ends of the range from one in ten to nine in ten."""

    median_s: float
    low_s: float
    high_s: float


def estimate(
    left: int, durations_s: Sequence[float], workers: int, *, per_second: float | None = None, seed: int = 0
) -> Eta | None:
    """How long `left` trials take, those that run included; None when nothing tells.

    `workers` is how many trials run at once, `per_second` the throughput observed with them: where it is less than
    the durations explain (short trials, or workers shared with others), every duration counts for more.
    """
    if left <= 0:
        return Eta(0.0, 0.0, 0.0)
    if workers <= 0 or len(durations_s) < OBSERVED_MIN:
        return None
    mean_s = statistics.fmean(durations_s)
    stretch = workers / per_second / mean_s if per_second and mean_s > 0 and left > workers else 1.0
    chance = random.Random(seed)
    plays = sorted(_play(left, durations_s, workers, chance) for _ in range(PLAYS))
    low, median, high = (plays[int(PLAYS * part)] * max(1.0, stretch) for part in (0.1, 0.5, 0.9))
    return Eta(median, low, high)


def _play(left: int, durations_s: Sequence[float], workers: int, chance: random.Random) -> float:
    believed = chance.choices(durations_s, k=len(durations_s))
    if left > PLAYED_SINGLY:
        spread = statistics.pstdev(believed) * math.sqrt(left)
        total_s = max(0.0, chance.gauss(statistics.fmean(believed) * left, spread))
        return max(total_s / workers, max(believed))
    # Those that run now are on their way.
    running = min(left, workers)
    free_at = [chance.random() * each for each in chance.choices(believed, k=running)]
    heapq.heapify(free_at)
    ends_s = max(free_at)
    for duration_s in chance.choices(believed, k=left - running):
        end_s = free_at[0] + duration_s
        heapq.heapreplace(free_at, end_s)
        ends_s = max(ends_s, end_s)
    return ends_s


def recent_rate(trials: Sequence[Trial], now: float) -> float | None:
    """Trials a second from the first of the last finished ones until `now` (seconds since the epoch).

    None for fewer than two: one finish has no rate.
    """
    times = [trial.finished_at for trial in trials if trial.finished_at is not None]
    if len(times) < 2:
        return None
    return (len(times) - 1) / max(now - min(times), 1e-3)
