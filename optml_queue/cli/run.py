"""`optml run`: trials in the foreground, in this process, without a queue; for looking into one that fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optml_queue.cli import options, units
from optml_queue.cli.outcome import FAILED
from optml_queue.errors import NotFoundError

if TYPE_CHECKING:
    from optml_queue.errors import AttemptFailedError
    from optml_queue.search import Plan
    from optml_queue.spec import Spec
    from optml_queue.trial import TrialResult


def run(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The experiment as a YAML file; - reads it from stdin.")],
    trial: Annotated[
        int | None,
        typer.Option("--trial", metavar="N", min=0, help="Only trial N (default: all, in order).", show_default=False),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Enter the debugger where a trial failed.")] = False,
    overrides: options.Overrides = None,
    as_json: options.Json = False,
) -> None:
    """Run trials here, one after another, without a queue; stop at the first that fails, with its traceback.

    Examples
      optml run grid.yaml --trial 7
      optml run grid.yaml --trial 7 --debug     look around where it failed
      optml run grid.yaml --trial 0 --set parameters.learning_rate.value=1e-3
    """
    from optml_queue.cli.submit import read_spec
    from optml_queue.cli.terminal import show, show_json_list
    from optml_queue.errors import AttemptFailedError

    loaded = read_spec(spec, overrides or [])
    documents: list[str] = []
    try:
        for number, params, seed, result, took_s in attempts(loaded, trial):
            if as_json:
                documents.append(_document(number, params, seed, result))
            else:
                show(*result_lines(number, params, seed, result, took_s))
    except AttemptFailedError as failure:
        _show_failure(failure, debug=debug)
        raise typer.Exit(FAILED) from None
    if as_json:
        show_json_list(documents)


def attempts(spec: Spec, only: int | None) -> Iterator[tuple[int, dict[str, Any], int, TrialResult, float]]:
    """Number, point, seed, result and run time (s) of each trial. Raises AttemptFailedError at the first that fails."""
    from optml_queue.cli.submit import load_data
    from optml_queue.driver import ActiveTrial
    from optml_queue.runner import run_attempt
    from optml_queue.search import SerialSearch, segments

    plan = segments(spec)
    data = load_data(spec)
    search = SerialSearch(spec, plan)
    for number, params, seed in search if only is None else planned(plan, only):
        active = ActiveTrial(number=number, params=params, seed=seed, on_log=_log)
        began_at = time.perf_counter()
        result = run_attempt(spec.driver, data, active, metric=spec.metric, at=spec.at, goal=spec.goal)
        if only is None:
            search.tell(number, result)
        yield number, params, seed, result, time.perf_counter() - began_at


def planned(plan: Plan, only: int | None) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The trials of a plan, or the one asked for. Raises NotFoundError when it has none of that number."""
    if only is not None:
        found = plan.trial(only) if only < plan.end else None
        if found is None:
            raise NotFoundError(
                f"--trial: there is no trial {only}; numbers go from 0 to {plan.end - 1}, some may be excluded"
            )
        yield only, *found
        return
    start, left = 0, plan.max_trials
    while start < plan.end and left != 0:
        taken, start = plan.take(start, 1_000, left)
        left = None if left is None else left - len(taken)
        yield from taken


def _log(message: str) -> None:
    from optml_queue.cli.terminal import say

    say(message)


def result_lines(number: int, params: dict[str, Any], seed: int, result: TrialResult, took_s: float) -> list[str]:
    """A trial's result as lines of text."""
    figures = ", ".join(f"{name} {units.number(value)}" for name, value in result.metrics.items())
    head = f"trial {number} {result.state.replace('_', ' ')} in {units.duration(took_s)}: {figures}"
    return [head, f"    {units.point(params)}, seed {seed}", *([f"    {result.reason}"] if result.reason else [])]


def _document(number: int, params: dict[str, Any], seed: int, result: TrialResult) -> str:
    from optml_queue.trial import Trial

    return Trial(number, result.state, params, seed, dict(result.metrics), result.reason).to_json()


def _show_failure(failure: AttemptFailedError, *, debug: bool) -> None:
    from optml_queue.cli.terminal import say, show_error

    if failure.traceback:
        say(failure.traceback.rstrip())
    else:
        show_error(failure.error)
    cause = failure.__cause__
    if debug and cause is not None and cause.__traceback__ is not None:
        import pdb

        sys.stdout.flush()
        pdb.post_mortem(cause.__traceback__)
