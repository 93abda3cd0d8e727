"""The page's routes, in the order in which they are asked."""

from __future__ import annotations

from fastapi import FastAPI

from optml_queue.api.page import assets, control, drafts, experiments, pictures, session, trials, workers
from optml_queue.api.page.failures import show_failures

ROUTERS = (
    assets.router,
    session.router,
    workers.router,
    drafts.router,  # before experiments: /experiments/new is none
    trials.router,
    pictures.router,
    experiments.router,
    control.router,  # last: it takes any verb
)


def add_page(app: FastAPI) -> None:
    """Give an application the page."""
    for router in ROUTERS:
        app.include_router(router)
    show_failures(app)
