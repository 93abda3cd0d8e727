"""What ends trials and experiments ahead of their time: `early_stopping` and `budget`."""

from __future__ import annotations

from optml_queue.budget import NO_BUDGET, Budget
from optml_queue.early_stopping import METHODS, EarlyStopping
from optml_queue.spec import spellings
from optml_queue.spec.duration import duration_s
from optml_queue.spec.section import Section

MAX_STEPS = 10**9
_KEYS = {
    "asha": ("method", "min_steps", "reduction", "max_steps"),
    "hyperband": ("method", "min_steps", "reduction", "max_steps"),
    "median": ("method", "min_steps", "min_trials", "max_steps"),
}


class EndingSection:
    """Reads those keys of a spec."""

    def __init__(self, root: Section) -> None:
        self._root = root

    def early_stopping(self) -> EarlyStopping | None:
        """The rule; None where there is none, or where it has a problem."""
        section = self._root.section("early_stopping")
        if section is None:
            return None
        if "method" not in section:
            section.problem("method", "is missing", "as in early_stopping: {method: asha, min_steps: 1, reduction: 3}")
            return None
        method = section.choice("method", METHODS, "")
        if not method:
            return None
        section.refuse_others(_KEYS[method], spellings.EARLY_STOPPING)
        default = EarlyStopping(method)
        min_steps = section.integer("min_steps", 1, MAX_STEPS) or default.min_steps
        max_steps = section.integer("max_steps", 1, MAX_STEPS) or 0
        if max_steps and max_steps <= min_steps:
            section.problem("max_steps", f"must be more than min_steps, {min_steps}, got {max_steps}")
        if method == "hyperband" and "max_steps" not in section:
            section.problem("max_steps", "is missing: brackets are cut from the steps that a whole trial takes")
        return EarlyStopping(
            method,
            min_steps,
            section.integer("reduction", 2, 100) or default.reduction,
            max_steps,
            section.integer("min_trials", 1, 10_000) or default.min_trials,
        )

    def budget(self) -> Budget:
        """The budget; without limits where there is none."""
        section = self._root.section("budget")
        if section is None:
            return NO_BUDGET
        section.refuse_others(("trials", "worker_hours", "wall", "cost"), spellings.BUDGET)
        return Budget(
            section.integer("trials", 1, 1_000_000_000),
            _positive(section, "worker_hours"),
            _wall_s(section),
            _positive(section, "cost"),
        )


def _positive(section: Section, key: str) -> float | None:
    value = section.number(key)
    if value is not None and value <= 0:
        section.problem(key, f"must be more than 0, got {value}")
        return None
    return None if value is None else float(value)


def _wall_s(section: Section) -> float | None:
    node = section.get("wall")
    if node is None:
        return None
    try:
        return duration_s(node.value)
    except ValueError as error:
        section.problem("wall", f"{error}, got {node}", "as in 90s, 10m, 1h or 2h30m; a number is seconds")
        return None
