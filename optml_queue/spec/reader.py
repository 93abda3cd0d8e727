"""YAML → Spec. Every problem of a spec is found and told at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from optml_queue.driver import RESULT_COLUMNS, Driver, Goal, Metric
from optml_queue.errors import DriverError, Problem, SpecError
from optml_queue.spec import spellings
from optml_queue.spec.algorithm import Algorithm
from optml_queue.spec.code_section import read_code
from optml_queue.spec.data_section import MAX_SEED, read_data
from optml_queue.spec.document import MAX_BYTES, DocumentError, Node, compose, decode, dump, shortened
from optml_queue.spec.duration import duration_s
from optml_queue.spec.ending_section import EndingSection
from optml_queue.spec.method_section import LEARNING, check_method, read_method
from optml_queue.spec.metrics_section import put_first_metric, read_constraints, read_other_metrics
from optml_queue.spec.override import override
from optml_queue.spec.prior_section import read_reuse, read_start_from
from optml_queue.spec.program import Program
from optml_queue.spec.search import Search, Stage
from optml_queue.spec.section import Report, Section, alternatives, integer_problem, nearest
from optml_queue.spec.space_section import SpaceSection
from optml_queue.spec.spec import BATCHES, DEFAULT_CLASS, NO_BATCH, RETAINED, RETRYABLE_REASONS, RetryPolicy, Spec

MAX_TRIALS = 1_000_000_000
MAX_NUMBERS = 10**15  # of trials; the plan has the same figure
MAX_SEEDS = 10_000
MAX_PRIORITY = 100

_KEYS = (
    "name", "algorithm", "program", "requirements", "command", "files", "method", "seed", "metric", "parameters",
    "data", "exclude", "points", "seeds", "max_trials", "max_parallel", "max_failed", "timeout", "retry",
    "resources", "priority", "earlier", "metrics", "constraints", "early_stopping", "target", "budget", "batch",
    "start_from", "reuse", "retain",
)  # fmt: skip
_SEARCH_KEYS = ("method", "seed", "parameters", "exclude", "points", "seeds", "max_trials", "until")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A class names a queue; these are the letters that every broker takes.
_CLASS = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def load_spec(path: Path | str, overrides: Sequence[str] = (), drivers: Mapping[str, Driver] | None = None) -> Spec:
    """The spec in a YAML file. `overrides` are `a.b.c=YAML`; `drivers` stand in for the installed algorithms.

    Raises SpecError with every problem that was found.
    """
    path = Path(path)
    try:
        text = decode(_content(path))
    except OSError as error:
        advice = _near_file(path) if isinstance(error, FileNotFoundError) else ""
        reason = error.strerror or str(error)
        raise SpecError(str(path), [Problem("", f"cannot be read: {reason}", 0, advice)]) from None
    except DocumentError as error:
        raise SpecError(str(path), [error.problem]) from None
    return parse_spec(text, str(path), path.absolute().parent, overrides, drivers)


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(0, "not a regular file")  # reading a pipe or a device might never end
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _near_file(path: Path) -> str:
    try:
        return nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def parse_spec(
    text: str,
    source: str,
    base: Path,
    overrides: Sequence[str] = (),
    drivers: Mapping[str, Driver] | None = None,
    *,
    programs_run: bool = True,
) -> Spec:
    """The spec in a YAML text. `source` names it in messages, relative paths in it are below `base`.

    Without `programs_run`, nothing of a user's program runs here, and what it declares is checked where it trains.

    Raises SpecError with every problem that was found.
    """
    report = Report()
    try:
        root, report.problems = compose(text)
    except DocumentError as error:
        raise SpecError(source, [error.problem]) from None
    root = override(root, overrides, report)
    reader = _Reader(Section(root, "", report), base, drivers, programs_run=programs_run)
    spec = reader.spec(dump(root.plain()) if overrides else text)
    if spec is None or report.problems:
        raise SpecError(source, sorted(report.problems, key=lambda problem: problem.line))
    return spec


class _Reader:
    """Reads the keys of one spec; what one needs of another is kept in between."""

    def __init__(self, root: Section, base: Path, drivers: Mapping[str, Driver] | None, *, programs_run: bool) -> None:
        self._root = root
        self._report = root.report
        self._base = base
        put_first_metric(root)
        self._code = read_code(root, base, drivers)
        self._driver = self._load_driver(drivers, programs_run=programs_run)

    def spec(self, text: str) -> Spec | None:
        """The spec; None when problems were noted."""
        root = self._root
        if not isinstance(root.node.value, dict):
            return None
        root.refuse_others(_KEYS, spellings.SPEC)
        name = self._required_name()
        metric, goal, at = self._metric()
        earlier = self._earlier()
        search = self._search(root)
        ending = EndingSection(root)
        other_metrics = read_other_metrics(root, self._driver, metric)
        named = [] if search is None else [axis.name for axis in search.space.axes]
        judged_by = [metric, *(other.name for other in other_metrics)]
        constraints = read_constraints(root, self._driver, [*named, *judged_by])
        early_stopping, target, budget = ending.early_stopping(), root.number("target"), ending.budget()
        data = read_data(root, self._base, self._driver)
        max_parallel = root.integer("max_parallel", 1, MAX_TRIALS)
        max_failed = root.integer("max_failed", 0, MAX_TRIALS)
        priority = root.integer("priority", 0, MAX_PRIORITY) or 0
        batch = root.choice("batch", BATCHES, NO_BATCH)
        if batch != NO_BATCH and early_stopping is not None:
            advice = "leave one of them out: early stopping is for trials that take their time"
            root.problem("batch", "cannot be combined with early_stopping", advice)
        retain = self._retain(search)
        timeout_s, retry, resource_class = self._timeout_s(), self._retry(), self._resource_class()
        start_from, reuse = read_start_from(root, search), read_reuse(root, self._code)
        if self._report.problems or search is None or self._code is None:
            return None
        return Spec(
            name=name,
            code=self._code,
            method=search.method,
            stages=search.stages,
            seed=search.seed,
            metric=metric,
            goal=goal,
            at=at,
            space=search.space,
            data=data,
            points=search.points,
            seeds=search.seeds,
            max_trials=search.max_trials,
            max_parallel=max_parallel,
            max_failed=max_failed,
            timeout_s=timeout_s,
            retry=retry,
            resource_class=resource_class,
            priority=priority,
            batch=batch,
            earlier=earlier,
            other_metrics=other_metrics,
            constraints=constraints,
            early_stopping=early_stopping,
            target=None if target is None else float(target),
            budget=budget,
            start_from=start_from,
            reuse=reuse,
            retain=retain,
            text=text,
        )

    def _search(self, section: Section) -> Search | None:
        """Which trials the spec, or an earlier search, has; None with problems noted."""
        method, stages = read_method(section, MAX_TRIALS)
        seed = self._seed(section, method)
        seeds = self._seeds(section)
        max_trials = section.integer("max_trials", 1, MAX_TRIALS)
        searched = SpaceSection(section, self._driver)
        course = stages or (Stage(method),)
        space = searched.read({stage.method for stage in course}, max_trials)
        points = searched.points(space)
        if space is None:
            return None
        check_method(section, course, space, max_trials)
        return Search(method, space, seed, points, seeds, max_trials, stages=stages)

    def _earlier(self) -> tuple[Search, ...]:
        """The searches that the spec extends. `optml extend` writes them; people copy them with the archive's spec."""
        found: list[Search] = []
        for key, item in self._root.items("earlier"):
            section = Section(item, key, self._report)
            section.refuse_others(_SEARCH_KEYS, spellings.SPEC)
            search, until = self._search(section), section.integer("until", 0, MAX_NUMBERS)
            if "until" not in section:
                section.problem("until", "is missing: the first trial number that does not belong to this search")
            elif until is not None and found and until < (found[-1].until or 0):
                section.problem("until", f"must be at least that of the search before, {found[-1].until}, got {until}")
            if search is not None and until is not None:
                found.append(replace(search, until=until))
        return tuple(found)

    def _load_driver(self, drivers: Mapping[str, Driver] | None, *, programs_run: bool) -> Driver | None:
        if self._code is None:
            return None
        if drivers is not None and isinstance(self._code, Algorithm):
            return drivers[self._code.name]
        try:
            if isinstance(self._code, Program):
                return self._code.driver(self._judged(), may_run=programs_run)
            return self._code.driver(self._judged())
        except DriverError as error:
            self._root.problem(self._code.kind, f"cannot be loaded: {error}")
            return None

    def _judged(self) -> Metric:
        """The metric as the spec names it, to be checked later; its name may be ""."""
        node = self._root.entries.get("metric")
        entries = node.value if node is not None and isinstance(node.value, dict) else {"name": node, "goal": None}
        name, goal = (entry.value if (entry := entries.get(key)) else "" for key in ("name", "goal"))
        return Metric(str(name or ""), Goal.MAXIMIZE if goal == Goal.MAXIMIZE else Goal.MINIMIZE)

    def _required_name(self) -> str:
        if "name" not in self._root:
            self._report.add(self._root.node, "name", "is missing", "as in name: my-experiment")
            return ""
        name = self._root.text("name")
        if "name" in self._root and isinstance(self._root.entries["name"].value, str):
            self._check_name(self._root, "name", name, _NAME, "63 letters, digits, dots, - and _")
        return name

    def _check_name(self, section: Section, key: str, name: str, pattern: re.Pattern[str], rule: str) -> None:
        if not pattern.fullmatch(name) or ".." in name:
            message = f"must be at most {rule}, the first a letter or digit, got {shortened(name)!r}"
            advice = "a name is not a path" if "/" in name or "\\" in name or ".." in name else ""
            section.problem(key, message, advice)

    def _metric(self) -> tuple[str, Goal, str]:
        node = self._root.get("metric")
        if node is not None and isinstance(node.value, str):
            node = Node({"name": node}, node.line, node.origin)
        section = Section(node or Node({}), "metric", self._report)
        is_command = self._code is not None and self._code.kind == "command"
        section.refuse_others(("name", "goal", "at", *(["source"] if is_command else [])), spellings.METRIC)
        at = section.choice("at", ("last", "best"), "last")
        name = section.text("name")
        if self._driver is None:
            return name, Goal.MINIMIZE, at
        metrics = self._driver.metrics
        if "" in metrics:
            key, at_node = ("metric.name", node) if node else ("metric", self._root.node)
            self._report.add(at_node, key, "is missing: what are trials judged by?", "as in metric: loss")
        elif name and name not in metrics:
            known = f"{self._driver.name} measures {', '.join(metrics)}"
            section.problem("name", f"no metric is called {shortened(name)!r}", f"{nearest(name, metrics)} {known}")
        elif name in RESULT_COLUMNS or not (name or "_").isidentifier():
            section.problem("name", f"must be a name (letters, digits and _) of its own, got {shortened(name)!r}")
        metric = metrics.get(name, next(iter(metrics.values())))
        self._check_goal(section, metric.name, metric.goal)
        return metric.name, metric.goal, at

    def _check_goal(self, section: Section, metric: str, declared: Goal) -> None:
        goal = section.text("goal")
        if goal in spellings.GOAL:
            section.problem("goal", f"must be {alternatives(Goal)}, got {goal!r}", f"write {spellings.GOAL[goal]}")
        elif goal and goal not in tuple(Goal):
            section.problem("goal", f"must be {alternatives(Goal)}, got {shortened(goal)!r}", nearest(goal, Goal))
        elif goal and goal != declared:
            message = f"contradicts the algorithm: {metric} is there to {declared}, got {goal!r}"
            section.problem("goal", message, "leave goal out, or choose another metric")

    def _seed(self, root: Section, method: str) -> int:
        seed = root.integer("seed", 0, MAX_SEED)
        if seed is not None and method == "grid":
            advice = "the seeds that trials are run with are seeds: [0, 1, 2]"
            root.problem("seed", "belongs to a search by chance, and a grid has none", advice)
        return seed or 0

    def _seeds(self, root: Section) -> tuple[int, ...]:
        node = root.get("seeds")
        if node is None:
            return (0,)
        items = root.items("seeds")
        if node.value == []:
            root.problem("seeds", "is empty", "leave it out for [0]")
        if len(items) > MAX_SEEDS:
            root.problem("seeds", f"has {len(items):,} seeds, more than {MAX_SEEDS:,}")
            return (0,)
        seeds: dict[int, str] = {}
        for key, item in items:
            message = integer_problem(item, 0, MAX_SEED)
            if not message and isinstance(item.value, int) and seeds.setdefault(item.value, key) != key:
                message = f"repeats {seeds[item.value]}: {item}"
            if message:
                self._report.add(item, key, message)
        return tuple(seeds)

    def _timeout_s(self) -> float | None:
        return _duration_s(self._root, "timeout", "as in 90s, 10m, 1h or 2h30m; a number is seconds")

    def _retry(self) -> RetryPolicy:
        default = RetryPolicy()
        section = self._root.section("retry")
        if section is None:
            return default
        section.refuse_others(("max_attempts", "on", "backoff", "max_backoff"), spellings.RETRY)
        max_attempts = section.integer("max_attempts", 1, 100) or default.max_attempts
        on = self._retried(section) if "on" in section else default.on
        advice = "as in 500ms, 10s or 2m; a number is seconds, 0 is at once"
        waits = [_duration_s(section, key, advice, or_nought=True) for key in ("backoff", "max_backoff")]
        backoff_s = default.backoff_s if waits[0] is None else waits[0]
        max_backoff_s = max(default.max_backoff_s, backoff_s) if waits[1] is None else waits[1]
        if max_backoff_s < backoff_s:
            section.problem("max_backoff", f"must be at least backoff, {backoff_s:g} s, got {max_backoff_s:g} s")
        return RetryPolicy(max_attempts, on, backoff_s, max_backoff_s)

    def _retain(self, search: Search | None) -> str:
        retain = self._root.choice("retain", RETAINED, RETAINED[0])
        learning = [stage.method for stage in search.course if stage.method in LEARNING] if search else []
        if retain != RETAINED[0] and learning:
            message = f"{retain} rules out a search that learns: {learning[0]} reads all results again and again"
            self._root.problem("retain", message, "leave retain out, or use grid or random")
        return retain

    def _retried(self, section: Section) -> frozenset[str]:
        reasons = set()
        for key, item in section.items("on"):
            if item.value in RETRYABLE_REASONS:
                reasons.add(str(item.value))
                continue
            advice = nearest(item.value, RETRYABLE_REASONS) if isinstance(item.value, str) else ""
            self._report.add(item, key, f"must be {alternatives(RETRYABLE_REASONS)}, got {item}", advice)
        return frozenset(reasons)

    def _resource_class(self) -> str:
        section = self._root.section("resources")
        if section is None:
            return DEFAULT_CLASS
        section.refuse_others(("class",), {})
        name = section.text("class", DEFAULT_CLASS)
        self._check_name(section, "class", name, _CLASS, "40 small letters, digits and -")
        return name


def _duration_s(section: Section, key: str, advice: str, *, or_nought: bool = False) -> float | None:
    """Seconds of the duration at a key; None where it is absent, or noted as a problem. `or_nought`: 0 is one, too."""
    node = section.get(key)
    if node is None:
        return None
    if or_nought and node.value == 0 and not isinstance(node.value, bool):
        return 0.0
    try:
        return duration_s(node.value)
    except ValueError as error:
        section.problem(key, f"{error}, got {node}", advice)
        return None
