"""The lock of a node is the one that the package filelock takes, so a script can hold `multi` off a node with it."""

from __future__ import annotations

from pathlib import Path

import filelock
import pytest

from multi.machine import Holder
from multi.system import System


def test_a_lock_of_filelock_keeps_us_out(tmp_path: Path) -> None:
    """Who holds the lock file through filelock is waited for like another `multi`."""
    path = tmp_path / "w1.lock"
    with System() as machine, filelock.FileLock(path):
        assert isinstance(machine.lock("w1", str(path), None, None), Holder)


def test_our_lock_keeps_filelock_out(tmp_path: Path) -> None:
    """While we hold the lock, filelock does not get it; when it is given back, it does."""
    path = tmp_path / "w1.lock"
    theirs = filelock.FileLock(path, timeout=0)
    with System() as machine:
        assert machine.lock("w1", str(path), None, None) is None
        with pytest.raises(filelock.Timeout):
            theirs.acquire()
        machine.unlock("w1")
        with theirs:
            assert isinstance(machine.lock("w1", str(path), None, None), Holder)
