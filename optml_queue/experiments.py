"""An experiment's course: submitted, advanced, extended, retried, brought back from the archive.

Nothing here holds state. Any process may call any of it at any time, two at once do no harm, and a process that
dies in the middle leaves work for the next call, not damage.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from optml_queue import ordering, reuse, suggestions
from optml_queue.archive import Archive, program
from optml_queue.archive.dataset import bring
from optml_queue.archive_source import ArchiveSource
from optml_queue.budget import NO_BUDGET
from optml_queue.driver import Metric
from optml_queue.earlier import Earlier
from optml_queue.errors import InputError, NotFoundError, OptmlError
from optml_queue.provenance import facts
from optml_queue.restoration import Restoration, submission_of
from optml_queue.results import write_extension, write_opening
from optml_queue.search import Plan, segments
from optml_queue.spec import Algorithm, Code, Spec
from optml_queue.spec.extension import extended
from optml_queue.spec.prior import Reuse
from optml_queue.starting import keep_start, start_of
from optml_queue.store import Experiment, ExperimentState, NewTrial, Publication, Store, Submission
from optml_queue.trial import Params, TrialState

Publish = Callable[[Sequence[Publication]], None]
Ask = Callable[[str], None]

ORDERED = 10_000  # numbers left of a plan that are reserved at once when trials' costs are known: 5 MB in the store
COSTED_ROWS = 10_000  # costs are compared with each other, all for as many rows: data are not read for it
BATCH = 1_000  # trials reserved, claimed or published in one go
REUSED = 200  # trials reserved in one go when their results may be there: each ends in the same script
TURN_S = 1.0  # after it, other experiments have their turn
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

    The control process does the rest. Submitting the same spec again under the same id changes nothing; when the
    store has lost the experiment, but the archive has it, it comes back from there. Another spec under an id that is
    taken, in the store or in the archive, raises InputError.

    Data that do not come with the package, those at s3:// too, are read once, so that what cannot be used is said now
    (DataError), and go to the archive under their digest. So does the user's own code, and the spec: the archive
    alone is enough to read an experiment, and workers need no more. Data stay in `cache_dir`, if there is one. What it
    takes over from earlier experiments is read now, too, and goes to the archive: they may be removed afterwards.

    The archive has the spec before the store has the experiment: one that runs can always be restored. When the
    store then fails, what lies in the archive is an experiment without trials, and submitting it again goes on.
    """
    id_ = experiment or new_id(spec.name)
    suggestions.require(spec)
    stored = _known(store.experiment, id_) if experiment else None
    known = stored or (_known(ArchiveSource(archive).record, id_) if experiment else None)
    spec = with_files(archive, spec, cache_dir)
    spec = _with_earlier(store, archive, spec, id_, None if known is None else Spec.from_json(known.spec))
    submission = submission_of(spec, facts(spec))
    if known is not None:
        _refuse_another(known, submission)
        if stored is not None and not stored.is_restoring:
            return id_
        if stored is not None or _has_begun(archive, id_):
            restore(store, archive, id_)
            return id_
        # Only its spec: an earlier call was cut off, or another is at it now, and whoever creates it first wins.
    write_opening(archive, Experiment.opened(id_, submission))
    if not store.create(id_, submission):
        # Somebody else took the id in this very moment: the archive is to have what the store has.
        found = store.experiment(id_)
        write_opening(archive, found)
        _refuse_another(found, submission)
    return id_


def extend(store: Store, archive: Archive, experiment: str, spec: Spec, *, cache_dir: Path | None = None) -> Experiment:
    """Let an experiment, running or over, go on as another spec says: more values, points, seeds or trials.

    Trials that exist keep number, point and result; points that none of them has tried with a seed get new numbers.
    The experiment as it is then. Raises InputError for what an extension cannot change, and while the experiment is
    ending. Repeating the call changes nothing.
    """
    spec = with_files(archive, spec, cache_dir)
    while True:
        found = store.experiment(experiment)
        if found.is_restoring or (found.ending and not found.is_over):
            raise InputError(f"{experiment} is ending, and trials of it still run; extend it when it has ended")
        old = Spec.from_json(found.spec)
        longer = extended(old, spec, found.next)
        same = replace(longer, earlier=old.earlier, text=old.text, reuse=_kept(old, longer))
        if same == old and longer.retry == old.retry:
            return found
        _refuse_full(found, longer)
        if longer.reuse is not None:  # anew: there may be more to take over by now
            longer = replace(longer, reuse=reuse.keep_list(archive, Earlier(archive, store), longer, experiment))
        submission = submission_of(longer, found.facts)
        # The archive first, as in `submit`. Should the store refuse, what it has is written the next time.
        write_extension(archive, replace(found, spec=submission.spec, end=submission.end, exhausted=False))
        if store.extend(found, submission):
            return store.experiment(experiment)


def restore(store: Store, archive: Archive, experiment: str) -> Experiment:
    """Bring an experiment that the store does not know back from the archive; as it is then.

    Finished trials have their results; those that had begun or waited will run again, from their checkpoints. One
    that was not over is paused: `resume` lets it go on. Nothing happens to an experiment that the store knows. Two
    processes may do it at once, and one go on where another was cut off. Raises NotFoundError, and ArchiveError for
    an archive that cannot be read.
    """
    Restoration(store, archive, experiment).run()
    return store.experiment(experiment)


def with_files(archive: Archive, spec: Spec, cache_dir: Path | None) -> Spec:
    """The spec with its data and code in the archive, under their digests."""
    data = None if spec.data is None else bring(archive, spec.data, cache_dir)
    return replace(spec, data=data, code=_brought(archive, spec.code))


def _with_earlier(store: Store, archive: Archive, spec: Spec, experiment: str, known: Spec | None) -> Spec:
    """The spec with what it takes over from earlier experiments in the archive, under its digest.

    `known` is the spec that the experiment has already, if it has one: what was found for that stands.
    """
    earlier = Earlier(archive, store)
    start = spec.start_from
    if known is not None and start is not None and known.start_from is not None and known.start_from.is_same(start):
        spec = replace(spec, start_from=known.start_from)
    elif start is not None:
        found, points = start_of(earlier, spec)
        spec = replace(spec, start_from=replace(found, digest=keep_start(archive, points)))
    if spec.reuse is None:
        return spec
    kept = known and known.reuse
    return replace(spec, reuse=kept or reuse.keep_list(archive, earlier, spec, experiment))


def _kept(old: Spec, new: Spec) -> Reuse | None:
    """What an extension that wishes the same has found already."""
    return old.reuse if new.reuse is not None else None


def _has_begun(archive: Archive, experiment: str) -> bool:
    """Whether the archive has more of an experiment than what is put down at its submission."""
    return any(next(iter(archive.keys(f"{experiment}/{folder}/")), None) for folder in ("parts", "checkpoints"))


def _known(read: Callable[[str], Experiment], experiment: str) -> Experiment | None:
    """What store or archive know of an experiment."""
    try:
        return read(experiment)
    except NotFoundError:
        return None


def _refuse_another(known: Experiment, submission: Submission) -> None:
    """Raises InputError when an experiment has another spec than the one that is submitted under its id.

    What an extended one had before is not in the file that it was extended by.
    """
    if submission.spec in (known.spec, replace(Spec.from_json(known.spec), earlier=()).to_json()):
        return
    advice = f"choose another --id, or `optml rm {known.id}` first; `optml extend {known.id} SPEC` adds trials to it"
    raise InputError(f"experiment {known.id!r} exists with another spec; {advice}")


def _refuse_full(experiment: Experiment, spec: Spec) -> None:
    """Raises InputError when max_trials leaves no room for a search that is to add trials."""
    old = Spec.from_json(experiment.spec)
    most = spec.max_trials
    if most is not None and spec.search != old.search and most <= experiment.created:
        message = f"max_trials: is {most:,}, and the experiment has {experiment.created:,} trials already"
        raise InputError(f"{message}; raise it to add some")


def advance(
    store: Store,
    publish: Publish,
    experiment: str,
    prices: Mapping[str, float] | None = None,
    *,
    archive: Archive | None = None,
    ask: Ask | None = None,
) -> int:
    """Bring an experiment as far as it goes now; how many trials were published.

    Reserves points (compare-and-set on the next number), claims what is due within the window and publishes it.
    An experiment that is ending has its queued trials cancelled instead. `prices` are those of an hour of a worker by
    resource class; where an experiment with a limit of cost finds none, it is paused. `archive` is needed by those that
    take something over from earlier experiments. Points that a searcher has to think of are suggested here, or by
    whoever `ask` asks to call `suggest`.
    """
    found = store.experiment(experiment)
    if found.budget != NO_BUDGET and found.state is ExperimentState.RUNNING and not found.ending:
        _spend(store, found, prices or {})
        found = store.experiment(experiment)
    if found.ending:
        while store.drain(experiment, BATCH):
            pass
        return 0
    if found.state is not ExperimentState.RUNNING:
        return 0
    workers = store.live_workers(found.resource_class)
    _recover(store, found, workers)
    found = _put_in_order(store, found, workers, archive)
    published = 0
    turn_ends_at = time.monotonic() + TURN_S
    while time.monotonic() < turn_ends_at:
        ordered = is_ordered(found)
        moved = _reserve(store, found, workers, BATCH if ordered else _missing(found), archive, ask)
        if moved and ordered:
            found = store.experiment(experiment)
            continue  # all of them, before the first is claimed: the longest may be the last
        publications = store.claim(found, workers, BATCH)
        claimed = sum(publication.trials for publication in publications)
        if publications:
            publish(publications)
            published += claimed
        is_full = _missing(found) <= claimed < BATCH
        if not (claimed or moved) or is_full or published >= found.window:
            return published  # more is asked for when it runs low; short trials must not keep us from other experiments
        found = store.experiment(experiment)
        if found.is_window_filled:
            return published
    store.want(experiment)  # thousands of results that were there already must not, either
    return published


def suggest(store: Store, experiment: str, archive: Archive | None = None) -> bool:
    """Suggest a point for an experiment that lacks trials, and reserve them. Whether its plan moved on.

    It may take as long as the experiment's sampler takes. `archive` has what the searcher starts from, if anything.
    Raises InputError when a package is missing.
    """
    found = store.experiment(experiment)
    if found.ending or found.state is not ExperimentState.RUNNING:
        return False
    return _reserve(store, found, store.live_workers(found.resource_class), _missing(found), archive)


def retry(store: Store, experiment: str, *, numbers: Iterable[int] = (), states: Iterable[TrialState] = ()) -> int:
    """Run again, with fresh failure counts, trials that failed or were cancelled: by number, or all of some states."""
    chosen = set(numbers)
    for state in states:
        chosen.update(store.numbers(experiment, state))
    return store.retry(experiment, sorted(chosen))


def _reserve(
    store: Store,
    experiment: Experiment,
    workers: int,
    missing: int,
    archive: Archive | None,
    ask: Ask | None = None,
) -> bool:
    """Bring the next points of the plan into being, as many as are missing. Whether the plan moved on.

    Those that have to be suggested are somebody else's business where there is somebody to `ask`.
    """
    if experiment.exhausted or missing <= 0:
        return False
    plan, taken_over = plan_of(experiment.spec), reuse_of(experiment.spec)
    segment = plan.suggested(experiment.next)
    if segment is None:
        # Trials that need not run take no room in the window.
        taken = _take(plan, experiment, REUSED if taken_over and taken_over.digest else missing)
    elif ask is not None:
        ask(experiment.id)
        return False
    else:
        suggested = suggestions.take(store, experiment, segment, plan, missing, workers, archive)
        if suggested is None:
            return False
        taken = suggested
    trials, next_, is_spent = taken
    return store.reserve(
        experiment.id,
        experiment.next,
        next_,
        reuse.with_results(trials, taken_over, archive),
        exhausted=is_spent or next_ >= plan.end,
        extensions=experiment.extensions,
    )


def _take(plan: Plan, experiment: Experiment, most: int) -> suggestions.Taken:
    """The next trials of points that are computed."""
    cost = cost_of(experiment.spec)
    budget = None if experiment.max_trials is None else experiment.max_trials - experiment.created
    taken, next_ = plan.take(experiment.next, most, budget)
    trials = [NewTrial(number, params, seed, cost and cost(params)) for number, params, seed in taken]
    return trials, next_, budget is not None and len(taken) >= budget


def _missing(experiment: Experiment) -> int:
    """How many trials the window lacks."""
    room = experiment.window if experiment.max_parallel is None else min(experiment.window, experiment.max_parallel)
    return min(BATCH, room - experiment.counts[TrialState.QUEUED])


def is_ordered(experiment: Experiment) -> bool:
    """Whether all that is left of a plan is reserved at once, so that the longest trials of it begin first."""
    return cost_of(experiment.spec) is not None and _may_be_reserved_whole(experiment)


def _may_be_reserved_whole(experiment: Experiment) -> bool:
    return experiment.end - experiment.next <= ORDERED and not plan_of(experiment.spec).learns


def _put_in_order(store: Store, experiment: Experiment, workers: int, archive: Archive | None) -> Experiment:
    """Let the longest trials begin first, where no cost is declared but durations tell. The experiment then."""
    if experiment.end - experiment.next > ORDERED or not ordering.is_look_due(experiment, workers):
        return experiment
    if cost_of(experiment.spec) is not None or plan_of(experiment.spec).learns:
        return experiment
    model = ordering.learn(store, experiment, workers)
    if model is None:
        return experiment
    while _reserve(store, experiment, workers, BATCH, archive):
        experiment = store.experiment(experiment.id)
    ordering.reorder(store, experiment, model, workers)
    return store.experiment(experiment.id)


def _spend(store: Store, experiment: Experiment, prices: Mapping[str, float]) -> None:
    """End an experiment that has spent its budget."""
    cost, price = experiment.budget.cost, prices.get(experiment.resource_class)
    if cost is not None and price is None:
        class_ = experiment.resource_class
        advice = f"start the workers with OPTML_PRICES={class_}=PRICE, and resume it"
        store.pause(experiment.id, f"budget.cost: nobody knows what an hour of class {class_} costs; {advice}")
        return
    store.spend(experiment.id, cost / price * 3600 if cost is not None and price else None)


def _recover(store: Store, experiment: Experiment, workers: int) -> None:
    """Publish again what the queue has lost, the oldest first.

    Where messages were overtaken, at most two a worker at a time: they may be only slow. Where a worker finds
    nothing at all, as many as are published together.
    """
    if experiment.published:
        store.recover(experiment, most=max(2, 2 * workers), workers=workers, idle=False, grace_s=GRACE_S)
        ago_s = store.idle_seen_ago(experiment.resource_class, IDLE_S)
        if ago_s is not None:
            # A proof of that moment: what was published later may be on its way.
            store.recover(experiment, most=BATCH, workers=workers, idle=True, grace_s=IDLE_S + ago_s)


def _brought(archive: Archive, code: Code) -> Code:
    if isinstance(code, Algorithm) or not code.source or code.digest:
        return code
    return code.packed(program.upload(archive, Path(code.source)))


@lru_cache(maxsize=64)
def plan_of(resolved_spec: str) -> Plan:
    """The plan of a resolved spec (JSON); one is kept for each of the last experiments."""
    return segments(Spec.from_json(resolved_spec))


@lru_cache(maxsize=64)
def reuse_of(resolved_spec: str) -> Reuse | None:
    """What a resolved spec (JSON) says of results that are taken over."""
    fields = json.loads(resolved_spec).get("reuse")
    return None if fields is None else Reuse.from_dict(fields)


@lru_cache(maxsize=64)
def cost_of(resolved_spec: str) -> Callable[[Params], float | None] | None:
    """How much work a point is by what the algorithm declares; None for one that declares nothing.

    Only algorithms are asked: users' programs are loaded where trials run, and nowhere else.
    """
    try:
        code = Spec.from_json(resolved_spec).code
        declared = code.driver(Metric("")).cost if isinstance(code, Algorithm) else None
    except (OptmlError, KeyError, ValueError):
        return None  # those who run it will say what is wrong
    if declared is None:
        return None

    def cost(params: Params) -> float | None:
        try:
            found = float(declared(params, COSTED_ROWS))
        except Exception:  # noqa: BLE001 — an order is no reason to end an experiment
            return None
        return found if math.isfinite(found) else None

    return cost
