"""Logs that are told of as they grow: whole lines, woken by the kernel."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from multi.model.happening import Printed
from multi.system import System
from multi.system.inotify import CREATED, MODIFY, MOVED_TO, ONLY_DIRECTORIES, Inotify

_SECONDS = 20.0


@contextmanager
def following(log: Path, offset: int = 0, *, bounded: bool = False) -> Iterator[System]:
    """A machine that follows the log."""
    with System() as machine:
        machine.follow("w", str(log), offset, bounded=bounded)
        yield machine


def add(log: Path, data: bytes) -> None:
    """Print it."""
    with log.open("ab") as file:
        file.write(data)


def told(machine: System, lines: int) -> list[str]:
    """The next so many lines."""
    end = time.monotonic() + _SECONDS
    found: list[str] = []
    while len(found) < lines and time.monotonic() < end:
        for one in machine.wait(end):
            assert isinstance(one, Printed)
            found += one.lines
    assert len(found) == lines, found
    return found


def told_all(machine: System) -> list[str]:
    """The lines up to the last."""
    found = told_some(machine)
    while more := told_some(machine):
        found += more
    return found


def told_some(machine: System) -> list[str]:
    """What comes within a second, if anything does."""
    happenings = machine.wait(time.monotonic() + 1.0)
    return [line for one in happenings if isinstance(one, Printed) for line in one.lines]


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    """A log with a history begins where it ended, and lines that were added before we came are not missed."""
    log = tmp_path / "w.log"
    add(log, b"old\nnew\n")
    with following(log, 4) as machine:
        assert told(machine, 1) == ["new"]
        add(log, b"newer\n")
        assert told(machine, 1) == ["newer"]


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    """It is told of from its first line, also when its directory comes later."""
    log = tmp_path / "logs" / "w.log"
    with following(log) as machine:
        log.parent.mkdir()
        add(log, b"first\n")
        machine.follow("w", str(log), 0, bounded=False)
        assert told(machine, 1) == ["first"]


def test_a_line_without_its_end_waits_a_while(tmp_path: Path) -> None:
    """Then it is told as it is, and its end, once it comes, is no line of its own."""
    log = tmp_path / "w.log"
    with following(log) as machine:
        began = time.monotonic()
        add(log, b"Password: ")
        assert told(machine, 1) == ["Password: "]
        assert time.monotonic() - began > 0.4
        add(log, b"\nok\n")
        assert told(machine, 1) == ["ok"]
        add(log, b"rest")
        assert machine.printed("w") == ("rest",)
        assert machine.printed("w") == ()


def test_bytes_and_long_lines(tmp_path: Path) -> None:
    """No character is cut in two, no byte is lost, and a line of a megabyte comes in pieces."""
    log = tmp_path / "w.log"
    with following(log) as machine:
        add(log, b"\xff\x00x\xe2\x82")
        assert told(machine, 1) == ["\udcff\x00x"]
        add(log, b"\xac\n")
        assert told(machine, 1) == ["€"]
        add(log, ("€" * 350_000 + "\n").encode())
        assert "".join(told_all(machine)) == "€" * 350_000


def test_rotation_and_truncation(tmp_path: Path) -> None:
    """The log that was moved away is read to its end before the one that took its name; a truncated one begins anew."""
    log = tmp_path / "w.log"
    add(log, b"")
    with following(log) as machine:
        log.rename(tmp_path / "w.log.1")
        add(tmp_path / "w.log.1", b"late\n")
        assert told(machine, 1) == ["late"]
        add(log, b"one\n")
        assert told(machine, 1) == ["one"]
        add(log, b"two\n")
        assert told(machine, 1) == ["two"]
        os.truncate(log, 0)
        add(log, b"three\n")
        assert told(machine, 1) == ["three"]


def test_nobody_is_woken_while_nothing_is_written(tmp_path: Path) -> None:
    """What others write beside the log is no reason to wake up."""
    log = tmp_path / "w.log"
    add(log, b"")
    with following(log) as machine:
        before = time.process_time()
        assert list(machine.wait(time.monotonic() + 1.0)) == []
        assert time.process_time() - before < 0.05
        add(tmp_path / "other.log", b"x\n")
        assert list(machine.wait(time.monotonic() + 0.2)) == []


def test_a_log_whose_directory_came_late_wakes_nobody_either(tmp_path: Path) -> None:
    """It is looked at now and then only until the kernel can watch it."""
    log = tmp_path / "run" / "w.output"
    with following(log) as machine:
        log.parent.mkdir()
        add(log, b"first\n")
        assert told(machine, 1) == ["first"]  # by a look
        machine.follow("w", str(log), 0, bounded=False)
        add(log, b"second\n")
        assert told(machine, 1) == ["second"]
        assert not machine.poller._timers  # noqa: SLF001 -- what would wake it


def test_a_log_that_the_kernel_cannot_watch_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the user has no inotify instance left, or no watch: its lines are told a little later."""
    log = tmp_path / "w.log"
    add(log, b"")
    for refused in (MODIFY, CREATED | MOVED_TO | ONLY_DIRECTORIES):
        kept = Inotify.add

        def refuse(self: Inotify, path: str, mask: int, refused: int = refused) -> int:
            return -1 if mask == refused else kept(self, path, mask)  # noqa: B023 -- used in this turn alone

        with monkeypatch.context() as patch:
            patch.setattr(Inotify, "add", refuse)
            with following(log, log.stat().st_size) as machine:
                add(log, b"seen\n")
                assert told(machine, 1) == ["seen"]


def test_a_terminal_that_lags_far_behind_shows_what_is_printed_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three megabytes behind, it passes over all but the last lines, and says how much that was."""
    log = tmp_path / "w.log"
    add(log, b"")
    monkeypatch.setattr(os, "isatty", lambda _: True)
    with following(log) as machine:
        add(log, b"".join(b"%07d\n" % number for number in range(400_000)))
        lines = told_all(machine)
    assert lines[0].startswith("[... 3.0M not shown ...]")
    assert lines[1:] == [f"{number:07}" for number in range(400_000 - len(lines) + 1, 400_000)]


class Musl(ctypes.CDLL):
    """A C library as musl is: its fallocate has a long offset, and no second name."""

    asked = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, D105 -- ctypes has no type for it
        if name == "fallocate64":
            raise AttributeError(name)
        Musl.asked = Musl.asked or name == "fallocate"
        return super().__getattr__("fallocate64" if name == "fallocate" else name)


@pytest.mark.parametrize("library", ["glibc", "musl"])
def test_a_bounded_log_gives_its_room_back(tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is no longer on the disk, but for the last megabytes; the size stays, and nothing is missed."""
    if library == "musl":
        if not hasattr(ctypes.CDLL(None), "fallocate64"):
            pytest.skip("this is musl")
        monkeypatch.setattr(ctypes, "CDLL", Musl)
    log = tmp_path / "w.output"
    with following(log, bounded=True) as machine:
        for _ in range(10):
            add(log, (b"y" * 1023 + b"\n") * 1024)
            told(machine, 1024)
        found = log.stat()
        assert found.st_size == 10 << 20
        assert Musl.asked or library == "glibc"
        if found.st_blocks * 512 >= found.st_size:
            pytest.skip("this file system has no holes")
        assert found.st_blocks * 512 < 4 << 20
        add(log, b"last\n")
        assert told(machine, 1) == ["last"]
