"""What a worker's process runs, and what it refuses, without a broker or a store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from optml_queue.archive import open_archive, program
from optml_queue.driver import ActiveTrial, Order
from optml_queue.errors import ArchiveError, AttemptFailedError
from optml_queue.settings import Settings, read_settings
from optml_queue.spec import Algorithm, Program, Spec, parse_spec
from optml_queue.store import Assignment
from optml_queue.trial import Reason, TrialState
from optml_queue.worker.attempt import Attempt
from optml_queue.worker.execution import Execution

PROGRAM = """
name: own
program: own.py
metric: loss
parameters: {rate: 0.5}
"""
COMMAND = """
name: own
command: [echo, "loss={rate}"]
metric: loss
parameters: {rate: 0.5}
"""


class OneSpec:
    """A store that knows one experiment's spec."""

    def __init__(self, spec: Spec) -> None:
        self._text = spec.to_json()

    def spec(self, _experiment: str) -> str:
        return self._text


def settings_of(folder: Path, *, allow: bool = True) -> Settings:
    places = {"OPTML_ARCHIVE_URL": str(folder / "archive"), "OPTML_CACHE_DIR": str(folder / "cache")}
    return read_settings({**places, **({"OPTML_ALLOW_PROGRAMS": "true"} if allow else {})})


def execution(folder: Path, spec: Spec, *, allow: bool = True) -> Execution:
    store: Any = OneSpec(spec)
    return Execution(settings_of(folder, allow=allow), store, None, None)


@pytest.fixture
def submitted(tmp_path: Path) -> Spec:
    """A program that lies in the archive, and no longer where it came from."""
    (tmp_path / "own.py").write_text("def train(trial): return {'loss': trial.params['rate']}")
    spec = parse_spec(PROGRAM, "own.yaml", tmp_path)
    assert isinstance(spec.code, Program)
    digest = program.upload(open_archive(str(tmp_path / "archive")), tmp_path / "own.py")
    (tmp_path / "own.py").unlink()
    return replace(spec, code=spec.code.packed(digest))


def trial() -> ActiveTrial:
    return ActiveTrial(0, {"rate": 0.5}, 0)


def test_a_program_comes_out_of_the_archive(tmp_path: Path, submitted: Spec) -> None:
    result = execution(tmp_path, submitted).train(trial(), "own-abcde")
    assert (result.state, result.metrics) == (TrialState.COMPLETE, {"loss": 0.5})


def test_a_program_of_another_digest_does_not_run(tmp_path: Path, submitted: Spec) -> None:
    assert isinstance(submitted.code, Program)
    other = replace(submitted, code=submitted.code.packed("0" * 64))
    with pytest.raises(ArchiveError, match="has no programs/0000"):
        execution(tmp_path, other).train(trial(), "own-abcde")


@pytest.mark.parametrize("kind", ["program", "command", "algorithm"])
def test_what_users_submit_runs_only_where_it_is_allowed(tmp_path: Path, submitted: Spec, kind: str) -> None:
    spec = {
        "program": submitted,
        "command": parse_spec(COMMAND, "own.yaml", tmp_path),
        # The path of a folder on the worker is no algorithm of the package either.
        "algorithm": replace(submitted, code=Algorithm(str(tmp_path))),
    }[kind]
    with pytest.raises(
        AttemptFailedError, match=f"has a {kind}; start workers with OPTML_ALLOW_PROGRAMS=true"
    ) as raised:
        execution(tmp_path, spec, allow=False).train(trial(), "own-abcde")
    assert raised.value.reason == Reason.ERROR
    assert not (tmp_path / "cache").exists()


def test_algorithms_of_the_package_run_everywhere(tmp_path: Path) -> None:
    text = "name: lms\nalgorithm: lms\nparameters: {learning_rate: 1e-6}\n"
    run = execution(tmp_path, parse_spec(text, "lms.yaml", tmp_path), allow=False)
    assert run.train(ActiveTrial(0, {"learning_rate": 1e-6}, 0), "lms-abcde").state is TrialState.COMPLETE


def test_commands_run_too(tmp_path: Path) -> None:
    spec = parse_spec(COMMAND, "own.yaml", tmp_path)
    assert execution(tmp_path, spec).train(trial(), "own-abcde").metrics == {"loss": 0.5}


class Told(OneSpec):
    """A store that runs one attempt, and remembers what it was told."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.told: list[str] = []

    def checkpoint(self, _experiment: str, _number: int, _token: str, key: str) -> Order:
        self.told.append(key)
        return Order.OK

    def release(self, *_: Any, error: str, failed: bool, **_more: Any) -> str:
        self.told.append(f"released, failed={failed}: {error}")
        return "queued"

    def finish(self, *_: Any) -> str:
        self.told.append("finished")
        return "accepted"

    def server_run_id(self) -> str:
        return "the same"


def attempt_on_a_worker_that_ends(folder: Path, call: str, archive: str = "archive") -> list[str]:
    """What the store is told by a program that makes this call and returns."""
    (folder / "own.py").write_text(f"def train(trial):\n    {call}\n    return {{'loss': 0.5}}")
    store: Any = Told(parse_spec(PROGRAM, "own.yaml", folder))
    settings = settings_of(folder).model_copy(update={"archive_url": str(folder / archive)})
    run = Execution(settings, store, None, None)
    run.ending.begin()
    Attempt(run, "own-abcde", 0, "token", Assignment(1, {"rate": 0.5}, 0)).run()
    return list(store.told)


@pytest.mark.parametrize("call", ["trial.checkpoint_if_due(lambda: {'step': 1})", "trial.checkpoint({'step': 1})"])
def test_a_worker_that_ends_hands_on_whoever_kept_a_checkpoint(tmp_path: Path, call: str) -> None:
    told = attempt_on_a_worker_that_ends(tmp_path, call)
    assert told == ["own-abcde/checkpoints/0/1-1.npz", "released, failed=False: the worker was told to end"]


def test_whoever_offers_none_or_could_not_keep_it_may_finish(tmp_path: Path) -> None:
    assert attempt_on_a_worker_that_ends(tmp_path, "trial.should_stop()") == ["finished"]
    (tmp_path / "refusing").touch()
    call = "trial.checkpoint_if_due(lambda: {'step': 1})"
    assert attempt_on_a_worker_that_ends(tmp_path, call, archive="refusing") == ["finished"]


def test_an_algorithm_is_prepared_once_for_an_experiment_and_may_fail_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Queue[str] = Queue()

    def prepare() -> None:
        calls.put("prepared")
        raise RuntimeError("told again by train")

    text = "name: lms\nalgorithm: lms\nparameters: {learning_rate: 1e-6}\n"
    spec = parse_spec(text, "lms.yaml", tmp_path)
    driver = replace(spec.driver, prepare=prepare)
    monkeypatch.setattr(Spec, "driver", driver)
    run = execution(tmp_path, spec)
    for number in range(2):
        run.train(ActiveTrial(number, {"learning_rate": 1e-6}, 0), "lms-abcde")
    assert calls.get(timeout=10) == "prepared"
    assert calls.empty()
