"""Processes that have nothing to do with `multi`, and that it must never touch: with a pid of our choice, if need be.

    with bystander(tmp_path, pid=4711) as other:
        ...
        other.untouched()

A pid is chosen by telling the kernel which it gave last (``/proc/sys/kernel/ns_last_pid``, root only). Another process
may be faster, so it is tried again until it works. What else is started meanwhile gets pids near it, which others have
only just given up; so the kernel is told at once afterwards to go on from where it was. `reaping` makes sure that a pid
is free as soon as its process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from real import WORKER, stat, until

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SECONDS = 60.0  # to get one certain pid on a busy machine


@dataclass(frozen=True, slots=True)
class Bystander:
    """A process that writes down each signal it gets; `birth` is its start in the kernel's ticks."""

    pid: int
    start_id: int
    tally: Path

    def untouched(self) -> None:
        """Fail if it is gone, is another process, or ever got a signal."""
        found = stat(self.pid)
        assert found is not None, f"{self.pid} is gone"
        assert found.start_id == self.start_id
        assert found.state not in "TtZX"
        heard = self.tally.read_text(encoding="ascii") if self.tally.exists() else ""
        assert heard == ""


@contextlib.contextmanager
def bystander(directory: Path, *, pid: int | None = None, words: Sequence[str] = ()) -> Iterator[Bystander]:
    """Give a process with the pid, or any; `words` are further words of its command line. It is gone at the end."""
    tally, ready = directory / "bystander.tally", directory / "bystander.ready"
    tally.unlink(missing_ok=True)
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-I", "-S", WORKER, "--tally", str(tally), "--touch", str(ready), "--", *words]
    got = _fork_as(pid, argv)
    try:
        until(ready.exists, "the bystander is ready")
        found = stat(got)
        assert found is not None
        yield Bystander(got, found.start_id, tally)
    finally:
        os.kill(got, signal.SIGKILL)
        os.waitpid(got, 0)


def _fork_as(pid: int | None, argv: Sequence[str]) -> int:
    deadline = time.monotonic() + _SECONDS
    while True:
        wait, go = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the tests' other threads hold nothing that it needs
            with next_pid(pid):
                got = os.fork()
        if got == 0:
            os.close(go)
            if os.read(wait, 1):
                os.execv(argv[0], list(argv))  # noqa: S606 -- no shell in between, whose pid it would be
            os._exit(0)
        os.close(wait)
        if pid is None or got == pid:
            os.write(go, b"g")
            os.close(go)
            return got
        os.close(go)
        os.waitpid(got, 0)
        assert time.monotonic() < deadline, f"pid {pid} cannot be had"


@contextlib.contextmanager
def next_pid(pid: int | None) -> Iterator[None]:
    """What is forked next, by whoever is first, gets this pid if it is free; root only. Nothing is done for None."""
    if pid is None:
        yield
        return
    with Path(__file__).open(encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two who do this at once would leave the kernel among pids in use
        ours, last = os.getpid(), LAST_PID.read_text(encoding="ascii")
        LAST_PID.write_text(str(pid - 1), encoding="ascii")
        try:
            yield
        finally:
            if os.getpid() == ours:  # not what was forked, which has a copy of the lock
                LAST_PID.write_text(last, encoding="ascii")
                fcntl.flock(lock, fcntl.LOCK_UN)


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """Be the parent of every orphan below us, and wait for those that end: init may take seconds for that."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def end(pid: int) -> None:
    """KILL a process behind everybody's back, and see that its pid is free. Its parent is init or we.

    The kernel counts starts in ticks, so whoever gets the pid within the same hundredth of a second has the same birth:
    that tick is over when this returns.
    """
    found = stat(pid)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    until(lambda: stat(pid) is None, f"{pid} is gone and reaped")
    if found is not None:
        ticks = os.sysconf("SC_CLK_TCK")
        until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * ticks > found.start_id + 2, "another tick has begun")
