"""What `optml status EXPERIMENT --report` tells: attempts, what was lost and came back, what was turned away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from optml_queue.cli import units
from optml_queue.trial import TrialState

if TYPE_CHECKING:
    from optml_queue.cli.connection import Source
    from optml_queue.store import Experiment

_WITH_RESULT = (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.STOPPED_EARLY)
_ENDED, _DECLINED = "ended:", "declined:"


@dataclass(frozen=True, slots=True)
class Report:
    """The events of an experiment. `recoveries_s`: from the loss of each attempt to the begin of the next."""

    experiment: Experiment
    recoveries_s: Sequence[float]
    key: ClassVar[str] = "report"

    @classmethod
    def of(cls, source: Source, experiment: Experiment) -> Report:
        return cls(experiment, source.recoveries(experiment.id))

    @property
    def results(self) -> int:
        """Attempts that brought a result, those that were taken for lost before they did left out."""
        return sum(self.experiment.counts[state] for state in _WITH_RESULT) - self._events("late results")

    @property
    def ended(self) -> Mapping[str, int]:
        """Attempts that ended without a result, by reason."""
        return self._by_name(_ENDED)

    @property
    def attempts(self) -> int:
        """All attempts that began."""
        return self.results + sum(self.ended.values()) + self.experiment.counts[TrialState.RUNNING]

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        recoveries = self.recoveries_s
        return {
            "attempts": self.attempts,
            "attempts_after_the_first": self._events("attempts after the first"),
            "attempts_without_result": dict(self.ended),
            "messages_published_again": self.experiment.recovered,
            "messages_declined": dict(self._by_name(_DECLINED)),
            "results_rejected": {
                "duplicate": self._events("duplicate results"),
                "refused": self._events("refused results"),
            },
            "results_late": self._events("late results"),
            "recoveries": {
                "count": len(recoveries),
                "median_s": median(recoveries) if recoveries else None,
                "max_s": max(recoveries, default=None),
            },
        }

    def rows(self) -> list[tuple[str, str]]:
        """The report as labels and what each has to say."""
        again = self._events("attempts after the first")
        late = self._events("late results")
        duplicates, refused = self._events("duplicate results"), self._events("refused results")
        return [
            ("attempts", f"{units.count(self.attempts)}, {units.count(again)} of them not the first of their trial"),
            ("no result", _listed(self.ended)),
            ("recoveries", self._recoveries()),
            ("messages", f"{units.count(self.experiment.recovered)} taken for lost and published again"),
            ("declined", _listed(self._by_name(_DECLINED))),
            (
                "rejected",
                f"{units.counted(duplicates, 'duplicate result')}, {units.count(refused)} of another's attempt",
            ),
            *([("late", f"{units.counted(late, 'result')} of attempts that were taken for lost")] if late else []),
        ]

    def _recoveries(self) -> str:
        if not self.recoveries_s:
            return "none"
        middle, longest = (units.duration(s) for s in (median(self.recoveries_s), max(self.recoveries_s)))
        return f"{units.count(len(self.recoveries_s))}: median {middle}, longest {longest} until the next attempt began"

    def _events(self, name: str) -> int:
        return self.experiment.events.get(name, 0)

    def _by_name(self, prefix: str) -> Mapping[str, int]:
        events = self.experiment.events
        found = {name.removeprefix(prefix): events[name] for name in events if name.startswith(prefix)}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _listed(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{units.count(amount)} {name.replace('_', ' ')}" for name, amount in amounts.items()) or "none"
