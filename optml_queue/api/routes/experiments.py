"""/api/v1/experiments: submitted, listed, shown, deleted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from optml_queue import experiments
from optml_queue.api.archived import ArchivedExperiment
from optml_queue.api.documents import Document, ExperimentDetail, ExperimentDocument
from optml_queue.api.installation import Here, Installation
from optml_queue.api.problems import ConflictError
from optml_queue.api.submission import YAML_TYPES, Sent, SpecBody, read_spec, told_of
from optml_queue.spec import Spec
from optml_queue.store import Experiment, ExperimentState
from optml_queue.store.store import ROOT

PREFIX = "/api/v1/experiments"
IDEMPOTENCY_S = 24 * 3600

router = APIRouter(prefix=PREFIX, tags=["experiments"])

# An id, or `latest`.
Id = Annotated[
    str,
    Path(
        description="An experiment's id; `latest` is the newest.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        examples=["latest"],
    ),
]
SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A spec (see docs/spec.md), as the YAML that one would type, or the same as JSON.",
        "content": {
            YAML_TYPES[0]: {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


class ExperimentList(Document):
    """Experiments, the newest first; after them those that only the archive has. `total` counts all that match.

    `unread` more lie in the archive and were not read in time: ask again. `problem`: the archive does not answer.
    """

    experiments: list[ExperimentDocument]
    total: int
    unread: int
    problem: str


class SpecDocument(Document):
    """A spec as YAML: `text` as it was typed, `resolved` with every default filled in."""

    text: str
    resolved: str


@router.get("")
def list_experiments(
    here: Here,
    state: Annotated[ExperimentState | None, Query(description="Only experiments in this state.")] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ExperimentList:
    """List experiments, the newest first: those of the store, then those that only the archive has."""
    part = part_of(here, state, offset, limit)
    documents = [ExperimentDocument.of(each) for each in part.experiments]
    return ExperimentList(experiments=documents, total=part.total, unread=part.unread, problem=part.problem)


@dataclass(frozen=True, slots=True)
class Part:
    """Some experiments of a list, and what goes with them in `ExperimentList`."""

    experiments: Sequence[Experiment]
    total: int
    unread: int
    problem: str


def part_of(here: Installation, state: ExperimentState | None, offset: int, limit: int) -> Part:
    """The experiments `offset` to `offset + limit` of the list."""
    known = here.store.ids()
    ids = known if state is None else here.store.ids(state)
    listing = here.shelf.listed(frozenset(known))
    archived = [each for each in listing.experiments if state in (None, each.state)]
    found: list[Experiment] = [*here.store.of_ids(ids[offset : offset + limit])]
    left = max(0, offset - len(ids))
    found += archived[left : left + max(0, limit - max(0, len(ids) - offset))]
    return Part(found, len(ids) + len(archived), listing.unread, listing.problem)


@router.post("", status_code=201, openapi_extra=SPEC_BODY)
def create_experiment(
    sent: SpecBody,
    here: Here,
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text of your own. The same request sent again under it within a day makes no second "
            "experiment: the answer is the first one.",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
        ),
    ] = None,
) -> ExperimentDocument:
    """Submit an experiment."""
    token = request.state.token
    spec = read_spec(sent, here, token.role)
    id_ = experiments.new_id(spec.name)
    if idempotency_key is not None:
        id_ = _claimed_id(here, f"{token.id} {idempotency_key}", sent, id_)
    with told_of(sent):
        experiments.submit(here.store, here.archive, spec, experiment=id_, cache_dir=here.settings.cache_dir)
    response.headers["Location"] = f"{PREFIX}/{id_}"
    return ExperimentDocument.of(here.store.experiment(id_))


def _claimed_id(here: Installation, key: str, sent: Sent, new_id: str) -> str:
    """The id that belongs to an idempotency key: the new one, or that of the first request under the key.

    Submitting is idempotent under an id, so a request repeated after a crash goes on where the first one ended.
    """
    digest = hashlib.sha256(sent.text.encode(errors="surrogatepass")).hexdigest()
    record = json.dumps([digest, new_id])
    place = f"{ROOT}:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"
    first_digest, id_ = json.loads(here.store.remember(place, record, IDEMPOTENCY_S))
    if first_digest != digest:
        raise ConflictError("Idempotency-Key: another spec was sent under this key; choose a new key for each")
    return str(id_)


@router.get("/{id}")
def show_experiment(id: Id, here: Here) -> ExperimentDetail:  # noqa: A002
    """Show an experiment: its state, its pace, its best trial."""
    found = experiment_of(here, id)
    spec = json.loads(found.spec)
    return ExperimentDetail.read(here.reader(found), found, list(spec["parameters"]), len(spec["seeds"]))


@router.get("/{id}/spec")
def show_spec(id: Id, here: Here) -> SpecDocument:  # noqa: A002
    """Show the spec of an experiment, as typed and as it was understood."""
    spec = Spec.from_json(experiment_of(here, id).spec)
    return SpecDocument(text=spec.text, resolved=spec.to_yaml())


@router.delete("/{id}", status_code=204)
def delete_experiment(
    id: Id,  # noqa: A002
    here: Here,
    keep_archive: Annotated[bool, Query(description="Forget it in the store only; its files stay.")] = False,
) -> None:
    """Remove an experiment that is over: its records in the store and its files in the archive."""
    found = stored(here, id)
    if not found.is_over:
        raise ConflictError(f"{found.id} is {found.state}; end it first: optml cancel {found.id}")
    if not keep_archive:
        # The files first: should that fail, the store still knows of them.
        here.archive.delete(found.id)
    here.store.remove(found.id)
    here.shelf.forget(found.id)


def experiment_of(here: Installation, text: str) -> Experiment:
    """The experiment meant by an id or `latest`, of store or archive. Raises NotFoundError."""
    return here.experiment(text)


def stored(here: Installation, text: str) -> Experiment:
    """An experiment that can be changed. Raises NotFoundError, ConflictError for one that only the archive has."""
    found = here.experiment(text)
    if isinstance(found, ArchivedExperiment):
        advice = f"bring it back first: POST {PREFIX}/{found.id}/restore, or optml resume {found.id}"
        raise ConflictError(f"{found.id} is only in the archive, where nothing is changed; {advice}")
    return found
