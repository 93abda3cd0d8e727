"""Who waits for a sampler, and who does not."""

from __future__ import annotations

import threading
from collections import Counter
from queue import SimpleQueue
from typing import Any

import pytest

from optml_queue import experiments
from optml_queue.errors import InputError
from optml_queue.worker.suggesters import THREADS, Suggesters

LIMIT_S = 10.0


class Thinking:
    """Stands for `experiments.suggest`: an experiment called "slow…" thinks until it is let go."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.go = threading.Semaphore(0)
        self.left = Counter[str]()

    def suggest(self, _store: object, experiment: str, _archive: object) -> bool:
        self.begun.put(experiment)
        if experiment.startswith("slow"):
            assert self.go.acquire(timeout=LIMIT_S)
        if experiment == "broken":
            raise InputError("method: tpe needs optuna, not installed here")
        self.left[experiment] -= 1
        return self.left[experiment] >= 0


class Wishes:
    """Stands for the store: who is to be advanced."""

    def __init__(self) -> None:
        self.wanted: SimpleQueue[str] = SimpleQueue()

    def want(self, experiment: str) -> None:
        self.wanted.put(experiment)


@pytest.fixture
def thinking(monkeypatch: pytest.MonkeyPatch) -> Thinking:
    found = Thinking()
    monkeypatch.setattr(experiments, "suggest", found.suggest)
    return found


def suggesters() -> tuple[Suggesters, Wishes]:
    store: Any = Wishes()
    no_archive: Any = object()
    return Suggesters(store, lambda: no_archive), store


def test_who_has_a_slow_sampler_waits_alone(thinking: Thinking) -> None:
    threads, store = suggesters()
    thinking.left.update({"slow": 1, "quick": 2})
    threads.ask("slow")
    assert thinking.begun.get(timeout=LIMIT_S) == "slow"
    threads.ask("quick")
    assert [store.wanted.get(timeout=LIMIT_S) for _ in range(2)] == ["quick", "quick"]
    thinking.go.release(2)
    assert store.wanted.get(timeout=LIMIT_S) == "slow"


def test_wishes_that_come_while_it_thinks_become_one(thinking: Thinking) -> None:
    threads, _ = suggesters()
    for _ in range(5):
        threads.ask("slow")
    thinking.go.release(10)
    threads_done = [thinking.begun.get(timeout=LIMIT_S) for _ in range(2)]
    assert threads_done == ["slow", "slow"]
    threads.ask("end")
    assert thinking.begun.get(timeout=LIMIT_S) == "end"


def test_a_fault_ends_no_thread(thinking: Thinking, caplog: pytest.LogCaptureFixture) -> None:
    threads, store = suggesters()
    thinking.left["able"] = 1
    for _ in range(THREADS + 1):
        threads.ask("broken")
        assert thinking.begun.get(timeout=LIMIT_S) == "broken"
    threads.ask("able")
    assert store.wanted.get(timeout=LIMIT_S) == "able"
    assert "needs optuna" in caplog.text
