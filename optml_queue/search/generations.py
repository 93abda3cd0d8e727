"""The generations of a genetic search: which trials belong to which, and who the parents of each are.

A trial that the search suggested itself belongs to the last generation that has a trial with a result, or to the next
where that one is full. Every other trial belongs to the generation that was begun last when it was asked for: before
the search's own first trial that is the first, however many they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


class Generations:
    """Generations by number, from 0 on. Trials are known by whole numbers that rise."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}  # trial -> its generation
        self._begun = 0  # the last that one of the search's own trials is of
        self._with_result: defaultdict[int, list[int]] = defaultdict(list)  # generation -> trials, as they were told
        self._parents: dict[int, Sequence[int]] = {}

    def bear(self, trial: int, size: int) -> int:
        """The generation of a trial of the search's own; one with `size` results is full."""
        if trial not in self._of:
            last = max(self._with_result, default=0)
            self._of[trial] = last + (len(self._with_result[last]) >= size)
            self._begun = max(self._begun, self._of[trial])
        return self._of[trial]

    def admit(self, trial: int) -> None:
        """Note a trial that something else suggested."""
        self._of[trial] = self._begun

    def tell(self, trial: int) -> None:
        """Note that a trial has a result."""
        self._with_result[self._of[trial]].append(trial)

    def members(self, generation: int) -> list[int]:
        """Its trials that have a result, in order."""
        return sorted(self._with_result.get(generation, ()))

    def parents(self, generation: int) -> Sequence[int] | None:
        """The trials whose children the generation is; None before they are chosen."""
        return self._parents.get(generation)

    def choose(self, generation: int, parents: Sequence[int]) -> None:
        """Note the parents of a generation."""
        self._parents[generation] = sorted(parents)
