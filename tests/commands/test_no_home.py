"""Nodes of a user without a writable home: a read-only root, any uid, no entry in /etc/passwd."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from private_machine import STRANGER_ID, Done, Host, machine, need
from real import until

UID = 471147
PLACE = f"/tmp/multi-{UID}"
SHM = f"/dev/shm/multi-{UID}"
EXEC = ("--preset=exec", "--cmd=sleep 600", "--startsecs=0")

pytestmark = [pytest.mark.engine, pytest.mark.root]  # a private machine, and a dozen commands in each test


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A machine where nothing but /tmp and /dev/shm can be written, as a container with a read-only root."""
    need("unshare", "nsenter", "setpriv")
    with machine() as made:
        made.shell(
            "for each in / /etc /root /run /srv /var/log /var/spool; do mount -o remount,ro,bind $each; done;"
            "mount -t tmpfs -o mode=1777 tmpfs /tmp"
        ).ok()
        yield made


@pytest.fixture(autouse=True)
def _clean(host: Host) -> Iterator[None]:
    yield
    multi(host, "kill")
    host.shell("rm -rf /tmp/* /dev/shm/*").ok()


def _words(*words: str) -> tuple[str, ...]:
    become = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
    return (*become, sys.executable, "-m", "multi", *words)


def multi(host: Host, *words: str, **env: str) -> Done:
    """``multi WORDS`` of that user."""
    return host.run(*_words(*words), env={"HOME": "/", **env})


def _mode(host: Host, path: str) -> tuple[int, int]:
    found = host.path(path).lstat()
    return found.st_uid, found.st_mode & 0o7777


@pytest.mark.parametrize("home", ["/", ""])
def test_every_command_finds_the_nodes(host: Host, home: str) -> None:
    """They are below one private directory, whatever $HOME says; the first start says so, and no other command."""
    first = multi(host, "start", "a", *EXEC, HOME=home).ok()
    assert first.err.count(f"so {PLACE} takes its place") == 1
    assert multi(host, "start", "a", *EXEC, HOME=home).ok().err == ""
    assert _mode(host, PLACE) == _mode(host, f"{PLACE}/run") == _mode(host, f"{PLACE}/log") == (UID, 0o700)
    assert "running" in multi(host, "status", "a").ok().out
    assert "running" in multi(host, "status", HOME="/somewhere/else").ok().out
    complete = {"_MULTI_COMPLETE": "bash_complete", "COMP_WORDS": "multi stop ", "COMP_CWORD": "2"}
    assert multi(host, **complete).ok().out == "plain,a\n"
    host.run("kill", "-KILL", str(host.pid(f"{PLACE}/run/a.pid"))).ok()
    until(lambda: "dead" in multi(host, "status").out, "it is seen to be dead")
    assert "started" in multi(host, "ensure").ok().out
    assert "stopped" in multi(host, "stopwait").ok().out


def test_g10_looking_makes_nothing(host: Host) -> None:
    """G10: neither what looks nor --dry-run makes the directory; the plan says where it would be."""
    for words in (["status"], ["names", "2"], ["show", "w1"], ["start", "a", *EXEC, "--dry-run"], ["ensure"]):
        multi(host, *words)
    assert not host.exists(PLACE)
    assert not host.exists(SHM)


def test_cron_is_not_told_each_minute(host: Host) -> None:
    """`ensure` with nothing to do prints nothing, here too."""
    host.write("/tmp/multi.toml", "[nodes.a]\npreset = 'exec'\ncmd = 'sleep 600'\n")
    done = multi(host, "ensure", "--multi-config=/tmp/multi.toml").ok()
    assert (done.out, done.err) == ("", "")
    assert not host.exists(PLACE)


def test_run_is_found_by_the_other_commands(host: Host) -> None:
    """`multi run` as a container has it: `status --health` and `stopwait` beside it need no word of where."""
    with host.begin(*_words("run", "a", *EXEC), env={"HOME": "/"}) as begun:
        until(lambda: multi(host, "status", "a", "--health").code == 0, "it runs")
        multi(host, "stopwait", "a").ok()
        assert f"so {PLACE} takes its place" in begun.done().ok().err


def test_g8_a_planted_directory_is_not_used(host: Host) -> None:
    """G8: another user was there first: the next place is taken, and what was planted is neither read nor written."""
    host.path(PLACE).mkdir(mode=0o777)
    os.chown(host.path(PLACE), STRANGER_ID, STRANGER_ID)
    first = multi(host, "start", "a", *EXEC).ok()
    assert f"{PLACE} belongs to uid {STRANGER_ID}" in first.err
    assert _mode(host, SHM) == (UID, 0o700)
    assert not any(host.path(PLACE).iterdir())
    host.path(PLACE).rmdir()
    assert "running" in multi(host, "status", "a").ok().out


def test_g8_where_all_are_planted_nothing_is_started(host: Host) -> None:
    """G8, G9: a link and somebody else's directory: one line says why, and what to try."""
    host.path(PLACE).symlink_to("/dev/shm")
    host.path(SHM).mkdir()
    done = multi(host, "start", "a", *EXEC)
    assert done.code != 0
    assert f"{PLACE} is no directory" in done.err
    assert f"{SHM} belongs to uid 0" in done.err
    assert not any(host.path(SHM).iterdir())
