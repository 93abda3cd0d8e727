"""The verbs about workers and servers: worker, controller, workers, up, down."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from optml_queue.cli import options, units

if TYPE_CHECKING:
    from optml_queue.store import WorkerInfo


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LogLevel(StrEnum):
    """How much a worker says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Level = Annotated[
    LogLevel, typer.Option("--log-level", help="How much to say.", rich_help_panel=options.OUTPUT, case_sensitive=False)
]


Check = Annotated[
    bool,
    typer.Option("--check", help="Start nothing: say in a line whether those that run here are well, or exit with 1."),
]


def worker(
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            metavar="N",
            min=1,
            max=1024,
            help="Workers to run (default: one per core).",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="Run the control process beside the workers, or not.")
    ] = True,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Take trials of this resource class only (default: OPTML_RESOURCE_CLASS); repeatable, best first.",
            show_default=False,
        ),
    ] = None,
    check: Check = False,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Run workers and the control process in the foreground, and start again those that end.

    Broker, store and archive come from OPTML_BROKER_URL, OPTML_STORE_URL and OPTML_ARCHIVE_URL. SIGTERM hands
    running trials that keep checkpoints back to the queue at once, and others when they have not finished within
    OPTML_GRACE_S. Users' programs and commands run only where OPTML_ALLOW_PROGRAMS is true.

    --check is for liveness probes in the same container. Workers are well while they train, however long, and while
    they look for a broker or store that is away; they are not when one stands still.

    Examples
      OPTML_BROKER_URL=redis://host:6379/0 optml worker
      optml worker --processes 1 --no-control     where optml controller runs elsewhere
      optml worker --processes 4 --class gpu
      optml worker --check
    """
    if check:
        _check(workers=True)
    from optml_queue.worker.supervisor import supervise

    raise typer.Exit(supervise(processes or cores(), classes or (), control=control, level=severity(log_level)))


def controller(check: Check = False, log_level: Level = LogLevel.INFO) -> None:
    """Run the control process alone: it publishes trials, ends lost attempts and writes the archive.

    Every optml worker has one; a cluster whose workers come and go keeps one of its own.

    Examples
      OPTML_BROKER_URL=redis://host:6379/0 optml controller
      optml controller --check
    """
    if check:
        _check(workers=False)
    from optml_queue.worker.supervisor import supervise

    raise typer.Exit(supervise(0, level=severity(log_level)))


def _check(*, workers: bool) -> NoReturn:
    """The probe's line, and its verdict as the exit code."""
    from optml_queue.settings import settings
    from optml_queue.worker import probe

    health = probe.check(settings().cache_dir, workers=workers)
    typer.echo(health.said)
    raise typer.Exit(0 if health.is_healthy else 1)


def severity(level: LogLevel) -> int:
    """The level as Python's logging counts it."""
    return logging.getLevelNamesMapping()[level.upper()]


def workers(as_json: options.Json = False, results: options.Results = None) -> None:
    """List the living workers and what each is doing.

    Examples
      optml workers
      optml workers --json | jq length
    """
    from optml_queue.cli.connection import reading
    from optml_queue.cli.tables import worker_table
    from optml_queue.cli.terminal import show, show_json, stdout_width

    with reading(results) as source:
        found = source.workers()
    if as_json:
        show_json([{"name": worker.name, **worker.facts} for worker in found])
    elif found:
        show(worker_table(found, time.time(), stdout_width()))
    else:
        show("no workers")


def census(found: Sequence[WorkerInfo]) -> str:
    """`3 workers: 2 cpu-small, 1 gpu`."""
    if not found:
        return "no workers"
    classes = Counter(worker.resource_class for worker in found)
    return f"{units.counted(len(found), 'worker')}: " + ", ".join(f"{n} {name}" for name, n in sorted(classes.items()))


def down(as_json: options.Json = False, results: options.Results = None) -> None:
    """End the local server and workers of a results folder. Running trials go back to the queue; nothing is lost.

    Examples
      optml down
      optml down --results ~/study/optml-results
    """
    from optml_queue import embedded
    from optml_queue.cli.connection import results_folder
    from optml_queue.cli.terminal import show, show_json

    folder = results_folder(results)
    ended = embedded.down(folder)
    if as_json:
        show_json({"results": str(folder.absolute()), "ended": ended})
    else:
        show(f"ended the local server of {folder}" if ended else f"no local server runs in {folder}")
