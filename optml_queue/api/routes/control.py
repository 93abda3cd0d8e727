"""/api/v1/experiments/{id}/…: the verbs that change an experiment's course.

None of them publishes anything: they write to the store and ask for `advance`, which the control process does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field

from optml_queue import experiments
from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.documents import Document, ExperimentDocument
from optml_queue.api.installation import Here, Installation
from optml_queue.api.problems import ConflictError
from optml_queue.api.routes.experiments import PREFIX, SPEC_BODY, Id, experiment_of, stored
from optml_queue.api.submission import SpecBody, read_spec
from optml_queue.store import ExperimentState
from optml_queue.trial import TrialState

router = APIRouter(prefix=PREFIX, tags=["control"])


class Reason(BaseModel):
    """Why; kept with the experiment."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


class Selection(BaseModel):
    """Trials that failed or were cancelled: by number, or all of a state."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[Annotated[int, Field(ge=0, le=2**53)]] = Field(default=[], max_length=10_000)
    failed: bool = False
    cancelled: bool = False


class Reopened(Document):
    """How many trials will run again."""

    reopened: int
    experiment: ExperimentDocument


Why = Annotated[Reason, Body()]


@router.post("/{id}/pause")
def pause(id: Id, here: Here, why: Why = Reason()) -> ExperimentDocument:  # noqa: A002, B008
    """Publish no more trials. Running ones go on to their end."""
    return _controlled(here, id, lambda found: here.store.pause(found, why.reason))


@router.post("/{id}/resume")
def resume(id: Id, here: Here) -> ExperimentDocument:  # noqa: A002
    """Go on with an experiment that was paused or stopped. One that only the archive has is brought back first."""
    found = _brought_back(here, id)
    if (state := here.store.resume(found)).is_over:
        raise ConflictError(f"{found} is {state} already")
    return ExperimentDocument.of(here.store.experiment(found))


@router.post("/{id}/restore")
def restore(id: Id, here: Here) -> ExperimentDocument:  # noqa: A002
    """Bring an experiment that only the archive has back into the store. One that is there already stays as it is.

    Finished trials have their results; what was not over is paused, and `resume` lets it go on. The answer comes when
    all is there, about 0.1 s for a thousand trials; the same request sent again after a cut goes on.
    """
    return ExperimentDocument.of(here.store.experiment(_brought_back(here, id)))


@router.post("/{id}/stop")
def stop(id: Id, here: Here, why: Why = Reason()) -> ExperimentDocument:  # noqa: A002, B008
    """Begin no more trials; the experiment ends when the running ones have."""
    return _controlled(here, id, lambda found: here.store.stop(found, why.reason or "stopped"))


@router.post("/{id}/cancel")
def cancel(id: Id, here: Here, why: Why = Reason()) -> ExperimentDocument:  # noqa: A002, B008
    """End the experiment: queued trials are cancelled, running ones are told to stop. Results so far stay."""
    return _controlled(here, id, lambda found: here.store.cancel(found, why.reason or "cancelled"))


@router.post("/{id}/retry")
def retry(id: Id, here: Here, chosen: Selection) -> Reopened:  # noqa: A002
    """Run trials again that failed or were cancelled, with fresh attempts. Complete ones never change."""
    found = stored(here, id).id
    wanted = ((TrialState.FAILED, chosen.failed), (TrialState.CANCELLED, chosen.cancelled))
    states = [state for state, is_wanted in wanted if is_wanted]
    reopened = experiments.retry(here.store, found, numbers=chosen.numbers, states=states)
    if not reopened:
        raise ConflictError(f"{found}: none of these trials failed or was cancelled, so there is nothing to run again")
    here.store.want(found)
    return Reopened(reopened=reopened, experiment=ExperimentDocument.of(here.store.experiment(found)))


@router.post("/{id}/extend", openapi_extra=SPEC_BODY)
def extend(id: Id, sent: SpecBody, here: Here, request: Request) -> ExperimentDocument:  # noqa: A002
    """Give an experiment a spec that covers more: only the new points run."""
    spec = read_spec(sent, here, request.state.token.role)
    known = stored(here, id)
    found, before = known.id, known.extensions
    after = experiments.extend(here.store, here.archive, found, spec, cache_dir=here.settings.cache_dir)
    if after.extensions == before:
        raise ConflictError(f"{found} has all points of this spec already")
    return ExperimentDocument.of(here.store.experiment(found))


def _brought_back(here: Installation, text: str) -> str:
    """The id of an experiment that is in the store then."""
    found = experiment_of(here, text)
    if isinstance(found, ArchivedExperiment) or found.is_restoring:
        experiments.restore(here.store, here.archive, found.id)
        here.shelf.forget(found.id)
    return found.id


def _controlled(here: Installation, text: str, verb: Callable[[str], ExperimentState]) -> ExperimentDocument:
    found = stored(here, text)
    if found.is_over:
        raise ConflictError(f"{found.id} is {found.state} already")
    verb(found.id)
    here.store.want(found.id)
    return ExperimentDocument.of(here.store.experiment(found.id))
