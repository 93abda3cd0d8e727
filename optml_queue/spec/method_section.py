"""The `method` of a spec: how its points are chosen, by one way or by several in turn.

method: tpe
method: [random: 20, tpe: 60, cma-es: rest]        numbers of trials
"""

from __future__ import annotations

from optml_queue.space import Choices, Lists, Space
from optml_queue.spec import spellings
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.search import HYBRID, REST, Stage
from optml_queue.spec.section import Section, alternatives, integer_problem, nearest

COMPUTED = ("grid", "random")  # every point follows from its index
LEARNING = ("tpe", "gp", "cma-es", "nsga2", "evolution")
METHODS = (*COMPUTED, *LEARNING)
_MAX_STAGES = 20


def read_method(root: Section, max_trials: int) -> tuple[str, tuple[Stage, ...]]:
    """The method, and the stages of a hybrid; "" with problems noted. A stage has at most `max_trials` trials."""
    node = root.get("method")
    if node is None:
        return ("" if "method" in root else "grid"), ()
    if isinstance(node.value, list):
        return HYBRID, _stages(root, max_trials)
    if isinstance(node.value, str) and node.value not in METHODS:
        advice = spellings.METHOD.get(node.value.lower()) or nearest(node.value, METHODS)
        root.problem("method", f"must be {alternatives(METHODS)}, got {shortened(node.value)!r}", advice)
        return "", ()
    return root.choice("method", METHODS, ""), ()


def _stages(root: Section, max_trials: int) -> tuple[Stage, ...]:
    items = root.items("method")
    found: list[Stage] = []
    for place, (key, item) in enumerate(items):
        stage = _stage(root, key, item, max_trials)
        if stage is None:
            continue
        if stage.trials is None and place < len(items) - 1:
            root.report.add(item, key, "has the rest, and others follow", "give it a number of trials, or put it last")
        found.append(stage)
    if len(items) > _MAX_STAGES:
        root.problem("method", f"has {len(items)} stages, more than {_MAX_STAGES}")
    if not items and "method" in root:
        root.problem("method", "is empty", "as in method: [random: 20, tpe: rest]")
    return tuple(found)


def _stage(root: Section, key: str, item: Node, max_trials: int) -> Stage | None:
    """One stage; None with a problem noted."""
    if not isinstance(item.value, dict) or len(item.value) != 1:
        message = f"must be a method with its number of trials, got {item}"
        root.report.add(item, key, message, "as in method: [random: 20, tpe: rest]")
        return None
    (method, trials), *_ = item.value.items()
    if method not in METHODS:
        advice = spellings.METHOD.get(method.lower()) or nearest(method, METHODS)
        root.report.add(item, key, f"must be {alternatives(METHODS)}, got {shortened(method)!r}", advice)
        return None
    if trials.value == REST:
        return Stage(method)
    message = integer_problem(trials, 1, max_trials)
    if message:
        root.report.add(trials, f"{key}.{method}", message, f"a number of trials, or {REST} for all that are left")
        return None
    return Stage(method, int(trials.value))  # type: ignore[arg-type]  # integer_problem made sure


def check_method(root: Section, course: tuple[Stage, ...], space: Space, max_trials: int | None) -> None:
    """Note what a method cannot do with a space, and a search that would never end."""
    learning = [stage.method for stage in course if stage.method in LEARNING]
    if learning and max_trials is None and "max_trials" not in root:
        message = f"is missing: {learning[0]} goes on for as long as it may"
        root.report.add(root.node, "max_trials", message, "as in max_trials: 100")
    for method in dict.fromkeys(learning):
        message, advice = _unfit(method, space)
        if message:
            root.problem("method", message, advice)


def _unfit(method: str, space: Space) -> tuple[str, str]:
    """Why a method cannot search a space, and what to do; "" when it can."""
    parts = [part for axis in space.axes for part in axis.parts if part.size != 1]
    if not parts:
        return (
            f"{method} has nothing to vary: every parameter has one value",
            "give one of them more values, or a range",
        )
    if method not in ("cma-es", "gp"):
        return "", ""
    advice = "use tpe or evolution"
    conditional = [axis.name for axis in space.axes if axis.when is not None]
    if conditional:
        return f"{method} cannot search a space with conditions (when of {conditional[0]})", advice
    for axis in space.axes:
        if isinstance(axis, Lists) and axis.min_length != axis.max_length:
            lengths = f"{axis.min_length} to {axis.max_length} elements"
            message = f"{method} cannot search lists of different lengths ({axis.name} has {lengths})"
            return message, f"{advice}, or give {axis.name} one length: min_length equal to max_length"
    numbers = [axis for axis in parts if not isinstance(axis, Choices)]
    if method == "cma-es" and len(numbers) < 2:
        message = f"cma-es needs two parameters with min and max at least, got {len(numbers)}: values have no order"
        return message, advice
    return "", ""
