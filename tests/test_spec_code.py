"""`program`, `command` and what goes with them: read, refused with line and rule, written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from optml_queue.driver import Goal
from optml_queue.errors import Problem, SpecError
from optml_queue.spec import Algorithm, Command, Program, Spec, load_spec, parse_spec

TRAIN = "def train(trial):\n    return {'loss': 1.0}\n"
REST = "metric: loss\nparameters: {learning_rate: [0.1, 0.2], depth: 3}\n"

_SECOND = "parameters.x.values[1]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "my_model").mkdir()
    (tmp_path / "my_model" / "driver.py").write_text(TRAIN)
    return tmp_path


def read(text: str, folder: Path) -> Spec:
    return parse_spec(f"name: t\n{text}", "grid.yaml", folder)


def problems(text: str, folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        read(text, folder)
    return caught.value.problems


class TestProgram:
    @pytest.mark.parametrize(
        ("path", "entry"), [("train.py", "train.py"), ("my_model", "driver.py"), (".", "train.py")]
    )
    def test_a_file_or_a_folder_beside_the_spec(self, folder: Path, path: str, entry: str) -> None:
        spec = read(f"program: {path}\nrequirements: [torch>=2, numpy]\n{REST}", folder)
        assert spec.code == Program(str((folder / path).resolve()), entry, ("torch>=2", "numpy"))
        assert (spec.metric, spec.goal, spec.data) == ("loss", Goal.MINIMIZE, None)
        assert [axis.name for axis in spec.space.axes] == ["learning_rate", "depth"]
        assert Spec.from_json(spec.to_json()) == spec
        assert parse_spec(spec.to_yaml(), "again.yaml", Path("/")) == spec

    def test_it_runs_from_where_it_lies(self, folder: Path) -> None:
        (folder / "spec.yaml").write_text(f"name: t\nprogram: my_model/\n{REST}")
        driver = load_spec(folder / "spec.yaml").driver
        assert (driver.name, driver.path) == ("driver.py", folder / "my_model")

    def test_the_goal_is_the_specs_and_any_data_are_taken(self, folder: Path) -> None:
        text = "program: train.py\nmetric: {name: score, goal: maximize, at: best}\nparameters: {x: 1}\n"
        spec = read(f"{text}data: {{name: channel, samples: 100}}\n", folder)
        assert (spec.metric, spec.goal, spec.at) == ("score", Goal.MAXIMIZE, "best")
        assert spec.data is not None
        assert spec.data.kind == "channel"

    def test_declarations_are_kept(self, folder: Path) -> None:
        head = "from optml_queue.driver import Goal, Metric, Parameter\nPARAMETERS = (Parameter('rate', float),)\n"
        (folder / "train.py").write_text(f"{head}METRICS = (Metric('score', Goal.MAXIMIZE),)\n{TRAIN}")
        spec = read("program: train.py\nparameters: {rate: 0.1}\n", folder)
        assert (spec.metric, spec.goal) == ("score", Goal.MAXIMIZE)
        found = problems("program: train.py\nmetric: loss\nparameters: {speed: 1}\n", folder)
        assert [(problem.key, problem.line) for problem in found] == [
            ("metric.name", 3),
            ("parameters.rate", 4),
            ("parameters.speed", 4),
        ]

    @pytest.mark.parametrize(
        ("text", "line", "key", "told"),
        [
            ("program: trian.py\n" + REST, 2, "program", "no such file or folder\n    did you mean 'train.py'"),
            ("program: s3://bucket/train.py\n" + REST, 2, "program", "must be a path on this machine"),
            ("program: ''\n" + REST, 2, "program", "is empty"),
            ("program: empty\n" + REST, 2, "program", "empty: the folder is empty"),
            ("program: other\n" + REST, 2, "program", "other: the folder has no driver.py and no train.py"),
            ("program: broken.py\n" + REST, 2, "program", "loaded: {folder}/broken.py:1: '(' was never closed"),
            ("program: fit.py\n" + REST, 2, "program", "fit.py: train: must be a function train(trial), it is missing"),
            ("program: train.py\nparameters: {x: 1}\n", 1, "metric", "is missing: what are trials judged by?"),
            ("program: train.py\nmetric: {goal: maximize}\nparameters: {x: 1}\n", 3, "metric.name", "is missing"),
            ("program: train.py\nmetric: seed\nparameters: {x: 1}\n", 3, "metric.name", "of its own, got 'seed'"),
            ("program: train.py\nmetric: a b\nparameters: {x: 1}\n", 3, "metric.name", "of its own, got 'a b'"),
            ("program: train.py\nmetric: x\nparameters: {x: 1}\n", 4, "parameters.x", "the name of a column"),
            ("program: train.py\nmetric: y\nparameters: {worker: 1}\n", 4, "parameters.worker", "the name of a column"),
            ("program: train.py\nrequirements: [torch, 2]\n" + REST, 3, "requirements[1]", "be the name of a package"),
            ("program: train.py\nrequirements: ['a b']\n" + REST, 3, "requirements[0]", "be the name of a package"),
            ("program: train.py\nfiles: .\n" + REST, 3, "files", "belongs to command"),
            ("program: train.py\ncommand: [a]\n" + REST, 3, "command", "rules out program"),
            ("program: train.py\nmetric: {name: y, source: stdout}\nparameters: {x: 1}\n", 3, "metric.source", "key"),
        ],
    )  # fmt: skip
    def test_refused_with_line_key_and_rule(self, folder: Path, text: str, line: int, key: str, told: str) -> None:
        for name in ("empty", "other"):
            (folder / name).mkdir()
        (folder / "other" / "model.py").touch()
        (folder / "broken.py").write_text("x = (1,\n")
        (folder / "fit.py").write_text("def fit(trial): pass\n")
        (problem,) = problems(text, folder)
        assert (problem.line, problem.key) == (line, key)
        assert told.format(folder=folder) in str(problem)

    def test_a_client_needs_none_of_its_libraries(self, folder: Path) -> None:
        (folder / "train.py").write_text(f"import a_library_of_the_workers\n{TRAIN}")
        assert read(f"program: train.py\n{REST}", folder).driver.kind == "program"


class TestCommand:
    def test_arguments_files_and_source(self, folder: Path) -> None:
        text = 'command: [python3, driver.py, "--rate={learning_rate}", "{seed}", -n, 5, 1e-6, true]\nfiles: my_model\n'
        spec = read(
            f"{text}metric: {{name: loss, source: 'file:out/result.json'}}\nparameters: {{learning_rate: [0.1]}}\n",
            folder,
        )
        assert spec.code == Command(
            ("python3", "driver.py", "--rate={learning_rate}", "{seed}", "-n", "5", "1e-06", "true"),
            "file:out/result.json",
            str(folder / "my_model"),
        )
        assert Spec.from_json(spec.to_json()) == spec
        assert parse_spec(spec.to_yaml(), "again.yaml", Path("/")) == spec
        assert (spec.driver.name, spec.driver.kind) == ("python3", "command")

    @pytest.mark.parametrize(
        ("text", "line", "key", "told"),
        [
            ("command: python3 train.py\n" + REST, 2, "command", "must be a list of arguments, got a text"),
            ("command: []\n" + REST, 2, "command", "is empty"),
            ("command: [run, {learning_rate}]\n" + REST, 2, "command[1]", 'put it in quotes: "{learning_rate}"'),
            ("command:\n  - run\n  - --rate={leraning_rate}\n" + REST, 4, "command[1]", "for 'leraning_rate'"),
            ("command: [run, '{rate']\n" + REST, 2, "command[1]", "a brace that begins or ends no {name}"),
            ("command: [run, '--{depth}']\n" + REST, 2, "command[1]", "lets a value name the option"),
            ("command: ['{depth}']\n" + REST, 2, "command", "the program itself cannot be a parameter"),
            ("command: [python3, train.py]\n" + REST, 2, "command[1]", "beside the spec, which workers do not have"),
            ("command: [./train.py]\n" + REST, 2, "command[0]", "beside the spec, which workers do not have"),
            ("command: [run]\nfiles: absent\n" + REST, 3, "files", "absent: no such file or folder"),
            ("command: [run]\nmetric: {name: y, source: log}\nparameters: {x: 1}\n", 3, "metric.source", "'file:PATH'"),
            ("command: [run]\nmetric: {name: y, source: 'file:../x'}\nparameters: {x: 1}\n", 3, "metric.source", ""),
            ("command: [run]\nmetric: {name: y, source: 'file:/x'}\nparameters: {x: 1}\n", 3, "metric.source", ""),
            ("command: [run]\nmetric: y\nparameters: {a: 1, A: 2}\n", 4, "parameters", "would both be OPTML_PARAM_A"),
            ("command: [run, '{x}']\nmetric: y\nparameters: {x: [1, -1]}\n", 4, _SECOND, "an option"),
            ("command: [run, '{x}']\nmetric: y\nparameters: {x: [a, '--rm']}\n", 4, _SECOND, "an option"),
            ("command: [run]\nrequirements: [x]\n" + REST, 3, "requirements", "belongs to program"),
        ],
    )  # fmt: skip
    def test_refused_with_line_key_and_rule(self, folder: Path, text: str, line: int, key: str, told: str) -> None:
        (problem,) = problems(text, folder)
        assert (problem.line, problem.key) == (line, key)
        assert told in str(problem)

    def test_a_value_behind_its_option_may_be_anything(self, folder: Path) -> None:
        spec = read("command: [run, '--x={x}']\nmetric: y\nparameters: {x: [1, -1, '--rm']}\n", folder)
        assert spec.space.size == 3


def test_nothing_to_train_is_told_once(folder: Path) -> None:
    (problem,) = problems("metric: loss\nparameters: {x: 1}\n", folder)
    assert (problem.key, problem.line) == ("algorithm", 1)


def test_a_record_names_the_form() -> None:
    spec = parse_spec("name: t\nalgorithm: lms\nparameters: {learning_rate: 1e-6}\n", "x", Path())
    assert '"code":{"kind":"algorithm","name":"lms"}' in spec.to_json()
    assert Spec.from_json(spec.to_json()).code == Algorithm("lms")
