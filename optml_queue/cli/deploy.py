"""`optml deploy`: Kubernetes manifests from a few answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optml_queue.errors import InputError


def render(
    answers: Annotated[
        Path | None, typer.Argument(metavar="[ANSWERS]", help="The answers as a YAML file.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="The folder to write.", show_default=False)
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="DIR",
            help="Refer to these manifests (default: a copy of the package's own, in DIR/manifests).",
            show_default=False,
        ),
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Print answers to begin with.")] = False,
) -> None:
    """Write a kustomize overlay from a few answers: broker, archive, classes of workers, budget.

    Examples
      optml deploy render --example > answers.yaml
      optml deploy render answers.yaml --output cluster
      kubectl apply -k cluster
    """
    from optml_queue.cli.terminal import say, show, write_line
    from optml_queue.deploy import example_text, load_answers
    from optml_queue.deploy import render as write

    if example:
        write_line(example_text().rstrip("\n"))
        return
    if answers is None or output is None:
        raise InputError("deploy render needs ANSWERS and --output DIR; --example prints answers to begin with")
    loaded = load_answers(answers)
    written = write(loaded, output, base)
    for path in written:
        show(str(path))
    caps = ", ".join(f"{each.name} {each.most}" for each in loaded.classes)
    say(f"at most: {caps} workers. Next: kubectl apply -k {output} (docs/operations.md has the Secrets it needs)")


DEPLOY_VERBS = (("render", render),)
