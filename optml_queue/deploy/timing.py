"""The times of a worker's pod, in one inequality.

    3 · beat ≤ lease ≤ visibility ≤ termination,   termination = grace + hand-back + slack ≤ 120 s on spot

A late beat loses nothing; a dead worker's message comes back when its lease is over, not before; what died as its pod
was told to end runs elsewhere before the pod is given up; and the kubelet kills nothing that would still have handed
its trial back. The last holds on a spot machine too, which is told two minutes before its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from optml_queue.worker.supervisor import KILL_MARGIN_S

SLACK_S = 12.0  # for the signal to arrive, and for the processes to be reaped
SPOT_NOTICE_S = 120.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: how often a worker beats, when it is missed, when its message comes back, how long it may finish."""

    beat_s: float = 5.0
    lease_s: float = 20.0
    visibility_s: float = 30.0
    grace_s: float = 60.0

    @property
    def termination_s(self) -> int:
        """terminationGracePeriodSeconds: what a pod needs to end in good order."""
        return math.ceil(self.grace_s + KILL_MARGIN_S + SLACK_S)

    def problems(self, *, spot: bool) -> Iterator[tuple[str, str]]:
        """What of the inequality does not hold: the key to change, and why."""
        if self.lease_s < 3 * self.beat_s:
            yield "lease", f"must be at least three times the beat, got {self.lease_s:g} s and {self.beat_s:g} s"
        if self.visibility_s < self.lease_s:
            yield (
                "visibility",
                f"must be at least the lease, got {self.visibility_s:g} s and {self.lease_s:g} s",
            )
        if self.visibility_s > self.termination_s:
            limit = f"{self.termination_s} s (grace, hand-back and slack)"
            yield "visibility", f"must be at most a pod's time to end, {limit}, got {self.visibility_s:g} s"
        if spot and self.termination_s > SPOT_NOTICE_S:
            most = SPOT_NOTICE_S - KILL_MARGIN_S - SLACK_S
            yield (
                "grace",
                f"must be at most {most:g} s where a class is spot: AWS gives two minutes, got {self.grace_s:g} s",
            )
