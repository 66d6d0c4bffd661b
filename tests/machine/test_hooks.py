"""Hooks on the real machine: whatever they do, nobody waits for them, and what came of them is noted."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.machine import Hook, Launch
from multi.model.happening import HookDone
from multi.system import System
from real import PATIENCE, alive, until
from systems import SYSTEMS

KEY = "w1@host"


@pytest.fixture(params=SYSTEMS)
def machine(request: pytest.FixtureRequest) -> Iterator[System]:
    """Give the real machine, with all it has and with less."""
    with SYSTEMS[request.param]() as system:
        yield system


def begin(machine: System, command: str, notes: Path, *, data: bytes = b"", seconds: float = PATIENCE) -> None:
    """Run a hook that is noted in a file."""

    def note(why: str, tail: tuple[str, ...]) -> None:
        with notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps([why, *tail]) + "\n")

    launch = Launch(argv=(), env=(("SAID", "by the node"),), logfile="", workdir=str(notes.parent))
    machine.hook(KEY, Hook(event="failed", command=command, data=data, launch=launch, seconds=seconds, note=note))


def done(machine: System) -> HookDone:
    """Wait for its end."""
    deadline = machine.now() + PATIENCE
    while machine.now() < deadline:
        for happening in machine.wait(deadline):
            assert isinstance(happening, HookDone)
            return happening
    raise AssertionError("the hook did not end")


def shell(line: str) -> str:
    """Write a line of shell as a command."""
    return shlex.join(("sh", "-c", line))


def test_a_hook_gets_the_event_and_runs_where_the_node_runs(machine: System, tmp_path: Path) -> None:
    """Its input is the event whole, its directory and variables are those of the node, and its last lines are told."""
    data = b"x" * 300_000
    begin(machine, shell("wc -c; pwd; echo $SAID"), tmp_path / "notes", data=data)
    assert done(machine) == HookDone(KEY, "failed", "", ("300000", str(tmp_path), "by the node"))
    assert json.loads((tmp_path / "notes").read_text("utf-8")) == ["", "300000", str(tmp_path), "by the node"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (shell("exit 3"), "it exited with status 3"),
        (shell("kill -9 $$"), "it was killed by signal 9 (KILL)"),
        ("/nowhere/at/all", "not run: [Errno 2] No such file or directory: '/nowhere/at/all'"),
        ("'", "not run: No closing quotation"),
    ],
)
def test_a_hook_that_fails_is_told(machine: System, tmp_path: Path, command: str, why: str) -> None:
    """By its exit status, its signal, or why it did not run; and noted in the same words."""
    begin(machine, command, tmp_path / "notes")
    assert done(machine).why == why
    assert json.loads((tmp_path / "notes").read_text("utf-8")) == [why]


def test_g9_a_hook_that_reads_nothing_and_prints_without_end_dies_at_its_limit(machine: System, tmp_path: Path) -> None:
    """With all that it has started in its group."""
    line = f"sleep 300 & echo $! > {tmp_path}/child; yes"
    begin(machine, shell(line), tmp_path / "notes", data=b"x" * 300_000, seconds=0.5)
    said = done(machine)
    assert said.why == "still ran after 0.5s, and was killed"
    assert said.tail[-1] == "y"
    child = int((tmp_path / "child").read_text("ascii"))
    until(lambda: not alive(child), "what it started is gone")


def test_what_a_hook_leaves_running_in_its_group_ends_with_it(machine: System, tmp_path: Path) -> None:
    """Nothing of it outlives it."""
    begin(machine, shell(f"sleep 300 & echo $! > {tmp_path}/child"), tmp_path / "notes")
    assert done(machine).why == ""
    child = int((tmp_path / "child").read_text("ascii"))
    until(lambda: not alive(child), "what it started is gone")


def test_g3_a_hook_outlives_multi_and_is_still_bounded_and_noted(tmp_path: Path) -> None:
    """KILL hits `multi` while the hook hangs: at its limit the hook is gone all the same, and the note is there."""
    line = f"echo $$ > {tmp_path}/pid; sleep 300"
    code = f"""if True:
    import sys
    from pathlib import Path
    sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "kit")]!r}
    import test_hooks
    from multi.system import System
    with System() as machine:
        test_hooks.begin(machine, test_hooks.shell({line!r}), Path({str(tmp_path)!r}) / "notes", seconds=2.0)
        machine.wait(None)
    """
    import subprocess

    with subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE) as process:
        until((tmp_path / "pid").exists, "the hook runs")
        until(lambda: (tmp_path / "pid").read_text("ascii").endswith("\n"), "its pid is written")
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.read()  # nobody holds it open: neither the guard nor the hook
    hook = int((tmp_path / "pid").read_text("ascii"))
    assert alive(hook)
    until(lambda: not alive(hook), "it is gone")
    until((tmp_path / "notes").exists, "it is noted")


def test_a_guard_holds_nothing_of_ours(machine: System, tmp_path: Path) -> None:
    """No descriptor of `multi` is kept open by a hook, and no signal that we ignore is ignored there."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as end:
        begin(
            machine,
            shell(f"touch {tmp_path}/runs; grep SigIgn /proc/self/status; sleep 300"),
            tmp_path / "notes",
            seconds=1,
        )
        until((tmp_path / "runs").exists, "the hook runs")
        os.close(write)
        assert end.read() == b""
    (ignored,) = done(machine).tail
    # What glibc keeps for itself nobody can set; a caller that was made by its posix_spawn(3) ignores 32 and 33.
    assert int(ignored.removeprefix("SigIgn:"), 16) & ~(1 << 31 | 1 << 32) == 0, ignored


def test_too_many_hooks_are_refused(machine: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of events is no storm of processes."""
    monkeypatch.setattr("multi.system.hooks._MOST", 2)
    for _ in range(3):
        begin(machine, shell("sleep 300"), tmp_path / "notes", seconds=0.5)
    assert done(machine).why == "not run: 2 hooks run already"
