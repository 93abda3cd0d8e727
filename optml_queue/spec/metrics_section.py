"""The metrics after the first one, and the constraints, as a spec has them."""

from __future__ import annotations

from collections.abc import Collection

from optml_queue.driver import DURATION, RESULT_COLUMNS, Driver, Goal, Metric
from optml_queue.errors import ExpressionError
from optml_queue.expression import Expression, parse, parse_freely
from optml_queue.spec import spellings
from optml_queue.spec.document import Node, shortened
from optml_queue.spec.section import Section, alternatives, nearest

MAX_METRICS = 10
MAX_CONSTRAINTS = 100


def put_first_metric(root: Section) -> None:
    """Let the first of `metrics` stand where a spec with one metric has its `metric`."""
    if "metrics" not in root:
        return
    if "metric" in root:
        root.problem(
            "metrics", "stands beside metric", "write one of the two; the first of metrics is the one judged by"
        )
    items = root.items("metrics")
    if root.entries["metrics"].value == []:
        root.problem("metrics", "is empty", "as in metrics: [{name: loss}, {name: duration_s}]")
    if items:
        root.entries = {"metric": items[0][1], **root.entries}


def read_other_metrics(root: Section, driver: Driver | None, judged: str) -> tuple[Metric, ...]:
    """The metrics that the first one is weighed against."""
    if "metrics" not in root or not isinstance(root.entries["metrics"].value, list):
        return ()
    items = root.items("metrics")
    if len(items) > MAX_METRICS:
        root.problem("metrics", f"has {len(items)} metrics, more than {MAX_METRICS}")
    found: dict[str, Metric] = {}
    for key, node in items[1:]:
        text = isinstance(node.value, str)
        section = Section(Node({"name": node}, node.line, node.origin) if text else node, key, root.report)
        metric = _other_metric(section, driver)
        if metric is None:
            continue
        if metric.name == judged or metric.name in found:
            section.problem("name", f"repeats a metric: {metric.name}")
        found[metric.name] = metric
    return tuple(found.values())


def _other_metric(section: Section, driver: Driver | None) -> Metric | None:
    section.refuse_others(("name", "goal"), spellings.METRIC)
    name = section.text("name")
    if not name:
        section.problem("name", "is missing", "as in {name: duration_s, goal: minimize}")
        return None
    goal = section.text("goal")
    if goal and goal not in tuple(Goal):
        advice = f"write {spellings.GOAL[goal]}" if goal in spellings.GOAL else nearest(goal, Goal)
        section.problem("goal", f"must be {alternatives(Goal)}, got {shortened(goal)!r}", advice)
        return None
    declared = _declared(section, driver, name)
    if declared is not None and goal and goal != declared.goal:
        section.problem("goal", f"contradicts the algorithm: {name} is there to {declared.goal}, got {goal!r}")
    return declared or Metric(name, Goal(goal or Goal.MINIMIZE))


def _declared(section: Section, driver: Driver | None, name: str) -> Metric | None:
    """The metric as the code declares it; None where it declares none of that name, which is noted if it must."""
    if driver is None or name == DURATION:
        return None
    if name not in driver.metrics and driver.kind == "algorithm":
        known = f"{driver.name} measures {', '.join(driver.metrics)}; {DURATION} is measured of every trial"
        near = nearest(name, [*driver.metrics, DURATION])
        section.problem("name", f"no metric is called {shortened(name)!r}", f"{near} {known}".strip())
    elif name in RESULT_COLUMNS or not name.isidentifier():
        section.problem("name", f"must be a name (letters, digits and _) of its own, got {shortened(name)!r}")
    return driver.metrics.get(name)


def read_constraints(root: Section, driver: Driver | None, names: Collection[str]) -> tuple[Expression, ...]:
    """The constraints. `names` are those of the parameters and metrics that the spec has.

    An algorithm's own parameters and metrics may be named, too; a program's and a command's metrics are what they say.
    """
    items = root.items("constraints")
    if len(items) > MAX_CONSTRAINTS:
        root.problem("constraints", f"has {len(items)} conditions, more than {MAX_CONSTRAINTS}")
    is_open = driver is not None and driver.kind != "algorithm"
    known = [*names, DURATION] if driver is None else [*names, *driver.parameters, *driver.metrics, DURATION]
    found = []
    for key, node in items:
        if not isinstance(node.value, str):
            root.report.add(node, key, f"must be a condition, got {node}", 'as in constraints: ["loss < 0.1"]')
            continue
        try:
            found.append(parse_freely(node.value) if is_open else parse(node.value, dict.fromkeys(known)))
        except ExpressionError as error:
            root.report.add(
                node, key, str(error).replace("is not a parameter of this spec", "is no parameter or metric")
            )
    return tuple(found)
