"""The program: its verbs, and what an error means for the exit code.

0    done
1    the experiment failed, or an archive refused
2    bad input
3    broker, store or archive not reachable
70   a fault in this program
130  interrupted
141  the reader of our output closed the pipe
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from optml_queue import __version__
from optml_queue.cli import control, deploy, experiments, logs, run, serving, submit, tokens, workers
from optml_queue.errors import OptmlError

FAULT = 70
INTERRUPTED = 130
PIPE_CLOSED = 141


def exit_code_for(error: BaseException) -> int:
    """Tell the person about `error`, if there is something to tell, and return the exit code it means."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return PIPE_CLOSED
    from optml_queue.cli.terminal import show_error

    if isinstance(error, OptmlError):
        show_error(str(error))
        return error.exit_code
    show_error(
        f"optml failed in a way it should not: {type(error).__name__}\n"
        f"    What happened, in full, is in {_write_traceback(error)}; please attach it to a report."
    )
    return FAULT


def _forget_stdout() -> None:
    # Python flushes stdout once more at exit; on a closed pipe that would print a second error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_traceback(error: BaseException) -> str:
    # A file of the user's own (mode 0600): a message may hold a URL, and the screen may be shared.
    with tempfile.NamedTemporaryFile("w", prefix="optml-traceback-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return file.name


def _guarded(invoke: Callable[[Any], Any], ctx: Any) -> Any:
    # Inside Typer, because Typer itself would make 1 out of an interrupt and of a closed pipe.
    try:
        return invoke(ctx)
    except (OptmlError, KeyboardInterrupt, BrokenPipeError) as error:
        raise typer.Exit(exit_code_for(error)) from error


class Verbs(TyperGroup):
    """All verbs of `optml`; errors become exit codes here."""

    def invoke(self, ctx: Any) -> Any:
        return _guarded(super().invoke, ctx)


class Verb(TyperCommand):
    """A verb that is a program of its own; errors become exit codes here."""

    def invoke(self, ctx: Any) -> Any:
        return _guarded(super().invoke, ctx)


RUN, LOOK, STEER, SERVE = "Run an experiment", "Look at experiments", "Steer an experiment", "Workers and servers"
VERBS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("submit", RUN, submit.submit),
    ("run", RUN, run.run),
    ("ls", LOOK, experiments.ls),
    ("status", LOOK, experiments.status),
    ("trials", LOOK, experiments.trials),
    ("best", LOOK, experiments.best),
    ("logs", LOOK, logs.logs),
    ("export", LOOK, experiments.export),
    ("plot", LOOK, experiments.plot),
    ("pause", STEER, control.pause),
    ("resume", STEER, control.resume),
    ("stop", STEER, control.stop),
    ("extend", STEER, control.extend),
    ("cancel", STEER, control.cancel),
    ("retry", STEER, control.retry),
    ("rm", STEER, control.rm),
    ("worker", SERVE, workers.worker),
    ("controller", SERVE, workers.controller),
    ("workers", SERVE, workers.workers),
    ("up", SERVE, serving.up),
    ("down", SERVE, workers.down),
    ("api", SERVE, serving.api),
    ("monitor", SERVE, serving.monitor),
)


def _typer(group: type[TyperGroup] | None = None) -> typer.Typer:
    return typer.Typer(
        cls=group,
        add_completion=group is not None,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def help_text(verb: Callable[..., None]) -> str:
    """A docstring as Typer should show it: paragraphs flow, those with indented lines (examples) stay as they are."""
    return "\n\n".join(map(_paragraph, inspect.cleandoc(verb.__doc__ or "").split("\n\n")))


def _paragraph(text: str) -> str:
    plain = text.replace("[", "\\[")
    title, _, examples = plain.partition("\n")
    if not examples.startswith("  "):
        return plain.replace("\n", " ")
    return f"[bold]{title}[/bold]\n{examples}"


app = _typer(Verbs)
for _name, _panel, _verb in VERBS:
    app.command(_name, rich_help_panel=_panel, help=help_text(_verb))(_verb)

token_app = _typer(TyperGroup)
for _name, _verb in tokens.TOKEN_VERBS:
    token_app.command(_name, help=help_text(_verb))(_verb)
app.add_typer(token_app, name="token", rich_help_panel=SERVE, help="Who may use the API and the page.")

deploy_app = _typer(TyperGroup)
deploy_app.command("render", help=help_text(deploy.render))(deploy.render)
app.add_typer(deploy_app, name="deploy", rich_help_panel=SERVE, help="Kubernetes manifests from a few answers.")

submit_app = _typer()
submit_app.command(cls=Verb, help=help_text(submit.submit))(submit.submit)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optml {__version__}")
        raise typer.Exit


def optml(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hyper-parameter experiments: one YAML file, one command, every point a task of a queue.

    Without OPTML_BROKER_URL, experiments run on a local server and lie in ./optml-results.

    Examples
      optml submit grid.yaml         run an experiment here and watch it
      optml best latest              its leaderboard
      optml retry latest --failed    run again what failed
      optml VERB --help              more about a verb, with examples
    """


app.callback(help=help_text(optml))(optml)


def main() -> None:
    """The console script `optml`."""
    _run(app)


def submit_main() -> None:
    """The console script `optml-submit`."""
    _run(submit_app)


def _run(program: typer.Typer) -> None:
    try:
        program()
    except Exception as error:  # noqa: BLE001 - the last resort: nobody should have to read a traceback
        sys.exit(exit_code_for(error))
