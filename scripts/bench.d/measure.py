"""One measurement: how long a command took, how much memory, and whether its claim is true. Knows no contestant."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120.0  # seconds that any command may take
SHOWN = 4  # words of a command in a message
SETTLING = 10.0  # seconds after a command in which its claim must have come true


class InvalidError(Exception):
    """The round does not count: the text says which claim was false."""


Commands = Sequence[Sequence[str]]


def seconds(commands: Commands, env: Mapping[str, str], directory: Path) -> float:
    """How long the commands take, one after the other; they are one piece of work. Raises `InvalidError`."""
    began = time.perf_counter()
    _run(commands, env, directory, _wait)
    return time.perf_counter() - began


def memory(commands: Commands, env: Mapping[str, str], directory: Path) -> int:
    """Run them likewise, and return the most memory that they had; bytes.

    The kernel's own account (getrusage(2)) begins before execve(2), with what this program has.
    """
    peak = 0

    def watch(process: subprocess.Popen[bytes]) -> bool:
        nonlocal peak
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            except OSError:
                continue
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))])
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    _run(commands, env, directory, watch)
    return peak


def _run(
    commands: Commands, env: Mapping[str, str], directory: Path, wait: Callable[[subprocess.Popen[bytes]], bool]
) -> None:
    with tempfile.TemporaryFile() as output:
        for command in commands:
            process = subprocess.Popen(
                command, env=dict(env), cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            if not wait(process):
                process.kill()
                process.wait()
                raise InvalidError(f"{_short(command)} took more than {PATIENCE:g} seconds")
            if process.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace").strip().splitlines()[-3:]
                raise InvalidError(f"{_short(command)} exited {process.returncode}: {' / '.join(said)}")


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Sleep until it ends, woken by its end; False if it takes too long."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not select.select([pidfd], [], [], PATIENCE)[0]:
            return False
        process.wait()
        return True
    finally:
        os.close(pidfd)


def _short(command: Sequence[str]) -> str:
    words = [Path(command[0]).name, *command[1:]]
    return " ".join(words[:SHOWN]) + (" ..." if len(words) > SHOWN else "")


def living(mark: str) -> frozenset[tuple[int, int]]:
    """The processes `sleep MARK` of any parent, as pid and start ticks: the kernel may reuse a pid.

    No zombie is among them, for those have no words.
    """
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
                if words[-2:-1] != [mark.encode()] or not words[0].endswith(b"sleep"):
                    continue
                stat = Path(f"/proc/{entry.name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue  # it has just ended
            found.add((int(entry.name), int(stat[19])))
    return frozenset(found)


def expect(
    mark: str, count: int, *, none_of: frozenset[tuple[int, int]] = frozenset()
) -> tuple[frozenset[tuple[int, int]], float]:
    """The processes, which must be so many and none of the old ones. Raises `InvalidError`.

    A command that returns before its work is done gets a moment more; returns the seconds that it took.
    """
    began = time.monotonic()
    looked = began
    while True:
        found = living(mark)
        if len(found) == count and not found & none_of:
            return found, looked - began
        looked = time.monotonic()
        if looked > began + SETTLING:
            old = f", {len(found & none_of)} of them the old ones" if none_of else ""
            raise InvalidError(f"{len(found)} processes instead of {count}{old}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Summary:
    """Several measurements of one thing: median, least, most, and how many they were."""

    median: float
    least: float
    most: float
    count: int


def summary(values: Sequence[float]) -> Summary:
    """Sum them up."""
    return Summary(statistics.median(values), min(values), max(values), len(values))
