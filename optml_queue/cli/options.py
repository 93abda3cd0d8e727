"""Options and arguments that several verbs share, described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "Output"
PLACE = "Where the experiments lie"

Experiment = Annotated[
    str,
    typer.Argument(
        metavar="[EXPERIMENT]", help="Id of an experiment; [bold]latest[/bold] is the newest.", show_default=False
    ),
]
RequiredExperiment = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", help="Id of an experiment; [bold]latest[/bold] is the newest."),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.", rich_help_panel=OUTPUT),
]
Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Results folder of the embedded server (default: [bold]./optml-results[/bold]).",
        rich_help_panel=PLACE,
        show_default=False,
    ),
]
Archive = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="URL",
        help="Read this archive (a folder or s3://bucket/prefix) and ask no store.",
        rich_help_panel=PLACE,
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=1024,
        help="Local workers to start (default: one per core). A cluster has its own.",
        rich_help_panel=PLACE,
        show_default=False,
    ),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Print the experiment's id and return; workers go on without you."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="End with exit code 1 when any trial failed, not only when all did.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=OUTPUT)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a value of the spec, as in [bold]--set parameters.filter_size.value=7[/bold]; repeatable.",
        show_default=False,
    ),
]
