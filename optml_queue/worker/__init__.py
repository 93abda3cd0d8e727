"""Workers: the Celery application (`celery -A optml_queue.worker worker`), its task, the processes around it."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Late, because making it reads the environment: who only wants a module of this package needs no broker.
    if name == "app":
        from optml_queue.worker.application import default_app

        return default_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
