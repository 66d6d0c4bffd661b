"""Who asks: a terminal, cron, ssh, a unit or nobody is told apart, on real processes."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from multi.model.caller import Caller, typed
from multi.system import caller
from multi.system.trusted_path import user_name

_ASK = "from multi.system import System; print(System().caller().where, end='')"
_PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SUDO_"))}


def asked(*words: str, env: dict[str, str] = _PLAIN) -> str:
    """Where a `multi` says that it is asked from; in a session of its own, so without a terminal."""
    command = [*words, sys.executable, "-c", _ASK]
    return subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, start_new_session=True
    ).stdout


@pytest.mark.parametrize(("name", "where"), [("cron", "cron"), ("crond", "cron"), ("sshd-session", "ssh")])
def test_whose_child_it_is(tmp_path: Path, name: str, where: str) -> None:
    """What an ancestor is called tells who runs commands for others, also with a shell between."""
    shutil.copy(shutil.which("dash") or "/bin/sh", tmp_path / name)
    assert asked(str(tmp_path / name), "-c", 'sh -c \'"$@"; true\' sh "$@"; true', "sh") == where


def test_ssh_by_its_variable() -> None:
    """A command of ssh that cannot see its ancestors knows by a variable."""
    assert asked(env={**_PLAIN, "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}) == "ssh"


def test_terminal_before_all_else() -> None:
    """With a controlling terminal that is where the user is, even with all streams redirected."""
    pid, terminal = pty.fork()
    if pid == 0:
        name = os.ttyname(0).removeprefix("/dev/")
        done = subprocess.run(
            [sys.executable, "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        os._exit(0 if done.stdout == f"tty {name}" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


@pytest.mark.parametrize(
    ("cgroups", "where"),
    [
        ("0::/system.slice/celery.service\n", "unit celery.service"),
        ("0::/system.slice/multi@w1.service/inner\n", "unit multi@w1.service"),
        ("5:devices:/\n1:name=systemd:/system.slice/celery.service\n0::/\n", "unit celery.service"),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/jobs.service\n", "unit jobs.service"),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/vte.scope\n", ""),
        ("0::/user.slice/user-7.slice/session-3.scope\n", ""),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_unit(cgroups: str, where: str) -> None:
    """The control group names the unit; a session and a user's manager are none."""
    assert caller.unit_of(cgroups) == where


def test_sudo() -> None:
    """Who became root by sudo is named."""
    with mock.patch.dict(os.environ, {"SUDO_USER": "ana"}):
        assert caller.caller().user == f"ana as {user_name(os.geteuid())}"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("start", "w1", "-c:w1", "4"), "multi start w1 -c:w1 4"),
        (("start", "--cmd=a b", ""), "multi start '--cmd=a b' ''"),
        (("start", "--env=KEY=secret", "--env:w1=KEY=secret", "w1"), "multi start --env=KEY=... --env:w1=KEY=... w1"),
        (("start", "--env", "KEY=secret", "--env:1,2", "B=secret"), "multi start --env KEY=... --env:1,2 B=..."),
        (("start", "--env=GONE-", "--env-file=x.env"), "multi start --env=GONE- --env-file=x.env"),
        (("start", "a\nb\x1b"), r"multi start 'a\nb\x1b'"),
    ],
)
def test_typed(words: tuple[str, ...], text: str) -> None:
    """A command line is shown as a shell takes it, without the values of variables."""
    assert typed("multi", words) == text


def test_typed_is_bounded() -> None:
    """A long command line is cut."""
    assert len(typed("multi", ("start", *map(str, range(10_000))))) == 160


def test_text() -> None:
    """A caller in words."""
    assert Caller("root", "cron", "multi ensure", 7).text == "root from cron (multi ensure)"
    assert Caller("ana", "", "multi stop w1", 7).text == "ana (multi stop w1)"
