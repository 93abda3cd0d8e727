"""`--set a.b.c=YAML`: changes of a spec's tree before it is read."""

from __future__ import annotations

from collections.abc import Sequence

from optml_queue.errors import Problem
from optml_queue.spec.axis import RIVALS
from optml_queue.spec.document import DocumentError, Node, compose, shortened
from optml_queue.spec.section import Report


def override(root: Node, overrides: Sequence[str], report: Report) -> Node:
    """The tree with each override applied in turn; those that cannot be are noted and left out."""
    for text in overrides:
        path, equals, value = text.partition("=")
        keys = path.strip().split(".")
        origin = f"--set {shortened(path.strip())}"
        if not equals or not all(keys):
            report.problems.append(Problem(f"--set {shortened(text)}", "must be KEY=VALUE", 0, _EXAMPLE))
            continue
        try:
            node, problems = compose(value)
        except DocumentError as error:
            message = error.problem.message if value.strip() else "has no value"
            report.problems.append(Problem(origin, message, 0, _EXAMPLE))
            continue
        report.problems += [Problem(origin, problem.message, 0, problem.advice) for problem in problems]
        root = _with(root, keys, _relabelled(node, origin), origin, report)
    return root


_EXAMPLE = "as in --set parameters.filter_size.value=7"


def _relabelled(node: Node, origin: str) -> Node:
    """The node without the lines of the text that it was read from."""
    if isinstance(node.value, list):
        return Node([_relabelled(item, origin) for item in node.value], 0, origin)
    if isinstance(node.value, dict):
        return Node({key: _relabelled(item, origin) for key, item in node.value.items()}, 0, origin)
    return Node(node.value, 0, origin)


def _with(root: Node, keys: Sequence[str], value: Node, origin: str, report: Report) -> Node:
    """The tree with a value at a path. Mappings that are missing on the way are made."""
    key, *rest = keys
    entries = root.value
    if not isinstance(entries, dict):
        report.problems.append(Problem(origin, f"there are no keys below {root}", 0, "set the whole value"))
        return root
    if not rest:
        return Node({**entries, key: value}, root.line, root.origin)
    below = entries.get(key, Node({}, 0, origin))
    if key == "parameters" and len(rest) == 2 and isinstance(below.value, dict) and rest[0] in below.value:
        below = Node({**below.value, rest[0]: _ready_for(rest[1], below.value[rest[0]])}, below.line, below.origin)
    return Node({**entries, key: _with(below, rest, value, origin, report)}, root.line, root.origin)


def _ready_for(key: str, parameter: Node) -> Node:
    """A parameter less what the key rules out, so that `value=7` fixes one that was a list or a range."""
    if not isinstance(parameter.value, dict):  # the short forms, `[1, 2]` and `5`
        return Node({}, parameter.line, parameter.origin)
    rivals = RIVALS.get(key, ())
    kept = {name: node for name, node in parameter.value.items() if name not in rivals}
    return Node(kept, parameter.line, parameter.origin)
