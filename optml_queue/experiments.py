"""An experiment's course: submitted, advanced, paused, resumed, retried, removed.

Nothing here holds state. Any process may call any of it at any time, two at once do no harm, and a process that
dies in the middle leaves work for the next call, not damage.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from optml_queue.archive import Archive, program
from optml_queue.archive.dataset import bring
from optml_queue.errors import InputError
from optml_queue.provenance import facts
from optml_queue.results import write_opening
from optml_queue.search import Plan, segments
from optml_queue.spec import Algorithm, Code, Spec
from optml_queue.store import Experiment, ExperimentState, NewTrial, Publication, Store, Submission
from optml_queue.trial import TrialState

Publish = Callable[[Sequence[Publication]], None]

BATCH = 1_000  # trials reserved, claimed or published in one go
IDLE_S = 5.0  # a worker that polled empty for this long proves that the queue holds nothing for its class
GRACE_S = 2.0  # a message this young is not taken for lost
RANDOM_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # no letter that looks like another


def new_id(name: str) -> str:
    """An id nobody has: the experiment's name and five random letters."""
    return f"{name}-{''.join(secrets.choice(RANDOM_LETTERS) for _ in range(5))}"


def submit(
    store: Store,
    archive: Archive,
    spec: Spec,
    *,
    experiment: str | None = None,
    cache_dir: Path | None = None,
) -> str:
    """Bring an experiment into being and ask for its first trials to be published. Its id.

    The control process does the rest. Submitting the same spec again under the same id changes nothing; another
    spec under an id that is taken raises InputError. Data that do not come with the package, those at s3:// too, are
    read once, so that what cannot be used is said now (DataError), and go to the archive under their digest. So does
    the user's own code, and the spec: the archive alone is enough to read an experiment, and workers need no more.
    Data stay in `cache_dir`, if there is one.
    """
    id_ = experiment or new_id(spec.name)
    data = None if spec.data is None else bring(archive, spec.data, cache_dir)
    spec = replace(spec, data=data, code=_brought(archive, spec.code))
    resolved = spec.to_json()
    submission = Submission(
        name=spec.name,
        spec=resolved,
        end=segments(spec).end,
        metric=spec.metric,
        goal=spec.goal,
        resource_class=spec.resource_class,
        max_parallel=spec.max_parallel,
        max_failed=spec.max_failed,
        max_trials=spec.max_trials,
        max_attempts=spec.retry.max_attempts,
        retry_on=tuple(sorted(spec.retry.on)),
        timeout_s=spec.timeout_s,
        priority=spec.priority,
        facts=facts(spec),
    )
    if store.create(id_, submission):
        write_opening(archive, store.experiment(id_))
    elif store.spec(id_) != resolved:
        raise InputError(f"experiment {id_!r} exists with another spec; choose another --id, or `optml rm {id_}` first")
    return id_


def advance(store: Store, publish: Publish, experiment: str) -> int:
    """Bring an experiment as far as it goes now; how many trials were published.

    Reserves points (compare-and-set on the next number), claims what is due within the window and publishes it.
    An experiment that is ending has its queued trials cancelled instead.
    """
    found = store.experiment(experiment)
    if found.ending:
        while store.drain(experiment, BATCH):
            pass
        return 0
    if found.state is not ExperimentState.RUNNING:
        return 0
    workers = store.live_workers(found.resource_class)
    _recover(store, found, workers)
    published = 0
    while True:
        moved = _reserve(store, found)
        publications = store.claim(found, workers, BATCH)
        if publications:
            publish(publications)
            published += len(publications)
        elif not moved:
            return published
        found = store.experiment(experiment)


def retry(store: Store, experiment: str, *, numbers: Iterable[int] = (), states: Iterable[TrialState] = ()) -> int:
    """Run again, with fresh failure counts, trials that failed or were cancelled: by number, or all of some states."""
    chosen = set(numbers)
    for state in states:
        chosen.update(store.numbers(experiment, state))
    return store.retry(experiment, sorted(chosen))


def _reserve(store: Store, experiment: Experiment) -> bool:
    """Bring the next points of the plan into being, as many as the window lacks. Whether the plan moved on."""
    if experiment.exhausted:
        return False
    room = experiment.window if experiment.max_parallel is None else min(experiment.window, experiment.max_parallel)
    missing = min(BATCH, room - experiment.counts[TrialState.QUEUED])
    if missing <= 0:
        return False
    plan = plan_of(experiment.spec)
    budget = None if experiment.max_trials is None else experiment.max_trials - experiment.created
    taken, next_ = plan.take(experiment.next, missing, budget)
    used_up = budget is not None and len(taken) >= budget
    trials = [NewTrial(number, params, seed) for number, params, seed in taken]
    return store.reserve(experiment.id, experiment.next, next_, trials, exhausted=used_up or next_ >= plan.end)


def _recover(store: Store, experiment: Experiment, workers: int) -> None:
    """Publish again what the queue has lost, the oldest first.

    Where messages were overtaken, at most two a worker at a time: they may be only slow. Where a worker finds
    nothing at all, as many as are published together.
    """
    if experiment.published:
        idle = store.has_idle_worker(experiment.resource_class, IDLE_S)
        most, grace_s = (BATCH, IDLE_S) if idle else (max(2, 2 * workers), GRACE_S)
        store.recover(experiment, most=most, workers=workers, idle=idle, grace_s=grace_s)


def _brought(archive: Archive, code: Code) -> Code:
    if isinstance(code, Algorithm) or not code.source:
        return code
    return code.packed(program.upload(archive, Path(code.source)))


@lru_cache(maxsize=64)
def plan_of(resolved_spec: str) -> Plan:
    """The plan of a resolved spec (JSON); one is kept for each of the last experiments."""
    return segments(Spec.from_json(resolved_spec))
