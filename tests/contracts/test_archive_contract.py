"""What every archive promises, held against a directory and against S3 (moto's real server)."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import boto3
import pytest

from optml_queue.archive import Archive, open_archive, s3
from optml_queue.archive.dataset import bring, download, fetch, upload
from optml_queue.archive.directory import DirectoryArchive
from optml_queue.archive.s3 import S3Archive
from optml_queue.data import DataSpec, load
from optml_queue.errors import ArchiveError, DataError, SettingsError, UnreachableError
from tests.moto_server import aws_settings, moto_server

HOSTILE_KEYS = [
    "",
    "/etc/passwd",
    "../outside",
    "a/../../outside",
    "a/./b",
    "a//b",
    "a/",
    ".hidden",
    "a/.b.tmp",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "\ud800",
    "x" * 201,
    "/".join(["x" * 190] * 5),
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The usual AWS settings point at the test's server; its URL."""
    for name, value in aws_settings(endpoint).items():
        monkeypatch.setenv(name, value)
    return endpoint


@pytest.fixture(scope="module")
def shared_bucket(endpoint: str) -> str:
    """A bucket in which each test has a prefix of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_settings(endpoint).items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="optml")
    return "optml"


@pytest.fixture
def bucket(aws: str, shared_bucket: str) -> str:
    return shared_bucket


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.integration)])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "directory":
        return open_archive(str(tmp_path / "archive"))
    return open_archive(f"s3://{request.getfixturevalue('bucket')}/some/{secrets.token_hex(6)}")


def test_a_document_comes_back_byte_for_byte(archive: Archive) -> None:
    body = bytes(range(256)) * 3
    archive.put("lms-1/résumé 1.bin", body)
    assert archive.get("lms-1/résumé 1.bin") == body
    with archive.open("lms-1/résumé 1.bin") as file:
        assert file.read(2) == body[:2]
        assert file.read() == body[2:]


def test_an_empty_document_is_a_document(archive: Archive) -> None:
    archive.put("lms-1/empty", b"")
    assert archive.exists("lms-1/empty")
    assert archive.get("lms-1/empty") == b""


def test_the_last_writer_wins(archive: Archive) -> None:
    archive.put("lms-1/a", b"first, and longer")
    archive.put("lms-1/a", b"second")
    assert archive.get("lms-1/a") == b"second"
    assert list(archive.keys()) == ["lms-1/a"]


def test_a_large_file_goes_and_comes_in_parts(archive: Archive, tmp_path: Path) -> None:
    body = secrets.token_bytes(1 << 20) * 17  # beyond the 8 MiB at which S3 uploads in parts
    (tmp_path / "large").write_bytes(body)
    archive.put_file("lms-1/large", tmp_path / "large")
    with archive.open("lms-1/large") as file:
        assert file.read(1000) == body[:1000]
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(body[1000:]).digest()


def test_lines_can_be_read_from_an_open_document(archive: Archive) -> None:
    archive.put("lms-1/lines", b"one\ntwo\n")
    with archive.open("lms-1/lines") as file:
        assert list(file) == [b"one\n", b"two\n"]


@pytest.mark.parametrize("read", ["get", "open"])
def test_a_missing_document_is_named(archive: Archive, read: str) -> None:
    archive.put("lms-1/a", b"")
    for key in ("lms-1/b", "lms-1", "lms-1/a/b"):
        with pytest.raises(ArchiveError, match=f"has no {key}"):
            getattr(archive, read)(key)
        assert not archive.exists(key)


def test_keys_ascend_and_stop_at_the_folder(archive: Archive) -> None:
    keys = ["lms-1/a", "lms-1/parts/0", "lms-1/parts/1", "lms-1/parts.txt", "lms-10/a", "data/x"]
    for key in keys:
        archive.put(key, b".")
    assert list(archive.keys()) == sorted(keys)
    assert list(archive.keys("lms-1")) == ["lms-1/a", "lms-1/parts.txt", "lms-1/parts/0", "lms-1/parts/1"]
    assert list(archive.keys("lms-1/parts/")) == ["lms-1/parts/0", "lms-1/parts/1"]
    assert list(archive.keys("lms-2")) == []


def test_children_are_the_names_one_level_down(archive: Archive) -> None:
    for key in ("lms-1/a", "lms-1/parts/0", "lms-10/a", "note"):
        archive.put(key, b".")
    assert list(archive.children()) == ["lms-1", "lms-10", "note"]
    assert list(archive.children("lms-1")) == ["a", "parts"]
    assert list(archive.children("lms-2")) == []


def test_deleting_spares_the_neighbour_of_the_same_beginning(archive: Archive) -> None:
    for key in ("lms-1/a", "lms-1/parts/0", "lms-10/a"):
        archive.put(key, b".")
    assert archive.delete("lms-1") == 2
    assert list(archive.keys()) == ["lms-10/a"]
    assert archive.delete("lms-10/a") == 1
    assert archive.delete("lms-10/a") == 0
    assert list(archive.children()) == []


def test_a_folder_can_be_written_again_after_it_was_deleted(archive: Archive) -> None:
    archive.put("lms-1/a", b"1")
    archive.delete("lms-1")
    archive.put("lms-1/a", b"2")
    assert archive.get("lms-1/a") == b"2"


def is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ArchiveError as error:
        return "cannot be a document's key" in str(error)
    return False


def test_keys_that_could_leave_the_archive_are_refused(archive: Archive, tmp_path: Path) -> None:
    calls: dict[str, Callable[[str], object]] = {
        "put": lambda key: archive.put(key, b"x"),
        "get": archive.get,
        "exists": archive.exists,
        "put_file": lambda key: archive.put_file(key, Path(__file__)),
        "delete": archive.delete,
    }
    taken = {(name, key) for name, call in calls.items() for key in HOSTILE_KEYS if not is_refused(partial(call, key))}
    # A folder may end in a slash.
    assert taken == {("delete", "a/")}
    assert list(archive.keys()) == []
    assert not (tmp_path / "outside").exists()


def test_the_archive_as_a_whole_cannot_be_deleted(archive: Archive) -> None:
    archive.put("lms-1/a", b"x")
    for folder in ("", "/"):
        with pytest.raises(ArchiveError):
            archive.delete(folder)
    assert archive.exists("lms-1/a")


def test_a_new_archive_is_reachable_and_empty(archive: Archive) -> None:
    archive.check()
    assert list(archive.keys()) == []


def test_a_data_set_is_stored_once_and_fetched_by_its_content(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n2\n")
    (tmp_path / "b.csv").write_text("1\n2\n")
    digest = upload(archive, tmp_path / "a.csv")
    assert upload(archive, tmp_path / "b.csv") == digest
    assert list(archive.keys()) == [f"data/{digest}"]

    path = fetch(archive, digest, tmp_path / "cache")
    assert path.read_text() == "1\n2\n"
    archive.delete("data")
    assert fetch(archive, digest, tmp_path / "cache") == path  # out of the cache


def test_a_damaged_cache_is_healed_and_a_damaged_data_set_refused(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n2\n")
    digest = upload(archive, tmp_path / "a.csv")
    fetch(archive, digest, tmp_path / "cache").write_text("1\n3\n")
    assert fetch(archive, digest, tmp_path / "cache").read_text() == "1\n2\n"

    archive.put(f"data/{digest}", b"1\n3\n")
    with pytest.raises(ArchiveError, match="is damaged"):
        fetch(archive, digest, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_data_set_that_is_not_there_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="has no data/"):
        fetch(archive, "0" * 64, tmp_path)
    with pytest.raises(ArchiveError, match="64 hexadecimal digits"):
        fetch(archive, "../../etc/passwd", tmp_path)
    with pytest.raises(DataError, match="No such file"):
        upload(archive, tmp_path / "absent.csv")


# A directory


def test_hidden_files_and_the_stores_own_are_no_documents(tmp_path: Path) -> None:
    archive = DirectoryArchive(tmp_path)
    (tmp_path / ".store").mkdir()
    (tmp_path / ".store" / "dump.rdb").write_bytes(b"")
    (tmp_path / "lms-1").mkdir()
    (tmp_path / "lms-1" / ".results.csv.0123.tmp").write_bytes(b"half")
    assert list(archive.keys()) == []
    assert list(archive.children()) == []


def test_what_dead_writers_left_goes_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / "lms-1" / ".a.1.tmp", tmp_path / "lms-1" / ".a.2.tmp"
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 7200))
    DirectoryArchive(tmp_path).put("lms-1/b", b"whole")
    assert sorted(path.name for path in old.parent.iterdir()) == [young.name, "b"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    archive = DirectoryArchive(tmp_path / "archive")
    archive.put("lms-1", b"a document, not a folder")
    with pytest.raises(ArchiveError, match="cannot write lms-1/a"):
        archive.put("lms-1/a", b"x")
    with pytest.raises(FileNotFoundError):
        archive.put_file("lms-2", tmp_path / "absent")
    assert [path.name for path in (tmp_path / "archive").iterdir()] == ["lms-1"]


def test_a_directory_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnreachableError, match="is not a directory"):
        DirectoryArchive(tmp_path / "file" / "archive").check()
    DirectoryArchive(tmp_path / "new" / "archive").check()
    assert not (tmp_path / "new").exists()


WRITER = """
import sys
from pathlib import Path
from optml_queue.archive.directory import DirectoryArchive
archive = DirectoryArchive(Path(sys.argv[1]))
for i in range(10**9):
    letter = b"abcdefgh"[i % 8:i % 8 + 1]
    archive.put(f"lms-1/{i % 3}", letter * 3_000_000)
    if i == 3:
        print("writing", flush=True)
"""


@pytest.mark.faults
def test_a_killed_writer_leaves_no_half_document(tmp_path: Path) -> None:
    for delay_s in (0.003, 0.011, 0.019, 0.027):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(delay_s)  # so that the kill falls on another part of a write each time
            writer.send_signal(signal.SIGKILL)
        archive = DirectoryArchive(tmp_path)
        keys = list(archive.keys())
        assert keys == ["lms-1/0", "lms-1/1", "lms-1/2"]
        for key in keys:
            body = archive.get(key)
            assert len(body) == 3_000_000
            assert body.count(body[:1]) == len(body)


# S3


@pytest.mark.integration
def test_a_bucket_that_is_not_there_is_named(aws: str) -> None:
    archive = open_archive("s3://no-such-bucket-here/prefix")
    with pytest.raises(UnreachableError, match=r"s3://no-such-bucket-here/prefix .* no such bucket"):
        archive.check()
    with pytest.raises(ArchiveError, match="no such bucket"):
        archive.put("lms-1/a", b"x")


def test_a_service_that_is_not_there_is_said_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # bound, and answering nobody
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in aws_settings(url).items():
            monkeypatch.setenv(name, value)
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"s3://bucket/p .*no answer") as caught:
            open_archive("s3://bucket/p").check()
    assert time.monotonic() - began < 10
    assert "testing-secret" not in str(caught.value)


@pytest.mark.integration
def test_a_service_that_never_answers_is_asked_twice_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    longest_pause_s = 1.0  # before botocore's second attempt
    assert s3.PROBE_ATTEMPTS * s3.PROBE_LIMIT_S + longest_pause_s < 10
    monkeypatch.setattr(s3, "PROBE_LIMIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for name, value in aws_settings(f"http://127.0.0.1:{mute.getsockname()[1]}").items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UnreachableError, match="no answer"):
            open_archive("s3://bucket").check()
        assert waiting(mute) == s3.PROBE_ATTEMPTS


def waiting(server: socket.socket) -> int:
    """How many connections nobody has accepted yet."""
    server.setblocking(False)
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws_settings("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UnreachableError, match="no complete AWS credentials"):
        open_archive("s3://bucket").check()


@pytest.mark.integration
def test_listing_and_deleting_go_on_beyond_one_page(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE_LENGTH", 10)
    archive = S3Archive(bucket, f"pages/{secrets.token_hex(6)}")
    names = [f"{number:02d}" for number in range(25)]
    for name in names:
        archive.put(f"lms-1/{name}", b"")
    assert list(archive.keys("lms-1")) == [f"lms-1/{name}" for name in names]
    assert list(archive.children("lms-1")) == names
    assert archive.delete("lms-1") == 25
    assert list(archive.keys()) == []


# Addresses


def test_a_url_picks_the_archive(tmp_path: Path) -> None:
    assert open_archive(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a b"
    assert open_archive("results").url == str(Path.cwd() / "results")
    objects = open_archive("s3://bucket/a/b/")
    assert isinstance(objects, S3Archive)
    assert (objects.url, objects.bucket, objects.prefix) == ("s3://bucket/a/b", "bucket", "a/b/")


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "s3://key:secret@bucket/x", "file://host/x", "", " ", "a\0b"])
def test_other_addresses_are_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_archive(url)
    assert "secret" not in str(caught.value)


@pytest.mark.integration
def test_data_at_an_address_are_downloaded_once_for_each_of_their_versions(bucket: str, tmp_path: Path) -> None:
    address = f"s3://{bucket}/some/folder/a b.csv"
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="some/folder/a b.csv", Body=b"1\n")
    first = download(address, tmp_path)
    assert (first.name, first.read_bytes()) == ("a b.csv", b"1\n")
    inode = first.stat().st_ino
    assert download(address, tmp_path).stat().st_ino == inode
    client.put_object(Bucket=bucket, Key="some/folder/a b.csv", Body=b"2\n")
    assert download(address, tmp_path).read_bytes() == b"2\n"


@pytest.mark.integration
def test_data_at_an_address_go_into_the_archive_when_they_are_submitted(bucket: str, tmp_path: Path) -> None:
    body = "".join(f"{i}\n" for i in range(20)).encode()
    boto3.client("s3").put_object(Bucket=bucket, Key="series.csv", Body=body)
    archive = DirectoryArchive(tmp_path / "archive")
    data = bring(archive, DataSpec("csv", {"path": f"s3://{bucket}/series.csv", "column": 0}))
    assert archive.get(f"data/{data.digest}") == body
    # The place where they came from is needed no more.
    boto3.client("s3").delete_object(Bucket=bucket, Key="series.csv")
    assert load(data, lambda digest: fetch(archive, digest, tmp_path / "cache")).digest == data.digest


@pytest.mark.integration
@pytest.mark.parametrize(
    ("key", "told"),
    [("{bucket}/absent.npz", "has no absent.npz"), ("no-such-bucket-here/a", "has no a"), ("{bucket}/a//b", "a//b")],
)
def test_an_address_where_nothing_is_is_named(bucket: str, tmp_path: Path, key: str, told: str) -> None:
    address = f"s3://{key.format(bucket=bucket)}"
    with pytest.raises(DataError, match=f"{address}: .*{told}"):
        download(address, tmp_path)
