"""The `data` of a spec.

data: sunspots                                       or {name: sunspots}
data: {name: channel, samples: 10000, seed: 0}
data: {csv: series.csv, column: 1, test: 0.2}        a series; a path is relative to the spec's folder, or s3://…
data: {csv: irises.csv, target: species}             a table
data: {npz: s3://bucket/arrays.npz, task: regression}
data: {name: digits, validation: 0.1, seed: 0, standardize: true}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optml_queue.data import CHANNEL_SAMPLES, KINDS, MIN_ROWS, SERIES, TASKS, TEST_FRACTION, DataSpec
from optml_queue.driver import Driver
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.section import Section, nearest

MAX_SAMPLES = 100_000_000
MAX_SEED = 2**63 - 1
MAX_COLUMN = 100_000

_FORMS = ("name", "csv", "npz")  # each stands for a way to say where the data are
_BY_PATH = ("csv", "table", "npz")
_PREPARATION = ("validation", "seed", "standardize")
_KEYS = {
    "sunspots": ("name", "test"),
    "channel": ("name", "samples", "seed", "test"),
    "csv": ("csv", "column", "test"),
    "digits": ("name", "test", *_PREPARATION),
    "mnist": ("name", "path", *_PREPARATION),
    "npz": ("npz", "task", "test", *_PREPARATION),
    "table": ("csv", "target", "task", "test", *_PREPARATION),
}
_SPELLINGS = {
    **dict.fromkeys(("path", "file", "filename"), "write the file as csv: PATH or npz: PATH"),
    **dict.fromkeys(("test_size", "test_fraction", "split"), "the part kept for the test is test: 0.1"),
    **dict.fromkeys(("val", "val_size", "validation_split", "validation_size"), "that part is validation: 0.1"),
    **dict.fromkeys(("shuffle", "random_state"), "rows are shuffled by seed: 0, and in order without a seed"),
    **dict.fromkeys(("label", "labels", "y", "target_column"), "the column to predict is target"),
    **dict.fromkeys(("normalize", "scale", "scaler"), "write standardize: true"),
    "digest": "leave it out: it is computed",
    "kind": "write name",
}
_S3_ADDRESS = re.compile(r"s3://[^/@:?#\s]+/[^?#]+")


def read_data(root: Section, base: Path, driver: Driver | None) -> DataSpec | None:
    """The data of a spec, else the driver's default; None where it needs none, or with a problem noted."""
    section = _section(root)
    if section is None:
        return _default(root, driver)
    kind = _kind(section, driver)
    if not kind:
        return None
    section.refuse_others(_KEYS[kind], _spellings(kind))
    return DataSpec(kind, _options(section, kind, base), _test(section, kind))


def _section(root: Section) -> Section | None:
    node = root.get("data")
    if node is not None and isinstance(node.value, str):
        name = Node(node.value, node.line, node.origin)
        return Section(Node({"name": name}, node.line, node.origin), "data", root.report)
    return root.section("data")


def _default(root: Section, driver: Driver | None) -> DataSpec | None:
    if driver is None or not driver.data or "data" in root:  # what is wrong has been said
        return None
    kind = driver.data[0]
    if kind in _BY_PATH:
        example = {"csv": "{csv: series.csv, column: 0}", "table": "{csv: table.csv, target: NAME}"}
        root.problem("data", "is missing", f"as in data: {example.get(kind, '{npz: arrays.npz}')}")
        return None
    section = Section(Node({}), "data", root.report)
    return DataSpec(kind, _options(section, kind, Path()), _test(section, kind))


def _spellings(kind: str) -> dict[str, str]:
    if kind == "mnist":
        return {**_SPELLINGS, "test": "leave it out: mnist has a test part of its own"}
    return _SPELLINGS


# Which kind it is


def _kind(section: Section, driver: Driver | None) -> str:
    """The kind of data, "" with a problem noted."""
    forms = [form for form in _FORMS if form in section]
    if len(forms) > 1:
        section.problem(forms[1], f"rules out {forms[0]}", "keep one of them")
        return ""
    if not forms:
        if isinstance(section.node.value, dict):
            section.refuse_others((*_FORMS, *_KEYS["table"]), _SPELLINGS)
            section.report.add(section.node, "data", "needs name, csv or npz", "as in data: {name: sunspots}")
        return ""
    kinds = (driver and driver.data) or KINDS
    if forms == ["name"]:
        return _named(section, kinds, driver)
    kind = _csv_kind(section, kinds) if forms == ["csv"] else "npz"
    if kind and kind not in kinds:
        key = "target" if kind == "table" and "target" in section else forms[0]
        section.problem(key, _taken(kinds, driver), _want_of_target(kind, kinds))
    return kind


def _csv_kind(section: Section, kinds: Sequence[str]) -> str:
    if "target" in section and "column" in section:
        section.problem("column", "rules out target", "a series has a column, a table a target")
        return ""
    if "target" in section:
        return "table"
    if "column" not in section and "table" in kinds and "csv" not in kinds:
        section.problem("csv", "needs a target: the column to predict", "as in data: {csv: table.csv, target: NAME}")
        return ""
    return "csv"


def _named(section: Section, kinds: Sequence[str], driver: Driver | None) -> str:
    name = section.text("name")
    if not name or (name in kinds and name not in _BY_PATH):
        return name
    if name in KINDS and name not in _BY_PATH:
        section.problem("name", f"{name} is not for this algorithm: {_taken(kinds, driver)}")
        return ""
    known = [kind for kind in kinds if kind not in _BY_PATH]
    there_are = f"there are {', '.join(known)}" if known else "the algorithm takes none by name"
    own = " and ".join(_OWN_FILES[kind] for kind in _BY_PATH if kind in kinds)
    advice = nearest(name, known) or (f"{there_are}; a file of your own is {own}" if own else there_are)
    section.problem("name", f"no data set is called {shortened(name)!r}", advice)
    return ""


_OWN_FILES = {"csv": "csv: PATH", "table": "csv: PATH with target: COLUMN", "npz": "npz: PATH"}


def _taken(kinds: Sequence[str], driver: Driver | None) -> str:
    shown = ["csv with target" if kind == "table" else kind for kind in kinds]
    return f"{driver.name if driver else 'the algorithm'} takes {', '.join(shown)}"


def _want_of_target(kind: str, kinds: Sequence[str]) -> str:
    return "name the column to predict as target, not column" if kind == "csv" and "table" in kinds else ""


# What is to be known of each kind


def _options(section: Section, kind: str, base: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if kind == "channel":
        samples = section.integer("samples", MIN_ROWS, MAX_SAMPLES)
        return {"samples": samples or CHANNEL_SAMPLES, "seed": section.integer("seed", 0, MAX_SEED) or 0}
    if kind in _BY_PATH:
        options["path"] = _path(section, "npz" if kind == "npz" else "csv", base)
    elif "path" in _KEYS[kind] and "path" in section:
        options["path"] = _path(section, "path", base)
    if kind == "csv":
        options["column"] = _column(section, "column")
    if kind == "table":
        options["target"] = _column(section, "target")
    if "task" in section and "task" in _KEYS[kind]:
        options["task"] = section.choice("task", TASKS, "")
    return options if kind in SERIES else options | _preparation(section)


def _preparation(section: Section) -> dict[str, Any]:
    validation = _fraction(section, "validation", least=0.0)
    seed = section.integer("seed", 0, MAX_SEED)
    return {
        "validation": validation or 0.0,
        **({} if seed is None else {"seed": seed}),
        "standardize": section.flag("standardize"),
    }


def _test(section: Section, kind: str) -> float | None:
    """The fraction for the test; None for the data's own test part."""
    if "test" not in _KEYS[kind]:
        return None
    test = _fraction(section, "test")
    validation = _fraction_of(section, "validation") if "validation" in _KEYS[kind] else 0.0
    if validation < 1 <= validation + (TEST_FRACTION if test is None else test):
        section.problem("validation", "leaves no rows to train on: validation and test must be less than 1 together")
    return TEST_FRACTION if test is None and kind != "npz" else test


def _fraction(section: Section, key: str, least: float | None = None) -> float | None:
    """The fraction at a key; None where it is absent, and with a problem noted."""
    value = section.number(key)
    if value is None or 0 < value < 1 or value == least:
        return None if value is None else float(value)
    section.problem(key, f"must be a fraction between 0 and 1, got {value!r}", f"as in {key}: 0.1")
    return None


def _fraction_of(section: Section, key: str) -> float:
    """The number at a key, whose problems have been noted; 0 when there is none."""
    node = section.entries.get(key)
    value = node.value if node else 0
    return float(value) if isinstance(value, int | float) else 0.0


def _column(section: Section, key: str) -> int | str:
    node = section.get(key)
    if node is not None and isinstance(node.value, str) and node.value.strip():
        return node.value.strip()
    return section.integer(key, 0, MAX_COLUMN) or 0


# Where it lies


def _path(section: Section, key: str, base: Path) -> str:
    text = section.text(key)
    if "://" in text:
        return _address(section, key, text)
    if not text:
        if section.entries[key].value == "":
            section.problem(key, "is empty", "give the path of a file")
        return ""
    path = base / (Path.home() / text[2:] if text.startswith("~/") else text)
    if message := _file_problem(path):
        section.problem(key, f"{shortened(str(path), 200)}: {message}", _near_file(path))
    return str(path.absolute())


def _address(section: Section, key: str, text: str) -> str:
    """An s3:// address. Whether something lies there shows when it is submitted."""
    if _S3_ADDRESS.fullmatch(text):
        return text
    scheme = text.partition("://")[0]
    if scheme == "s3":
        message, advice = "must name a bucket and a key", "as in s3://bucket/folder/data.csv"
    else:
        message, advice = f"addresses like {shortened(scheme)}:// are not read", "give a local path or s3://bucket/key"
    section.problem(key, message, advice)
    return ""


def _file_problem(path: Path) -> str:
    try:
        if path.is_file():
            return ""
        return "is not a file" if path.exists() else "no such file"
    except OSError as error:
        return error.strerror or "cannot be read"


def _near_file(path: Path) -> str:
    try:
        return nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""
