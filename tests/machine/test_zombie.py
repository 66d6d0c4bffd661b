"""A process that has ended and that nobody has waited for tells how it ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from multi.model.process import ProcessInfo
from multi.system import System
from real import until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.mark.parametrize(("code", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -11 $$", -11)])
def test_how_it_ended(code: str, status: int) -> None:
    """An exit code, or minus the signal's number, with and without a core."""
    with System() as machine, subprocess.Popen(["sh", "-c", code]) as process:

        def zombie() -> ProcessInfo | None:
            info = machine.processes().by_pid[process.pid]
            return info if info.gone else None

        assert until(zombie, "it has ended").status == status
