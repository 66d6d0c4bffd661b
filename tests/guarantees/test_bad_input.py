"""G9 on real processes: words and places that cannot be meant. Nothing is half done, each answer says what to do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from multi import api as pipeline
from multi.check import obstacles
from multi.errors import UsageError
from multi.machine import Launch
from multi.model.happening import LaunchFailed
from multi.system import System
from multi.system.local import Local
from multi.testing.world import World, node_of
from private_machine import need
from real import NOBODY, Real


def test_g9_kill_takes_no_other_signal(real: Real) -> None:
    """`kill -TERM w1` does not send KILL instead, and `kill -9 w1` is about w1 alone."""
    real.start("a", "b").ok()
    done = real.multi("kill", "-TERM", "a").exits(2)
    assert done.err == (
        "multi: -TERM: is not what kill sends: it sends KILL, to the whole tree; "
        "try 'multi stopwait -TERM', or 'multi signal TERM'\n"
    )
    assert real.state("a", "b") == {"a": "running", "b": "running"}
    real.multi("kill", "-9", "a").ok()
    assert real.state("a", "b") == {"a": "stopped", "b": "running"}


def test_g9_an_option_that_took_a_name(real: Real) -> None:
    """`stop -x a` is not taken for a stop of all nodes: `-x` may take a value, and `-n` takes the host of all nodes.

    Nor is `kill -v c` when c, which was stopped before, is not on record any more.
    """
    real.start("a", "b").ok()
    pids = {name: real.pid(name) for name in ("a", "b")}
    taken = (
        "multi: {0} {1}: has taken {1} for the value of {0}, so no node is named; "
        "name the nodes first, or write it after -- if it is meant so\n"
    )
    host = (
        "multi: --hostname a: is a node's name where a host is needed, so no node is named; write the name without it\n"
    )
    for command in (["stop"], ["stopwait"], ["kill"], ["restart"], ["status"]):
        code = 4 if command == ["status"] else 2
        assert real.multi(*command, "-x", "a").exits(code).err == taken.format("-x", "a")
        for option in ("-n", "--hostname"):
            assert real.multi(*command, option, "a").exits(code).err == host
    for command in (["stop"], ["stopwait"], ["kill"], ["restart"], ["signal", "-USR1"], ["reload"]):
        assert real.multi(*command, "-v", "c").exits(2).err == taken.format("-v", "c")
    assert {name: real.pid(name) for name in ("a", "b")} == pids
    assert real.state("a", "b") == {"a": "running", "b": "running"}


def test_g9_an_option_that_took_a_configured_name(real: Real) -> None:
    """The same where the nodes are those of the configuration; a value that names no node is a value."""
    (real.base / "multi.toml").write_text(
        '[defaults]\npreset = "exec"\ncmd = "sleep 600"\n[nodes.a]\n[groups.g]\nnodes = ["b"]\n'
    )
    assert "so no node is named" in real.multi("start", "-x", "b").exits(2).err
    assert "so no node is named" in real.multi("start", "-x", "g").exits(2).err
    assert real.raw("show", "-x", "c").ok().out == "sleep 600 -x c\n" * 2


def test_g9_a_value_before_the_command_is_no_node(real: Real) -> None:
    """An option before the command takes the word after it, and that is not started as a node beside the others."""
    assert real.raw("--novel", "value", "names", "w1").ok().out.startswith("w1@")
    assert real.raw("--novel", "value", "show", "w1", "--preset=exec", "--cmd=sleep 1").ok().out == (
        "sleep 1 --novel=value\n"
    )


def test_g9_run_says_what_it_would_do(real: Real) -> None:
    """G10: `run --dry-run` says it, also that a node which runs already cannot be run here."""
    words = ("run", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--cmd=sleep 600", "a", "--dry-run")
    assert real.raw(*words).ok().out.endswith(": start: sleep 600\n")
    assert not real.run.exists()
    real.start("a").ok()
    assert "already running; 'multi stopwait a@" in real.raw(*words).exits(1).out


def test_g9_an_unknown_user_of_one_node(real: Real) -> None:
    """A user that does not exist fails the nodes that want it, each by its name, and not the whole command."""
    words = ("a", "b", "c", f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", "--root=allow")
    done = real.raw("start", *words, "--uid=nosuchuser", "--preset:c=exec", "--cmd:c=sleep 600").exits(1)
    told = sorted(line.partition("@")[0] for line in done.err.splitlines())
    assert told == ["a", "b", "c"]
    assert done.err.count("cannot find the user 'nosuchuser'") == 3


def test_g9_check_knows_users(real: Real) -> None:
    """`check` says that a user does not exist, and that only root can become another one."""
    words = ("a", f"--pidfile={real.base}/a.pid", f"--logfile={real.base}/a.log", "--preset=exec", "--cmd=sleep 1")
    err = real.raw("check", "--quiet", *words, "--uid=nosuchuser").exits(2).err
    assert "uid nosuchuser does not exist; check --uid and --gid" in err
    told = [str(each) for each in obstacles(node_of(uid="0"), World().fake(uid=NOBODY))]
    assert any("uid 0 is another user, and only root can start" in one and "; run multi as root" in one for one in told)
    for uid in (0, NOBODY):
        told = [str(each) for each in obstacles(node_of(uid=str(NOBODY)), World().fake(uid=uid))]
        assert not any("uid" in one for one in told)


def test_g9_check_finds_a_hook_that_is_no_program(real: Real) -> None:
    """`check` says so; a start does not fail of it, since a hook holds up nothing."""
    words = ("a", f"--pidfile={real.base}/a.pid", f"--logfile={real.base}/a.log", "--preset=exec", "--cmd=sleep 1")
    err = real.raw("check", "--quiet", *words, "--hook=gave_up=nosuchhook -x").exits(2).err
    assert "nosuchhook is not found in PATH=" in err
    assert "correct the hook gave_up" in err


def test_g9_check_finds_a_proof_of_liveness_that_cannot_be_asked(real: Real) -> None:
    """A command that is no program is a fault; that `ensure` cannot hear a watchdog is said, and is none."""
    words = ("a", "--preset=exec", "--cmd=sleep 600", f"--pidfile={real.run}/%n.pid", f"--logfile={real.base}/%n.log")
    err = real.raw("check", "--quiet", *words, "--alive=exec:nosuchprobe -x").exits(2).err
    assert "nosuchprobe is not found in PATH=" in err
    assert "correct alive" in err
    assert "only 'multi run' hears alive = watchdog:5" in real.raw("check", *words, "--alive=watchdog:5").ok().out


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("--alive=notify", "is not a probe"),
        ("--alive=heartbeat:", "names no seconds"),
        ("--alive=heartbeat:-1", "names no seconds"),
        ("--alive=heartbeat:9", "names no seconds from 10 to 1000000"),
        ("--alive=watchdog:0", "names no seconds"),
        ("--alive=watchdog:1e3", "names no seconds"),
        ("--alive-every=0", "--alive-every"),
        ("--alive-failures=0", "--alive-failures"),
        ("--max-memory=0", "--max-memory"),
        ("--max-memory=much", "--max-memory"),
        ("--max-age=0", "--max-age"),
        ("--max-age=-1d", "--max-age"),
        ("--hook=no_such=true", "no_such"),
    ],
)
def test_g9_impossible_liveness_is_an_error_of_one_line(real: Real, wrong: str, why: str) -> None:
    """It says what is wrong, and nothing is done."""
    err = real.inside("check", "a", "--preset=exec", "--cmd=sleep 600", wrong).exits(2).err
    assert why in err
    assert err.count("\n") == 1


def test_g9_check_says_why_it_reads_that_file(real: Real) -> None:
    """Who does not know which file counts is told which, and why that one."""
    path = real.base / "multi.toml"
    path.write_text('[nodes.a]\npreset = "exec"\ncmd = "sleep 1"\npidfile = "a.pid"\nlogfile = "a.log"\n')
    for words, env, why in (
        ((), {}, "in the current directory"),
        ((f"--multi-config={path}",), {}, "--multi-config"),
        ((), {"MULTI_CONFIG": str(path)}, "MULTI_CONFIG"),
    ):
        out = real.raw("check", *words, env=env).ok().out
        assert out.startswith(f"configuration: {path} ({why})\n")
    assert real.raw("check", "a", "--multi-config=/dev/null").exits(2).out == ""


def test_g9_an_export_is_not_half_written(real: Real) -> None:
    """Where one of the files is there already, none is written."""
    there = real.base / "out"
    there.mkdir()
    (there / "multi-b.service").write_text("mine")
    words = ("export", "systemd", "a", "b", "--preset=exec", "--cmd=sleep 1", "--output")
    assert "is there already" in real.raw(*words, str(there)).exits(2).err
    assert [path.name for path in there.iterdir()] == ["multi-b.service"]
    (real.base / "file").write_text("")
    err = real.raw(*words, str(real.base / "file")).exits(2).err
    assert err == f"multi: {real.base}/file: is a file, not a directory; give another --output\n"


@pytest.mark.parametrize(
    ("cmd", "line"),
    [
        ("/", "cannot execute /: it is a directory; check --cmd and --executable"),
        ("/no/such", "cannot find the program '/no/such': no such file; check --cmd and --executable"),
    ],
)
def test_g9_what_is_no_program(real: Real, cmd: str, line: str) -> None:
    """A directory is not said to be missing."""
    assert line in real.start("a", cmd=cmd).exits(1).err


def test_g9_what_cannot_be_executed(real: Real) -> None:
    """What was never executed has printed nothing, so no log is shown for it: the reason is the one line there is."""
    script = real.base / "script"
    script.write_text("no first line\n")
    script.chmod(0o755)
    err = real.start("a", cmd=str(script)).exits(1).err
    assert "Exec format error; a script needs a first line such as #!/bin/sh (pid " in err
    assert err.count("\n") == 1


def test_g9_why_a_start_failed_stays_on_record(real: Real) -> None:
    """`status` tells why the last start came to nothing, in the words of that start."""
    real.start("a").ok()
    real.multi("stop", "a").ok()
    real.multi("wait", "a", "--down").ok()
    real.start("a", cmd="nosuchprogram").exits(1)
    assert "cannot find the program 'nosuchprogram'" in real.multi("status").exits(1).out


def test_g9_a_directory_in_the_place_of_the_lock(real: Real) -> None:
    """What lies where the lock should be is named, with what to do about it."""
    (real.run / "a.lock").mkdir(parents=True)
    assert f"cannot lock {real.run}/a.lock: Is a directory; look at it, and remove it" in real.start("a").exits(1).err


def test_g9_a_record_that_nobody_could_read(real: Real) -> None:
    """G3: what is too long for a record is not started: the node could not be stopped any more."""
    done = real.start("a", *(f"--env=V{number}={'y' * 1000}" for number in range(1200))).exits(1)
    assert ": failed: cannot put a@" in done.err
    assert done.err.endswith("; let the worker read some of it from a file itself\n")
    assert not real.pidfile("a").exists()
    assert real.state("a") == {"a": "stopped"}
    real.start("a").ok()


def test_g9_a_record_with_a_name_that_is_none(real: Real) -> None:
    """A node is not called by what no node can be called: its record is damaged, and is written anew."""
    real.start("a").ok()
    for name in ("../x@host", "\x1b[31m", "@host", ""):
        real.recordfile("a").write_text(json.dumps({**real.record("a"), "name": name}))
        real.recordfile("a").chmod(0o600)
        (seen,) = json.loads(real.multi("status", "a", "--json").ok().out)
        assert (seen["name"], seen["state"], seen["node"].partition("@")[0]) == ("a", "lost", "a")
        assert "damaged: its name is none that a node can have" in seen["why"]
        real.start("a").ok()
        assert real.state("a") == {"a": "running"}
    real.multi("stopwait", "a").ok()


@pytest.mark.root
@pytest.mark.parametrize(
    ("how", "why"),
    [
        (("--mount", "--propagation=private"), "it is not mounted"),
        (("--pid", "--fork", "--kill-child"), "it shows those of another pid namespace"),
    ],
    ids=["none", "of others"],
)
def test_g9_a_proc_that_does_not_show_us(real: Real, how: tuple[str, ...], why: str) -> None:
    """G1, G2: who sees no process, or others than the pids mean, takes no node for gone, starts and signals none."""
    need("unshare")
    real.start("a").ok()
    pid = real.pid("a")
    hide = "mount -t tmpfs none /proc && " if "--mount" in how else ""
    for command, code in (("stopwait", 1), ("start", 1), ("status", 4)):
        words = (
            sys.executable,
            "-m",
            "multi",
            command,
            "a",
            f"--pidfile={real.run}/%n.pid",
            "--preset=exec",
            "--cmd=sleep 9",
        )
        done = subprocess.run(
            ["unshare", *how, "sh", "-c", f'{hide}"$@"', "sh", *words],
            env=real.env,
            cwd=real.base,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr == f"multi: cannot look at processes in /proc: {why}; try 'mount -t proc proc /proc'\n"
    assert real.state("a") == {"a": "running"}
    assert real.pid("a") == pid


def test_g9_no_process_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user's processes are used up before the launcher is there, that is what is said."""

    def refused(*_: object, **__: object) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with System() as system:
        monkeypatch.setattr(os, "posix_spawn", refused)
        system.launch("a", Launch(argv=("true",), env=(), logfile="/dev/null"))
        (failed,) = system.wait(time.monotonic())
        assert isinstance(failed, LaunchFailed)
        assert "raise 'ulimit -u'" in failed.hint


def test_g9_no_thread_can_be_made_to_wait_for_a_lock(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user's processes are used up, one node that is locked is a failure of that node, and of no other."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    real.start("a", "b").ok()
    monkeypatch.setattr(threading.Thread, "start", refused)
    with (real.run / "a.lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = real.inside("kill", "a", "b").exits(1)
    assert done.err == (
        f"a@{os.uname().nodename}: failed: cannot lock {real.run}/a.lock: another multi has it, "
        "and no thread can be started to wait for it; the user's limit of processes is reached: "
        "raise 'ulimit -u' or pids.max, or start fewer nodes\n"
    )
    assert real.state("a", "b") == {"a": "running", "b": "stopped"}
    real.inside("kill", "a").ok()


@pytest.mark.parametrize("said", [None, "not/absolute"])
def test_g9_a_user_without_a_home(said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a user without a home do not land in a directory ``~`` below the current one."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    if said is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", said)
    assert Local().surroundings().home == "/nonexistent"


def test_g9_the_api_names_what_can_be_done(tmp_path: Path) -> None:
    """`pipeline` refuses a command that does nothing to nodes in the words of a user error, and knows every alias."""
    words = ["a", "--preset=exec", "--cmd=sleep 1", f"--pidfile={tmp_path}/%n.pid"]
    for command in ("strat", "status", ""):
        with pytest.raises(UsageError, match="is nothing that is done to nodes"):
            list(pipeline.run(command, pipeline.select(command, words)))
        with pytest.raises(UsageError):
            pipeline.plan(command, pipeline.select(command, words))
    (route,) = pipeline.plan("wait", pipeline.select("wait", words))
    assert route == pipeline.plan("up", pipeline.select("up", words))[0]
