"""Users' programs: how they are found, loaded beside each other, and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from optml_queue.driver import ActiveTrial, Driver, Goal, Metric
from optml_queue.errors import AttemptFailedError, DriverError
from optml_queue.program import entry_of, load_program, requirement_problem, top_names
from optml_queue.runner import run_attempt
from optml_queue.trial import Reason

LOSS = Metric("loss")
TRAIN = "def train(trial):\n    return {'loss': 1.0}\n"


def project(parent: Path, name: str = "project", **files: str) -> Path:
    folder = parent / name
    for file, text in files.items():
        path = folder / f"{file.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


def loss(driver: Driver) -> float:
    return driver.train(ActiveTrial(0, {}, 0))["loss"]


class TestEntry:
    def test_a_file_is_its_own(self, tmp_path: Path) -> None:
        assert entry_of(project(tmp_path, fit=TRAIN) / "fit.py") == "fit.py"

    def test_a_folder_has_driver_or_train(self, tmp_path: Path) -> None:
        assert entry_of(project(tmp_path, "one", train=TRAIN)) == "train.py"
        assert entry_of(project(tmp_path, "two", train=TRAIN, driver=TRAIN)) == "driver.py"

    def test_anything_else_is_told(self, tmp_path: Path) -> None:
        folder = project(tmp_path, model=TRAIN)
        with pytest.raises(DriverError, match=r"project: the folder has no driver\.py and no train\.py"):
            entry_of(folder)
        with pytest.raises(DriverError, match="absent: no such file or folder"):
            entry_of(tmp_path / "absent")
        (folder / "my-model.py").touch()
        with pytest.raises(DriverError, match=r"my-model\.py: a program is a Python file, named like train\.py"):
            entry_of(folder / "my-model.py")


class TestLoading:
    def test_files_import_each_other_as_a_scripts_would(self, tmp_path: Path) -> None:
        folder = project(
            tmp_path,
            train="""
                import layers
                import net.deep
                from net import deep as again
                from .layers import one

                def train(trial):
                    import net.late
                    from layers import one as late_one
                    return {"loss": layers.one() + net.deep.two() + again.two() + one() + net.late.three() + late_one()}
            """,
            layers="def one(): return 1",
            net__deep="import layers\nfrom ..layers import one\ndef two(): return layers.one() + one()",
            net__late="def three(): return 3",
        )
        assert loss(load_program(folder, "train.py", LOSS)) == 10
        assert not {"layers", "net", "train"} & set(sys.modules)

    def test_a_file_beside_goes_before_a_library_of_its_name(self, tmp_path: Path) -> None:
        folder = project(
            tmp_path,
            train="import json\ndef train(trial): return {'loss': json.LOSS}",
            json="LOSS = 7",
        )
        assert loss(load_program(folder, "train.py", LOSS)) == 7
        import json

        assert not hasattr(json, "LOSS")

    def test_libraries_are_imported_as_ever(self, tmp_path: Path) -> None:
        folder = project(
            tmp_path,
            train="import os.path, numpy as np\nfrom os import path\n"
            "def train(trial): return {'loss': np.float64(os.path is path)}",
        )
        assert loss(load_program(folder, "train.py", LOSS)) == 1

    def test_versions_live_side_by_side(self, tmp_path: Path) -> None:
        files = {"train": "import layers\ndef train(trial): return {'loss': layers.ONE}"}
        old = load_program(project(tmp_path, layers="ONE = 1", **files), "train.py", LOSS)
        assert loss(old) == 1
        new = load_program(project(tmp_path, layers="ONE = 2", **files), "train.py", LOSS)
        copy = load_program(project(tmp_path / "copy", layers="ONE = 1", **files), "train.py", LOSS)
        assert (loss(new), loss(old), loss(copy)) == (2, 1, 1)
        assert old.digest != new.digest
        assert old.digest == copy.digest

    def test_a_file_alone_sees_none_beside_it(self, tmp_path: Path) -> None:
        folder = project(tmp_path, train="import layers\n" + TRAIN, layers="")
        with pytest.raises(DriverError, match=r"train\.py:1: cannot be loaded: ModuleNotFoundError: No module named"):
            loss(load_program(folder / "train.py", "train.py", LOSS))

    def test_nothing_runs_before_the_first_trial(self, tmp_path: Path) -> None:
        folder = project(tmp_path, train="raise SystemExit('ran')\n" + TRAIN)
        driver = load_program(folder, "train.py", LOSS)
        with pytest.raises(AttemptFailedError) as raised:
            run_attempt(driver, None, ActiveTrial(0, {}, 0), metric="loss")
        assert raised.value.reason == Reason.ERROR
        assert raised.value.error == f"{folder / 'train.py'}:1: cannot be loaded: SystemExit: ran"
        (folder / "train.py").write_text(TRAIN)
        assert loss(load_program(folder, "train.py", LOSS)) == 1.0

    def test_a_traceback_begins_in_the_program(self, tmp_path: Path) -> None:
        folder = project(
            tmp_path,
            train="from net import deep\ndef train(trial): return deep.fail()",
            net__deep="def fail(): raise KeyError('x')",
        )
        with pytest.raises(AttemptFailedError) as raised:
            run_attempt(load_program(folder, "train.py", LOSS), None, ActiveTrial(0, {}, 0), metric="loss")
        lines = raised.value.traceback.splitlines()
        assert lines[1].strip().startswith(f'File "{folder / "train.py"}", line 2')
        assert "runner.py" not in raised.value.traceback

    @pytest.mark.parametrize(
        ("train", "told"),
        [
            ("def train(:", r"train\.py:1: invalid syntax"),
            ("x = 1\0", r"train\.py.*null bytes"),
            ("def fit(trial): pass", r"train\.py: train: must be a function train\(trial\), it is missing"),
            ("class Model:\n    def train(self, trial): pass", "it is missing"),
            ("METRICS = ()\ndef train(): pass", r"train: must be a function train\(trial\), got train\(\)"),
        ],
    )
    def test_what_is_no_program_is_told_at_once(self, tmp_path: Path, train: str, told: str) -> None:
        folder = project(tmp_path)
        folder.mkdir()
        (folder / "train.py").write_text(train)
        with pytest.raises(DriverError, match=told):
            load_program(folder, "train.py", LOSS)


class TestDeclarations:
    def test_one_that_declares_nothing_takes_anything(self, tmp_path: Path) -> None:
        driver = load_program(project(tmp_path, train=TRAIN), "train.py", Metric("loss", Goal.MAXIMIZE))
        assert (driver.parameters, driver.data, driver.title) == ({}, (), "program train.py")
        assert driver.metrics == {"loss": Metric("loss", Goal.MAXIMIZE)}
        assert driver.other_parameters

    def test_what_is_declared_is_checked(self, tmp_path: Path) -> None:
        head = "from optml_queue.driver import Metric, Parameter\n"
        declared = f"{head}PARAMETERS = (Parameter('rate', float, 0.1),)\n{TRAIN}"
        driver = load_program(project(tmp_path, train=declared), "train.py", LOSS)
        assert (driver.complete({}), driver.other_parameters, driver.kind) == ({"rate": 0.1}, False, "program")
        assert list(driver.metrics) == ["loss"]
        wrong = f"{head}METRICS = [Metric('loss')]\n{TRAIN}"
        with pytest.raises(DriverError, match=r"train\.py: METRICS: must be a tuple of Metric, got \["):
            load_program(project(tmp_path, "wrong", train=wrong), "train.py", LOSS)

    def test_functions_of_other_names_are_the_programs_own(self, tmp_path: Path) -> None:
        declared = "from optml_queue.driver import Metric\nMETRICS = (Metric('loss'),)\n"
        own = f"{declared}def cost(): pass\ncheck = 1\n{TRAIN}"
        driver = load_program(project(tmp_path, train=own), "train.py", LOSS)
        assert (driver.cost, driver.check, driver.other_parameters) == (None, None, True)

    def test_only_the_top_level_declares(self) -> None:
        source = b"""
import numpy as np
from os import path as where
if True:
    RATE = 1
def f():
    METRICS = 1
class Model:
    DATA = 2
for i in range(3): pass
"""
        assert top_names(Path("x.py"), source) == {"np", "where", "RATE", "f", "Model", "i"}


class TestRequirements:
    @pytest.mark.parametrize("text", ["numpy", "numpy>=1", "PyYAML", "yaml", "celery>=5,<7"])
    def test_what_is_there(self, text: str) -> None:
        assert requirement_problem(text) == ""

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("no-such-package", "this machine lacks the package no-such-package (requirements)"),
            ("no_such_module>=2", "this machine lacks the package no_such_module>=2"),
            ("numpy>=99", "and numpy>=99 is required"),
            ("yaml>=1", "this machine lacks the package yaml>=1"),
            ("; rm", "is not the name of a package"),
        ],
    )
    def test_what_is_missing_is_named(self, text: str, told: str) -> None:
        assert told in requirement_problem(text)

    def test_an_attempt_without_it_fails_by_its_name(self, tmp_path: Path) -> None:
        driver = load_program(project(tmp_path, train=f"import nonesuch\n{TRAIN}"), "train.py", LOSS, ["nonesuch>=2"])
        with pytest.raises(AttemptFailedError) as raised:
            run_attempt(driver, None, ActiveTrial(0, {}, 0), metric="loss")
        assert raised.value.error.startswith("program train.py: this machine lacks the package nonesuch>=2")
