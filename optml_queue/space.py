"""The search space: parameters (axes), and the point that belongs to an index.

A point is computed from its index, never stored: the index is read as a number in mixed radix, one digit for each
axis in order of declaration, so that the last axis varies fastest. A space of 10^9 points costs no more memory than
one of ten.

An axis with `when` applies only to some points. Where it does not apply it is left out of the point, and only its
first value counts: the indices of its other values have no point, for they would repeat that one.

A list axis has every list of its elements that is neither too short nor too long: the shorter ones first, those of one
length in the order of their elements, the last of which varies fastest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from math import lcm, prod
from typing import Any, TypeGuard

from optml_queue.expression import Expression
from optml_queue.trial import Params, ParamValue

Number = int | float

# 34 digits: twice a float's, so that 10^-4 … 10^-1 in four steps are 0.0001, 0.001, 0.01, 0.1 to the last bit, and
# the same on every platform (the C library's exp and pow differ).
_DECIMALS = Context(prec=34)


@dataclass(frozen=True)
class Axis(ABC):
    """One parameter: its values in order, or the interval they are drawn from."""

    name: str
    when: Expression | None = field(default=None, kw_only=True)

    @property
    def size(self) -> int | None:
        """The number of values; None when they are drawn rather than counted."""
        raise NotImplementedError

    @property
    def log(self) -> bool:
        """Whether the values are spaced by ratio rather than by difference."""
        return False

    @abstractmethod
    def value(self, index: int) -> ParamValue:
        """The value at an index, 0 ≤ index < size. Raises IndexError for an axis without a size."""

    @abstractmethod
    def index(self, value: ParamValue) -> int | None:
        """The index of a value; None when it is not one of this axis."""

    @abstractmethod
    def contains(self, value: ParamValue) -> bool:
        """Whether a point of this axis may have the value."""

    def at(self, fraction: float) -> ParamValue:
        """The value at a fraction of the axis, 0 ≤ fraction < 1: a uniform fraction makes a draw from the axis."""
        if self.size is None:
            raise NotImplementedError
        return self.value(min(int(fraction * self.size), self.size - 1))

    def draw(self, fraction: Callable[[str], float]) -> ParamValue:
        """A value from one uniform fraction, 0 ≤ fraction < 1, for each of the axis's parts by name."""
        return self.at(fraction(self.name))

    @property
    def parts(self) -> tuple[Axis, ...]:
        """What searchers that know numbers and choices alone see of the axis: itself."""
        return (self,)

    def split(self, value: ParamValue) -> list[ParamValue]:
        """A value's figures on the first of the parts; it may have none on the last."""
        return [value]

    def joined(self, figure: Callable[[Axis], ParamValue]) -> ParamValue:
        """The value whose figures on the parts are these; `figure` is asked for those that it has, in order."""
        return figure(self)

    @property
    def sections(self) -> tuple[int, ...]:
        """The sizes of the runs of indices that a random search gives the same chance. Only of a countable axis."""
        return (self.size or 1,)

    def to_dict(self) -> dict[str, Any]:
        """The axis as a spec writes it, without its name."""
        form = self._form()
        return {**form, "when": self.when.text} if self.when else form

    @abstractmethod
    def _form(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Choices(Axis):
    """Values listed one by one; a single one is a fixed parameter. Values of two kinds (1, true) are apart."""

    values: tuple[ParamValue, ...]

    @property
    def size(self) -> int:
        return len(self.values)

    def value(self, index: int) -> ParamValue:
        return self.values[index]

    def index(self, value: ParamValue) -> int | None:
        return self._indices.get(identity(value))

    def contains(self, value: ParamValue) -> bool:
        return self.index(value) is not None

    @cached_property
    def _indices(self) -> Mapping[Any, int]:
        return {identity(value): index for index, value in enumerate(self.values)}

    def _form(self) -> dict[str, Any]:
        return {"value": self.values[0]} if self.size == 1 else {"values": list(self.values)}


def identity(value: ParamValue) -> Any:
    """A hashable form of a value that tells true from 1."""
    if isinstance(value, list):
        return ("list", *map(identity, value))
    return (isinstance(value, bool), value)


@dataclass(frozen=True)
class _Ordered(Axis):
    """An axis of rising numbers between two bounds; integers when the bounds are."""

    low: Number
    high: Number

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int)

    def index(self, value: ParamValue) -> int | None:
        if self.size is None or not self._fits(value):
            return None
        index = bisect_left(range(self.size), value, key=self.value)
        return index if index < self.size and self.value(index) == value else None

    def contains(self, value: ParamValue) -> bool:
        return self.index(value) is not None

    def _fits(self, value: ParamValue) -> bool:
        """Whether a value is of this axis's kind and between its bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return isinstance(value, int) == self.whole and self.low <= value <= self.high


@dataclass(frozen=True)
class Linear(_Ordered):
    """Evenly spaced numbers from `low` on: `count` of them up to `high`, or every `step` as far as `high` reaches.

    Computed in integers from the decimal digits as written, then rounded once: steps of 0.1 are 0.1, 0.2, 0.3.
    A count of integers is rounded to the nearest integer, halves up.
    """

    count: int | None = None
    step: Number | None = None

    @property
    def size(self) -> int:
        return self._terms[3]

    def value(self, index: int) -> ParamValue:
        first, rise, divisor, _ = self._terms
        if self.whole:
            return (2 * (first + index * rise) + divisor) // (2 * divisor)
        return (first + index * rise) / divisor

    @cached_property
    def _terms(self) -> tuple[int, int, int, int]:
        """value(i) = (first + i × rise) / divisor, and the number of values; all integers."""
        low, high = Fraction(repr(self.low)), Fraction(repr(self.high))
        if self.count is not None:
            rise = (high - low) / (self.count - 1)
            size = self.count
        else:
            rise = Fraction(repr(self.step))
            size = (high - low) // rise + 1
        divisor = lcm(low.denominator, rise.denominator)
        return int(low * divisor), int(rise * divisor), divisor, size

    def _form(self) -> dict[str, Any]:
        spacing = {"count": self.count} if self.count is not None else {"step": self.step}
        return {"min": self.low, "max": self.high, **spacing}


@dataclass(frozen=True)
class Geometric(_Ordered):
    """`count` numbers from `low` to `high`, both exact, each the same multiple of the one before.

    Integers are rounded to the nearest; the spec's reader sees to it that no two become the same.
    """

    count: int

    @property
    def size(self) -> int:
        return self.count

    @property
    def log(self) -> bool:
        return True

    def value(self, index: int) -> ParamValue:
        if index == 0:
            return self.low
        if index == self.count - 1:
            return self.high
        return _rounded(_power(repr(self.low), repr(self.high), index, self.count - 1), self)

    def _form(self) -> dict[str, Any]:
        return {"min": self.low, "max": self.high, "count": self.count, "scale": "log"}


@dataclass(frozen=True)
class Interval(_Ordered):
    """All numbers between two bounds, for random search. Integers without a log scale can be counted, others cannot."""

    log_scale: bool = False

    @property
    def size(self) -> int | None:
        return int(self.high) - int(self.low) + 1 if self.whole and not self.log_scale else None

    @property
    def log(self) -> bool:
        return self.log_scale

    def value(self, index: int) -> ParamValue:
        if self.size is None:
            raise IndexError(f"{self.name} is drawn from an interval; its values have no order")
        return self.low + index

    def contains(self, value: ParamValue) -> bool:
        return self._fits(value)

    def at(self, fraction: float) -> ParamValue:
        if self.log_scale:
            numerator, denominator = fraction.as_integer_ratio()
            return _rounded(_power(repr(self.low), repr(self.high), numerator, denominator), self)
        if self.whole:
            return super().at(fraction)
        return min(self.low + fraction * (self.high - self.low), self.high)

    def _form(self) -> dict[str, Any]:
        form: dict[str, Any] = {"min": self.low, "max": self.high}
        return {**form, "scale": "log"} if self.log_scale else form


@dataclass(frozen=True)
class Lists(Axis):
    """Lists of `min_length` to `max_length` elements of another axis, any of which may come again.

    A draw has each length as often as any other: by the number of lists, nearly all would be of the greatest.
    """

    of: Axis
    min_length: int
    max_length: int

    @property
    def size(self) -> int | None:
        return None if self.of.size is None else self._starts[-1]

    def value(self, index: int) -> ParamValue:
        size = self.of.size
        if size is None:
            raise IndexError(f"{self.name} has elements from an interval; its values have no order")
        place = bisect_right(self._starts, index) - 1
        rest, items = index - self._starts[place], list[ParamValue]()
        for _ in range(self.min_length + place):
            rest, digit = divmod(rest, size)
            items.append(self.of.value(digit))
        return items[::-1]

    def index(self, value: ParamValue) -> int | None:
        size = self.of.size
        if size is None or not self._is_long_enough(value):
            return None
        index = 0
        for item in value:
            digit = self.of.index(item)
            if digit is None:
                return None
            index = index * size + digit
        return self._starts[len(value) - self.min_length] + index

    def contains(self, value: ParamValue) -> bool:
        return self._is_long_enough(value) and all(map(self.of.contains, value))

    def at(self, fraction: float) -> ParamValue:
        raise NotImplementedError  # one number is not enough: `draw` asks for more

    def draw(self, fraction: Callable[[str], float]) -> ParamValue:
        return self.joined(lambda part: part.at(fraction(part.name)))

    @cached_property
    def parts(self) -> tuple[Axis, ...]:
        """The length, NAME.length, and an element for each place, NAME[0] …; names that no parameter can have."""
        length = Interval(f"{self.name}.length", self.min_length, self.max_length)
        return (length, *(replace(self.of, name=f"{self.name}[{place}]") for place in range(self.max_length)))

    def split(self, value: ParamValue) -> list[ParamValue]:
        return [len(value), *value] if isinstance(value, list) else []

    def joined(self, figure: Callable[[Axis], ParamValue]) -> ParamValue:
        length, *places = self.parts
        return [figure(place) for place in places[: int(figure(length))]]  # type: ignore[arg-type]  # of an interval

    @property
    def sections(self) -> tuple[int, ...]:
        return tuple(end - start for start, end in pairwise(self._starts))

    @cached_property
    def _starts(self) -> Sequence[int]:
        """The index of the first list of each length, and the number of all lists. Only where elements are counted."""
        counts = ((self.of.size or 0) ** length for length in range(self.min_length, self.max_length + 1))
        return list(accumulate(counts, initial=0))

    def _is_long_enough(self, value: ParamValue) -> TypeGuard[list[ParamValue]]:
        """Whether a value is a list, and neither too short nor too long."""
        return isinstance(value, list) and self.min_length <= len(value) <= self.max_length

    def _form(self) -> dict[str, Any]:
        of = list(self.of.values) if isinstance(self.of, Choices) else self.of.to_dict()
        return {"list": {"of": of, "min_length": self.min_length, "max_length": self.max_length}}


def _power(low: str, high: str, part: int, parts: int) -> Decimal:
    """low × (high / low)^(part / parts), of the decimal digits of two positive numbers."""
    start, rise = _logarithms(low, high)
    share = _DECIMALS.divide(Decimal(part), Decimal(parts))
    return _DECIMALS.exp(_DECIMALS.fma(share, rise, start))


@lru_cache(maxsize=256)
def _logarithms(low: str, high: str) -> tuple[Decimal, Decimal]:
    start = _DECIMALS.ln(Decimal(low))
    return start, _DECIMALS.subtract(_DECIMALS.ln(Decimal(high)), start)


def _rounded(number: Decimal, axis: _Ordered) -> Number:
    """The nearest value of the axis's kind, within its bounds."""
    nearest = int(number.to_integral_value()) if axis.whole else float(number)
    return max(axis.low, min(axis.high, nearest))


def _quick_value(axis: Axis) -> Callable[[int], ParamValue]:
    """`axis.value` for a walk through a space, which asks for the same values of an axis again and again."""
    return axis.values.__getitem__ if isinstance(axis, Choices) else lru_cache(maxsize=4_096)(axis.value)


def axis_from_dict(name: str, form: Mapping[str, Any], when: Expression | None) -> Axis:
    """The axis that `to_dict` wrote. Integers and floats are told apart as JSON tells them: 1 and 1.0."""
    if "value" in form:
        return Choices(name, (form["value"],), when=when)
    if "values" in form:
        return Choices(name, tuple(form["values"]), when=when)
    if "list" in form:
        of, least, most = (form["list"][key] for key in ("of", "min_length", "max_length"))
        element = axis_from_dict(name, {"values": of} if isinstance(of, list) else of, None)
        return Lists(name, element, least, most, when=when)
    low, high, log = form["min"], form["max"], form.get("scale") == "log"
    if "step" in form:
        return Linear(name, low, high, step=form["step"], when=when)
    if "count" not in form:
        return Interval(name, low, high, log_scale=log, when=when)
    if log:
        return Geometric(name, low, high, form["count"], when=when)
    return Linear(name, low, high, form["count"], when=when)


def in_order_of_need(axes: Iterable[Axis]) -> list[Axis]:
    """The axes, each after those its `when` names, else as declared. Raises ValueError naming a circle's axes."""
    waiting, ready = list(axes), list[Axis]()
    placed: set[str] = set()
    while waiting:
        free = next((axis for axis in waiting if axis.when is None or axis.when.names <= placed), None)
        if free is None:
            raise ValueError(", ".join(axis.name for axis in waiting))
        waiting.remove(free)
        ready.append(free)
        placed.add(free.name)
    return ready


@dataclass(frozen=True)
class Space:
    """The product of the axes, less the points that an `exclude` condition holds for."""

    axes: tuple[Axis, ...]
    exclude: tuple[Expression, ...] = ()

    @cached_property
    def size(self) -> int | None:
        """The number of indices, those without a point included; None when an axis is drawn, not counted."""
        sizes = [axis.size for axis in self.axes]
        return None if None in sizes else prod(size for size in sizes if size is not None)

    @cached_property
    def gapless(self) -> bool:
        """Whether every index surely has a point."""
        return not self.exclude and all(axis.when is None for axis in self.axes)

    def point(self, index: int) -> Params | None:
        """The point at an index; None when it is excluded, or repeats another through a parameter that does not apply.

        Raises IndexError outside 0 ≤ index < size, ExpressionError when a condition has no answer for the point.
        """
        if self.size is None or not 0 <= index < self.size:
            raise IndexError(f"index {index} of a space of size {self.size}")
        if self._conditional:
            params = self._conditional_point(index)
        else:
            params = {name: value(index // stride % size) for name, value, stride, size in self._radix}
        return None if params is None or self._excluded(params) else params

    def draw(self, fraction: Callable[[str], float]) -> Params | None:
        """A point from one fraction, 0 ≤ fraction < 1, for each part of an axis by name; None when it is excluded."""
        params = self.build(lambda axis: axis.draw(fraction))
        return None if self._excluded(params) else params

    def complete(self, given: Mapping[str, ParamValue]) -> Params:
        """A point in order of declaration: what is given, and fixed parameters (axes of one value) that were left out.

        Raises KeyError naming the first parameter that applies but is neither given nor fixed.
        """
        return self.build(lambda axis: given[axis.name] if axis.name in given or axis.size != 1 else axis.value(0))

    def index(self, params: Mapping[str, ParamValue]) -> int | None:
        """The index of a point: `point(index(params)) == params`. None when no index has it."""
        if self.size is None or not self.contains(params):
            return None
        digits = (axis.index(params[name]) if name in params else 0 for name, axis in self._by_name.items())
        return sum((digit or 0) * stride for digit, (_, _, stride, _) in zip(digits, self._radix, strict=True))

    def contains(self, params: Mapping[str, ParamValue]) -> bool:
        """Whether this is a point of the space: on every axis that applies, and not excluded."""
        try:
            applying = self.complete(params)
        except KeyError:
            return False
        on_axes = all(self._by_name[name].contains(value) for name, value in params.items() if name in self._by_name)
        return on_axes and applying.keys() == params.keys() and not self._excluded(params)

    def excluded_by(self, params: Mapping[str, ParamValue]) -> Expression | None:
        """The first `exclude` condition that holds for the point."""
        return next((condition for condition in self.exclude if condition.evaluate(params)), None)

    def count_exact(self, limit: int = 1_000_000) -> int | None:
        """The number of points. None when that is unlimited, or would take looking at more than `limit` of them."""
        if self.size is None or self.gapless:
            return self.size
        if self.size > limit:
            return None
        bound = self._bound_names()
        free = prod(axis.size or 1 for axis in self.axes if axis.name not in bound)
        part = Space(tuple(axis for axis in self.axes if axis.name in bound), self.exclude)
        return free * sum(part.point(index) is not None for index in range(part.size or 0))

    def _bound_names(self) -> frozenset[str]:
        """The axes that a condition names, or that have one: the others only multiply the number of points."""
        conditions = [*self.exclude, *(axis.when for axis in self.axes if axis.when)]
        conditional = frozenset(axis.name for axis in self.axes if axis.when)
        return conditional.union(*(condition.names for condition in conditions))

    @cached_property
    def _by_name(self) -> Mapping[str, Axis]:
        return {axis.name: axis for axis in self.axes}

    @cached_property
    def _radix(self) -> Sequence[tuple[str, Callable[[int], ParamValue], int, int]]:
        """Name, index → value, stride and size of each axis of a countable space, in order of declaration."""
        sizes = [axis.size or 1 for axis in self.axes]
        strides = list(accumulate(reversed(sizes), lambda a, b: a * b, initial=1))[-2::-1]
        return [
            (axis.name, _quick_value(axis), stride, size)
            for axis, stride, size in zip(self.axes, strides, sizes, strict=True)
        ]

    @cached_property
    def _conditional(self) -> bool:
        return any(axis.when for axis in self.axes)

    @cached_property
    def _needs(self) -> tuple[Axis, ...]:
        return tuple(in_order_of_need(self.axes))

    def _conditional_point(self, index: int) -> Params | None:
        digits = {name: index // stride % size for name, _, stride, size in self._radix}
        params = self.build(lambda axis: axis.value(digits[axis.name]))
        return None if any(digit and name not in params for name, digit in digits.items()) else params

    def build(self, value: Callable[[Axis], ParamValue]) -> Params:
        """A point of the axes that apply, in order of declaration; `value` is asked for each after those it needs."""
        params: Params = {}
        for axis in self._needs:
            if axis.when is None or axis.when.evaluate(params):
                params[axis.name] = value(axis)
        return {name: params[name] for name in self._by_name if name in params}

    def _excluded(self, params: Mapping[str, ParamValue]) -> bool:
        return self.excluded_by(params) is not None
