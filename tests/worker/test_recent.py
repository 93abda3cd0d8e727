"""Results that a restarted server forgot are said again."""

import time

import pytest

from optml_queue.errors import UnreachableError
from optml_queue.trial import TrialResult, TrialState
from optml_queue.worker import recent
from optml_queue.worker.recent import Finished, RecentResults

RESULT = TrialResult(TrialState.COMPLETE, {"nmse": 0.5})


class Server:
    """A store that can restart, forget and be away."""

    def __init__(self) -> None:
        self.run_id = "first"
        self.results: dict[int, str] = {}
        self.is_away = False

    def server_run_id(self) -> str:
        if self.is_away:
            raise UnreachableError("the store", "redis://host", "gone")
        return self.run_id

    def finish(self, _experiment: str, number: int, token: str, _result: TrialResult) -> str:
        if number in self.results:
            return "duplicate"
        self.results[number] = token
        return "accepted"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def results(server: Server, monkeypatch: pytest.MonkeyPatch) -> RecentResults:
    monkeypatch.setattr(recent, "LOOK_S", 3600.0)  # the thread sleeps; the tests look
    results = RecentResults(server)
    results.watch()
    return results


def finish(server: Server, results: RecentResults, number: int) -> None:
    server.finish("e", number, f"token-{number}", RESULT)
    results.keep(Finished("e", number, f"token-{number}", RESULT))


def test_nothing_is_said_again_while_the_server_stays(server: Server, results: RecentResults) -> None:
    finish(server, results, 1)
    server.results.clear()
    assert results.look() == 0
    assert server.results == {}


def test_only_what_a_restart_forgot_is_said_again(server: Server, results: RecentResults) -> None:
    for number in (1, 2, 3):
        finish(server, results, number)
    del server.results[2]
    del server.results[3]
    server.run_id = "second"
    assert results.look() == 2
    assert server.results == {1: "token-1", 2: "token-2", 3: "token-3"}
    assert results.look() == 0


def test_while_the_server_is_away_results_are_kept(
    server: Server, results: RecentResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(server, results, 1)
    server.is_away = True
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1000)
    with pytest.raises(UnreachableError):
        results.look()
    server.is_away, server.run_id = False, "second"
    server.results.clear()
    assert results.look() == 1


def test_old_results_are_forgotten(server: Server, results: RecentResults, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(server, results, 1)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + recent.KEPT_S + 1)
    results.look()
    server.results.clear()
    server.run_id = "second"
    assert results.look() == 0
