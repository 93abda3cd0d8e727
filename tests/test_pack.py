"""Packs: the same bytes for the same content, and nothing that leads out of a folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from optml_queue import pack as pack_module
from optml_queue.errors import DriverError
from optml_queue.pack import digest_of, pack, packed_files, unpack, unpack_tar


def folder_of(parent: Path, **files: str) -> Path:
    folder = parent / "project"
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_the_same_content_is_the_same_pack_whenever_and_in_whatever_order(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "a", train="1", sub__deep="2")
    other = folder_of(tmp_path / "b", sub__deep="2", train="1")
    os.utime(other / "train", (1, 1))
    assert pack(one) == pack(other)
    (other / "train").chmod(0o700)
    assert pack(one) != pack(other), "whether a file can be run counts"
    (other / "train").chmod(0o644)
    (other / "train").write_text("3")
    assert digest_of(pack(one)) != digest_of(pack(other))


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train="1", sub__deep="ä\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    unpack(pack(folder), out)
    assert pack(out) == pack(folder)
    assert (out / "sub" / "deep").read_text() == "ä\n"
    assert os.access(out / "run.sh", os.X_OK)


def test_a_file_alone_is_packed_under_its_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train="1", other="2")
    assert list(packed_files(folder / "train")) == ["train"]


def test_hidden_and_made_files_stay_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train="1")
    for name in (".git/config", ".env", "__pycache__/train.pyc", "old.pyc", "optml-results/x/results.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert list(packed_files(folder)) == ["train"]


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train="1")
    plain = pack(folder)
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    assert pack(folder) == plain


def test_what_cannot_be_packed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, train="1")
    with pytest.raises(DriverError, match="absent: no such file or folder"):
        pack(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DriverError, match="empty: the folder is empty"):
        pack(tmp_path / "empty")
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(DriverError, match="up: is a link to a folder, which cannot be packed; copy it there"):
        pack(folder)
    (folder / "up").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(DriverError, match="pipe: is not a regular file"):
        pack(folder)
    (folder / "pipe").unlink()
    (folder / "big").write_bytes(b"x" * 3000)
    monkeypatch.setattr(pack_module, "MAX_BYTES", 2999)
    with pytest.raises(DriverError, match=r"the largest file is big\); large data belong under data:"):
        pack(folder)
    monkeypatch.setattr(pack_module, "MAX_FILES", 1)
    with pytest.raises(DriverError, match="has more than 1 files"):
        pack(folder)


def tar_of(*entries: tarfile.TarInfo) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return body.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    found.size = size if kind == tarfile.REGTYPE else 0
    return found


@pytest.mark.parametrize(
    "entries",
    [
        [entry("/etc/evil")],
        [entry("../evil")],
        [entry("sub/../../evil")],
        [entry("sub\\evil")],
        [entry("link", tarfile.SYMTYPE, "/etc"), entry("link/evil")],
        [entry("link", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("device", tarfile.CHRTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
        [entry("folder", tarfile.DIRTYPE)],
        [entry(".")],
    ],
)
def test_an_entry_that_is_no_plain_file_inside_is_refused(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(DriverError, match="which is no plain file inside it"):
        unpack(tar_of(*entries), out)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_pack_that_is_too_much_or_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError, match="not a pack"):
        unpack(b"PK\x03\x04 not a tar", tmp_path)
    with pytest.raises(DriverError, match="not a pack"):
        unpack(tar_of(entry("a", size=5000))[:2000], tmp_path / "x")
    monkeypatch.setattr(pack_module, "MAX_BYTES", 10)
    with pytest.raises(DriverError, match="more than a pack may"):
        unpack(tar_of(entry("a", size=6), entry("b", size=6)), tmp_path)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    for second in ("a", "a/b"):
        with pytest.raises(DriverError, match="twice, or as a file and a folder"):
            unpack(tar_of(entry("a"), entry(second)), tmp_path / second)


def sized(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """A header whose size is written as no library would."""
    header = bytearray(entry(name).tobuf(tarfile.USTAR_FORMAT))
    header[124:136], header[156:157] = size.ljust(12, b"\0"), kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


EXTENDING = sized("x", b"17", b"x") + b"15 path=ninetee".ljust(512, b"\0")


@pytest.mark.parametrize(
    "body",
    [
        sized("back", b"\xff" * 12) * 3,  # a size of -1: tarfile would read the same header for ever
        sized("back", b"-1000") * 3,
        sized("far", b"\x80" + b"\0" * 6 + b"\x7f" * 5),
        sized("odd", b"1_0"),
        EXTENDING * 5_000 + sized("a", b"0"),  # one call of tarfile's in another
        sized("x", b"100000", b"x") + b"1" * 32_768 + sized("a", b"0"),  # a pattern of tarfile's would take minutes
        sized("x", b"20", b"x") + b"16 size=-0005120".ljust(512, b"\0") + sized("a", b"0"),
        sized("x", b"40", b"g") + b"22 GNU.sparse.size=9999999999999".ljust(512, b"\0") + sized("a", b"0"),
        sized("sparse", b"0", b"S"),
        sized("odd", b"0", b"V"),
        sized("old/", b"0", b"\0"),
    ],
)
def test_headers_that_lead_tarfile_astray_are_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DriverError, match="that no pack has"):
        unpack(body + bytes(1024), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tar_made_of_a_folder_is_unpacked(tmp_path: Path, form: int) -> None:
    long = "/".join(["a_rather_long_name_of_a_folder"] * 5)  # beyond the 100 characters of a plain header
    folder = folder_of(tmp_path, **{"train": "1", f"{long}/deep": "ä"})
    made = tmp_path / "made.tar"
    with tarfile.open(made, "w", format=form) as archive:
        archive.add(folder, ".")
    out = tmp_path / "out"
    out.mkdir()
    with made.open("rb") as file:
        unpack_tar(file, out, pass_over_folders=True)
    assert pack(out) == pack(folder)
    with made.open("rb") as file, pytest.raises(DriverError, match=r"'\.', which is no plain file"):
        unpack_tar(file, tmp_path / "other")


def test_a_name_too_long_for_the_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="a name that is too long"):
        unpack(tar_of(entry("n" * 300)), tmp_path)
