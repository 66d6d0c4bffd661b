"""What stays: `multi run`, supervisord and circusd with 100 processes that they keep alive.

Three measurements of each: the memory of the supervisor and its helpers (their proportional share, PSS), how often the
kernel had to wake them in ten seconds in which nothing happened, and the time from the death of a process to the first
thing that its replacement does. Each process writes its pid when it begins: the time of that file is the kernel's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from contestants import Circus, Contestant, Daemon, Supervisor
from measure import InvalidError, living

COUNT = 100
DEATHS = 15
_QUIET = 10.0  # seconds without an event
_SETTLED = 3.0  # seconds after the last start until it counts as quiet
_WITHIN = 20.0  # seconds that a replacement may take


def _script(contestant: Contestant, name: str) -> str:
    """A program that says when it begins, and then sleeps."""
    path = contestant.directory / f"{name}.sh"
    path.write_text(f"#!/bin/sh\necho $$ > {contestant.directory}/{name}.began\nexec sleep {contestant.mark}\n")
    path.chmod(0o755)
    return str(path)


class StayingSupervisor(Supervisor):
    """supervisord, which starts again whatever ends."""

    name = "supervisord"

    def configure(self) -> Sequence[str]:
        """As for the commands, but started at once and kept."""
        command = super().configure()
        path = Path(self.configuration)
        text = path.read_text(encoding="ascii").replace("=false", "=true")
        for name in self.names:
            text = text.replace(
                f"[program:{name}]\ncommand=sleep {self.mark}", f"[program:{name}]\ncommand={_script(self, name)}"
            )
        path.write_text(text, encoding="ascii")
        return command

    def commands(self, work: str) -> Sequence[Sequence[str]]:
        """None."""
        raise NotImplementedError(work)


class StayingCircus(Circus):
    """circusd, which does so by itself."""

    name = "circusd"

    def configure(self) -> Sequence[str]:
        """The same watchers, of the scripts."""
        command = super().configure()
        path = self.directory / "circus.ini"
        text = path.read_text(encoding="ascii")
        for name in self.names:
            text = text.replace(
                f"[watcher:{name}]\ncmd = sleep {self.mark}", f"[watcher:{name}]\ncmd = {_script(self, name)}"
            )
        path.write_text(text, encoding="ascii")
        return command

    def prepare(self) -> None:
        """They come up with the daemon, and stay."""
        Daemon.prepare(self)


class StayingMulti(Daemon):
    """`multi run` with a policy."""

    name = "multi run"

    def configure(self) -> Sequence[str]:
        """No pause before a start, and no limit."""
        lines = ["[defaults]", 'preset = "exec"', "startsecs = 0", 'restart = "always"', "restart_delay = 0"]
        lines += [
            'restart_limit = "none"',
            f'pidfile = "{self.directory}/%n.pid"',
            f'logfile = "{self.directory}/%n.log"',
        ]
        for name in self.names:
            lines += [f"[nodes.{name}]", f'cmd = "{_script(self, name)}"']
        (self.directory / "multi.toml").write_text("\n".join(lines) + "\n", encoding="ascii")
        self.env = {**os.environ, "MULTI_FORCE_ROOT": "1"}
        return [f"{Path(sys.executable).parent}/multi", "run"]

    def is_up(self) -> bool:
        """Whether all run."""
        return len(living(self.mark)) == self.count

    def commands(self, work: str) -> Sequence[Sequence[str]]:
        """None."""
        raise NotImplementedError(work)


KINDS = (StayingMulti, StayingSupervisor, StayingCircus)


def measure(
    place: Path, say: Callable[[str], None], deaths: int = DEATHS
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Each in turn, alone: memory in bytes, wake-ups, and seconds to a replacement, by its name; and what failed."""
    found: dict[str, dict[str, float]] = {}
    invalid: list[str] = []
    for kind in KINDS if os.environ.get("BENCH_PEERS") else KINDS[:1]:
        mark = str(random.randrange(10**8, 10**9))  # noqa: S311 -- seconds to sleep; nobody else has the same
        contestant = kind(place / kind.__name__, COUNT, mark)
        try:
            contestant.prepare()
            found[kind.name] = _measured(contestant, deaths)
            say(f"{kind.name}: {found[kind.name]}")
        except InvalidError as error:
            invalid.append(f"{kind.name}: {error}")
        finally:
            contestant.finish()
            for pid, _ in living(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return found, invalid


def _measured(contestant: Daemon, deaths: int) -> dict[str, float]:
    deadline = time.monotonic() + _WITHIN * 3
    while len(living(contestant.mark)) < contestant.count:
        if time.monotonic() > deadline:
            raise InvalidError(f"{len(living(contestant.mark))} processes instead of {contestant.count}")
        time.sleep(0.1)
    time.sleep(_SETTLED)
    pids = list(_helpers(contestant))
    before = _switches(pids)
    time.sleep(_QUIET)
    woken = _switches(pids) - before
    memory = sum(_share(pid) for pid in pids)
    taken = [_replaced(contestant, number) for number in range(deaths)]
    return {"memory": memory, "woken": woken, "replaced": statistics.median(taken), "slowest": max(taken)}


def _helpers(contestant: Daemon) -> Iterator[int]:
    """The supervisor and what belongs to it, without the processes that it keeps."""
    if contestant.daemon is None:
        return
    kept = {pid for pid, _ in living(contestant.mark)}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) not in kept:
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry.name}/stat").read_text(errors="replace").rpartition(")")[2].split()
                if contestant.daemon.pid in {int(stat[3]), int(stat[1]), int(entry.name)}:
                    yield int(entry.name)


def _share(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _switches(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text(encoding="utf-8").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


def _replaced(contestant: Daemon, number: int) -> float:
    """Seconds from the KILL of one process to the file that its replacement makes."""
    name = contestant.names[number % contestant.count]
    began = contestant.directory / f"{name}.began"
    pid = int(began.read_text(encoding="ascii"))
    last = began.stat().st_mtime_ns
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    while (now := began.stat().st_mtime_ns) == last:
        if time.time() > killed + _WITHIN:
            raise InvalidError(f"{name} was not replaced within {_WITHIN:g} s")
        time.sleep(0.001)
    time.sleep(random.uniform(0.2, 1.2))  # noqa: S311 -- not in step with anybody's clock
    return max(0.0, now / 1e9 - killed)
