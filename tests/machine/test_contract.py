"""One contract, four machines: the made-up one, the real one, and the real one with less to work with.

Whatever the tests of the program learn on the made-up machine is true only as far as this file goes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from unittest import mock

import pytest

from multi.machine import (
    INSTANCE,
    INSTANCE_NODE,
    INSTANCE_PIDFILE,
    File,
    FileWrite,
    Holder,
    Hook,
    Launch,
    Machine,
    MachineError,
    Unreadable,
)
from multi.model.happening import (
    Changed,
    Ended,
    Executed,
    Happening,
    HookDone,
    LaunchFailed,
    Locked,
    Notified,
    Prepared,
    Probed,
)
from multi.model.process import Instance, Proc, ProcessInfo
from multi.system import System
from multi.testing.world import Child, Entry, Fake, Nature, World
from real import NOBODY, PATIENCE, Real, until
from systems import SYSTEMS

H = TypeVar("H")
T = TypeVar("T")
TERM, KILL, USR1 = (int(one) for one in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1))
STOP, CONT = int(signal.SIGSTOP), int(signal.SIGCONT)
KEY = "w1@host"


class Bench(Protocol):
    """A machine to test, and what a test needs beside it."""

    run: str  # a directory

    @property
    def machine(self) -> Machine:
        """Give the machine under test."""

    def another(self) -> Machine:
        """Give one more `multi` on the same machine."""

    def program(self, kind: str) -> tuple[str, ...]:
        """Words of a program of that kind; the kinds are the keys of `KINDS`."""

    def stranger(self, uid: int = 0) -> Proc:
        """Give a process that no `multi` started."""

    def end(self, proc: Proc) -> None:
        """End a stranger, and let its parent know."""

    def put(self, name: str, kind: str, data: bytes = b"") -> str:
        """Put a ``file``, ``directory``, ``symbolic link`` or ``FIFO`` below `run`; its path."""

    def as_nobody(self) -> contextlib.AbstractContextManager[object]:
        """Be an unprivileged user for a while."""

    def answers(self, kind: str) -> tuple[str, str]:
        """Something to probe that says yes, and something that says no."""

    def prints(self, text: str, *, ends: bool) -> str:
        """Give a command that prints a line and this text, and then fails or never `ends`."""


# Kind of program -> its nature in the made-up world, and the words that make it in the real one.
KINDS: Mapping[str, tuple[Nature, tuple[str, ...]]] = {
    "lives": (Nature(), ()),
    "ignores TERM": (Nature(ignores=frozenset({TERM})), ("--ignore", "TERM")),
    "ends with 3 on TERM": (Nature(ends={TERM: (0.05, 3)}), ("--exit", "3", "--finish", "0.05")),
    "exits with 4": (Nature(lives=0.0, status=4), ("--exit", "4")),
    "says": (Nature(says=((0.0, {"READY": "1", "STATUS": "fine"}),)), ("--notify", "READY=1\nSTATUS=fine\nnonsense")),
    "shows a title": (Nature(title="[worker: busy]"), ("--title", "[worker: busy]")),
    "shows one word": (Nature(title="busy"), ("--title", "busy")),
    "prints": (Nature(prints=((0.0, b"hello\n"),)), ("--print", "hello")),
    "has children": (
        Nature(
            children=(
                Child(nature=Nature()),
                Child(nature=Nature(), session=True),
                Child(nature=Nature(), orphan=True, session=True),
                Child(nature=Nature(), bare=True),
            )
        ),
        ("--child", "plain", "--child", "session", "--child", "orphan", "--child", "bare"),
    ),
    "has a zombie": (Nature(children=(Child(nature=Nature(lives=0.0, unreaped=True)),)), ("--child", "zombie")),
    "cannot be found": (Nature(setup_fails=("cannot find the program 'nowhere'", "check --cmd", 2)), ()),
    "cannot be executed": (Nature(exec_fails=("cannot execute it", "a script needs a first line", 8)), ()),
}


@dataclass
class FakeBench:
    """The made-up machine."""

    world: World = field(default_factory=World)
    run: str = "/run"

    def __post_init__(self) -> None:
        """Take one `multi` of it."""
        self.machine = self.world.fake()

    def another(self) -> Machine:
        """Give one more."""
        return self.world.fake()

    def program(self, kind: str) -> tuple[str, ...]:
        """The next process is of that kind."""
        self.world.nature = KINDS[kind][0]
        return "program", kind

    def stranger(self, uid: int = 0) -> Proc:
        """Put one into the world."""
        return self.world.add(uid=uid).proc

    def end(self, proc: Proc) -> None:
        """Take it out again."""
        self.world.end(self.world.bodies[proc.pid], 0)

    def put(self, name: str, kind: str, data: bytes = b"") -> str:
        """Make an entry."""
        self.world.files[f"/run/{name}"] = Entry(data, kind=kind, mtime=self.world.wall, mode=0o640)
        return f"/run/{name}"

    @contextlib.contextmanager
    def as_nobody(self) -> Iterator[None]:
        """Change who we are."""
        assert isinstance(self.machine, Fake)
        self.machine.uid = NOBODY
        yield
        self.machine.uid = 0

    def answers(self, kind: str) -> tuple[str, str]:
        """Answers are made up, too."""
        self.world.answers[f"{kind} yes"] = 0.0
        return f"{kind} yes", f"{kind} no"

    def prints(self, text: str, *, ends: bool) -> str:
        """What is printed is made up, too."""
        if not ends:
            self.world.probe_takes = 1e6
        self.world.probe_prints["talks"] = text
        return "talks"


@dataclass
class RealBench:
    """The real machine."""

    real: Real
    system: Callable[[], System]
    stack: contextlib.ExitStack
    known: dict[int, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the door."""
        self.machine = self.another()
        self.run = str(self.real.base / "there")
        Path(self.run).mkdir()

    def another(self) -> Machine:
        """Open one more door."""
        return self.stack.enter_context(self.system())

    def program(self, kind: str) -> tuple[str, ...]:
        """Words for the tiny worker, or a file that is none."""
        if kind == "cannot be found":
            return ("nowhere", "at", "all")
        if kind == "cannot be executed":
            path = self.real.base / "script"
            path.write_text("echo there is no first line that says who reads this\n", encoding="ascii")
            path.chmod(0o755)
            return (str(path),)
        return tuple(shlex.split(self.real.worker(*KINDS[kind][1])))

    def stranger(self, uid: int = 0) -> Proc:
        """Start a sleep."""
        process = self.real.popen("sleep", "600", user=uid or None)
        self.known[process.pid] = process
        return until(lambda: row_of(self.machine, process.pid), "the stranger is seen").proc

    def end(self, proc: Proc) -> None:
        """Kill it and wait for it."""
        for process in self.real.known:
            if process.pid == proc.pid:
                process.kill()
                process.wait(PATIENCE)

    def put(self, name: str, kind: str, data: bytes = b"") -> str:
        """Make it."""
        path = Path(self.run) / name
        if kind == "file":
            path.write_bytes(data)
            path.chmod(0o640)
        elif kind == "directory":
            path.mkdir()
        elif kind == "symbolic link":
            path.symlink_to("/etc/passwd")
        else:
            os.mkfifo(path)
        return str(path)

    @contextlib.contextmanager
    def as_nobody(self) -> Iterator[None]:
        """Take the effective rights away for a while."""
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    def answers(self, kind: str) -> tuple[str, str]:
        """A port that listens and one that does not, or a command that fails."""
        if kind == "exec":
            return "true", "false"
        import socket

        listening = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            free = closed.getsockname()[1]
        return f"127.0.0.1:{listening.getsockname()[1]}", f"127.0.0.1:{free}"

    def prints(self, text: str, *, ends: bool) -> str:
        """A shell, which prints to both outputs."""
        line = f"echo first; echo {shlex.quote(text)} >&2; {'exit 1' if ends else 'exec sleep 599'}"
        return shlex.join(("sh", "-c", line))


@pytest.fixture(params=["made up", "real", "no pidfd", "portable"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give each machine in turn."""
    if request.param == "made up":
        yield FakeBench()
        return
    real: Real = request.getfixturevalue("real")
    with mock.patch.dict(os.environ, real.env, clear=True), contextlib.ExitStack() as stack:
        yield RealBench(real, SYSTEMS[request.param], stack)
        real.expect_left(*real.family())  # the door is tested here, not who cleans up: nothing is put on record


# --- words of the tests -------------------------------------------------------------------------------


def row_of(machine: Machine, pid: int) -> ProcessInfo | None:
    """Look at one process; None when it is gone or a zombie."""
    info = machine.processes().by_pid.get(pid)
    return info if info is not None and not info.gone else None


def is_gone(machine: Machine, proc: Proc) -> bool:
    """Whether a process is in no process table any more. Its pid may be another process's by now."""
    info = row_of(machine, proc.pid)
    return info is None or info.proc != proc


def launch(bench: Bench, kind: str, *, key: str = KEY, machine: Machine | None = None, **more: str | None) -> None:
    """Ask for a process of that kind."""
    machine = machine or bench.machine
    env = ((INSTANCE, "f" * 32), (INSTANCE_NODE, key), (INSTANCE_PIDFILE, f"{bench.run}/w1.pid"), *more.items())
    machine.launch(key, Launch(argv=bench.program(kind), env=env, logfile=f"{bench.run}/w1.log"))


def hear(machine: Machine, kind: type[H], seconds: float = PATIENCE) -> H:
    """Wait until something of that kind happens; what happens before it is forgotten."""
    end = machine.now() + seconds
    heard: list[Happening] = []
    while machine.now() < end:
        for happening in machine.wait(end):
            heard.append(happening)
            if isinstance(happening, kind):
                return happening
    raise AssertionError(f"no {kind.__name__} in {seconds:g} s, but {heard}")


def nothing(machine: Machine, seconds: float = 0.1) -> None:
    """Hear nothing for a while."""
    end = machine.now() + seconds
    while machine.now() < end:
        assert machine.wait(end) in ([], ())


def eventually(machine: Machine, condition: Callable[[], T | None], what: str) -> T:
    """Wait on the machine's own clock until `condition` is true; what happens meanwhile is forgotten."""
    end = machine.now() + PATIENCE
    while not (found := condition()):
        assert machine.now() < end, f"never: {what}"
        machine.wait(machine.now() + 0.01)
    return found


def carrying(machine: Machine, proc: Proc) -> ProcessInfo | None:
    """Look at a process that carries its instance by now."""
    info = row_of(machine, proc.pid)
    return info if info is not None and info.instance is not None else None


def running(bench: Bench, kind: str, *, key: str = KEY, machine: Machine | None = None, **more: str | None) -> Proc:
    """Start a process of that kind and see it past the gate."""
    machine = machine or bench.machine
    launch(bench, kind, key=key, machine=machine, **more)
    proc = hear(machine, Prepared).proc
    machine.open_gate(key)
    assert hear(machine, Executed) == Executed(key)
    return proc


def settled(bench: Bench, kind: str) -> Proc:
    """Start a process that handles signals, and see that it does so by now."""
    proc = running(bench, kind)
    if isinstance(bench, RealBench):
        mask = 1 << (TERM - 1)
        until(lambda: any(int(_status(proc, name), 16) & mask for name in ("SigIgn", "SigCgt")), "it handles TERM")
    return proc


def _status(proc: Proc, name: str) -> str:
    from real import status

    return status(proc.pid).get(name, "0")


# --- processes ------------------------------------------------------------------------------------------


def test_launch_and_gate(bench: Bench) -> None:
    """A process stands at the gate until it is opened; then it is the main process, and says so."""
    machine = bench.machine
    launch(bench, "lives")
    proc = hear(machine, Prepared).proc
    waiting = row_of(machine, proc.pid)
    assert waiting is not None
    assert waiting.instance is None
    nothing(machine)
    machine.open_gate(KEY)
    assert hear(machine, Executed) == Executed(KEY)
    info = eventually(machine, lambda: carrying(machine, proc), "it carries its instance")
    assert info.proc == proc
    assert info.instance == Instance("f" * 32, proc.pid, KEY, f"{bench.run}/w1.pid")
    assert info.pgrp == proc.pid
    assert info.session != proc.pid
    assert info.uid == machine.me().uid
    assert 0 <= info.age < PATIENCE
    assert machine.exists(proc.pid)
    assert eventually(machine, lambda: machine.cmdline(proc.pid), "it has words") == bench.program("lives")
    assert isinstance(machine.read(f"{bench.run}/w1.log", 100), File)


@pytest.mark.parametrize("kind", ["shows a title", "shows one word"])
def test_a_title_is_no_command(bench: Bench, kind: str) -> None:
    """What a process was executed with is told as long as it shows it, and not once it shows a title."""
    machine = bench.machine
    plain, titled = running(bench, "lives"), running(bench, kind, key="another")
    assert eventually(machine, lambda: machine.executed(plain.pid), "it has words") == machine.cmdline(plain.pid)
    eventually(machine, lambda: KINDS[kind][0].title in machine.cmdline(titled.pid)[:1], "it shows its title")
    assert machine.executed(titled.pid) == ()


def test_shut_gate(bench: Bench) -> None:
    """A process that is sent away executes nothing, and its end is told."""
    machine = bench.machine
    launch(bench, "prints")
    proc = hear(machine, Prepared).proc
    machine.shut_gate(KEY)
    ended = hear(machine, Ended)
    assert (ended.key, ended.proc) == (KEY, proc)
    assert is_gone(machine, proc)
    assert machine.log_begin(KEY, f"{bench.run}/w1.log", 100) == b""


def test_release_shuts_the_gate(bench: Bench) -> None:
    """What is forgotten at the gate is sent away, without a word."""
    machine = bench.machine
    launch(bench, "prints")
    proc = hear(machine, Prepared).proc
    machine.release(KEY)
    eventually(machine, lambda: is_gone(machine, proc), "it is gone")
    nothing(machine)
    assert machine.log_begin(KEY, f"{bench.run}/w1.log", 100) == b""


def test_launch_of_what_is_not_there(bench: Bench) -> None:
    """A program that cannot be found fails before the gate, with errno and a hint; no process is left."""
    launch(bench, "cannot be found")
    failed = hear(bench.machine, LaunchFailed)
    assert failed.key == KEY
    assert "nowhere" in failed.why
    assert failed.hint
    assert failed.errno == 2
    nothing(bench.machine)


def test_launch_of_what_cannot_be_executed(bench: Bench) -> None:
    """What the kernel refuses to execute fails after the gate, and never counts as executed."""
    machine = bench.machine
    launch(bench, "cannot be executed")
    proc = hear(machine, Prepared).proc
    machine.open_gate(KEY)
    heard: list[Happening] = []
    while not any(isinstance(one, Ended) for one in heard):
        heard += machine.wait(machine.now() + PATIENCE)
    assert [type(one) for one in heard] == [LaunchFailed, Ended]
    assert isinstance(heard[0], LaunchFailed)
    assert heard[0].errno == 8
    assert heard[1] == Ended(KEY, proc, 127)


@pytest.mark.parametrize(
    ("kind", "signum", "status"), [("lives", TERM, -TERM), ("lives", KILL, -KILL), ("ends with 3 on TERM", TERM, 3)]
)
def test_signal_and_end(bench: Bench, kind: str, signum: int, status: int) -> None:
    """Our own child's end is told once, with its status; afterwards it is gone for whoever asks."""
    machine = bench.machine
    proc = running(bench, kind) if kind == "lives" else settled(bench, kind)
    machine.watch(KEY, proc)
    assert machine.signal(proc, signum) == "sent"
    assert hear(machine, Ended) == Ended(KEY, proc, status)
    nothing(machine)
    assert machine.signal(proc, signum) == "gone"
    assert is_gone(machine, proc)


def test_exit_by_itself(bench: Bench) -> None:
    """An exit that nobody asked for is told with its status, watched or not."""
    proc = running(bench, "exits with 4")
    assert hear(bench.machine, Ended) == Ended(KEY, proc, 4)


def test_ignored_signal(bench: Bench) -> None:
    """A signal that is ignored was sent all the same; KILL cannot be ignored."""
    machine = bench.machine
    proc = settled(bench, "ignores TERM")
    assert machine.signal(proc, TERM) == "sent"
    nothing(machine)
    assert row_of(machine, proc.pid) is not None
    assert machine.signal(proc, KILL) == "sent"
    assert hear(machine, Ended) == Ended(KEY, proc, -KILL)


def test_standing_still(bench: Bench) -> None:
    """A process that was sent STOP stands still, obeys nothing but KILL, and does what it was told when it goes on."""
    machine = bench.machine
    proc = settled(bench, "ends with 3 on TERM")

    def stands(suspended: bool) -> bool:
        info = row_of(machine, proc.pid)
        return info is not None and info.suspended == suspended

    assert stands(suspended=False)
    assert machine.signal(proc, STOP) == "sent"
    eventually(machine, lambda: stands(suspended=True), "it stands still")
    assert machine.signal(proc, TERM) == "sent"
    nothing(machine)
    assert stands(suspended=True)
    assert machine.signal(proc, CONT) == "sent"
    assert hear(machine, Ended) == Ended(KEY, proc, 3)


def test_signal_before_the_gate(bench: Bench) -> None:
    """A process that is killed at the gate has ended, and opening the gate does nothing."""
    machine = bench.machine
    launch(bench, "prints")
    proc = hear(machine, Prepared).proc
    assert machine.signal(proc, KILL) == "sent"
    assert hear(machine, Ended) == Ended(KEY, proc, -KILL)
    machine.open_gate(KEY)
    nothing(machine)
    assert machine.log_begin(KEY, f"{bench.run}/w1.log", 100) == b""


def test_signal_to_the_wrong_birth(bench: Bench) -> None:
    """A pid with another birth is another process: it is gone, and whoever has its pid now feels nothing."""
    machine = bench.machine
    proc = running(bench, "lives")
    assert machine.signal(Proc(proc.pid, proc.start_id + "0"), KILL) == "gone"
    nothing(machine)
    assert row_of(machine, proc.pid) is not None


def test_signal_to_ourselves_and_to_init(bench: Bench) -> None:
    """Neither init nor we are ever signalled, whatever anybody proves."""
    machine = bench.machine
    for pid in (1, machine.me().pid):
        info = machine.processes().by_pid[pid]
        assert machine.signal(info.proc, CONT) == "denied"


@pytest.mark.root
def test_signal_denied(bench: Bench) -> None:
    """EPERM is alive and not ours: never gone."""
    stranger = bench.stranger(uid=1)
    with bench.as_nobody():
        assert bench.machine.signal(stranger, KILL) == "denied"
        assert bench.machine.exists(stranger.pid)
    assert row_of(bench.machine, stranger.pid) is not None


def test_watch_a_stranger(bench: Bench) -> None:
    """The end of a process that is not our child is told without a status, once."""
    machine = bench.machine
    stranger = bench.stranger()
    machine.watch(KEY, stranger)
    nothing(machine)
    bench.end(stranger)
    assert hear(machine, Ended) == Ended(KEY, stranger, None)
    nothing(machine)


def test_watch_what_is_gone(bench: Bench) -> None:
    """Watching comes never too late: who is gone already has ended."""
    stranger = bench.stranger()
    bench.end(stranger)
    bench.machine.watch(KEY, stranger)
    assert hear(bench.machine, Ended) == Ended(KEY, stranger, None)


def test_watch_twice(bench: Bench) -> None:
    """Two keys that watch one process both hear of it; one key that asks twice hears it once."""
    machine = bench.machine
    stranger = bench.stranger()
    for key in (KEY, KEY, "w2@host"):
        machine.watch(key, stranger)
    bench.end(stranger)
    heard: list[Happening] = []
    while len(heard) < 2:
        heard += machine.wait(machine.now() + PATIENCE)
    assert sorted(one.key for one in heard if isinstance(one, Ended)) == [KEY, "w2@host"]
    nothing(machine)


def test_a_file_that_changes_is_told(bench: Bench) -> None:
    """Replaced or removed, each is told, and only of the file that is watched; a key that is released hears no more."""
    machine = bench.machine
    path, other = f"{bench.run}/w1.json", f"{bench.run}/w2.json"
    machine.make_directory(bench.run, None, None)
    machine.watch_file("w1", path)
    machine.write([FileWrite(other, b"a", None, None)])
    machine.write([FileWrite(path, b"a", None, None)])
    assert Changed("w1") in machine.wait(machine.now() + 20)
    machine.remove(path)
    assert Changed("w1") in machine.wait(machine.now() + 20)
    machine.release("w1")
    machine.write([FileWrite(path, b"b", None, None)])
    assert not list(machine.wait(machine.now()))


def test_release_forgets_a_watch(bench: Bench) -> None:
    """Nothing is told to a key that was released."""
    machine = bench.machine
    stranger = bench.stranger()
    machine.watch(KEY, stranger)
    machine.release(KEY)
    bench.end(stranger)
    nothing(machine)


def test_our_child_outlives_its_key(bench: Bench) -> None:
    """A running child of ours lives on when its key is released; who watches it later still gets its status."""
    machine = bench.machine
    proc = settled(bench, "ends with 3 on TERM")
    machine.release(KEY)
    nothing(machine)
    machine.watch("another key", proc)
    assert machine.signal(proc, TERM) == "sent"
    assert hear(machine, Ended) == Ended("another key", proc, 3)


def test_our_child_ends_unasked(bench: Bench) -> None:
    """A child that ends while nobody asks for it is remembered: who watches it later gets its status."""
    machine = bench.machine
    proc = settled(bench, "ends with 3 on TERM")
    machine.release(KEY)
    machine.signal(proc, TERM)
    nothing(machine, 0.3)
    eventually(machine, lambda: is_gone(machine, proc), "it has ended")
    machine.watch("another key", proc)
    assert hear(machine, Ended) == Ended("another key", proc, 3)


def test_our_child_ends_right_before_its_key_is_released(bench: Bench) -> None:
    """Its end was told to the key that started it: who watches it later still gets its status."""
    machine = bench.machine
    proc = settled(bench, "ends with 3 on TERM")
    machine.signal(proc, TERM)
    assert hear(machine, Ended) == Ended(KEY, proc, 3)
    machine.release(KEY)
    machine.watch("another key", proc)
    assert hear(machine, Ended) == Ended("another key", proc, 3)


def test_another_multi_sees_the_same(bench: Bench) -> None:
    """What one `multi` started, another one sees, signals and hears the end of; the status is the first one's."""
    proc = running(bench, "lives")
    other = bench.another()
    info = eventually(other, lambda: carrying(other, proc), "the other one sees it")
    assert info.proc == proc
    other.watch(KEY, proc)
    assert other.signal(proc, TERM) == "sent"
    assert hear(other, Ended) == Ended(KEY, proc, None)
    assert hear(bench.machine, Ended) == Ended(KEY, proc, -TERM)


def test_family(bench: Bench) -> None:
    """Children are seen with their relations; all but the one with an empty environment carry the instance."""
    machine = bench.machine
    proc = running(bench, "has children")

    def kind(info: ProcessInfo) -> tuple[bool, bool, bool]:
        return info.ppid == proc.pid, info.pgrp == proc.pid, info.instance is not None

    def family() -> list[ProcessInfo] | None:
        """The four, once each is what it is to become: in the middle of execve(2) an environment reads as empty."""
        infos = [info for info in machine.processes().by_pid.values() if info.proc != proc and not info.gone]
        ours = [info for info in infos if info.instance is not None and info.instance.pid == proc.pid]
        bare = [info for info in infos if info.ppid == proc.pid and info.instance is None]
        complete = [(False, False, True), (True, False, True), (True, True, False), (True, True, True)]
        return ours + bare if sorted(map(kind, ours + bare)) == complete else None

    infos = eventually(machine, family, "the family is complete")
    for info in infos:
        machine.signal(info.proc, KILL)
    for info in infos:
        eventually(machine, partial(is_gone, machine, info.proc), "all can be ended")


def test_zombie(bench: Bench) -> None:
    """A zombie is in the table as gone; it has ended for who watches it, and cannot be signalled."""
    machine = bench.machine
    proc = running(bench, "has a zombie")

    def zombie() -> Proc | None:
        infos = machine.processes().by_pid.values()
        return next((info.proc for info in infos if info.ppid == proc.pid and info.gone), None)

    found = eventually(machine, zombie, "there is a zombie")
    assert machine.exists(found.pid)
    assert machine.cmdline(found.pid) == ()
    assert machine.signal(found, TERM) == "gone"
    machine.watch("another key", found)
    assert hear(machine, Ended) == Ended("another key", found, None)


def test_holdings(bench: Bench) -> None:
    """What a process holds is told of that very process, its proportional memory only when asked for."""
    machine = bench.machine
    proc = running(bench, "lives")
    held, all_of_it = machine.holdings(proc), machine.holdings(proc, pss=True)
    assert held is not None
    assert held.pss is None
    assert all_of_it is not None
    assert machine.holdings(Proc(proc.pid, f"{proc.start_id}0")) is None
    machine.signal(proc, KILL)
    hear(machine, Ended)
    assert machine.holdings(proc, pss=True) is None


def test_what_does_not_exist(bench: Bench) -> None:
    """A pid that nobody has, and numbers that can be none, do not exist and have no words."""
    for pid in (0, -1, 2**22 + 1, 2**31 - 1, 10**9):
        assert not bench.machine.exists(pid)
        assert bench.machine.cmdline(pid) == ()
        assert bench.machine.executed(pid) == ()
        assert pid == 0 or pid not in bench.machine.processes().by_pid


def test_us(bench: Bench) -> None:
    """We are in the table, and carry nothing whatever we were started from."""
    machine = bench.machine
    me = machine.me()
    info = machine.processes().by_pid[me.pid]
    assert info.uid == me.uid
    assert info.instance is None
    assert machine.uid_of("root") == machine.uid_of("0") == 0
    with pytest.raises(MachineError, match="there is none"):
        machine.uid_of("nobody-has-this-name")
    assert machine.gid_of("root") == machine.gid_of("0") == 0
    with pytest.raises(MachineError, match="cannot find the group"):
        machine.gid_of("nobody-has-this-name")


# --- files ----------------------------------------------------------------------------------------------


def put(machine: Machine, path: str, data: bytes) -> None:
    """Write one file; what the machine answers is raised."""
    (error,) = machine.write([FileWrite(path, data, None, None)])
    if error is not None:
        raise error


def test_write_read_remove(bench: Bench) -> None:
    """What is written is read back, replaced and removed; removing what is not there is fine."""
    machine, path = bench.machine, f"{bench.run}/a.json"
    assert machine.read(path, 100) is None
    for data in (b"one", b"", b"\x00\xff" * 20):
        put(machine, path, data)
        file = machine.read(path, 100)
        assert isinstance(file, File)
        assert (file.data, file.uid, file.mode) == (data, machine.me().uid, 0o644)
        assert abs(file.mtime - machine.wall()) < 5
    assert machine.listing(bench.run, ".json") == (path,)
    assert machine.size(path) == 40
    machine.remove(path)
    machine.remove(path)
    assert machine.read(path, 100) is None
    assert machine.listing(bench.run, ".json") == ()
    assert machine.size(path) == 0


def test_write_many(bench: Bench) -> None:
    """Many files are written in one go; one that is refused is named, and holds up no other."""
    machine = bench.machine
    in_the_way = bench.put("77.pid", "directory")
    paths = [f"{bench.run}/{number}.pid" for number in range(150)]
    answers = machine.write([FileWrite(path, path.encode(), None, None) for path in paths])
    assert len(answers) == len(paths)
    for path, answer in zip(paths, answers, strict=True):
        if path == in_the_way:
            assert answer is not None
            assert path in str(answer)
            continue
        assert answer is None
        file = machine.read(path, 1000)
        assert isinstance(file, File)
        assert file.data == path.encode()
    assert len(machine.listing(bench.run, ".pid")) == len(paths)
    assert not machine.write([])


def test_write_replaces_a_link(bench: Bench) -> None:
    """A link in the place of a file is replaced, never followed."""
    path = bench.put("a.json", "symbolic link")
    put(bench.machine, path, b"data")
    file = bench.machine.read(path, 100)
    assert isinstance(file, File)
    assert file.data == b"data"


@pytest.mark.parametrize("kind", ["directory", "symbolic link", "FIFO"])
def test_read_what_is_no_file(bench: Bench, kind: str) -> None:
    """What is no regular file cannot be read, and the reason names it."""
    assert bench.machine.read(bench.put("odd", kind), 100) == Unreadable(f"it is a {kind}")


def test_read_too_much(bench: Bench) -> None:
    """A file beyond the limit is not read; one at the limit is."""
    path = bench.put("large", "file", b"x" * 65)
    unreadable = bench.machine.read(path, 64)
    assert isinstance(unreadable, Unreadable)
    assert "65" in unreadable.why
    file = bench.machine.read(path, 65)
    assert isinstance(file, File)
    assert (len(file.data), file.mode) == (65, 0o640)


def test_amend(bench: Bench) -> None:
    """One byte is changed where it stands; what is not there is left as it is."""
    machine, path = bench.machine, f"{bench.run}/a.json"
    put(machine, path, b'{"signalled": 0}')
    for _ in range(2):
        machine.amend(path, b'"signalled": 0', b'"signalled": 1')
        file = machine.read(path, 100)
        assert isinstance(file, File)
        assert file.data == b'{"signalled": 1}'
    with pytest.raises(MachineError, match=r"none\.json"):
        machine.amend(f"{bench.run}/none.json", b"0", b"1")


def test_append(bench: Bench) -> None:
    """Lines are added to a file of its user's own; one that would become too long loses the older half of them."""
    machine, path = bench.machine, f"{bench.run}/w1.history"
    for number in range(10):
        machine.append(path, b"line %d\n" % number, 69, None, None)
    file = machine.read(path, 100)
    assert isinstance(file, File)
    assert (file.data, file.mode & 0o777, file.uid) == (
        b"".join(b"line %d\n" % number for number in range(5, 10)),
        0o600,
        machine.me().uid,
    )
    machine.append(f"{bench.run}/other.history", b"x\n", 69, str(NOBODY), None)
    other = machine.read(f"{bench.run}/other.history", 100)
    assert isinstance(other, File)
    assert (other.data, other.uid) == (b"x\n", NOBODY)
    with pytest.raises(MachineError):
        machine.append(f"{bench.run}/none/w1.history", b"x\n", 69, None, None)


def test_place(bench: Bench) -> None:
    """Where we are, what lies where, and what could be made."""
    machine = bench.machine
    here = machine.surroundings()
    assert here.uid == machine.me().uid
    assert here.cwd.startswith("/")
    assert here.hostname
    assert here.home_of("no-such-user") is None
    path = bench.put("a.toml", "file", b"[defaults]\n")
    assert machine.kind(path) == "file"
    assert machine.kind("/usr/bin/env") == "program"
    assert list(machine.find(f"{bench.run}/*.toml")) == [path]
    assert machine.cannot_create(f"{bench.run}/some/where/new.log") == ("", 0)
    assert machine.cannot_create(path) == ("", 0)
    assert machine.cannot_create(f"{path}/below")[1] == errno.ENOTDIR
    assert machine.cannot_create(bench.put("dir", "directory"))[0] != ""
    with pytest.raises(FileNotFoundError):
        machine.load(f"{bench.run}/none.toml")


def test_room_and_words_for_whoever_started_us(bench: Bench) -> None:
    """There is always room for one node; without anybody to tell, telling does nothing."""
    assert bench.machine.make_room(1) == 1
    assert 1 <= bench.machine.make_room(5) <= 5
    bench.machine.tell("READY=1")
    bench.machine.extend_timeout()
    nothing(bench.machine)


def test_write_where_nothing_is(bench: Bench) -> None:
    """A write or a lock below a missing directory is refused, naming the path."""
    machine = bench.machine
    with pytest.raises(MachineError, match=r"/gone/a\.pid"):
        put(machine, f"{bench.run}/gone/a.pid", b"")
    with pytest.raises(MachineError, match=r"/gone/a\.lock"):
        machine.lock(KEY, f"{bench.run}/gone/a.lock", None, None)
    assert machine.read(f"{bench.run}/gone", 0) is None
    assert machine.listing(f"{bench.run}/gone", ".pid") == ()


def test_directory_in_the_way(bench: Bench) -> None:
    """A directory cannot be replaced or removed as a file."""
    path = bench.put("a.pid", "directory")
    with pytest.raises(MachineError, match=r"a\.pid"):
        put(bench.machine, path, b"")
    with pytest.raises(MachineError, match=r"a\.pid"):
        bench.machine.remove(path)


def test_make_directory(bench: Bench) -> None:
    """What is missing above it is made too; making it again is fine; below a file it is refused."""
    machine = bench.machine
    for _ in range(2):
        machine.make_directory(f"{bench.run}/x/y/z", None, None)
    put(machine, f"{bench.run}/x/y/z/a.pid", b"1\n")
    with pytest.raises(MachineError, match="is not a directory"):
        machine.make_directory(f"{bench.run}/x/y/z/a.pid/b", None, None)
    assert machine.kind(f"{bench.run}/x") == "directory"
    assert machine.kind(f"{bench.run}/x/y/z/a.pid") == "file"
    assert machine.kind(f"{bench.run}/nothing") == ""


def test_log(bench: Bench) -> None:
    """The end of a log, what stands behind an offset, and what was added since one looked."""
    machine = bench.machine
    path = bench.put("a.log", "file", b"one\ntwo\n")
    assert machine.log_begin(KEY, path, 100) == b"one\ntwo\n"
    assert machine.log_begin(KEY, path, 100, 4) == b"two\n"
    assert machine.log_begin(KEY, path, 4) == b"two\n"
    assert machine.log_begin(KEY, path, 100, 99) == b"one\ntwo\n"
    assert machine.log_begin(KEY, f"{bench.run}/no.log", 100) == b""
    assert machine.log_begin(KEY, path, 4) == b"two\n"
    assert machine.log_more(KEY, 100) == b""
    assert machine.log_more("w2@host", 100) == b""
    assert machine.log_begin("w2@host", f"{bench.run}/no.log", 100) == b""
    assert machine.log_more("w2@host", 100) == b""
    proc = running(bench, "prints")
    log = f"{bench.run}/w1.log"
    eventually(machine, lambda: machine.log_begin(KEY, log, 100) == b"hello\n", "it prints")
    machine.signal(proc, KILL)


def test_files_of_a_log(bench: Bench) -> None:
    """A log as it was when it was opened, read at any place, and what was moved away from it."""
    machine = bench.machine
    path = bench.put("a.log", "file", b"one\ntwo\n")
    bench.put("a.log.1", "file", b"zero\n")
    (file,) = machine.log_files(KEY, path)
    assert (file.size, file.length, file.packed, file.position(4)) == (8, 8, False, 4)
    bench.put("a.log", "file", b"one\ntwo\nthree\n")
    assert (file.read(4, 100)[:4], file.read(0, 3), file.read(99, 9)) == (b"two\n", b"one", b"")
    (older,) = machine.log_files(KEY, path, rotated=True)
    assert older.read(0, 100) == b"zero\n"
    assert older.identity != file.identity
    machine.release(KEY)
    assert list(machine.log_files(KEY, f"{bench.run}/no.log")) == []
    assert machine.within(9.0, lambda: 7) == 7


def test_mark(bench: Bench) -> None:
    """What is made anew at a path is another thing; what is left alone stays the same; nothing has no word."""
    machine = bench.machine
    path = bench.put("ready", "file", b"old")
    first = machine.fingerprint(path)
    assert first
    assert machine.fingerprint(path) == first
    machine.remove(path)
    assert machine.fingerprint(path) == ""
    assert machine.fingerprint(bench.put("ready", "file", b"old")) not in {"", first}


# --- locks ----------------------------------------------------------------------------------------------


def test_lock(bench: Bench) -> None:
    """A lock excludes everybody else, tells who has it, and is handed over when it is given back."""
    machine, other, path = bench.machine, bench.another(), f"{bench.run}/a.lock"
    assert machine.lock(KEY, path, None, None) is None
    holder = other.lock(KEY, path, None, None)
    assert holder is not None
    assert f"pid {machine.me().pid}:" in holder.text
    nothing(other)
    machine.unlock(KEY)
    assert hear(other, Locked) == Locked(KEY)
    assert isinstance(machine.lock(KEY, path, None, None), Holder)
    other.release(KEY)
    assert hear(machine, Locked) == Locked(KEY)
    machine.unlock(KEY)
    machine.unlock(KEY)


def test_lock_is_given_back(bench: Bench) -> None:
    """A lock that was given back can be taken at once, by its file's path alone; another file is another lock."""
    machine, other = bench.machine, bench.another()
    assert machine.lock(KEY, f"{bench.run}/a.lock", None, None) is None
    assert other.lock(KEY, f"{bench.run}/b.lock", None, None) is None
    machine.unlock(KEY)
    assert other.lock("w2@host", f"{bench.run}/a.lock", None, None) is None


def test_lock_wait_given_up(bench: Bench) -> None:
    """Who gives up waiting never gets the lock, and does not keep it from the next one."""
    machine, other, third = bench.machine, bench.another(), bench.another()
    path = f"{bench.run}/a.lock"
    assert machine.lock(KEY, path, None, None) is None
    assert other.lock(KEY, path, None, None) is not None
    other.unlock(KEY)
    machine.unlock(KEY)
    if third.lock(KEY, path, None, None) is not None:
        assert hear(third, Locked) == Locked(KEY)
    nothing(other)


def _taken_by_another(machine: Machine, path: str) -> bool:
    taken = machine.lock(KEY, path, None, None) is not None
    machine.unlock(KEY)
    return taken


def test_lock_wait_given_up_as_it_came(bench: Bench) -> None:
    """The lock may come at the very moment at which its waiter gives up: then, too, the next one gets it."""
    machine, other, third = bench.machine, bench.another(), bench.another()
    path = f"{bench.run}/a.lock"
    assert machine.lock(KEY, path, None, None) is None
    assert other.lock(KEY, path, None, None) is not None
    machine.unlock(KEY)
    if isinstance(other, System):
        eventually(machine, partial(_taken_by_another, machine, path), "the waiter has it")
    other.unlock(KEY)  # it has not heard yet that the lock is its own
    if third.lock(KEY, path, None, None) is not None:
        assert hear(third, Locked) == Locked(KEY)


def test_holds(bench: Bench) -> None:
    """A lock is held from when it is told until it is given back, by its key alone."""
    machine, other, path = bench.machine, bench.another(), f"{bench.run}/a.lock"
    assert not machine.holds(KEY)
    assert machine.lock(KEY, path, None, None) is None
    assert machine.holds(KEY)
    assert not machine.holds("w2@host")
    assert other.lock(KEY, path, None, None) is not None
    assert not other.holds(KEY)
    machine.unlock(KEY)
    assert not machine.holds(KEY)
    hear(other, Locked)
    assert other.holds(KEY)


def test_lock_file_removed(bench: Bench) -> None:
    """A lock whose file is gone is held no more: it excludes nobody, and whoever comes gets another one."""
    machine, other, path = bench.machine, bench.another(), f"{bench.run}/a.lock"
    assert machine.lock(KEY, path, None, None) is None
    machine.remove(path)
    assert not machine.holds(KEY)
    assert other.lock(KEY, path, None, None) is None
    assert other.holds(KEY)
    machine.unlock(KEY)
    assert other.holds(KEY)


def test_lock_file_replaced_under_a_waiter(bench: Bench) -> None:
    """Who waits for a lock whose file was replaced meanwhile gets that of the new file, when that is free."""
    machine, other, third = bench.machine, bench.another(), bench.another()
    path = f"{bench.run}/a.lock"
    assert machine.lock(KEY, path, None, None) is None
    assert other.lock(KEY, path, None, None) is not None
    machine.remove(path)
    assert third.lock(KEY, path, None, None) is None
    machine.unlock(KEY)
    nothing(other)
    assert not other.holds(KEY)
    third.unlock(KEY)
    assert hear(other, Locked) == Locked(KEY)
    assert other.holds(KEY)


# --- readiness ------------------------------------------------------------------------------------------

_LIKE = Launch(argv=("node",), env=(), logfile="/dev/null")  # a probe is made in the setting of a node


def test_notify(bench: Bench) -> None:
    """What a node says to its address arrives as the assignments in it."""
    machine = bench.machine
    address = machine.notify_address(KEY, machine.token())
    running(bench, "says", NOTIFY_SOCKET=address)
    assert hear(machine, Notified) == Notified(KEY, {"READY": "1", "STATUS": "fine"})
    machine.release(KEY)


def test_a_notification_address_can_outlive_the_key(bench: Bench) -> None:
    """What is kept is heard after a release, and until the key gets another address."""
    machine = bench.machine
    token = machine.token()
    address = machine.notify_address(KEY, token, keep=True)
    machine.release(KEY)
    assert machine.notify_address(KEY, token) == address
    machine.release(KEY)
    running(bench, "says", NOTIFY_SOCKET=address)
    assert hear(machine, Notified) == Notified(KEY, {"READY": "1", "STATUS": "fine"})
    machine.release(KEY)


def test_a_hook_is_told_and_its_end_is_heard(bench: Bench) -> None:
    """By node and event, however the key is released meanwhile: no node holds a hook."""
    machine = bench.machine
    hook = Hook(event="failed", command="true", data=b"{}", launch=_LIKE, seconds=20, note=lambda _why, _tail: None)
    machine.hook(KEY, hook)
    machine.release(KEY)
    assert hear(machine, HookDone) == HookDone(KEY, "failed")
    nothing(machine)


@pytest.mark.parametrize("kind", ["tcp", "exec"])
def test_probe(bench: Bench, kind: str) -> None:
    """A probe answers yes, or no with a reason, once."""
    machine = bench.machine
    good, bad = bench.answers(kind)
    machine.probe(KEY, kind, bad, _LIKE)
    probed = hear(machine, Probed)
    assert (probed.key, probed.ok) == (KEY, False)
    assert bad in probed.why
    nothing(machine)
    machine.probe(KEY, kind, good, _LIKE)
    probed = hear(machine, Probed)
    assert (probed.key, probed.ok, probed.why) == (KEY, True, "")
    assert (probed.at is None) is (kind == "exec")


def test_probe_that_talks(bench: Bench) -> None:
    """The last line of a command that fails is in the reason; that of one that does not end can be asked for."""
    machine = bench.machine
    assert machine.probe_says(KEY) == ""
    machine.probe(KEY, "exec", bench.prints("no such table", ends=True), _LIKE)
    assert hear(machine, Probed).why.endswith(": no such table")
    machine.probe(KEY, "exec", bench.prints("is locked", ends=False), _LIKE)

    def said() -> bool:
        nothing(machine)
        return machine.probe_says(KEY) == "is locked"

    until(said, "what it prints is read while it runs")
    machine.release(KEY)
    assert machine.probe_says(KEY) == ""


def test_probe_forgotten(bench: Bench) -> None:
    """A probe whose key is released answers nobody."""
    good, _ = bench.answers("exec")
    bench.machine.probe(KEY, "exec", good, _LIKE)
    bench.machine.release(KEY)
    nothing(bench.machine)


# --- waiting --------------------------------------------------------------------------------------------


def test_wait_ends(bench: Bench) -> None:
    """A wait ends at its moment, never before; one whose moment is past only looks."""
    machine = bench.machine
    began = machine.now()
    assert not machine.wait(began - 1)
    assert machine.now() - began < 1
    assert not machine.wait(machine.now() + 0.05)
    assert began + 0.05 <= machine.now() < began + 5


def test_wait_keeps_nothing_back(bench: Bench) -> None:
    """What has happened is told even by a wait whose moment is past, and told once."""
    machine = bench.machine
    stranger = bench.stranger()
    bench.end(stranger)
    machine.watch(KEY, stranger)
    heard = list(machine.wait(machine.now() - 1))
    assert heard == [Ended(KEY, stranger, None)] or isinstance(machine, System)
    if not heard:
        assert hear(machine, Ended).proc == stranger
    nothing(machine)


def test_token(bench: Bench) -> None:
    """Tokens are 128 bits, and never the same."""
    tokens = {bench.machine.token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 and int(token, 16) >= 0 for token in tokens)


def test_caller(bench: Bench) -> None:
    """Who asks is this process, its user, and its command line on one printable line."""
    caller = bench.machine.caller()
    assert (caller.user, caller.pid) == (bench.machine.user_name(bench.machine.me().uid), bench.machine.me().pid)
    assert caller.command
    assert caller.text.isprintable()
    with bench.as_nobody():
        assert bench.machine.caller().user == bench.machine.user_name(NOBODY)


def test_clocks(bench: Bench) -> None:
    """The clock goes forward; the process table says when it was taken."""
    machine = bench.machine
    first, processes, second = machine.now(), machine.processes(), machine.now()
    assert first <= processes.at <= second
    assert abs(processes.wall - machine.wall()) < PATIENCE


assert shutil.which("true"), "exec probes need it"
assert sys.platform == "linux", "strangers are made with what Linux has"
