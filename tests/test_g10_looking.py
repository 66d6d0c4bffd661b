"""G10 Looking changes nothing: no file or directory is made, no process is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import stat

if TYPE_CHECKING:
    from real import Real

LOOKS = (
    ("names", "a", "b"),
    ("show", "a", "--preset=exec", "--cmd=sleep 9"),
    ("get", "a", "a", "b", "--preset=exec", "--cmd=sleep 9"),
    ("expand", "%n", "a"),
    ("status", "a"),
    ("status",),
    ("logs", "a"),
    ("diff",),
    ("check", "a", "--preset=exec", "--cmd=sleep 9"),
    ("start", "a", "--preset=exec", "--cmd=sleep 9", "--dry-run"),
    ("restart", "a", "--dry-run"),
    ("stopwait", "a", "--dry-run"),
    ("stop", "a", "--dry-run"),
    ("kill", "a", "--dry-run"),
    ("ensure", "a", "--dry-run"),
    ("apply", "--dry-run"),
    ("help",),
    ("--version",),
)


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Each file and directory: inode, mode, time of change, content."""
    found: dict[str, tuple[int, int, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        what = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (what.st_ino, what.st_mode, what.st_mtime_ns, data)
    return found


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_g10_looking_at_nothing_makes_nothing(real: Real, words: tuple[str, ...]) -> None:
    """G10: with neither run nor log directory there, they are not there afterwards either."""
    for directory in (real.run, real.log):
        shutil.rmtree(directory, ignore_errors=True)
    before = everything(real.base)
    real.raw(*words, f"--pidfile={real.run}/deep/%n.pid", f"--logfile={real.log}/deep/%n.log")
    assert everything(real.base) == before


@pytest.mark.parametrize("words", [words for words in LOOKS if words[0] != "check"], ids=" ".join)
def test_g10_looking_at_a_node_touches_nothing(real: Real, words: tuple[str, ...]) -> None:
    """G10: beside a node that runs and one that has died, no file changes and no process notices."""
    tally = real.base / "tally"
    real.start("a", "b", cmd=real.worker("--tally", str(tally)), startsecs=0.3).ok()
    real.pidfile("b").write_text("1\n")
    pid = real.pid("a")
    birth = stat(pid)
    before = everything(real.base)
    real.raw(*words, f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log")
    assert everything(real.base) == before
    now = stat(pid)
    assert now is not None
    assert birth is not None
    assert now.birth == birth.birth
    assert not tally.exists()
