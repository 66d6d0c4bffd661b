"""Whose nodes they are and where they lie, when root does not say it: found, or named with what to add."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from private_machine import BIN, USER, USER_ID, Done, Host, machine, need

pytestmark = pytest.mark.root
MULTI = f"{BIN}/multi"
RUN = "/srv/theirs/run"
PIDFILE = f"--pidfile={RUN}/%n.pid"
SLEEP = ("--preset=exec", "--cmd=sleep 600", "--startsecs=0")


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    """Give a machine with users, for all tests of this file."""
    need()
    with machine() as host:
        host.run("install", "-d", "-o", USER, "-g", USER, "/srv/theirs/log").ok()
        host.run("install", "-d", "-o", USER, "-g", USER, RUN).ok()
        host.run("install", "-d", "-m", "1777", "/srv/shared").ok()
        yield host


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    """Give that machine, and stop what the test has left running."""
    yield module_host
    # All processes of that machine but its first one, kill(2): a command a place would take longer than the tests.
    module_host.shell(f"kill -KILL -1; rm -rf /run/celery /run/multi {RUN}/* /srv/shared/*").ok()


def multi(host: Host, *words: str, user: str | None = None) -> Done:
    """``multi WORDS``."""
    return host.run(MULTI, *words, user=user, env={"C_FORCE_ROOT": "1"})


def begin_theirs(host: Host, pidfile: str = PIDFILE) -> None:
    """Let the user start two nodes."""
    multi(host, "start", "w1", "w2", pidfile, "--logfile=/srv/theirs/log/%n.log", *SLEEP, user=USER).ok()


# --- whose --------------------------------------------------------------------------------------------------------


def test_g8_status_says_whose_nodes_they_are(host: Host) -> None:
    """G8: root's `status` shows a user's nodes as unsure, names the user and `--uid`, and exits with 4."""
    begin_theirs(host)
    done = multi(host, "status", PIDFILE, "--json").exits(4)
    shown = json.loads(done.out)
    assert [(one["node"].partition("@")[0], one["state"], one["logfile"]) for one in shown] == [
        ("w1", "unsure", None),
        ("w2", "unsure", None),
    ]
    assert all("(celery), not to this node's user; give --uid celery" in one["why"] for one in shown)
    assert "other tools" not in done.err
    for command in ("stop", "stopwait", "kill"):
        assert "give --uid celery" in multi(host, command, PIDFILE).exits(77).err
    for command in ("logs", "restart"):
        err = multi(host, command, PIDFILE).exits(2).err
        assert "left alone: w1 w2, whose records belong to celery; give --uid celery" in err
    assert multi(host, "logs", "w1", PIDFILE).exits(2).err.endswith("give --uid celery if it is that user's node\n")
    assert multi(host, "ensure", PIDFILE).ok().err == ""
    assert len([words for words in host.processes() if words == ["sleep", "600"]]) == 2


def test_with_the_user_the_log_is_that_of_the_record(host: Host) -> None:
    """With `--uid`, and no node named, root sees the nodes with the logs that they have."""
    begin_theirs(host)
    host.write("/srv/theirs/log/w1.log", "what it says\n", owner=USER_ID)
    shown = json.loads(multi(host, "status", PIDFILE, "--uid", USER, "--json").ok().out)
    assert [one["logfile"] for one in shown] == ["/srv/theirs/log/w1.log", "/srv/theirs/log/w2.log"]
    assert [one["state"] for one in shown] == ["running", "running"]
    assert "what it says" in multi(host, "logs", PIDFILE, f"--uid={USER}").ok().out
    multi(host, "stopwait", PIDFILE, f"--uid={USER}").ok()
    assert ["sleep", "600"] not in host.processes()


def test_g8_a_users_lock_is_not_to_be_removed(host: Host) -> None:
    """G8, G2: the lock of a user's node may be held, so root is told to say whose node it is."""
    begin_theirs(host, "--pidfile=/srv/shared/%n.pid")
    for command in ("stopwait", "kill", "stop"):
        err = multi(host, command, "w1", "--pidfile=/srv/shared/%n.pid").exits(77).err
        assert "give --uid celery if it is that user's node" in err
        assert "remove it" not in err
    multi(host, "stopwait", "w1", "--pidfile=/srv/shared/%n.pid", f"--uid={USER}").ok()


# --- where --------------------------------------------------------------------------------------------------------


def test_g14_a_node_of_any_preset_is_found(host: Host) -> None:
    """G14: without `--pidfile` the default run directories of all presets are looked into, by name and without."""
    multi(host, "start", "a", *SLEEP).ok()
    pid = host.pid("/run/multi/a.pid")
    for words in (("status",), ("status", "a")):
        assert f" {pid} " in multi(host, *words).ok().out
    assert multi(host, "signal", "CONT", "a").ok().out
    multi(host, "restart", "a").ok()
    assert not host.alive(pid)
    pid = host.pid("/run/multi/a.pid")
    assert not host.exists("/run/celery/a.pid")
    multi(host, "stopwait", "a").ok()
    assert not host.alive(pid)
    for command in ("kill", "stop", "stopwait"):
        multi(host, "start", "a", *SLEEP).ok()
        pid = host.pid("/run/multi/a.pid")
        assert f"pid {pid}" in multi(host, command, "a").ok().out
        multi(host, "wait", "--down", "a").ok()


def test_g14_a_node_without_its_files_is_found(host: Host) -> None:
    """G14, G2: "not running" is not said of a node of another preset whose run directory was removed."""
    multi(host, "start", "a", *SLEEP).ok()
    pid = host.pid("/run/multi/a.pid")
    host.run("rm", "-r", "/run/multi").ok()
    assert f" {pid} " in multi(host, "status", "a").out
    multi(host, "stopwait", "a").ok()
    assert not host.alive(pid)
    assert "not running" in multi(host, "stopwait", "a").ok().out


def test_g14_two_of_a_name_are_an_error(host: Host) -> None:
    """G14: of two nodes of a name none is chosen: both are named, and nothing is done."""
    multi(host, "start", "a", "--pidfile=/var/run/celery/%n.pid", *SLEEP).ok()
    multi(host, "start", "a", "--pidfile=/var/run/multi/%n.pid", *SLEEP).ok()
    pids = [host.pid(f"/run/{name}/a.pid") for name in ("celery", "multi")]
    for words in (["status"], ["status", "a"], ["stopwait", "a"], ["restart", "a"], ["kill"]):
        err = multi(host, *words).exits(4 if words[0] == "status" else 2).err
        for path in ("/var/run/celery/a.pid", "/var/run/multi/a.pid", "--pidfile="):
            assert path in err, words
        assert all(map(host.alive, pids)), words
    multi(host, "stopwait", "a", "--preset=exec").ok()  # the preset says which
    assert [host.alive(pid) for pid in pids] == [True, False]


@pytest.mark.parametrize("command", ["start", "restart"])
def test_g14_a_living_namesake_is_not_started_again(host: Host, command: str) -> None:
    """G14, G2: for starting the settings decide where, and a node of that name that runs elsewhere is in the way."""
    multi(host, "start", "a", *SLEEP).ok()
    pid = host.pid("/run/multi/a.pid")
    err = multi(host, command, "a", "-A", "proj").exits(2).err
    assert "a: runs already, with the pidfile /var/run/multi/a.pid" in err
    assert host.alive(pid)
    assert not host.exists("/run/celery/a.pid")
    multi(host, "stopwait", "a").ok()
    multi(host, "start", "a", "--pidfile=/var/run/celery/%n.pid", *SLEEP).ok()
    assert "/var/run/celery/a.pid" in multi(host, "start", "a", *SLEEP).exits(2).err


def test_g14_a_preset_of_ones_own_has_its_directory(host: Host) -> None:
    """G14: the run directory of a preset that root wrote is looked into, too; one that is broken stops nothing."""
    host.write("/etc/multi/presets/mine.toml", 'extends = "exec"\ncmd = "sleep 600"\ndirname = "mine"\n')
    host.write("/etc/multi/presets/broken.toml", "extends = \n")
    multi(host, "start", "m", "--preset=mine", "--startsecs=0").ok()
    pid = host.pid("/run/mine/m.pid")
    assert f" {pid} " in multi(host, "status").ok().out
    multi(host, "stopwait", "m").ok()
    assert not host.alive(pid)
    host.run("rm", "-r", "/etc/multi", "/run/mine").ok()
