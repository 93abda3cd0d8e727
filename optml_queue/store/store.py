"""The store: the truth about every experiment and trial, in Redis or Valkey (6.2 or later, one primary).

Every change of a trial is one script (see scripts/), one round trip, safe to repeat, and timed by the
server's clock. What a caller sees of a server that does not answer is UnreachableError, never an exception of
the client library.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import chain
from typing import Any, Self, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from optml_queue.driver import Order
from optml_queue.errors import InputError, NotFoundError, UnreachableError
from optml_queue.store.experiment import Experiment, ExperimentState, Submission
from optml_queue.store.records import (
    LIVE_FIELDS,
    Assignment,
    Backlog,
    Carried,
    Declined,
    NewTrial,
    Publication,
    Ran,
    RestoredTrial,
    ReusedResult,
    WorkerInfo,
    attempt_record,
    ended_attempt,
    finished_record,
    finished_trial,
    finished_trials,
    live_trial,
)
from optml_queue.store.scripts import source
from optml_queue.trial import REOPENABLE_STATES, REUSED_FROM, Attempt, Trial, TrialResult, TrialState, digest, encode

logger = logging.getLogger(__name__)

ROOT = "optml"
BUCKET = 100  # trials in one hash of finished records; prelude.lua has the same figure
FORGOTTEN_TOGETHER = 10_000  # trials whose bits lie in one key; prelude.lua has the same figure
# What stays in the store of an experiment that gives up records: the last trials that ended, by which its end is
# estimated; the best complete ones; the first ones of each state that never changes.
RECENT_KEPT, BEST_KEPT, FIRST_KEPT = 100, 1_000, 100
SLICE = 1_000  # records read in one round trip
LINES_MAX = 10_000  # log lines kept of one trial
TRACEBACK_MAX = 8_192  # characters kept of one attempt's traceback, its end
OUTPUT_MAX = 8_192  # characters kept of what one attempt wrote, its end
ERROR_MAX = 2_048
LOG_LIMIT_S = 3_600  # a log that is being restored and does not grow was left by a process that died
TIMES_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)  # upper ends of a histogram of times; prelude.lua has them too
LOOK_S = 0.025  # between two looks at the log of finished trials
LAST_SEEN = 10  # idle workers, those that beat last, that are asked since when they are
SLACK = 64  # a message is overtaken when one published this many later has begun (plus two for each worker)

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SCRIPTS = (
    "begin",
    "beat",
    "checkpoint",
    "claim",
    "control",
    "create",
    "drain",
    "expire",
    "extend",
    "finish",
    "forget",
    "hold",
    "interrupt",
    "mark",
    "order",
    "recover",
    "release",
    "reopen",
    "reorder",
    "report",
    "reserve",
    "rest",
    "restore",
    "restore_attempts",
    "restore_finished",
    "restore_queued",
    "restored",
    "revive",
    "spend",
    "turn",
)


class Store:
    """A client of the store. Safe to use from several threads; make a new one after a fork."""

    def __init__(self, client: redis.Redis, url: str) -> None:
        # redis-py types every reply as text or bytes; with decode_responses it is always text.
        self.client: Any = client
        self.url = url
        self._scripts = {name: client.register_script(source(name)) for name in SCRIPTS}

    @classmethod
    def from_url(
        cls, url: str, *, retries: int = 3, timeout_s: float = 15.0, on_connect: Callable[[], None] | None = None
    ) -> Self:
        """Connect to `url` (redis:// or rediss://). A call is repeated up to `retries` times, a second apart.

        An answer is waited for `timeout_s`: what was sent over a connection that a router forgot never gets one.
        `on_connect` is called whenever a connection was made, in the thread that made it; it must not use the
        store.
        """
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=min(5.0, timeout_s),
            socket_timeout=timeout_s,
            socket_keepalive=True,
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
        )
        if on_connect is not None:
            client.connection_pool.connection_kwargs["redis_connect_func"] = _then(on_connect)
        return cls(client, url)

    def close(self) -> None:
        self.client.close()

    # Reaching the server

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError as error:
            raise UnreachableError("the store", self.url, f"it refuses the password ({error})") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise UnreachableError("the store", self.url, str(error)) from error
        except (redis.OutOfMemoryError, redis.ReadOnlyError) as error:
            # Full, or a replica during a failover: it takes no writes now, and a result must wait until it does.
            raise UnreachableError("the store", self.url, f"it takes no writes ({error})") from error

    def _run(self, script: str, x: str | None, *args: str | float) -> Any:
        keys = [x] if x else []
        known = self._scripts[script]
        with self._reaching():
            try:
                # What the script object itself sends, by a shorter way: a worker does this twice for every trial.
                return self.client.execute_command("EVALSHA", known.sha, len(keys), *keys, *args)
            except redis.exceptions.NoScriptError:
                return known(keys=keys, args=args)

    def _pipeline(self, calls: Callable[[Any], object]) -> list[Any]:
        """Run the commands that `calls` queues on a pipeline, in one round trip and without MULTI."""
        with self._reaching(), self.client.pipeline(transaction=False) as pipe:
            calls(pipe)
            return list(pipe.execute())

    def ping(self) -> None:
        """Raises UnreachableError when the server does not answer."""
        with self._reaching():
            self.client.ping()

    def server_run_id(self) -> str:
        """What tells one start of the server from the next."""
        with self._reaching():
            return str(self.client.info("server")["run_id"])

    def rewrite_log(self) -> bool:
        """Have the server write its append-only file anew, from memory. False when it may not, or is at it already.

        A server that was cut off amid a script's effects passes over them when it starts, but leaves them in its file
        (Valkey 8.1): what it writes from then on would be taken for their continuation by the start after next.
        """
        with self._reaching():
            try:
                self.client.bgrewriteaof()
            except redis.ResponseError as error:
                logger.info("the store does not write its append-only file anew: %s", error)
                return False
        return True

    # Experiments

    def create(self, experiment: str, submission: Submission) -> bool:
        """Bring an experiment into being, running. False when one of that id exists."""
        if not is_experiment_id(experiment):
            raise ValueError(f"not an experiment id: {experiment!r}")
        fields = [text for field in submission.fields().items() for text in field]
        return bool(self._run("create", _x(experiment), secrets.token_hex(8), *fields))

    def experiment(self, experiment: str) -> Experiment:
        """Raises NotFoundError."""
        found = self._experiments([experiment])
        if not found:
            raise self._unknown(experiment)
        return found[0]

    def experiments(self) -> list[Experiment]:
        """All experiments, the newest first."""
        with self._reaching():
            ids = self.client.zrevrange(f"{ROOT}:experiments", 0, -1)
        return self._experiments(ids)

    def ids(self, state: ExperimentState | None = None) -> list[str]:
        """The ids of all experiments, or of those in a state, the newest first."""
        with self._reaching():
            ids = cast("list[str]", self.client.zrevrange(f"{ROOT}:experiments", 0, -1))
        if state is None or not ids:
            return ids
        states = self._pipeline(lambda pipe: [pipe.hget(_x(id_), "state") for id_ in ids])
        return [id_ for id_, found in zip(ids, states, strict=True) if found == state]

    def of_ids(self, ids: Sequence[str]) -> list[Experiment]:
        """The experiments of those ids that exist, in the order asked for."""
        return self._experiments(ids)

    def remember(self, key: str, value: str, ttl_s: int) -> str:
        """Keep a value under a key of the caller's, for a while; the one that was kept there first."""
        replies = self._pipeline(lambda pipe: pipe.set(key, value, nx=True, ex=ttl_s).get(key))
        return str(replies[1] or value)

    def active(self) -> list[str]:
        """The ids of experiments that are not over, the oldest first."""
        with self._reaching():
            return cast("list[str]", self.client.zrange(f"{ROOT}:active", 0, -1))

    def spec(self, experiment: str) -> str:
        """The resolved spec (JSON). Raises NotFoundError."""
        with self._reaching():
            text = self.client.hget(_x(experiment), "spec")
        if text is None:
            raise self._unknown(experiment)
        return cast(str, text)

    def resolve(self, text: str) -> str:
        """The id meant by `text`: an id, or `latest`. Raises NotFoundError, naming the ids that are near."""
        with self._reaching():
            if text == "latest":
                newest = self.client.zrevrange(f"{ROOT}:experiments", 0, 0)
                if not newest:
                    raise NotFoundError("there is no experiment yet; `optml-submit SPEC` starts one")
                return cast(str, newest[0])
            if self.client.exists(_x(text)):
                return text
        raise self._unknown(text)

    def remove(self, experiment: str) -> None:
        """Forget an experiment and all its trials. Raises NotFoundError."""
        x = _x(self.resolve(experiment))
        self._pipeline(
            lambda pipe: [pipe.zrem(f"{ROOT}:{key}", experiment) for key in ("experiments", "active", "wanted")]
        )
        with self._reaching():
            leases = [f"{experiment}|{n}" for n in self.client.zrange(f"{x}:running", 0, -1)]
            if leases:
                self.client.zrem(f"{ROOT}:leases", *leases)
            self.client.unlink(x)
            batch: list[str] = []
            for key in self.client.scan_iter(match=f"{x}:*", count=SLICE):
                batch.append(key)
                if len(batch) == SLICE:
                    self.client.unlink(*batch)
                    batch.clear()
            if batch:
                self.client.unlink(*batch)

    def _experiments(self, ids: Sequence[str]) -> list[Experiment]:
        def calls(pipe: Any) -> None:
            for id_ in ids:
                pipe.hgetall(_x(id_)).zcard(f"{_x(id_)}:published").llen(f"{_x(id_)}:log")

        replies = self._pipeline(calls) if ids else []
        found = []
        for id_, i in zip(ids, range(0, len(replies), 3), strict=True):
            # What is no experiment of ours is none at all: one such record must not keep the others from being seen.
            if replies[i] and is_experiment_id(id_):
                with suppress(KeyError, ValueError):
                    found.append(Experiment.decode(id_, replies[i], published=replies[i + 1], finished=replies[i + 2]))
        return found

    def _unknown(self, text: str) -> NotFoundError:
        with self._reaching():
            ids = cast("list[str]", self.client.zrevrange(f"{ROOT}:experiments", 0, -1))
        near = get_close_matches(text, ids, 3, 0.4) or [id_ for id_ in ids if id_.startswith(text)][:3]
        advice = f"did you mean {', '.join(near)}?" if near else "`optml ls` shows those there are"
        return NotFoundError(f"there is no experiment {text!r}; {advice}")

    # Control

    def pause(self, experiment: str, reason: str = "") -> ExperimentState:
        """Publish no more. Running trials go on; those in the queue are declined and wait."""
        return self._control(experiment, "pause", reason)

    def resume(self, experiment: str) -> ExperimentState:
        """Undo `pause` and `stop`, also when the experiment has stopped."""
        return self._control(experiment, "resume", "")

    def stop(self, experiment: str, reason: str = "stopped") -> ExperimentState:
        """End the experiment when the trials that run now have ended; the rest waits for `resume`."""
        return self._control(experiment, "stop", reason)

    def cancel(self, experiment: str, reason: str = "cancelled") -> ExperimentState:
        """End the experiment: running trials are told, queued ones are cancelled by `drain`."""
        return self._control(experiment, "cancel", reason)

    def fail(self, experiment: str, reason: str) -> ExperimentState:
        """End the experiment as failed."""
        return self._control(experiment, "fail", reason)

    def rest(self, experiment: str, reason: str) -> ExperimentState:
        """Pause an experiment found in a server that was just started: no worker lives and the queue was emptied.

        Its running attempts are lost at once, not when their leases run out.
        """
        return ExperimentState(self._run("rest", _x(experiment), reason))

    def _control(self, experiment: str, verb: str, reason: str) -> ExperimentState:
        state = self._run("control", _x(experiment), verb, reason)
        if state is None:
            raise self._unknown(experiment)
        return ExperimentState(state)

    def order(self, experiment: str, number: int, order: Order) -> str:
        """Tell one trial to stop, cancel or release. The trial's state now, or "refused"."""
        return str(self._run("order", _x(experiment), number, order))

    def retry(self, experiment: str, numbers: Iterable[int]) -> int:
        """Reopen those of the trials that failed or were cancelled. How many were.

        Raises InputError while the experiment is ending: then none can be.
        """
        reopened = 0
        for batch in _batches(numbers, SLICE // 10):
            records = self._records(experiment, batch)
            args: list[str | float] = []
            for number, record in records.items():
                trial = finished_trial(number, record)
                if trial.state in REOPENABLE_STATES:
                    args += [
                        number,
                        record,
                        trial.state,
                        encode(trial.params),
                        digest(trial.params),
                        trial.seed,
                        trial.attempts,
                        encode(trial.origin) if trial.origin else "",
                    ]
            if args:
                answer = int(self._run("reopen", _x(experiment), *args))
                if answer < 0:
                    raise InputError(f"{experiment} is ending, and trials of it still run; retry when it has ended")
                reopened += answer
        return reopened

    def extend(self, experiment: Experiment, submission: Submission) -> bool:
        """Let the experiment go on with another spec; one that was over is open again.

        False when trials were reserved, or the spec was changed, since `experiment` was read, and while it is ending.
        """
        fields = [text for field in submission.fields().items() for text in field]
        return bool(self._run("extend", _x(experiment.id), experiment.next, experiment.spec, *fields))

    # Back from the archive; two may restore the same experiment at once, and one go on where another was cut off

    def restore(self, record: Experiment, submission: Submission) -> bool:
        """Begin to bring an experiment back. False when it exists."""
        fields = [text for field in submission.fields().items() for text in field]
        fields += ["worker_ms", str(round(record.worker_s * 1000))]
        fields += [text for name, count in record.events.items() for text in (f"e:{name}", str(count))]
        return bool(self._run("restore", _x(record.id), int(record.created_at * 1000), *fields))

    def restore_finished(self, experiment: str, trials: Sequence[Trial]) -> bool:
        """Bring finished trials back. False when all is restored already."""
        args: list[str | float] = []
        for trial in trials:
            args += [trial.number, trial.state, encode(trial.metrics), encode(trial.reason)]
            args.append(finished_record(trial))
        return bool(self._run("restore_finished", _x(experiment), *args))

    def restore_attempts(self, experiment: str, attempts: Mapping[int, Sequence[Attempt]]) -> bool:
        """Bring back the attempts of trials that ended without a result. False when all is restored already."""
        args: list[str | float] = []
        for number, ended in attempts.items():
            for attempt in ended:
                args += [number, attempt_record(attempt)]
        return bool(self._run("restore_attempts", _x(experiment), *args))

    def restore_queued(self, experiment: str, trials: Sequence[RestoredTrial]) -> bool:
        """Bring back trials that are to run. False when all is restored already."""
        args: list[str | float] = []
        for trial in trials:
            args += [trial.number, encode(trial.params), digest(trial.params), trial.seed, trial.attempts]
            args.append(trial.checkpoint)
        return bool(self._run("restore_queued", _x(experiment), *args))

    def restored(self, record: Experiment, log: Iterable[int]) -> bool:
        """End the restoring. False when another did.

        `log` has the numbers of the finished trials in the order of finishing. Of `record` hold the state with its
        reason and end, the place in the plan, and how many results were reused.
        """
        key = f"{_x(record.id)}:log:{secrets.token_hex(8)}"
        for batch in _batches(log, SLICE):
            self._pipeline(lambda pipe, batch=batch: pipe.rpush(key, *batch).expire(key, LOG_LIMIT_S))  # type: ignore[misc]  # mypy: a default in a lambda
        fields: dict[str, str | int] = {
            "state": record.state,
            "reason": record.reason,
            "next": record.next,
            "created": record.created,
            "exhausted": int(record.exhausted),
            "extensions": record.extensions,
            "reused": record.reused,
        }
        if record.finished_at is not None:
            fields["finished_at"] = int(record.finished_at * 1000)
        args = [text for field in fields.items() for text in field]
        with self._reaching():
            return bool(self._scripts["restored"](keys=[_x(record.id), key], args=args))

    # Trials: from the plan to the queue

    def reserve(
        self,
        experiment: str,
        expected_next: int,
        next_: int,
        trials: Sequence[NewTrial],
        *,
        exhausted: bool,
        extensions: int = 0,
    ) -> bool:
        """Bring the trials between two numbers of the plan into being. False when another was first.

        `extensions` says which plan they come from: how often it had been extended. Trials with a reused result end at
        once, in their order, with the curve of the earlier trial where the store has it still. Where one of them ends
        the experiment, those after it are cancelled.
        """
        reused = [_reused_trial(trial, trial.reused) for trial in trials if trial.reused is not None]
        waiting = [_waiting_trial(trial) for trial in trials if trial.reused is None]
        place = (expected_next, next_, int(exhausted), extensions, len(reused))
        return bool(self._run("reserve", _x(experiment), *place, *chain(*reused, *waiting)))

    def claim(self, experiment: Experiment, workers: int, most: int = SLICE) -> list[Publication]:
        """Take up to `most` trials for publishing, as many as the window and max_parallel leave room for.

        The window is computed anew (see claim.lua): alone max(100, 2 × `workers`, 0.25 s of measured throughput), at
        most 10,000; several experiments of a class share one. With `batch: auto` a message carries several trials once
        these were measured to be short; one that had begun before goes alone.
        """
        recalled, *messages = self._run("claim", _x(experiment.id), workers, most)
        return [
            Publication(
                experiment=experiment.id,
                number=int(number),
                generation=generation,
                params=json.loads(params),
                resource_class=experiment.resource_class,
                timeout_s=experiment.timeout_s,
                overtakes=frozenset(recalled),
                more=tuple(zip(map(int, more[::2]), more[1::2], strict=True)),
            )
            for params, number, generation, *more in messages
        ]

    def waiting(self, experiment: str) -> list[Trial]:
        """The trials that wait in the queue, and behind it for their first message, in the order of their turns."""
        x = _x(experiment)
        published, fresh = self._pipeline(lambda pipe: pipe.zrange(f"{x}:published", 0, -1).zrange(f"{x}:fresh", 0, -1))
        live = self._live(experiment, [int(n) for n in (*published, *fresh)])
        return [trial for trial in live.values() if trial.state is TrialState.QUEUED]

    def reorder(self, experiment: str, costs: Mapping[int, float]) -> int:
        """Let the costliest of these trials run first: those that wait in the queue, too, are recalled. How many."""
        args = [each for number, cost in costs.items() for each in (number, repr(cost))]
        return int(self._run("reorder", _x(experiment), *args))

    def recover(self, experiment: Experiment, *, most: int, workers: int, idle: bool, grace_s: float) -> int:
        """Put published trials whose message must be lost back in line. How many."""
        slack = SLACK + 2 * workers
        return int(self._run("recover", _x(experiment.id), most, slack, int(grace_s * 1000), int(idle)))

    def revive(self, experiment: str, number: int, generation: int) -> bool:
        """The message of this generation is dead. Whether it was the trial's last one, so that another is due now."""
        return bool(self._run("revive", _x(experiment), number, generation))

    def drain(self, experiment: str, most: int = SLICE) -> int:
        """Cancel queued trials of an experiment that is ending. How many; 0 when none is left."""
        return int(self._run("drain", _x(experiment), most))

    def spend(self, experiment: str, cost_s: float | None) -> float:
        """End the experiment when its budget is spent. The worker time spent so far in seconds, what runs now included.

        `cost_s` is how much worker time its limit of cost buys; None when it has none.
        """
        limit = "" if cost_s is None else int(cost_s * 1000)
        return int(self._run("spend", _x(experiment), limit)) / 1000

    # Trials: one attempt

    def begin(
        self,
        experiment: str,
        number: int,
        generation: int,
        params_digest: str,
        token: str,
        worker: str,
        lease_s: float,
    ) -> Assignment | Declined:
        """Ask to run a trial. The same token asking again gets the same answer."""
        reply = self._run(
            "begin", _x(experiment), number, generation, params_digest, token, worker, int(lease_s * 1000)
        )
        if reply[0] != "run":
            return Declined(reply[1])
        return Assignment(int(reply[1]), json.loads(reply[2]), int(reply[3]), reply[4])

    def turn(
        self,
        experiment: str,
        token: str,
        worker: str,
        lease_s: float,
        ran: Sequence[Ran],
        next_: Carried,
    ) -> tuple[list[str], dict[int, Assignment]]:
        """Hand in the results of some trials that one message carried, and ask to run the next ones.

        What `finish` says of each result, and those that may run. The same token asking again gets the same answer.
        """
        args: list[str | float] = [token, worker, int(lease_s * 1000), len(ran)]
        for each in ran:
            result, reason = each.result, encode(each.result.reason[:ERROR_MAX])
            args += [each.number, result.state, encode(dict(result.metrics)), reason]
            args += [round(each.began_ago_s * 1000, 3), round(each.ended_ago_s * 1000, 3)]
        for trial in next_:
            args += trial
        answers, begun = self._run("turn", _x(experiment), *args)
        fields = zip(*[iter(begun)] * 5, strict=True)
        return answers, {
            int(number): Assignment(int(attempt), json.loads(params), int(seed), checkpoint)
            for number, attempt, params, seed, checkpoint in fields
        }

    def interrupt(self, experiment: str, token: str, reason: str, trials: Carried, error: str = "") -> str:
        """The run of trials that one message carried was cut off: hand them all back, none as failed.

        The state of the last one now, or "refused" when none was this token's.
        """
        args: list[str | float] = [token, reason, encode(error[:ERROR_MAX])]
        for trial in trials:
            args += trial
        return str(self._run("interrupt", _x(experiment), *args))

    def beat(self, experiment: str, number: int, token: str, lease_s: float) -> Order:
        """Extend the attempt's lease; what the attempt is to do. With a lease of 0, only ask."""
        return self.beat_all(experiment, [number], token, lease_s)

    def beat_all(self, experiment: str, numbers: Iterable[int], token: str, lease_s: float) -> Order:
        """Extend the leases of those trials that run under a token; what the first of them is to do."""
        return Order(self._run("beat", _x(experiment), token, int(lease_s * 1000), *numbers))

    def report(self, experiment: str, number: int, token: str, step: int, value: float) -> Order:
        """Record the metric at a step, once; what the attempt is to do."""
        return Order(self._run("report", _x(experiment), number, token, step, repr(value)))

    def checkpoint(self, experiment: str, number: int, token: str, key: str) -> Order:
        """Move the trial's pointer to a checkpoint that lies in the archive; what the attempt is to do."""
        return Order(self._run("checkpoint", _x(experiment), number, token, key))

    def release(
        self,
        experiment: str,
        number: int,
        token: str,
        reason: str,
        *,
        failed: bool,
        error: str = "",
        traceback: str = "",
        output: str = "",
        delay_s: float | None = None,
    ) -> str:
        """The attempt ends without a result. The trial's state now, or "refused".

        It waits `delay_s` before the next attempt; None: as long as the experiment's policy says.
        """
        return str(
            self._run(
                "release",
                _x(experiment),
                number,
                token,
                reason,
                int(failed),
                encode(error[:ERROR_MAX]),
                encode(traceback[-TRACEBACK_MAX:]),
                "" if delay_s is None else int(delay_s * 1000),
                encode(output[-OUTPUT_MAX:]),
            )
        )

    def finish(self, experiment: str, number: int, token: str, result: TrialResult) -> str:
        """The attempt has a result: "accepted", "duplicate" (it had ended) or "refused" (another's)."""
        metrics = encode(dict(result.metrics))
        return str(
            self._run(
                "finish",
                _x(experiment),
                number,
                token,
                result.state,
                metrics,
                encode(result.reason[:ERROR_MAX]),
            )
        )

    def expire(self, most: int = 100) -> list[tuple[str, int]]:
        """End attempts whose lease ran out; their experiment and number."""
        reply = self._run("expire", None, most)
        return [(reply[i], int(reply[i + 1])) for i in range(0, len(reply), 2)]

    # The wish to advance

    def want(self, experiment: str) -> None:
        """Ask the control process to advance an experiment."""
        with self._reaching():
            self.client.zadd(f"{ROOT}:wanted", {experiment: 0}, nx=True)

    def wanted(self, timeout_s: float) -> str | None:
        """Take the experiment that has waited longest; None after `timeout_s` without any."""
        with self._reaching():
            popped = self.client.bzpopmin(f"{ROOT}:wanted", timeout_s)
        return popped[1] if popped else None

    # Reading trials

    def trials(self, experiment: str, numbers: Sequence[int]) -> list[Trial]:
        """The trials of those numbers that exist, in the order asked for."""
        records = self._records(experiment, numbers)
        live = self._live(experiment, [number for number in numbers if number not in records])
        # A trial that ended between the two reads is in neither; it is looked up once more.
        records |= self._records(experiment, [n for n in numbers if n not in records and n not in live])
        found = finished_trials(records) | live
        return [found[number] for number in numbers if number in found]

    def finished(self, experiment: str, start: int, stop: int) -> list[Trial]:
        """Entries `start` to `stop` (exclusive) of the log of finished trials, in the order of finishing.

        A trial that was reopened since is missing; it comes again when it ends.
        """
        numbers = self.finishing(experiment, start, stop)
        found = finished_trials(self._records(experiment, numbers))
        return [found[number] for number in numbers if number in found]

    def finishing(self, experiment: str, start: int = 0, stop: int = 0) -> list[int]:
        """Entries of the log of finished trials: numbers in the order of finishing. One that ran again is there again.

        From `start` to `stop` (exclusive; 0: to its end).
        """
        with self._reaching():
            return [int(n) for n in self.client.lrange(f"{_x(experiment)}:log", start, stop - 1)]

    def wait(self, experiment: str, finished: int, limit_s: float) -> None:
        """Return soon after the log of finished trials is no longer `finished` long, or after `limit_s` seconds.

        A look at the log's length is a quarter of the cost of a look at the experiment.
        """
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            with self._reaching():
                if self.client.llen(f"{_x(experiment)}:log") != finished:
                    return
            time.sleep(LOOK_S)

    def stream(self, experiment: str) -> Iterator[Trial]:
        """Every trial there is, in the order of numbers, read in slices."""
        live = self._live_numbers(experiment)
        with self._reaching():
            buckets = {int(b) for b in self.client.zrange(f"{_x(experiment)}:buckets", 0, -1)}
        buckets |= {number // BUCKET for number in live}
        for batch in _batches(sorted(buckets), SLICE // BUCKET):
            yield from self._bucket_trials(experiment, batch, live)

    def page(self, experiment: str, state: TrialState | None = None, offset: int = 0, limit: int = 100) -> list[Trial]:
        """Trials `offset` to `offset + limit` by number; complete ones, when asked for alone, best first."""
        x = _x(experiment)
        if state is None:
            return list(self._slice(experiment, offset, limit))
        if state in (TrialState.QUEUED, TrialState.RUNNING):
            live = self._live(experiment, sorted(self._live_numbers(experiment)))
            return [trial for trial in live.values() if trial.state is state][offset : offset + limit]
        key = f"{x}:rank" if state is TrialState.COMPLETE else f"{x}:in:{state}"
        with self._reaching():
            numbers = [int(n) for n in self.client.zrange(key, offset, offset + limit - 1)]
        return self.trials(experiment, numbers)

    def numbers(self, experiment: str, state: TrialState) -> list[int]:
        """The numbers of the finished trials in a state other than complete."""
        with self._reaching():
            return [int(n) for n in self.client.zrange(f"{_x(experiment)}:in:{state}", 0, -1)]

    def best(self, experiment: str, limit: int = 1) -> list[Trial]:
        """The complete trials with the best metric, the best first."""
        return self.page(experiment, TrialState.COMPLETE, 0, limit)

    def attempts(self, experiment: str, number: int) -> list[Attempt]:
        """The attempts of a trial that ended without a result, the first one first."""
        with self._reaching():
            records = self.client.lrange(f"{_x(experiment)}:attempts:{number}", 0, -1)
        return [ended_attempt(record) for record in records]

    def recoveries(self, experiment: str) -> list[float]:
        """Seconds from the loss of an attempt to the begin of the next, the last 10,000 of them."""
        with self._reaching():
            return [int(ms) / 1000 for ms in self.client.lrange(f"{_x(experiment)}:recoveries", 0, -1)]

    def curve(self, experiment: str, number: int) -> dict[int, float]:
        """The reported values of a trial by step."""
        with self._reaching():
            values = self.client.hgetall(f"{_x(experiment)}:curve:{number}")
        return {int(step): float(values[step]) for step in sorted(values, key=int)}

    def log(self, experiment: str, number: int, line: str) -> None:
        """Keep a line with a trial."""
        x = _x(experiment)
        key = f"{x}:lines:{number}"
        self._pipeline(
            lambda pipe: (
                pipe.rpush(key, line[:ERROR_MAX]).ltrim(key, -LINES_MAX, -1).zadd(f"{x}:logged", {str(number): number})
            )
        )

    def logged(self, experiment: str) -> list[int]:
        """The numbers of the trials that lines are kept with."""
        with self._reaching():
            return [int(n) for n in self.client.zrange(f"{_x(experiment)}:logged", 0, -1)]

    def logs(self, experiment: str, number: int, start: int = 0) -> list[str]:
        """The lines kept with a trial, from line `start` on."""
        with self._reaching():
            return cast("list[str]", self.client.lrange(f"{_x(experiment)}:lines:{number}", start, -1))

    def _records(self, experiment: str, numbers: Sequence[int]) -> dict[int, str]:
        x = _x(experiment)
        buckets: dict[int, list[int]] = {}
        for number in numbers:
            buckets.setdefault(number // BUCKET, []).append(number)

        def calls(pipe: Any) -> None:
            for bucket, inside in buckets.items():
                pipe.hmget(f"{x}:done:{bucket}", inside)

        replies = self._pipeline(calls) if buckets else []
        of_bucket = zip(buckets.values(), replies, strict=True)
        found = {n: record for inside, records in of_bucket for n, record in zip(inside, records, strict=True)}
        return {number: record for number, record in found.items() if record is not None}

    def _live(self, experiment: str, numbers: Sequence[int]) -> dict[int, Trial]:
        x = _x(experiment)

        def calls(pipe: Any) -> None:
            for number in numbers:
                pipe.hmget(f"{x}:t:{number}", LIVE_FIELDS)

        replies = self._pipeline(calls) if numbers else []
        trials = (live_trial(number, values) for number, values in zip(numbers, replies, strict=True))
        return {trial.number: trial for trial in trials if trial is not None}

    def _live_numbers(self, experiment: str) -> set[int]:
        x = _x(experiment)
        lists = self._pipeline(
            lambda pipe: (
                pipe.zrange(f"{x}:fresh", 0, -1)
                .zrange(f"{x}:due", 0, -1)
                .zrange(f"{x}:published", 0, -1)
                .zrange(f"{x}:running", 0, -1)
            )
        )
        return {int(n) for numbers in lists for n in numbers}

    def _bucket_trials(self, experiment: str, buckets: Sequence[int], live: set[int]) -> Iterator[Trial]:
        x = _x(experiment)
        replies = self._pipeline(lambda pipe: [pipe.hgetall(f"{x}:done:{bucket}") for bucket in buckets])
        records = {int(n): record for reply in replies for n, record in reply.items()}
        wanted = set(buckets)
        alive = self._live(experiment, [n for n in live if n // BUCKET in wanted and n not in records])
        # A trial that ended between the two reads is in neither; it is looked up once more.
        missed = [n for n in live if n // BUCKET in wanted and n not in records and n not in alive]
        records |= self._records(experiment, missed)
        found = {**alive, **finished_trials(records)}
        yield from (found[number] for number in sorted(found))

    def _slice(self, experiment: str, offset: int, limit: int) -> Iterator[Trial]:
        """Like `stream`, but buckets before `offset` are counted, not read."""
        x = _x(experiment)
        live = self._live_numbers(experiment)
        with self._reaching():
            stored = [int(b) for b in self.client.zrange(f"{x}:buckets", 0, -1)]
        sizes = (
            dict(zip(stored, self._pipeline(lambda p: [p.hlen(f"{x}:done:{b}") for b in stored]), strict=True))
            if stored
            else {}
        )
        for number in live:
            sizes[number // BUCKET] = sizes.get(number // BUCKET, 0) + 1
        for bucket in sorted(sizes):
            if offset >= sizes[bucket]:
                offset -= sizes[bucket]
                continue
            for trial in list(self._bucket_trials(experiment, [bucket], live))[offset:]:
                if limit <= 0:
                    return
                yield trial
                limit -= 1
            offset = 0

    # The archive's place in the log

    def set_archived(self, experiment: str, position: int, *, if_was: int) -> bool:
        """Move the mark up to which the log lies in the archive's parts. False when another did."""
        return self._mark(experiment, "archived", position, if_was)

    def set_consolidated(self, experiment: str, finished: int, *, if_was: int) -> bool:
        """Note that the archive's final files cover `finished` entries of the log. False when another did."""
        return self._mark(experiment, "consolidated", finished, if_was)

    def hold(self, experiment: str, holder: str, lease_s: float) -> bool:
        """Take, or keep, the claim to archive an experiment. False while another holds it."""
        return bool(self._run("hold", _x(experiment), holder, int(lease_s * 1000)))

    def let_go(self, experiment: str, holder: str) -> None:
        """Give the claim back, if it is this holder's."""
        self._run("hold", _x(experiment), holder, 0)

    def _mark(self, experiment: str, field: str, value: int, if_was: int) -> bool:
        return bool(self._run("mark", _x(experiment), field, value, if_was))

    # What the archive alone has

    def forget(self, experiment: str, most: int = 250) -> int:
        """Give up records that lie in the archive's parts, if the experiment's spec says so (see forget.lua).

        How many entries of the log were passed; 0 when there is no more to pass.
        """
        return int(self._run("forget", _x(experiment), most, RECENT_KEPT, BEST_KEPT, FIRST_KEPT))

    def forgotten(self, experiment: str) -> int:
        """How many entries of the log were passed in giving up records."""
        with self._reaching():
            return int(self.client.hget(_x(experiment), "forgotten") or 0)

    def only_archived(self, experiment: str, numbers: Sequence[int]) -> list[int]:
        """Those of the trials whose records were given up."""
        x = _x(experiment)

        def calls(pipe: Any) -> None:
            for number in numbers:
                chunk, place = divmod(number, FORGOTTEN_TOGETHER)
                pipe.getbit(f"{x}:forgotten:{chunk}", place)

        bits = self._pipeline(calls) if numbers else []
        return [number for number, bit in zip(numbers, bits, strict=True) if bit]

    # What there is to do

    def backlog(self) -> dict[str, Backlog]:
        """What waits and runs, by resource class; classes that only have workers are there too.

        One round trip over the experiments that are not over, whatever their size.
        """
        ids = self.active()
        fields = (
            "class", "state", "ending", "max_parallel", "n:queued", "n:running", "exhausted", "end", "next", "created",
            "max_trials",
        )  # fmt: skip

        def calls(pipe: Any) -> None:
            for id_ in ids:
                pipe.hmget(_x(id_), fields)
            pipe.hvals(f"{ROOT}:workers")

        *records, workers = self._pipeline(calls)
        found = {str(json.loads(facts).get("class", "")): Backlog() for facts in workers}
        for values in records:
            record = {name: value for name, value in zip(fields, values, strict=True) if value}
            if "class" in record:  # not removed meanwhile
                found[record["class"]] = found.get(record["class"], Backlog()) + Backlog.of(record)
        return found

    def oldest_queued_ages(self) -> dict[str, float]:
        """By resource class: seconds since the oldest published trial that has not begun was published."""
        now_ms, ids = self._now_ms(), self.active()
        replies = self._pipeline(
            lambda pipe: [pipe.hget(_x(id_), "class").zrange(f"{_x(id_)}:published", 0, 0) for id_ in ids]
        )
        oldest = [(class_, id_, n[0]) for class_, id_, n in zip(replies[::2], ids, replies[1::2], strict=True) if n]
        times = self._pipeline(lambda pipe: [pipe.hget(f"{_x(id_)}:t:{n}", "pub") for _, id_, n in oldest])
        ages: dict[str, float] = {}
        for (class_, _, _), published_ms in zip(oldest, times, strict=True):
            if published_ms and class_:
                ages[class_] = max(ages.get(class_, 0.0), (now_ms - int(published_ms)) / 1000)
        return ages

    def times(self, resource_class: str) -> dict[str, int]:
        """How long finished trials ran and waited: the histogram of a class (see prelude.lua and TIMES_S)."""
        with self._reaching():
            counts = self.client.hgetall(f"{ROOT}:times:{resource_class}")
        return {name: int(count) for name, count in counts.items()}

    def recovered_total(self) -> int:
        """How many published messages were found lost and published again, ever."""
        with self._reaching():
            return int(self.client.hget(f"{ROOT}:totals", "recovered") or 0)

    # Workers

    def worker_beat(self, name: str, facts: Mapping[str, Any], ttl_s: float) -> None:
        """Note that a worker lives. `facts` has its `class`, and `idle_s` while its queue is empty."""
        now_ms = self._now_ms()
        class_ = facts.get("class", "")
        idle_s = facts.get("idle_s")

        def calls(pipe: Any) -> None:
            pipe.hset(f"{ROOT}:workers", name, json.dumps(dict(facts)))
            pipe.zadd(f"{ROOT}:workers:seen", {name: now_ms + int(ttl_s * 1000)})
            pipe.zadd(f"{ROOT}:workers:{class_}", {name: now_ms + int(ttl_s * 1000)})
            if idle_s is None:
                pipe.zrem(f"{ROOT}:idle:{class_}", name).zrem(f"{ROOT}:idle:{class_}:seen", name)
            else:
                pipe.zadd(f"{ROOT}:idle:{class_}", {name: now_ms - int(idle_s * 1000)})
                pipe.zadd(f"{ROOT}:idle:{class_}:seen", {name: now_ms})

        self._pipeline(calls)

    def worker_gone(self, name: str, resource_class: str) -> None:
        """Forget a worker that ends in good order."""

        def calls(pipe: Any) -> None:
            pipe.hdel(f"{ROOT}:workers", name)
            class_keys = (f"workers:{resource_class}", f"idle:{resource_class}", f"idle:{resource_class}:seen")
            for key in ("workers:seen", *class_keys):
                pipe.zrem(f"{ROOT}:{key}", name)

        self._pipeline(calls)

    def workers(self) -> list[WorkerInfo]:
        """The workers that live, by name. Those that stopped beating are forgotten."""
        now_ms = self._now_ms()
        with self._reaching():
            gone = cast("list[str]", self.client.zrangebyscore(f"{ROOT}:workers:seen", "-inf", now_ms))
            facts = cast("dict[str, str]", self.client.hgetall(f"{ROOT}:workers"))
        for name in gone:
            self.worker_gone(name, json.loads(facts.pop(name, "{}")).get("class", ""))
        return [WorkerInfo(name, json.loads(facts[name])) for name in sorted(facts)]

    def live_workers(self, resource_class: str) -> int:
        """How many workers of a class live."""
        now_ms = self._now_ms()
        with self._reaching():
            return int(self.client.zcount(f"{ROOT}:workers:{resource_class}", now_ms, "+inf"))

    def is_shared(self, experiment: Experiment) -> bool:
        """Whether other experiments have trials for the workers of its class, too."""
        with self._reaching():
            sharers = self.client.zrange(f"{ROOT}:sharing:{experiment.resource_class}", 0, 1)
        return any(id_ != experiment.id for id_ in sharers)

    def idle_seen_ago(self, resource_class: str, idle_s: float) -> float | None:
        """Seconds since a worker of the class last said that it had found its queue empty for `idle_s`; None: none did.

        What was published `idle_s` before that was not in the queue then. It tells nothing of later messages: a worker
        that took one a moment ago says so at its next beat.
        """
        now_ms, key = self._now_ms(), f"{ROOT}:idle:{resource_class}"
        with self._reaching():
            seen = self.client.zrevrange(f"{key}:seen", 0, LAST_SEEN - 1, withscores=True)
            since = self.client.zmscore(key, [name for name, _ in seen]) if seen else []
        proofs = [at for (_, at), start in zip(seen, since, strict=True) if start and start <= at - idle_s * 1000]
        return max(0.0, (now_ms - max(proofs)) / 1000) if proofs else None

    def _now_ms(self) -> int:
        with self._reaching():
            seconds, microseconds = self.client.time()
        return int(seconds * 1000 + microseconds // 1000)


def _then(on_connect: Callable[[], None]) -> Callable[[Any], None]:
    def connect(connection: Any) -> None:
        connection.on_connect()
        on_connect()

    return connect


def is_experiment_id(text: str) -> bool:
    """Whether a text may be an experiment's id: it is part of keys, of paths, and of what is logged."""
    return ID.fullmatch(text) is not None and ".." not in text


def _x(experiment: str) -> str:
    return f"{ROOT}:x:{experiment}"


def _waiting_trial(trial: NewTrial) -> tuple[str | float, ...]:
    """A trial that is to run, as reserve.lua takes it."""
    cost = "" if trial.cost is None else repr(trial.cost)
    return trial.number, encode(trial.params), digest(trial.params), trial.seed, cost, _origin(trial.origin)


def _reused_trial(trial: NewTrial, earlier: ReusedResult) -> tuple[str | float, ...]:
    """A trial that takes a result over, as reserve.lua takes it."""
    own = (trial.number, encode(trial.params), trial.seed, _origin(trial.origin))
    origin = _origin({**trial.origin, REUSED_FROM: earlier.ran})
    curve = f"{_x(earlier.experiment)}:curve:{earlier.number}"
    return *own, earlier.state, earlier.metrics, earlier.reason, origin, curve, int(earlier.enters_rungs)


def _origin(origin: Mapping[str, Any]) -> str:
    return encode(origin) if origin else ""


def _batches(items: Iterable[int], size: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
