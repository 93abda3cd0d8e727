"""The command line as people use it: real processes, the embedded server, a terminal."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from optml_queue import broker
from optml_queue.cli.main import app
from optml_queue.embedded import down, is_running, status, up
from optml_queue.store import Store
from optml_queue.trial import TrialState
from tests.processes import wait_until
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

GRID = """
name: small
algorithm: lms
parameters:
  learning_rate: {values: [0.5, 1e-6, 5e-7, 1e-7]}
  filter_size: {value: 5}
"""
SLOW = """
name: slow
algorithm: lms
parameters:
  learning_rate: {min: 1e-8, max: 1e-6, count: 8, scale: log}
  filter_size: {value: 5}
  epochs: {value: 800}
"""
HOPELESS = """
name: hopeless
algorithm: lms
parameters:
  learning_rate: {min: 1e-8, max: 1e-6, count: 20}
  filter_size: {value: 3000}
"""
LIMIT_S = 40.0


def command(*arguments: str, before: str = "") -> list[str]:
    """The command line of a verb, or of `optml-submit` for a spec; `before` is Python that runs first."""
    program = "submit_main" if arguments[0].endswith(".yaml") else "main"
    text = f"{before}\nfrom optml_queue.cli.main import {program}\n{program}()"
    return [sys.executable, "-c", text, *arguments]


def environment(variables: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPTML_", "COLUMNS", "LINES"))}
    return {**clean, "TERM": "xterm", **variables}


def optml(
    folder: Path,
    *arguments: str,
    code: int = 0,
    variables: Mapping[str, str] = MappingProxyType({}),
    before: str = "",
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments, before=before),
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def look(folder: Path, *arguments: str) -> str:
    """What a verb that only reads prints; in this process, which is sooner said."""
    with chdir(folder):
        looked = CliRunner().invoke(app, list(arguments))
    assert looked.exit_code == 0, looked.output
    return looked.stdout


def has_ended(folder: Path) -> bool:
    """Whether the folder's server ends by itself, soon after its last client."""
    deadline = time.monotonic() + 10
    while is_running(folder / "optml-results") and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(folder / "optml-results")


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder with the specs in it, whose server is ended whatever happens."""
    for name, text in (("small", GRID), ("slow", SLOW), ("hopeless", HOPELESS)):
        (folder / f"{name}.yaml").write_text(text)
    try:
        yield folder
    finally:
        down(folder / "optml-results")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with workplace(tmp_path) as place:
        yield place


@pytest.fixture
def served(folder: Path) -> Path:
    """A folder whose server runs already, for tests of what one does with a server."""
    up(folder / "optml-results", workers=1)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, object]]]:
    """A folder in which an experiment has run, and the document that `--json` printed."""
    with workplace(tmp_path_factory.mktemp("finished")) as place:
        up(place / "optml-results", workers=1)
        yield place, json.loads(optml(place, "small.yaml", "--json", "--id", "small-1").stdout)


def test_submit_shows_progress_leaderboard_and_files(folder: Path) -> None:
    done = optml(folder, "small.yaml")
    assert re.search(r"small-\w+: 4/4  100 %", done.stderr)
    assert re.search(r"^ +1 +\d +complete", done.stdout, re.MULTILINE)
    assert "3 complete, 1 diverged" in done.stdout
    (place,) = re.findall(r"Files: (\S+)", done.stdout)
    with (folder / place / "results.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)].count("complete") == 3
    assert has_ended(folder)


def test_json_is_one_document_with_what_scripts_ask_for(finished: tuple[Path, dict[str, object]]) -> None:
    folder, document = finished
    assert document["experiment"] == "small-1"
    assert document["state"] == "complete"
    assert document["best"]["params"]["learning_rate"] in (1e-6, 5e-7)  # type: ignore[index]
    assert Path(str(document["archive"])) == folder / "optml-results" / "small-1"
    assert float(str(document["duration_s"])) > 0


@pytest.mark.parametrize("place", [[], ["--archive", "optml-results"]], ids=["store", "archive alone"])
def test_the_reading_verbs_tell_the_same_of_store_and_archive(
    finished: tuple[Path, dict[str, object]], place: Sequence[str]
) -> None:
    folder, document = finished

    commands = ("ls --json", "best latest --top 1 --json", "trials small-1 --json", "export latest")
    with ThreadPoolExecutor() as side_by_side:
        listed, best, trials, exported = side_by_side.map(
            lambda text: optml(folder, *text.split(), *place).stdout, commands
        )
    assert [each["experiment"] for each in json.loads(listed)] == ["small-1"]
    assert json.loads(best)["points"][0] == {"rank": 1, **document["best"]}  # type: ignore[dict-item]
    assert [each["number"] for each in json.loads(trials)] == [0, 1, 2, 3]
    assert exported == (folder / "optml-results" / "small-1" / "results.csv").read_text()


def test_an_archive_is_enough_when_the_store_is_gone(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    folder, _ = finished
    (tmp_path / "optml-results").mkdir()
    (tmp_path / "optml-results" / "small-1").symlink_to(folder / "optml-results" / "small-1")
    assert "small-1" in optml(tmp_path, "ls").stdout
    assert "3 complete, 1 diverged" in optml(tmp_path, "status", "latest").stdout
    assert not (tmp_path / "optml-results" / ".store").exists()
    optml(tmp_path, "plot", "latest", "-o", "error.png")
    assert (tmp_path / "error.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_id_names_the_near_one(finished: tuple[Path, dict[str, object]]) -> None:
    assert "small-1" in optml(finished[0], "best", "smal-1", code=2).stderr


def test_submitting_again_under_the_same_id_runs_nothing_twice(finished: tuple[Path, dict[str, object]]) -> None:
    folder, _ = finished
    again = json.loads(optml(folder, "small.yaml", "--json", "--id", "small-1").stdout)
    assert again["counts"]["complete"] == 3
    assert all(each["attempts"] == 1 for each in json.loads(look(folder, "trials", "--json")))
    other = optml(folder, "small.yaml", "--id", "small-1", "--set", "parameters.filter_size.value=7", code=2)
    assert "another spec" in other.stderr


def test_detached_work_goes_on_until_down(folder: Path) -> None:
    results = folder / "optml-results"
    more = ("--set", "parameters.learning_rate.count=100000", "--set", "parameters.epochs.value=1")
    id_ = optml(folder, "slow.yaml", *more, "--detach", "--workers", "1").stdout.strip()
    assert is_running(results)
    record = status(results)
    assert record is not None
    with closing(Store.from_url(record.url)) as store:
        wait_until(lambda: store.experiment(id_).counts[TrialState.COMPLETE] > 0, LIMIT_S, "a complete trial")
    shown = json.loads(look(folder, "status", id_, "--json"))
    assert shown["counts"]["complete"] > 0
    assert shown["state"] == "running"
    assert shown["workers"] == 1
    assert id_ in look(folder, "status")
    assert "default" in look(folder, "workers")
    assert "ended" in optml(folder, "down").stdout
    assert not is_running(results)
    # The store's files remain, and every verb reads them again.
    assert "end it first" in optml(folder, "rm", id_, "--yes", code=2).stderr
    up(results, workers=0)
    cancelled = json.loads(optml(folder, "cancel", id_, "--json").stdout)
    assert cancelled["counts"]["complete"] >= 1
    assert cancelled["counts"]["queued"] == 0
    assert "add --yes" in optml(folder, "rm", id_, code=2).stderr
    optml(folder, "rm", id_, "--yes")
    assert json.loads(look(folder, "ls", "--json")) == []
    assert not (results / id_).exists()


def test_an_interrupt_pauses_and_resume_goes_on(folder: Path) -> None:
    with subprocess.Popen(
        command("slow.yaml", "--workers", "1"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while not re.search(r": [1-9]\d*/8", line := process.stderr.readline()):
            assert line, "the experiment ended before it could be interrupted"
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    (resume,) = re.findall(r"    optml (resume \S+)", said)
    assert has_ended(folder)
    paused = json.loads(look(folder, "status", "latest", "--json"))
    assert paused["state"] == "paused"
    assert paused["counts"]["running"] == 0
    assert 0 < paused["counts"]["complete"] < 8
    resumed = json.loads(optml(folder, *resume.split(), "--json").stdout)
    assert resumed["state"] == "complete"
    assert resumed["counts"]["complete"] == 8
    with (Path(resumed["archive"]) / "results.csv").open() as file:
        assert [row["attempts"] for row in csv.DictReader(file)] == ["1"] * 8


def test_only_the_archive_is_left_and_it_goes_on_with_more(folder: Path) -> None:
    first = json.loads(optml(folder, "small.yaml", "--id", "kept", "--json", "--workers", "1").stdout)
    before = json.loads(look(folder, "trials", "kept", "--json"))
    assert has_ended(folder)
    shutil.rmtree(folder / "optml-results" / ".store")
    again = optml(folder, "resume", "kept", "--json", "--workers", "1")
    assert "bringing it back from the archive" in again.stderr
    assert json.loads(again.stdout)["counts"] == first["counts"]
    assert json.loads(look(folder, "trials", "kept", "--json")) == before
    assert "nothing to add" in optml(folder, "extend", "kept", "small.yaml", "--workers", "1", code=2).stderr
    assert "by what?" in optml(folder, "extend", "kept", code=2).stderr
    wrong = ("extend", "kept", "--set", "method=random", "--workers", "1")
    assert "method: is 'grid', not 'random'" in optml(folder, *wrong, code=2).stderr
    more = optml(folder, "extend", "kept", "--set", "seeds=[0,1]", "--json", "--workers", "1")
    assert "kept goes on: 8 trials, 4 of them there" in more.stderr
    assert sum(json.loads(more.stdout)["counts"].values()) == 8
    trials = json.loads(look(folder, "trials", "kept", "--json"))
    assert trials[:4] == before
    assert [trial["seed"] for trial in trials] == [0] * 4 + [1] * 4
    report = json.loads(look(folder, "status", "kept", "--report", "--json"))["report"]
    assert (report["attempts"], report["attempts_after_the_first"], report["recoveries"]["count"]) == (8, 0, 0)


def test_a_paused_and_then_stopped_experiment_goes_on(folder: Path) -> None:
    many = ("--set", "parameters.learning_rate.count=20")  # more than end before they are told to stop
    optml(folder, "slow.yaml", *many, "--id", "slow", "--detach", "--workers", "1")
    assert "paused" in optml(folder, "pause", "slow", "--reason", "lunch").stdout
    assert "paused (lunch)" in look(folder, "status", "slow")
    optml(folder, "resume", "slow", "--detach")
    told = json.loads(optml(folder, "stop", "slow", "--reason", "enough", "--json").stdout)
    assert "stopped" in (told["state"], told["ending"])
    record = status(folder / "optml-results")
    assert record is not None
    with closing(Store.from_url(record.url)) as store:
        wait_until(lambda: store.experiment("slow").is_over, LIMIT_S, "the end of what ran")
        stopped = store.experiment("slow")
    assert (stopped.state, stopped.reason) == ("stopped", "enough")
    assert stopped.counts[TrialState.QUEUED] > 0 == stopped.counts[TrialState.CANCELLED]
    assert "was stopped already" in optml(folder, "pause", "slow").stdout
    # Submitting it again under its id is another way to go on.
    ended = json.loads(optml(folder, "slow.yaml", *many, "--id", "slow", "--json").stdout)
    assert (ended["state"], ended["counts"]["complete"]) == ("complete", 20)


def test_what_fails_everywhere_ends_soon_with_its_error(served: Path) -> None:
    done = optml(served, "hopeless.yaml", code=1)
    assert "filter_size 3000 is too long" in done.stdout
    trials = json.loads(look(served, "trials", "--json"))
    assert sum(each["state"] == "failed" for each in trials) <= 8
    assert "driver.py" in look(served, "logs", "latest", "0")
    dead = optml(served, "trials", "latest", "--state", "failed")
    assert "filter_size 3000 is too long" in dead.stdout
    assert re.search(r"To run them again: optml retry hopeless-\w+ --failed", dead.stderr)
    assert (
        "Traceback"
        in json.loads(look(served, "trials", "--state", "failed", "--json"))[0]["failed_attempts"][0]["traceback"]
    )
    again = optml(served, "retry", "latest", "0", code=1)
    assert "1 trial of hopeless" in again.stderr
    assert json.loads(look(served, "logs", "latest", "0", "--json"))["attempts"][-1]["attempt"] == 2


def test_one_trial_in_the_foreground(folder: Path) -> None:
    assert "complete" in optml(folder, "run", "small.yaml", "--trial", "1").stdout
    assert not (folder / "optml-results").exists()
    failed = subprocess.run(
        command("run", "hopeless.yaml", "--trial", "0", "--debug"),
        cwd=folder,
        env=environment(),
        input="p params\nq\n",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert failed.returncode == 1
    assert "(Pdb)" in failed.stdout
    assert "filter_size 3000 is too long" in failed.stderr


def test_bad_input_starts_nothing(folder: Path) -> None:
    (folder / "bad.yaml").write_text(GRID.replace("lms", "lsm"))
    done = optml(folder, "bad.yaml", code=2)
    assert "bad.yaml:3: algorithm" in done.stderr
    assert done.stdout == ""
    assert not (folder / "optml-results").exists()


def test_what_does_not_answer_is_said_within_ten_seconds(folder: Path) -> None:
    earnest_s, here_s = broker.CONNECT_LIMIT_S, 1.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as closed:
            closed_port = closed.getsockname()[1]
        for port, verb in ((closed_port, "small.yaml"), (silent_port, "ls")):
            began_at = time.monotonic()
            url = f"redis://:secret@127.0.0.1:{port}/0"
            impatient = f"from optml_queue import broker; broker.CONNECT_LIMIT_S = {here_s}"
            done = optml(folder, verb, code=3, variables={"OPTML_BROKER_URL": url}, before=impatient)
            assert time.monotonic() - began_at + earnest_s - here_s < 10
            assert f"redis://127.0.0.1:{port}/0" in done.stderr
            assert "secret" not in done.stderr
    assert not (folder / "optml-results").exists()


def test_a_cluster_has_its_own_workers(folder: Path) -> None:
    with valkey_server() as server:
        cluster = {"OPTML_BROKER_URL": server.url, "OPTML_ARCHIVE_URL": str(folder / "archive")}
        assert "--workers" in optml(folder, "small.yaml", "--workers", "1", code=2, variables=cluster).stderr
        with subprocess.Popen(
            command("worker", "--processes", "1", "--log-level", "warning"), cwd=folder, env=environment(cluster)
        ) as worker:
            try:
                document = json.loads(optml(folder, "small.yaml", "--json", variables=cluster).stdout)
                assert document["counts"]["complete"] == 3
                assert json.loads(optml(folder, "workers", "--json", variables=cluster).stdout)[0]["class"] == "default"
            finally:
                worker.terminate()
        assert worker.returncode == 0
    assert Path(document["archive"]) == folder / "archive" / document["experiment"]
    # The cluster is gone; its archive tells what it did.
    assert "3 complete" in look(folder, "status", "latest", "--archive", "archive")
    assert not (folder / "optml-results").exists()


def on_a_terminal(folder: Path, *arguments: str, columns: int = 80) -> tuple[int, str]:
    """What a command writes to a terminal of that width, and its exit code."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment({"NO_COLOR": "1"}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        written = b""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and select.select([reader], [], [], LIMIT_S)[0]:
            try:
                written += os.read(reader, 65_536)
            except OSError:  # Linux says so when the last writer is gone
                break
        os.close(reader)
    return process.returncode, written.decode()


def test_a_terminal_gets_a_live_view_and_a_leaderboard_that_fit_it(served: Path) -> None:
    code, written = on_a_terminal(served, "small.yaml")
    assert code == 0
    assert "━━━" in written
    assert "4/4  100 %" in written
    assert "\x1b[3" not in written, "NO_COLOR asks for no colours"
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:1] == ["rank"] for line in lines)
