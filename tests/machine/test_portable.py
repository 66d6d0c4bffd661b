"""Machines that can do less: no pidfds, no /proc of Linux. What they see must be the same."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from unittest import mock

import pytest

from multi.act import walk
from multi.machine import MachineError
from multi.model.event import Cleared, Event, Gone, Readied, Skipped
from multi.model.node import Node
from multi.model.process import Proc, ProcessInfo
from multi.model.request import Request, RunOptions, Task
from multi.model.usage import UNTOLD
from multi.system import System, holdings, linux, portable
from multi.system.processes import Processes
from multi.testing.world import node_of
from multi.value import replace
from real import NOBODY, PATIENCE, Real, descriptors, until

TERM = int(signal.SIGTERM)


def same(info: ProcessInfo, other: ProcessInfo) -> bool:
    """Whether two tables say the same of one process; start id, age, cpu time, size and a zombie's status apart."""
    blank = replace(info, proc=other.proc, age=other.age, cpu=other.cpu, rss=other.rss, status=other.status)
    return blank == other


def test_psutil_sees_what_linux_sees(real: Real) -> None:
    """Relations, user, state and instance of a family are the same in both tables; so are words and absence."""
    family = ("plain", "group", "session", "orphan", "bare", "zombie")
    touched = real.base / "touched"
    worker = real.worker(*(word for kind in family for word in ("--child", kind)), "--touch", str(touched))
    real.start("a", cmd=worker).ok()
    until(touched.exists, "the family is complete")
    ours = {*real.family(), real.pid("a")}
    mother = real.pid("a")
    zombies = until(
        lambda: {pid for pid, info in linux.table()[0].items() if info.ppid == mother and info.gone},
        "the zombie has closed its files, and is gone after that",
    )
    assert len(zombies) == 1
    infos, others = linux.table()[0], portable.table()[0]
    linux_sees, others_see = Processes(procfs=True), Processes(procfs=False)
    for pid in ours | zombies:
        assert same(others[pid], infos[pid])
        assert portable.cmdline(pid) == linux.cmdline(pid)
        assert portable.executed(pid) == linux.executed(pid) == linux.cmdline(pid)
        assert (others_see.start_id(pid) is None) == (linux_sees.start_id(pid) is None) == (pid in zombies)
    assert abs(others[real.pid("a")].age - linux.table()[0][real.pid("a")].age) < 5
    for nobody in (2**22 + 1, 2**31 - 1, 10**9, -1):
        assert portable.look(nobody) is None
        assert others_see.start_id(nobody) is None
        assert portable.cmdline(nobody) == ()
        assert portable.executed(nobody) == ()


def test_psutil_says_what_linux_says_of_holdings(real: Real) -> None:
    """Open files, bytes read and written and proportional memory are the same in both."""
    touched = real.base / "touched"
    reads = f"import time; x = bytearray(1 << 24); f = open({str(touched)!r}, 'w'); time.sleep(600)"
    process = real.popen(sys.executable, "-c", reads)
    until(touched.exists, "it has its memory and its file")
    proc = Proc(process.pid, "")
    both = [holdings.of(proc, pss=True, procfs=procfs) for procfs in (True, False)]
    assert both[0].files == both[1].files == len(descriptors(process.pid))
    assert (both[0].read, both[0].written) == (both[1].read, both[1].written)
    assert both[0].pss is not None
    assert both[1].pss is not None
    assert abs(both[0].pss - both[1].pss) < 1 << 22
    assert both[0].pss >= 1 << 24
    assert [holdings.of(Proc(2**22 + 1, ""), pss=True, procfs=procfs) for procfs in (True, False)] == [UNTOLD] * 2


@pytest.mark.root
def test_what_another_user_hides_is_unknown(real: Real) -> None:
    """Of root's process nobody else is told what it reads and writes, nor its proportional memory."""
    foreign, own = real.popen("sleep", "600"), real.popen("sleep", "600", user=NOBODY)
    for procfs in (True, False):
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            hidden, told = (holdings.of(Proc(each.pid, ""), pss=True, procfs=procfs) for each in (foreign, own))
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert (hidden.read, hidden.written, hidden.pss) == (None, None, None)
        assert None not in {told.files, told.read, told.written, told.pss}


def test_births_are_stable(real: Real) -> None:
    """Two looks at one process give one identity, two processes two."""
    one, two = real.popen("sleep", "600"), real.popen("sleep", "600")
    for seen in (Processes(procfs=True), Processes(procfs=False)):
        assert seen.start_id(one.pid) == seen.start_id(one.pid)
        assert f"{one.pid}:{seen.start_id(one.pid)}" != f"{two.pid}:{seen.start_id(two.pid)}"


def node(real: Real) -> Node:
    """A node of this test, with its directories."""
    for directory in (real.run, real.log):
        directory.mkdir(exist_ok=True)
    return node_of(
        "a",
        stop="TERM/0.3/KILL/5",
        argv=tuple(_words(real)),
        pidfile=str(real.pidfile("a")),
        logfile=str(real.logfile("a")),
        startsecs=0.0,
    )


def _words(real: Real) -> list[str]:
    import shlex

    return shlex.split(real.worker("--ignore", "TERM", "--child", "session", "--touch", str(real.base / "touched")))


def loop(real: Real, command: str, system: Callable[[], System] = System) -> list[Event]:
    """One command on a machine that can do less."""
    with mock.patch.dict(os.environ, real.env, clear=True), system() as machine:
        return list(walk([Task(node(real), Request(command))], RunOptions(), machine))


NO_PIDFD = partial(System, pidfd=False)
NO_PROC = partial(System, pidfd=False, procfs=False)


@pytest.mark.parametrize("system", [NO_PIDFD, NO_PROC], ids=["no pidfd", "no pidfd, no /proc"])
def test_a_whole_life(real: Real, system: Callable[[], System]) -> None:
    """Start, start again, restart and stop, with a tree that only KILL ends (G1, G2, G5)."""
    assert isinstance(loop(real, "start", system)[-1], Readied)
    until((real.base / "touched").exists, "the family is complete")
    (first,) = real.processes("a")
    (again,) = loop(real, "start", system)
    assert isinstance(again, Skipped)
    assert again.pid == first
    (real.base / "touched").unlink()
    assert isinstance(loop(real, "restart", system)[-1], Readied)
    until((real.base / "touched").exists, "the family is complete")
    assert len(real.processes("a")) == 1
    told = loop(real, "stopwait", system)
    assert any(isinstance(each, Gone) for each in told)
    assert isinstance(told[-1], Cleared)
    assert real.family() == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_pidfds_that_are_forbidden(real: Real, code: int) -> None:
    """A kernel that has no pidfds, or a sandbox that forbids them, is found out before anything depends on them."""
    with mock.patch("os.pidfd_open", side_effect=OSError(code, os.strerror(code))):
        assert isinstance(loop(real, "start")[-1], Readied)
        until((real.base / "touched").exists, "the family is complete")
        assert isinstance(loop(real, "stopwait")[-1], Cleared)
    assert real.family() == []


def test_all_on_one_machine_agree_who_is_who(real: Real) -> None:
    """A record that was written with pidfds is read without them, and the other way round (G2)."""
    loop(real, "start")
    (pid,) = real.processes("a")
    (again,) = loop(real, "start", NO_PIDFD)
    assert isinstance(again, Skipped)
    assert again.pid == pid
    assert isinstance(loop(real, "stopwait", NO_PIDFD)[-1], Cleared)
    loop(real, "start", NO_PIDFD)
    (again,) = loop(real, "start")
    assert isinstance(again, Skipped)


def show_without_words(monkeypatch: pytest.MonkeyPatch, pid: int, looks: int) -> None:
    """Let the kernel show this process as in the middle of execve(2) for so many looks."""
    read, place, left = linux._slurp, linux._stat_text, looks  # noqa: SLF001 -- what the kernel shows is made up

    def slurp(path: str, limit: int, buffer: bytearray | None = None) -> bytes:
        nonlocal left
        if left and path == f"/proc/{pid}/environ":
            left -= 1
            return b""
        if left and path == f"/proc/{pid}/cmdline":
            return b""
        return read(path, limit, buffer)

    def stat_text(asked: int) -> bytes:
        fields = place(asked).split()
        if left and asked == pid:
            fields[48] = b"0"  # where its environment ends
        return b" ".join(fields)

    monkeypatch.setattr(linux, "_slurp", slurp)
    monkeypatch.setattr(linux, "_stat_text", stat_text)


def test_who_is_in_the_middle_of_execve_is_looked_at_again(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment a process has neither words nor environment; a look waits until it tells whose it is (G2, G5)."""
    real.start("a").ok()
    pid = real.pid("a")
    monkeypatch.setattr(linux, "_EXEC_SECONDS", PATIENCE)
    show_without_words(monkeypatch, pid, 9)
    info = linux.table()[0][pid]
    assert info.instance is not None
    assert info.instance.pid == pid


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("machine", [System, NO_PIDFD], ids=["pidfd", "no pidfd"])
def test_who_cannot_be_looked_at_just_now_is_not_gone(
    real: Real, machine: Callable[[], System], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where descriptors or memory have run out, that is an error, and not the end of a process (G1, G3)."""
    real.start("a").ok()
    with machine() as system:
        proc = system.processes().by_pid[real.pid("a")].proc
        refuse(monkeypatch, proc.pid, code)
        with pytest.raises(OSError, match=os.strerror(code)):
            system.processes()
        with pytest.raises(MachineError, match=os.strerror(code)):
            system.signal(proc, TERM)
        with nullcontext() if machine is NO_PIDFD else pytest.raises(MachineError, match=os.strerror(code)):
            system.watch("a", proc)
        assert system.wait(system.now() + 0.05) == []


def refuse(monkeypatch: pytest.MonkeyPatch, pid: int, code: int) -> None:
    """Let the kernel show nothing of that process."""
    slurp, place = linux._slurp, linux._stat_text  # noqa: SLF001 -- the two places where files of /proc are read

    def refused(path: str, limit: int, buffer: bytearray | None = None) -> bytes:
        if path.startswith(f"/proc/{pid}/"):
            raise OSError(code, os.strerror(code))
        return slurp(path, limit, buffer)

    def stat_text(asked: int) -> bytes:
        if asked == pid:
            raise OSError(code, os.strerror(code))
        return place(asked)

    monkeypatch.setattr(linux, "_slurp", refused)
    monkeypatch.setattr(linux, "_stat_text", stat_text)


def test_who_hangs_in_the_middle_of_execve_holds_up_nobody(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that does not answer it may stay so for ever: the look ends all the same, with all others in it."""
    real.start("a", "b").ok()
    show_without_words(monkeypatch, real.pid("a"), 1_000_000)
    infos = linux.table()[0]
    assert infos[real.pid("a")].instance is None
    assert infos[real.pid("b")].instance is not None


def test_a_boot_id_that_is_hidden(real: Real) -> None:
    """Where only the processes of /proc can be seen, births still tell processes apart."""
    linux.boot_id.cache_clear()
    try:
        with mock.patch("multi.system.linux._slurp", side_effect=PermissionError):
            assert linux.boot_id() == "boot"
        seen = Processes(procfs=True)
        assert seen.start_id(real.popen("sleep", "600").pid) != seen.start_id(os.getpid())
    finally:
        linux.boot_id.cache_clear()
