"""/api/v1/experiments against a real store."""

from __future__ import annotations

import httpx
import pytest

from optml_queue.store import Store
from tests.api.installations import carried_out, submitted

pytestmark = pytest.mark.integration

EXPERIMENTS = "/api/v1/experiments"


def test_an_experiment_from_its_spec_to_its_end(operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    assert carried_out(store, id_) == 4
    shown = operator.get(f"{EXPERIMENTS}/latest").json()
    assert (shown["experiment"], shown["state"], shown["counts"]["complete"]) == (id_, "complete", 4)
    assert shown["best"]["number"] == 3
    assert shown["best"]["metrics"] == {"nmse": 0.25}
