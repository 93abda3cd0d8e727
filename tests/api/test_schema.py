"""The OpenAPI document is true: requests made up from it get answers that it describes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.generation import GenerationMode

from optml_queue.api import create_app
from optml_queue.settings import Settings
from optml_queue.store import Store
from tests.api.installations import carried_out, submitted

pytestmark = pytest.mark.integration

EXAMPLES = 15
DOCUMENT: dict[str, Any] = create_app(Settings(broker_url="redis://127.0.0.1:1/0")).openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_every_operation_is_described() -> None:
    assert len(OPERATIONS) > 25
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        assert operation["tags"]
        assert "4XX" in operation["responses"]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_does_as_it_says(
    operator: httpx.Client, store: Store, path: str, method: str, mode: GenerationMode
) -> None:
    carried_out(store, submitted(operator), "cdf")
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=str(operator.base_url))
    headers = {"Authorization": operator.headers["Authorization"]}

    @seed(1)
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        if path == "/session":
            headers["Sec-Fetch-Site"] = "same-origin"
        case.call_and_validate(headers=headers, timeout=10)

    holds()
