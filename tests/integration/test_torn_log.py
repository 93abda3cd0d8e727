"""A server that is cut off amid the effects of a script: what it reads later is what it had."""

from __future__ import annotations

import pytest

from optml_queue.store import Assignment, NewTrial, Store, Submission
from optml_queue.trial import TrialResult, TrialState, digest
from tests.valkey_server import ValkeyServer, valkey_server

pytestmark = pytest.mark.integration

X = "torn-abcde"
DONE = TrialResult(TrialState.COMPLETE, {"nmse": 0.5})


def wait_for_rewrite(server: ValkeyServer) -> None:
    with server.client() as client:
        while client.info("persistence")["aof_rewrite_in_progress"]:
            continue


def test_half_a_transaction_in_the_servers_file_is_not_continued_later() -> None:
    with valkey_server() as server:
        store = Store.from_url(server.url, retries=20)
        store.create(X, Submission("torn", "{}", 2, "nmse", "minimize", "default"))
        store.reserve(X, 0, 2, [NewTrial(n, {"rate": n}, 0) for n in range(2)], exhausted=True)
        tokens = {}
        for publication in store.claim(store.experiment(X), 2, 2):
            n, token = publication.number, f"token-{publication.number}"
            given = store.begin(X, n, publication.generation, digest(publication.params), token, "w1", 30.0)
            assert isinstance(given, Assignment)
            tokens[n] = token
        assert store.finish(X, 0, tokens[0], DONE) == "accepted"
        # The file ends in the midst of what `finish` did: its worker says it again.
        server.crash(forgotten_bytes=60)
        server.start()
        assert store.rewrite_log()
        wait_for_rewrite(server)
        assert [store.finish(X, n, tokens[n], DONE) for n in tokens] == ["accepted", "accepted"]
        before = store.experiment(X)
        server.kill()
        server.start()
        found = store.experiment(X)
        assert (found, found.finished, found.counts[TrialState.RUNNING]) == (before, 2, 0)
        store.close()
