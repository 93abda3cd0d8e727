"""The network between workers and their server is cut: packets vanish, and no end of a connection is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import cluster
from tests.faults.test_delivery import grid
from tests.faults.verdict import assert_queue_empties, assert_undisturbed, serial_results
from tests.tcp_proxy import tcp_proxy
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.faults

# The lease outlasts the cut.
TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "6", "OPTML_VISIBILITY_S": "6", "OPTML_GRACE_S": "2"}
NOTICE_S = 8.0  # the next regular task comes within two seconds, and waits for a fifth of the visibility


def test_workers_behind_a_cut_network_notice_it_and_take_up_work_when_it_is_back(tmp_path: Path) -> None:
    with valkey_server() as server, tcp_proxy(server.port) as network:
        environment = {"OPTML_BROKER_URL": network.url(server.url), **TIMES}
        with cluster(environment, tmp_path, 2, server.url) as workers:
            mains = workers.mains()
            running = workers.submit(grid(1, f"  sleep_s: {{value: 2.5}}\n  marks: {{value: {tmp_path}}}"))
            workers.marked(tmp_path, "0.1")
            network.cut()
            waiting = workers.submit(grid(12))
            workers.until(lambda: workers.log.read_text().count("Connection to broker lost") == 2, "notice", NOTICE_S)
            assert workers.log.read_text().count("heartbeat: the store") == 2, "each says it once"
            network.mend()
            assert_undisturbed(workers, running, serial_results(workers.spec(grid(1))))
            assert_undisturbed(workers, waiting, serial_results(workers.spec(grid(12))))
            assert_queue_empties(workers, workers.store.client)
            assert [trial.attempts for trial in workers.trials(running)] == [1], "its lease outlasted the cut"
            assert workers.mains() == mains
