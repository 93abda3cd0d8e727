"""What `optml status EXPERIMENT --importance` tells: which parameters matter, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from optml_queue.hints import Findings, flat, hints
from optml_queue.spec import Spec
from optml_queue.study import FEW, importance

if TYPE_CHECKING:
    from optml_queue.cli.connection import Source
    from optml_queue.store import Experiment


@dataclass(frozen=True, slots=True)
class Insight:
    """`importance` of each parameter, the largest first, and `advice` in words."""

    importance: Mapping[str, float]
    advice: Sequence[str]
    key: ClassVar[str] = "insight"

    @classmethod
    def of(cls, source: Source, experiment: Experiment) -> Insight:
        """Read all trials of an experiment. Raises InputError without Optuna."""
        trials = [trial for trial in source.stream(experiment.id) if trial.finished_at is not None]
        found = importance(trials, Spec.from_json(experiment.spec))
        told = hints(Findings.of(trials, experiment.metric), experiment.goal)
        told += flat(found, sum(trial.state == "complete" for trial in trials))
        return cls(found, [hint.text for hint in told])

    def document(self) -> dict[str, Any]:
        """The insight as JSON."""
        return {"importance": dict(self.importance), "advice": list(self.advice)}

    def rows(self) -> list[tuple[str, str]]:
        """The insight as labels and what each has to say."""
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.importance.items())
        if len(self.importance) == 1:
            shares = f"{next(iter(self.importance))} is the only parameter that varies"
        nothing = f"fewer than {FEW} complete trials, or nothing varied"
        return [("importance", shares or nothing), *(("next", text) for text in self.advice)]
