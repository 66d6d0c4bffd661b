"""Ten Celery workers: from the command to the moment when the last of them consumes, and to the end of the last.

`multi` and `celery multi` start the same app (``bench_app.py``) with the same options. When a worker consumes is what
the worker itself says. How long a worker takes to end by itself is measured beside them, in rounds in which this
program sends TERM itself.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from measure import InvalidError, seconds

WORKERS = 10
HERE = Path(__file__).resolve().parent
ALL_AT_ONCE = "a bare script, all at once"
OWN_EXIT = "the slowest worker's own exit"
UP_WITHIN = 120.0  # seconds for all workers to consume
NAMES = [f"n{number}" for number in range(1, WORKERS + 1)]
Note = Callable[[str, str, float], None]  # work, who, seconds
APP = ["-A", "bench_app"]
OPTIONS = ["-c", "1", "-l", "INFO", "--without-gossip", "--without-mingle"]


class Workers:
    """Ten workers below a directory of their own, to be started and stopped by one tool or the other."""

    def __init__(self, directory: Path) -> None:
        """Make the directories."""
        self.directory = directory
        self.ready = directory / "ready"
        self.ready.mkdir(parents=True)
        self.env: Mapping[str, str] = {
            **os.environ,
            "BENCH_READY": str(self.ready),
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "C_FORCE_ROOT": "1",
            "MULTI_PIDFILE": f"{directory}/%n.pid",
            "MULTI_LOGFILE": f"{directory}/%n.log",
        }
        tools = Path(sys.executable).parent
        self.multi = [str(tools / "multi")]
        self.celery = [str(tools / "celery"), "multi"]
        self.files = [f"--pidfile={directory}/%n.pid", f"--logfile={directory}/%n.log"]

    def command(self, tool: list[str], work: str) -> list[str]:
        """What a user types."""
        if tool == self.multi:
            return [*tool, *work.split(), *NAMES, *([*APP, *OPTIONS] if work == "start" else [])]
        return [*tool, work, *NAMES, *self.files, *([*APP, *OPTIONS] if work == "start" else [])]

    def bare(self) -> list[str]:
        """The workers alone, in the background of a shell."""
        worker = f"{sys.executable} -m celery {' '.join(APP)} worker {' '.join(OPTIONS)}"
        each = f'{worker} -n "$one@%h" </dev/null >"{self.directory}/$one.log" 2>&1 &'
        return ["sh", "-c", f"for one in {' '.join(NAMES)}; do {each} done"]

    def until_ready(self, command: list[str]) -> float:
        """Seconds from the command until the last worker consumes, or until the command returns if that is later."""
        for path in self.ready.iterdir():
            path.unlink()
        began = time.monotonic()
        seconds([command], self.env, self.directory)
        back = time.monotonic()
        deadline = began + UP_WITHIN
        while len(list(self.ready.glob("n*"))) < WORKERS or list(self.ready.glob("*.new")):
            if time.monotonic() > deadline:
                raise InvalidError(
                    f"{len(list(self.ready.iterdir()))} of {WORKERS} workers consume after {UP_WITHIN:g}s"
                )
            time.sleep(0.01)
        last = max(float(path.read_text(encoding="ascii").split()[1]) for path in self.ready.iterdir())
        if len(self.pids()) != WORKERS:
            raise InvalidError(f"{len(self.pids())} workers instead of {WORKERS}")
        return max(last, back) - began

    def pids(self) -> list[int]:
        """The main processes, from their own reports."""
        found = [int(path.read_text(encoding="ascii").split()[0]) for path in self.ready.glob("n*")]
        return [pid for pid in found if Path(f"/proc/{pid}/exe").exists()]

    def left(self) -> list[int]:
        """All processes that carry the mark of these workers, children included."""
        mark = f"BENCH_READY={self.ready}".encode()
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def until_gone(self, stop: Callable[[list[int]], None]) -> float:
        """Seconds until `stop` returns. By then all must be gone; children get a moment more."""
        pids = self.pids()
        began = time.monotonic()
        stop(pids)
        taken = time.monotonic() - began
        if self.pids():
            raise InvalidError(f"{len(self.pids())} workers are left")
        deadline = time.monotonic() + 5
        while self.left():
            if time.monotonic() > deadline:
                raise InvalidError(f"{len(self.left())} processes of the workers are left")
            time.sleep(0.02)
        return taken

    def kill(self) -> None:
        """Leave nothing behind after any failure."""
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # noqa: PERF203 -- it costs nothing until it raises
                continue


def own_exit(pids: list[int]) -> None:
    """Send TERM to all at once and wait for the last: as long as the workers take by themselves."""
    poll = select.poll()
    fds = set()
    for pid in pids:
        fd = os.pidfd_open(pid)
        fds.add(fd)
        poll.register(fd, select.POLLIN)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    while fds:
        for fd, _ in poll.poll():
            poll.unregister(fd)
            os.close(fd)
            fds.remove(fd)


def measure(
    directory: Path, rounds: int, say: Callable[[str], None], *, rolling: bool
) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Seconds, by work and contestant, and which rounds do not count. `rolling` takes its time: the workers' own."""
    found: dict[str, dict[str, list[float]]] = {}
    invalid: list[str] = []

    def note(work: str, who: str, taken: float) -> None:
        found.setdefault(work, {}).setdefault(who, []).append(taken)
        say(f"celery {work}: {who} {taken:.2f}s")

    _warm(directory, invalid)
    for number in range(rounds):
        plays: list[Callable[[Workers, Note], None]] = [_multi_rolling if rolling else _multi, _celery_multi, _alone]
        for play in plays[number % 3 :] + plays[: number % 3]:
            workers = Workers(directory / f"celery-{number}-{play.__name__.strip('_')}")
            try:
                play(workers, note)
            except InvalidError as error:
                invalid.append(f"{WORKERS} Celery workers, {play.__name__.strip('_')}: {error}")
                say(invalid[-1])
            finally:
                workers.kill()
    return found, invalid


def _warm(directory: Path, invalid: list[str]) -> None:
    """Start them once by each tool, uncounted: the first one reads the files of Celery from the disk for all."""
    for name in ("multi", "celery"):
        workers = Workers(directory / f"celery-warm-{name}")
        try:
            workers.until_ready(workers.command(getattr(workers, name), "start"))
        except InvalidError as error:
            invalid.append(f"{WORKERS} Celery workers, uncounted: {error}")
        finally:
            workers.kill()


def _multi(workers: Workers, note: Note) -> None:
    _multi_rolling(workers, note, rolling=False)


def _multi_rolling(workers: Workers, note: Note, *, rolling: bool = True) -> None:
    note("start", "multi", workers.until_ready(workers.command(workers.multi, "start")))
    old = set(workers.pids())
    if rolling:
        note("restart --rolling=5", "multi", workers.until_ready(workers.command(workers.multi, "restart --rolling=5")))
        if old & set(workers.pids()):
            raise InvalidError("a worker was not restarted")
    stop = workers.command(workers.multi, "stopwait")
    note("stopwait", "multi", workers.until_gone(lambda _: _run(stop, workers)))


def _celery_multi(workers: Workers, note: Note) -> None:
    note("start", "celery multi", workers.until_ready(workers.command(workers.celery, "start")))
    stop = workers.command(workers.celery, "stopwait")
    note("stopwait", "celery multi", workers.until_gone(lambda _: _run(stop, workers)))


def _alone(workers: Workers, note: Note) -> None:
    note("start", ALL_AT_ONCE, workers.until_ready(workers.bare()))
    note("stopwait", OWN_EXIT, workers.until_gone(own_exit))


def _run(command: list[str], workers: Workers) -> None:
    seconds([command], workers.env, workers.directory)
