"""A YAML document as a tree in which every value knows its line; and the way back.

YAML here is the part of it that people write into a spec: mappings with text keys, lists, and plain values read by
the rules of YAML 1.2, widened by `_` between digits. So 1e-6 and 1_000 are numbers (PyYAML reads the first as text),
only true and false are booleans, and `on`, `no` and 1:30 are text. Tags are refused; anchors and aliases work within
bounds, so that a small file cannot unfold into a large tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from optml_queue.errors import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_ALIASED_NODES = 10_000
MAX_DIGITS = 1_000

Scalar = bool | int | float | str | None

# libyaml's parser reads a megabyte in a blink, PyYAML's own in seconds; the events are the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.([0-9]+(_[0-9]+)*)?)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its line, counted from 1; a mapping's values have the line of their key.

    `origin` says where a value comes from that stands on no line of the document.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int = 0
    origin: str = ""

    def plain(self) -> Any:
        """The value without lines: scalars, lists and dicts."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def __str__(self) -> str:
        """The value as a message may show it: short, and with its kind where that matters."""
        if isinstance(self.value, list):
            return "a list" if self.value else "an empty list"
        if isinstance(self.value, dict):
            return "a mapping" if self.value else "an empty mapping"
        if isinstance(self.value, str):
            return f"the text {shortened(self.value)!r}"
        words = {None: "nothing", True: "true", False: "false"}
        return words[self.value] if self.value is None or isinstance(self.value, bool) else shortened(repr(self.value))


class DocumentError(Exception):
    """The text is not one YAML document of the kind read here. `problem` says why and where."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


def shortened(text: str, length: int = 60) -> str:
    """At most `length` characters of a text."""
    return text if len(text) <= length else text[: length - 3] + "..."


def decode(body: bytes) -> str:
    """A file's content as text. Raises DocumentError for content that is too long, binary or not UTF-8."""
    if len(body) > MAX_BYTES:
        raise DocumentError(Problem("", f"the file is larger than {MAX_BYTES >> 20} MiB; a spec is a short text"))
    if b"\0" in body:
        raise DocumentError(Problem("", "the file is binary, not a YAML text"))
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        message = f"the file is not UTF-8: byte 0x{body[error.start]:02x} cannot be read"
        raise DocumentError(Problem("", message, line, "save it as UTF-8")) from None


def compose(text: str) -> tuple[Node, list[Problem]]:
    """The document's tree, and what is wrong with it though it can be read (a key that comes twice, a tag).

    Raises DocumentError when there is no tree: not YAML, nothing in it, several documents, nested too deep, or
    aliases that unfold into more than 10,000 values.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError(Problem("", f"the text is longer than {MAX_BYTES:,} characters; a spec is a short text"))
    try:
        return _Composer(text).document()
    except yaml.MarkedYAMLError as error:
        raise DocumentError(_syntax_problem(error, text)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        message = f"not YAML: {shortened(' '.join(str(error).split()), 200)}"
        raise DocumentError(Problem("", message)) from None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "cannot be read"
    context = f" ({error.context}{_begun(error)})" if error.context and error.problem else ""
    line = text.split("\n")[mark.line] if mark and mark.line <= text.count("\n") else ""
    indented_by_tab = "\t" in line[: len(line) - len(line.lstrip())]
    advice = "indent with spaces: YAML does not take tabs" if indented_by_tab else ""
    return Problem("", f"not YAML: {what}{context}", mark.line + 1 if mark else 0, advice)


def _begun(error: yaml.MarkedYAMLError) -> str:
    begun = error.context_mark
    elsewhere = begun and error.problem_mark and begun.line != error.problem_mark.line
    return f" begun on line {begun.line + 1}" if begun and elsewhere else ""


class _Composer:
    """Builds the tree from PyYAML's events.

    Its own composer neither tells of keys that come twice nor holds in aliases and depth.
    """

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_Loader))
        self._problems: list[Problem] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._path: list[str] = []
        self._count = 0
        self._aliased = 0

    def document(self) -> tuple[Node, list[Problem]]:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise DocumentError(Problem("", "the file is empty; a spec has at least name, algorithm and parameters"))
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            line = following.start_mark.line + 1
            raise DocumentError(Problem("", "a second document starts here; a file holds one spec", line))
        return root, self._problems

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise DocumentError(Problem("", f"nested more than {MAX_DEPTH} deep", line))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line)
        before = self._count
        self._count += 1
        self._refuse_tag(event, line)
        node = self._content(event, line, depth)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _content(self, event: Any, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event, line), line)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node([self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)], line)
        return Node(self._mapping(depth), line)

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            name = key.value if isinstance(key.value, str) else str(key)
            self._path.append(shortened(name))
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key.value, str):
                self._report(f"a key must be text, got {key}", key.line, "put it in quotes")
            elif name in entries:
                message = f"the key comes twice; first on line {entries[name].line}"
                self._report(message, key.line, "keep one of them")
            else:
                entries[name] = replace(value, line=key.line)
            self._path.pop()
        return entries

    def _alias(self, anchor: Any, line: int) -> Node:
        if anchor not in self._anchors:
            raise DocumentError(Problem("", f"*{shortened(anchor)}: no finished value has this anchor", line))
        node, size = self._anchors[anchor]
        self._count += size
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise DocumentError(Problem("", f"aliases unfold into more than {MAX_ALIASED_NODES:,} values", line))
        return replace(node, line=line)

    def _scalar(self, event: Any, line: int) -> Scalar:
        if not event.implicit[0]:  # in quotes, or a block
            return str(event.value)
        try:
            return resolve(event.value)
        except ValueError as error:
            raise DocumentError(Problem(".".join(self._path), str(error), line)) from None

    def _refuse_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            self._report(f"the tag {shortened(event.tag)!r} is not allowed", line, "remove it")

    def _report(self, message: str, line: int, advice: str) -> None:
        self._problems.append(Problem(".".join(self._path), message, line, advice))


def resolve(text: str) -> Scalar:
    """What a value written without quotes means. Raises ValueError for a number of more than 1,000 digits."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MAX_DIGITS and (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
        raise ValueError(f"the number {shortened(text)} has more than {MAX_DIGITS:,} digits")
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".", "") if text[-1].isalpha() else text)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or the rules above would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the answer is the same for all
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_INTEGER.pattern})$"), list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789"))


def dump(content: Any) -> str:
    """YAML that `compose` reads as the same content: floats keep every bit, keys their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
