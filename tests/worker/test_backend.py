"""Trials as Celery's result documents."""

import pytest

from optml_queue.trial import Trial, TrialState
from optml_queue.worker.backend import STATES, TrialFailedError, meta


def test_every_state_of_a_trial_has_one_of_celerys() -> None:
    assert set(STATES) == set(TrialState)


def test_a_complete_trial_shows_its_metrics() -> None:
    trial = Trial(3, TrialState.COMPLETE, {"rate": 0.1}, 0, {"nmse": 0.25})
    assert meta("e.3.1", trial) == {
        "task_id": "e.3.1",
        "status": "SUCCESS",
        "result": {"state": "complete", "metrics": {"nmse": 0.25}},
        "traceback": None,
    }


@pytest.mark.parametrize(("state", "status"), [(TrialState.FAILED, "FAILURE"), (TrialState.CANCELLED, "REVOKED")])
def test_a_trial_without_a_result_shows_why(state: TrialState, status: str) -> None:
    document = meta("e.3.1", Trial(3, state, {}, 0, reason="error", error="ValueError: no"))
    assert document["status"] == status
    assert isinstance(document["result"], TrialFailedError)
    assert str(document["result"]) == "ValueError: no"


def test_an_unknown_trial_is_pending() -> None:
    assert meta("e.3.1", None)["status"] == "PENDING"
