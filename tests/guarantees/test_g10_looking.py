"""G10 Looking changes nothing: no file or directory is made, no process is touched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from multi.model.process import ProcessTable
from multi.system import System
from private_machine import need
from real import everything, stat

if TYPE_CHECKING:
    from real import Real

LOOKS = (
    ("names", "a", "b"),
    ("show", "a", "--preset=exec", "--cmd=sleep 9"),
    ("get", "a", "a", "b", "--preset=exec", "--cmd=sleep 9"),
    ("expand", "%n", "a"),
    ("status", "a"),
    ("status",),
    ("status", "--health"),
    ("tasks",),
    ("logs", "a"),
    ("history", "a"),
    ("why", "a"),
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


def test_g10_looking_at_nothing_makes_nothing(real: Real) -> None:
    """G10: with neither run nor log directory there, they are not there afterwards either."""
    for directory in (real.run, real.log):
        shutil.rmtree(directory, ignore_errors=True)
    before = everything(real.base)
    for words in LOOKS:
        real.raw(*words, f"--pidfile={real.run}/deep/%n.pid", f"--logfile={real.log}/deep/%n.log")
        assert everything(real.base) == before, words


def test_g10_looking_at_a_node_touches_nothing(real: Real) -> None:
    """G10: beside a node that runs and one that has died, no file changes and no process notices."""
    tally = real.base / "tally"
    real.start("a", "b", cmd=real.worker("--tally", str(tally)), startsecs=0.3).ok()
    real.pidfile("b").write_text("1\n")
    pid = real.pid("a")
    start_id = stat(pid)
    before = everything(real.base)
    for words in LOOKS:
        if words[0] != "check":
            real.raw(*words, f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log")
            assert everything(real.base) == before, words
    now = stat(pid)
    assert now is not None
    assert start_id is not None
    assert now.start_id == start_id.start_id
    assert not tally.exists()


@pytest.mark.parametrize(
    "words", [("status", "a", "b"), ("start", "c", "--dry-run"), ("kill", "a", "--dry-run")], ids=" ".join
)
def test_g10_the_kernel_hears_of_no_change(real: Real, words: tuple[str, ...]) -> None:
    """G10: no file is opened to be written or made, none is moved or removed, no process is made or signalled."""
    need("strace", root=False)
    real.start("a", "b").ok()
    real.pidfile("b").write_text("999999999\n")
    trace = real.base / "trace"
    calls = "openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    calls += "chmod,fchmod,fchmodat,chown,fchown,fchownat,truncate,ftruncate,utimensat,fork,vfork,clone,clone3,flock,"
    calls += "kill,tkill,tgkill,pidfd_send_signal"
    command = [sys.executable, "-m", "multi", *words, f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log"]
    strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", "--", *command]
    subprocess.run(strace, env=real.env, cwd=real.base, capture_output=True, timeout=60, check=False)
    if not trace.exists():
        pytest.skip("strace may not trace here")
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any('c.pid"' in line if "c" in words else 'a.pid"' in line for line in lines), "it looked"
    harmless = re.compile(r"open(at)?\(.*O_RDONLY|kill\(\d+, 0\)|pidfd_send_signal\(\d+, 0,")
    assert [line for line in lines if not harmless.search(line)] == []


def test_g10_a_look_beside_a_start_shows_no_phantom(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """G10: `status` takes no lock; a process that was started between its two looks is not shown as dead."""
    looks: list[ProcessTable] = []

    def watched(look: Callable[[System], ProcessTable]) -> Callable[[System], ProcessTable]:
        def looking(system: System) -> ProcessTable:
            looks.append(look(system))
            if len(looks) == 1:
                real.start("a").ok()
            return looks[-1]

        return looking

    monkeypatch.setattr(System, "sketch", watched(System.sketch))
    monkeypatch.setattr(System, "processes", watched(System.processes))
    view: Mapping[str, object] = json.loads(real.inside("status", "--json", "a").out)[0]
    assert view["state"] == "running"
    assert view["pid"] == real.pid("a")
    assert looks
