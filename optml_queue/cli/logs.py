"""`optml logs`: what trials said and how their attempts ended; of an experiment, each trial as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.errors import NotFoundError
from optml_queue.lineage import children
from optml_queue.trial import TERMINAL_STATES, Attempt, Trial

if TYPE_CHECKING:
    from optml_queue.archive import Archive
    from optml_queue.cli.connection import Source

FOLLOW_S = 0.2
READ_AT_ONCE = 1_000


def logs(
    experiment: options.Experiment = "latest",
    number: Annotated[
        int | None, typer.Argument(metavar="[TRIAL]", min=0, help="The trial's number.", show_default=False)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the experiment, or the trial, ends.")
    ] = False,
    as_json: options.Json = False,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """Show how the trials of an experiment ended, in order; of one trial, what it said and its failed attempts.

    Examples
      optml logs latest                         one line a finished trial
      optml logs latest --follow                and those that are yet to finish
      optml logs latest 7                       what trial 7 logged and wrote, the traceback of each failed attempt
    """
    from optml_queue.cli.connection import documents, reading

    with reading(results, archive) as source:
        id_ = source.resolve(experiment)
        if number is None:
            _show_finishes(source, id_, follow=follow, as_json=as_json)
        else:
            archive_ = documents(results, archive)
            _show_trial(source, archive_, id_, number, follow=follow, as_json=as_json)


def _show_finishes(source: Source, experiment: str, *, follow: bool, as_json: bool) -> None:
    from optml_queue.cli.terminal import show_json_list, write_line

    metric = source.experiment(experiment).metric
    finishes = finished_trials(source, experiment, follow=follow)
    if as_json:
        show_json_list(trial.to_json() for trial in finishes)
        return
    for trial in finishes:
        write_line(finish_line(trial, metric))


def finished_trials(source: Source, experiment: str, *, follow: bool) -> Iterator[Trial]:
    """Trials in the order of finishing; with `follow` until the experiment is over."""
    seen = 0
    while True:
        record = source.experiment(experiment)
        while seen < record.finished:
            stop = min(record.finished, seen + READ_AT_ONCE)
            yield from source.finished(experiment, seen, stop)
            seen = stop
        if not follow or record.is_over:
            return
        time.sleep(FOLLOW_S)


def finish_line(trial: Trial, metric: str) -> str:
    """`2026-11-24 13:05:12  trial 7  complete  nmse 0.08921  in 12 ms on host-1`."""
    words = [units.local_time(trial.finished_at), f"trial {trial.number}", trial.state.replace("_", " ")]
    if metric in trial.metrics:
        words.append(f"{metric} {units.number(trial.metrics[metric])}")
    if trial.run_s is not None:
        words.append(f"in {units.duration(trial.run_s)}" + (f" on {trial.worker}" if trial.worker else ""))
    said = trial.error or trial.reason
    if said:
        words.append(said.strip().splitlines()[0])
    return "  ".join(words)


def _show_trial(source: Source, archive: Archive, experiment: str, number: int, *, follow: bool, as_json: bool) -> None:
    from optml_queue.cli.terminal import show_json, write_line

    trial = _trial(source, experiment, number)
    if as_json:
        attempts = [
            {
                "attempt": a.attempt,
                "worker": a.worker,
                "started_at": a.started_at,
                "ended_at": a.ended_at,
                "reason": a.reason,
                "error": a.error,
                "traceback": a.traceback,
                "output": a.output,
            }
            for a in source.attempts(experiment, number)
        ]
        show_json(
            {
                "experiment": experiment,
                "trial": number,
                "state": trial.state,
                "parents": trial.parents,
                "children": _children(source, experiment, trial),
                "lines": list(source.logs(experiment, number)),
                "attempts": attempts,
                "outputs": {str(attempt): text for attempt, text in outputs(archive, experiment, trial).items()},
            }
        )
        return
    for line in trial_lines(source, archive, experiment, trial, follow=follow):
        write_line(line)


def outputs(archive: Archive, experiment: str, trial: Trial) -> dict[int, str]:
    """What the attempts of a trial wrote to stdout and stderr, of those that wrote something."""
    from optml_queue.archive.kept import output

    texts = {attempt: output(archive, experiment, trial.number, attempt) for attempt in range(1, trial.attempts + 1)}
    return {attempt: text for attempt, text in texts.items() if text}


def trial_lines(source: Source, archive: Archive, experiment: str, trial: Trial, *, follow: bool) -> Iterator[str]:
    """What a trial logged, then its failed attempts, what others wrote, and how it stands."""
    seen = 0
    while True:
        lines = source.logs(experiment, trial.number, seen)
        yield from lines
        seen += len(lines)
        if not follow or trial.state in TERMINAL_STATES:
            break
        time.sleep(FOLLOW_S)
        # Read after the state, so that the last lines of a trial that ends meanwhile are not missed.
        trial = _trial(source, experiment, trial.number)
    written = outputs(archive, experiment, trial)
    for attempt in source.attempts(experiment, trial.number):
        yield from attempt_lines(attempt, written.pop(attempt.attempt, attempt.output))
    for number, text in written.items():
        yield f"attempt {number} wrote:"
        yield from _indented(text)
    yield from _kin(trial, _children(source, experiment, trial))
    yield finish_line(trial, source.experiment(experiment).metric)


def _children(source: Source, experiment: str, trial: Trial) -> list[int]:
    spec = source.experiment(experiment).spec
    return children(trial, spec, lambda numbers: source.trials(experiment, numbers))


def _kin(trial: Trial, its_children: Sequence[int]) -> Iterator[str]:
    """What a trial descends from, and what descends from it."""
    for word, numbers in (("parents", trial.parents), ("children", its_children)):
        if numbers:
            yield f"{word}: {', '.join(map(str, numbers))}"


def attempt_lines(attempt: Attempt, output: str) -> list[str]:
    """How an attempt ended without a result; its traceback, and what it wrote, indented."""
    took = units.duration(attempt.ended_at - attempt.started_at)
    head = f"attempt {attempt.attempt} on {attempt.worker} ended after {took}: {attempt.reason}"
    if attempt.error:
        head += f": {attempt.error}"
    wrote = ["  it wrote:", *_indented(output)] if output else []
    return [head, *_indented(attempt.traceback), *wrote]


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _trial(source: Source, experiment: str, number: int) -> Trial:
    found = source.trials(experiment, [number])
    if not found:
        raise NotFoundError(f"{experiment} has no trial {number}; optml trials {experiment} lists those there are")
    return found[0]
