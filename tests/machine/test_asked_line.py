"""The line of a lock file that says who has asked for a stop: what is believed of it, and that none is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from multi.system import System, linux

KEY = "w1@host"


def line(at: str, boot: str = "") -> bytes:
    """A lock file that nobody has locked, and the line in it."""
    return b" " * 200 + b"\n" + f"stop {boot or linux.boot_id()} {at} pid 1: multi stop w1".encode().ljust(299) + b"\n"


@pytest.mark.parametrize("at", ["inf", "nan", "1e300", "-inf", "soon", ""])
def test_g8_a_stop_of_no_time_cancels_nothing(tmp_path: Path, at: str) -> None:
    """G8: who may write to the file can plant a line: one of the future would cancel each start from now on."""
    lock = tmp_path / "w1.lock"
    lock.write_bytes(line(at))
    with System(signals=()) as machine:
        asked = machine.asked(KEY, str(lock))
    assert asked is None or asked.at <= time.monotonic()


@pytest.mark.parametrize("length", [201, 240, 290, 501])
def test_a_line_that_was_cut_off_is_none_of_the_future(tmp_path: Path, length: int) -> None:
    """A full disk may take a part of it: that part is a time that has been, or nothing."""
    lock = tmp_path / "w1.lock"
    lock.write_bytes(line(repr(time.monotonic()))[:length])
    with System(signals=()) as machine:
        asked = machine.asked(KEY, str(lock))
    assert asked is None or asked.at <= time.monotonic()
    assert asked is None or length > 240


def test_of_another_boot(tmp_path: Path) -> None:
    """The clock began anew since, or it is the clock of another host."""
    lock = tmp_path / "w1.lock"
    lock.write_bytes(line("1.0", "00000000-0000-0000-0000-000000000000"))
    with System(signals=()) as machine:
        assert machine.asked(KEY, str(lock)) is None


def test_a_stop_says_so_again_in_a_new_file(tmp_path: Path) -> None:
    """The lock file was replaced while a stop waited for it: the new one says who has asked for it, too."""
    path = tmp_path / "w1.lock"
    with System(signals=()) as holder, System(signals=()) as waiter:
        assert holder.lock(KEY, str(path), None, None) is None
        assert waiter.lock(KEY, str(path), None, None, "stop") is not None
        path.unlink()
        holder.unlock(KEY)
        while not waiter.holds(KEY):
            assert waiter.wait(waiter.now() + 10.0), "it gets the lock of the new file"
        asked = holder.asked(KEY, str(path))
        assert asked is not None
        assert (asked.at <= time.monotonic(), asked.kills) == (True, False)
