"""The application: routes behind a gate. `uvicorn optml_queue.api:create_app --factory` serves it.

It schedules nothing: it writes to the store, and the control process advances what wants it. So any number of
processes may serve the same installation, and none is missed when it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from optml_queue import __version__
from optml_queue.api import access, limits
from optml_queue.api.installation import Installation
from optml_queue.api.page import add_page
from optml_queue.api.page.failures import refuse
from optml_queue.api.problems import RESPONSES, Problem, tell_problems
from optml_queue.api.routes import ROUTERS
from optml_queue.retention import RetainingStore
from optml_queue.settings import Settings, read_settings

DESCRIPTION = """Experiments, trials and workers of an OptML Queue installation.

Every request carries `Authorization: Bearer TOKEN`; `optml token create` makes one. Errors are problem documents
(RFC 9457). Times are seconds since the epoch, UTC; durations are seconds."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for an installation: by default, the one that the environment (OPTML_*) names.

    Connects to nothing yet. Raises SettingsError when no store is set.
    """
    configured = settings or read_settings()
    installation = Installation(configured, RetainingStore.beside(configured.archive, configured.store, retries=1))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await installation.feeds.close()
        installation.shelf.close()
        installation.store.close()

    app = FastAPI(
        title="OptML Queue",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=RESPONSES,
        redoc_url=None,
        docs_url=None,
    )
    app.state.installation = installation
    for router in ROUTERS:
        app.include_router(router)
    tell_problems(app)
    add_page(app)
    _describe(app)
    # The last one added is the first to see a request.
    rate = configured.api_requests_per_minute
    app.add_middleware(access.Gate, tokens=installation.tokens, requests_per_minute=rate, refuse=refuse)
    app.add_middleware(limits.BodyLimit, upload_bytes=configured.api_upload_mb << 20)
    app.add_middleware(limits.LastResort)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: how one signs in, and what a problem looks like."""
    plain = app.openapi

    def described() -> dict[str, object]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            reference = "#/components/schemas/{model}"
            problem = Problem.model_json_schema(ref_template=reference)
            schemas = components.setdefault("schemas", {})
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    operation["responses"].pop("422", None)  # part of 4XX, and a problem like the others
                    if path in access.OPEN:
                        operation["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
