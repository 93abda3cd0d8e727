"""Which trials descend from which: evolution keeps the parents of a point with the trials that it suggests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from optml_queue.trial import Trial, encode

LOOKED_AT = 2_000  # numbers after a trial: parents are of the youngest points, so children come soon or never


def children(trial: Trial, spec: str, read: Callable[[Sequence[int]], Sequence[Trial]]) -> list[int]:
    """The points that descend from a trial's point, by the numbers of their first trials.

    `spec` is the experiment's, as JSON; `read` gives the trials of some numbers, as far as there are any.
    """
    if '"evolution"' not in spec:  # no other searcher has children
        return []
    seeds = len(json.loads(spec)["seeds"])
    near = read(range(max(0, trial.number - seeds + 1), trial.number + LOOKED_AT))
    # A parent is told by the first trial of its point; those of its other seeds come right after it.
    first = min((each.number for each in near if each.params == trial.params), default=trial.number)
    found: dict[str, int] = {}
    for each in near:
        if first in each.parents:
            found.setdefault(encode(each.params), each.number)
    return list(found.values())
