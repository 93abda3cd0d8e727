"""What the algorithms may see: the driver contract, data and metrics, and each the library that it is made with."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optml_queue.driver import algorithm_names, algorithms_dir

CONTRACT = {"errors", "driver", "data", "metrics", "trial"}
LIBRARIES: dict[str, set[str]] = {
    "ann": {"numpy", "tensorflow"},
    "klms": {"numpy"},
    "lms": {"numpy", "numba"},
    "sklearn": {"numpy", "sklearn", "threadpoolctl"},
}
HEAVY = {"numpy", "numba", "scipy", "sklearn", "tensorflow", "keras", "torch"}

FILES = sorted(algorithms_dir().rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """The modules that a source imports from elsewhere, wherever it does, by their full names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            # From the package itself come modules; from a module, what is in it.
            yield from ([f"{module}.{alias.name}" for alias in node.names] if module == "optml_queue" else [module])


def strangers(source: str, algorithm: str) -> set[str]:
    """What a source of an algorithm imports and may not."""
    libraries = {*LIBRARIES[algorithm], *sys.stdlib_module_names}
    names = {name: name.split(".") for name in imported(source)}
    return {
        name
        for name, (root, *rest) in names.items()
        if not (rest and rest[0] in CONTRACT if root == "optml_queue" else root in libraries)
    }


def test_every_algorithm_is_looked_at() -> None:
    assert set(LIBRARIES) == set(algorithm_names())
    assert {path.parent.name for path in FILES} >= set(algorithm_names())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_algorithm_sees_the_contract_and_its_library_alone(path: Path) -> None:
    algorithm = path.relative_to(algorithms_dir()).parts[0]
    assert strangers(path.read_text(encoding="utf-8"), algorithm) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import redis",
        "import celery.app",
        "from boto3 import client",
        "import optml_queue",
        "from optml_queue import store",
        "from optml_queue.settings import settings",
        "from optml_queue.worker.app import app",
        "def late():\n    import tensorflow",
        "from algorithms.lms.functions import adapt",
    ],
)
def test_a_stranger_is_noticed(statement: str) -> None:
    assert len(strangers(statement, "lms")) == 1


def test_what_is_allowed_is_not() -> None:
    allowed = """
import math
from os import path
from optml_queue import metrics
from optml_queue.data import Series
from optml_queue.driver import ActiveTrial
from .functions import adapt
from . import functions
def late():
    import numba
"""
    assert strangers(allowed, "lms") == set()


def test_declarations_load_no_library() -> None:
    code = f"""
import sys
from optml_queue.driver import algorithm_names, load_driver
for name in algorithm_names():
    load_driver(name)
sys.exit(", ".join({HEAVY} & set(sys.modules)) or 0)
"""
    outcome = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_tensorflow_is_imported_by_the_ann_alone() -> None:
    package = algorithms_dir().parent / "optml_queue"
    sources = [*package.rglob("*.py"), *(path for path in FILES if path.parent.name != "ann")]
    roots = {name.partition(".")[0] for path in sources for name in imported(path.read_text(encoding="utf-8"))}
    assert not roots & {"tensorflow", "keras"}
    assert "yaml" in roots  # the search finds what there is
