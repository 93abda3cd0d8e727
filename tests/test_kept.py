"""Programs and what attempts keep, in the archive and on a worker's disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optml_queue.archive.directory import DirectoryArchive
from optml_queue.archive.kept import bring_artifacts, output
from optml_queue.archive.program import fetch, key_of, upload
from optml_queue.checkpoint import encode_state
from optml_queue.driver import Order
from optml_queue.errors import ArchiveError, DriverError, UnreachableError
from optml_queue.worker.keeping import Keeping

X = "ridge-abcde"


@pytest.fixture
def archive(tmp_path: Path) -> DirectoryArchive:
    return DirectoryArchive(tmp_path / "archive")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "train.py").write_text("one")
    (folder / "sub" / "deep.py").write_text("two")
    return folder


class TestPrograms:
    def test_it_travels_by_its_content(self, archive: DirectoryArchive, project: Path, tmp_path: Path) -> None:
        digest = upload(archive, project)
        assert upload(archive, project) == digest
        assert list(archive.keys("programs")) == [key_of(digest)]
        folder = fetch(archive, digest, tmp_path / "cache")
        assert folder == tmp_path / "cache" / "programs" / digest
        assert (folder / "sub" / "deep.py").read_text() == "two"
        assert [path.name for path in folder.parent.iterdir()] == [digest]

    def test_what_is_there_and_whole_is_not_fetched_again(
        self, archive: DirectoryArchive, project: Path, tmp_path: Path
    ) -> None:
        digest = upload(archive, project)
        folder = fetch(archive, digest, tmp_path / "cache")
        archive.delete("programs")
        assert fetch(archive, digest, tmp_path / "cache") == folder

    @pytest.mark.parametrize("change", ["edit", "add", "remove"])
    def test_what_was_changed_on_the_disk_is_put_right(
        self, archive: DirectoryArchive, project: Path, tmp_path: Path, change: str
    ) -> None:
        digest = upload(archive, project)
        folder = fetch(archive, digest, tmp_path / "cache")
        if change == "remove":
            (folder / "train.py").unlink()
        else:
            (folder / ("train.py" if change == "edit" else "evil.py")).write_text("evil")
        fetch(archive, digest, tmp_path / "cache")
        assert sorted(path.name for path in folder.iterdir()) == ["sub", "train.py"]
        assert (folder / "train.py").read_text() == "one"

    def test_a_damaged_or_missing_one_is_refused(
        self, archive: DirectoryArchive, project: Path, tmp_path: Path
    ) -> None:
        digest = upload(archive, project)
        archive.put(key_of(digest), b"something else")
        with pytest.raises(ArchiveError, match=f"programs/{digest} is damaged"):
            fetch(archive, digest, tmp_path / "cache")
        with pytest.raises(ArchiveError, match="has no programs/"):
            fetch(archive, "0" * 64, tmp_path / "cache")
        with pytest.raises(ArchiveError, match="is not a program's digest"):
            fetch(archive, "../../etc", tmp_path / "cache")
        with pytest.raises(DriverError, match="no such file or folder"):
            upload(archive, tmp_path / "absent")


def keeping(
    archive: DirectoryArchive, attempt: int = 1, checkpoint: str = "", move: Callable[[str], Order] | None = None
) -> Keeping:
    return Keeping(archive, X, 7, attempt, checkpoint, move or (lambda _key: Order.OK))


def names(archive: DirectoryArchive) -> list[str]:
    return [key.rpartition("/")[2] for key in archive.keys(f"{X}/checkpoints/7")]


class TestCheckpoints:
    def test_the_last_two_are_kept(self, archive: DirectoryArchive) -> None:
        attempt = keeping(archive)
        for epoch in range(12):
            assert attempt.checkpoint({"epoch": epoch}) is Order.OK
        assert names(archive) == ["1-11.npz", "1-12.npz"]
        assert attempt.restore() == {"epoch": 11}

    def test_those_of_earlier_attempts_count(self, archive: DirectoryArchive) -> None:
        before = keeping(archive)
        for epoch in range(3):
            before.checkpoint({"epoch": epoch})
        after = keeping(archive, 2, f"{X}/checkpoints/7/1-2.npz")
        assert after.restore() == {"epoch": 1}, "the pointer decides, not what was written last"
        after.checkpoint({"epoch": 9})
        assert names(archive) == ["1-2.npz", "2-1.npz"]

    def test_the_pointer_moves_when_the_document_is_there(self, archive: DirectoryArchive) -> None:
        seen = []

        def move(key: str) -> Order:
            seen.append(archive.exists(key))
            return Order.STOP

        assert keeping(archive, move=move).checkpoint({}) is Order.STOP
        assert seen == [True]

    def test_an_attempt_that_is_no_longer_the_trials_removes_nothing(self, archive: DirectoryArchive) -> None:
        keeping(archive).checkpoint({"epoch": 1})
        late = keeping(archive, 2, f"{X}/checkpoints/7/1-1.npz", move=lambda _key: Order.ABORT)
        for _ in range(3):
            assert late.checkpoint({}) is Order.ABORT
        assert "1-1.npz" in names(archive)

    def test_two_are_left_however_many_attempts_there_were(self, archive: DirectoryArchive) -> None:
        last = ""
        for attempt in range(1, 13):
            after = keeping(archive, attempt, last)
            assert after.restore() == ({"attempt": attempt - 1} if last else None)
            for _ in range(attempt % 3):  # some attempts keep none
                after.checkpoint({"attempt": attempt})
                last = f"{X}/checkpoints/7/{attempt}-{attempt % 3}.npz"
            if not attempt % 3:
                after.checkpoint({"attempt": attempt})
                last = f"{X}/checkpoints/7/{attempt}-1.npz"
            assert len(names(archive)) <= 2
            assert last.rpartition("/")[2] in names(archive)
        assert names(archive) == ["11-2.npz", "12-1.npz"]

    def test_what_an_attempt_left_before_the_pointer_moved_is_swept(self, archive: DirectoryArchive) -> None:
        archive.put(f"{X}/checkpoints/7/1-1.npz", encode_state({"epoch": 1}))
        after = keeping(archive, 2)
        assert after.restore() is None, "the store never heard of it"
        after.checkpoint({"epoch": 2})
        assert names(archive) == ["2-1.npz"]

    @pytest.mark.parametrize("damage", [b"junk", b"", None])
    def test_a_damaged_or_missing_one_costs_the_way_from_the_one_before(
        self, archive: DirectoryArchive, damage: bytes | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = keeping(archive)
        for epoch in range(1, 11):
            before.checkpoint({"epoch": epoch})
        last = f"{X}/checkpoints/7/1-10.npz"
        archive.delete(last)
        if damage is not None:
            archive.put(last, damage)
        after = keeping(archive, 2, last)
        assert after.restore() == {"epoch": 9}
        assert "checkpoint of trial 7 of ridge-abcde cannot be used" in caplog.text
        after.checkpoint({"epoch": 10})
        assert names(archive) == ["1-9.npz", "2-1.npz"], "what is damaged is not kept"
        assert after.restore() == {"epoch": 10}

    def test_an_archive_that_does_not_answer_is_waited_for(
        self, archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeping(archive).checkpoint({"epoch": 1})
        get, tries = archive.get, iter([True, True])

        def away(key: str) -> bytes:
            if next(tries, False):
                raise UnreachableError("the archive", "s3://bucket", "no answer")
            return get(key)

        monkeypatch.setattr(archive, "get", away)
        assert keeping(archive, 2, f"{X}/checkpoints/7/1-1.npz").restore() == {"epoch": 1}

    def test_without_one_or_with_a_damaged_one_the_trial_starts_anew(self, archive: DirectoryArchive) -> None:
        assert keeping(archive).restore() is None
        archive.put(f"{X}/checkpoints/7/1-1.npz", b"junk")
        assert keeping(archive, 2, f"{X}/checkpoints/7/1-1.npz").restore() is None
        assert keeping(archive, 2, f"{X}/checkpoints/7/1-9.npz").restore() is None

    @pytest.mark.parametrize(
        "key", ["{x}/results.csv", "{x}/checkpoints/70/1-1.npz", "other-x/checkpoints/7/1-1.npz", "../x"]
    )
    def test_a_record_that_leads_elsewhere_is_neither_read_nor_removed(
        self, archive: DirectoryArchive, key: str
    ) -> None:
        elsewhere = key.format(x=X)
        if elsewhere != "../x":
            archive.put(elsewhere, encode_state({"epoch": 9}))
        attempt = keeping(archive, 2, elsewhere)
        assert attempt.restore() is None
        for epoch in range(4):
            attempt.checkpoint({"epoch": epoch})
        assert elsewhere == "../x" or archive.exists(elsewhere)

    def test_an_archive_that_refuses_ends_no_training(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        attempt = keeping(DirectoryArchive(tmp_path / "file"))
        assert attempt.checkpoint({"weights": np.zeros(3)}) is None
        attempt.output(b"lost")
        with pytest.raises(TypeError):
            attempt.checkpoint({"weights": object()})


class TestArtifacts:
    def test_files_and_folders_are_brought_back(self, archive: DirectoryArchive, tmp_path: Path) -> None:
        made = tmp_path / "made" / "model"
        made.mkdir(parents=True)
        (made / "weights.bin").write_bytes(b"\0\1")
        (made.parent / "plot.png").write_bytes(b"png")
        keeping(archive).artifact(made)
        keeping(archive).artifact(made.parent / "plot.png")
        brought = bring_artifacts(archive, X, 7, tmp_path / "best")
        assert [path.relative_to(tmp_path / "best").as_posix() for path in brought] == ["model/weights.bin", "plot.png"]
        assert (tmp_path / "best" / "model" / "weights.bin").read_bytes() == b"\0\1"
        assert bring_artifacts(archive, X, 70, tmp_path / "none") == []

    def test_output_is_kept_as_text(self, archive: DirectoryArchive) -> None:
        keeping(archive, 3).output(b"10%\r20%\n\x1b[31mred\xff\n")
        assert output(archive, X, 7, 3) == "10%\n20%\n[31mred�\n"
        assert output(archive, X, 7, 1) == ""
        keeping(archive, 4).output(b"")
        assert list(archive.keys(f"{X}/logs")) == [f"{X}/logs/7-3.txt"]
