"""The `data` of a spec.

data: sunspots                                       or {name: sunspots}
data: {name: channel, samples: 10000, seed: 0}
data: {csv: series.csv, column: 1, test: 0.2}        a path is relative to the spec's folder
"""

from __future__ import annotations

from pathlib import Path

from optml_queue.data import CHANNEL_SAMPLES, KINDS, MIN_ROWS, TEST_FRACTION, DataSpec
from optml_queue.driver import Driver
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.section import Section, alternatives, nearest

MAX_SAMPLES = 100_000_000
MAX_SEED = 2**63 - 1
_KEYS = {
    "sunspots": ("name", "test"),
    "channel": ("name", "samples", "seed", "test"),
    "csv": ("csv", "column", "test"),
}
_SPELLINGS = {
    **dict.fromkeys(("path", "file", "filename"), "write the file as csv: PATH"),
    **dict.fromkeys(("test_size", "test_fraction", "split"), "the part kept for the test is test: 0.1"),
    "digest": "leave it out: it is computed",
    "kind": "write name",
}


def read_data(root: Section, base: Path, driver: Driver | None) -> DataSpec | None:
    """The data of a spec, the driver's default when it names none; None with a problem noted."""
    section = _section(root)
    if section is None:
        return _default(root, driver)
    kind = _kind(section, driver)
    if not kind:
        return None
    section.refuse_others(_KEYS[kind], _SPELLINGS, later=("npz",))
    options = _csv_options(section, base) if kind == "csv" else _named_options(section, kind)
    test = section.number("test")
    if test is not None and not 0 < test < 1:
        section.problem("test", f"must be a fraction between 0 and 1, got {test!r}", "as in test: 0.1")
    return DataSpec(kind, options, TEST_FRACTION if test is None else float(test))


def _section(root: Section) -> Section | None:
    node = root.get("data")
    if node is not None and isinstance(node.value, str):
        name = Node(node.value, node.line, node.origin)
        return Section(Node({"name": name}, node.line, node.origin), "data", root.report)
    return root.section("data")


def _default(root: Section, driver: Driver | None) -> DataSpec | None:
    if driver is None or "data" in root:  # what is wrong has been said
        return None
    kind = driver.data[0]
    if kind == "csv":
        root.problem("data", "is missing", "as in data: {csv: series.csv, column: 0}")
        return None
    section = Section(Node({}), "data", root.report)
    return DataSpec(kind, _named_options(section, kind))


def _kind(section: Section, driver: Driver | None) -> str:
    """The kind of data, "" with a problem noted."""
    if "csv" in section and "name" in section:
        section.problem("csv", "rules out name", "keep one of them")
        return ""
    if "npz" in section:
        section.problem("npz", "is not available in this version", "there are name and csv")
        return ""
    kinds = driver.data if driver else KINDS
    if "csv" in section:
        if "csv" not in kinds:
            section.problem("csv", f"the algorithm takes {alternatives(kinds)} only")
        return "csv"
    if "name" not in section:
        if isinstance(section.node.value, dict):
            section.refuse_others(("name", "csv"), _SPELLINGS)
            section.report.add(section.node, "data", "needs name or csv", "as in data: {name: sunspots}")
        return ""
    return _named(section, [kind for kind in kinds if kind != "csv"])


def _named(section: Section, names: list[str]) -> str:
    name = section.text("name")
    if name and name not in names:
        known = f"there are {', '.join(names)}" if names else "the algorithm takes none by name"
        advice = nearest(name, names) or f"{known}; a file of your own is csv: PATH"
        section.problem("name", f"no data set is called {shortened(name)!r}", advice)
        return ""
    return name


def _named_options(section: Section, kind: str) -> dict[str, object]:
    if kind != "channel":
        return {}
    samples = section.integer("samples", MIN_ROWS, MAX_SAMPLES)
    return {"samples": samples or CHANNEL_SAMPLES, "seed": section.integer("seed", 0, MAX_SEED) or 0}


def _csv_options(section: Section, base: Path) -> dict[str, object]:
    return {"path": _path(section, base), "column": _column(section)}


def _column(section: Section) -> int | str:
    node = section.get("column")
    if node is not None and isinstance(node.value, str) and node.value.strip():
        return node.value
    return section.integer("column", 0, 100_000) or 0


def _path(section: Section, base: Path) -> str:
    text = section.text("csv")
    if "://" in text:
        message = f"addresses like {text.partition('://')[0]}:// are not available in this version"
        section.problem("csv", message, "give the path of a local file")
        return ""
    if not text:
        if section.entries["csv"].value == "":
            section.problem("csv", "is empty", "give the path of a file")
        return ""
    path = base / (Path.home() / text[2:] if text.startswith("~/") else text)
    if message := _file_problem(path):
        section.problem("csv", f"{shortened(str(path), 200)}: {message}", _near_file(path))
    return str(path.absolute())


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
