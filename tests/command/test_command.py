"""Commands as drivers: what they are given, how they end, and that nothing of theirs stays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from optml_queue.command.data import DataFile
from optml_queue.command.driver import command_driver
from optml_queue.data import DataSpec
from optml_queue.driver import ActiveTrial, Metric, Order
from optml_queue.errors import AttemptEndedError, AttemptFailedError
from optml_queue.runner import run_attempt
from optml_queue.trial import Params, Reason, TrialResult

LOSS = Metric("loss")


def run(*argv: str, params: Params | None = None, data: object = None, **options: Any) -> TrialResult:
    driver = command_driver(argv, LOSS, **options)
    return run_attempt(driver, data, ActiveTrial(7, params or {}, 3, attempt=2, threads=1), metric="loss")


def shell(script: str, **more: Any) -> TrialResult:
    return run("sh", "-c", script, **more)


def failure(*argv: str, **more: Any) -> tuple[str, str]:
    with pytest.raises(AttemptFailedError) as raised:
        run(*argv, **more)
    return raised.value.reason, raised.value.error


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class TestGiven:
    def test_parameters_come_in_three_ways(self, tmp_path: Path) -> None:
        params: Params = {"rate": 1e-6, "name": "a b", "sizes": [1, 2]}
        script = f'cp "$OPTML_TRIAL" {tmp_path}/trial.json; echo "loss=$1"; env > {tmp_path}/env'
        result = run("sh", "-c", script, "sh", "{rate}", params=params)
        assert result.metrics == {"loss": 1e-6}
        assert json.loads((tmp_path / "trial.json").read_text()) == {
            "number": 7,
            "seed": 3,
            "attempt": 2,
            "params": params,
            "metric": "loss",
            "threads": 1,
            "data": None,
        }
        assert {"OPTML_PARAM_RATE=1e-06", "OPTML_PARAM_NAME=a b", "OPTML_PARAM_SIZES=[1, 2]"} <= set(
            (tmp_path / "env").read_text().splitlines()
        )

    def test_seed_and_number_are_placeholders_too(self) -> None:
        assert run("echo", "loss={seed}{number}").metrics == {"loss": 37.0}

    def test_the_workers_settings_stay_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPTML_BROKER_URL", "redis://:secret@host/0")
        monkeypatch.setenv("OPTML_PARAM_OLD", "1")
        assert shell('echo "loss=$(env | grep -c -e secret -e OPTML_PARAM_OLD)"').metrics == {"loss": 0.0}

    def test_it_runs_in_a_copy_of_its_files(self, tmp_path: Path) -> None:
        (tmp_path / "data.txt").write_text("loss=1\n")
        assert shell("cat data.txt; rm data.txt; touch mess", files=tmp_path).metrics == {"loss": 1.0}
        assert [path.name for path in tmp_path.iterdir()] == ["data.txt"]
        assert shell("cat data.txt", files=tmp_path / "data.txt").metrics == {"loss": 1.0}
        assert shell("ls -A | wc -l | sed s/^/loss=/").metrics == {"loss": 0.0}

    def test_a_shipped_series_comes_as_a_csv_file(self) -> None:
        data = DataFile.of(DataSpec("sunspots"))
        path = "import json, os; print(json.load(open(os.environ['OPTML_TRIAL']))['data']['path'])"
        result = shell(f'file=$({sys.executable} -c "{path}"); echo loss=$(sed -n 2p $file)', data=data)
        assert result.metrics == {"loss": 58.0}

    def test_a_file_of_the_users_comes_by_its_path(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("1\n2\n")
        spec = DataSpec("csv", {"path": str(tmp_path / "a.csv"), "column": 0}, 0.2)
        document = DataFile.of(spec).document(tmp_path)
        assert document == {"kind": "csv", "path": str(tmp_path / "a.csv"), "test": 0.2, "column": 0}


class TestEnding:
    @pytest.mark.parametrize(
        ("script", "reason", "said"),
        [
            ("exit 3", Reason.EXIT_CODE, "exited with code 3"),
            ("echo oops >&2; echo ' ' >&2; exit 1", Reason.EXIT_CODE, "exited with code 1: oops"),
            ("kill -KILL $$", Reason.OUT_OF_MEMORY, "was killed (SIGKILL): out of memory?"),
            ("sh -c 'kill -KILL $$'; exit $?", Reason.OUT_OF_MEMORY, "was killed (SIGKILL): out of memory?"),
            ("kill -SEGV $$", Reason.CRASHED, "crashed (SIGSEGV)"),
            ("kill -TERM $$", Reason.CRASHED, "crashed (SIGTERM)"),
            ("echo 'Error: cannot allocate vector of size 7 Gb' >&2; exit 1", Reason.OUT_OF_MEMORY, "cannot allocate"),
            ("echo hello", Reason.NO_METRIC, "stdout has no line with loss=NUMBER"),
            ("echo loss=abc", Reason.BAD_METRIC, "stdout says loss=abc, which is not a number"),
            ("echo loss=1; exit 1", Reason.EXIT_CODE, "exited with code 1"),
        ],
    )
    def test_every_way_to_end_has_its_name(self, script: str, reason: Reason, said: str) -> None:
        found, error = failure("sh", "-c", script)
        assert (found, error.startswith("command sh: ")) == (reason, True)
        assert said in error

    def test_a_program_that_is_not_there_or_may_not_run(self, tmp_path: Path) -> None:
        assert "there is no program 'no-such-program' here" in failure("no-such-program")[1]
        (tmp_path / "run").write_text("#!/bin/sh\n")
        assert "'./run' may not be run: is it executable?" in failure("./run", files=tmp_path)[1]

    def test_the_metric_may_lie_in_a_file(self) -> None:
        assert shell("echo loss=9; echo 0.5 > out", source="file:out").metrics == {"loss": 0.5}
        assert failure("true", source="file:out")[0] == Reason.NO_METRIC

    def test_a_process_left_behind_holds_up_nothing(self, tmp_path: Path) -> None:
        began = time.monotonic()
        result = shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo loss=1")
        assert result.metrics == {"loss": 1.0}
        assert time.monotonic() - began < 5
        assert is_gone(int((tmp_path / "pid").read_text()))

    def test_output_that_was_closed_is_no_end(self) -> None:
        assert shell("echo loss=1; exec >&- 2>&-; sleep 0.3").metrics == {"loss": 1.0}


class TestOrders:
    def test_reports_are_obeyed_and_the_group_ends(self, tmp_path: Path) -> None:
        steps = []

        def report(step: int, value: float) -> Order:
            steps.append((step, value))
            return Order.STOP if step == 2 else Order.OK

        script = f"sleep 60 & echo $! > {tmp_path}/pid; for i in 1 2 3; do echo step=$i loss=$i; done; wait"
        trial = ActiveTrial(0, {}, 0, on_report=report)
        with pytest.raises(AttemptEndedError):
            run_attempt(command_driver(["sh", "-c", script], LOSS), None, trial, metric="loss")
        assert steps == [(1, 1.0), (2, 2.0)]
        assert is_gone(int((tmp_path / "pid").read_text()))

    def test_a_silent_one_is_told_to_end_and_may_tidy_up(self, tmp_path: Path) -> None:
        script = f"trap 'echo > {tmp_path}/tidied; exit' TERM; echo > {tmp_path}/begun; while :; do sleep 0.05; done"

        def order() -> Order:
            return Order.CANCEL if (tmp_path / "begun").exists() else Order.OK

        with pytest.raises(AttemptEndedError):
            run_attempt(
                command_driver(["sh", "-c", script], LOSS), None, ActiveTrial(0, {}, 0, order=order), metric="loss"
            )
        assert (tmp_path / "tidied").exists()

    def test_it_dies_with_its_parent(self, tmp_path: Path) -> None:
        code = (
            "from optml_queue.command.driver import command_driver\n"
            "from optml_queue.driver import ActiveTrial, Metric\n"
            f"command_driver(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 60'], Metric('x'))"
            ".train(ActiveTrial(0, {}, 0))"
        )
        parent = subprocess.Popen([sys.executable, "-c", code])
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        parent.kill()
        parent.wait()
        assert is_gone(int((tmp_path / "pid").read_text()))
