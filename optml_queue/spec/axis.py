"""The `parameters` of a spec: one entry → one axis of the space.

learning_rate: {values: [0.5, 0.1]}        or [0.5, 0.1]
filter_size:   {value: 5}                  or 5
momentum:      {min: 0.0, max: 0.9, count: 4}
rate:          {min: 1e-8, max: 0.1, count: 8, scale: log}
epochs:        {min: 1, max: 9, step: 2}
width:         {min: 0.1, max: 2.0}        drawn, by any search but a grid
layers:        {list: {of: [32, 128], min_length: 1, max_length: 3}}      of: any of the forms above
with each:     when: "condition"
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from optml_queue.driver import Parameter
from optml_queue.errors import ExpressionError
from optml_queue.expression import Expression, parse
from optml_queue.space import Axis, Choices, Geometric, Interval, Linear, Lists, Number, identity
from optml_queue.spec import spellings
from optml_queue.spec.document import Node
from optml_queue.spec.section import Report, Section, alternatives
from optml_queue.trial import ParamValue

MAX_COUNT = 1_000_000_000
_RANGE_KEYS = ("min", "max", "count", "step", "scale")
_KEYS = ("values", "value", *_RANGE_KEYS, "list", "when")
_LIST_KEYS = ("of", "min_length", "max_length")
MAX_LENGTH = 100  # of the lists of an axis
_KIND_WORDS = {bool: "true or false", str: "text", list: "lists", int: "an integer", float: "a number"}
# Past so many steps narrower than one integer, a log scale of integers is not looked at one by one any more.
_MAX_NARROW_STEPS = 10_000

# What a key rules out: setting it from the command line removes these.
RIVALS = {
    "value": ("values", "list", *_RANGE_KEYS),
    "values": ("value", "list", *_RANGE_KEYS),
    "list": ("value", "values", *_RANGE_KEYS),
    "min": ("value", "values", "list"),
    "max": ("value", "values", "list"),
    "count": ("value", "values", "list", "step"),
    "step": ("value", "values", "list", "count", "scale"),
    "scale": ("value", "values", "list", "step"),
}


def read_axis(
    node: Node, path: str, report: Report, parameter: Parameter | None, names: Collection[str], *, drawn: bool
) -> Axis | None:
    """The axis of one parameter, None when it has a problem.

    `parameter` is the driver's declaration (None when the driver could not be loaded), `names` are the spec's
    parameters, `drawn` says whether the search may draw from an interval.
    """
    section = Section(_long_form(node), path, report)
    section.refuse_others(_KEYS, spellings.PARAMETER)
    when = _when(section, names)
    form = _form(section)
    if form == "list":
        return _lists(section, parameter, when, drawn=drawn)
    if form == "values":
        return _choices(section, parameter, when)
    if form == "value":
        key = section.key("value") if isinstance(node.value, dict) else path
        value = read_value(section.entries["value"], key, report, parameter)
        return None if value is None else Choices(_name(section), (value,), when=when)
    return _range(section, parameter, when, drawn=drawn) if form == "range" else None


def _name(section: Section) -> str:
    return section.path.rpartition(".")[2]


def _long_form(node: Node) -> Node:
    if isinstance(node.value, list):
        return Node({"values": node}, node.line, node.origin)
    return node if isinstance(node.value, dict) else Node({"value": node}, node.line, node.origin)


def _form(section: Section) -> str:
    """Which form a parameter has: values, value, list or range; "" with a problem noted."""
    forms = [form for form in ("values", "value", "list") if form in section]
    ranged = [key for key in _RANGE_KEYS if key in section]
    if len(forms) + bool(ranged) > 1:
        message = f"has {alternatives([*forms, *ranged]).replace(' or ', ' and ')}, which rule each other out"
        section.report.add(section.node, section.path, message, "keep values, or value, or min and max, or list")
        return ""
    if forms:
        return forms[0]
    if not ranged and isinstance(section.node.value, dict):
        section.report.add(section.node, section.path, "needs values, or value, or min and max, or list")
    return "range" if ranged else ""


def _when(section: Section, names: Collection[str]) -> Expression | None:
    text = section.text("when")
    if not text:
        if "when" in section and section.entries["when"].value == "":
            section.problem("when", "is empty")
        return None
    try:
        condition = parse(text, names)
    except ExpressionError as error:
        section.problem("when", str(error))
        return None
    if _name(section) in condition.names:
        section.problem("when", "a parameter cannot depend on itself")
        return None
    return condition


def _choices(section: Section, parameter: Parameter | None, when: Expression | None) -> Axis | None:
    items = section.items("values")
    values = [read_value(node, key, section.report, parameter) for key, node in items]
    if not items:
        if "values" in section and section.entries["values"].value == []:
            section.problem("values", "is empty", "list at least one value")
        return None
    first_keys: dict[Hashable, str] = {}
    for (key, node), value in zip(items, values, strict=True):
        first_key = key if value is None else first_keys.setdefault(identity(value), key)
        if first_key != key:
            section.report.add(node, key, f"repeats {first_key}: {node}", "keep one of them")
    known = tuple(value for value in values if value is not None)
    return Choices(_name(section), known, when=when) if len(known) == len(values) else None


def _lists(section: Section, parameter: Parameter | None, when: Expression | None, *, drawn: bool) -> Axis | None:
    """Lists of elements: `of` is another axis, or the list of its values."""
    if parameter is not None and parameter.kind is not list:
        message = f"{parameter.name} takes {_KIND_WORDS[parameter.kind]}, not lists"
        section.problem("list", message, "write values, or min and max")
        return None
    lists = section.section("list")
    if lists is None or not isinstance(lists.node.value, dict):
        return None
    lists.refuse_others(_LIST_KEYS, spellings.LIST)
    lengths = _lengths(lists)
    of = _elements(lists, parameter, drawn=drawn)
    if of is None or lengths is None:
        return None
    return Lists(_name(section), replace(of, name=_name(section)), *lengths, when=when)


def _lengths(lists: Section) -> tuple[int, int] | None:
    """min_length and max_length, in order; None with a problem noted."""
    if "max_length" not in lists:
        lists.report.add(lists.node, lists.path, "max_length is missing", _LIST_EXAMPLE)
        return None
    least, most = 1, lists.integer("max_length", 1, MAX_LENGTH)
    if "min_length" in lists:
        found = lists.integer("min_length", 0, MAX_LENGTH)
        if found is None:
            return None
        least = found
    if most is not None and least > most:
        lists.problem("min_length", f"must be at most max_length, got min_length {least} and max_length {most}")
        return None
    return None if most is None else (least, most)


def _elements(lists: Section, parameter: Parameter | None, *, drawn: bool) -> Axis | None:
    """The axis that elements are of; None with a problem noted."""
    if "of" not in lists:
        lists.report.add(lists.node, lists.path, "of is missing: what the elements may be", _LIST_EXAMPLE)
    node = lists.get("of")
    if node is None:
        return None
    for key, advice in _NOT_OF_ELEMENTS.items():
        if isinstance(node.value, dict) and key in node.value:
            lists.report.add(node.value[key], f"{lists.key('of')}.{key}", "has no place among elements", advice)
            return None
    items = parameter.items if parameter else None
    element = replace(parameter, kind=items, choices=(), items=None) if parameter and items else None
    return read_axis(node, lists.key("of"), lists.report, element, (), drawn=drawn)


_NOT_OF_ELEMENTS = {
    "list": "write elements that are lists one by one, as values: [[1, 2], [3]]",
    "when": "write the condition beside list: it is about all elements",
}
_LIST_EXAMPLE = "as in list: {of: [32, 128, 512], min_length: 1, max_length: 3}"


def read_value(node: Node, key: str, report: Report, parameter: Parameter | None) -> ParamValue | None:
    """A parameter's value, of the kind that the driver declares; None with a problem noted."""
    if message := _shape_problem(node):
        report.add(node, key, message)
        return None
    value = node.plain()
    if parameter is None:
        return value  # type: ignore[no-any-return]
    if message := parameter.problem(value):
        report.add(node, key, message, _kind_advice(node, parameter))
        return None
    return float(value) if parameter.kind is float else value


def _shape_problem(node: Node) -> str:
    """Why a node can be no parameter's value, whatever the driver."""
    if isinstance(node.value, list):
        return next(filter(None, map(_shape_problem, node.value)), "")
    if node.value is None or isinstance(node.value, dict):
        return f"must be a number, text, true, false or a list of such, got {node}"
    if isinstance(node.value, float) and not math.isfinite(node.value):
        return f"must be finite, got {node}"
    if isinstance(node.value, int) and not -(2**63) <= node.value < 2**63:
        return f"must fit into 64 bits, got {node}"
    return ""


def _kind_advice(node: Node, parameter: Parameter) -> str:
    value = node.value
    if parameter.kind is int and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if parameter.kind is bool and isinstance(value, str):
        return "true and false are the only words for it; yes, no, on and off are text"
    if parameter.kind is str and not isinstance(value, str | list | dict):
        return f'put it in quotes: "{value}"'
    if parameter.kind is list and not isinstance(value, list):
        return f"write a list, also for one: [{value}]; a list of such values is [[{value}], …]"
    return ""


def _range(section: Section, parameter: Parameter | None, when: Expression | None, *, drawn: bool) -> Axis | None:
    bounds = _bounds(section, parameter)
    scale = section.choice("scale", ("linear", "log"), "linear")
    before = len(section.report.problems)
    count = section.integer("count", 2, MAX_COUNT)
    if "count" in section and "step" in section:
        section.problem("step", "rules out count", "keep one of them")
    if "step" in section and scale == "log":
        section.problem("step", "rules out scale: log", "use count with a log scale")
    if bounds is None or len(section.report.problems) > before:
        return None
    if scale == "log" and bounds[0] <= 0:
        section.problem("min", f"must be > 0 on a log scale, got {bounds[0]!r}")
        return None
    if "step" in section:
        return _stepped(section, *bounds, when)
    if count is not None:
        return _counted(section, *bounds, count, when, log=scale == "log")
    return _interval(section, *bounds, when, log=scale == "log", drawn=drawn)


def _bounds(section: Section, parameter: Parameter | None) -> tuple[Number, Number] | None:
    """min and max, of one kind and in order."""
    if parameter is not None and parameter.kind not in (int, float):
        message = f"{parameter.name} takes {_KIND_WORDS[parameter.kind]}, not a range"
        is_list = parameter.kind is list
        advice = "write list: {of: {min: …, max: …}, max_length: …}" if is_list else "list the values as values: [ … ]"
        section.report.add(section.node, section.path, message, advice)
        return None
    found = [_bound(section, key, parameter) for key in ("min", "max")]
    if None in found:
        return None
    low, high = (number for number in found if number is not None)
    if isinstance(low, float) or isinstance(high, float):
        low, high = float(low), float(high)
    if low >= high:
        advice = "for a single value write value" if low == high else ""
        section.problem("min", f"must be less than max, got min {low!r} and max {high!r}", advice)
        return None
    if not math.isfinite(high - low):
        section.problem("max", f"is too far from min {low!r}, got {high!r}")
        return None
    return low, high


def _bound(section: Section, key: str, parameter: Parameter | None) -> Number | None:
    if key not in section:
        section.report.add(section.node, section.path, f"{key} is missing", "a range has both min and max")
        return None
    if section.number(key) is None:
        return None
    value: Any = read_value(section.entries[key], section.key(key), section.report, parameter)
    return value  # type: ignore[no-any-return]


def _stepped(section: Section, low: Number, high: Number, when: Expression | None) -> Axis | None:
    step = section.number("step")
    if step is None:
        return None
    if isinstance(low, int) and isinstance(step, float):
        hint = f"write {int(step)}" if step.is_integer() else ""
        section.problem("step", f"must be an integer as min and max are, got {step!r}", hint)
        return None
    if step <= 0:
        section.problem("step", f"must be > 0, got {step!r}")
        return None
    if step > high - low:
        section.problem("step", f"is larger than max − min, got {step!r}", "for a single value write value")
        return None
    return _if_apart(section, "step", Linear(_name(section), low, high, step=step, when=when), step)


def _counted(
    section: Section, low: Number, high: Number, count: int, when: Expression | None, *, log: bool
) -> Axis | None:
    if isinstance(low, int) and count > high - low + 1:
        section.problem("count", f"there are only {high - low + 1} integers from min to max, got {count:,}")
        return None
    if log:
        axis = Geometric(_name(section), low, high, count, when=when)
        if isinstance(low, int):
            return _if_integers_apart(section, axis)
        return _if_apart(section, "count", axis, low * math.expm1((math.log(high) - math.log(low)) / (count - 1)))
    axis_linear = Linear(_name(section), low, high, count, when=when)
    return _if_apart(section, "count", axis_linear, float(Fraction(high) - Fraction(low)) / (count - 1))


def _if_apart(section: Section, key: str, axis: Linear | Geometric, spacing: Number) -> Axis | None:
    """The axis, unless its floats lie closer than floats can."""
    widest = axis.low if axis.log else max(abs(axis.low), abs(axis.high))
    if isinstance(axis.low, float) and spacing < 2 * math.ulp(widest):
        section.problem(key, "makes values so close that floats cannot tell them apart")
        return None
    return axis


def _if_integers_apart(section: Section, axis: Geometric) -> Axis | None:
    """The axis, unless two of its values are rounded to the same integer. They widen, so the first ones tell."""
    ratio = math.exp((math.log(axis.high) - math.log(axis.low)) / (axis.count - 1))
    narrow = 0 if ratio <= 1 else int(max(0.0, -math.log(axis.low * (ratio - 1)) / math.log(ratio))) + 2
    last = min(axis.count - 1, narrow if ratio > 1 else axis.count)
    values = [axis.value(index) for index in range(min(last, _MAX_NARROW_STEPS) + 1)]
    if last > _MAX_NARROW_STEPS or len(set(map(repr, values))) < len(values):
        section.problem("count", f"{axis.count:,} rounded to integers repeat each other", "lower the count")
        return None
    return axis


def _interval(
    section: Section, low: Number, high: Number, when: Expression | None, *, log: bool, drawn: bool
) -> Axis | None:
    if not drawn:
        advice = "add count" if log or isinstance(low, float) else "add count, or step: 1"
        section.report.add(section.node, section.path, "a grid needs to know which values", advice)
        return None
    return Interval(_name(section), low, high, log_scale=log, when=when)
