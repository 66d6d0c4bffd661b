"""Fixtures that all tests share: real processes in a private place, and what needs root says so."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from real import CLEARED, Real, place

# Where multi looks when nobody says where; what the nodes of this machine have there is no part of a test.
_DEFAULTS = ("/etc/multi", "/var/run/celery", "/var/run/multi", "/var/log/celery", "/var/log/multi")
_CLONE_NEWNS = 0x00020000  # linux/sched.h; os.unshare is Python 3.12's

# Two busy cores are no reason to fail a property, and a failure is to be seen again on the next machine.
settings.register_profile("multi", deadline=None, print_blob=True)
settings.load_profile("multi")


def pytest_configure(config: pytest.Config) -> None:
    """Hide from tests what the machine, its user and the shell have set; the processes of pytest-xdist inherit that."""
    if hasattr(config, "workerinput"):
        return
    for name in [name for name in os.environ if name.startswith(CLEARED) and name != "MULTI_TEST_ALL"]:
        del os.environ[name]
    # Who is started by nohup or in the background of a script ignores signals, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    there = [path for path in _DEFAULTS if Path(path).is_dir()]
    if there and sys.platform == "linux" and os.geteuid() == 0 and not ctypes.CDLL(None).unshare(_CLONE_NEWNS):
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        for path in there:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, plainly, what cannot be done without root; where everything is to be tested, let it fail instead."""
    if os.geteuid() == 0 or os.environ.get("MULTI_TEST_ALL"):
        return
    for item in items:
        if item.get_closest_marker("root") is not None:
            item.add_marker(pytest.mark.skip(reason="needs root: it changes users, owners or mounts"))


@pytest.fixture(autouse=True)
def _ends_what_it_began() -> Iterator[None]:
    """KILL the children that a test has left, because it failed before it ended them; after all other fixtures."""
    before = _children() | _children()  # one look may skip some while others end, proc_pid_task(5)
    yield
    for pid in _children() - before:
        os.kill(pid, signal.SIGKILL)  # a child is a zombie at worst: its pid is nobody else's
        os.waitpid(pid, 0)


def _children() -> set[int]:
    try:
        # Those of the main thread, in which tests run: other threads end while one looks.
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except FileNotFoundError:  # not Linux
        return set()
    return set(map(int, text.split()))


@pytest.fixture
def real() -> Iterator[Real]:
    """Give a private place for real processes. See `real.Real`; what a test leaves behind fails it."""
    with place() as made:
        yield made
