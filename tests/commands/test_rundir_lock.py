"""The lock of the run directory: one `apply` or `ensure` at a time, and a deploy script can hold it, too."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import pytest

from real import NOBODY, alive, until

if TYPE_CHECKING:
    from real import Begun, Real

HEAD = """
[defaults]
preset = "exec"
pidfile = "{base}/run/%n.pid"
logfile = "{base}/log/%n.log"
startsecs = 0
"""
SLOW = "[nodes.a]\ncmd = 'sleep 600'\nready = 'file:{base}/ready'\n"


def configure(real: Real, text: str) -> None:
    """Write the configuration."""
    (real.base / "multi.toml").write_text((HEAD + text).format(base=real.base), encoding="utf-8")


def lock_of(real: Real) -> Path:
    """The lock of the run directory."""
    return real.run / ".multi.lock"


def at_work(real: Real, *words: str) -> Begun:
    """A command that holds the lock, and waits until `ready` is there."""
    begun = real.begin(*words)
    until(lambda: real.pidfile("a").exists() and real.record("a")["phase"] == "starting", "it waits for readiness")
    return begun


def flock(path: Path, *, user: int | None = None) -> int:
    """What ``flock -n`` on that file exits with: 0 where it gets the lock."""
    words = [shutil.which("flock") or pytest.skip("needs flock(1)"), "-n", str(path), "true"]
    return subprocess.run(
        words, check=False, user=user, group=user, extra_groups=None if user is None else []
    ).returncode


def test_two_crons_at_once(real: Real) -> None:
    """One starts the dead node again, the other ends at once with 0 and not a word."""
    configure(real, SLOW)
    applied = at_work(real, "apply")
    (real.base / "ready").touch()
    applied.done().ok()
    died = real.pid("a")
    os.kill(died, signal.SIGKILL)
    until(lambda: not alive(died), "it is gone")
    (real.base / "ready").unlink()
    first = at_work(real, "ensure")
    other = real.raw("ensure").exits(0)
    assert (other.out, other.err) == ("", "")
    assert first.process.poll() is None
    (real.base / "ready").touch()
    assert "started" in first.done().ok().out
    assert len(real.processes("a")) == 1
    assert real.raw("ensure").ok().out == ""


def test_an_apply_waits_and_reads_everything_again(real: Real) -> None:
    """What the configuration says when it is its turn counts, not what it said before the wait."""
    configure(real, SLOW)
    first = at_work(real, "apply")
    second = real.begin("apply")
    until(lambda: waits_for(second, lock_of(real)), "it waits")
    configure(real, "[nodes.b]\ncmd = 'sleep 600'\n")
    (real.base / "ready").touch()
    first.done().ok()
    done = second.done().ok()
    assert "b@" in done.out
    assert [real.pidfile(name).exists() for name in "ab"] == [False, True]


def waits_for(begun: Begun, path: Path) -> bool:
    """Whether it has the file open."""
    try:
        opened = [str(each.readlink()) for each in Path(f"/proc/{begun.process.pid}/fd").iterdir()]
    except OSError:
        return False
    return str(path) in opened


def test_an_apply_does_not_wait_for_ever(real: Real) -> None:
    """After --lock-timeout it exits with 75 and names who is at work; nothing was done."""
    configure(real, SLOW)
    first = at_work(real, "apply")
    pid = real.pid("a")
    done = real.raw("apply", "--lock-timeout=0.2").exits(75)
    assert done.err.startswith(
        f"multi: {lock_of(real)}: locked by another multi (pid {first.process.pid}: multi apply)"
    )
    assert "for more than 0.2s; wait, or raise --lock-timeout" in done.err
    (real.base / "ready").touch()
    first.done().ok()
    assert real.pid("a") == pid


def test_who_waits_can_be_interrupted(real: Real) -> None:
    """SIGINT ends the wait, exit 130; nothing was done, and the next one does not find the lock taken."""
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\n")
    real.run.mkdir()
    with filelock.FileLock(lock_of(real)):
        begun = real.begin("apply")
        until(lambda: waits_for(begun, lock_of(real)), "it waits")
        begun.process.send_signal(signal.SIGINT)
        begun.done().exits(130)
    assert not real.pidfile("a").exists()
    real.raw("apply").ok()


def test_filelock_and_flock_exclude_us_and_we_them(real: Real) -> None:
    """A deploy script may hold it by either, and runs 'apply --lock-held' itself; nobody else gets it meanwhile."""
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\n")
    real.run.mkdir()
    path = lock_of(real)
    with filelock.FileLock(path):
        real.inside_raw("apply", "--lock-timeout=0.1").exits(75)
        assert not real.pidfile("a").exists()
        real.inside_raw("apply", "--lock-held").ok()
    pid = real.pid("a")
    held = subprocess.Popen(["flock", str(path), "cat"], stdin=subprocess.PIPE)
    real.known.append(held)
    try:
        until(lambda: flock(path) == 1, "it is locked")
        done = real.inside_raw("apply", "--lock-timeout=0.1").exits(75)
        assert f"{path}: locked by another process for more than 0.1s; see 'fuser -v {path}'" in done.err
        assert real.inside_raw("ensure").ok().out == ""
        assert "as configured" in real.inside_raw("apply", "--lock-held").ok().out
    finally:
        held.communicate()
    configure(real, SLOW)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    first = at_work(real, "apply")
    assert flock(path) == 1
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(path, timeout=0).acquire()
    (real.base / "ready").touch()
    first.done().ok()
    assert flock(path) == 0
    with filelock.FileLock(path, timeout=0):
        pass


def test_g10_only_what_takes_its_turn_makes_the_file(real: Real) -> None:
    """G10: who looks, and who starts or stops single nodes, leaves no lock of the directory."""
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\n")
    for words in (("check",), ("diff",), ("apply", "--dry-run"), ("ensure",), ("status",)):
        real.inside_raw(*words)
        assert not real.run.exists(), words
    real.raw("start").ok()
    for words in (("status",), ("diff",), ("ensure", "--dry-run"), ("apply", "--dry-run"), ("restart",), ("logs",)):
        real.inside_raw(*words).ok()
    real.inside_raw("stopwait").ok()
    assert not lock_of(real).exists()
    real.inside_raw("apply").ok()
    assert stat.S_IMODE(lock_of(real).stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["link", "fifo", "second name"])
@pytest.mark.parametrize("command", ["apply", "ensure"])
def test_g8_a_planted_lock_is_refused(real: Real, what: str, command: str) -> None:
    """G8: nothing is written into what somebody put in its place, and nothing is started; exit 77."""
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\n")
    real.run.mkdir()
    target = real.base / "target"
    target.write_text("precious")
    if what == "fifo":
        os.mkfifo(lock_of(real))
    elif what == "link":
        lock_of(real).symlink_to(target)
    else:
        lock_of(real).hardlink_to(target)
    done = real.inside_raw(command).exits(77)
    assert f"cannot lock {lock_of(real)}" in done.err
    assert target.read_text() == "precious"
    assert not real.pidfile("a").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_g8_the_user_of_the_nodes_can_take_it(real: Real) -> None:
    """G8: what root makes belongs to the user whose nodes these are; of nodes of several users it is root's."""
    configure(real, f"[nodes.a]\ncmd = 'sleep 600'\nuid = '{NOBODY}'\n")
    for path in (real.run, real.log):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    real.raw("apply").ok()
    assert lock_of(real).stat().st_uid == NOBODY
    assert flock(lock_of(real), user=NOBODY) == 0
    (real.base / "shared").mkdir()
    text = "cmd = 'sleep 600'\npidfile = '{base}/shared/%n.pid'\nuid = "
    configure(real, f"[nodes.b]\n{text}'{NOBODY}'\n[nodes.c]\n{text}'daemon'\n")
    real.raw("apply", "--logfile=/dev/null").ok()
    assert (real.base / "shared" / ".multi.lock").stat().st_uid == 0
    os.chown(real.base / "shared" / ".multi.lock", NOBODY, NOBODY)
    real.raw("apply", "--logfile=/dev/null").ok()  # any of them may have made it


def test_several_directories_are_locked_in_order_of_their_paths(real: Real) -> None:
    """So two commands never wait for each other: the first is held while the second is waited for."""
    node = "cmd = 'sleep 600'\npidfile = '{base}/%n/%n.pid'\n"
    configure(real, f"[nodes.b]\n{node}[nodes.a]\n{node}")
    first, second = (real.base / name / ".multi.lock" for name in "ab")
    second.parent.mkdir()
    with filelock.FileLock(second):
        begun = real.begin("apply")
        until(lambda: waits_for(begun, second), "it waits for the second")
        assert flock(first) == 1
    begun.done().ok()
    assert flock(first) == flock(second) == 0


def test_a_directory_that_cannot_be_made(real: Real) -> None:
    """Its nodes say so themselves, and those of the other directories are started; exit 1."""
    (real.base / "file").touch()
    configure(real, "[nodes.a]\ncmd = 'sleep 600'\n[nodes.b]\ncmd = 'sleep 600'\npidfile = '{base}/file/%n.pid'\n")
    done = real.raw("apply").exits(1)
    assert "b@" in done.err
    assert alive(real.pid("a"))
