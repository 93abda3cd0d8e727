"""Where output goes: results on stdout, all else on stderr, and never a table cut to 80 columns inside a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from optml_queue.trial import encode

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Wide enough that a table written to a file or a pipe is never folded.
PIPE_WIDTH = 10_000


def console(stream: TextIO) -> Console:
    """A Rich console on `stream`; it honours NO_COLOR and COLUMNS, and lets a closed pipe be the caller's matter."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if stream.isatty() else PIPE_WIDTH
    return PipedConsole(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(*renderables: RenderableType) -> None:
    """Write results for people to stdout; into a pipe or a file without the blanks that pad a table."""
    target = console(sys.stdout)
    if target.is_terminal:
        target.print(*renderables, sep="\n")
        return
    with target.capture() as capture:
        target.print(*renderables, sep="\n")
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def show_json(document: Any) -> None:
    """Write one JSON document, and a newline, to stdout; non-finite floats become "nan", "inf", "-inf"."""
    sys.stdout.write(encode(document) + "\n")
    sys.stdout.flush()


def show_json_list(items: Iterable[str]) -> None:
    """Write one JSON list of items that are JSON already, as they come."""
    separator = "["
    for item in items:
        sys.stdout.write(f"{separator}{item}")
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[" else "]\n")
    sys.stdout.flush()


def write_line(line: str) -> None:
    """Write one line to stdout now: whoever reads a followed log should not wait for a full buffer."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def stdout_width() -> int:
    """The width that a table on stdout may have, in columns."""
    return console(sys.stdout).width


def say(message: RenderableType = "", style: str | None = None) -> None:
    """Tell the person at the terminal something, on stderr."""
    console(sys.stderr).print(message, style=style)


def show_error(message: str) -> None:
    """An error on stderr: its lines in red, the indented advice below a line left plain."""
    target = console(sys.stderr)
    for line in message.splitlines():
        target.print(line, style=None if line.startswith("    ") else "red", soft_wrap=True)
