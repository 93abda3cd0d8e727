"""A mapping of the spec while it is read: typed values by key, and every problem noted rather than raised."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from optml_queue.errors import Problem
from optml_queue.spec.document import Node, shortened


@dataclass(slots=True)
class Report:
    """The problems found so far."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, node: Node, key: str, message: str, advice: str = "") -> None:
        """Note a problem of a node; `key` is its whole path, as in parameters.momentum.min."""
        origin = f" (from {node.origin})" if node.origin else ""
        self.problems.append(Problem(key, message + origin, node.line, advice))


class Section:
    """A mapping at a key path. Readers return the default where the key is absent, and where it has a problem."""

    def __init__(self, node: Node, path: str, report: Report) -> None:
        self.node = node
        self.path = path
        self.report = report
        self.entries: Mapping[str, Node] = {}
        if isinstance(node.value, dict):
            self.entries = node.value
        else:
            report.add(node, path, f"must be a mapping of keys to values, got {node}")

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def key(self, key: str) -> str:
        """The whole path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, message: str, advice: str = "") -> None:
        """Note a problem of a key's value (of the mapping, when the key is absent)."""
        self.report.add(self.entries.get(key, self.node), self.key(key), message, advice)

    def get(self, key: str) -> Node | None:
        """A key's node; None when it is absent or has no value (which is noted)."""
        node = self.entries.get(key)
        if node is not None and node.value is None:
            self.problem(key, "has no value", "give one, or leave the key out")
            return None
        return node

    def section(self, key: str) -> Section | None:
        """The mapping at a key."""
        node = self.get(key)
        return None if node is None else Section(node, self.key(key), self.report)

    def items(self, key: str) -> list[tuple[str, Node]]:
        """Key path and node of every item of the list at a key."""
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.problem(key, f"must be a list, got {node}", f"write {key}: [{_example(node)}]")
            return []
        return [(f"{self.key(key)}[{index}]", item) for index, item in enumerate(node.value)]

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        node = self.get(key)
        if node is None:
            return default
        if not isinstance(node.value, str):
            advice = f'put it in quotes: "{node}"' if isinstance(node.value, int | float) else ""
            self.problem(key, f"must be text, got {node}", advice)
            return default
        return node.value

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of some texts."""
        if self.get(key) is None:
            return default
        value = self.text(key, "")
        if value and value not in choices:
            advice = nearest(value, choices)
            self.problem(key, f"must be {alternatives(choices)}, got {shortened(value)!r}", advice)
        return value if value in choices else default

    def integer(self, key: str, minimum: int, maximum: int) -> int | None:
        """An integer between two bounds, both allowed."""
        node = self.get(key)
        if node is None:
            return None
        message = integer_problem(node, minimum, maximum)
        if message:
            self.problem(key, message)
            return None
        return node.value if isinstance(node.value, int) else None

    def number(self, key: str) -> int | float | None:
        """A finite number."""
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node.value, int | float) or isinstance(node.value, bool):
            self.problem(key, f"must be a number, got {node}")
            return None
        if isinstance(node.value, float) and not math.isfinite(node.value):
            self.problem(key, f"must be finite, got {node}")
            return None
        return node.value

    def flag(self, key: str) -> bool:
        """True or false; false where the key is absent."""
        node = self.get(key)
        if node is not None and not isinstance(node.value, bool):
            self.problem(key, f"must be true or false, got {node}")
        return node is not None and node.value is True

    def refuse_others(self, known: Iterable[str], spellings: Mapping[str, str]) -> None:
        """Note every key that is not known. `spellings` has advice for other tools' names."""
        known = list(known)
        for key in self.entries:
            if key in known:
                continue
            if key in spellings:
                self.problem(key, "is not a key of OptML", spellings[key])
            else:
                advice = nearest(key, known) or f"the keys here are: {', '.join(known)}"
                self.problem(shortened(key), "unknown key", advice)


def integer_problem(node: Node, minimum: int, maximum: int) -> str:
    """Why a node is not an integer between two bounds; "" when it is."""
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        whole = isinstance(node.value, float) and math.isfinite(node.value) and node.value.is_integer()
        hint = f"; write {int(node.value)}" if whole and isinstance(node.value, float) else ""
        return f"must be an integer, got {node}{hint}"
    if node.value < minimum:
        return f"must be at least {minimum:,}, got {node}"
    if node.value > maximum:
        return f"must be at most {maximum:,}, got {node}"
    return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion of the known word nearest to another; "" when none is near."""
    by_folded = {name.lower().replace("-", "_"): name for name in known}
    near = get_close_matches(word.lower().replace("-", "_"), by_folded, 1)
    return f"did you mean {by_folded[near[0]]!r}?" if near else ""


def alternatives(words: Iterable[str]) -> str:
    """'a', 'b' or 'c'."""
    *first, last = [repr(word) for word in words]
    return f"{', '.join(first)} or {last}" if first else last


def _example(node: Node) -> str:
    return str(node.value) if isinstance(node.value, str | int | float) else "…"
