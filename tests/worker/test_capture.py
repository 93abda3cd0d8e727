"""What trials write is kept at the level of file descriptors, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from optml_queue.worker.capture import (
    END_BYTES,
    HEAD_BYTES,
    LEFT_OUT,
    LIMIT_BYTES,
    OUTPUT,
    TAIL_BYTES,
    cut,
    end_of,
    read,
    text_of,
)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    head = f"""
    import ctypes, logging, os, subprocess, sys, time, warnings
    from pathlib import Path
    from optml_queue.worker.capture import Capture
    logging.basicConfig(handlers=[logging.StreamHandler(sys.stderr)], level=logging.INFO, format="%(message)s")
    capture = Capture(Path({str(folder)!r}))
    capture.start()
    """
    program = dedent(head) + dedent(code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


def test_all_that_writes_is_kept_in_order_and_the_log_is_not(tmp_path: Path) -> None:
    done = python(
        """
        capture.begin()
        print("python")
        os.write(1, b"descriptor\\n")
        ctypes.CDLL(None).puts(b"library")
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["sh", "-c", "echo process; echo error >&2"])
        logging.info("of the worker")
        print("no line's end", end="")
        first = capture.end()
        capture.begin()
        assert capture.end() == b""
        logging.info(repr(first))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    log = done.stderr.splitlines()
    assert log == ["of the worker", repr(b"python\ndescriptor\nlibrary\nprocess\nerror\nno line's end")]


def test_a_crash_leaves_what_was_written_and_where_it_was(tmp_path: Path) -> None:
    done = python("capture.begin()\nprint('before')\ndef deep(): ctypes.string_at(0)\ndeep()", tmp_path)
    assert done.returncode == -11
    output = read(tmp_path)
    assert output.startswith(b"before\nFatal Python error: Segmentation fault")
    assert b"in deep" in output


def test_a_flood_is_cut_while_it_comes(tmp_path: Path) -> None:
    done = python(
        """
        capture.begin()
        print("first")
        largest = 0
        for _ in range(40):
            os.write(1, b"x" * 2**19)
            largest = max(largest, os.stat(capture._folder / "output").st_size)
            time.sleep(0.02)
        print("last")
        output = capture.end()
        assert largest < 2**23, largest
        logging.info("%d %r %r", len(output), output[:6], output[-5:])
        """,
        tmp_path,
    )
    length = HEAD_BYTES + len(LEFT_OUT) + TAIL_BYTES
    assert done.stderr == f"{length} {b'first' + bytes([10])!r} {b'last' + bytes([10])!r}\n"


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES, LIMIT_BYTES])
def test_what_is_within_the_limits_is_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / OUTPUT).write_bytes(content)
    cut(tmp_path, LIMIT_BYTES)
    assert (tmp_path / OUTPUT).stat().st_size == size
    if size <= HEAD_BYTES + TAIL_BYTES:
        assert read(tmp_path) == content
    else:
        assert read(tmp_path) == content[:HEAD_BYTES] + LEFT_OUT + content[-TAIL_BYTES:]


def test_what_comes_after_a_cut_joins_what_came_before(tmp_path: Path) -> None:
    content = os.urandom(LIMIT_BYTES + 1)
    (tmp_path / OUTPUT).write_bytes(content)
    cut(tmp_path, LIMIT_BYTES)
    assert (tmp_path / OUTPUT).stat().st_size == HEAD_BYTES
    with (tmp_path / OUTPUT).open("ab") as file:
        file.write(b"the end")
    assert read(tmp_path) == content[:HEAD_BYTES] + LEFT_OUT + (content + b"the end")[-TAIL_BYTES:]


def test_where_nothing_was_written_there_is_nothing(tmp_path: Path) -> None:
    cut(tmp_path, LIMIT_BYTES)
    assert read(tmp_path / "absent") == b""


def test_the_end_begins_with_a_line_and_is_fit_for_a_terminal() -> None:
    assert end_of(b"short\n") == "short\n"
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    assert end_of(lines).startswith("line ")
    assert end_of(lines).endswith("line 4999\n")
    assert len(end_of(lines)) <= END_BYTES
    assert text_of(b"\x1b[2Jtab\there\x07\r\nnew\rline") == "[2Jtab\there\nnew\nline"
