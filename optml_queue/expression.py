"""Conditions over parameter names: what a spec's `when` and `exclude` hold.

A condition is written as in Python and is parsed, never run: its syntax tree is checked against a short list and
turned into plain comparisons. What there is:

    names of parameters, numbers, 'text', true and false, [literal, lists], len(name), name[0], name[-1]
    + - * / // %        of numbers
    == != < <= > >=     also chained: 0.1 < momentum <= 0.5
    in, not in          a literal list, or a parameter whose value is a list
    and, or, not

A parameter that does not apply to a point (its own `when` is false) makes every comparison that names it false; so
does an element that its list is too short to have.
Numbers, text, true/false and lists are kinds of their own: values of two kinds are never equal, and asking which
of them is the smaller one is an error.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

from optml_queue.errors import ExpressionError

MAX_LENGTH = 1_000
MAX_DEPTH = 50
WORDS: Mapping[str, bool] = {"true": True, "false": False}

Values = Mapping[str, Any]
Term = Callable[[Values], Any]
Condition = Callable[[Values], bool]

_KINDS: Mapping[type, str] = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list"}
_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDER: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Expression:
    """A parsed condition. Two are equal when their texts are."""

    text: str
    names: frozenset[str] = field(compare=False)
    _condition: Condition = field(compare=False, repr=False)

    def evaluate(self, params: Values) -> bool:
        """Whether the condition holds. Raises ExpressionError when it has no answer, as 1 / 0 or 'a' < 1 have none."""
        try:
            return self._condition(params)
        except (ZeroDivisionError, OverflowError, _KindError) as error:
            raise ExpressionError(f"{self.text!r} has no answer: {error}") from error


class _KindError(Exception):
    """Values of kinds that do not go together."""


def parse(text: str, names: Collection[str]) -> Expression:
    """Parse a condition over `names`. Raises ExpressionError, whatever the text is."""
    tree = _syntax_tree(text.strip())
    builder = _Builder(names)
    condition = builder.condition(tree.body, 0)
    return Expression(text.strip(), frozenset(builder.used), condition)


def parse_freely(text: str) -> Expression:
    """Parse a condition over whatever names it has. Raises ExpressionError."""
    tree = _syntax_tree(text.strip())
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in functions)
    return parse(text, {name for name in names if name not in WORDS})


def _syntax_tree(text: str) -> ast.Expression:
    if not text:
        raise ExpressionError("the condition is empty")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the condition has {len(text):,} characters, more than {MAX_LENGTH:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd literals; here they are told or harmless
            return ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"{_shown(text)} cannot be read as a condition: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"{_shown(text)} cannot be read as a condition") from None


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else repr(text[:57] + "...")


class _Builder:
    """Turns checked syntax into closures; `used` gathers the names met on the way."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.used: set[str] = set()
        self._conditions: Mapping[type, Callable[[Any, int], Condition]] = {
            ast.BoolOp: self._logic,
            ast.UnaryOp: self._negation,
            ast.Compare: self._comparison,
            ast.Name: self._flag,
            ast.Constant: self._constant_condition,
        }
        self._terms: Mapping[type, Callable[[Any, int], Term]] = {
            ast.Name: self._name,
            ast.Constant: self._constant,
            ast.List: self._list,
            ast.Tuple: self._list,
            ast.UnaryOp: self._sign,
            ast.BinOp: self._arithmetic,
            ast.Call: self._length,
            ast.Subscript: self._element,
        }

    def condition(self, node: ast.expr, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the condition is nested more than {MAX_DEPTH} deep")
        build = self._conditions.get(type(node))
        if build is None and type(node) in self._terms:
            self.term(node, depth)  # what is wrong inside comes first
            raise ExpressionError(f"{_source(node)} is not a condition: compare it with something, as in x > 1")
        return build(node, depth + 1) if build else _refuse(node)

    def term(self, node: ast.expr, depth: int) -> Term:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the condition is nested more than {MAX_DEPTH} deep")
        build = self._terms.get(type(node))
        return build(node, depth + 1) if build else _refuse(node)

    def _logic(self, node: ast.BoolOp, depth: int) -> Condition:
        parts = tuple(self.condition(value, depth) for value in node.values)
        if isinstance(node.op, ast.And):
            return lambda params: all(part(params) for part in parts)
        return lambda params: any(part(params) for part in parts)

    def _negation(self, node: ast.UnaryOp, depth: int) -> Condition:
        if not isinstance(node.op, ast.Not):
            raise ExpressionError(f"{_source(node)} is not a condition: compare it with something, as in x > 1")
        part = self.condition(node.operand, depth)
        return lambda params: not part(params)

    def _flag(self, node: ast.Name, _depth: int) -> Condition:
        if node.id in WORDS:
            answer = WORDS[node.id]
            return lambda _params: answer
        name = self._known(node.id)
        return lambda params: _truth(name, params.get(name, False))

    def _constant_condition(self, node: ast.Constant, _depth: int) -> Condition:
        if not isinstance(node.value, bool):
            raise ExpressionError(f"{_source(node)} is not a condition: compare something with it, as in x > 1")
        answer = node.value
        return lambda _params: answer

    def _comparison(self, node: ast.Compare, depth: int) -> Condition:
        operands = [self.term(operand, depth) for operand in (node.left, *node.comparators)]
        links = tuple(
            (left, _test(op), right) for left, op, right in zip(operands, node.ops, operands[1:], strict=False)
        )
        if len(links) == 1:
            return _single(*links[0])

        def chained(params: Values) -> bool:
            try:
                return all(test(left(params), right(params)) for left, test, right in links)
            except KeyError:  # a parameter that does not apply
                return False

        return chained

    def _name(self, node: ast.Name, _depth: int) -> Term:
        if node.id in WORDS:
            answer = WORDS[node.id]
            return lambda _params: answer
        return operator.itemgetter(self._known(node.id))

    def _constant(self, node: ast.Constant, _depth: int) -> Term:
        value = _literal(node)
        return lambda _params: value

    def _list(self, node: ast.List | ast.Tuple, depth: int) -> Term:
        value = _literal(node, depth)
        return lambda _params: value

    def _sign(self, node: ast.UnaryOp, depth: int) -> Term:
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise ExpressionError(f"{_source(node)} cannot stand inside a comparison")
        part = self.term(node.operand, depth)
        if isinstance(node.op, ast.UAdd):
            return lambda params: _number(part(params))
        return lambda params: -_number(part(params))

    def _arithmetic(self, node: ast.BinOp, depth: int) -> Term:
        operate = _ARITHMETIC.get(type(node.op))
        if operate is None:
            raise ExpressionError(f"{_source(node)}: only + - * / // % can be calculated")
        left, right = self.term(node.left, depth), self.term(node.right, depth)
        return lambda params: operate(_number(left(params)), _number(right(params)))

    def _length(self, node: ast.Call, depth: int) -> Term:
        named = isinstance(node.func, ast.Name) and node.func.id == "len"
        if not named or len(node.args) != 1 or node.keywords:
            raise ExpressionError(f"{_source(node)}: the only function is len(name)")
        part = self.term(node.args[0], depth)
        return lambda params: _length_of(part(params))

    def _element(self, node: ast.Subscript, depth: int) -> Term:
        place = node.slice
        sign = -1 if isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.USub) else 1
        number = place.operand if isinstance(place, ast.UnaryOp) and sign < 0 else place
        if not isinstance(number, ast.Constant) or type(number.value) is not int:
            raise ExpressionError(f"{_source(node)}: an element is told by its place, as in name[0] or name[-1]")
        part, index = self.term(node.value, depth), sign * number.value
        return lambda params: _element_of(part(params), index)

    def _known(self, name: str) -> str:
        if name not in self._names:
            near = get_close_matches(name, self._names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._names) or 'none'}"
            raise ExpressionError(f"{name!r} is not a parameter of this spec; {hint}")
        self.used.add(name)
        return name


def _refuse(node: ast.expr) -> NoReturn:
    raise ExpressionError(f"{_source(node)} is not allowed in a condition")


def _source(node: ast.AST) -> str:
    try:
        return _shown(ast.unparse(node))
    except (ValueError, RecursionError):  # digits beyond what Python prints, or a deep tree
        return "this part"


def _single(left: Term, test: Callable[[Any, Any], bool], right: Term) -> Condition:
    def compared(params: Values) -> bool:
        try:
            return test(left(params), right(params))
        except KeyError:  # a parameter that does not apply
            return False

    return compared


def _test(op: ast.cmpop) -> Callable[[Any, Any], bool]:
    if type(op) in _ORDER:
        order = _ORDER[type(op)]
        return lambda left, right: order(*_ordered(left, right))
    tests: Mapping[type, Callable[[Any, Any], bool]] = {
        ast.Eq: _same,
        ast.NotEq: lambda left, right: not _same(left, right),
        ast.In: _member,
        ast.NotIn: lambda left, right: not _member(left, right),
    }
    if type(op) not in tests:
        raise ExpressionError("'is' is not allowed in a condition; use == or !=")
    return tests[type(op)]


def _ordered(left: Any, right: Any) -> tuple[Any, Any]:
    kind = _KINDS[type(left)]
    if kind != _KINDS[type(right)] or kind not in ("a number", "text"):
        raise _KindError(f"{left!r} ({kind}) and {right!r} ({_KINDS[type(right)]}) have no order")
    return left, right


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right) and _KINDS[type(left)] == _KINDS[type(right)]


def _member(value: Any, group: Any) -> bool:
    if not isinstance(group, list):
        raise _KindError(f"{group!r} is {_KINDS[type(group)]}, not a list to look in")
    return any(_same(value, item) for item in group)


def _number(value: Any) -> Any:
    if _KINDS[type(value)] != "a number":
        raise _KindError(f"{value!r} is {_KINDS[type(value)]}, not a number to calculate with")
    return value


def _length_of(value: Any) -> int:
    if not isinstance(value, str | list):
        raise _KindError(f"{value!r} is {_KINDS[type(value)]} and has no length")
    return len(value)


def _element_of(value: Any, index: int) -> Any:
    """An element of a list. Raises KeyError, as for a parameter that does not apply, where the list is too short."""
    if not isinstance(value, list):
        raise _KindError(f"{value!r} is {_KINDS[type(value)]} and has no elements")
    if not -len(value) <= index < len(value):
        raise KeyError(index)
    return value[index]


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _KindError(f"{name} is {value!r}, not true or false")
    return value


def _literal(node: ast.expr, depth: int = 0) -> Any:
    """The value of a literal: a number, text, true or false, or a list of such."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the condition is nested more than {MAX_DEPTH} deep")
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item, depth + 1) for item in node.elts]
    if isinstance(node, ast.Name) and node.id in WORDS:
        return WORDS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal(node.operand, depth + 1)
        if _KINDS[type(value)] == "a number":
            return value if isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.Constant) and type(node.value) in _KINDS:
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise ExpressionError("a number of the condition is too large")
        return node.value
    raise ExpressionError(f"{_source(node)} is not a literal: only numbers, 'text', true, false and lists of them")
