"""Constraints: conditions over the metrics and parameters of a complete trial.

A trial that breaks one is not feasible: it keeps its results, and is never the best. Its reason says which one it
broke, and by the reason store, archive and tables tell it (prelude.lua looks for the same word).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from optml_queue.errors import ExpressionError
from optml_queue.expression import Expression
from optml_queue.trial import INFEASIBLE, Params, TrialResult, TrialState


def held_to(result: TrialResult, params: Params, constraints: Sequence[Expression]) -> TrialResult:
    """The result, its reason saying which constraint it breaks, if any.

    One that has no answer, as where the trial lacks the metric, counts as broken.
    """
    if result.state is not TrialState.COMPLETE:
        return result
    values = {**params, **result.metrics}
    broken = next((each.text for each in constraints if not _holds(each, values)), None)
    return result if broken is None else replace(result, reason=f"{INFEASIBLE}: {broken}")


def _holds(constraint: Expression, values: Mapping[str, object]) -> bool:
    try:
        return constraint.evaluate(values)
    except ExpressionError:
        return False
