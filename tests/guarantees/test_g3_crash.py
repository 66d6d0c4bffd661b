"""G3 Nothing is lost: KILL hits `multi` anywhere, and the next command goes on as if it had been there all the time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from bystander import end, reaping
from fault import DIRECTORY, DISK, killed, limited, refused
from real import Real, alive, environ_of, stat, until, words_of

FAMILY = "sh -c 'setsid sleep 600 & exec sleep 600'"  # a main process, and a child in a session of its own
SCHEDULE = "--stop-schedule=TERM/5/KILL/5"
FILES = {"pid", "json"}


@pytest.fixture(autouse=True)
def reaped() -> Iterator[None]:
    """What a killed command leaves becomes our child, so we see when it is gone."""
    with reaping():
        yield


def forked() -> list[int]:
    """Our descendants that are a launcher, or a node at its gate, which is a fork of one."""
    below = psutil.Process().children(recursive=True)
    return [one.pid for one in below if "child.serve" in "".join(words_of(one.pid))]


def settled(before: frozenset[int]) -> None:
    """Wait until launcher and gates of a killed command are gone, and reap what was left to us."""
    until(lambda: set(forked()) <= before, "launcher and gates see that multi is gone")
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def on_a(real: Real, command: str) -> tuple[str, ...]:
    """The words of a command on the node ``a``."""
    if command == "start":
        return real.start_words("a", SCHEDULE, cmd=FAMILY)
    return (command, f"--pidfile={real.run}/%n.pid", "a", SCHEDULE)


def _token(pid: int) -> str:
    return environ_of(pid).get("MULTI_INSTANCE", "")


def one_runs(real: Real) -> None:
    """Fail unless there is exactly one node, with all its files, and nothing else."""
    pid = real.pid("a")
    record = real.record("a")
    assert record["pid"] == pid
    assert record["desired"] == "up"
    # In the middle of its execve(2) a process shows no environment.
    until(
        lambda: real.processes("a") == [pid] and set(map(_token, real.family())) == {record["token"]} != {""},
        "one runs, and it is the one on record",
    )
    assert real.state("a") == {"a": "running"}


def none_runs(real: Real) -> None:
    """Fail unless nothing of the node runs, and what is on record of it, if anything, is that it was stopped (G14)."""
    assert real.family() == []
    assert not real.pidfile("a").exists()
    assert real.state("a") == {"a": "stopped"}
    if real.recordfile("a").exists():
        assert real.record("a")["desired"] == "stopped"


def prepare(real: Real, state: str) -> None:
    """Bring the node into a state."""
    if state != "down":
        real.inside_raw(*on_a(real, "start")).ok()
        until(lambda: len(real.family()) == 2, "the child is there")
    if state == "dead":
        end(real.pid("a"))
    if state == "orphans":
        end(real.pid("a"))
        real.pidfile("a").unlink()
        real.recordfile("a").unlink()
    if state == "lost":
        real.recordfile("a").unlink()
    if state == "no pidfile":
        real.pidfile("a").unlink()


SCENES = [
    ("start", "down"),
    ("stopwait", "up"),
    *(
        pytest.param(command, state, marks=pytest.mark.engine)
        for command, state in (
            ("start", "dead"),
            ("start", "lost"),
            ("stop", "up"),
            ("stopwait", "dead"),
            ("stopwait", "lost"),
            ("kill", "up"),
            ("restart", "up"),
        )
    ),
]


@pytest.mark.parametrize(("command", "state"), SCENES)
def test_g3_killed_before_any_effect(real: Real, command: str, state: str) -> None:
    """KILL at each step of a command leaves a state from which `start`, `stopwait` and `restart` go on correctly."""
    before = frozenset(forked())
    number, hit = 0, True
    while hit:
        number += 1
        prepare(real, state)
        hit = killed(real.env, number, *on_a(real, command))
        settled(before)
        assert set(real.state("a").values()) <= {"running", "stopping", "stopped", "dead", "lost", "starting"}, number
        following = ("start", "stopwait", "restart")[number % 3]
        if following == "restart" and not real.recordfile("a").exists():
            following = "start"  # there is no command on record that could be used again
        done = real.inside_raw(*on_a(real, following))
        assert done.code == 0, (number, done)
        if following != "stopwait":
            one_runs(real)
        real.inside_raw(*on_a(real, "stopwait")).ok()
        none_runs(real)
        settled(before)
    assert number > 8


@pytest.mark.parametrize("command", ["stop", "stopwait", "restart"])
def test_g3_cut_off_before_the_signal(real: Real, command: str) -> None:
    """A stop that was asked for and not sent is sent by whoever comes next: nobody waits for a TERM that never was."""
    tally = real.base / "tally"
    worker = real.worker("--tally", str(tally))
    words = real.start_words("a", "--stop-schedule=TERM/0.5/KILL/5", cmd=worker)
    real.inside_raw(*words).ok()
    pid = real.pid("a")
    assert killed(real.env, 1, *on_a(real, command), only={"pidfd_send_signal"})
    assert real.record("a")["desired"] == ("restarting" if command == "restart" else "stopped")
    assert not tally.exists()
    following = {"stop": "stop", "stopwait": "start", "restart": "start"}[command]
    real.inside_raw(*(words if following == "start" else on_a(real, following))).ok()
    until(lambda: tally.exists() and f"{pid} TERM\n" in tally.read_text(encoding="ascii"), "it heard TERM")
    real.inside("kill", "a").ok()


def cut_off_before_the_kill(real: Real) -> tuple[int, int]:
    """Cut a `kill` off when the whole tree stands still and nobody is killed yet; the main process and its child."""
    real.inside_raw(*on_a(real, "start")).ok()
    pid = real.pid("a")

    def child_of_it() -> int | None:  # the launcher may still be there, too
        found = [seen for seen in map(stat, real.family()) if seen is not None and seen.ppid == pid]
        return found[0].pid if found else None

    child = until(child_of_it, "the child is there")
    assert killed(real.env, 3, *on_a(real, "kill"), only={"pidfd_send_signal"})  # STOP, STOP, and now KILL
    until(lambda: stands_still(pid) and stands_still(child), "the tree stands still")
    return pid, child


def stands_still(pid: int) -> bool:
    """Whether it was stopped by a signal (proc_pid_stat(5))."""
    seen = stat(pid)
    return seen is not None and seen.state == "T"


@pytest.mark.parametrize("command", ["start", "stop", "stopwait", "restart", "kill"])
def test_g3_cut_off_before_the_kill(real: Real, command: str) -> None:
    """A tree that was stopped (SIGSTOP) to be killed goes on to its end, also by a schedule that never gets to KILL."""
    pid, child = cut_off_before_the_kill(real)
    (view,) = json.loads(real.inside("status", "--json", "a").out)
    assert (view["state"], view["pid"]) == ("stopping", pid)
    assert view["why"].startswith("suspended by SIGSTOP or by a stop that was cut off")
    real.inside_raw(*on_a(real, command), "--stop-schedule=TERM/forever").ok()
    until(lambda: not alive(pid), "it ends when it is asked to")
    if command in {"start", "restart"}:
        until(lambda: len(real.family()) == 2, "it was started anew, with its child")
        assert real.pid("a") != pid
        assert not alive(child)
        real.inside("kill", "a").ok()
    if command == "stop":
        real.inside("stopwait", "a").ok()  # for the child: who does not wait ends nobody but the main process
    none_runs(real)


def test_g3_cut_off_before_the_kill_under_cron(real: Real) -> None:
    """`ensure` starts nothing that was to be stopped; but it leaves nobody standing still for ever."""
    pid, child = cut_off_before_the_kill(real)
    real.inside_raw(*on_a(real, "ensure")).ok()
    until(lambda: not stands_still(pid) and not stands_still(child), "both go on")
    assert real.state("a") == {"a": "stopping"}
    real.inside_raw(*on_a(real, "stopwait")).ok()
    none_runs(real)


def test_g3_cut_off_before_the_kill_of_a_node_without_a_record(real: Real) -> None:
    """Where no record tells of the stop, the node counts as running: so `start` makes it run."""
    worker = real.own_worker()
    real.run.mkdir()
    real.pidfile("a").write_text(f"{worker.pid}\n", encoding="ascii")
    words = real.start_words("a", cmd=" ".join(words_of(worker.pid)))
    assert killed(real.env, 2, "kill", *words[1:], only={"pidfd_send_signal"})
    until(lambda: stands_still(worker.pid), "it stands still")
    status = real.inside_raw("status", *words[1:])
    assert "running" in status.out
    assert "suspended by SIGSTOP; 'multi start' resumes it" in status.out
    (skipped,) = real.inside_raw("ensure", "--json", *words[1:]).exits(1).events
    assert str(skipped["why"]).startswith("suspended by SIGSTOP")
    assert stands_still(worker.pid)
    start = real.inside_raw(*words).ok()
    assert f"sent CONT to pid {worker.pid}" in start.out
    assert "already running" in start.out
    until(lambda: not stands_still(worker.pid), "it goes on")
    assert worker.poll() is None


def test_g3_cut_off_after_the_signal(real: Real) -> None:
    """A stop that was sent is not sent again by the `start` that waits for it: twice TERM is cold to some workers."""
    tally = real.base / "tally"
    words = real.start_words("a", "--stop-schedule=TERM/1/KILL/5", cmd=real.worker("--tally", str(tally)))
    real.inside_raw(*words).ok()
    pid = real.pid("a")
    stop = real.begin("stopwait", f"--pidfile={real.run}/%n.pid", "a", "--stop-schedule=TERM/60/KILL/5")
    until(lambda: real.record("a")["signalled"], "the signal is sent and on record")
    stop.process.kill()
    stop.process.wait()
    assert real.state("a") == {"a": "stopping"}
    real.inside_raw(*words).ok()
    assert not alive(pid)
    assert real.pid("a") != pid
    assert tally.read_text(encoding="ascii") == f"{pid} TERM\n"
    real.inside("kill", "a").ok()


def test_g3_killed_at_any_time(real: Real) -> None:
    """KILL for the command itself, a process of its own, at random times: at most one of a node, none is lost."""
    rng = random.Random(20)
    names = ("a", "b", "c")
    for _ in range(16):
        command = rng.choice(["start", "start", "restart", "stopwait", "kill", "stop"])
        words = real.start_words(*names) if command == "start" else (command, f"--pidfile={real.run}/%n.pid", *names)
        begun = real.begin(*words)
        time.sleep(rng.uniform(0.02, 0.35))
        begun.process.kill()
        begun.process.wait()
        for name in names:
            assert len(real.processes(name)) <= 1, (command, name)
    real.inside_raw(*real.start_words(*names)).ok()
    assert real.state(*names) == dict.fromkeys(names, "running")
    assert sorted(real.family()) == sorted(real.pid(name) for name in names)
    real.inside("stopwait", *names).ok()
    none_runs(real)


def test_g3_the_launcher_is_killed(real: Real) -> None:
    """Who forks the nodes may be killed: those that run stay on record, and the command tells them from the others."""
    begun = real.begin(*real.start_words("a", "b", startsecs=1.5))
    pids = until(lambda: real.processes("a") + real.processes("b"), "both execute") and [
        until(lambda name=name: real.processes(name), name)[0]  # type: ignore[misc]  # a lambda that keeps this turn's value
        for name in ("a", "b")
    ]
    parent = stat(pids[0])
    assert parent is not None
    assert parent.ppid not in {1, begun.process.pid}
    os.kill(parent.ppid, signal.SIGKILL)
    begun.done().ok()
    assert real.state("a", "b") == {"a": "running", "b": "running"}
    assert [real.pid("a"), real.pid("b")] == pids
    real.inside("kill", "a", "b").ok()


# --- what the disk and the kernel refuse --------------------------------------------------------------

REFUSALS = {
    "full disk": (errno.ENOSPC, DISK, "No space left on device"),
    "broken disk": (errno.EIO, frozenset({"write", "fsync", "rename"}), "Input/output error"),
    "read-only": (errno.EROFS, DIRECTORY, "Read-only file system"),
    "vanished": (errno.ENOENT, frozenset({"rename"}), "No such file or directory"),
    "no more processes": (errno.EAGAIN, frozenset({"posix_spawn"}), "Resource temporarily unavailable"),
    "denied": (errno.EACCES, DIRECTORY, "Permission denied"),
}


def whole_or_absent(real: Real) -> None:
    """Fail for a pidfile or record that is empty or half written."""
    for path in real.run.glob("a.*") if real.run.exists() else ():
        if path.suffix == ".json":
            assert json.loads(path.read_bytes())["name"].startswith("a@")
        elif path.suffix == ".pid":
            assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_g3_refused_at_any_step_of_start(real: Real, refusal: str) -> None:
    """What a step of `start` is refused ends it with the reason: no process without a record, no half-written file."""
    error, only, why = REFUSALS[refusal]
    number, hit = 0, True
    while hit:
        number += 1
        ended = refused(real.env, number, error, only, *real.start_words("a"))
        hit = ended.hit
        assert "Traceback" not in ended.err, ended
        whole_or_absent(real)
        running = real.processes("a")
        if not hit:
            assert ended.code == 0, ended
        elif running:  # what was refused is no more than a courtesy, or came after the proof
            assert running == [real.pid("a")]
            assert real.record("a")["pid"] == running[0]
        else:
            assert ended.code in {1, 77}, ended
            assert why in ended.err, ended
            assert len(ended.err.splitlines()) == 1, ended
        real.inside_raw(*real.start_words("a")).ok()
        assert real.processes("a") == [real.pid("a")]
        real.inside("kill", "a").ok()
        for path in (real.run, real.log):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    assert number > 1


@pytest.mark.parametrize("refusal", ["full disk", "broken disk", "read-only"])
def test_g3_a_full_disk_keeps_nothing_running(real: Real, refusal: str) -> None:
    """Whatever cannot be written, `stopwait` and `kill` end the node; `restart` stops nothing it cannot start."""
    error, only, why = REFUSALS[refusal]
    for command in ("restart", "stopwait", "kill"):
        real.inside_raw(*real.start_words("a", cmd=FAMILY)).ok()
        until(lambda: len(real.family()) == 2, "the child is there")
        pid = real.pid("a")
        ended = refused(real.env, 1, error, only - {"unlink"}, *on_a(real, command))
        assert "Traceback" not in ended.err
        if command == "restart":
            assert ended.code in {1, 77}, ended
            assert why in ended.err
            assert real.processes("a") == [pid]
            real.inside("kill", "a").ok()
        else:
            assert ended.code == 0, ended
        none_runs(real)


@pytest.mark.root
def test_g3_a_disk_that_is_really_full(real: Real) -> None:
    """A run directory on a full file system: nothing is started, reason and remedy are said, files are whole."""
    real.run.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "multi-test", str(real.run)]
    subprocess.run(mount, check=True, timeout=10)
    try:
        filler = real.run / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            file.write(b"x" * 1_000_000)
        done = real.inside_raw(*real.start_words("a")).exits(1)
        assert "No space left on device; free some space on that disk" in done.err
        assert real.family() == []
        assert {path.name for path in real.run.iterdir()} <= {"filler", "a.history", "a.lock"}
        filler.unlink()
        real.inside_raw(*real.start_words("a")).ok()
        real.inside("stopwait", "a").ok()
    finally:
        subprocess.run(["umount", "-l", str(real.run)], check=True, timeout=10)


@pytest.mark.root
@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_g3_a_disk_that_is_really_read_only(real: Real, command: str) -> None:
    """A run directory that became read-only keeps no node running, and `restart` stops none that it cannot start."""
    real.run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "multi-test", str(real.run)], check=True, timeout=10)
    try:
        real.start("a").ok()
        pid = real.pid("a")
        subprocess.run(["mount", "-o", "remount,ro", str(real.run)], check=True, timeout=10)
        for starting in (real.inside("restart", "a"), real.inside_raw(*real.start_words("b"))):
            assert "Read-only file system" in starting.exits(77).err
        assert real.state("a") == {"a": "running"}
        real.inside(command, "a").exits(0 if command == "stop" else 77)
        until(lambda: not alive(pid), "it is gone")
    finally:
        subprocess.run(["umount", "-l", str(real.run)], check=True, timeout=10)


def test_g3_descriptors_run_out(real: Real) -> None:
    """With too few descriptors a start fails with the reason, wherever they run out; with enough it works."""
    import resource

    codes: list[int] = []
    for limit in range(6, 40):
        ended = limited(real.env, resource.RLIMIT_NOFILE, limit, *real.start_words("a"))
        codes.append(ended.code)
        whole_or_absent(real)
        assert len(real.processes("a")) == (1 if ended.code == 0 else 0), ended
        if ended.code == 0:
            assert real.state("a") == {"a": "running"}
            real.inside("kill", "a").ok()
            break
        # With so few, Python itself cannot open its own modules.
        assert "Too many open files" in ended.err or "Traceback" in ended.err, ended
        assert "remove it" not in ended.err, ended  # what cannot be opened now may well be sound
    assert codes[-1] == 0
    assert len(codes) > 1
