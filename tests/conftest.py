"""What all tests share: real processes in a private place, tiers, and what needs root says so."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from commands import served
from real import CLEARED, Real, children_of_ours, current_directory, environment, place

# Where multi looks when nobody says where; what the nodes of this machine have there is no part of a test.
_DEFAULTS = ("/etc/multi", "/var/run/celery", "/var/run/multi", "/var/log/celery", "/var/log/multi")
_CLONE_NEWNS = 0x00020000  # linux/sched.h; os.unshare is Python 3.12's
_QUICK = {"pure", "histories"}
# Of this process's processor time: other processes of a busy machine do not count. Who imports click needs half of it.
_PURE_SECONDS = 0.5
_EXAMPLES = 10  # a property is many tests: it may take ten times as long

# Two busy cores are no reason to fail a property, and a failure is to be seen again on the next machine.
settings.register_profile("multi", deadline=None, print_blob=True)
settings.load_profile("multi")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the tiers. Without one all tests run but those of `engine`; those that are named by their path always do."""
    group = parser.getgroup("tiers")
    for tier, which in (
        ("quick", "the tests in pure/ and histories/"),
        ("engines", "the tests marked `engine`"),
        ("all", "all tests"),
    ):
        group.addoption(f"--{tier}", dest="tier", action="store_const", const=tier, help=f"run {which}")


def pytest_configure(config: pytest.Config) -> None:
    """Hide from tests what the machine, its user and the shell have set; the processes of pytest-xdist inherit that."""
    if config.option.tier is None and config.args_source is pytest.Config.ArgsSource.ARGS:
        config.option.tier = "all"  # of what is named; each process of pytest-xdist reads the command line for itself
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not of the tier; skip, plainly, what needs root, but let it fail where all is to be tested."""
    left_out = [item for item in items if not _in_tier(item, config.option.tier)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _in_tier(item, config.option.tier)]
    if os.geteuid() == 0 or os.environ.get("MULTI_TEST_ALL"):
        return
    for item in items:
        if item.get_closest_marker("root") is not None:
            item.add_marker(pytest.mark.skip(reason="needs root: it changes users, owners or mounts"))


def _in_tier(item: pytest.Item, tier: str | None) -> bool:
    if tier == "quick":
        return item.path.parent.name in _QUICK
    return tier == "all" or (item.get_closest_marker("engine") is not None) == (tier == "engines")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test of `pure` that takes long: pure stages are quick, and so is who tests them."""
    gc.disable()  # what other tests have left is not this one's to clear away
    try:
        begun = time.process_time()
        yield
        taken = time.process_time() - begun
    finally:
        gc.enable()
    limit = _PURE_SECONDS * (_EXAMPLES if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) else 1)
    if item.path.parent.name == "pure" and taken > limit:
        pytest.fail(f"took {taken:.2f}s of processor time; a test in pure/ may take {limit}s", pytrace=False)


@pytest.fixture(autouse=True)
def _ends_what_it_began() -> Iterator[None]:
    """KILL the children that a test has left, because it failed before it ended them; after all other fixtures."""
    before = children_of_ours() | children_of_ours()
    yield
    for pid in children_of_ours() - before:
        os.kill(pid, signal.SIGKILL)  # a child is a zombie at worst: its pid is nobody else's
        os.waitpid(pid, 0)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Be in an empty home: no setting of the user who runs the tests counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with current_directory(tmp_path):
        yield


@pytest.fixture(scope="session")
def _commands() -> Iterator[None]:
    """Let commands be forked; see `commands`. The server is there before any test counts its children."""
    with served(environment()):
        yield


@pytest.fixture
def real(_commands: None) -> Iterator[Real]:
    """Give a private place for real processes. See `real.Real`; what a test leaves behind fails it."""
    with place() as made:
        yield made
