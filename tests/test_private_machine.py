"""The tests' own ground: what a machine has besides, and a test that fails or hangs, harm no other test."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from private_machine import CHECKOUT, STRANGER, STRANGER_ID, USER, USER_ID, machine, need
from real import Real, alive, until

TESTS = CHECKOUT / "tests"
SOON = 30.0  # seconds; a deadline far below the time that what is ended would have taken
LOOK = f"""
from private_machine import *
with machine() as host:
    print(host.run("id", "-u", "{USER}", "{STRANGER}").ok().out.split())
    print(host.run("id", "-Gn", "{USER}").ok().out.split())
    print(host.run("id", "-un", user="{USER}").ok().out.split())
    print(host.shell("cd /etc && ls -d multi default/* cron.d/* init.d/* passwd").out.split())
    print(host.shell("ls -A /var/log; ls -d /var/run/celery").out.split())
"""


@pytest.mark.root
def test_a_machine_has_nothing_of_the_one_that_runs_the_tests(tmp_path: Path) -> None:
    """Where the user celery has another uid, 5550 is somebody else and nodes of others run, its own is the same."""
    need("unshare", "nsenter", "setpriv")
    etc = tmp_path / "etc"
    for name in ("multi/multi.toml", "default/celeryd", "cron.d/celery", "init.d/celeryd"):
        (etc / name).parent.mkdir(parents=True)
        (etc / name).write_text("theirs\n")
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:994:994::/:/bin/false\nbob:x:{USER_ID}:{USER_ID}::/:/bin/sh\n"
        f"{STRANGER}:x:1001:1001::/:/bin/sh\ncarol:x:{STRANGER_ID}:{STRANGER_ID}::/:/bin/sh\n"
    )
    (etc / "group").write_text(f"root:x:0:\nwheel:x:10:{USER}\n{USER}:x:994:bob\n")
    for name in ("nsswitch.conf", "ld.so.cache"):
        if Path("/etc", name).exists():
            (etc / name).write_bytes(Path("/etc", name).read_bytes())
    lines = (
        f"mount --bind {shlex.quote(str(etc))} /etc",
        "mount -t tmpfs tmpfs /run",
        "mount -t tmpfs tmpfs /var/log",
        "mkdir /run/celery /var/log/celery",
        "chown 994 /run/celery /var/log/celery",
        "echo 1 >/run/celery/w1.pid",
        'exec "$@"',
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", "\n".join(lines), "sh", sys.executable, "-c", LOOK],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str([str(USER_ID), str(STRANGER_ID)]), str([USER]), str([USER]), "['passwd']",
        "[]",
    ]  # fmt: skip


@pytest.mark.root
def test_what_a_failing_test_began_inside_ends_with_its_block() -> None:
    """An assertion that fails beside a program that would run for ten minutes fails at once."""
    need("unshare", "nsenter")
    began = time.monotonic()
    with machine() as host:
        with contextlib.suppress(ZeroDivisionError), host.begin("sleep", "610"):
            until(lambda: host.run("pgrep", "-x", "sleep").code == 0, "it runs")
            pid = int(host.run("pgrep", "-x", "sleep").out)
            raise ZeroDivisionError
        until(lambda: not host.alive(pid), "it is gone", SOON)
    assert time.monotonic() - began < SOON


def test_a_test_that_hangs_fails_by_its_name_and_leaves_nothing(real: Real, tmp_path: Path) -> None:
    """The limit of time that holds for every test ends it, and its fixtures end the node that it has started."""
    told = tmp_path / "told"
    (tmp_path / "test_it.py").write_text(
        "import pathlib, time\n"
        "def test_hangs(real):\n"
        "    real.start('a').ok()\n"
        f"    pathlib.Path({str(told)!r}).write_text(str(real.pid('a')))\n"
        "    time.sleep(600)\n"
    )
    words = ("-c", str(CHECKOUT / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider", "-n", "0")
    begun = real.popen(
        "sh", "-c", f'exec "$@" >{tmp_path}/out 2>&1', "sh", sys.executable, "-m", "pytest", *words,
        "--override-ini=timeout=5", str(tmp_path / "test_it.py"), env={"PYTHONPATH": str(TESTS), "PYTHONWARNINGS": ""},
    )  # fmt: skip
    assert begun.wait(SOON * 2) == 1
    out = (tmp_path / "out").read_text()
    assert re.search(r"^FAILED .*::test_hangs - Failed: Timeout \(>5.0s\)", out, re.MULTILINE), out
    assert not alive(int(told.read_text()))
