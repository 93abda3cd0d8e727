"""The verbs that change an experiment's course: cancel, retry, resume, rm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.errors import InputError
from optml_queue.trial import TrialState

if TYPE_CHECKING:
    from optml_queue.cli.connection import Connection
    from optml_queue.cli.watch import Manner
    from optml_queue.store import Publication


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
    from optml_queue.cli.outcome import census
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
    """Go on with an experiment that was paused or left, and watch it as submit does.

    Examples
      optml resume                              the newest experiment
      optml resume lms-large-k3f9a --workers 4
      optml resume latest --detach
    """
    from optml_queue.cli.connection import steering
    from optml_queue.cli.watch import Manner

    with steering(results, workers=workers) as connection:
        id_ = connection.store.resolve(experiment)
        if connection.store.experiment(id_).state == "paused":
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
        id_ = connection.store.resolve(experiment)
        reopened = experiments.retry(connection.store, id_, numbers=numbers or [], states=chosen)
        if not reopened:
            raise InputError(f"{id_}: none of these trials failed or was cancelled, so there is nothing to run again")
        if not quiet:
            say(f"{units.counted(reopened, 'trial')} of {id_} will run again")
        connection.store.want(id_)
        code = _go_on(connection, id_, Manner(as_json=as_json, quiet=quiet, strict=strict), detach=detach)
    raise typer.Exit(code)


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
