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
PATHS = os.pathsep.join((str(TESTS), str(TESTS / "kit")))  # conftest, and what it stands on
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


TAKES = """
import os, pathlib, subprocess
def test_takes():
    for path in ("/etc/multi", "/var/run/celery", "/var/log/celery"):
        assert not os.listdir(path)
    assert {name for name in os.environ if name.startswith("MULTI_")} <= {"MULTI_TEST_ALL"}
    seen = subprocess.run(["grep", "SigIgn:", "/proc/self/status"], capture_output=True, check=True).stdout
    assert not int(seen.split()[1], 16) & 0b111, seen
    pathlib.Path("/var/run/celery/mine").touch()
"""


def busy(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program where celery is another user, 5550 is somebody else, and multi is configured and has nodes."""
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
        "touch /var/log/celery/w1.log",
        "echo 1 >/run/celery/w1.pid",
        "chown -R 994 /run/celery /var/log/celery",
        "trap '' HUP INT QUIT",
        '"$@"',
        "ls /run/celery",
    )
    return subprocess.run(
        ["unshare", "--mount", "sh", "-euc", "\n".join(lines), "sh", sys.executable, *words],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": PATHS, "MULTI_CONFIG": "/etc/multi/multi.toml"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.root
def test_a_machine_has_nothing_of_the_one_that_runs_the_tests(tmp_path: Path) -> None:
    """Whoever celery is outside, and whatever is configured there: users, /etc and run directories are its own."""
    need("unshare", "nsenter", "setpriv")
    done = busy(tmp_path, "-c", LOOK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str([str(USER_ID), str(STRANGER_ID)]),
        str([USER]),
        str([USER]),
        "['passwd']",
        "[]",
        "w1.pid",
    ]


@pytest.mark.root
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "xdist"])
def test_a_test_inherits_nothing_that_multi_goes_by(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """What this machine's own nodes have is hidden and left alone; what starts a test ignores no signal for it."""
    need("unshare")
    (tmp_path / "test_it.py").write_text(TAKES)
    words = ("-m", "pytest", "-c", str(CHECKOUT / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider", "-q")
    done = busy(tmp_path, *words, *workers, str(tmp_path / "test_it.py"))
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert done.stdout.splitlines()[-1] == "w1.pid"


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
    """The limit of time that holds for every test ends it, and what it began is ended; so it is for one that fails."""
    told = tmp_path / "told"
    (tmp_path / "test_it.py").write_text(
        "import pathlib, signal, subprocess, time\n"
        f"told = pathlib.Path({str(told)!r})\n"
        "def test_fails():\n"
        "    told.write_text(str(subprocess.Popen(['sleep', '610']).pid))\n"
        "    assert not told.exists()\n"
        "def test_hangs(real):\n"
        "    real.start('a').ok()\n"
        "    told.write_text(told.read_text() + ' ' + str(real.pid('a')))\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.1)\n"  # the limit's own clock: it need not take that long here
        "    time.sleep(600)\n"
    )
    words = ("-c", str(CHECKOUT / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider", "-n", "0")
    begun = real.popen(
        "sh", "-c", f'exec "$@" >{tmp_path}/out 2>&1', "sh", sys.executable, "-m", "pytest", *words,
        str(tmp_path / "test_it.py"), env={"PYTHONPATH": PATHS, "PYTHONWARNINGS": ""},
    )  # fmt: skip
    assert begun.wait(SOON * 2) == 1
    out = (tmp_path / "out").read_text()
    assert re.search(r"^FAILED .*::test_fails - AssertionError", out, re.MULTILINE), out
    assert re.search(r"^FAILED .*::test_hangs - Failed: Timeout \(>240.0s\)", out, re.MULTILINE), out
    assert not [pid for pid in map(int, told.read_text().split()) if alive(pid)]
