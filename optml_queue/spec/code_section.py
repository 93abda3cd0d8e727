"""The `algorithm`, `program` or `command` of a spec.

algorithm: lms
program: train.py                                      or a folder; relative to the spec's folder
requirements: [torch>=2]                               what a program needs on the workers
command: [Rscript, train.R, --rate, "{learning_rate}"]
files: scripts/                                        what a command runs in a copy of
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from optml_queue.command.arguments import names_in, syntax_problem, text_of
from optml_queue.command.output import FILE, STDOUT
from optml_queue.driver import Driver, algorithm_names
from optml_queue.errors import DriverError
from optml_queue.spec.algorithm import Algorithm
from optml_queue.spec.code import Code
from optml_queue.spec.command import Command
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.program import Program
from optml_queue.spec.section import Section, alternatives, nearest

FORMS = ("algorithm", "program", "command")
_COMPANIONS = {"requirements": "program", "files": "command"}
_OF_A_TRIAL = ("seed", "number")  # placeholders beside the parameters
_QUOTE = 'put it in quotes: "{learning_rate}"'


def read_code(root: Section, base: Path, drivers: Mapping[str, Driver] | None) -> Code | None:
    """What the spec trains; None with a problem noted. `drivers` stand in for the installed algorithms."""
    if not isinstance(root.node.value, dict):
        return None
    forms = [form for form in FORMS if form in root]
    if not forms:
        root.report.add(root.node, "algorithm", "is missing", "as in algorithm: lms, or program: train.py")
        return None
    if len(forms) > 1:
        root.problem(forms[1], f"rules out {forms[0]}", "keep one of them")
        return None
    for key, form in _COMPANIONS.items():
        if key in root and form not in forms:
            root.problem(key, f"belongs to {form}", "leave it out")
    if forms == ["algorithm"]:
        return _algorithm(root, algorithm_names() if drivers is None else list(drivers))
    return _program(root, base) if forms == ["program"] else _command(root, base)


def _algorithm(root: Section, names: Sequence[str]) -> Algorithm | None:
    name = _filled(root, "algorithm")
    if name and name not in names:
        known = f"there are: {', '.join(names)}"
        advice = f"{nearest(name, names)} {known}".strip()
        root.problem("algorithm", f"no algorithm is called {shortened(name)!r}", advice)
        return None
    return Algorithm(name) if name else None


def _filled(root: Section, key: str) -> str:
    """A text that must not be empty; "" with a problem noted."""
    text = root.text(key)
    if not text and root.entries[key].value == "":
        root.problem(key, "is empty")
    return text


# The user's own


def _program(root: Section, base: Path) -> Program | None:
    from optml_queue.program import entry_of

    requirements = tuple(_requirement(root, key, node) for key, node in root.items("requirements"))
    path = _packed_path(root, "program", base)
    if path is None:
        return None
    try:
        return Program(str(path), entry_of(path), tuple(filter(None, requirements)))
    except DriverError as error:
        root.problem("program", str(error))
        return None


def _requirement(root: Section, key: str, node: Node) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        if isinstance(node.value, str):
            return str(Requirement(node.value))
    except InvalidRequirement:
        pass
    root.report.add(node, key, f"must be the name of a package, got {node}", "as in torch or torch>=2")
    return ""


def _packed_path(root: Section, key: str, base: Path) -> Path | None:
    """A file or folder that can be packed; None with a problem noted."""
    text = _filled(root, key)
    if not text:
        return None
    if "://" in text:
        root.problem(key, "must be a path on this machine: it is sent to the workers", "give a file or a folder")
        return None
    from optml_queue.pack import pack

    path = base / (Path.home() / text[2:] if text.startswith("~/") else text)
    try:
        pack(path)
    except DriverError as error:
        root.problem(key, str(error), "" if path.exists() else _near(path))
        return None
    return path.resolve()


def _near(path: Path) -> str:
    try:
        return nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _command(root: Section, base: Path) -> Command | None:
    files = _packed_path(root, "files", base) if "files" in root else None
    argv = _argv(root)
    if not argv:
        return None
    parameters = root.entries.get("parameters")
    names = list(parameters.value) if parameters is not None and isinstance(parameters.value, dict) else []
    _check_variables(root, names)
    for (key, node), argument in zip(root.items("command"), argv, strict=True):
        if problem := syntax_problem(argument, (*names, *_OF_A_TRIAL)):
            advice = next((near for name in names_in(argument) if (near := nearest(name, names))), "")
            root.report.add(node, key, problem, "" if advice and "placeholder" not in problem else advice)
        elif "files" not in root and _lies_beside(base, argument):
            message = f"{argument} is a file beside the spec, which workers do not have"
            root.report.add(node, key, message, "ship it, as in files: FOLDER, or name it by a path that workers have")
    if list(names_in(argv[0])):
        root.problem("command", "the program itself cannot be a parameter", "write its name out")
    return Command(argv, _metric_source(root), str(files) if files else "")


def _argv(root: Section) -> tuple[str, ...]:
    node = root.get("command")
    if node is not None and isinstance(node.value, str):
        words = ", ".join(node.value.split()[:4])
        advice = f'there is no shell that would split it; as in command: [{words}, "{{learning_rate}}"]'
        root.problem("command", "must be a list of arguments, got a text", advice)
        return ()
    items = root.items("command")
    if node is not None and node.value == []:
        root.problem("command", "is empty", 'as in command: [Rscript, train.R, "{learning_rate}"]')
    texts = [_argument(root, key, item) for key, item in items]
    return () if None in texts else tuple(text for text in texts if text is not None)


def _argument(root: Section, key: str, node: Node) -> str | None:
    if isinstance(node.value, str | int | float):  # true and false too
        return text_of(node.value)
    advice = _QUOTE if isinstance(node.value, dict) else "put it in quotes"
    root.report.add(node, key, f"must be text, got {node}", advice)
    return None


def _check_variables(root: Section, names: Collection[str]) -> None:
    """Note parameters that would come in the same OPTML_PARAM_ variable."""
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(name.upper(), name)
        if other != name:
            root.problem("parameters", f"{other} and {name} would both be OPTML_PARAM_{name.upper()}", "rename one")


def _lies_beside(base: Path, argument: str) -> bool:
    try:
        return not Path(argument).is_absolute() and (base / argument).is_file()
    except (OSError, ValueError):
        return False


def _metric_source(root: Section) -> str:
    node = root.entries.get("metric")
    if node is None or not isinstance(node.value, dict):
        return STDOUT
    section = Section(node, "metric", root.report)
    text = section.text("source", STDOUT)
    path = Path(text.removeprefix(FILE))
    inside = text.startswith(FILE) and path.parts and not path.is_absolute() and ".." not in path.parts
    if text != STDOUT and not inside:
        advice = "the path counts from the command's working directory"
        section.problem("source", f"must be {alternatives((STDOUT, 'file:PATH'))}, got {shortened(text)!r}", advice)
    return text
