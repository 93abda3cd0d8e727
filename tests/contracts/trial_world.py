"""One trial, two workers, a queue and all that can go wrong between them: which worlds follow from a world.

A worker may be stopped or slow at any point, since any other step may come between two of its own: every worker is a
possible zombie. Its lease may end at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.contracts.trial_model import CANCELLED, PUBLISHED, QUEUED, RESTING, RUNNING, StoreModel

IDLE, HOLDING, WORKING, ORPHANED = "idle", "holding", "working", "orphaned"
DEAD = "dead"  # the token of a process that is no more
STALE, NEWEST = 1, 2  # generations, as `canonical` counts them

Call = tuple[object, ...]  # the verb, then its arguments


class Worker(NamedTuple):
    """A worker's process. Its message is acknowledged last, so it has one in hand in every phase but `idle`.

    `orphaned`: its child died with the trial, and the main process has not said so yet.
    """

    phase: str = IDLE
    generation: int = 0


class World(NamedTuple):
    """`before` is the store as it was before its last write; `late` a copy of a call that is still on its way.

    `queue` has the generations of which there are messages. How many of each does not matter: any may be repeated.
    """

    store: StoreModel
    before: StoreModel
    sequence: tuple[int, int] = (0, 0)  # the last generation given out: in `store`, in `before`
    queue: tuple[int, ...] = ()
    workers: tuple[Worker, ...] = (Worker(), Worker())
    late: Call | None = None

    @property
    def is_terminal(self) -> bool:
        return not self.store.trials[0].is_live


class Step(NamedTuple):
    """What happened, the store's answer where one was asked, and the world after it."""

    name: str
    answer: str
    world: World


@dataclass(frozen=True)
class Weather:
    """What may happen beyond loss, repetition and death. Each kind multiplies the number of worlds."""

    forgets: bool = False  # the store loses its last write
    has_late_calls: bool = False  # a call that was answered arrives a second time, later
    is_steered: bool = False  # people cancel, pause, resume, retry


def recovery(world: World) -> Iterator[Step]:
    """The steps of a system in which nothing fails any more."""
    trial = world.store.trials[0]
    if trial.place == RESTING:
        yield _wrote("back-off ends", world, world.store.rest_ends(0))
    if trial.place == PUBLISHED:
        yield _wrote("recover", world, world.store.recover()[1])
    if world.store.claimable():
        yield Step("publish", "", _queued(_claimed(world), world.sequence[0] + 1))
    if world.store.is_cancelling and trial.state == QUEUED:
        yield _wrote("drain", world, world.store.drain()[1])
    if world.store.state == "paused" or "stopped" in (world.store.state, world.store.ending):
        yield _wrote("resume", world, world.store.resume())
    if trial.state == RUNNING and not trial.is_leased:
        yield _wrote("expire", world, world.store.expire()[1])
    if trial.is_leased and not _is_beaten_for(world, trial.token):
        yield _wrote("lease ends", world, world.store.lease_ends(0))
    for w, worker in enumerate(world.workers):
        yield from _work(world, w, worker)


def _work(world: World, w: int, worker: Worker) -> Iterator[Step]:
    """What a worker does next, each call answered."""
    match worker.phase:
        case "idle":
            for generation in world.queue:
                yield Step("deliver", "", _taken(_with_worker(world, w, Worker(HOLDING, generation)), generation))
        case "holding":
            answer, after = _called(world, _begin(w, worker))
            yield Step(
                "begin",
                answer,
                _with_worker(after, w, Worker(WORKING, worker.generation) if answer == "run" else Worker()),
            )
        case "working":
            answer, after = _called(world, ("finish", _token(w)))
            yield Step("finish", answer, _with_worker(after, w, Worker()))
            order, after = _called(world, ("beat", _token(w)))
            if order == CANCELLED or order == "cancel":
                answer, after = _called(after, ("release", _token(w), CANCELLED, False, False))
                yield Step("obey", answer, _with_worker(after, w, Worker()))
            elif order == "abort":
                yield Step("abort", order, _with_worker(after, w, Worker()))
            elif after != world:
                yield Step("beat", order, after)
        case "orphaned":
            answer, after = _called(world, ("release", _token(w), "lost", True, False))
            after = _with_worker(after, w, Worker())
            yield Step("tell of the death", answer, _queued(after, worker.generation) if answer == "refused" else after)


def faults(world: World, weather: Weather) -> Iterator[Step]:
    """What may go wrong here, or is done by people."""
    yield from _losses(world)
    if weather.forgets and world.before != world.store:
        forgetful = world._replace(store=world.before, sequence=(world.sequence[1],) * 2)
        yield Step("the store forgets", "", forgetful)
    if weather.has_late_calls:
        yield from _late_calls(world)
    if weather.is_steered:
        yield from _steering(world)


def _losses(world: World) -> Iterator[Step]:
    if world.store.trials[0].is_leased:
        yield _wrote("lease ends early", world, world.store.lease_ends(0))
    if world.store.claimable():
        yield Step("publish in vain", "", _claimed(world))
    for generation in world.queue:
        yield Step("lose a message", "", _taken(world, generation))
    for w, worker in enumerate(world.workers):
        if worker.phase != IDLE:
            yield from _failures_of(world, w, worker)


def _failures_of(world: World, w: int, worker: Worker) -> Iterator[Step]:
    yield Step("deliver again", "", _queued(world, worker.generation))
    dead = _buried(_with_worker(world, w, Worker()), w)
    yield Step("kill the worker", "", dead)
    yield Step("kill the worker, its message comes back", "", _queued(dead, worker.generation))
    # A call is carried out, but its answer is lost: the worker will repeat it.
    if worker.phase == HOLDING:
        yield Step("begin unanswered", *_called(world, _begin(w, worker)))
    if worker.phase in (WORKING, ORPHANED):
        for call in (("release", _token(w), "lost", True, True), ("release", _token(w), "released", False, False)):
            answer, after = _called(world, call)
            yield Step("release unanswered", answer, after)
            yield Step("release", answer, _with_worker(after, w, Worker()))
    if worker.phase == WORKING:
        yield Step("finish unanswered", *_called(world, ("finish", _token(w))))
        yield Step("kill the child", "", _with_worker(world, w, Worker(ORPHANED, worker.generation)))


def _late_calls(world: World) -> Iterator[Step]:
    if world.late is not None:
        answer, after = _called(world, world.late)
        yield Step("a call arrives late", answer, after._replace(late=None))
        yield Step("a late call is lost", "", world._replace(late=None))
        return
    for w, worker in enumerate(world.workers):
        calls: list[Call] = []
        if worker.phase == HOLDING:
            calls = [_begin(w, worker)]
        elif worker.phase == WORKING:
            calls = [("finish", _token(w)), ("release", _token(w), "lost", True, False), ("beat", _token(w))]
        for call in calls:
            yield Step("a copy of a call lags", "", world._replace(late=call))


def _steering(world: World) -> Iterator[Step]:
    store = world.store
    for name, after in (
        ("cancel", store.cancel()),
        ("pause", store.pause()),
        ("stop", store.stop()),
        ("order to cancel", store.order(0, "cancel")[1]),
    ):
        if after != store:
            yield _wrote(name, world, after)
    if store.trials[0].ended < 2:
        reopened, after = store.retry(0)
        if reopened > 0:
            yield _wrote("retry", world, after)


# How a world changes


def _token(w: int) -> str:
    return f"w{w}"


def _is_beaten_for(world: World, token: str) -> bool:
    return any(worker.phase == WORKING and _token(w) == token for w, worker in enumerate(world.workers))


def _begin(w: int, worker: Worker) -> Call:
    return ("begin", worker.generation, _token(w))


def _called(world: World, call: Call) -> tuple[str, World]:
    """A call of the store, carried out."""
    verb, *arguments = call
    store = world.store
    if verb == "begin":
        answer, after = store.begin(0, *arguments)  # type: ignore[arg-type]
    elif verb == "release":
        token, reason, failed, rests = arguments
        answer, after = store.release(0, token, reason, failed=failed, rests=rests)  # type: ignore[arg-type]
    else:
        answer, after = (store.finish if verb == "finish" else store.beat)(0, *arguments)  # type: ignore[arg-type]
    return answer, _written(world, after)


def _wrote(name: str, world: World, after: StoreModel) -> Step:
    return Step(name, "", _written(world, after))


def _written(world: World, after: StoreModel) -> World:
    if after == world.store:
        return world
    return world._replace(store=after, before=world.store, sequence=(world.sequence[0],) * 2)


def _claimed(world: World) -> World:
    last = world.sequence[0]
    claimed = _written(world, world.store.claim(0, last + 1))
    return claimed._replace(sequence=(last + 1, last))


def _with_worker(world: World, w: int, worker: Worker) -> World:
    return world._replace(workers=(*world.workers[:w], worker, *world.workers[w + 1 :]))


def _queued(world: World, generation: int) -> World:
    return world._replace(queue=tuple(sorted({*world.queue, generation})))


def _taken(world: World, generation: int) -> World:
    return world._replace(queue=tuple(waiting for waiting in world.queue if waiting != generation))


def _buried(world: World, w: int) -> World:
    """Another process takes the worker's place: the old one's token stands for nobody."""
    return _renamed(world, {_token(w): DEAD})


# Worlds that differ in names only are one world


def canonical(world: World, weather: Weather) -> World:
    """The same world with generations counted from the store's last, and the workers in order."""
    if not weather.forgets:
        world = world._replace(before=world.store, sequence=(world.sequence[0],) * 2)
    world = _recounted(world)
    if world.workers[0] > world.workers[1]:
        world = _renamed(world._replace(workers=world.workers[::-1]), {"w0": "w1", "w1": "w0"})
    return world


def _recounted(world: World) -> World:
    """Generations from the last one on keep their distance; older ones are stale for ever, and so as good as lost."""
    last = min(world.sequence)
    trial, previous = world.store.trials[0], world.before.trials[0]
    known = (trial.generation, previous.generation)
    is_counted = last == NEWEST and NEWEST in known and STALE not in world.queue
    if is_counted and not (trial.attempts or trial.fruitless or previous.attempts or previous.fruitless):
        return world  # as most are: an exploration asks for hundreds of thousands

    def name(generation: int) -> int:
        is_dead = generation < last or (generation == last and generation not in known)
        return generation and (STALE if is_dead else generation - last + NEWEST)

    def of(store: StoreModel) -> StoreModel:
        trial = store.trials[0]
        # What only counts up is left out.
        return store._replace(trials=(trial._replace(generation=name(trial.generation), attempts=0, fruitless=0),))

    late = world.late
    if late is not None and late[0] == "begin":
        late = ("begin", name(int(str(late[1]))), late[2])
    return World(
        store=of(world.store),
        before=of(world.before),
        sequence=(world.sequence[0] - last + NEWEST, world.sequence[1] - last + NEWEST),
        queue=tuple(sorted({name(generation) for generation in world.queue} - {STALE})),
        workers=tuple(Worker(worker.phase, name(worker.generation)) for worker in world.workers),
        late=late,
    )


def _renamed(world: World, names: dict[str, str]) -> World:
    def of(store: StoreModel) -> StoreModel:
        trial = store.trials[0]
        if trial.token not in names:
            return store
        return store._replace(trials=(trial._replace(token=names[trial.token]),))

    late = world.late
    if late is not None:
        at = 2 if late[0] == "begin" else 1
        late = (*late[:at], names.get(str(late[at]), late[at]), *late[at + 1 :])
    return world._replace(store=of(world.store), before=of(world.before), late=late)
