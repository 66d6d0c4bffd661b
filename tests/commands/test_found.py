"""Everything that runs is found: `status` without names, and `status --all`, on a machine of their own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from private_machine import BIN, USER, Done, Host, machine, need

pytestmark = pytest.mark.root
MULTI = f"{BIN}/multi"
SLEEP = ("--preset=exec", "--cmd=sleep 600", "--startsecs=0")
ELSEWHERE = ("--pidfile=/srv/x/run/%n.pid", "--logfile=/srv/x/%n.log")
THEIRS = ("--pidfile=/srv/theirs/run/%n.pid", "--logfile=/srv/theirs/%n.log")
CONFIG = '[nodes.w1]\npreset = "exec"\ncmd = "sleep 600"\nstartsecs = 0\n'


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    """Give a machine with users, for all tests of this file."""
    need()
    with machine() as host:
        host.run("install", "-d", "-o", USER, "-g", USER, "/srv/theirs").ok()
        yield host


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    """Give that machine, and end what the test has left running."""
    yield module_host
    # All processes of that machine but its first one, kill(2): a command a place would take longer than the tests.
    module_host.shell("kill -KILL -1; rm -rf /run/celery /run/multi /srv/x /srv/theirs/* /etc/multi").ok()


def multi(host: Host, *words: str, user: str | None = None) -> Done:
    """``multi WORDS``."""
    return host.run(MULTI, *words, user=user, env={"C_FORCE_ROOT": "1"})


def found(done: Done) -> dict[str, tuple[str, str | None]]:
    """Short name -> state, and where it was found."""
    return {view["name"]: (view["state"], view["found"]) for view in json.loads(done.out)}


def test_g14_status_finds_what_nobody_asked_about(host: Host) -> None:
    """G14: beside the nodes of the configuration it shows what else is on record or runs, with words that reach it."""
    multi(host, "start", "old", "dead", "stopped", *SLEEP).ok()
    multi(host, "stopwait", "stopped").ok()
    host.write("/etc/multi/multi.toml", CONFIG)
    multi(host, "start", "w1").ok()
    multi(host, "start", "w9", *ELSEWHERE, *SLEEP).ok()
    multi(host, "start", "u1", *THEIRS, *SLEEP, user=USER).ok()
    host.run("kill", "-KILL", str(host.pid("/run/multi/dead.pid"))).ok()
    multi(host, "wait", "--down", "dead").ok()
    places = {
        "w1": ("running", None),
        "old": ("running", "not in multi.toml"),
        "dead": ("dead", "not in multi.toml"),
        "stopped": ("stopped", "not in multi.toml"),
        "w9": ("running", "in /srv/x/run: add --pidfile=/srv/x/run/%n.pid"),
        "u1": ("running", f"of {USER}, in /srv/theirs/run: add --uid={USER} --pidfile=/srv/theirs/run/%n.pid"),
    }
    assert found(multi(host, "status", "--json").ok()) == places
    short = [
        "1 running, 1 stopped, 1 dead (dead, old and stopped) not in multi.toml",
        f"1 running (u1) {places['u1'][1]}",
        f"1 running (w9) {places['w9'][1]}",
    ]
    lines = multi(host, "status").ok().out.splitlines()
    assert [line.split()[0].partition("@")[0] for line in lines[:2]] == ["NODE", "w1"]
    assert lines[2] == "also on this machine (--all lists them):"
    assert sorted(line.strip() for line in lines[3:]) == sorted(short)
    watching = host.shell(f"C_FORCE_ROOT=1 timeout 60 {MULTI} status --watch=0.1 | head -3").out
    assert "1 node: 1 running" in watching
    lines = multi(host, "status", "--all").exits(1).out.splitlines()
    assert {line for line in lines if line.endswith(":")} == {f"{where}:" for _, where in places.values() if where}
    # The words that it says reach the node, and no other.
    pids = {
        name: host.pid(f"{path}/{name}.pid")
        for name, path in (("old", "/run/multi"), ("w9", "/srv/x/run"), ("u1", "/srv/theirs/run"))
    }
    for name, pid in pids.items():
        words = shlex.split((places[name][1] or "").partition(": add ")[2])
        multi(host, "stopwait", name, *words).ok()
        assert not host.alive(pid), name
    assert host.alive(host.pid("/run/multi/w1.pid"))


def test_g2_two_users_of_one_configuration(host: Host) -> None:
    """G2: where one of them has started a node as its user, the other does not start it again, nor call it stopped."""
    host.write("/etc/multi/multi.toml", f'[defaults]\nuid = "{USER}"\nlogfile = "/srv/theirs/%n.log"\n{CONFIG}')

    def as_user(user: str | None, *words: str) -> Done:
        return host.run(MULTI, *words, user=user, env={"XDG_STATE_HOME": "/srv/theirs", "C_FORCE_ROOT": "1"})

    for first, second in ((None, USER), (USER, None)):
        as_user(first, "start", "w1").ok()
        for command in ("start", "restart"):
            assert "w1: runs already, with the pidfile " in as_user(second, command, "w1").exits(2).err
        done = as_user(second, "stopwait", "w1").ok()
        assert "running elsewhere: w1 in /" in done.err
        add = done.err.strip().partition("; add ")[2]
        assert "gone" in as_user(second, "stopwait", "w1", add).ok().out
        assert not as_user(second, "stopwait", "w1").ok().err
        as_user(second, "start", "w1", "--dry-run").ok()
    as_user(USER, "start", "w1").ok()
    assert "forgotten" in as_user(None, "apply").ok().out  # it moves the node
    assert set(found(as_user(None, "status", "--json").ok())) == {"w1"}


def test_status_goes_by_the_nodes_asked_about(host: Host) -> None:
    """A node that was found beside them changes no exit code of the LSB; with ``--all`` every node counts."""
    multi(host, "start", "dead", *SLEEP).ok()
    host.write("/etc/multi/multi.toml", CONFIG)
    host.run("kill", "-KILL", str(host.pid("/run/multi/dead.pid"))).ok()
    multi(host, "wait", "--down", "dead").ok()
    assert found(multi(host, "status", "--json").exits(3)) == {
        "w1": ("stopped", None),
        "dead": ("dead", "not in multi.toml"),
    }
    multi(host, "start", "w1").ok()
    multi(host, "status").ok()
    assert multi(host, "status", "--quiet").ok().out == ""
    multi(host, "status", "--all").exits(1)
    multi(host, "status", "w1", "--all").exits(4)
    multi(host, "start", "w9", *ELSEWHERE, *SLEEP).ok()
    host.run("rm", "-r", "/run/multi").ok()
    host.run("rm", "/etc/multi/multi.toml").ok()
    for words in (("status", "w1"), ("status", *ELSEWHERE[:1]), ("status", f"--uid={USER}")):
        assert not [one for one in found(multi(host, *words, "--json")).values() if one[1]], words


def test_status_finds_without_any_node_of_its_own(host: Host) -> None:
    """Where nothing is configured or on record it exits 3 and says so, and shows what runs elsewhere."""
    assert multi(host, "status", "--all").exits(3).out == ""
    multi(host, "start", "w9", *ELSEWHERE, *SLEEP).ok()
    done = multi(host, "status").exits(3)
    assert "there are no nodes" in done.err
    assert "also on this machine (--all lists them):\n  1 running (w9) in /srv/x/run: add --pidfile=/srv" in done.out
    assert "w9@" in multi(host, "status", "--all").ok().out
    host.run("rm", "-r", "/srv/x/run").ok()
    ((state, where),) = found(multi(host, "status", "--all", "--json").ok()).values()
    assert (state, where) == ("lost", "in /srv/x/run: add --pidfile=/srv/x/run/%n.pid")
    assert not host.exists("/srv/x/run")


def test_a_user_sees_their_own(host: Host) -> None:
    """Of the nodes of others a user sees none, and of those of their own every one, wherever its files are."""
    multi(host, "start", "w9", *ELSEWHERE, *SLEEP).ok()
    multi(host, "start", "u1", *THEIRS, *SLEEP, user=USER).ok()
    for words in ((), ("--all",)):
        shown = found(multi(host, "status", "--json", *words, user=USER))
        assert shown == {"u1": ("running", "in /srv/theirs/run: add --pidfile=/srv/theirs/run/%n.pid")}


def test_nodes_of_a_container_are_shown_with_all(host: Host) -> None:
    """What runs in another root directory cannot be reached from here: ``--all`` shows it, and says where to go."""
    inside = (
        "mount -t tmpfs none /srv/x/run && multi start c1 --pidfile=/srv/x/run/%n.pid --logfile=/tmp/c1.log "
        + shlex.join(SLEEP)
    )
    host.run("mkdir", "-p", "/srv/x/run").ok()
    host.run("unshare", "--mount", "sh", "-c", f"PATH={BIN}:$PATH; export C_FORCE_ROOT=1; {inside}").ok()
    assert found(multi(host, "status", "--json").exits(3)) == {}
    done = multi(host, "status", "--all", "--json").exits(4)
    assert found(done) == {"c1": ("unsure", "elsewhere: run multi there")}


def test_g8_what_a_user_planted_is_only_shown(host: Host) -> None:
    """G8: a process that says that it is a node of root's is shown as its user's; control characters do no harm."""
    forged = (
        "env MULTI_INSTANCE=x MULTI_INSTANCE_NODE=%s MULTI_INSTANCE_PIDFILE=%s "
        "sh -c 'exec env MULTI_INSTANCE_PID=$$ sleep 600' >/dev/null 2>&1 &"
    )
    for name, path in (
        ("evil@host", "/var/run/multi/w1.pid"),
        ("x@host", "'/srv/\x1b[31mred/x.pid'"),
        ("a/b@host", "/srv/b.pid"),
        ("r@host", "srv/r.pid"),
    ):
        host.run("sh", "-c", forged % (name, path), user=USER).ok()
    done = multi(host, "status").exits(3)
    assert f"  1 lost (evil) of {USER}: add --uid={USER}\n" in done.out
    assert "\x1b" not in done.out
    for name in ("a/b", "r@host"):
        assert name not in done.out
    assert not host.exists("/run/multi")
