"""How an experiment ended: the exit code, the JSON document, and the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optml_queue.cli import units
from optml_queue.trial import Trial, TrialState

if TYPE_CHECKING:
    from optml_queue.cli.ranking import Standing
    from optml_queue.store import Experiment

DONE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """An experiment at its end, or at the moment it was left. `archive` is its folder's URL."""

    experiment: Experiment
    best: Standing | None
    archive: str
    duration_s: float
    interrupted: bool = False

    def exit_code(self, *, strict: bool = False) -> int:
        """0 with at least one complete trial (`strict`: and none failed), 1 failed, 130 interrupted."""
        if self.interrupted:
            return INTERRUPTED
        counts = self.experiment.counts
        if self.experiment.state == "failed" or not counts[TrialState.COMPLETE]:
            return FAILED
        return FAILED if strict and counts[TrialState.FAILED] else DONE

    def document(self) -> dict[str, Any]:
        """What `--json` prints; `best` is `{number, params, seed, metric, value}`, null without a complete trial."""
        return {
            "experiment": self.experiment.id,
            "state": self.experiment.state,
            "counts": dict(self.experiment.counts),
            "reused": self.experiment.reused,
            "best": self.best.document(self.experiment.metric) if self.best else None,
            "archive": self.archive,
            "duration_s": self.duration_s,
        }


STATE_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.DIVERGED: "diverged",
    TrialState.FAILED: "failed",
    TrialState.STOPPED_EARLY: "stopped early",
    TrialState.CANCELLED: "cancelled",
    TrialState.RUNNING: "running",
    TrialState.QUEUED: "queued",
}


def census(counts: Mapping[TrialState, int], reused: int = 0) -> str:
    """`11 complete, 5 diverged (10 reused)`; states without trials are left out."""
    parts = [f"{units.count(counts[state])} {word}" for state, word in STATE_WORDS.items() if counts.get(state)]
    return (", ".join(parts) or "no trials") + (f" ({units.count(reused)} reused)" if reused else "")


def troubles(failed: Trial | None, diverged: Trial | None, counts: Mapping[TrialState, int]) -> list[str]:
    """One line for the failed trials and one for the diverged, each with what the first of them said."""
    lines = []
    if failed is not None:
        amount = units.counted(counts[TrialState.FAILED], "trial")
        said = _first_line(failed.error) or failed.reason or "no error was recorded"
        lines.append(f"{amount} failed, the first of them trial {failed.number}: {said}")
    if diverged is not None:
        amount = units.counted(counts[TrialState.DIVERGED], "trial")
        said = _first_line(diverged.reason) or _first_line(diverged.error)
        lines.append(f"{amount} diverged" + (f", trial {diverged.number}: {said}" if said else ""))
    return lines


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
