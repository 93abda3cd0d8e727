"""Every few seconds something is killed, frozen, lost or repeated: what, and when, comes from a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.cluster import Cluster
from tests.faults.verdict import QUEUE
from tests.processes import children_of
from tests.valkey_server import ValkeyServer

PAUSE_S = (1.0, 4.0)  # between two faults, the shortest and the longest
FREEZE_S = 3.0  # longer than the lease
AWAY_S = 2.0  # the longest that the server is away
FORGOTTEN_BYTES = 20_000  # of the append-only file: less than its last second


@dataclass(frozen=True)
class Fault:
    """One that happened, and how long after it was over a trial ended again."""

    name: str
    recovered_after_s: float


class Havoc:
    """Disturbs workers and their server until an experiment is over."""

    def __init__(self, workers: Cluster, server: ValkeyServer, seed: int) -> None:
        self.faults: list[Fault] = []
        self._workers = workers
        self._server = server
        self._chance = random.Random(seed)

    def wreak(self, experiment: str) -> None:
        """One fault after another, until the experiment is over."""
        kinds: list[Callable[[], None]] = [
            self.kill_a_child,
            self.kill_a_worker,
            self.kill_the_control_process,
            self.kill_the_supervisor,
            self.kill_everything,
            self.stop_the_supervisor,
            self.freeze_a_worker,
            self.kill_the_server,
            self.crash_the_server,
            self.delete_the_messages,
            self.repeat_the_messages,
        ]
        waiting: list[Callable[[], None]] = []
        while not self._over_within(experiment, self._chance.uniform(*PAUSE_S)):
            # Each kind once before any comes again, in an order of their own every time.
            waiting = waiting or self._chance.sample(kinds, len(kinds))
            self.once(waiting.pop(), experiment)

    def once(self, fault: Callable[[], None], experiment: str) -> None:
        """One fault, and the time until a trial ended again."""
        fault()
        name = fault.__name__.replace("_", " ")
        self.faults.append(Fault(name, self._recovery_s(experiment, name)))

    def report(self) -> str:
        """A line for each kind of fault: how often, and the times until a trial ended again."""
        lines = [f"{'fault':<26} {'times':>5} {'recovery median':>16} {'longest':>9}"]
        for name, times in sorted(Counter(fault.name for fault in self.faults).items()):
            took_s = sorted(fault.recovered_after_s for fault in self.faults if fault.name == name)
            lines.append(f"{name:<26} {times:>5} {took_s[times // 2]:>14.1f} s {took_s[-1]:>7.1f} s")
        return "\n".join(lines)

    def _over_within(self, experiment: str, limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self._workers.store.experiment(experiment).is_over:
                return True
            time.sleep(0.1)
        return False

    def _recovery_s(self, experiment: str, fault: str) -> float:
        began, before = time.monotonic(), self._workers.store.experiment(experiment).finished

        def goes_on() -> bool:
            found = self._workers.store.experiment(experiment)
            return found.is_over or found.finished > before

        self._workers.until(goes_on, f"trial that ends after '{fault}'", limit_s=60)
        return time.monotonic() - began

    # The faults

    def kill_a_child(self) -> None:
        for child in children_of(self._main()):
            _signal(child, signal.SIGKILL)

    def kill_a_worker(self) -> None:
        _signal(self._main(), signal.SIGKILL)

    def kill_the_control_process(self) -> None:
        assert self._workers.process is not None
        mains = set(self._workers.mains().values())
        for pid in set(children_of(self._workers.process.pid)) - mains:
            _signal(pid, signal.SIGKILL)

    def kill_the_supervisor(self) -> None:
        self._workers.kill()
        self._workers.start()

    def kill_everything(self) -> None:
        self._workers.kill(everything=True)
        self._workers.start()

    def stop_the_supervisor(self) -> None:
        self._workers.stop()
        self._workers.start()

    def freeze_a_worker(self) -> None:
        main = self._main()
        family = [main, *children_of(main)]
        for pid in family:
            _signal(pid, signal.SIGSTOP)
        time.sleep(FREEZE_S)
        for pid in family:
            _signal(pid, signal.SIGCONT)

    def kill_the_server(self) -> None:
        self._server.kill()
        time.sleep(self._chance.uniform(0.0, AWAY_S))
        self._server.start()

    def crash_the_server(self) -> None:
        self._server.crash(FORGOTTEN_BYTES)
        time.sleep(self._chance.uniform(0.0, AWAY_S))
        self._server.start()

    def delete_the_messages(self) -> None:
        self._workers.store.client.delete(QUEUE)

    def repeat_the_messages(self) -> None:
        client = self._workers.store.client
        messages = client.lrange(QUEUE, 0, -1)
        if messages:
            client.rpush(QUEUE, *messages)

    def _main(self) -> int:
        """The main process of one of the workers that run now."""
        assert self._workers.process is not None
        running = set(children_of(self._workers.process.pid))
        self._workers.until(lambda: running & set(self._workers.mains().values()) != set(), "worker")
        return self._chance.choice(sorted(running & set(self._workers.mains().values())))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
