"""G7, Detached: what a node inherits and what it does not, seen from outside through /proc.

Commands are started by callers who hand on everything that must not arrive: ignored and blocked signals, open
descriptors, a terminal, no standard streams at all.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest

from multi.act import walk
from multi.model.event import Readied
from multi.model.request import Request, RunOptions, Task
from multi.system import System
from multi.system import child as launch
from multi.testing.world import node_of
from real import Real, alive, descriptors, environ_of, run, stat, status, until, words_of

MULTI = (sys.executable, "-m", "multi")
# A caller that hands on what it should not, then becomes the words after it.
HOSTILE = """
import os, signal, sys
for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
    signal.signal(signum, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in (5, 9, 77):
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), number)
read, write = os.pipe()
os.dup2(write, 11)
os.execv(sys.argv[1], sys.argv[1:])
"""
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def start(real: Real, *before: str, cmd: str = "sleep 600") -> int:
    """Start the node ``a`` with other words before the command; its pid."""
    done = run([*before, *MULTI, *real.start_words("a", cmd=cmd)], real.env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    pid = real.pid("a")
    assert alive(pid)
    return pid


def is_detached(real: Real, pid: int) -> None:
    """Assert everything that the promise names."""
    found = stat(pid)
    assert found is not None
    assert found.session not in {pid, os.getsid(0)}, "it leads its session, or is in that of its caller"
    assert not alive(found.session), "somebody still leads its session, and could get a terminal for it"
    assert found.tty == 0, "it has a controlling terminal"
    assert found.pgrp == pid, "it is not in a group of its own"
    three = {0: "/dev/null", 1: str(real.logfile("a")), 2: str(real.logfile("a"))}
    until(lambda: descriptors(pid) == three, "no other is open, once the loader of its libraries is done")
    facts = status(pid)
    # What glibc keeps for itself nobody can set; a caller that was made by its posix_spawn(3) ignores 32 and 33.
    ours = ~(1 << 31 | 1 << 32)
    for mask in ("SigIgn", "SigCgt", "SigBlk", "SigPnd", "ShdPnd"):
        assert int(facts[mask], 16) & ours == 0, f"{mask} is {facts[mask]}"


CALLERS = {
    "nobody in particular": (),
    "one with ignored and blocked signals, and open descriptors": (sys.executable, "-c", HOSTILE),
    "a terminal": (sys.executable, "-c", TERMINAL),
    "a shell without standard streams": ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"),
    "a shell without standard input": ("sh", "-c", 'exec "$@" <&-', "sh"),
    "a shell without standard output": ("sh", "-c", 'exec "$@" >&-', "sh"),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_g7_detached(real: Real, caller: str) -> None:
    """G7: session, group, terminal, descriptors, dispositions and mask do not depend on who calls."""
    pid = start(real, *CALLERS[caller])
    is_detached(real, pid)
    assert real.family() == [pid], "something of multi is left"


@pytest.mark.skipif(shutil.which("nohup") is None, reason="needs the program nohup")
def test_g7_nohup(real: Real) -> None:
    """G7: the SIGHUP that nohup ignores is not ignored by the node: HUP is for a worker to reload."""
    pid = start(real, "nohup")
    is_detached(real, pid)
    os.kill(pid, signal.SIGHUP)
    until(lambda: not alive(pid), "HUP has its usual effect")


def test_g7_descriptors_of_the_log_alone(real: Real) -> None:
    """G7: the log is open for appending, and standard input is at its end."""
    pid = start(real, cmd=shlex.join(["sh", "-c", "cat; echo read; sleep 600"]))
    until(lambda: real.logfile("a").read_bytes() == b"read\n", "it has read all of its standard input")
    for number in (1, 2):
        flags = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text(encoding="ascii").splitlines()
            if ":\t" in line
        )["flags"]
        assert int(flags, 8) & os.O_APPEND
        assert not int(flags, 8) & os.O_NONBLOCK
    real.expect_left(*real.family())


def test_g7_no_terminal_can_be_opened(real: Real) -> None:
    """G7: there is no terminal behind /dev/tty, and opening one does not make it the node's."""
    tty = "(: </dev/tty) 2>/dev/null && echo has a tty; sleep 600"
    pid = start(real, sys.executable, "-c", TERMINAL, cmd=shlex.join(["sh", "-c", f"{tty} & wait"]))
    until(lambda: len(real.family()) > 1, "it has tried")
    master, slave = os.openpty()
    try:
        opener = (
            "import os, sys; os.open(sys.argv[1], os.O_RDWR); print('open', flush=True); import time; time.sleep(600)"
        )
        code = shlex.join([sys.executable, "-c", opener, os.ttyname(slave)])
        real.start("b", cmd=code).ok()
        until(lambda: real.logfile("b").read_bytes() == b"open\n", "it has opened a terminal")
        found = stat(real.pid("b"))
        assert found is not None
        assert found.tty == 0
    finally:
        os.close(master)
        os.close(slave)
    assert alive(pid)
    assert real.logfile("a").read_bytes() == b""


def test_g7_the_hangup_of_a_terminal_reaches_no_node(real: Real) -> None:
    """G7: when the terminal that a start was typed on is closed, the nodes live on."""
    pid = start(real, sys.executable, "-c", TERMINAL)
    # The terminal is gone by now: `start` has waited for whoever held its other end.
    assert alive(pid)
    assert real.state("a") == {"a": "running"}


def test_g7_returns_at_once(real: Real) -> None:
    """G7: ``x=$(multi start w1)`` returns when the start is done: no node keeps the pipe open."""
    words = shlex.join([*MULTI, *real.start_words("a", "b", cmd=real.worker("--child", "session"))])
    done = run(["sh", "-c", f'x=$({words} 2>&1); echo "$?: $x" | head -c 3'], real.env)
    assert done.stdout == b"0: "
    assert real.state("a", "b") == {"a": "running", "b": "running"}


def test_g7_a_pipeline_ends(real: Real) -> None:
    """G7: what reads the output of a start sees its end."""
    words = shlex.join([*MULTI, *real.start_words("a")])
    done = run(["sh", "-c", f"{words} 2>&1 | cat >/dev/null; echo over"], real.env)
    assert done.stdout == b"over\n"
    assert alive(real.pid("a"))


def test_g7_nothing_of_multi_is_left(real: Real) -> None:
    """G7: after each command there is no process of `multi`; the orphaned node has been given to init."""
    real.start("a").ok()
    pid = real.pid("a")
    found = stat(pid)
    assert found is not None
    assert found.ppid != os.getpid()
    assert words_of(found.ppid)[1:3] != ["-m", "multi"]
    for command in ("restart", "stop", "start", "kill"):
        if command == "start":
            real.start("a").ok()
        else:
            real.multi(command, "a").ok()
        until(lambda: all("multi" not in words_of(one) for one in real.family()), "no part of multi is left")


def test_g7_log_on_our_own_stderr(real: Real) -> None:
    """G7: ``--logfile=/dev/stderr``, as in containers: the node writes where `multi` does, detached all the same."""
    out = real.base / "captured"
    cmd = shlex.join(["sh", "-c", "echo out; echo err >&2; exec sleep 600"])
    words = [word for word in real.start_words("a", cmd=cmd) if not word.startswith("--logfile")]
    shell = f"exec {shlex.join([*MULTI, *words, '--logfile=/dev/stderr'])} 2>{shlex.quote(str(out))}"
    done = run(["sh", "-c", shell], real.env)
    assert done.returncode == 0
    until(lambda: b"out\n" in out.read_bytes() and b"err\n" in out.read_bytes(), "it writes to our stderr")
    pid = real.pid("a")
    until(lambda: words_of(pid)[:1] == ["sleep"], "it has become what it is to be")
    three = {0: "/dev/null", 1: str(out), 2: str(out)}
    until(lambda: descriptors(pid) == three, "no other is open, once the loader of its libraries is done")


def limited(soft: int, hard: int) -> Iterable[str]:
    """Words that set RLIMIT_NOFILE and become the words after them."""
    code = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    return (sys.executable, "-c", code + "os.execv(sys.argv[1], sys.argv[1:])")


def open_files(pid: int) -> list[str]:
    """Soft and hard limit of open files (proc_pid_limits(5))."""
    lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("Max open files"))
    return line.split()[3:5]


@pytest.mark.parametrize(("soft", "hard"), [(64, 256), (512, 4096)])
def test_g7_limits_are_handed_on(real: Real, soft: int, hard: int) -> None:
    """G7: what `multi` does to its own limit is not inherited: a node has that of the caller."""
    assert open_files(start(real, *limited(soft, hard))) == [str(soft), str(hard)]


def highest_limit() -> int:
    """How many open files this user can allow a process, a million at most."""
    probe = "import resource as r; n = {}; r.setrlimit(r.RLIMIT_NOFILE, (n, n)); print(n)"
    for limit in (1_000_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        done = run([sys.executable, "-c", probe.format(limit)], dict(os.environ))
        if done.returncode == 0:
            return int(done.stdout)
    return 0


def test_g7_start_up_does_not_depend_on_the_limit_of_open_files(real: Real) -> None:
    """G7: a start under a limit of a million descriptors takes as long as under one of a few hundred."""
    many = highest_limit()
    if many < 100_000:
        pytest.skip(f"needs a limit of 100,000 open files or more; this user can have {many}")
    took: dict[int, list[float]] = {256: [], many: []}
    for _ in range(4):
        for limit, times in took.items():
            began = time.monotonic()
            start(real, *limited(limit, limit))
            times.append(time.monotonic() - began)
            real.inside("kill", "a").ok()
    # A million calls of close(2) take longer than all of a start. A busy machine slows single rounds, not all four.
    assert min(took[many]) < 2 * min(took[256]) + 0.1, took


def test_g7_closing_costs_what_is_open() -> None:
    """G7: descriptors are closed because they are open, not because the limit would allow them."""
    keep = {0, 1, 2}
    with contextlib.ExitStack() as stack:
        opened = {stack.enter_context(Path(os.devnull).open("rb")).fileno() for _ in range(20)}
        closed: list[int] = []
        stack.enter_context(mock.patch("os.close", closed.append))
        ranges = stack.enter_context(mock.patch("os.closerange"))
        launch.close_all_but(keep)
        there = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 -- as the code under test does it
    assert opened <= set(closed)
    assert not keep & set(closed)
    assert len(closed) <= len(there) + 1
    ranges.assert_not_called()


def test_g7_environment(real: Real) -> None:
    """G7: a node gets the caller's environment, and of ours only what says which node it is."""
    with_notify = {"NOTIFY_SOCKET": "/run/systemd/notify", "MULTI_INSTANCE": "forged", "MULTI_INSTANCE_PID": "1"}
    done = real.raw(*real.start_words("a"), env=with_notify).ok()
    assert done.code == 0
    env = environ_of(real.pid("a"))
    assert env["HOME"] == real.env["HOME"]
    assert env["MULTI_INSTANCE"] == real.record("a")["token"]
    assert env["MULTI_INSTANCE_PID"] == str(real.pid("a"))
    assert env["MULTI_INSTANCE_PIDFILE"] == str(real.pidfile("a"))
    assert "NOTIFY_SOCKET" not in env


def test_g9_a_variable_without_a_name(real: Real) -> None:
    """G9: a caller may have one in its environment, as execve(2) allows; Python can give it to nobody."""
    words = [*MULTI, *real.start_words("a")]
    nameless = """
import ctypes, os, sys
words = [os.fsencode(word) for word in sys.argv[1:]]
pairs = [b"=nameless", *(b"=".join(pair) for pair in os.environb.items())]
array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)
ctypes.CDLL(None).execve(words[0], array(words), array(pairs))
"""
    done = run([sys.executable, "-c", nameless, *words], real.env)
    assert done.returncode == 0, done
    assert words_of(real.pid("a")) == ["sleep", "600"]


def test_g7_portable_path(real: Real) -> None:
    """G7: detaching is the same where there is no pidfd: the launcher does it, not the way of watching."""
    (real.base / "run").mkdir()
    (real.base / "log").mkdir()
    node = node_of(
        "a",
        argv=("sleep", "600"),
        pidfile=str(real.pidfile("a")),
        logfile=str(real.logfile("a")),
        startsecs=0.0,
    )
    with mock.patch.dict(os.environ, real.env, clear=True), contextlib.ExitStack() as stack:
        machine = stack.enter_context(System(pidfd=False))
        assert isinstance(list(walk([Task(node, Request("start"))], RunOptions(), machine))[-1], Readied)
    is_detached(real, real.pid("a"))
