"""The program: its help, its speed, and what an error means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from optml_queue.cli.main import VERBS, Verb, Verbs, app, exit_code_for, submit_app
from optml_queue.errors import (
    ArchiveError,
    ExperimentFailedError,
    NotFoundError,
    OptmlError,
    Problem,
    SpecError,
    UnreachableError,
)

HEAVY = ("celery", "kombu", "numpy", "numba", "matplotlib", "boto3", "pydantic", "redis", "yaml")
OTHER_VERBS = [f"optml_queue.cli.{module}" for module in ("control", "serving", "tokens", "workers")]


@pytest.mark.parametrize("verb", [name for name, _panel, _verb in VERBS])
def test_every_verb_teaches_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert f"optml {verb}" in result.stdout or "optml-submit" in result.stdout
    assert "Examples" in result.stdout


def test_the_help_lists_every_verb() -> None:
    result = CliRunner().invoke(app, ["--help"])
    for name, panel, _verb in VERBS:
        assert f" {name} " in result.stdout
        assert panel in result.stdout


def test_the_help_of_submit_tells_the_exit_codes() -> None:
    text = CliRunner().invoke(submit_app, ["--help"]).stdout
    assert "Exit codes" in text
    assert "130" in text


@pytest.mark.parametrize(
    ("arguments", "unwanted", "told"),
    [(["--help"], HEAVY, "Look at experiments"), (["status", "--help"], OTHER_VERBS, "how far an experiment is")],
)
def test_help_imports_nothing_that_it_does_not_need(arguments: list[str], unwanted: Sequence[str], told: str) -> None:
    code = f"""
import sys
from optml_queue.cli.main import main
sys.argv = ["optml", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {unwanted!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert told in done.stdout


def test_a_typing_mistake_is_bad_input() -> None:
    assert CliRunner().invoke(app, ["statsu"]).exit_code == 2
    assert CliRunner().invoke(app, ["ls", "--limit", "many"]).exit_code == 2


def failing(error: BaseException, group: Any, command: Any) -> typer.Typer:
    program = typer.Typer(cls=group, pretty_exceptions_enable=False)

    @program.command(cls=command)
    def verb() -> None:
        raise error

    if group:
        program.callback()(lambda: None)
    return program


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("grid.yaml", [Problem("method", "unknown", 3)]), 2),
        (NotFoundError("no"), 2),
        (UnreachableError("the store", "redis://:secret@host:6379/0", "refused"), 3),
        (ArchiveError("refused"), 1),
        (ExperimentFailedError("no complete trial"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_errors_become_exit_codes(error: BaseException, code: int, alone: bool) -> None:
    program = failing(error, None if alone else Verbs, Verb if alone else None)
    result = CliRunner().invoke(program, [] if alone else ["verb"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    if isinstance(error, OptmlError):
        assert str(error) in result.stderr


def test_a_fault_of_ours_keeps_its_traceback_in_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert exit_code_for(caught.value) == 70
    said = capsys.readouterr()
    (file,) = tmp_path.iterdir()
    assert str(file) in said.err
    assert "Traceback" not in said.err
    assert "ZeroDivisionError: division by zero" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_closed_pipe_ends_quietly() -> None:
    code = """
import sys
from optml_queue.cli import experiments, main, terminal
def flood() -> None:
    while True:
        terminal.write_line("x" * 1000)
experiments.ls = flood
sys.argv = ["optml", "ls"]
main.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
