"""The OpenAPI document is true: requests made up from it get answers that it describes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from optml_queue.api import create_app
from optml_queue.api.installation import Installation
from optml_queue.settings import Settings
from tests.api.installations import carried_out, submitted

pytestmark = pytest.mark.integration

EXAMPLES = 8
DOCUMENT: dict[str, Any] = create_app(Settings(broker_url="redis://127.0.0.1:1/0")).openapi()
# No schema tells a spec from another text, nor a tar archive from other bytes, nor which parameters an experiment has.
FREE_TEXT = (
    "/api/v1/experiments",
    "/api/v1/validation",
    "/api/v1/programs",
    "/api/v1/experiments/{id}/extend",
    "/api/v1/experiments/{id}/trials",
    "/api/v1/experiments/{id}/plots/contour",
)
UNTOLD: list[Any] = [positive_data_acceptance]
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
# Nothing can be wrong with a request that has neither parameters nor a body.
CASES = [
    (path, method, mode)
    for path, method in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & DOCUMENT["paths"][path][method].keys()
]


def test_every_operation_is_described() -> None:
    assert len(OPERATIONS) > 25
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        assert operation["tags"]
        assert "4XX" in operation["responses"]


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_every_operation_does_as_it_says(
    operator: httpx.Client,
    here: Installation,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    method: str,
    mode: GenerationMode,
) -> None:
    monkeypatch.setattr(here, "settings", here.settings.model_copy(update={"allow_programs": True}))
    carried_out(here.store, submitted(operator), "cdf")
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=str(operator.base_url))
    headers = {"Authorization": operator.headers["Authorization"]}

    @seed(1)
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case[Any]) -> None:
        assume(len(repr(case.query)) < 1_000)  # longer addresses are refused as such
        if path == "/session":
            headers["Sec-Fetch-Site"] = "same-origin"
        case.call_and_validate(headers=headers, timeout=10, excluded_checks=UNTOLD if path in FREE_TEXT else [])

    holds()
