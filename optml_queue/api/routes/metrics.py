"""/metrics: the installation in figures, for Prometheus. Read from the store at each scrape: any replica can tell."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from optml_queue.api.figures import Figures
from optml_queue.api.installation import Here

router = APIRouter(tags=["health"])


class Exposition(Response):
    """Prometheus' text format."""

    media_type = "text/plain"


@router.get("/metrics", response_class=Exposition)
def metrics(here: Here) -> Response:
    """Show the installation's figures in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(here.store))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
