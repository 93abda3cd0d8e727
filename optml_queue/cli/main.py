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

import atexit
import gc
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from optml_queue import __version__
from optml_queue.cli import submit
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
# Each with its panel in the help, and where it is found: module and function, imported when it is asked for.
VERBS: tuple[tuple[str, str, str], ...] = (
    ("submit", RUN, "submit:submit"),
    ("run", RUN, "run:run"),
    ("ls", LOOK, "experiments:ls"),
    ("status", LOOK, "experiments:status"),
    ("trials", LOOK, "experiments:trials"),
    ("best", LOOK, "experiments:best"),
    ("logs", LOOK, "logs:logs"),
    ("export", LOOK, "experiments:export"),
    ("plot", LOOK, "experiments:plot"),
    ("pause", STEER, "control:pause"),
    ("resume", STEER, "control:resume"),
    ("stop", STEER, "control:stop"),
    ("extend", STEER, "control:extend"),
    ("cancel", STEER, "control:cancel"),
    ("retry", STEER, "control:retry"),
    ("rm", STEER, "control:rm"),
    ("worker", SERVE, "workers:worker"),
    ("controller", SERVE, "workers:controller"),
    ("workers", SERVE, "workers:workers"),
    ("up", SERVE, "serving:up"),
    ("down", SERVE, "workers:down"),
    ("api", SERVE, "serving:api"),
    ("monitor", SERVE, "serving:monitor"),
)
# Verbs of several words: what help says of the first one, and where the table of the others is found.
GROUPS: tuple[tuple[str, str, str, str], ...] = (
    ("token", SERVE, "Who may use the API and the page.", "tokens:TOKEN_VERBS"),
    ("deploy", SERVE, "Kubernetes manifests from a few answers.", "deploy:DEPLOY_VERBS"),
)


class Catalogue(Mapping[str, Any]):
    """Commands by name. Each is made when it is looked up: who asks for one does not wait for the others' imports."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = {name: cache(make) for name, make in makers.items()}

    def __getitem__(self, name: str) -> Any:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class AllVerbs(Verbs):
    """The verbs of VERBS and GROUPS."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        makers = {name: partial(_command, name, panel, place) for name, panel, place in VERBS}
        makers |= {name: partial(_group, name, panel, told, place) for name, panel, told, place in GROUPS}
        self.commands = cast("MutableMapping[str, Any]", Catalogue(makers))


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"optml_queue.cli.{module}"), name)


def _command(name: str, panel: str, place: str) -> Any:
    verb = _found(place)
    program = _typer()
    program.command(name, rich_help_panel=panel, help=help_text(verb))(verb)
    return typer.main.get_command(program)


def _group(name: str, panel: str, told: str, place: str) -> Any:
    program = _typer(TyperGroup, name=name)
    program.callback(help=told, rich_help_panel=panel)(lambda: None)
    for verb_name, verb in _found(place):
        program.command(verb_name, help=help_text(verb))(verb)
    return typer.main.get_command(program)


def _typer(group: type[TyperGroup] | None = None, **options: Any) -> typer.Typer:
    return typer.Typer(
        cls=group,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=group is AllVerbs,
        **options,
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


app = _typer(AllVerbs)

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
    # What is imported stays to the end: looking for garbage in it, as Python does while the modules come and once more
    # as it ends, finds none, and takes a quarter of the time of a command as short as `status`.
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)
    try:
        program()
    except Exception as error:  # noqa: BLE001 - the last resort: nobody should have to read a traceback
        sys.exit(exit_code_for(error))
