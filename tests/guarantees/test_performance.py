"""G12: what must not get slower, by counts where something can be counted, else by ratios within one run.

No absolute time is held against anything, and what is timed is processor time: these tests run beside others on small
machines. How fast it is, is measured by ``scripts/bench`` and told in `docs/explanation/performance.md`.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import pytest

from multi import api as pipeline
from multi.machine import File, FileWrite
from multi.model.event import Event, Failed
from multi.model.process import ProcessTable
from multi.system import System, files
from private_machine import need
from real import COMMAND_PATIENCE, Real, until

FEW, MANY = 20, 80
GROWTH = (
    1.15  # how much more than its share a larger number of nodes may cost: a look at all processes is never the same
)
# What one more node may cost: calls of functions, C functions included, half more than measured on a quiet machine,
# since on a busy one a command wakes more often; and calls of the system.
CALLS = {"start": 3700, "status": 1700, "restart": 7200, "stopwait": 4000}
SYSTEM_CALLS = {"status": 22, "stopwait": 110}


class Counting(System):
    """The real machine, which counts how often the process table is read."""

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self.looks = 0

    def processes(self) -> ProcessTable:
        """Count it."""
        self.looks += 1
        return super().processes()

    def sketch(self) -> ProcessTable:
        """Count it."""
        self.looks += 1
        return self.looker.sketch()


def names(count: int) -> list[str]:
    """That many names."""
    return [f"n{number}" for number in range(1, count + 1)]


def loop(command: str, words: Sequence[str], machine: System) -> list[Event]:
    """Select and run within this process; nothing may fail."""
    events = list(pipeline.run(command, pipeline.select(command, words, machine=machine), machine=machine))
    assert not [event for event in events if isinstance(event, Failed)]
    return events


def words_of(real: Real, command: str, count: int) -> list[str]:
    """The words of a command about that many nodes, without the command."""
    if command == "start":
        return [*real.start_words(*names(count))][1:]
    return [f"--pidfile={real.run}/%n.pid", *names(count)]


# --- counted --------------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, C functions included."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # it is documented, but not in typeshed


def test_work_grows_with_the_nodes_and_no_faster(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as many nodes are at most four times as many calls, for every command, and each has a limit."""
    for name, value in real.env.items():
        monkeypatch.setenv(name, value)
    counted: dict[str, list[int]] = {}
    for count in (FEW, MANY):
        for command in ("start", "status", "restart", "stopwait"):
            words = words_of(real, command, count)
            with System() as machine:

                def work(command: str = command, words: list[str] = words, machine: System = machine) -> object:
                    if command == "status":
                        return pipeline.look(pipeline.select(command, words, machine=machine), machine=machine)
                    return loop(command, words, machine)

                counted.setdefault(command, []).append(calls(work))
    for command, (few, many) in counted.items():
        assert many / few < MANY / FEW * GROWTH, (command, counted)
        assert (many - few) / (MANY - FEW) < CALLS[command], (command, counted)


def test_one_process_table_for_all(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once by who looks or starts, and by who stops a few times, however many nodes there are."""
    for name, value in real.env.items():
        monkeypatch.setenv(name, value)
    looks = {}
    for command in ("start", "status", "stopwait"):
        machine = Counting()
        with machine:
            words = words_of(real, command, MANY)
            if command == "status":
                pipeline.look(pipeline.select(command, words, machine=machine), machine=machine)
            else:
                loop(command, words, machine)
            looks[command] = machine.looks
    assert looks["start"] == looks["status"] == 1
    assert looks["stopwait"] <= MANY / 4, looks


@pytest.mark.parametrize("command", ["status", "restart", "stopwait"])
def test_a_process_that_is_older_is_read_once(real: Real, command: str) -> None:
    """A command about a node that runs never reads the environment of an older process, and the rest of it once."""
    older = {str(real.popen("sleep", "600").pid) for _ in range(FEW)}
    real.start("a").ok()
    found = traced(real, command, f"--pidfile={real.run}/%n.pid", "a")
    opened = [match.groups() for _, text in found if (match := re.match(r'openat\(.*"/proc/(\d+)/(\w+)"', text))]
    assert {(pid, name) for pid, name in opened if pid in older} == {(pid, "stat") for pid in older}
    assert len([pid for pid, _ in opened if pid in older]) == len(older)


@pytest.mark.root
def test_root_walks_to_a_directory_once(real: Real) -> None:
    """However many files of it a command of root's uses, the path to a run directory is walked and judged once."""
    real.start(*names(FEW)).ok()
    found = traced(real, "stopwait", f"--pidfile={real.run}/%n.pid", *names(FEW))
    steps = [text for _, text in found if re.match(r"openat\(.*O_PATH", text)]
    assert len(steps) < FEW, steps


def own_calls(found: Sequence[tuple[float, str]]) -> list[str]:
    """Those that have nothing to do with other processes of the machine, of which there may be any number."""
    return [text for _, text in found if '"/proc/' not in text and not text.startswith(("read", "close", "geteuid"))]


def test_system_calls_of_a_node(real: Real) -> None:
    """What one more node costs in calls of the system has a limit, when it is looked at and when it is stopped."""
    real.start(*names(MANY)).ok()
    some, more = names(MANY)[:FEW], names(MANY)[FEW:]
    for command, limit in SYSTEM_CALLS.items():
        few, many = (
            len(own_calls(traced(real, command, f"--pidfile={real.run}/%n.pid", *each))) for each in (some, more)
        )
        assert (many - few) / (len(more) - len(some)) < limit, (command, few, many)


@pytest.mark.parametrize(("seconds", "threads"), [(0.0, False), (0.01, True)])
def test_only_a_slow_flush_takes_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, threads: bool
) -> None:
    """Files in memory are flushed one after the other: threads begin where the first flush has waited for a disk."""
    now = [0.0]
    begun: list[object] = []

    def flush(_: int) -> None:
        now[0] += seconds

    def begin(work: Callable[..., object], words: tuple[object, ...]) -> int:
        begun.append(work)
        work(*words)
        return 0

    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(files, "_thread", SimpleNamespace(allocate_lock=Lock, start_new_thread=begin))
    monkeypatch.setattr(os, "fsync", flush)
    writes = [FileWrite(str(tmp_path / name), b"x", None, None) for name in names(FEW)]
    assert files.write(writes, lambda *_: None) == [None] * FEW
    assert bool(begun) == threads


def mappings() -> int:
    """How many mappings this process has; a fork copies each."""
    return len(Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())


def test_what_is_read_leaves_no_mapping_behind(tmp_path: Path) -> None:
    """A fork copies every mapping, so the small files of many nodes are read without one of its own for each."""
    paths = [tmp_path / f"n{number}.json" for number in range(MANY)]
    for path in paths:
        path.write_bytes(b"{}")
    with System() as machine:
        before = mappings()
        kept = [machine.read(str(path), 1 << 20) for path in paths]
        assert mappings() - before < MANY / 4
    assert [one.data for one in kept if isinstance(one, File)] == [b"{}"] * MANY


# --- woken, not waking up -------------------------------------------------------------------------------


def traced(real: Real, *words: str) -> list[tuple[float, str]]:
    """``multi WORDS`` under strace: when each system call began, seconds, and its text; its own process only."""
    need("strace", root=False)
    log = real.base / "strace"
    done = subprocess.run(
        ["strace", "-ttt", "-o", str(log), sys.executable, "-m", "multi", *words],
        env=real.env,
        cwd=real.base,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_PATIENCE,
    )
    if "PTRACE" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = [re.fullmatch(r"(\d+\.\d+) (\w.*)", line) for line in log.read_text(errors="replace").splitlines()]
    return [(float(line[1]), line[2]) for line in lines if line]


def between(found: Sequence[tuple[float, str]], begin: float, end: float) -> list[str]:
    """The calls that began in that time."""
    return [text for at, text in found if begin <= at <= end]


def test_a_stop_sleeps_until_something_happens(real: Real) -> None:
    """While the schedule says to wait nothing is looked at and no timer goes off: not one system call begins."""
    real.start("a", "b", cmd=real.worker("--ignore", "TERM", "--touch", f"{real.base}/%n.up")).ok()
    until(lambda: all((real.base / f"{name}.up").exists() for name in "ab"), "both are deaf")
    found = traced(real, "stopwait", f"--pidfile={real.run}/%n.pid", "--stop-schedule=TERM/3/KILL/5", "a", "b")
    signals = [at for at, text in found if text.startswith("pidfd_send_signal") and "SIGTERM" in text]
    assert len(signals) == 2
    assert between(found, signals[-1] + 0.5, signals[0] + 2.9) == []


def test_a_stop_is_woken_by_the_end(real: Real) -> None:
    """A node that takes its time is gone when it is gone, not at the next look."""
    real.start("a", cmd=real.worker("--finish", "1.5", "--touch", f"{real.base}/%n.up")).ok()
    until((real.base / "a.up").exists, "it is up")
    found = traced(real, "stopwait", f"--pidfile={real.run}/%n.pid", "a")
    (signal,) = (at for at, text in found if text.startswith("pidfd_send_signal") and "SIGTERM" in text)
    assert between(found, signal + 0.4, signal + 1.4) == []
    assert found[-1][0] - signal < 30


def test_a_start_sleeps_until_it_is_told(real: Real) -> None:
    """So does a start whose node says itself when it is ready."""
    late = shlex.join(["sh", "-c", f"sleep 2; exec {real.worker('--notify', 'READY=1')}"])
    found = traced(real, *real.start_words("a", "--ready=notify", cmd=late))
    (opened,) = (at for at, text in found if text.startswith("sendto") and '"g"' in text)
    assert between(found, opened + 0.5, opened + 1.9) == []


# --- timed ----------------------------------------------------------------------------------------------


def processor_time(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds of processor time, the command's own children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=dict(env), stdout=subprocess.DEVNULL, check=True, timeout=COMMAND_PATIENCE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def held(first: str, most: float, second: str, commands: Mapping[str, Sequence[str]], env: Mapping[str, str]) -> None:
    """Fail unless the first command takes less than `most` times the second: the least of up to five rounds in turn.

    What is more than that is what others do, and so is a first round, which is not counted.
    """
    found: dict[str, float] = {}
    for number in range(6):
        for name, command in commands.items():
            taken = processor_time(command, env)
            if number:
                found[name] = min(taken, found.get(name, taken))
        if number and found[first] < most * found[second]:
            return
    pytest.fail(f"{first} takes {most} times as long as {second} or more: {found}")


@pytest.fixture
def compiled(tmp_path: Path) -> dict[str, str]:
    """An environment in which modules are compiled once, as they are for every user."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MULTI_")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**env, "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode"), "HOME": str(tmp_path)}


def test_names_cost_half_of_celery_multi(compiled: dict[str, str]) -> None:
    """The bar for what costs nothing but imports: twice as fast as `celery multi`."""
    words = {"multi": ["multi"], "celery": ["celery", "multi"]}
    commands = {name: [sys.executable, "-m", *each, "names", "10"] for name, each in words.items()}
    held("multi", 0.5, "celery", commands, compiled)


def test_imports_cost_no_more_than_a_few_pythons(compiled: dict[str, str]) -> None:
    """A command that has nothing to do costs what importing a handful of the standard library's modules costs."""
    yardstick = "import argparse, asyncio, http.client, json, subprocess, tempfile, tomllib, typing, unittest"
    if sys.version_info < (3, 11):
        yardstick = yardstick.replace("tomllib", "tomli")
    commands = {
        "yardstick": [sys.executable, "-c", yardstick],
        "multi": [sys.executable, "-m", "multi", "names", "10"],
    }
    held("multi", 1.5, "yardstick", commands, compiled)


def test_a_node_costs_little_to_look_at(real: Real, compiled: dict[str, str]) -> None:
    """The status of eighty nodes takes less than three times that of one."""
    real.start(*names(MANY)).ok()
    env = {**real.env, **compiled, "HOME": real.env["HOME"]}
    command = [sys.executable, "-m", "multi", "status", f"--pidfile={real.run}/%n.pid"]
    held("many", 3, "one", {"one": [*command, "n1"], "many": [*command, *names(MANY)]}, env)
