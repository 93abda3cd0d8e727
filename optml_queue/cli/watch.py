"""Staying with an experiment until it ends: progress on stderr, then the leaderboard and where the files lie."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optml_queue.cli import units
from optml_queue.cli.connection import shown_place
from optml_queue.cli.outcome import Outcome, census, troubles
from optml_queue.cli.progress import (
    Display,
    Follower,
    Interruption,
    LineDisplay,
    LiveDisplay,
    SilentDisplay,
    follow,
    total_of,
)
from optml_queue.cli.ranking import examples, ranked, unranked
from optml_queue.cli.terminal import console, say, show, show_json, stdout_width
from optml_queue.trial import TrialState

if TYPE_CHECKING:
    from optml_queue.cli.connection import Connection, Source
    from optml_queue.store import Experiment

LEADERS = 10
ARCHIVE_LIMIT_S = 60.0
ARCHIVE_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Manner:
    """How the command line was asked to speak, and how strictly to judge."""

    as_json: bool = False
    quiet: bool = False
    strict: bool = False

    @property
    def talks(self) -> bool:
        """Whether tables and sentences are wanted on stdout."""
        return not (self.as_json or self.quiet)

    def display(self) -> Display:
        """Live on a terminal, lines elsewhere, nothing when quiet; always on stderr."""
        if self.quiet:
            return SilentDisplay()
        return LiveDisplay(console(sys.stderr)) if sys.stderr.isatty() else LineDisplay(sys.stderr)


def watch(connection: Connection, experiment: str, manner: Manner) -> int:
    """Follow the experiment to its end or to Ctrl-C, report, and return the exit code."""
    began_at = time.monotonic()
    store = connection.store
    before = store.experiment(experiment)
    best = store.best(experiment, 1)
    follower = Follower(store, experiment, total=total_of(before), best=best[0] if best else None, seen=before.finished)
    try:
        with Interruption() as interruption:
            snapshot = follow(follower, manner.display(), interruption, lambda: store.pause(experiment, "interrupted"))
    except KeyboardInterrupt:
        _tell_how_to_resume(connection, store.experiment(experiment), manner)
        raise
    record = store.experiment(experiment)
    if manner.talks:
        show_leaderboard(store, record)
    if snapshot.ended:
        record = _archived(connection, record, manner)
    leaders = ranked(store, record, 1)
    outcome = Outcome(
        experiment=record,
        best=leaders[0] if leaders else None,
        archive=folder_of(connection.archive_url, experiment),
        duration_s=time.monotonic() - began_at,
        interrupted=not snapshot.ended,
    )
    _conclude(connection, outcome, manner)
    return outcome.exit_code(strict=manner.strict)


def folder_of(archive_url: str, experiment: str) -> str:
    """Where in the archive an experiment's files lie."""
    return f"{archive_url.rstrip('/')}/{experiment}"


def show_leaderboard(source: Source, experiment: Experiment, limit: int = LEADERS) -> None:
    """The best points, how many more there are, and what went wrong, on stdout."""
    from optml_queue.cli.tables import leaderboard

    standings = ranked(source, experiment, limit)
    standings += unranked(source, experiment, limit - len(standings))
    if standings:
        show("", leaderboard(standings, experiment.metric, stdout_width()))
    if experiment.terminal > sum(standing.of for standing in standings):
        best = f"optml best {experiment.id} --top 100, " if experiment.counts[TrialState.COMPLETE] > limit else ""
        show(f"… more: {best}optml trials {experiment.id}")
    show("", census(experiment.counts, experiment.reused), *troubles(*examples(source, experiment), experiment.counts))


def _archived(connection: Connection, record: Experiment, manner: Manner) -> Experiment:
    """The experiment once its final files are in the archive, or after a minute."""
    deadline = time.monotonic() + ARCHIVE_LIMIT_S
    while not record.is_consolidated and time.monotonic() < deadline:
        time.sleep(ARCHIVE_POLL_S)
        record = connection.store.experiment(record.id)
    if not record.is_consolidated and not manner.quiet:
        say(
            f"The archive's final files are not there yet; a control process of the cluster writes them "
            f"(optml status {record.id})."
        )
    return record


def _conclude(connection: Connection, outcome: Outcome, manner: Manner) -> None:
    record = outcome.experiment
    if manner.as_json:
        show_json(outcome.document())
    elif manner.talks and not outcome.interrupted:
        show(f"{_ending(record)} Files: {shown_place(outcome.archive)}")
        if record.state == "stopped":
            left = units.counted(record.total - record.terminal, "trial")
            say(f"{left} left. To go on: optml resume {record.id}{connection.option}")
    if outcome.interrupted:
        _tell_how_to_resume(connection, record, manner)


def _tell_how_to_resume(connection: Connection, record: Experiment, manner: Manner) -> None:
    if manner.quiet:
        return
    left = units.counted(record.total - record.terminal, "trial")
    say(f"Paused with {left} left; what is done is kept. To go on:")
    say(f"    optml resume {record.id}{connection.option}")


def _ending(record: Experiment) -> str:
    reason = f": {record.reason}" if record.reason else ""
    return f"{record.id} {record.state}{reason}."
