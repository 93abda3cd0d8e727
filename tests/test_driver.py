"""Loading algorithms, and every rule of the contract that one can break."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from optml_queue import driver as driver_module
from optml_queue.driver import (
    ActiveTrial,
    Driver,
    Goal,
    Order,
    Parameter,
    algorithm_names,
    algorithms_dir,
    load_driver,
)
from optml_queue.errors import AttemptEndedError, DriverError

DRIVER = """
from optml_queue.driver import Goal, Metric, Parameter

from .functions import doubled

PARAMETERS = (Parameter("rate", float, above=0.0), Parameter("sizes", list, default=[1, 2]))
METRICS = (Metric("loss"), Metric("score", Goal.MAXIMIZE))
DATA = ("sunspots",)


def train(trial):
    value = doubled(trial.params["rate"])
    return {"loss": value, "score": -value}
"""
FUNCTIONS = """
def doubled(value):
    return 2 * value
"""


def algorithm(parent: Path, driver: str = DRIVER, functions: str = FUNCTIONS, name: str = "custom") -> Path:
    folder = parent / name
    folder.mkdir(exist_ok=True)
    (folder / "driver.py").write_text(dedent(driver))
    (folder / "functions.py").write_text(dedent(functions))
    return folder


def with_line(line: str) -> str:
    return f"{DRIVER}\n{line}\n"


class TestLoading:
    def test_a_folder_becomes_a_driver(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path)
        driver = load_driver(folder)
        assert (driver.name, driver.path) == ("custom", folder)
        assert list(driver.parameters) == ["rate", "sizes"]
        assert [metric.goal for metric in driver.metrics.values()] == [Goal.MINIMIZE, Goal.MAXIMIZE]
        assert driver.data == ("sunspots",)
        assert driver.cost is None
        assert driver.train(ActiveTrial(0, {"rate": 1.5}, 0)) == {"loss": 3.0, "score": -3.0}

    def test_a_path_may_be_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = algorithm(tmp_path)
        monkeypatch.chdir(tmp_path)
        assert load_driver("./custom") is load_driver(str(folder)) is load_driver(folder)

    def test_an_edited_folder_is_loaded_beside_its_older_version(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path)
        before = load_driver(folder)
        # As long as the old file, and within its second: a compiled file would be taken for current.
        algorithm(tmp_path, functions=FUNCTIONS.replace("2 *", "3 *"))
        after = load_driver(folder)
        assert after.digest != before.digest
        assert after.train(ActiveTrial(0, {"rate": 1.0}, 0))["loss"] == 3.0
        assert before.train(ActiveTrial(0, {"rate": 1.0}, 0))["loss"] == 2.0

    def test_folders_of_one_name_do_not_meet(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        one = load_driver(algorithm(tmp_path))
        two = load_driver(algorithm(tmp_path / "other"))
        assert one.digest == two.digest
        assert one.path != two.path
        assert one.train.__code__.co_filename == str(one.path / "driver.py")
        assert two.train.__code__.co_filename == str(two.path / "driver.py")

    def test_a_later_import_finds_the_folder_too(self, tmp_path: Path) -> None:
        lazily = DRIVER.replace("from .functions import doubled", "").replace(
            "    value =", "    from .functions import doubled\n    value ="
        )
        driver = load_driver(algorithm(tmp_path, lazily))
        assert driver.train(ActiveTrial(0, {"rate": 2.0}, 0))["loss"] == 4.0

    def test_a_third_file_counts_in_the_digest(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path)
        before = load_driver(folder).digest
        (folder / "constants.py").write_text("TWO = 2\n")
        (folder / "notes.txt").write_text("no source\n")
        with_constants = load_driver(folder).digest
        (folder / "notes.txt").write_text("still no source\n")
        assert before != with_constants == load_driver(folder).digest

    def test_loading_leaves_no_file_behind(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path)
        load_driver(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["driver.py", "functions.py"]

    def test_an_optional_cost_is_taken(self, tmp_path: Path) -> None:
        driver = load_driver(algorithm(tmp_path, with_line("def cost(params, rows): return 2.0 * rows")))
        assert driver.cost is not None
        assert driver.cost({}, 4) == 8.0

    def test_an_optional_preparation_is_taken(self, tmp_path: Path) -> None:
        driver = load_driver(algorithm(tmp_path, with_line("def prepare(): PARAMETERS[1].default.append(3)")))
        assert driver.prepare is not None
        driver.prepare()
        assert driver.parameters["sizes"].default == [1, 2, 3]
        assert load_driver(algorithm(tmp_path)).prepare is None

    def test_an_optional_check_is_taken(self, tmp_path: Path) -> None:
        assert load_driver(algorithm(tmp_path)).check is None
        line = "def check(params): return {'rate': 'must be even, got 3'} if params['rate'] == 3 else {}"
        driver = load_driver(algorithm(tmp_path, with_line(line)))
        assert driver.check is not None
        assert driver.check({"rate": 2}) == {}
        assert driver.check({"rate": 3}) == {"rate": "must be even, got 3"}

    def test_undeclared_parameters_are_taken_where_the_driver_says_so(self, tmp_path: Path) -> None:
        assert not load_driver(algorithm(tmp_path)).other_parameters
        assert load_driver(algorithm(tmp_path, with_line("OTHER_PARAMETERS = True"))).other_parameters

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(DriverError, match=r"no algorithm is called 'lsm'; did you mean 'lms'\? known are .*lms"):
            load_driver("lsm")

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DriverError, match=r"absent: no such folder; an algorithm is a folder with driver\.py and"):
            load_driver(tmp_path / "absent")

    def test_an_installed_package_brings_its_algorithms_with_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # site-packages may hold somebody else's `algorithms` beside the package.
        package = tmp_path / "site-packages" / "optml_queue"
        for folder in (package / "_algorithms", package.parent / "algorithms" / "foreign"):
            folder.mkdir(parents=True)
        (package.parent / "algorithms" / "foreign" / "driver.py").write_text(DRIVER)
        algorithm(package / "_algorithms")
        monkeypatch.setattr(driver_module, "__file__", str(package / "driver.py"))
        assert algorithms_dir() == package / "_algorithms"
        assert algorithm_names() == ["custom"]
        assert load_driver("custom").path == package / "_algorithms" / "custom"


class TestContract:
    @pytest.mark.parametrize("name", ["driver.py", "functions.py"])
    def test_both_files_must_be_there(self, tmp_path: Path, name: str) -> None:
        folder = algorithm(tmp_path)
        (folder / name).unlink()
        with pytest.raises(DriverError, match=rf"custom/{name}: is missing; an algorithm is a folder with"):
            load_driver(folder)

    @pytest.mark.parametrize("name", ["Custom", "my-filter", "2nd"])
    def test_the_folder_has_a_plain_name(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DriverError, match="an algorithm's folder is named in lower case"):
            load_driver(algorithm(tmp_path, name=name))

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("PARAMETERS = [Parameter('rate', float)]", "PARAMETERS: must be a tuple of Parameter, got [Parameter("),
            ("PARAMETERS = ('rate',)", "PARAMETERS: must be a tuple of Parameter, but holds 'rate'"),
            ("del PARAMETERS", "PARAMETERS: must be a tuple of Parameter, it is missing"),
            ("METRICS = ()", "METRICS: must name at least one"),
            ("DATA = ()", "DATA: must name at least one"),
            ("DATA = 'sunspots'", "DATA: must be a tuple of str, got 'sunspots'"),
            ("PARAMETERS *= 2", "PARAMETERS: 'rate' is already a parameter"),
            ("METRICS *= 2", "METRICS: 'loss' is already"),
            ("METRICS = (Metric('rate'),)", "METRICS: 'rate' is already a parameter"),
            ("METRICS = (Metric('nmse', 'minimize'),)", "METRICS: nmse: goal must be a Goal, got 'minimize'"),
            ("PARAMETERS = (Parameter('seed', int),)", "PARAMETERS: 'seed' is already a column of the results"),
            ("METRICS = (Metric('run_s'),)", "METRICS: 'run_s' is already a column of the results"),
            ("PARAMETERS = (Parameter('a b', int),)", "PARAMETERS: 'a b' is not a name"),
            ("PARAMETERS = (Parameter('a', dict),)", "PARAMETERS: a: kind must be one of bool, int, float, str, list"),
            ("PARAMETERS = (Parameter('a', int, 0.5),)", "PARAMETERS: a: the default must be an integer, got 0.5"),
            ("PARAMETERS = (Parameter('a', int, True),)", "PARAMETERS: a: the default must be an integer, got True"),
            ("PARAMETERS = (Parameter('a', int, 0, minimum=1),)", "PARAMETERS: a: the default must be >= 1, got 0"),
            ("PARAMETERS = (Parameter('a', str, choices=(1,)),)", "PARAMETERS: a: a choice must be text, got 1"),
            ("del train", "train: must be a function train(trial), it is missing"),
            ("train = 3", "train: must be a function train(trial), got 3"),
            ("def train(): pass", "train: must be a function train(trial), got train()"),
            ("OTHER_PARAMETERS = 'all'", "OTHER_PARAMETERS: must be True or False, got 'all'"),
            ("def check(): pass", "check: must be a function check(params), got check()"),
            ("def cost(params): pass", "cost: must be a function cost(params, rows), got cost(params)"),
            ("def prepare(trial): pass", "prepare: must be a function prepare(), got prepare(trial)"),
            ("PARAMETERS = (Parameter('a', int, items=int),)", "PARAMETERS: a: items is the kind of a list's items"),
            (
                "PARAMETERS = (Parameter('a', list, [0], items=int, minimum=1),)",
                "PARAMETERS: a: the default is a list whose items must be >= 1, got 0",
            ),
        ],
    )
    def test_a_broken_rule_is_told_by_file_rule_and_value(self, tmp_path: Path, line: str, told: str) -> None:
        driver = with_line(line)
        if line.startswith("METRICS *="):
            driver = driver.replace('Metric("score", Goal.MAXIMIZE)', "")
        folder = algorithm(tmp_path, driver)
        with pytest.raises(DriverError) as raised:
            load_driver(folder)
        assert str(raised.value).startswith(f"{folder / 'driver.py'}: {told}")

    def test_a_syntax_error_is_told_by_file_and_line(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path, functions="\n\ndef doubled(:\n")
        with pytest.raises(DriverError, match=r"custom/functions.py:3: invalid syntax"):
            load_driver(folder)

    @pytest.mark.parametrize(
        ("statement", "told"),
        [
            ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("raise SystemExit('bye')", "SystemExit: bye"),
            ("int('x')", "ValueError: invalid literal"),
        ],
    )
    def test_a_file_that_fails_to_run_is_told_by_file_and_line(self, tmp_path: Path, statement: str, told: str) -> None:
        folder = algorithm(tmp_path, functions=f"\n{statement}\n")
        with pytest.raises(DriverError) as raised:
            load_driver(folder)
        assert str(raised.value).startswith(f"{folder / 'functions.py'}:2: cannot be loaded: {told}")

    def test_a_repaired_folder_loads(self, tmp_path: Path) -> None:
        folder = algorithm(tmp_path, functions="def doubled(:\n")
        with pytest.raises(DriverError):
            load_driver(folder)
        assert load_driver(algorithm(tmp_path)).name == "custom"


class TestParameter:
    @pytest.mark.parametrize(
        ("parameter", "good", "bad"),
        [
            (Parameter("p", float, above=0.0), [1e-9, 1, 2.5], [0.0, -1.0, True, "1", float("nan"), float("inf")]),
            (Parameter("p", int, minimum=1, maximum=8), [1, 8], [0, 9, 1.0, True, "1"]),
            (Parameter("p", bool), [True, False], [0, 1, "true"]),
            (Parameter("p", str, choices=("a", "b")), ["a"], ["c", 1]),
            (Parameter("p", list), [[], [1, 2]], [1, "ab"]),
        ],
    )
    def test_values_are_judged_by_kind_and_range(
        self, parameter: Parameter, good: list[object], bad: list[object]
    ) -> None:
        assert [parameter.problem(value) for value in good] == [""] * len(good)
        assert all(repr(value) in parameter.problem(value) for value in bad)

    def test_bounds_of_a_list_are_those_of_its_items(self) -> None:
        sizes = Parameter("sizes", list, items=int, minimum=1)
        assert [sizes.problem(value) for value in ([], [1], [3, 2, 1])] == ["", "", ""]
        assert sizes.problem([3, 0]) == "is a list whose items must be >= 1, got 0 at [1]"
        assert sizes.problem([3, 2.5]) == "is a list whose items must be an integer, got 2.5 at [1]"
        assert sizes.problem(3) == "must be a list, got 3"


class TestDefaults:
    def test_a_point_is_completed(self, tmp_path: Path) -> None:
        driver = load_driver(algorithm(tmp_path))
        assert driver.complete({"rate": 0.5}) == {"rate": 0.5, "sizes": [1, 2]}
        assert driver.complete({"rate": 0.5, "sizes": [3]}) == {"rate": 0.5, "sizes": [3]}

    def test_a_trial_cannot_change_the_defaults_of_the_next(self, tmp_path: Path) -> None:
        driver: Driver = load_driver(algorithm(tmp_path))
        sizes = driver.complete({})["sizes"]
        assert isinstance(sizes, list)
        sizes.append(3)
        assert driver.complete({})["sizes"] == [1, 2]


class TestActiveTrial:
    @pytest.mark.parametrize("order", [order for order in Order if order is not Order.OK])
    def test_an_order_ends_the_attempt_at_its_next_report(self, order: Order) -> None:
        trial = ActiveTrial(0, {}, 0, on_report=lambda _step, _value: order, order=lambda: order)
        assert trial.should_stop()
        with pytest.raises(AttemptEndedError) as raised:
            trial.report(1, 0.5)
        assert raised.value.order == order

    def test_a_trial_on_its_own_reports_to_nobody(self) -> None:
        trial = ActiveTrial(0, {}, 0)
        trial.report(1, 0.5)
        trial.log("a line")
        assert not trial.should_stop()


def test_loading_lms_imports_neither_numba_nor_numpy() -> None:
    code = (
        "import sys; from optml_queue.driver import load_driver; load_driver('lms');"
        "sys.exit(str({'numba', 'numpy'} & set(sys.modules)) if {'numba', 'numpy'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
