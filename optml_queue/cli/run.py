"""`optml run`: trials in the foreground, in this process, without a queue; for looking into one that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.cli.outcome import FAILED
from optml_queue.errors import NotFoundError

if TYPE_CHECKING:
    from optml_queue.errors import AttemptFailedError
    from optml_queue.runner import SerialTrial
    from optml_queue.search import Plan, PlannedTrial
    from optml_queue.spec import Spec


def run(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The experiment as a YAML file; - reads it from stdin.")],
    trial: Annotated[
        int | None,
        typer.Option("--trial", metavar="N", min=0, help="Only trial N (default: all, in order).", show_default=False),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Enter the debugger where a trial failed.")] = False,
    overrides: options.Overrides = None,
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Run trials here, one after another, without a queue; stop at the first that fails, with its traceback.

    All together are those that a queue would run: reuse and start_from take over what earlier experiments found. A
    trial asked for by its number runs in any case.

    Examples
      optml run grid.yaml --trial 7
      optml run grid.yaml --trial 7 --debug     look around where it failed
      optml run grid.yaml --trial 0 --set parameters.learning_rate.value=1e-3
    """
    from optml_queue.cli.submit import read_spec, told_with_place
    from optml_queue.cli.terminal import show, show_json_list
    from optml_queue.errors import AttemptFailedError

    loaded = read_spec(spec, overrides or [])
    documents: list[str] = []
    try:
        with told_with_place(spec, overrides):
            for done in attempts(loaded, trial, results):
                if as_json:
                    documents.append(_document(done))
                else:
                    show(*result_lines(done))
    except AttemptFailedError as failure:
        _show_failure(failure, debug=debug)
        raise typer.Exit(FAILED) from None
    if as_json:
        show_json_list(documents)


def attempts(spec: Spec, only: int | None, results: Path | None = None) -> Iterator[SerialTrial]:
    """Each trial as it ends, or the one asked for, which runs in any case.

    All together take over what the spec says from earlier experiments; those of an embedded queue lie in `results`.
    Raises AttemptFailedError at the first that fails.
    """
    from optml_queue.cli.prior import earlier_results
    from optml_queue.cli.submit import load_data
    from optml_queue.cli.terminal import say
    from optml_queue.runner import SerialRun
    from optml_queue.search import segments

    data = load_data(spec)
    if only is not None:
        chosen = planned(segments(spec), only)
        yield SerialRun(spec, data).run(*chosen, on_log=say)
        return
    with earlier_results(spec, results) as prior:
        for line in prior.said if prior else ():
            say(line)
        run = SerialRun(spec, data, prior=prior)
        for number, params, seed in run:
            done = run.reused(number, params, seed) or run.run(number, params, seed, on_log=say)
            run.tell(number, done.result)
            yield done


def planned(plan: Plan, only: int) -> PlannedTrial:
    """The trial of a number. Raises NotFoundError when the plan has none of that number."""
    found = plan.trial(only) if only < plan.end else None
    if found is None:
        raise NotFoundError(
            f"--trial: there is no trial {only}; numbers go from 0 to {plan.end - 1}, some may be excluded"
        )
    return only, *found


def result_lines(done: SerialTrial) -> list[str]:
    """A trial's result as lines of text."""
    result = done.result
    figures = ", ".join(f"{name} {units.number(value)}" for name, value in result.metrics.items())
    how = f", reused from {done.reused_from}" if done.reused_from else f" in {units.duration(done.took_s)}"
    head = f"trial {done.number} {result.state.replace('_', ' ')}{how}: {figures}"
    return [
        head,
        f"    {units.point(done.params)}, seed {done.seed}",
        *([f"    {result.reason}"] if result.reason else []),
    ]


def _document(done: SerialTrial) -> str:
    from optml_queue.trial import REUSED_FROM, Trial

    result, origin = done.result, {REUSED_FROM: done.reused_from} if done.reused_from else {}
    metrics = dict(result.metrics)
    return Trial(done.number, result.state, done.params, done.seed, metrics, result.reason, origin=origin).to_json()


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
