"""Celery as people set it up, doing our store's writes: the baseline of `peers.py`.

Stock prefork pool and kombu's own transport; late acknowledgement, so that a killed worker's message comes again.
No heartbeat, no archive, no control process: what a team writes in an afternoon, and so the least that it costs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from celery import Celery

from benchmarks.peer_work import evaluate
from optml_queue.store import Declined, Store
from optml_queue.trial import TrialResult, TrialState, digest

URL_VARIABLE = "STOCK_CELERY_URL"
LEASE_S = 3_600.0

app = Celery("stock", broker=os.environ.get(URL_VARIABLE, "redis://127.0.0.1/0"))
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_hijack_root_logger=False)


@lru_cache(maxsize=1)
def _store() -> Store:
    return Store.from_url(os.environ[URL_VARIABLE])


@app.task(name="stock.trial", bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def trial(self: Any, experiment: str, number: int, params: Mapping[str, Any], generation: int, metric: str) -> None:
    """Begin, work, finish."""
    store, token = _store(), f"{self.request.id}/{os.getpid()}"
    answer = store.begin(experiment, number, generation, digest(params), token, self.request.hostname, LEASE_S)
    if not isinstance(answer, Declined):
        store.finish(experiment, number, token, TrialResult(TrialState.COMPLETE, {metric: evaluate(answer.params)}))
