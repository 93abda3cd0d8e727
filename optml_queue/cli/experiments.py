"""The verbs that read: ls, status, trials, best, logs, export, plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from optml_queue.cli import options, units
from optml_queue.errors import InputError, NotFoundError
from optml_queue.trial import Trial, TrialState, encode

if TYPE_CHECKING:
    from optml_queue.archive import Archive
    from optml_queue.cli.connection import Source
    from optml_queue.cli.insight import Insight
    from optml_queue.cli.ranking import Standing
    from optml_queue.cli.report import Report
    from optml_queue.store import Experiment

TABLE_ROWS = 50


def ls(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N.")] = 20,
    as_json: options.Json = False,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """List the experiments, the newest first.

    Examples
      optml ls
      optml ls --archive s3://bucket/optml      what an archive holds, without any store
      optml ls --json | jq -r '.[].experiment'
    """
    from optml_queue.cli.connection import reading
    from optml_queue.cli.status import experiment_document
    from optml_queue.cli.tables import experiment_table
    from optml_queue.cli.terminal import show, show_json, stdout_width

    with reading(results, archive) as source:
        found = source.experiments()[:limit]
    if as_json:
        show_json([experiment_document(experiment) for experiment in found])
    elif found:
        show(experiment_table(found, stdout_width()))
    else:
        show("no experiments yet; optml-submit SPEC starts one")


def status(
    experiment: options.Experiment = "",
    report: Annotated[
        bool, typer.Option("--report", help="Tell also what was lost, ran again, or was turned away.")
    ] = False,
    importance: Annotated[
        bool, typer.Option("--importance", help="Tell also which parameters matter, and what to try next.")
    ] = False,
    as_json: options.Json = False,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """Show how far an experiment is; without one, all that runs and the workers.

    Examples
      optml status
      optml status latest
      optml status latest --report              attempts, recoveries, duplicates: how rough the way was
      optml status latest --importance          which parameters matter, and what to try next
      optml status lms-sunspots-k3f9a --json | jq .counts
    """
    from optml_queue.cli.connection import reading
    from optml_queue.cli.report import Report
    from optml_queue.cli.status import Status
    from optml_queue.cli.tables import labelled
    from optml_queue.cli.terminal import show, show_json

    with reading(results, archive) as source:
        if not experiment:
            if report or importance:
                option = "--report" if report else "--importance"
                raise InputError(f"{option}: of which experiment? As in optml status latest {option}")
            _overview(source, _served(results), as_json=as_json)
            return
        record = source.experiment(source.resolve(experiment))
        told = Status.of(source, record)
        more: list[Report | Insight] = [Report.of(source, record)] if report else []
        if importance:
            from optml_queue.cli.insight import Insight

            more.append(Insight.of(source, record))
    if as_json:
        show_json(told.document() | {each.key: each.document() for each in more})
    else:
        show(labelled([*told.rows(), *(row for each in more for row in each.rows())]))


def _served(results: Path | None) -> dict[str, str]:
    """Where `optml up` serves API and monitor."""
    from optml_queue.cli.connection import results_folder
    from optml_queue.embedded.folder import StoreFolder

    return StoreFolder(results_folder(results)).addresses()


def _overview(source: Source, served: Mapping[str, str], *, as_json: bool) -> None:
    from optml_queue.cli.status import experiment_document
    from optml_queue.cli.tables import experiment_table
    from optml_queue.cli.terminal import show, show_json, stdout_width
    from optml_queue.cli.workers import census

    active = [experiment for experiment in source.experiments() if not experiment.is_over]
    workers = source.workers()
    if as_json:
        documents = [experiment_document(experiment) for experiment in active]
        told = [{"name": worker.name, **worker.facts} for worker in workers]
        show_json({"experiments": documents, "workers": told, "served": dict(served)})
        return
    if active:
        show(experiment_table(active, stdout_width()), "")
    else:
        show("nothing runs; optml ls shows what ran")
    show(census(workers), *(f"{name} at {address}" for name, address in served.items()))


class Picture(StrEnum):
    """What `optml plot` draws."""

    ERROR = "error"
    CONTOUR = "contour"
    PARETO = "pareto"


class Order(StrEnum):
    """What `optml trials --sort` takes."""

    NUMBER = "number"
    METRIC = "metric"
    DURATION = "duration"
    FINISHED = "finished"


def trials(
    experiment: options.Experiment = "latest",
    state: Annotated[
        TrialState | None,
        typer.Option("--state", help="Only trials in this state.", rich_help_panel="Which trials", show_default=False),
    ] = None,
    sort: Annotated[
        Order,
        typer.Option("--sort", help="Lowest first; by metric, the best first.", rich_help_panel="Which trials"),
    ] = Order.NUMBER,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="How many (default: 50, with --json all).",
            rich_help_panel="Which trials",
            show_default=False,
        ),
    ] = None,
    offset: Annotated[
        int, typer.Option("--offset", metavar="N", min=0, help="Skip the first N.", rich_help_panel="Which trials")
    ] = 0,
    as_json: options.Json = False,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """List the trials of an experiment.

    Examples
      optml trials                              the newest experiment's
      optml trials latest --state failed        why each failed, where, and how to run them again
      optml trials latest --sort duration --limit 10
      optml trials latest --json | jq '.[] | select(.attempts > 1)'
    """
    from optml_queue.cli.connection import reading
    from optml_queue.cli.tables import failure_table, trial_table
    from optml_queue.cli.terminal import say, show, show_json_list, stdout_width

    with reading(results, archive) as source:
        record = source.experiment(source.resolve(experiment))
        most = limit or (None if as_json else TABLE_ROWS)
        chosen = choose(source.stream(record.id), record, state=state, order=sort, offset=offset, limit=most)
        if as_json:
            show_json_list(_documents(source, record.id, chosen, with_attempts=state is TrialState.FAILED))
            return
        rows = list(chosen)
    if rows and state is TrialState.FAILED:
        show(failure_table(rows, stdout_width()))
    elif rows:
        show(trial_table(rows, record.metric, stdout_width()))
    total = record.counts[state] if state else sum(record.counts.values())
    shown = f"{units.count(offset + 1)} to {units.count(offset + len(rows))}" if rows else "none"
    show(f"{shown} of {units.counted(total, 'trial')}" + (f" {state.replace('_', ' ')}" if state else ""))
    if rows and state is TrialState.FAILED:
        say(f"What one of them said, with its traceback: optml logs {record.id} {rows[0].number}")
        say(f"To run them again: optml retry {record.id} --failed")


def _documents(source: Source, experiment: str, trials: Iterator[Trial], *, with_attempts: bool) -> Iterator[str]:
    """Trials as JSON; with the attempts that ended without a result, when asked for."""
    for trial in trials:
        if not with_attempts:
            yield trial.to_json()
            continue
        ended = [asdict(attempt) for attempt in source.attempts(experiment, trial.number)]
        yield encode({**json.loads(trial.to_json()), "failed_attempts": ended})


def choose(
    found: Iterator[Trial],
    experiment: Experiment,
    *,
    state: TrialState | None,
    order: Order,
    offset: int,
    limit: int | None,
) -> Iterator[Trial]:
    """The trials asked for, read in one pass; sorted ones without the sorted-by figure are left out."""
    if state is not None:
        found = (trial for trial in found if trial.state is state)
    stop = None if limit is None else offset + limit
    if order is not Order.NUMBER:
        key = _sort_key(experiment, order)
        keyed = ((value, trial) for trial in found if (value := key(trial)) is not None)
        by_value: Callable[[tuple[float, Trial]], tuple[float, int]] = lambda pair: (pair[0], pair[1].number)  # noqa: E731
        pairs = sorted(keyed, key=by_value) if stop is None else nsmallest(stop, keyed, key=by_value)
        found = (trial for _value, trial in pairs)
    return islice(found, offset, stop)


def _sort_key(experiment: Experiment, order: Order) -> Callable[[Trial], float | None]:
    sign = 1 if experiment.goal == "minimize" else -1

    def metric(trial: Trial) -> float | None:
        from optml_queue.summary import value_of

        value = value_of(trial, experiment.metric)
        return None if value is None else sign * value

    keys: dict[Order, Callable[[Trial], float | None]] = {
        Order.METRIC: metric,
        Order.DURATION: lambda trial: trial.run_s,
        Order.FINISHED: lambda trial: trial.finished_at,
    }
    return keys[order]


def best(
    experiment: options.Experiment = "latest",
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many points.")] = 10,
    fetch: Annotated[
        Path | None,
        typer.Option(
            "--fetch",
            metavar="DIR",
            help="Copy what the best trial made (its artifacts: a trained model) into DIR.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """Rank the points of an experiment, the best first.

    With several seeds a point's rank is its mean over them, and ± is the standard deviation.
    With several metrics, the trials on their Pareto front follow. Stopped trials have no rank, nor has one that
    breaks a constraint.

    Examples
      optml best                                the newest experiment's leaderboard
      optml best latest --top 3
      optml best latest --top 1 --json | jq '.points[0].params'
      optml best latest --fetch model           bring the best trial's artifacts
    """
    from optml_queue.cli import units
    from optml_queue.cli.connection import documents, reading
    from optml_queue.cli.ranking import front_document, ranked, several_metrics
    from optml_queue.cli.tables import front_table, leaderboard
    from optml_queue.cli.terminal import say, show, show_json, stdout_width
    from optml_queue.pareto import front

    with reading(results, archive) as source:
        record = source.experiment(source.resolve(experiment))
        standings = ranked(source, record, top)
        metrics = several_metrics(record)
        on_front = front(source.stream(record.id), metrics) if metrics else []
        brought = _bring_best(documents(results, archive), record, standings, fetch) if fetch else []
    if as_json:
        points = [{"rank": s.rank, **s.document(record.metric)} for s in standings]
        files = {"fetched": [str(path) for path in brought]} if fetch else {}
        fronts = {"front": [front_document(trial, metrics) for trial in on_front]} if metrics else {}
        head = {"experiment": record.id, "metric": record.metric, "goal": record.goal}
        show_json({**head, "points": points, **fronts, **files})
        return
    if standings:
        show(leaderboard(standings, record.metric, stdout_width()))
        if on_front:
            shown = units.count(len(on_front))
            show(
                f"\nOn the Pareto front of {', '.join(m.name for m in metrics)} ({shown} trials, {top} shown at most):"
            )
            show(front_table(on_front[:top], metrics, stdout_width()))
    else:
        show(f"{record.id} has no complete trial yet; optml status {record.id} tells how far it is")
    for path in brought:
        say(f"brought {path}")


def _bring_best(archive: Archive, record: Experiment, standings: Sequence[Standing], folder: Path) -> list[Path]:
    """The files of the best trial's artifacts, copied into a folder. Raises NotFoundError when there are none."""
    from optml_queue.archive.kept import bring_artifacts

    if not standings:
        raise NotFoundError(f"{record.id} has no complete trial yet: there is no best one to fetch from")
    number = standings[0].trial.number
    brought = bring_artifacts(archive, record.id, number, folder)
    if not brought:
        raise NotFoundError(
            f"{record.id}: its best trial, {number}, kept no artifacts; a program keeps one with trial.artifact(path)"
        )
    return brought


def export(
    experiment: options.Experiment = "latest",
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="csv|jsonl|parquet|optuna", help="The table's format.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to FILE; its ending tells the format.", show_default=False
        ),
    ] = None,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """Write all trials of an experiment as a table, or as a study of Optuna's, to stdout or a file.

    One row a trial: number, seed, state, the parameters, the metrics, then reason, error, attempts, worker and times.

    Examples
      optml export latest > results.csv
      optml export latest -f jsonl | head
      optml export latest -o results.parquet
      optml export latest -f optuna -o study.log      for optuna-dashboard study.log
    """
    from optml_queue.cli.connection import reading
    from optml_queue.export import export as write
    from optml_queue.spec import Spec
    from optml_queue.study import write_study

    chosen = table_format(form, output)
    with reading(results, archive) as source, binary_output(output, chosen) as out:
        record = source.experiment(source.resolve(experiment))
        if chosen == "optuna":
            write_study(source.stream(record.id), Spec.from_json(record.spec), record.id, out)
            return
        parameters = json.loads(record.spec).get("parameters", {})
        write(source.stream(record.id), chosen, out, parameters, [record.metric])


FORMATS = ("csv", "jsonl", "parquet", "optuna")


def table_format(form: str, output: Path | None) -> str:
    """The format that was named, or that the file's name ends in; CSV when nothing tells. Raises InputError."""
    chosen = form.lower() or (output.suffix.removeprefix(".").lower() if output else "") or "csv"
    if chosen not in FORMATS:
        raise InputError(f"--format: {chosen!r} is not a table's format; choose one of {', '.join(FORMATS)}")
    return chosen


@contextmanager
def binary_output(output: Path | None, form: str) -> Iterator[BinaryIO]:
    """The file, complete or not there at all; or stdout."""
    if output is None:
        if form == "parquet" and sys.stdout.isatty():
            raise InputError("Parquet is binary: write it to a file (-o results.parquet) or a pipe")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(output)
    except OSError as error:
        raise InputError(f"--output: {output} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def plot(
    experiment: options.Experiment = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The PNG file (default: EXPERIMENT.png).", show_default=False
        ),
    ] = None,
    kind: Annotated[Picture, typer.Option("--kind", help="What is drawn.")] = Picture.ERROR,
    results: options.Results = None,
    archive: options.Archive = None,
) -> None:
    """Draw the metric against the parameters, as a PNG file.

    Kinds: error (the metric over each parameter), contour (over the two that explain most of it), pareto (several
    metrics against each other).

    Examples
      optml plot
      optml plot latest -o error.png
      optml plot latest --kind contour
    """
    from optml_queue.cli.connection import reading
    from optml_queue.cli.terminal import show

    with reading(results, archive) as source:
        record = source.experiment(source.resolve(experiment))
        picture = draw(source, record, kind)
    target = output or Path(f"{record.id}.png")
    with binary_output(target, "png") as out:
        out.write(picture)
    show(str(target))


def draw(source: Source, record: Experiment, kind: Picture) -> bytes:
    """A PNG of an experiment. Raises NotFoundError when there is nothing of the kind to draw."""
    from optml_queue.driver import Goal
    from optml_queue.plots import contour_plot, error_plot, pareto_plot
    from optml_queue.spec import Spec

    if not record.counts[TrialState.COMPLETE]:
        raise NotFoundError(f"{record.id} has no complete trial yet: there is nothing to draw")
    spec, trials = Spec.from_json(record.spec), source.stream(record.id)
    judged = ([axis.name for axis in spec.space.axes], record.metric, Goal(record.goal), record.id)
    if kind is Picture.PARETO and not spec.other_metrics:
        raise InputError(f"--kind pareto: {record.id} has one metric, {record.metric}; list several as metrics:")
    picture: bytes | None = None
    if kind is Picture.ERROR:
        picture = error_plot(trials, *judged)
    elif kind is Picture.CONTOUR:
        picture = contour_plot(trials, *judged)
    else:
        picture = pareto_plot(trials, spec.metrics, record.id)
    if picture is None:
        lacking = {
            Picture.CONTOUR: "two parameters that are numbers and took three values each",
            Picture.PARETO: "a trial with a figure for each metric",
        }
        raise NotFoundError(f"{record.id} has not {lacking[kind]}: there is nothing of the kind to draw")
    return picture
