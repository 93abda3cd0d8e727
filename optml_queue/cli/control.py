"""The verbs that change an experiment's course: pause, stop, resume, extend, cancel, retry, rm."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.cli.outcome import census
from optml_queue.errors import InputError, NotFoundError
from optml_queue.trial import TrialState

if TYPE_CHECKING:
    from optml_queue.cli.connection import Connection
    from optml_queue.cli.watch import Manner
    from optml_queue.spec import Spec
    from optml_queue.store import Experiment, Publication


ENDING_LIMIT_S = 15.0
ENDING_POLL_S = 0.1


def pause(
    experiment: options.RequiredExperiment,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept with the experiment.")] = "",
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Let no more trials of an experiment begin until `optml resume`. Running ones go on.

    Examples
      optml pause latest
      optml pause lms-large-k3f9a --reason "others need the machines"
    """
    from optml_queue.cli.connection import steering

    with steering(results) as connection:
        id_ = connection.store.resolve(experiment)
        connection.store.pause(id_, reason)
        _tell(connection, id_, "paused", as_json=as_json)


def stop(
    experiment: options.RequiredExperiment,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept with the experiment.")] = "stopped",
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """End an experiment in good order: nothing more begins, running trials finish, then it is over.

    Its results are archived as those of any other. `optml resume` goes on with the trials that are left.

    Examples
      optml stop latest
      optml stop lms-large-k3f9a --reason "good enough"
    """
    from optml_queue.cli.connection import steering

    with steering(results) as connection:
        id_ = connection.store.resolve(experiment)
        connection.store.stop(id_, reason)
        _tell(connection, id_, "stopped", as_json=as_json)


def _tell(connection: Connection, experiment: str, wanted: str, *, as_json: bool) -> None:
    """What became of a wish to pause or to stop."""
    from optml_queue.cli.terminal import say, show, show_json

    record = connection.store.experiment(experiment)
    if as_json:
        show_json(
            {"experiment": record.id, "state": record.state, "ending": record.ending, "counts": dict(record.counts)}
        )
        return
    show(f"{record.id} {course_of(record, wanted)}")
    if wanted in (record.state, record.ending) and record.total > record.terminal:
        say(f"To go on: optml resume {record.id}{connection.option}")


def course_of(record: Experiment, wanted: str) -> str:
    """How an experiment stands after the wish that it be paused or stopped, in words."""
    running = record.counts[TrialState.RUNNING]
    if wanted == record.ending and not record.is_over:
        return f"stops when {_those_running(running)} ended: {census(record.counts)}"
    if wanted == record.state:
        goes_on = f"; {_those_running(running, 'go on', 'goes on')}" if running else ""
        return f"{record.state}{goes_on}: {census(record.counts)}"
    if record.ending and not record.is_over:
        return f"is ending already ({record.reason}): {census(record.counts)}"
    return f"was {record.state} already: {census(record.counts)}"


def _those_running(number: int, many: str = "have", one: str = "has") -> str:
    return f"the trial that runs {one}" if number == 1 else f"the {units.count(number)} trials that run {many}"


def extend(
    experiment: options.RequiredExperiment,
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="[SPEC]", help="The experiment as it is to go on, as a YAML file.", show_default=False),
    ] = None,
    overrides: options.Overrides = None,
    workers: options.Workers = None,
    detach: options.Detach = False,
    strict: options.Strict = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    results: options.Results = None,
) -> None:
    """Let an experiment go on with more values, points, seeds or trials, running or over; watch it as submit does.

    Trials that there are keep their number, parameters and result; of the new spec, only points run that no trial has
    tried with the same seed. Limits (max_trials, max_parallel, max_failed, timeout, retry, priority) may change, too.

    Examples
      optml extend latest grid.yaml                 the file it was submitted from, with more in it
      optml extend latest --set seeds=[0,1,2]       what it has, with two seeds more
      optml extend latest --set max_trials=500
    """
    if spec is None and not overrides:
        raise InputError("by what? Name a SPEC, or change the experiment's own with --set (--set seeds=[0,1,2])")
    from optml_queue import experiments
    from optml_queue.archive import open_archive
    from optml_queue.cli.connection import steering
    from optml_queue.cli.submit import read_spec
    from optml_queue.cli.terminal import say
    from optml_queue.cli.watch import Manner
    from optml_queue.settings import settings

    given = None if spec is None else read_spec(spec, overrides or [])
    with steering(results, workers=workers) as connection:
        id_ = find(connection, experiment)
        before = connection.store.experiment(id_)
        longer = given or _changed(before, overrides or [])
        archive = open_archive(connection.archive_url)
        after = experiments.extend(connection.store, archive, id_, longer, cache_dir=settings().cache_dir)
        if after.extensions == before.extensions:
            raise InputError(f"{id_}: that is what the experiment has already, so there is nothing to add")
        if not quiet:
            from optml_queue.cli.progress import total_of

            total = total_of(after)
            trials = ("" if total.exact else "at most ") + units.counted(total.trials, "trial")
            say(f"{id_} goes on: {trials}, {units.count(after.created)} of them there")
        if after.state == "paused":
            connection.store.resume(id_)
        code = _go_on(connection, id_, Manner(as_json=as_json, quiet=quiet, strict=strict), detach=detach)
    raise typer.Exit(code)


def _changed(record: Experiment, overrides: list[str]) -> Spec:
    """The experiment's own spec with some values changed. Code and data stay those in the archive."""
    from dataclasses import replace

    from optml_queue.spec import Spec, parse_spec

    own = Spec.from_json(record.spec)
    text = replace(own, earlier=()).to_yaml()
    changed = parse_spec(text, f"the spec of {record.id}", Path.cwd(), overrides)
    if changed.code.keys() == own.code.keys():
        changed = replace(changed, code=own.code)
    if changed.to_dict().get("data") == own.to_dict().get("data"):
        changed = replace(changed, data=own.data)
    return changed


def find(connection: Connection, text: str) -> str:
    """The id meant; an experiment that only the archive has is brought back into the store first, and said so."""
    from optml_queue import experiments
    from optml_queue.archive import open_archive
    from optml_queue.archive_source import ArchiveSource
    from optml_queue.cli.terminal import say

    store, archive = connection.store, open_archive(connection.archive_url)
    try:
        id_ = store.resolve(text)
        if not store.experiment(id_).is_restoring:
            return id_
    except NotFoundError as unknown:
        try:
            id_ = ArchiveSource(archive).resolve(text)
        except NotFoundError:
            raise unknown from None
    say(f"The store does not know {id_}; bringing it back from the archive …")
    record = experiments.restore(store, archive, id_)
    say(f"{id_} is back: {census(record.counts)}")
    return id_


def cancel(
    experiment: options.RequiredExperiment,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept with the experiment.")] = "cancelled",
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """End an experiment: queued trials are cancelled, running ones are told to stop. Results so far stay.

    Examples
      optml cancel latest
      optml cancel lms-large-k3f9a --reason "wrong data"
    """
    from optml_queue import experiments
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import show, show_json

    with steering(results) as connection:
        store = connection.store
        id_ = store.resolve(experiment)
        was_over = store.experiment(id_).is_over
        if not was_over:
            store.cancel(id_, reason)
            # Empties the queue of it here and now: there may be no control process to do so.
            experiments.advance(store, _publish_nothing, id_)
        record = store.experiment(id_)
    if as_json:
        show_json({"experiment": id_, "state": record.state, "counts": dict(record.counts)})
    else:
        show(f"{id_} {f'was {record.state} already' if was_over else record.state}: {census(record.counts)}")


def _publish_nothing(_publications: Sequence[Publication]) -> None:
    return None


def resume(
    experiment: options.Experiment = "latest",
    workers: options.Workers = None,
    detach: options.Detach = False,
    strict: options.Strict = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    results: options.Results = None,
) -> None:
    """Go on with an experiment that was paused, stopped or left, and watch it as submit does.

    One that the store has lost is brought back from the archive: what is finished there does not run again.

    Examples
      optml resume                              the newest experiment
      optml resume lms-large-k3f9a --workers 4
      optml resume latest --detach
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.watch import Manner

    with steering(results, workers=workers) as connection:
        id_ = find(connection, experiment)
        connection.store.resume(id_)
        connection.store.want(id_)
        code = _go_on(connection, id_, Manner(as_json=as_json, quiet=quiet, strict=strict), detach=detach)
    raise typer.Exit(code)


def retry(
    experiment: options.RequiredExperiment,
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Trials by number.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.", rich_help_panel="Which trials")] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="All that were cancelled.", rich_help_panel="Which trials")
    ] = False,
    workers: options.Workers = None,
    detach: options.Detach = False,
    strict: options.Strict = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    results: options.Results = None,
) -> None:
    """Run trials again that failed or were cancelled, and watch as submit does. Complete trials never change.

    Examples
      optml retry latest --failed
      optml retry latest 7 12                   only these two
      optml retry latest --failed --detach
    """
    chosen = [state for state, wanted in ((TrialState.FAILED, failed), (TrialState.CANCELLED, cancelled)) if wanted]
    if not chosen and not numbers:
        raise InputError("which trials? Say --failed, --cancelled, or give their numbers (optml retry latest 7 12)")
    from optml_queue import experiments
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import say
    from optml_queue.cli.watch import Manner

    with steering(results, workers=workers) as connection:
        id_ = find(connection, experiment)
        _await_end_of_ending(connection, id_)
        reopened = experiments.retry(connection.store, id_, numbers=numbers or [], states=chosen)
        if not reopened:
            raise InputError(f"{id_}: none of these trials failed or was cancelled, so there is nothing to run again")
        if not quiet:
            say(f"{units.counted(reopened, 'trial')} of {id_} will run again")
        connection.store.want(id_)
        code = _go_on(connection, id_, Manner(as_json=as_json, quiet=quiet, strict=strict), detach=detach)
    raise typer.Exit(code)


def _await_end_of_ending(connection: Connection, experiment: str) -> None:
    """An experiment that was cancelled a moment ago is over as soon as its running trials have heard of it."""
    deadline = time.monotonic() + ENDING_LIMIT_S
    while time.monotonic() < deadline:
        record = connection.store.experiment(experiment)
        if record.is_over or record.ending in ("", "stopped"):
            return
        time.sleep(ENDING_POLL_S)


def _go_on(connection: Connection, experiment: str, manner: Manner, *, detach: bool) -> int:
    from optml_queue.cli.submit import leave
    from optml_queue.cli.watch import watch

    if detach:
        leave(connection, experiment, as_json=manner.as_json)
        return 0
    return watch(connection, experiment, manner)


def rm(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="Ids of experiments.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Forget them in the store only; their files stay.")
    ] = False,
    as_json: options.Json = False,
    results: options.Results = None,
) -> None:
    """Remove experiments that are over: their records in the store and their files in the archive.

    Examples
      optml rm lms-sunspots-k3f9a
      optml rm latest --yes
      optml rm lms-sunspots-k3f9a --keep-archive
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.terminal import show, show_json

    with steering(results) as connection:
        ids = list(dict.fromkeys(map(connection.store.resolve, experiments)))
        for id_ in ids:
            _refuse_unless_over(connection, id_)
        _confirm(connection, ids, yes=yes, keep_archive=keep_archive)
        for id_ in ids:
            remove(connection, id_, keep_archive=keep_archive)
    if as_json:
        show_json({"removed": ids})
    else:
        show(*(f"removed {id_}" for id_ in ids))


def _refuse_unless_over(connection: Connection, experiment: str) -> None:
    record = connection.store.experiment(experiment)
    if not record.is_over:
        raise InputError(f"{experiment} is {record.state}; end it first: optml cancel {experiment}")


def _confirm(connection: Connection, ids: list[str], *, yes: bool, keep_archive: bool) -> None:
    """Ask on a terminal; elsewhere nobody could answer, and --yes is required."""
    if yes:
        return
    trials = sum(sum(connection.store.experiment(id_).counts.values()) for id_ in ids)
    files = "" if keep_archive else " and their files in the archive"
    what = f"{', '.join(ids)}: {units.counted(trials, 'trial')}{files}"
    if not sys.stdin.isatty():
        raise InputError(f"to remove {what}, add --yes")
    typer.confirm(f"Remove {what}?", abort=True, err=True)


def remove(connection: Connection, experiment: str, *, keep_archive: bool) -> None:
    """Remove an experiment's files first: should that fail, the store still knows of it."""
    if not keep_archive:
        from optml_queue.archive import open_archive

        open_archive(connection.archive_url).delete(experiment)
    connection.store.remove(experiment)
