"""G8 Safe as root, attacked: what the node's own user, or a stranger, plants for root to fall into."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bystander import end
from multi.system.trusted_path import UnsafeError, open_directory
from real import NOBODY, PATIENCE, alive, status, until, words_of

if TYPE_CHECKING:
    from real import Real

pytestmark = pytest.mark.root
WORDS = "root's own words\n"


@pytest.fixture
def secret(real: Real) -> Path:
    """A file of root's that must stay as it is."""
    path = real.base / "secret"
    path.write_text(WORDS, encoding="ascii")
    path.chmod(0o600)
    return path


def give(*paths: Path) -> None:
    """Make them belong to the unprivileged user; links themselves, not what they lead to."""
    for path in paths:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def theirs(real: Real) -> None:
    """Run and log directory belong to the unprivileged user, as init scripts make them."""
    for path in (real.run, real.log):
        path.mkdir()
        give(path)


def rewrite(real: Real, **settings: object) -> None:
    """Let the unprivileged user put another record in the place of root's."""
    record = real.record("a")
    given = record["settings"]
    assert isinstance(given, dict)
    real.recordfile("a").unlink()
    facts = {key: settings.pop(key) for key in record.keys() & settings.keys()}
    text = json.dumps({**record, **facts, "settings": {**given, **settings}})
    real.recordfile("a").write_text(text, encoding="utf-8")
    give(real.recordfile("a"))


def test_g8_a_users_record_does_only_what_the_user_could(real: Real) -> None:
    """G8: root's `restart` of a record that its user wrote: that user, its groups, no limits, no directory for it."""
    theirs(real)
    real.start("a", "--uid=nobody").ok()
    evil = real.base / "evil.service.d"
    rewrite(
        real,
        command=["sleep", "611"],
        gid="root",
        nice=-5,
        rlimit={"nofile": "77:77"},
        logfile=f"{evil}/x.log",
    )
    real.multi("restart", "a").ok()
    pid = real.pid("a")
    seen = status(pid)
    assert words_of(pid) == ["sleep", "611"]
    assert seen["Uid"].split() == [str(NOBODY)] * 4
    assert seen["Gid"].split() == [str(NOBODY)] * 4
    assert "0" not in seen["Groups"].split()
    assert int(seen["CapEff"], 16) == 0
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    assert "77" not in limits.split("Max open files")[1].splitlines()[0].split()
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert not evil.exists()
    assert real.processes("a") == [pid]
    assert real.recordfile("a").stat().st_uid == NOBODY  # and so it stays the word of that user
    real.multi("stopwait", "a").ok()


@pytest.mark.parametrize("uid", ["root", "daemon", None, "0", "nosuchuser"])
def test_g8_a_users_record_names_no_other_user(real: Real, uid: str | None) -> None:
    """G8: a record of that user's cannot make root run its command as root, or as anybody else."""
    theirs(real)
    real.start("a", "--uid=nobody").ok()
    real.multi("stopwait", "a", "--uid=nobody").ok()
    real.start("a", "--uid=nobody").ok()
    pid = real.pid("a")
    rewrite(real, command=["sleep", "612"], uid=uid)
    done = real.multi("restart", "a")
    assert done.code in {1, 2, 77}, done
    assert "Traceback" not in done.err
    assert alive(pid)
    assert not [one for one in real.family() if words_of(one) == ["sleep", "612"]]
    done = real.multi("stopwait", "a", "--uid=nobody").ok()
    assert not alive(pid)


def test_g8_a_users_record_points_nowhere_else(real: Real, secret: Path) -> None:
    """G8: a record whose pidfile is another one is about something else: root writes and removes nothing there."""
    theirs(real)
    real.start("a", "--uid=nobody").ok()
    pid = real.pid("a")
    rewrite(real, pidfile=str(secret))
    for command in ("restart", "stopwait"):
        real.multi(command, "a", "--uid=nobody", "--preset=exec", "--cmd=sleep 613", f"--logfile={real.log}/%n.log")
        assert secret.read_text(encoding="ascii") == WORDS
    assert not alive(pid)
    real.multi("kill", "a", "--uid=nobody")


@pytest.mark.parametrize("command", ["restart", "stopwait", "start"])
def test_g8_what_a_strangers_process_says_is_not_run(real: Real, command: str) -> None:
    """G8: a process of another user that claims to be root's node has its command run by nobody, and stops nothing."""
    claim = f"exec env MULTI_INSTANCE=feed MULTI_INSTANCE_PID=$$ MULTI_INSTANCE_NODE=a@{os.uname().nodename} "
    claim += f"MULTI_INSTANCE_PIDFILE={real.pidfile('a')} sleep 614"
    liar = real.popen("sh", "-c", claim, user=NOBODY)
    until(lambda: words_of(liar.pid) == ["sleep", "614"], "it claims to be the node")
    done = real.start("a") if command == "start" else real.multi(command, "a")
    assert f"pid {liar.pid} says that it is a@" in done.exits(1).err, done
    assert real.multi("restart").code in {0, 2}
    assert real.processes("a") == [liar.pid]
    assert liar.poll() is None
    assert status(liar.pid)["Uid"].split() == [str(NOBODY)] * 4
    real.multi("kill", "a", "--uid=nobody").ok()
    assert liar.wait(PATIENCE) < 0


@pytest.mark.parametrize("how", ["hard link", "link", "owned"])
def test_g8_a_planted_lock(real: Real, secret: Path, how: str) -> None:
    """G8: root neither writes into what a lock file leads to, nor waits for a lock that a stranger could hold."""
    real.run.mkdir()
    real.run.chmod(0o1777)
    lock = real.run / "a.lock"
    match how:
        case "hard link":
            lock.hardlink_to(secret)
        case "link":
            lock.symlink_to(secret)
            give(lock)
        case _:
            lock.touch()
            give(lock)
    done = real.start("a", "--lock-timeout=1")
    assert done.code in {1, 77}, done
    assert f"cannot lock {lock}" in done.err
    assert secret.read_text(encoding="ascii") == WORDS
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert real.processes("a") == []


@pytest.mark.parametrize("name", [".a.json.new", ".a.pid.new"])
def test_g8_a_planted_temporary_file(real: Real, secret: Path, name: str) -> None:
    """G8: the temporary file that a user prepared as a link is not written through; its own file is made instead."""
    theirs(real)
    (real.run / name).symlink_to(secret)
    give(real.run / name)
    real.start("a", "--uid=nobody").ok()
    assert secret.read_text(encoding="ascii") == WORDS
    assert not (real.run / name).is_symlink()
    real.multi("stopwait", "a").ok()


def test_g8_a_users_log_is_opened_as_the_user(real: Real, secret: Path) -> None:
    """G8: with `--uid` the log is opened after the change: the kernel refuses a link to what only root may write."""
    theirs(real)
    real.logfile("a").symlink_to(secret)
    give(real.logfile("a"))
    done = real.start("a", "--uid=nobody", cmd="echo hello").exits(77)
    assert "Permission denied" in done.err
    assert secret.read_text(encoding="ascii") == WORDS


def test_g8_a_log_that_is_somebodys_hard_link(real: Real, secret: Path) -> None:
    """G8: where others may put files, root does not append to one that has a second name."""
    real.log.mkdir()
    real.log.chmod(0o1777)
    real.logfile("a").hardlink_to(secret)
    done = real.start("a", cmd="echo hello")
    assert done.code in {1, 77}, done
    assert "another user could have put it there" in done.err
    assert secret.read_text(encoding="ascii") == WORDS


def test_g8_a_log_that_root_linked(real: Real) -> None:
    """G8: links that root made where only root can make them work, as to another disk."""
    real.log.mkdir()
    elsewhere = real.base / "elsewhere"
    elsewhere.mkdir()
    real.logfile("a").symlink_to(elsewhere / "a.log")
    real.logfile("b").symlink_to("/dev/null")
    real.start("a", cmd="sh -c 'echo hello; exec sleep 600'").ok()
    until(lambda: (elsewhere / "a.log").read_text(encoding="ascii") == "hello\n", "it logs where the link leads")
    real.start("b").ok()
    real.multi("kill", "a", "b").ok()


def test_g8_directories_of_strangers(real: Real) -> None:
    """G8: a run directory below somebody who has nothing to do with the node is refused, and says whose it is."""
    home = real.base / "home-of-daemon"
    home.mkdir()
    os.chown(home, 1, 1)
    words = ("--preset=exec", "--cmd=sleep 600", "--startsecs=0", f"--logfile={real.base}/%n.log")
    for uid in ((), ("--uid=nobody",)):
        done = real.raw("start", "a", *uid, *words, f"--pidfile={home}/run/%n.pid").exits(77)
        assert f"{home} belongs to uid 1" in done.err
        assert list(home.iterdir()) == []
    home.chmod(0o777)
    os.chown(home, 0, 0)
    done = real.raw("start", "a", *words, f"--pidfile={home}/%n.pid").exits(77)
    assert f"cannot use the directory {home}: everybody may write in {home}; chmod o-w" in done.err
    home.chmod(0o775)
    os.chown(home, 0, NOBODY)
    done = real.raw("start", "a", *words, f"--pidfile={home}/%n.pid").exits(77)
    assert f"group {NOBODY} may write in {home}; chmod g-w" in done.err
    real.log.mkdir()
    give(real.log)
    # That group is the node's own.
    real.raw("start", "a", "--uid=nobody", *words, f"--pidfile={home}/%n.pid", f"--logfile={real.log}/%n.log").ok()
    real.raw("kill", "a", "--uid=nobody", f"--pidfile={home}/%n.pid").ok()


def test_g8_a_probe_runs_as_the_nodes_user(real: Real) -> None:
    """G8: what shall prove that a node is ready was perhaps written by its user, so root does not run it as root."""
    theirs(real)
    told = real.run / "whoami"
    real.start("a", "--uid=nobody", f"--ready=exec:sh -c 'id -u >{told}'").ok()
    assert told.read_text(encoding="ascii") == f"{NOBODY}\n"
    real.multi("kill", "a").ok()


def test_g8_a_python_of_the_nodes_user_is_not_run_as_root(real: Real) -> None:
    """G8: to see whether a worker would tell READY, its Python is asked; as the node's user, who may have made it."""
    theirs(real)
    told = real.run / "whoami"
    python = real.run / "python3"
    python.write_text(f"#!/bin/sh\nid -u >>{told}\nexit 1\n", encoding="ascii")
    python.chmod(0o755)
    give(python)
    real.raw(
        *("start", "a", "--uid=nobody", f"--executable={python}", "--ready-timeout=3", "-A", "proj"),
        *(f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log"),
    ).exits(1)
    assert set(told.read_text(encoding="ascii").split()) == {str(NOBODY)}


def test_g8_the_record_is_private(real: Real) -> None:
    """G8: a record holds the configured environment: nobody but root and the node's group reads it."""
    theirs(real)
    real.start("a", "--uid=nobody", "--env=PASSWORD=secret").ok()
    for path, mode, owner in (
        (real.recordfile("a"), 0o640, 0),
        (real.pidfile("a"), 0o644, NOBODY),
        (real.run / "a.lock", 0o600, NOBODY),
    ):
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, owner, NOBODY), path
    end(real.pid("a"))
    real.start("b", "--env=PASSWORD=secret", f"--pidfile={real.base}/own/%n.pid", f"--logfile={real.base}/%n.log").ok()
    assert stat.S_IMODE((real.base / "own/b.json").stat().st_mode) == 0o600
    real.raw("kill", "b", f"--pidfile={real.base}/own/%n.pid").ok()


def plant(path: Path, secret: Path, what: str) -> None:
    """Put something of the unprivileged user's where the history of the node belongs."""
    match what:
        case "symbolic link":
            path.symlink_to(secret)
        case "hard link":
            path.hardlink_to(secret)
            return  # it is root's file under a second name
        case "FIFO":
            os.mkfifo(path)
        case _:
            path.mkdir()
    give(path)


@pytest.mark.parametrize("what", ["symbolic link", "hard link", "FIFO", "directory"])
def test_g8_a_planted_history_is_not_written_to(real: Real, secret: Path, what: str) -> None:
    """G8: what the node's user puts in the place of its history is not followed, and fails nothing."""
    theirs(real)
    plant(real.run / "a.history", secret, what)
    real.start("a", "--uid=nobody").ok()
    real.multi("stopwait", "a").ok()
    assert secret.read_text(encoding="ascii") == WORDS
    assert real.multi("history", "a").code != 0


def test_g8_a_history_is_not_made_to_grow(real: Real) -> None:
    """G8: a history that its user made too long is cut to its bound, also while that user keeps it locked, or left."""
    theirs(real)
    path = real.run / "a.history"
    path.write_bytes(b"")
    os.truncate(path, 1 << 24)
    give(path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        real.start("a", "--uid=nobody").ok()
        assert path.stat().st_size == 1 << 24
    real.multi("stopwait", "a").ok()
    found = path.stat()
    assert (found.st_size < 1 << 18, found.st_uid, stat.S_IMODE(found.st_mode)) == (True, NOBODY, 0o600)
    assert "stopped, pid" in real.multi("history", "a").ok().out


@pytest.mark.parametrize("how", ["moved", "linked", "given away", "opened to all", "made anew", "above it"])
def test_g8_a_directory_that_stays_open_is_judged_again(real: Real, how: str) -> None:
    """G8: what becomes of a directory after it was judged is seen at its next use, however it is changed."""
    above, run = real.base / "above", real.base / "above" / "run"
    run.mkdir(parents=True)
    with open_directory(str(run), ()) as at:
        first = at.fd
    with open_directory(str(run), ()) as at:
        assert at.fd == first, "it stays open"
        assert at.guarded
    match how:
        case "moved":
            run.rename(above / "other")
            run.mkdir()
        case "linked":
            run.rename(above / "other")
            (above / "another").mkdir()
            run.symlink_to(above / "another")
        case "given away":
            give(run)
        case "opened to all":
            run.chmod(0o777)
        case "made anew":
            run.rmdir()
            run.mkdir()
        case _:
            above.rename(real.base / "gone")
            run.mkdir(parents=True)
    if how in {"given away", "opened to all"}:
        with pytest.raises(UnsafeError):
            open_directory(str(run), ())
    else:
        with open_directory(str(run), ()) as at:
            assert at.fd is not None
            assert os.path.samestat(os.fstat(at.fd), run.stat())
