"""The routes, one noun a file."""

from optml_queue.api.routes import (
    algorithms,
    backlog,
    control,
    data,
    docs,
    events,
    experiments,
    health,
    metrics,
    plots,
    programs,
    results,
    session,
    trials,
    validation,
    workers,
)

ROUTERS = (
    experiments.router,
    control.router,
    trials.router,
    results.router,
    plots.router,
    events.router,
    algorithms.router,
    validation.router,
    data.router,
    programs.router,
    workers.router,
    backlog.router,
    session.router,
    health.router,
    metrics.router,
    docs.router,
)
