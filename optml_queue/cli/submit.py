"""`optml submit` (also `optml-submit`): a spec becomes an experiment, watched until it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optml_queue.cli import options, units
from optml_queue.errors import InputError, SpecError

if TYPE_CHECKING:
    from optml_queue.cli.connection import Connection
    from optml_queue.runner import TrialData
    from optml_queue.spec import Spec

STDIN = Path("-")
LATEST = "latest"


def submit(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The experiment as a YAML file; - reads it from stdin.")],
    overrides: options.Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the spec and show what it amounts to; start nothing.")
    ] = False,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="NAME",
            help="The experiment's id (default: its name and five random letters). Submitting the same spec under "
            "the same id again joins the experiment.",
            show_default=False,
        ),
    ] = None,
    workers: options.Workers = None,
    detach: options.Detach = False,
    strict: options.Strict = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    results: options.Results = None,
) -> None:
    """Run an experiment: every point of its search space becomes one task of a queue.

    Without a broker (OPTML_BROKER_URL) this starts a local server and one worker per core, and ends them when the
    experiment ends. Ctrl-C once pauses it, twice leaves at once; nothing that is done is lost.

    Examples
      optml-submit grid.yaml              run it here, watch it, see the leaderboard
      optml-submit grid.yaml --dry-run    how many trials, which points, how long
      optml-submit grid.yaml --detach     print the id and return
      optml-submit grid.yaml --set max_trials=20 --json | jq .best
      make-grid | optml-submit -          a spec out of another program

    Exit codes
      0    all trials ended, at least one complete (--strict: and none failed)
      1    no complete trial, or more failures than max_failed
      2    bad input
      3    broker, store or archive not reachable
      130  interrupted
    """
    check_id(experiment)
    loaded = read_spec(spec, overrides or [])
    check_data(loaded)
    if dry_run:
        from optml_queue.cli.preview import show_preview

        with told_with_place(spec, overrides):
            show_preview(loaded, workers, as_json=as_json, results=results)
        return
    from optml_queue.cli.connection import check_cluster, steering

    check_cluster(results)
    with steering(results, workers=workers) as connection:
        with told_with_place(spec, overrides):
            id_ = create(connection, loaded, experiment)
        if not quiet and (loaded.start_from or loaded.reuse):
            tell_taken_over(connection, id_)
        if detach:
            leave(connection, id_, as_json=as_json)
            return
        from optml_queue.cli.watch import Manner, watch

        code = watch(connection, id_, Manner(as_json=as_json, quiet=quiet, strict=strict))
    raise typer.Exit(code)


def read_spec(path: Path, overrides: list[str]) -> Spec:
    """The spec at `path`, or on stdin for `-`. Raises SpecError with every problem that it has."""
    from optml_queue.spec import load_spec, parse_spec
    from optml_queue.spec.document import MAX_BYTES, DocumentError, decode

    if path != STDIN:
        return load_spec(path, overrides)
    try:
        text = decode(sys.stdin.buffer.read(MAX_BYTES + 1))
    except DocumentError as error:
        raise SpecError("<stdin>", [error.problem]) from None
    return parse_spec(text, "<stdin>", Path.cwd(), overrides)


@contextmanager
def told_with_place(path: Path, overrides: list[str] | None) -> Iterator[None]:
    """What turns out to be wrong with a spec after it was read is told with its file, and with lines of the file."""
    try:
        yield
    except SpecError as error:
        # With --set, the lines are those of another text.
        problems = [replace(each, line=0) for each in error.problems] if overrides else error.problems
        raise SpecError("<stdin>" if path == STDIN else str(path), problems) from None


def check_data(spec: Spec) -> None:
    """Raises DataError when the user's own data cannot be used, before anything is started."""
    from optml_queue.data import SHIPPED

    if spec.data is not None and spec.data.kind not in SHIPPED:
        load_data(spec)


def load_data(spec: Spec) -> TrialData | None:
    """The data of a spec as its code takes them; what lies at s3:// is downloaded. Raises DataError."""
    from functools import partial

    from optml_queue.archive.dataset import download
    from optml_queue.runner import data_of
    from optml_queue.settings import settings

    cache_dir = settings().cache_dir
    return data_of(spec, partial(download, cache_dir=cache_dir), cache_dir)


def check_id(experiment: str | None) -> None:
    """Raises InputError for an id that cannot be one: it is a folder's name and part of a task's id."""
    from optml_queue.store.store import ID

    if experiment is None or (ID.fullmatch(experiment) and ".." not in experiment and experiment != LATEST):
        return
    rule = f"must be up to 100 letters, digits, -, _ and ., beginning with a letter or digit, and not {LATEST}"
    raise InputError(f"--id: {rule}, got {experiment!r}")


def create(connection: Connection, spec: Spec, experiment: str | None) -> str:
    """Bring the experiment into being, or go on with it when it is there already; its id."""
    from optml_queue import experiments
    from optml_queue.archive import open_archive
    from optml_queue.cli.terminal import say
    from optml_queue.restoration import RESTORED
    from optml_queue.settings import settings

    store, archive = connection.store, open_archive(connection.archive_url)
    id_ = experiments.submit(store, archive, spec, experiment=experiment, cache_dir=settings().cache_dir)
    if store.experiment(id_).reason == RESTORED:
        say(f"The store did not know {id_}; it is back from the archive")
    store.resume(id_)
    return id_


def tell_taken_over(connection: Connection, experiment: str) -> None:
    """Say what the experiment takes over from earlier ones, if anything."""
    from optml_queue.cli.terminal import say
    from optml_queue.spec import Spec

    for line in taken_over(Spec.from_json(connection.store.spec(experiment))):
        say(line)


def taken_over(spec: Spec) -> list[str]:
    """What an experiment takes over from earlier ones, in words."""
    from optml_queue.starting import source_line

    lines = [f"Starts from {source_line(source)}" for source in spec.start_from.sources] if spec.start_from else []
    if spec.reuse is not None:
        results = units.counted(spec.reuse.results, "result")
        of = f" of {units.counted(spec.reuse.experiments, 'earlier experiment')}" if spec.reuse.results else ""
        lines.append(f"May reuse {results}{of} with the same code and data")
    return lines


def leave(connection: Connection, experiment: str, *, as_json: bool) -> None:
    """Tell the id and go; the embedded server and its workers stay."""
    if connection.session is not None:
        connection.session.detach()
    if as_json:
        from optml_queue.cli.terminal import show_json
        from optml_queue.cli.watch import folder_of

        show_json({"experiment": experiment, "archive": folder_of(connection.archive_url, experiment)})
        return
    from optml_queue.cli.terminal import say, show

    show(experiment)
    if connection.session is not None:
        say("Workers go on without you. How far they are, and how to end them:")
        say(f"    optml status {experiment}{connection.option}")
        say(f"    optml down{connection.option}")
