"""G2 One node, one process: however many commands run at once, and whoever holds the lock."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from real import alive, descriptors, environ_of, run, until, words_of

if TYPE_CHECKING:
    from real import Real

_CROWD = 50


def test_g2_fifty_starts_at_once_are_one_start(real: Real) -> None:
    """G2: fifty `start w1` at the same time give one process, and fifty exits of 0."""
    words = real.start_words("w1", "--lock-timeout=120")
    begun = [real.begin(*words) for _ in range(_CROWD)]
    done = [one.done(120) for one in begun]
    assert [one.code for one in done] == [0] * _CROWD
    assert len(real.processes("w1")) == 1
    assert sum("started" in one.out for one in done) == 1
    assert sum("already running" in one.out for one in done) == _CROWD - 1


def test_g2_a_slow_stop_never_blocks_another_node(real: Real) -> None:
    """G2: while one command waits for the end of w1, another starts and stops w2, together with nothing else."""
    real.start("w1", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    slow = real.begin("stopwait", "w1", f"--pidfile={real.run}/%n.pid", "--stop-schedule=TERM/30/KILL/5")
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    real.start("w2").ok()
    real.multi("stopwait", "w2").ok()
    assert slow.process.poll() is None
    os.kill(real.pid("w1"), signal.SIGKILL)
    slow.done().ok()


def test_g2_one_command_on_both_does_the_free_node_at_once(real: Real) -> None:
    """G2: a command that finds one node locked does the others meanwhile, and this one when it is free."""
    real.start("w1", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    slow = real.begin("stopwait", "w1", f"--pidfile={real.run}/%n.pid", "--stop-schedule=TERM/30/KILL/5")
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    both = real.begin(*real.start_words("w1", "w2"))
    until(lambda: real.processes("w2"), "w2 is started")
    assert both.process.poll() is None
    os.kill(real.pid("w1"), signal.SIGKILL)
    slow.done().ok()
    both.done().ok()
    assert len(real.processes("w1")) == 1


def test_g2_a_lock_held_too_long_is_exit_75_and_names_the_holder(real: Real) -> None:
    """G2, G9: after `--lock-timeout` the command gives up with 75, says who is at work, and has done nothing."""
    real.start("w1", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    slow = real.begin("stopwait", "w1", f"--pidfile={real.run}/%n.pid", "--stop-schedule=TERM/30/KILL/5")
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    refused = real.multi("restart", "w1", "--lock-timeout=0.3").exits(75)
    assert f"pid {slow.process.pid}" in refused.err
    assert "--lock-timeout" in refused.err
    os.kill(real.pid("w1"), signal.SIGKILL)
    slow.done().ok()
    assert not real.processes("w1")


def test_g2_a_lock_that_no_multi_holds_names_none(real: Real) -> None:
    """G2, G9: the lock file still names the last `multi`; when somebody else holds the lock, the message does not."""
    real.start("w1").ok()
    pid = real.pid("w1")
    lock = real.run / "w1.lock"
    assert lock.read_text(encoding="utf-8").startswith("pid ")
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = real.multi("restart", "w1", "--lock-timeout=0.3").exits(75)
    assert f"{lock} is locked by another process for more than 0.3s; see 'fuser -v {lock}'" in refused.err
    assert "another multi" not in refused.err
    # The pid in the file may be somebody else's by now; that one is younger than what the file says.
    lock.write_text(f"pid {pid}: multi start w1\n", encoding="utf-8")
    os.utime(lock, (1e9, 1e9))
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another multi" not in real.multi("restart", "w1", "--lock-timeout=0.3").exits(75).err
    assert real.processes("w1") == [pid]


def test_g2_a_restart_that_waits_for_another_one_starts_what_that_put_on_record(real: Real) -> None:
    """G2: the second does not bring back the command that the first one has just replaced."""
    real.start("w1", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    real.start("w2", cmd=real.worker()).ok()
    before = real.pid("w2")
    new = f"--cmd={real.worker('--ignore', 'HUP')}"
    words = ("restart", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", "w1")
    slow = real.begin(*words, new, f"--logfile={real.log}/%n.log", "--stop-schedule=TERM/60/KILL/5")
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    second = real.begin("restart", f"--pidfile={real.run}/%n.pid", "w1", "w2")
    until(lambda: real.pidfile("w2").exists() and real.pid("w2") != before, "the second has chosen what to start")
    os.kill(real.pid("w1"), signal.SIGKILL)
    slow.done().ok()
    second.done().ok()
    assert words_of(real.pid("w1"))[-2:] == ["--ignore", "HUP"]


def test_g2_a_run_directory_by_another_name(real: Real) -> None:
    """G2: /var/run is /run on most machines; by the other name no second process is started for a lost pidfile."""
    real.start("w1").ok()
    before = real.pid("w1")
    real.pidfile("w1").unlink()
    (real.base / "other").symlink_to(real.run)
    words = real.start_words("w1")
    done = real.raw(*(word.replace(f"--pidfile={real.run}/", f"--pidfile={real.base}/other/") for word in words))
    assert f"adopted pid {before}: its pidfile {real.run}/w1.pid is gone" in done.ok().out
    assert real.pid("w1") == before
    assert real.processes("w1") == [before]


def test_g2_the_lock_of_a_killed_command_is_no_obstacle(real: Real) -> None:
    """G2, G3: the kernel gives a lock back when its holder dies; the file that is left means nothing."""
    real.start("w1", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    slow = real.begin("stopwait", "w1", f"--pidfile={real.run}/%n.pid", "--stop-schedule=TERM/30/KILL/5")
    until(lambda: real.state("w1") == {"w1": "stopping"}, "the stop is under way")
    slow.process.kill()
    slow.done()
    real.multi("kill", "w1", "--lock-timeout=5").ok()


def test_g2_the_lock_is_not_inherited(real: Real) -> None:
    """G2, G7: no node has the descriptor of a lock, so no node keeps its lock when the command is over."""
    real.start("w1", "w2").ok()
    for name in ("w1", "w2"):
        assert not [path for path in descriptors(real.pid(name)).values() if path.endswith(".lock")]
        with (real.run / f"{name}.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_g2_a_node_whose_files_were_deleted_is_not_started_again(real: Real) -> None:
    """G2: without pidfile and record `start` finds the process by its environment and adopts it."""
    real.start("w1").ok()
    pid = real.pid("w1")
    real.pidfile("w1").unlink()
    real.recordfile("w1").unlink()
    assert "adopted" in real.start("w1").ok().out
    assert real.pid("w1") == pid
    assert real.processes("w1") == [pid]


def test_g2_the_whole_run_directory_is_deleted(real: Real) -> None:
    """G2, G3: `status` says lost, `start` adopts, and `stopwait` without names stops what ran there."""
    real.start("w1", "w2").ok()
    pids = [real.pid("w1"), real.pid("w2")]
    for path in real.run.iterdir():
        path.unlink()
    real.run.rmdir()
    assert real.state("w1", "w2") == {"w1": "lost", "w2": "lost"}
    real.start("w1").ok()
    assert real.pid("w1") == pids[0]
    real.multi("stopwait").ok()
    assert not any(map(alive, pids))


_LARGE = """
import os, sys, time
where = int(sys.argv[1])
env = dict(os.environb)
if where:
    marks = {name: env.pop(name) for name in list(env) if name.startswith(b"MULTI_INSTANCE")}
    env = {name: value for name, value in env.items() if not name.startswith(b"LARGE")}
    while (room := where - sum(len(name) + len(value) + 2 for name, value in env.items())) > 0:
        env[f"PAD{len(env):04}".encode()] = b"x" * max(0, min(room - 9, 100_000))
    words = [sys.executable, "-I", "-S", "-c", sys.orig_argv[sys.orig_argv.index("-c") + 1], "0"]
    os.execve(sys.executable, words, {**env, **marks})
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
os.wait()
time.sleep(600)
"""


@pytest.mark.parametrize("where", [0, (1 << 18) - 40, 1_000_000], ids=["first", "across", "last"])
def test_g2_g5_a_large_environment(real: Real, where: int) -> None:
    """G2, G5: 400 kB of variables hide no process and no child, wherever among them those are that say whose it is."""
    large = {f"LARGE{number}": "x" * 100_000 for number in range(4)}
    words = real.start_words("w1", cmd=real.shell_words(_LARGE, str(where)))
    real.raw(*words, env=large).ok()
    pid = real.pid("w1")
    until(lambda: len(real.family()) == 2, "the child is there")
    family = real.family()
    environ = environ_of(pid)
    marks = [name for name in environ if name.startswith("MULTI_INSTANCE")]
    assert len(marks) == 4
    assert list(environ)[: None if where else 4][-4:] == marks
    shutil.rmtree(real.run)
    assert real.state("w1") == {"w1": "lost"}
    real.raw(*words, env=large).ok()
    assert real.processes("w1") == [pid]
    real.multi("stopwait", "w1").ok()
    assert not [one for one in (*family, *real.family()) if alive(one)]


def test_g2_restarts_at_once_leave_one_process(real: Real) -> None:
    """G2: ten `restart w1` at the same time take turns; at the end one process runs."""
    real.start("w1").ok()
    begun = [real.begin("restart", "w1", f"--pidfile={real.run}/%n.pid") for _ in range(10)]
    for one in begun:
        one.done(120).ok()
    assert len(real.processes("w1")) == 1


def test_g2_a_node_may_run_multi_itself(real: Real) -> None:
    """G2: a worker that starts another node is not taken for it, and stopping one leaves the other alone."""
    inner = shlex.join([sys.executable, "-m", "multi", *real.start_words("inner")])
    script = (inner + "; exec sleep 600").replace("%", "%%")  # the templates are the inner command's
    real.start("outer", cmd=f"sh -c {shlex.quote(script)}").ok()
    until(lambda: real.processes("inner"), "the inner node is up")
    real.multi("stopwait", "outer").ok()
    assert len(real.processes("inner")) == 1
    real.multi("stopwait", "inner").ok()


def test_g2_what_stands_at_our_gate_is_no_part_of_the_node_that_we_run_in(real: Real) -> None:
    """G2: a worker may restart itself and others; what is being started is not killed with the worker's old tree."""
    code = """
from multi.machine import Launch
from multi.model.happening import Prepared
from multi.system import System
with System() as system:
    system.launch("w", Launch(argv=("sleep", "600"), env=(), logfile="/dev/null"))
    while not any(isinstance(one, Prepared) for one in system.wait(system.now() + 10)):
        pass
    print([pid for pid, info in system.processes().by_pid.items() if info.instance and info.instance.token == "outer"])
"""
    outer = {"MULTI_INSTANCE": "outer", "MULTI_INSTANCE_PID": "999999", "MULTI_INSTANCE_PIDFILE": "/run/outer.pid"}
    done = run([sys.executable, "-c", code], {**real.env, **outer})
    assert (done.stdout, done.returncode) == (b"[]\n", 0), done
