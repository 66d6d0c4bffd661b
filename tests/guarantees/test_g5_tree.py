"""G5 Stopped means gone, and G6: the tree of a node, however its processes hide; who gets which signal."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bystander import reaping
from multi.system import System
from real import NOBODY, WORKER, alive, pids, stat, until

if TYPE_CHECKING:
    from real import Real

HIDING = ("plain", "group", "session", "orphan")


def family(real: Real, name: str, members: int) -> set[int]:
    """The processes of a node, once there are so many."""
    pid = real.pid(name)
    until(lambda: len(real.family()) >= members, f"{members} processes are there")
    found = set(real.family())
    assert pid in found
    return found


@pytest.mark.parametrize("command", ["stopwait", "kill", "restart"])
@pytest.mark.parametrize("kind", [*HIDING, "bare"])
def test_g5_no_child_is_left(real: Real, kind: str, command: str) -> None:
    """G5: children that ignore TERM, left group or session, were re-parented or lost their environment are gone."""
    touched = real.base / "touched"
    real.start("a", cmd=real.worker("--child", kind, "--touch", str(touched))).ok()
    until(touched.exists, "the family is there")
    before = family(real, "a", 2)
    real.multi(command, "a", "--stop-schedule=TERM/10/KILL/10").ok()
    assert not [pid for pid in before if alive(pid)]


def test_g5_a_family_that_keeps_growing(real: Real) -> None:
    """G5: one that forks again and again while it is killed ends all the same."""
    touched = real.base / "touched"
    real.start("a", cmd=real.worker("--child", "forker", "--touch", str(touched))).ok()
    until(touched.exists, "the family is there")
    real.multi("kill", "a").ok()
    until(lambda: not real.family(), "nobody is left")


def test_g5_the_schedule_is_walked(real: Real) -> None:
    """G5: who ignores TERM and QUIT gets each at its time, and KILL at last; the whole is said and bounded."""
    tally = real.base / "tally"
    real.start("a", cmd=real.worker("--tally", str(tally)), startsecs=0.3).ok()
    pid = real.pid("a")
    done = real.multi("stopwait", "a", "--stop-schedule=TERM/0.5/QUIT/0.5/KILL/10").ok()
    assert tally.read_text().split() == [str(pid), "TERM", str(pid), "QUIT"]
    for name in ("TERM", "QUIT", "KILL"):
        assert f"sent {name} to pid {pid}" in done.out
    assert done.seconds >= 1.0


def test_g5_what_survives_is_named(real: Real) -> None:
    """G5: a schedule that ends without KILL ends in exit 1, with the pid; the node goes on, its files with it."""
    real.start("a", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    pid = real.pid("a")
    done = real.multi("stopwait", "a", "--stop-schedule=TERM/0.3").exits(1)
    assert str(pid) in done.err
    assert alive(pid)
    assert real.pid("a") == pid
    assert real.state("a") == {"a": "stopping"}


def test_g5_a_restart_never_starts_over_a_survivor(real: Real) -> None:
    """G5, G2: when the old process does not end, no new one is started."""
    real.start("a", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    pid = real.pid("a")
    real.multi("restart", "a", "--stop-schedule=TERM/0.3").exits(1)
    assert real.processes("a") == [pid]


@pytest.mark.parametrize("command", ["stop", "stopwait", "restart"])
def test_g6_the_graceful_signal_is_for_the_main_process_alone(real: Real, command: str, tmp_path: Path) -> None:
    """G6: no child sees TERM while the main process has its time."""
    tally = tmp_path / "tally"
    child = f"{real.worker('--tally', str(tally))} & "
    main = real.worker("--finish", "0.5")
    real.start("a", cmd=f"sh -c {_quoted(child + 'exec ' + main)}", startsecs=0.5).ok()
    family(real, "a", 2)
    real.multi(command, "a").ok()
    if command == "stop":
        until(lambda: not alive(real.pid("a")), "the main process has ended")
    assert not tally.exists()
    real.multi("kill", "a")
    for pid in real.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def test_g5_kill_mode_process_leaves_the_children(real: Real) -> None:
    """G5: `kill_mode = process` is for the main process only, as systemd.kill(5) has it."""
    touched = real.base / "touched"
    real.start("a", "--kill-mode=process", cmd=real.worker("--child", "session", "--touch", str(touched))).ok()
    until(touched.exists, "the family is there")
    pid = real.pid("a")
    (child,) = family(real, "a", 2) - {pid}
    real.expect_left(child)
    real.multi("stopwait", "a").ok()
    assert not alive(pid)
    assert alive(child)


def test_g5_a_zombie_is_gone(real: Real) -> None:
    """G5: under a parent that never reaps, as some containers' PID 1, the wait ends with the process."""
    with reaping():
        real.start("a").ok()
        pid = real.pid("a")
        real.multi("stopwait", "a").ok()
        left = stat(pid)
        assert left is not None
        assert left.state == "Z"
        assert real.state("a") in ({}, {"a": "stopped"})
        real.start("a").ok()
        assert real.pid("a") != pid
        real.multi("stopwait", "a").ok()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def test_g5_children_of_a_main_process_that_died(real: Real) -> None:
    """G5: a main process that was killed behind our back leaves children; the next start ends them first."""
    touched = real.base / "touched"
    real.start("a", cmd=real.worker("--child", "session", "--touch", str(touched))).ok()
    until(touched.exists, "the family is there")
    pid = real.pid("a")
    (child,) = family(real, "a", 2) - {pid}
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "the main process is gone")
    real.start("a").ok()
    assert not alive(child)


_OTHER_USER = """
import os, sys, time
os.setuid(int(sys.argv[1]))
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    open(sys.argv[2], "w").close()
    time.sleep(600)
os.wait()
time.sleep(600)
"""


@pytest.mark.root
@pytest.mark.parametrize("command", ["stopwait", "kill", "restart"])
def test_g5_a_worker_that_changed_its_user_and_lost_its_record(real: Real, command: str) -> None:
    """G5: the running process itself tells the token by which its children in other sessions are found."""
    touched = real.base / "open" / "touched"
    touched.parent.mkdir()
    touched.parent.chmod(0o1777)
    cmd = real.shell_words(_OTHER_USER, str(NOBODY), str(touched))
    real.start("a", cmd=cmd).ok()
    until(touched.exists, "the child is there")
    before = set(real.family())
    real.recordfile("a").unlink()
    touched.unlink()
    real.multi(command, "a", "--preset=exec", f"--cmd={cmd}").ok()
    assert not [pid for pid in before if alive(pid)]


_LEADERLESS = """
import ctypes, os, signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork():
        os._exit(0)
    os.setsid()
    threading.Thread(target=time.sleep, args=(600,)).start()
    ctypes.CDLL(None).pthread_exit(None)
os.wait()
time.sleep(600)
"""


def threads(pid: int) -> list[str]:
    """The states of a process's threads; none when it is gone."""
    return [text.rpartition(b")")[2].split()[0].decode() for text in of_threads(pid, "stat") if text]


def of_threads(pid: int, what: str) -> list[bytes]:
    """What /proc has of each thread of a process; empty of those that have ended."""
    found: list[bytes] = []
    for path in Path(f"/proc/{pid}/task").glob(f"*/{what}"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_g5_a_child_whose_first_thread_has_ended(real: Real, command: str) -> None:
    """G5: it shows as a zombie, and its environment is to be had from its other threads alone; but it runs."""
    real.start("a", cmd=real.shell_words(_LEADERLESS)).ok()
    main = real.pid("a")

    def leaderless() -> int | None:
        ended = [pid for pid in pids() if (seen := stat(pid)) and seen.state == "Z" and len(threads(pid)) > 1]
        carried = b"MULTI_INSTANCE_PID=%d\0" % main
        return next((pid for pid in ended if any(carried in environ for environ in of_threads(pid, "environ"))), None)

    child = until(leaderless, "its first thread has ended, the other has not")
    assert sorted(threads(child)) == ["S", "Z"]
    try:
        real.multi(command, "a", "--stop-schedule=TERM/0.2/KILL/10").ok()
        assert "S" not in threads(child)
    finally:
        if "S" in threads(child):
            os.kill(child, signal.SIGKILL)


_JOBS = """
import os, signal, sys
widths = sys.argv[1:]
worker, mark = os.environ["ESCAPE"], os.environ["MULTI_TEST_MARK"]
done, tell = os.pipe()
def escape(*_):
    if os.fork() == 0:
        os.setsid()
        os.execve(sys.executable, [sys.executable, "-I", "-S", worker, "--ignore", "HUP", "--mark", mark], {})
def run(depth):  # as a shell with job control: each child has a group of its own, and the child of a child that is gone
    for number in range(int(widths[depth]) if depth < len(widths) else 0):
        if os.fork() == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGHUP, escape)
            run(depth + 1)
            between = os.fork()
            if between == 0:
                if os.fork() == 0:
                    os.write(tell, b"x")
                    rest()
                os._exit(0)
            os.waitpid(between, 0)
            os.write(tell, b"x")
            rest()
def rest():
    while True:
        signal.pause()
run(0)
count = 0
for width in reversed(widths):
    count = int(width) * (2 + count)
while count:
    count -= len(os.read(done, count))
open("up", "w").close()
rest()
"""


@pytest.mark.parametrize("command", ["kill", "stopwait", "restart", "dead", "start"])
@pytest.mark.parametrize("widths", [("40",), ("6", "4")], ids=["wide", "deep"])
def test_g5_nobody_wakes_up_while_a_tree_is_killed(real: Real, widths: tuple[str, ...], command: str) -> None:
    """G5: the kernel wakes stopped groups that lose their parents; so children are killed before parents."""
    up = real.base / "up-with-jobs"
    up.mkdir()
    words = real.start_words("a", f"--workdir={up}", cmd=real.shell_words(_JOBS, *widths))
    escape = {"ESCAPE": WORKER}
    if command == "start":
        never = (f"--ready=file:{up}/never", "--ready-timeout=1", "--stop-schedule=KILL/10")
        real.raw(*words, *never, env=escape).exits(1)
    else:
        real.raw(*words, env=escape).ok()
        until((up / "up").exists, "the family is there")
    if command == "dead":
        os.kill(real.pid("a"), signal.SIGKILL)
        real.multi("stopwait", "a").ok()
    elif command != "start":
        real.multi(command, "a", *(["--preset=exec", "--cmd=sleep 600"] if command == "restart" else [])).ok()
    assert real.family() == ([real.pid("a")] if command == "restart" else [])


_JOB_CONTROL = """
set -m
for job in 1 2 3 4 5; do
    bash -c 'trap "env -i setsid $ESCAPE &" HUP; echo up >>up; while :; do sleep 600 & wait $!; done' &
done
wait
while :; do sleep 600; done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: job control")
@pytest.mark.parametrize("command", ["kill", "stopwait"])
def test_g5_jobs_of_a_shell(real: Real, command: str) -> None:
    """G5: what a shell with job control runs is killed before it wakes up, where a handler of HUP would escape."""
    script = real.base / "jobs.sh"
    script.write_text(_JOB_CONTROL)
    ups = real.base / "up-of-jobs"
    ups.mkdir()
    words = real.start_words("a", f"--workdir={ups}", cmd=f"bash {script}")
    real.raw(*words, env={"ESCAPE": real.worker()}).ok()
    until(lambda: (ups / "up").exists() and (ups / "up").read_text().count("up") == 5, "the jobs run")
    real.multi(command, "a", "--stop-schedule=KILL/10").ok()
    assert not real.family()


_RESPAWNING = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def live(depth):
    mine = set()
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if depth < 3 and len(mine) < 3:
            pid = os.fork()
            if pid == 0:
                if depth % 2:
                    os.setsid()
                live(depth + 1)
                os._exit(0)
            mine.add(pid)
        mine = {pid for pid in mine if not os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(0.01)
live(0)
"""


@pytest.mark.parametrize("command", ["stopwait", "kill"])
def test_g5_who_is_killed_is_replaced_at_once(real: Real, command: str) -> None:
    """G5: 40 processes, no environment, many sessions; each has a new child as soon as one of its own dies."""
    script = real.base / "respawning.py"
    script.write_text(_RESPAWNING)
    python = shlex.join([sys.executable, "-I", "-S", str(script), real.mark])
    real.start("a", cmd=f"env -i {python}").ok()
    before = family(real, "a", 40)
    done = real.multi(command, "a", "--stop-schedule=TERM/0.3/KILL/10").ok()
    assert "other processes of its tree" in done.out
    assert not [pid for pid in before if alive(pid)]
    assert not real.family()


@pytest.mark.parametrize("procfs", [True, False], ids=["procfs", "psutil"])
@pytest.mark.parametrize("kind", [*HIDING, "bare"])
def test_g5_without_pidfds(real: Real, kind: str, procfs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: where the kernel cannot hold a process for us, the tree goes all the same."""
    defaults = {"pidfd": False, "procfs": procfs, "signals": ()}
    monkeypatch.setattr(System.__init__, "__kwdefaults__", defaults)
    touched = real.base / "touched"
    worker = real.worker("--child", kind, "--touch", str(touched))
    real.inside_raw(*real.start_words("a", cmd=worker)).ok()
    until(touched.exists, "the family is there")
    real.inside("stopwait", "a", "--stop-schedule=TERM/10/KILL/10").ok()
    assert not real.family()
