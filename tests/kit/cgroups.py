"""A cgroup of one's own below the machine's cgroup2, delegated as systemd delegates one (cgroups(7)).

    with delegated() as folder:
        ...

What cannot make one is a kernel, a container or a user without such a mount; no package mends that, so a test skips.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.model.cgroup import PREFIX
from real import PATIENCE, until

DELEGATE = "user.delegate"  # the mark that systemd sets with Delegate=yes


@contextlib.contextmanager
def delegated() -> Iterator[Path]:
    """Make it, and end and remove all that is left in it where the block is left."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    mounts = [line.split(" ")[4] for line in lines if " - cgroup2 " in line]
    folder = Path(mounts[-1] if mounts else "/nonexistent") / f"multi-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        os.setxattr(folder, DELEGATE, b"1")
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"needs a cgroup2 that can be written to: {error}")
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            (folder / "cgroup.kill").write_bytes(b"1")
        until(lambda: not folder.exists() or _removed(folder), f"{folder} is empty", seconds=PATIENCE)


def entered(folder: Path, *words: str) -> tuple[str, ...]:
    """The words of a program that moves into the cgroup first, as systemd starts a service."""
    return ("sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(folder), *words)


def nodes_in(folder: Path) -> list[Path]:
    """The cgroups of nodes."""
    return sorted(folder.glob(f"{PREFIX}*/"))


def members(folder: Path) -> set[int]:
    """The pids in a cgroup, those below it excluded; none when it is not there."""
    try:
        return {int(word) for word in (folder / "cgroup.procs").read_bytes().split()}
    except FileNotFoundError:
        return set()


def _removed(folder: Path) -> bool:
    try:
        for below, _, _ in os.walk(folder, topdown=False):
            Path(below).rmdir()
    except OSError:
        return False
    return True
