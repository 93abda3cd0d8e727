"""Where the experiments lie: a cluster's store, the embedded server of a results folder, or an archive alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optml_queue.errors import InputError, NotFoundError, without_password

if TYPE_CHECKING:
    from optml_queue.archive import Archive
    from optml_queue.embedded import Session
    from optml_queue.store import Experiment, Store, WorkerInfo
    from optml_queue.trial import Attempt, Trial, TrialState

STORE_FOLDER = ".store"


class Source(Protocol):
    """What the verbs read; a store and an archive alone both offer it."""

    def experiments(self) -> Sequence[Experiment]: ...

    def experiment(self, experiment: str, /) -> Experiment: ...

    def resolve(self, text: str, /) -> str: ...

    def trials(self, experiment: str, numbers: Sequence[int], /) -> Sequence[Trial]: ...

    def page(
        self, experiment: str, /, state: TrialState | None = None, offset: int = 0, limit: int = 100
    ) -> Sequence[Trial]: ...

    def best(self, experiment: str, limit: int = 1, /) -> Sequence[Trial]: ...

    def finished(self, experiment: str, start: int, stop: int, /) -> Sequence[Trial]: ...

    def stream(self, experiment: str, /) -> Iterator[Trial]: ...

    def attempts(self, experiment: str, number: int, /) -> Sequence[Attempt]: ...

    def recoveries(self, experiment: str, /) -> Sequence[float]: ...

    def logs(self, experiment: str, number: int, start: int = 0, /) -> Sequence[str]: ...

    def workers(self) -> Sequence[WorkerInfo]: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A store to steer, the archive its workers write to, and the embedded session when there is one."""

    store: Store
    archive_url: str
    session: Session | None = None

    @property
    def option(self) -> str:
        """What a verb typed here needs to find this store, with a blank before it; often nothing."""
        from optml_queue.settings import settings

        if self.session is None:
            return ""
        folder = self.session.folder.results_dir
        return "" if folder == settings().results_dir.absolute() else f" --results {shown_place(str(folder))}"


def results_folder(results: Path | None) -> Path:
    """The embedded server's folder: what was typed, or the one of the settings."""
    from optml_queue.settings import settings

    return results or settings().results_dir


@contextmanager
def steering(results: Path | None = None, *, workers: int | None = 0) -> Iterator[Connection]:
    """A connection to the store, for verbs that change something.

    Without a cluster, or with a results folder named, this joins the embedded server, and starts it with `workers`
    workers (None: one a core) when it does not run. Raises UnreachableError within 10 s when the store does not
    answer.
    """
    from optml_queue.settings import settings

    configured = settings()
    if results is None and not configured.is_embedded:
        if workers:
            raise InputError(
                "--workers: OPTML_BROKER_URL is set, and that cluster has its own workers.\n"
                "    Leave --workers out, or start some with optml worker --processes N."
            )
        yield Connection(_open_store(configured.store, configured.archive), configured.archive)
        return
    from optml_queue.embedded import join

    with join(results_folder(results), workers, archive_url=configured.archive_url or "") as session:
        yield Connection(_open_store(session.url, session.archive_url), session.archive_url, session)


def check_cluster(results: Path | None) -> None:
    """Raises UnreachableError when the cluster's broker, or the archive, does not answer within 10 s."""
    from optml_queue.archive import open_archive
    from optml_queue.settings import settings

    configured = settings()
    if results is None and not configured.is_embedded:
        from optml_queue.broker import check_broker

        check_broker(configured.broker)
    if configured.archive_url:
        open_archive(configured.archive_url).check()


def _open_store(url: str, archive_url: str) -> Store:
    from optml_queue.broker import check_broker
    from optml_queue.retention import RetainingStore

    # Asked apart, so that a wrong address is told soon; the store's own calls outlast a server's restart.
    check_broker(url, what="the store")
    return RetainingStore.beside(archive_url, url)


@contextmanager
def reading(results: Path | None = None, archive: str | None = None) -> Iterator[Source]:
    """A store or an archive to read.

    In this order: the archive that was named; the cluster's store; the embedded server's store, reopened if its
    files are there; an archive alone (OPTML_ARCHIVE_URL or the results folder).
    """
    from optml_queue.settings import settings

    configured = settings()
    folder = results_folder(results)
    if archive is not None:
        yield _archive(archive)
    elif (results is None and not configured.is_embedded) or (folder / STORE_FOLDER).is_dir():
        with steering(results) as connection:
            yield connection.store
    elif results is None and configured.archive_url:
        yield _archive(configured.archive_url)
    else:
        yield _archive(str(_existing(folder)))


def documents(results: Path | None = None, archive: str | None = None) -> Archive:
    """The archive that goes with what `reading` reads."""
    from optml_queue.archive import open_archive
    from optml_queue.settings import settings

    configured = settings()
    if archive is None:
        archive = configured.archive if results is None or configured.archive_url else str(results)
    return open_archive(archive)


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise NotFoundError(
        f"no experiments here: there is no folder {folder}.\n"
        "    Submit one (optml-submit SPEC), go to the folder that you submitted from, or name its results folder "
        "with --results."
    )


def _archive(url: str) -> Source:
    from optml_queue.archive import open_archive
    from optml_queue.archive_source import ArchiveSource

    return ArchiveSource(open_archive(url))


def shown_place(place: str) -> str:
    """A folder relative to this one when it lies below; URLs as they are, without what is secret in them."""
    if "://" in place:
        return without_password(place)
    path = Path(place).absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
