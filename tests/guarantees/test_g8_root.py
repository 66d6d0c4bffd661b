"""G8 Safe as root: privileges are dropped for good, and what others planted is refused with the reason."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import NOBODY, alive, descriptors, environ_of, status, until, words_of

if TYPE_CHECKING:
    from real import Real

pytestmark = pytest.mark.root
_PROBE = """
import os, time
tried = []
for attempt in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        attempt()
        tried.append("yes")
    except OSError:
        tried.append("no")
print("regained:", *tried, "home:", os.environ["HOME"], "user:", os.environ["USER"], flush=True)
time.sleep(600)
"""
_CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that every user may run; the one of the tests may lie in root's own directory."""
    asks = "import sys, multi.cli; sys.exit(sys.version_info < (3, 10))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", asks],
                user=NOBODY,
                cwd="/",
                env={"PYTHONPATH": str(_CHECKOUT)},
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip("needs a Python 3.10 that an unprivileged user may run")


def as_nobody(real: Real, python: str, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """``multi WORDS`` as an unprivileged user; `code` is Python that does something before."""
    return subprocess.run(
        [python, *(("-c", code) if code else ("-m", "multi")), *words, f"--pidfile={real.run}/%n.pid"],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={**real.env, "PYTHONPATH": str(_CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def begin_as_nobody(real: Real, python: str, *words: str) -> int:
    """Let an unprivileged user start the node ``a``, in directories that are its own; return its pid."""
    for path in (real.run, real.log):
        path.mkdir(exist_ok=True)
        os.chown(path, NOBODY, NOBODY)
    given = (f"--logfile={real.log}/%n.log", "--preset=exec", "--cmd=sleep 600", "--startsecs=0")
    done = as_nobody(real, python, "start", "a", *given, *words)
    assert done.returncode == 0, done.stderr
    return real.pid("a")


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    """Owner, group and permissions."""
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def test_g8_privileges_are_dropped_for_good(real: Real, python: str) -> None:
    """G8: all four ids, the groups and the capabilities are the user's; root cannot be regained from within."""
    user = pwd.getpwuid(NOBODY)
    real.start("a", f"--uid={user.pw_name}", cmd=shlex.join([python, "-I", "-S", "-c", _PROBE]), startsecs=0.5).ok()
    seen = status(real.pid("a"))
    assert seen["Uid"].split() == [str(NOBODY)] * 4
    assert seen["Gid"].split() == [str(user.pw_gid)] * 4
    assert sorted(map(int, seen["Groups"].split())) == sorted(os.getgrouplist(user.pw_name, user.pw_gid))
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
    text = until(real.logfile("a").read_text, "it has tried")
    assert "regained: no no no no" in text
    assert f"home: {user.pw_dir} user: {user.pw_name}" in text


def test_g8_a_group_of_its_own(real: Real) -> None:
    """G8: `--gid` takes the place of the user's own group, and the user's other groups stay."""
    group = grp.getgrnam("daemon")
    real.start("a", "--uid=nobody", "--gid=daemon").ok()
    seen = status(real.pid("a"))
    assert seen["Gid"].split() == [str(group.gr_gid)] * 4
    assert str(group.gr_gid) in seen["Groups"].split()


def test_g8_files_belong_to_the_nodes_user(real: Real, python: str) -> None:
    """G8: directories that are made, pidfile and log are the user's; the record, which root acts on, is root's."""
    shutil.rmtree(real.run, ignore_errors=True)
    shutil.rmtree(real.log, ignore_errors=True)
    real.base.chmod(0o755)
    real.start("a", "--uid=nobody").ok()
    for path in (real.run, real.log, real.pidfile("a"), real.logfile("a")):
        assert path.stat().st_uid == NOBODY, path
    assert real.recordfile("a").stat().st_uid == 0
    pid = real.pid("a")
    looked = as_nobody(real, python, "status", "a")
    assert looked.returncode == 0, looked.stderr
    stopped = as_nobody(real, python, "stopwait", "a")
    assert stopped.returncode == 0, stopped.stderr
    assert not alive(pid)


@pytest.mark.parametrize("user", ["nosuchuser", "0day"])
def test_g8_an_unknown_user_is_one_line(real: Real, user: str) -> None:
    """G8, G9: nothing is started as root instead."""
    done = real.start("a", f"--uid={user}").exits(1)
    assert f"cannot find the user '{user}'" in done.err
    assert not real.processes("a")


@pytest.mark.parametrize("linked", [False, True])
def test_a_program_behind_a_directory_that_is_closed_names_the_directory(real: Real, *, linked: bool) -> None:
    """A program that the node's user cannot reach is not called missing: the directory on the way to it is named."""
    closed, link = real.base / "closed", real.base / "program"
    closed.mkdir(mode=0o700)
    shutil.copy("/bin/true", closed / "program")
    link.symlink_to(closed / "program")
    done = real.start("a", "--uid=nobody", cmd=str(link if linked else closed / "program")).exits(77)
    assert f"this user may not enter {closed}; chmod o+x {closed}, or check --uid" in done.err


def test_g8_without_root_nobody_starts_as_somebody_else(real: Real, python: str) -> None:
    """G8: exit 77, and the reason."""
    for path in (real.run, real.log):
        path.mkdir(exist_ok=True)
        os.chown(path, NOBODY, NOBODY)
    words = (f"--logfile={real.log}/%n.log", "--preset=exec", "--cmd=sleep 600", "--startsecs=0")
    done = as_nobody(real, python, "start", "a", "--uid=daemon", *words)
    assert done.returncode == 77, done.stderr
    assert "only root can start a node as another user" in done.stderr


@pytest.mark.parametrize(
    ("option", "why"),
    [("--nice=-5", "cannot set the niceness -5"), ("--uid=root", "only root can start a node as another user")],
)
def test_g8_what_only_root_could_grant_stops_nothing(real: Real, python: str, option: str, why: str) -> None:
    """G8: a restart that would need root leaves the node running; exit 77."""
    pid = begin_as_nobody(real, python, "--cmd=sleep 600")
    done = as_nobody(real, python, "restart", "a", option)
    assert done.returncode == 77, done.stderr
    assert why in done.stderr
    assert (real.pid("a"), alive(pid)) == (pid, True)


@pytest.mark.parametrize(
    ("policy", "code", "says"), [("allow", 0, ""), ("warn", 0, "as root"), ("deny", 77, "as root")]
)
def test_g8_workers_as_root(real: Real, policy: str, code: int, says: str) -> None:
    """G8: `root` allows, warns of or refuses a worker that runs as root without need."""
    del real.env["MULTI_FORCE_ROOT"]
    done = real.start("a", f"--root={policy}").exits(code)
    assert says in done.err
    assert bool(done.err) == bool(says)
    assert len(real.processes("a")) == (0 if code else 1)


def test_g8_a_forced_root_is_silent(real: Real) -> None:
    """G8: C_FORCE_ROOT says that it must be so."""
    del real.env["MULTI_FORCE_ROOT"]
    real.env["C_FORCE_ROOT"] = "1"
    assert real.start("a").ok().err == ""


@pytest.mark.parametrize("which", ["pid", "json"])
def test_g8_planted_files_are_refused(real: Real, which: str) -> None:
    """G8: a pidfile or record of another user's is believed in nothing; the message names it and what to do."""
    real.start("a").ok()
    pid = real.pid("a")
    os.chown(real.run / f"a.{which}", NOBODY, NOBODY)
    for command in ("stop", "stopwait", "restart", "kill"):
        done = real.multi(command, "a").exits(1)
        assert f"a.{which} belongs to uid {NOBODY}" in done.err
    assert alive(pid)
    os.chown(real.run / f"a.{which}", 0, 0)


def test_g8_a_record_that_others_can_write_is_refused(real: Real) -> None:
    """G8: what others can write, root does not act on."""
    real.start("a").ok()
    real.recordfile("a").chmod(0o666)
    assert "can be written by others" in real.multi("restart", "a").exits(1).err
    real.recordfile("a").chmod(0o644)


def test_g8_a_users_pidfile_names_only_processes_of_that_user(real: Real) -> None:
    """G8: the node's user may write its own pidfile; a root process of the same words that it names is not touched."""
    tally = real.base / "tally"
    other = real.own_worker("--tally", str(tally))
    real.run.mkdir(exist_ok=True)
    os.chown(real.run, NOBODY, NOBODY)
    real.pidfile("a").write_text(f"{other.pid}\n")
    os.chown(real.pidfile("a"), NOBODY, NOBODY)
    words = shlex.join(map(str, other.args))  # type: ignore[arg-type]  # popen() got a sequence
    for command in ("stop", "stopwait", "kill"):
        done = real.multi(command, "a", "--uid=nobody", "--preset=exec", f"--cmd={words}").exits(1)
        assert f"belongs to uid {NOBODY} but names pid {other.pid}, which runs as uid 0" in done.out + done.err
    assert other.poll() is None
    assert not tally.exists()


@pytest.mark.parametrize("place", ["--multi-config", "cwd"])
def test_g8_a_planted_config_is_refused(real: Real, place: str) -> None:
    """G8: root believes no configuration that another user wrote, wherever it was found."""
    path = real.base / "multi.toml"
    path.write_text("[nodes.a]\npreset = 'exec'\ncmd = 'true'\n")
    os.chown(path, NOBODY, NOBODY)
    words = (f"--multi-config={path}",) if place == "--multi-config" else ()
    done = real.raw("start", *words).exits(77)
    assert f"belongs to uid {NOBODY}" in done.err
    assert "chown" in done.err


def test_g8_a_log_in_a_directory_of_somebody_elses(real: Real) -> None:
    """G8: root writes no log where another user can plant a link; the message says whose directory it is."""
    victim = real.base / "victim"
    victim.write_text("")
    real.log.mkdir(exist_ok=True)
    real.logfile("a").symlink_to(victim)
    for path in (real.log, real.logfile("a")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    done = real.start("a", cmd=real.worker("--print", "hello"), startsecs=0.2)
    assert done.code != 0
    assert "could replace what lies there" in done.err
    assert victim.read_text() == ""
    assert not real.processes("a")


def test_g8_a_run_directory_that_is_somebody_elses_link(real: Real) -> None:
    """G8: root makes no directory and no file behind a link that another user planted."""
    home = real.base / "theirs"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    target = real.base / "target"
    target.mkdir()
    (home / "run").symlink_to(target)
    os.chown(home / "run", NOBODY, NOBODY, follow_symlinks=False)
    done = real.raw(
        "start",
        "a",
        "--uid=nobody",
        "--preset=exec",
        "--cmd=sleep 600",
        f"--pidfile={home}/run/x/%n.pid",
        "--logfile=/dev/null",
    )
    assert done.code != 0
    assert list(target.iterdir()) == []
    until(lambda: not real.family(), "nothing runs")


def test_g8_a_users_record_stays_the_users(real: Real, python: str) -> None:
    """G8: whatever root does to a user's node leaves the record to that user, who stops and starts on with it."""
    theirs = (NOBODY, pwd.getpwuid(NOBODY).pw_gid, 0o600)
    stubborn = "sh -c 'trap \"\" TERM; exec sleep 616'"
    pid = begin_as_nobody(real, python, "--stop-schedule=TERM/60/KILL/5", f"--cmd={stubborn}")
    until(lambda: words_of(pid) == ["sleep", "616"], "it ignores TERM")
    for command in (("stop",), ("signal", "CONT"), ("stop",)):
        real.raw(*command, "a", "--uid=nobody", f"--pidfile={real.run}/%n.pid").ok()
        assert owner_and_mode(real.recordfile("a")) == theirs, command
    looked = as_nobody(real, python, "status", "a")
    assert "stopping" in looked.stdout, looked
    real.multi("restart", "a", "--uid=nobody", "--stop-schedule=KILL/5").ok()
    assert not alive(pid)
    assert owner_and_mode(real.recordfile("a")) == theirs
    os.kill(real.pid("a"), signal.SIGKILL)
    until(lambda: not real.processes("a"), "it is gone")
    real.multi("ensure", "a", "--uid=nobody").ok()
    assert owner_and_mode(real.recordfile("a")) == theirs
    looked = as_nobody(real, python, "status", "a")
    assert looked.returncode == 0, looked
    pid = real.pid("a")
    stopped = as_nobody(real, python, "kill", "a")
    assert stopped.returncode == 0, stopped
    assert not alive(pid)


@pytest.mark.parametrize("command", ["stop", "restart", "apply"])
def test_g8_root_does_not_make_a_users_record_its_own(real: Real, python: str, command: str) -> None:
    """G8: what a user's record says is not root's word after root has written it, so nothing of it runs as root."""
    real.run.mkdir()
    real.run.chmod(0o1777)
    real.log.mkdir()
    os.chown(real.log, NOBODY, NOBODY)
    words = (f"--logfile={real.log}/%n.log", "--preset=exec", "--cmd=sleep 615", "--startsecs=0")
    started = as_nobody(real, python, "start", "a", *words)
    assert started.returncode == 0, started
    record = real.record("a")
    if command == "apply":  # root's own configuration makes it root's, and says all of it
        config = real.base / "multi.toml"
        text = f"uid='nobody'\npreset='exec'\ncmd='sleep 615'\nlogfile='{real.log}/%n.log'\nstartsecs=0\nnice=3\n"
        config.write_text(f"[nodes.a]\n{text}", encoding="utf-8")
        real.multi("apply", f"--multi-config={config}").ok()
        assert owner_and_mode(real.recordfile("a"))[0] == 0
    else:
        real.multi(command, "a", "--uid=nobody").ok()
        assert owner_and_mode(real.recordfile("a"))[0] == NOBODY
    if command == "stop":
        until(lambda: not real.processes("a"), "it is gone")
    real.multi("restart", "a")
    for pid in real.processes("a"):
        assert status(pid)["Uid"].split() == [str(NOBODY)] * 4
    assert record["settings"]["uid"] is None  # type: ignore[index]  # the record is JSON
    real.multi("kill", "a", "--uid=nobody").ok()


def test_g8_a_group_of_its_own_leaves_the_record_to_the_user(real: Real, python: str) -> None:
    """G8: with `--gid` the group of the record is the user's own, so the user looks at the node and stops it."""
    real.base.chmod(0o755)
    real.start("a", "--uid=nobody", "--gid=daemon").ok()
    assert owner_and_mode(real.recordfile("a")) == (0, pwd.getpwuid(NOBODY).pw_gid, 0o640)
    pid = real.pid("a")
    looked = as_nobody(real, python, "status", "a")
    assert looked.returncode == 0, looked
    os.chown(real.run, NOBODY, NOBODY)
    stopped = as_nobody(real, python, "stopwait", "a")
    assert stopped.returncode == 0, stopped
    assert not alive(pid)


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        ("--gid=daemon", "cannot start with the group daemon"),
        ("--nice=-5", "cannot set the niceness -5"),
        ("--rlimit=core=4096", "cannot set the limit CORE: only root can raise the hard limit, which is 0"),
    ],
)
def test_g8_a_user_restarts_no_node_that_only_root_can_start(real: Real, python: str, granted: str, says: str) -> None:
    """G8, G9: what the record has from root and the user cannot give again is said before the node is stopped."""
    real.base.chmod(0o755)
    real.start("a", "--uid=nobody", granted).ok()
    os.chown(real.run, NOBODY, NOBODY)
    pid = real.pid("a")
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
    limited += "runpy.run_module('multi', run_name='__main__')"
    done = as_nobody(real, python, "restart", "a", code=limited)
    assert done.returncode == 77, done
    assert says in done.stderr
    assert "run multi as root" in done.stderr
    assert real.processes("a") == [pid]
    assert owner_and_mode(real.recordfile("a"))[0] == 0
    real.multi("restart", "a").ok()  # root's record still says so


@pytest.mark.parametrize("whose", ["root's", "the user's"])
def test_g8_an_env_file_of_a_users_record_is_read_as_the_user(real: Real, python: str, whose: str) -> None:
    """G8: root's `restart` reads what a user's record names as that user: its own file, and none of root's."""
    path = real.base / "env"
    path.write_text("WORD=before\n", encoding="ascii")
    path.chmod(0o600)
    os.chown(path, NOBODY, NOBODY)
    real.base.chmod(0o755)
    pid = begin_as_nobody(real, python, f"--env-file={path}")
    path.write_text("WORD=after\n", encoding="ascii")
    if whose == "root's":
        os.chown(path, 0, 0)
        done = real.multi("restart", "a", "--uid=nobody")
        assert done.code == 2, done
        assert f"env_file {path}: cannot be read: Permission denied" in done.err
        assert real.processes("a") == [pid]
    else:
        real.multi("restart", "a", "--uid=nobody").ok()
        assert environ_of(real.pid("a"))["WORD"] == "after"
    real.multi("kill", "a", "--uid=nobody").ok()


def test_g8_a_users_record_does_not_get_roots_output(real: Real, python: str) -> None:
    """G8: a log that is a descriptor of root's, perhaps of a terminal, is not handed to a node on a user's word."""
    begin_as_nobody(real, python)
    log = str(real.logfile("a"))
    record = real.recordfile("a")
    record.write_text(record.read_text(encoding="ascii").replace(log, "/dev/stderr"), encoding="ascii")
    assert owner_and_mode(record)[0] == NOBODY
    real.multi("restart", "a", "--uid=nobody").ok()
    assert descriptors(real.pid("a"))[2] == str(real.run / "a.log")
    real.multi("kill", "a", "--uid=nobody").ok()
