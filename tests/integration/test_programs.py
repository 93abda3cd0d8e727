"""Users' programs and commands on real workers: what they keep, and how their ends are told apart.

All experiments are submitted at once, before the first test; each test waits for its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import numpy as np
import pytest

from optml_queue.archive import open_archive
from optml_queue.archive.kept import output
from optml_queue.checkpoint import decode_state
from optml_queue.embedded import down
from optml_queue.spec import parse_spec
from optml_queue.store import Experiment, ExperimentState
from optml_queue.trial import Trial, TrialState
from tests.cluster import Cluster, cluster
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

TIMES = {
    "OPTML_BEAT_S": "0.3",
    "OPTML_LEASE_S": "1.2",
    "OPTML_VISIBILITY_S": "1.5",
    "OPTML_GRACE_S": "2",
}
ONCE = "retry: {max_attempts: 1}"

# Each program's `train`, and what its spec has beside it.
PROGRAMS: dict[str, tuple[str, str]] = {
    "cancelled": ("ctypes.PyDLL(None).sleep(60)", ONCE),
    "healthy": ("ctypes.PyDLL(None).sleep(3)\nreturn {'loss': 1.0}", ONCE),
    "timeout": ("ctypes.PyDLL(None).sleep(60)", f"{ONCE}\ntimeout: 1s"),
    "segfault": ("print('so far so good')\nctypes.string_at(0)", ONCE),
    "resumed": (
        """
        state = trial.restore() or {"epoch": 0, "weights": np.zeros(2), "notes": {"list": [None, 0.1]}}
        for epoch in range(state["epoch"] + 1, 6):
            print("attempt", trial.attempt, "epoch", epoch)
            trial.report(epoch, 1.0 / epoch)
            state = {**state, "epoch": epoch, "weights": state["weights"] + epoch}
            trial.checkpoint(state)
            if epoch == 4 and trial.attempt == 1:
                os.kill(os.getpid(), 9)
        (trial.scratch / "model" / "deep").mkdir(parents=True)
        (trial.scratch / "model" / "deep" / "weights.txt").write_text(str(state["weights"]))
        trial.artifact("model")
        return {"loss": state["weights"].sum(), "scratches": len(list(trial.scratch.parent.glob("trial-*")))}
        """,
        "",
    ),
    "memory": (
        """
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2**31, limits[1]))
        try:
            return {"loss": float(np.zeros(2**30)[0])}
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        """,
        ONCE,
    ),
    "flood": (
        """
        print("the first line")
        for _ in range(60):
            os.write(1, b"x" * 99 + b"\\n" + b"y" * 2**20)
            time.sleep(0.01)
        print("the last line")
        return {"loss": 1.0}
        """,
        ONCE,
    ),
}
# What a command does; $1 is a folder for marks.
SCRIPTS: dict[str, tuple[str, str]] = {
    "hangs": (
        "sleep 60 & echo $! > $1/child; echo $$ > $1/pid; echo waiting >&2; wait",
        f"{ONCE}\ntimeout: 1s",
    ),
    "orphaned": ("sleep 60 & echo $! > $1/child; echo $$ > $1/pid; wait", ONCE),
    "polite": ("trap 'echo > $1/end; exit' TERM; echo $$ > $1/pid; while :; do sleep 0.1; done", ONCE),
    "exits": ("echo out; echo 'no such column: x' >&2; exit 3", ONCE),
    "steps": ("echo step=1 loss=2; echo step=2 loss=1; echo loss=$OPTML_PARAM_X n={number}; cat data.txt", ONCE),
}


class Lab:
    """The workers, and the experiments by name."""

    def __init__(self, workers: Cluster, folder: Path) -> None:
        self.workers = workers
        self.folder = folder
        self.archive = open_archive(str(workers.folder / "archive"))
        self.ids: dict[str, str] = {}

    def submit_program(self, name: str, body: str, more: str = "", parameters: str = "{x: {value: 1}}") -> str:
        head = "import ctypes, os, resource, time\nimport numpy as np\n\n\ndef train(trial):\n"
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(head + indent(dedent(body).strip(), "    ") + "\n")
        return self._submit(name, f"program: {name}\nparameters: {parameters}\n{more}")

    def submit_command(self, name: str, script: str, more: str) -> str:
        folder = self.folder / name
        folder.mkdir()
        (folder / "data.txt").write_text("loss of nothing\n")
        command = f"command: [sh, -c, {script!r}, sh, {folder}]\nfiles: {name}"
        return self._submit(name, f"{command}\nparameters: {{x: {{value: 0.25}}}}\n{more}")

    def _submit(self, name: str, text: str) -> str:
        spec = parse_spec(f"name: {name}\nmetric: loss\n{text}\n", f"{name}.yaml", self.folder)
        self.ids[name] = self.workers.submit_spec(spec)
        return self.ids[name]

    def trial(self, name: str, number: int = 0) -> Trial:
        """A trial, once its experiment is over."""
        self.workers.end(self.ids[name])
        return self.workers.trials(self.ids[name])[number]

    def written(self, name: str, attempt: int = 1) -> str:
        """What an attempt wrote, out of the archive."""
        return output(self.archive, self.ids[name], 0, attempt)

    def pid(self, name: str, mark: str = "pid") -> int:
        """A process that a command noted."""
        path = self.folder / name / mark
        self.workers.until(lambda: path.exists() and path.read_text().endswith("\n"), f"{mark} of {name}")
        return int(path.read_text())

    def until_gone(self, pid: int) -> None:
        self.workers.until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), f"end of process {pid}", 10)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with (
        valkey_server() as server,
        cluster({"OPTML_BROKER_URL": server.url, **TIMES}, tmp_path_factory.mktemp("workers"), 3) as workers,
    ):
        lab = Lab(workers, folder)
        for name, (body, more) in PROGRAMS.items():
            lab.submit_program(name, body, more)
        for name, (script, more) in SCRIPTS.items():
            if name != "orphaned":
                lab.submit_command(name, script, more)
        workers.until(lambda: workers.trials(lab.ids["cancelled"])[0].state is TrialState.RUNNING, "first trial")
        workers.store.cancel(lab.ids["cancelled"])
        yield lab


class TestPrograms:
    def test_a_killed_attempt_goes_on_from_its_checkpoint(self, lab: Lab) -> None:
        trial = lab.trial("resumed")
        assert (trial.state, trial.attempts) == (TrialState.COMPLETE, 2)
        assert trial.metrics == {"loss": 30.0, "scratches": 1.0}, "1 to 5 once each; a clean place"
        (lost,) = lab.workers.store.attempts(trial_id := lab.ids["resumed"], 0)
        assert (lost.reason, lost.output.splitlines()[-1]) == ("lost", "attempt 1 epoch 4")
        assert lab.written("resumed", 2).splitlines() == ["attempt 2 epoch 5"]
        kept = list(lab.archive.keys(f"{trial_id}/checkpoints"))
        assert kept == [f"{trial_id}/checkpoints/0/{name}.npz" for name in ("1-4", "2-1")]
        state = decode_state(lab.archive.get(kept[1]))
        assert (state["epoch"], state["notes"]) == (5, {"list": [None, 0.1]})
        np.testing.assert_array_equal(state["weights"], [15.0, 15.0])
        assert lab.archive.get(f"{trial_id}/artifacts/0/model/deep/weights.txt") == b"[15. 15.]"

    def test_versions_side_by_side_do_not_mix(self, lab: Lab) -> None:
        for version in (1, 2):
            parameters = "{x: {min: 0, max: 9, step: 1}}"
            lab.submit_program(f"v{version}", f"return {{'loss': {version}}}", parameters=parameters)
        for version in (1, 2):
            lab.trial(f"v{version}")
            losses = {trial.metrics["loss"] for trial in lab.workers.trials(lab.ids[f"v{version}"])}
            assert losses == {float(version)}

    def test_a_crash_says_where(self, lab: Lab) -> None:
        trial = lab.trial("segfault")
        assert (trial.state, trial.reason, trial.error) == (TrialState.FAILED, "crashed", "crashed (SIGSEGV)")
        (crash,) = lab.workers.store.attempts(lab.ids["segfault"], 0)
        assert crash.output.startswith("so far so good\n")
        assert 'train.py", line 7 in train' in crash.output

    def test_running_out_of_memory_has_its_name(self, lab: Lab) -> None:
        trial = lab.trial("memory")
        assert (trial.state, trial.reason) == (TrialState.FAILED, "out_of_memory")

    def test_a_flood_is_kept_with_its_beginning_and_its_end(self, lab: Lab) -> None:
        assert lab.trial("flood").state is TrialState.COMPLETE
        text = lab.written("flood")
        assert text.startswith("the first line\n")
        assert text.endswith("the last line\n")
        assert "some output is left out" in text
        assert len(text) < 300_000


class TestReuse:
    def test_the_same_again_runs_nothing_and_with_another_file_everything(self, lab: Lab) -> None:
        first, ran = self._end(lab, 7)
        assert (first.reused, [trial.attempts for trial in ran]) == (0, [1] * 12)
        again, trials = self._end(lab, 7)
        assert (again.reused, [trial.attempts for trial in trials]) == (12, [0] * 12)
        results = [[(t.state, t.params, str(t.metrics), t.reason) for t in found] for found in (ran, trials)]
        assert results[0] == results[1]
        assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.DIVERGED}
        assert trials[7].reused_from == f"{first.id}/7"
        changed, trials = self._end(lab, 6)
        assert (changed.reused, [trial.attempts for trial in trials]) == (0, [1] * 12)

    @staticmethod
    def _end(lab: Lab, period: int) -> tuple[Experiment, list[Trial]]:
        """A grid over a series, when it has ended."""
        (lab.folder / "series.csv").write_text("".join(f"{i % period}\n" for i in range(200)))
        rates = "parameters: {learning_rate: [0.5, 1e-3, 1e-6], filter_size: {min: 3, max: 6, step: 1}}"
        text = f"name: again\nalgorithm: lms\ndata: {{csv: series.csv}}\n{rates}\nreuse: true\n"
        experiment = lab.workers.submit_spec(parse_spec(text, "again.yaml", lab.folder))
        return lab.workers.end(experiment), lab.workers.trials(experiment)


class TestInAFolder:
    """The local queue lets users' code run: who can submit to it could run it without."""

    def test_from_a_file_to_the_best_trials_model(self, tmp_path: Path) -> None:
        (tmp_path / "fit.py").write_text(
            "def train(trial):\n"
            "    print('x is', trial.params['x'])\n"
            "    trial.log('a line')\n"
            "    (trial.scratch / 'model.txt').write_text(str(trial.params['x']))\n"
            "    trial.artifact('model.txt')\n"
            "    return {'loss': trial.params['x'] ** 2}\n"
        )
        (tmp_path / "fit.yaml").write_text("name: fit\nprogram: fit.py\nmetric: loss\nparameters: {x: [3, 1, 2]}\n")
        try:
            self.optml(tmp_path, "submit", "fit.yaml", "--quiet", "--workers", "1")
            assert "brought best/model.txt" in self.optml(tmp_path, "best", "latest", "--fetch", "best").stderr
            assert (tmp_path / "best" / "model.txt").read_text() == "1"
            lines = self.optml(tmp_path, "logs", "latest", "1").stdout.splitlines()
            assert lines[:3] == ["a line", "attempt 1 wrote:", "    x is 1"]
        finally:
            down(tmp_path / "optml-results")

    @staticmethod
    def optml(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = "from optml_queue.cli.main import main; main()"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPTML_")}
        environment = clean | {"OPTML_CACHE_DIR": str(folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


class TestInterpreterHeldByCode:
    def test_a_healthy_trial_keeps_its_lease(self, lab: Lab) -> None:
        trial = lab.trial("healthy")
        assert (trial.state, trial.attempts) == (TrialState.COMPLETE, 1)
        assert trial.run_s is not None
        assert trial.run_s > 2 * float(TIMES["OPTML_LEASE_S"])

    def test_its_timeout_ends_it(self, lab: Lab) -> None:
        trial = lab.trial("timeout")
        assert (trial.state, trial.reason) == (TrialState.FAILED, "timeout")

    def test_cancelling_ends_it(self, lab: Lab) -> None:
        assert lab.workers.end(lab.ids["cancelled"]).state is ExperimentState.CANCELLED
        assert lab.trial("cancelled").state is TrialState.CANCELLED


class TestCommands:
    def test_metrics_come_from_its_lines(self, lab: Lab) -> None:
        trial = lab.trial("steps")
        assert (trial.state, trial.metrics) == (TrialState.COMPLETE, {"loss": 0.25, "n": 0.0})
        assert lab.workers.store.curve(lab.ids["steps"], 0) == {1: 2.0, 2: 1.0}
        assert lab.written("steps").endswith("loss of nothing\n"), "the file that was shipped"

    def test_its_exit_code_is_told_with_its_last_words(self, lab: Lab) -> None:
        trial = lab.trial("exits")
        assert (trial.state, trial.reason) == (TrialState.FAILED, "exit_code")
        assert trial.error == "command sh: exited with code 3: no such column: x"
        (failed,) = lab.workers.store.attempts(lab.ids["exits"], 0)
        assert sorted(failed.output.splitlines()) == ["no such column: x", "out"]
        assert sorted(lab.written("exits").splitlines()) == ["no such column: x", "out"]

    def test_a_timeout_ends_all_that_it_started(self, lab: Lab) -> None:
        trial = lab.trial("hangs")
        assert (trial.state, trial.reason) == (TrialState.FAILED, "timeout")
        (ended,) = lab.workers.store.attempts(lab.ids["hangs"], 0)
        assert ended.output == "waiting\n"
        for mark in ("pid", "child"):
            lab.until_gone(lab.pid("hangs", mark))

    def test_cancelling_lets_it_end_in_order(self, lab: Lab) -> None:
        pid = lab.pid("polite")
        lab.workers.store.cancel(lab.ids["polite"])
        assert lab.trial("polite").state is TrialState.CANCELLED
        lab.until_gone(pid)
        assert (lab.folder / "polite" / "end").exists()

    def test_it_ends_with_its_worker_however_that_ended(self, lab: Lab) -> None:
        lab.submit_command("orphaned", *SCRIPTS["orphaned"])
        pids = [lab.pid("orphaned"), lab.pid("orphaned", "child")]
        os.kill(lab.workers.mains()[lab.workers.trials(lab.ids["orphaned"])[0].worker], signal.SIGKILL)
        for pid in pids:
            lab.until_gone(pid)
        assert lab.trial("orphaned").reason == "lost"
