"""The store in a few rules: what each call answers and what it changes, by the table in docs/design.md.

Values only. A call returns its answer and the next model, so that one reference serves both the test against real
servers and the exploration of every reachable state.
"""

from __future__ import annotations

from typing import NamedTuple

QUEUED, RUNNING, COMPLETE, FAILED, CANCELLED = "queued", "running", "complete", "failed", "cancelled"
STOPPED = "stopped"  # of an experiment: its queued trials wait
LIVE = (QUEUED, RUNNING)
FRESH, DUE, RESTING, PUBLISHED = "fresh", "due", "resting", "published"
RETRIED = ("lost",)  # reasons after which a trial is tried again


class TrialModel(NamedTuple):
    """One trial. `place` is where a queued one waits (resting: a back-off); `ended` is how often it became terminal."""

    state: str = QUEUED
    place: str = FRESH
    generation: int = 0
    token: str = ""
    is_leased: bool = False
    order: str = ""
    attempts: int = 0
    failures: int = 0
    releases: int = 0
    fruitless: int = 0  # attempts that ended without a result
    ended: int = 0

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


class StoreModel(NamedTuple):
    """An experiment. `planned` is how many points of its plan are not reserved yet."""

    trials: tuple[TrialModel, ...]
    max_attempts: int
    max_releases: int = 20
    state: str = RUNNING
    ending: str = ""
    planned: int = 0

    @property
    def is_over(self) -> bool:
        return self.state in (COMPLETE, FAILED, CANCELLED, STOPPED)

    @property
    def is_cancelling(self) -> bool:
        """Whether running trials are told to end, and queued ones are cancelled."""
        return self.ending not in ("", STOPPED)

    @property
    def may_run(self) -> bool:
        return self.state == RUNNING and not self.ending

    # From the plan to the queue

    def claimable(self) -> list[int]:
        """The trials that `claim` takes."""
        if not self.may_run:
            return []
        return [n for n, trial in enumerate(self.trials) if trial.state == QUEUED and trial.place in (DUE, FRESH)]

    def claim(self, n: int, generation: int) -> StoreModel:
        return self._with(n, place=PUBLISHED, generation=generation)

    def recall(self) -> StoreModel:
        """Another experiment of the class publishes first: what waits in the queue is due again, its messages stale."""
        model = self
        if self.may_run:
            for n, trial in enumerate(self.trials):
                if trial.place == PUBLISHED:
                    model = model._with(n, place=DUE, generation=0)
        return model

    def reserve(self) -> tuple[bool, StoreModel]:
        """Bring the points that are left into being. False where the experiment does not run."""
        if not self.may_run:
            return False, self
        return True, self._replace(trials=(*self.trials, *[TrialModel()] * self.planned), planned=0)._settled()

    def extend(self, points: int) -> tuple[bool, StoreModel]:
        """Add points to the plan; what was over is open again. False while it is ending."""
        if self.ending and not self.is_over:
            return False, self
        opened = self._replace(state=RUNNING, ending="") if self.is_over else self
        return True, opened._replace(planned=self.planned + points)

    def restore(self) -> StoreModel:
        """The store was lost, and the experiment comes back from an archive that has every result.

        What had not ended waits, with fresh counts; one that was not over is paused.
        """
        trials = (
            TrialModel(attempts=trial.attempts, fruitless=trial.fruitless)
            if trial.is_live
            else trial._replace(ended=1, generation=0)
            for trial in self.trials
        )
        return self._replace(trials=tuple(trials), state=self.state if self.is_over else "paused", ending="")

    def recover(self) -> tuple[int, StoreModel]:
        """Take every published trial's message for lost."""
        if not self.may_run:
            return 0, self
        return self._unpublish()

    def reorder(self) -> tuple[int, StoreModel]:
        """Put what waits, for its first message or in the queue, in another order: all messages are stale then."""
        model, placed = self, 0
        for n, trial in enumerate(self.trials if self.may_run else ()):
            if trial.place in (FRESH, PUBLISHED):
                generation = 0 if trial.place == PUBLISHED else trial.generation
                model, placed = model._with(n, place=FRESH, generation=generation), placed + 1
        return placed, model

    def _unpublish(self) -> tuple[int, StoreModel]:
        model, found = self, 0
        for n, trial in enumerate(self.trials):
            if trial.place == PUBLISHED:
                model, found = model._with(n, place=DUE), found + 1
        return found, model

    def drain(self) -> tuple[int, StoreModel]:
        model, drained = self, 0
        if self.is_cancelling:
            for n, trial in enumerate(self.trials):
                if trial.state == QUEUED:
                    model, drained = model._conclude(n, CANCELLED), drained + 1
        return drained, model

    # One attempt

    def begin(self, n: int, generation: int, token: str) -> tuple[str, StoreModel]:
        """The answer is "run", or why not."""
        trial, model = self.trials[n], self
        if not trial.is_live:
            return "already finished", self
        if trial.state == RUNNING:
            if trial.token == token:
                return "run", self
            if trial.is_leased:
                return "running elsewhere", self
            model = self._lose(n)
            if model.trials[n].state != QUEUED:
                return "out of attempts", model
        return model._begin_queued(n, generation, token)

    def _begin_queued(self, n: int, generation: int, token: str) -> tuple[str, StoreModel]:
        trial = self.trials[n]
        if trial.generation != generation:
            return "stale message", self
        if self.is_cancelling:
            return self.ending, self
        if self.ending or self.state != RUNNING:
            return self.ending or self.state, self if trial.place == RESTING else self._with(n, place=DUE)
        if trial.place == RESTING:
            return "waits before its next attempt", self
        return "run", self._with(n, state=RUNNING, place="", token=token, is_leased=True, attempts=trial.attempts + 1)

    def beat(self, n: int, token: str) -> tuple[str, StoreModel]:
        if not self._runs_as(n, token):
            return "abort", self
        return self.told(n), self._with(n, is_leased=True)

    def report(self, n: int, token: str) -> str:
        return self.told(n) if self._runs_as(n, token) else "abort"

    def told(self, n: int) -> str:
        """The order that the running attempt of a trial hears."""
        return "cancel" if self.is_cancelling else self.trials[n].order or "ok"

    def release(self, n: int, token: str, reason: str, *, failed: bool, rests: bool = False) -> tuple[str, StoreModel]:
        if not self._runs_as(n, token):
            return "refused", self
        model = self._end_attempt(n, reason, failed=failed, rests=rests)
        return model.trials[n].state, model

    def finish(self, n: int, token: str, state: str = COMPLETE) -> tuple[str, StoreModel]:
        trial = self.trials[n]
        if not trial.is_live:
            return "duplicate", self
        if trial.state == RUNNING and trial.token != token:
            return "refused", self
        begun = self._with(n, attempts=max(1, trial.attempts))  # a begin may have been forgotten
        return "accepted", begun._conclude(n, state)

    def expire(self) -> tuple[list[int], StoreModel]:
        """End the attempts whose lease ran out."""
        model = self
        lost = [n for n, trial in enumerate(self.trials) if trial.state == RUNNING and not trial.is_leased]
        for n in lost:
            model = model._lose(n)
        return lost, model

    # Time

    def lease_ends(self, n: int) -> StoreModel:
        return self._with(n, is_leased=False) if self.trials[n].state == RUNNING else self

    def rest_ends(self, n: int) -> StoreModel:
        return self._with(n, place=DUE) if self.trials[n].place == RESTING else self

    # Control

    def pause(self) -> StoreModel:
        return self if self.is_over or self.ending else self._replace(state="paused")

    def resume(self) -> StoreModel:
        if STOPPED in (self.state, self.ending):
            return self._replace(state=RUNNING, ending="")._settled()
        return self if self.is_over or self.ending else self._replace(state=RUNNING)

    def stop(self) -> StoreModel:
        """Nothing more begins, and the experiment is over when what runs has ended."""
        if self.is_over or self.ending:
            return self
        return self._replace(state=RUNNING, ending=STOPPED)._settled()

    def cancel(self) -> StoreModel:
        if self.is_over or self.is_cancelling:
            return self
        return self._replace(state=RUNNING, ending=CANCELLED)._settled()

    def order(self, n: int, order: str) -> tuple[str, StoreModel]:
        trial = self.trials[n]
        if trial.state == RUNNING:
            return RUNNING, self._with(n, order=order)
        if trial.state == QUEUED and order == "cancel":
            return CANCELLED, self._conclude(n, CANCELLED)
        return "refused", self

    def retry(self, n: int) -> tuple[int, StoreModel]:
        """-1 while the experiment is ending."""
        if self.ending and not self.is_over and self.trials[n].state in (FAILED, CANCELLED):
            return -1, self
        if self.trials[n].state not in (FAILED, CANCELLED):
            return 0, self
        trial = self.trials[n]
        fresh = TrialModel(attempts=trial.attempts, fruitless=trial.fruitless, ended=trial.ended)
        # Of one that was cancelled, only what was asked for runs.
        planned = 0 if self.state == CANCELLED else self.planned
        return 1, self._put(n, fresh)._replace(state=RUNNING, ending="", planned=planned)

    def rest(self) -> StoreModel:
        """The server was started anew: no worker lives, and the queue was emptied."""
        model = self
        for n, trial in enumerate(self.trials):
            if trial.state == RUNNING:
                model = model._lose(n)
        model = model._unpublish()[1]
        return model._replace(state="paused") if model.may_run else model

    # How a trial changes

    def _runs_as(self, n: int, token: str) -> bool:
        return self.trials[n].state == RUNNING and self.trials[n].token == token

    def _lose(self, n: int) -> StoreModel:
        return self._end_attempt(n, "lost", failed=True, rests=False)

    def _end_attempt(self, n: int, reason: str, *, failed: bool, rests: bool) -> StoreModel:
        trial = self.trials[n]
        model = self._with(n, fruitless=trial.fruitless + 1)
        if self.is_cancelling or reason == CANCELLED or trial.order == "cancel":
            return model._conclude(n, CANCELLED)
        failures, releases = trial.failures + failed, trial.releases + (not failed)
        if failed and (failures >= self.max_attempts or reason not in RETRIED):
            return model._conclude(n, FAILED)
        if releases >= self.max_releases:
            return model._conclude(n, FAILED)
        return model._with(
            n,
            state=QUEUED,
            place=RESTING if rests else DUE,
            token="",
            is_leased=False,
            order=trial.order if trial.order == "stop" else "",
            failures=failures,
            releases=releases,
        )._settled()

    def _conclude(self, n: int, state: str) -> StoreModel:
        trial = self.trials[n]
        ended = TrialModel(state, "", attempts=trial.attempts, fruitless=trial.fruitless, ended=trial.ended + 1)
        return self._put(n, ended)._settled()

    def _settled(self) -> StoreModel:
        if self.is_over or any(trial.state == RUNNING for trial in self.trials):
            return self
        if any(trial.is_live for trial in self.trials) or (self.planned and self.ending in ("", STOPPED)):
            return self._replace(state=STOPPED) if self.ending == STOPPED else self
        if self.ending == STOPPED:  # the last trials that ran were the last there were
            return self._replace(ending="")._settled()
        complete = any(trial.state == COMPLETE for trial in self.trials)
        return self._replace(state=self.ending or (COMPLETE if complete else FAILED))

    def _with(self, n: int, **changes: object) -> StoreModel:
        return self._put(n, self.trials[n]._replace(**changes))  # type: ignore[arg-type]

    def _put(self, n: int, trial: TrialModel) -> StoreModel:
        return self._replace(trials=(*self.trials[:n], trial, *self.trials[n + 1 :]))
