"""The `parameters`, `exclude` and `points` of a spec: its search space."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optml_queue.driver import RESULT_COLUMNS, Driver
from optml_queue.errors import ExpressionError
from optml_queue.expression import WORDS, Expression, parse
from optml_queue.space import Axis, Interval, Space, in_order_of_need
from optml_queue.spec.axis import read_axis, read_value
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.section import Report, Section, nearest
from optml_queue.trial import Params, encode

MAX_POINTS = 1_000_000_000
_EXAMPLE = "as in parameters: {learning_rate: {values: [0.1, 0.01]}}"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_RESERVED_NAMES = frozenset({*RESULT_COLUMNS, "params"})
_WORDS_OF_CONDITIONS = frozenset({*WORDS, "True", "False", "None", "and", "or", "not", "in", "is", "if", "else", "len"})
# Points that are computed while a spec is read, to find conditions without an answer and spaces without a point.
_TRIED_POINTS = 2_000
_SEARCHED_POINTS = 100_000


@dataclass(slots=True)
class SpaceSection:
    """Reads the search space out of a spec's root; `driver` is None when it could not be loaded."""

    root: Section
    driver: Driver | None
    # Every condition with its key path and node, to tell where one without an answer stands.
    conditions: list[tuple[Expression, str, Node]] = field(default_factory=list)

    @property
    def report(self) -> Report:
        return self.root.report

    @property
    def names(self) -> Sequence[str]:
        """The names of the spec's parameters."""
        node = self.root.entries.get("parameters")
        return list(node.value) if node is not None and isinstance(node.value, dict) else []

    def read(self, methods: Collection[str], max_trials: int | None) -> Space | None:
        """The search space that some methods go through; None with problems noted."""
        before = len(self.report.problems)
        axes = self._axes(drawn="grid" not in methods)
        exclude = self._exclude()
        if len(self.report.problems) > before or not axes:
            return None
        space = Space(axes, exclude)
        if "random" in methods:
            self._check_drawn(space, max_trials)
        if "grid" in methods and space.size is not None and space.size > MAX_POINTS:
            advice = "use fewer values, or method: random with max_trials"
            self.root.problem(
                "parameters", f"the grid has {_grouped(space.size)} points, more than {MAX_POINTS:,}", advice
            )
        if len(self.report.problems) == before:
            self._try_points(space)
        if len(self.report.problems) == before:
            self._check_points(space)
        return space if len(self.report.problems) == before else None

    def points(self, space: Space | None) -> tuple[Params, ...]:
        """The points to try first, completed by fixed parameters."""
        points: dict[str, Params] = {}
        for key, node in self.root.items("points"):
            given = self._point_values(Section(node, key, self.report))
            if given is None or space is None:
                continue
            point, message = _completed(space, given)
            if not message and points.setdefault(encode(point), point) is not point:
                message = "repeats an earlier one"
            message = message or "; ".join(f"{name} {wrong}" for name, wrong in self._wrong(point).items())
            if message:
                self.report.add(node, key, message)
        return tuple(points.values())

    def _axes(self, *, drawn: bool) -> tuple[Axis, ...]:
        section = self.root.section("parameters")
        if section is None or not section.entries:
            if section is None or section.node.value == {}:
                self.root.problem("parameters", "there must be at least one", _EXAMPLE)
            return ()
        self._check_required(section)
        axes = [self._axis(section, name, drawn=drawn) for name in section.entries]
        complete = tuple(axis for axis in axes if axis is not None)
        if len(complete) < len(axes):
            return ()
        try:
            in_order_of_need(complete)
        except ValueError as error:
            self.root.problem("parameters", f"the conditions (when) of {error} go in a circle")
        return complete

    def _axis(self, section: Section, name: str, *, drawn: bool) -> Axis | None:
        if not self._is_usable_name(section, name):
            return None
        node = section.entries[name]
        if node.value is None:
            section.problem(name, "has no value", _EXAMPLE)
            return None
        parameter = self.driver.parameters.get(name) if self.driver else None
        axis = read_axis(node, section.key(name), self.report, parameter, self.names, drawn=drawn)
        if axis is not None and axis.when is not None and isinstance(node.value, dict):
            self.conditions.append((axis.when, f"{section.key(name)}.when", node.value["when"]))
        return axis

    def _is_usable_name(self, section: Section, name: str) -> bool:
        metrics = self.driver.metrics if self.driver else {}
        if not _NAME.fullmatch(name) or name in _WORDS_OF_CONDITIONS:
            message = "cannot be the name of a parameter: at most 63 letters, digits and _, no digit first"
            section.report.add(section.entries[name], section.key(shortened(name)), message)
        elif name in _RESERVED_NAMES or name in metrics:
            section.problem(name, "is the name of a column of the results, which no parameter can have")
        elif self.driver and not (name in self.driver.parameters or self.driver.other_parameters):
            known = list(self.driver.parameters)
            section.problem(name, f"is no parameter of {self.driver.name}", _known(name, known))
        else:
            return True
        return False

    def _check_required(self, section: Section) -> None:
        for parameter in self.driver.parameters.values() if self.driver else ():
            node = section.entries.get(parameter.name)
            if parameter.default is not None:
                continue
            key = section.key(parameter.name)
            if node is None:
                section.report.add(section.node, key, "is missing: the algorithm has no default for it")
            elif isinstance(node.value, dict) and "when" in node.value:
                message = "is not allowed here: the algorithm has no default for the parameter"
                section.report.add(node.value["when"], f"{key}.when", message)

    def _exclude(self) -> tuple[Expression, ...]:
        found: list[Expression] = []
        for key, node in self.root.items("exclude"):
            if not isinstance(node.value, str):
                self.report.add(node, key, f"must be a condition, got {node}", 'as in "learning_rate > 0.1"')
                continue
            try:
                found.append(parse(node.value, self.names))
            except ExpressionError as error:
                self.report.add(node, key, str(error))
                continue
            self.conditions.append((found[-1], key, node))
        return tuple(found)

    def _check_drawn(self, space: Space, max_trials: int | None) -> None:
        size = space.size
        if max_trials is None and "max_trials" not in self.root and (size is None or size > MAX_POINTS):
            much = "has no last point" if size is None else f"has {_grouped(size)} points, more than {MAX_POINTS:,}"
            self.report.add(self.root.node, "max_trials", f"is missing: the space {much}", "as in max_trials: 100")
        parts = [(axis, part) for axis in space.axes for part in axis.parts if part.size is None]
        if parts and all(isinstance(part, Interval) and part.whole for _, part in parts):
            # Such a space ends, so a random search of it must not repeat itself, yet it is not a uniform one.
            key = f"parameters.{parts[0][0].name}"
            message = (
                "needs count: integers on a log scale are drawn only beside another parameter's interval of floats"
            )
            self.report.add(self.root.entries["parameters"], key, message)

    def _try_points(self, space: Space) -> None:
        """Note a condition that has no answer for some point, and a space whose points are all excluded."""
        try:
            if not _has_point(space):
                self.root.problem("exclude", "leaves no point to try")
        except ExpressionError as error:
            for condition, key, node in self.conditions:
                if str(error).startswith(repr(condition.text)):
                    self.report.add(node, key, str(error))
                    return
            self.root.problem("exclude", str(error))

    def _check_points(self, space: Space) -> None:
        """Note what the algorithm finds wrong with points of the space, once for each parameter."""
        if self.driver is None or self.driver.check is None:
            return
        told: set[str] = set()
        for point in _some_points(space):
            for name, message in self._wrong(point).items():
                if name not in told:
                    told.add(name)
                    key, node = self._place(name, point)
                    self.report.add(node, key, message)

    def _wrong(self, point: Params) -> Mapping[str, str]:
        """What the algorithm finds wrong with a point, by parameter."""
        if self.driver is None or self.driver.check is None:
            return {}
        return self.driver.check(self.driver.complete(point))

    def _place(self, name: str, point: Params) -> tuple[str, Node]:
        """Key path and node of a point's value of a parameter: that in the list of values, if there is one."""
        section = Section(self.root.entries["parameters"], "parameters", self.report)
        node = section.entries.get(name, section.node)
        values = node.value.get("values", node) if isinstance(node.value, dict) else node
        for index, item in enumerate(values.value if isinstance(values.value, list) else ()):
            if item.plain() == point.get(name):
                return f"{section.key(name)}.values[{index}]", item
        return section.key(name), node

    def _point_values(self, section: Section) -> Params | None:
        before = len(self.report.problems)
        if section.node.value == {}:
            self.report.add(section.node, section.path, "is empty", "a point has a value for every parameter")
        values: Params = {}
        for name, node in section.entries.items():
            if name not in self.names:
                section.problem(name, "is not among the parameters of this spec", _known(name, self.names))
                continue
            parameter = self.driver.parameters.get(name) if self.driver else None
            value = read_value(node, section.key(name), self.report, parameter)
            if value is not None:
                values[name] = value
        return values if len(self.report.problems) == before else None


def _completed(space: Space, given: Params) -> tuple[Params, str]:
    """A given point with the fixed parameters that it leaves out, and what is wrong with it ("" for nothing)."""
    try:
        point = space.complete(given)
        excluding = space.excluded_by(point)
    except KeyError as error:
        return given, f"has no value for {error.args[0]}"
    except ExpressionError as error:
        return given, str(error)
    idle = [name for name in given if name not in point]
    if idle:
        return point, f"gives {', '.join(idle)}, whose condition (when) is false for it"
    return point, f"is excluded by {excluding.text!r}" if excluding else ""


def _has_point(space: Space) -> bool:
    """Whether some point is not excluded, as far as it can be told quickly; computes points from all over the space."""
    if space.gapless:
        return True
    if space.size is None:
        fractions = random.Random(0)
        return any(space.draw(lambda _name: fractions.random()) is not None for _ in range(_TRIED_POINTS))
    tried = min(space.size, _TRIED_POINTS)
    found = [space.point(index * space.size // tried) for index in range(tried)]  # all: each may have no answer
    if any(found):
        return True
    searched = range(min(space.size, _SEARCHED_POINTS))
    return space.size > _SEARCHED_POINTS or any(space.point(index) for index in searched)


def _some_points(space: Space) -> Iterator[Params]:
    """Points from all over the space: all of a small one."""
    fractions = random.Random(0)
    size = space.size
    for index in range(_TRIED_POINTS if size is None else min(size, _TRIED_POINTS)):
        if size is None:
            point = space.draw(lambda _name: fractions.random())
        else:
            # Not every so many: that could miss all but one value of the parameter that varies fastest.
            point = space.point(index if size <= _TRIED_POINTS else fractions.randrange(size))
        if point is not None:
            yield point


def _known(name: str, known: Sequence[str]) -> str:
    there_are = f"there are: {', '.join(known) or 'none'}"
    near = nearest(name, known)
    return f"{near} {there_are}" if near else there_are


def _grouped(number: int) -> str:
    """A count as a message shows it; numbers beyond all use by their power of ten."""
    return (
        f"{number:,}" if number < 10**18 else f"over 10^{len(str(number)) - 1}" if number < 10**4000 else "over 10^4000"
    )
