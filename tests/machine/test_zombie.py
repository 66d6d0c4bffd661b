"""A process that has ended and that nobody has waited for tells how it ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from multi.model.process import ProcessInfo
from multi.system import System
from multi.system.kernel import end_in
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


@pytest.mark.parametrize(
    ("record", "end"),
    [
        (
            "3,871,5000000,-;Out of memory: Killed process 42 (python) total-vm:1kB\n SUBSYSTEM=x\n",
            (42, 5.0, "killed by the kernel, out of memory"),
        ),
        (
            "3,871,5000000,-;Memory cgroup out of memory: Killed process 42 (a b) total-vm:1kB",
            (42, 5.0, "killed by the kernel at its memory limit"),
        ),
        ("6,871,5000000,-;python[42]: segfault at 0 ip 00 sp 00 error 4", (42, 5.0, "segmentation fault")),
        ("6,1,5000000,-;traps: python[42] general protection fault ip:0", (42, 5.0, "general protection fault")),
        ("12,871,5000000,-;Out of memory: Killed process 42 (python) said by a user", None),
        ("6,1,2,-;EXT4-fs (vda): mounted", None),
        ("strange", None),
        (";", None),
    ],
)
def test_what_the_kernel_says(record: str, end: tuple[int, float, str] | None) -> None:
    """The kernel's own records tell which process it ended and why; what users write to its log does not count."""
    assert end_in(record) == end


def test_nothing_is_said_of_others() -> None:
    """A process of which the log tells no end has none."""
    with System() as machine:
        assert machine.kernel_says(2**22 + 1, 0.0) == ""
