"""Celery as `multi` would start it, for tests of the plug-in: a worker's place, and an ear for what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "celery_app"
PATIENCE = 60.0  # seconds; a deadline, not a wait
CREDENTIALS = struct.Struct("iII")  # struct ucred, unix(7)


class Ear:
    """A socket that hears what workers say, and who said it."""

    def __init__(self, name: str) -> None:
        """Bind to an abstract name, so that nothing is left on the disk."""
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + name.removeprefix("@"))

    def hear(self, seconds: float = PATIENCE) -> tuple[int, dict[str, str]] | None:
        """Return the next datagram as (pid of its sender, its fields); None when none comes in time."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        pid, _, _ = CREDENTIALS.unpack(ancillary[0][2])
        return pid, dict(line.split("=", 1) for line in data.decode().splitlines())

    def hear_until(self, field: str) -> tuple[int, dict[str, str], list[dict[str, str]]]:
        """Return the first datagram that has `field`, and all that came before it."""
        before: list[dict[str, str]] = []
        end = time.monotonic() + PATIENCE
        while heard := self.hear(end - time.monotonic()):
            pid, fields = heard
            if field in fields:
                return pid, fields, before
            before.append(fields)
        pytest.fail(f"no {field}= within {PATIENCE:g} s; heard {before}")


class Stage:
    """Starts Celery as multi would, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Remember the directory; nothing is started."""
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []

    def environment(self, ear: Ear | None, **more: str) -> dict[str, str]:
        """Return what a node's environment holds."""
        own = {"CELERY_APP_DATA": str(self.directory / "data"), "C_FORCE_ROOT": "1"}
        if ear is not None:
            own |= {"MULTI_INSTANCE": "test", "NOTIFY_SOCKET": ear.name}
            own |= {"MULTI_INSTANCE_PIDFILE": str(self.directory / "w.pid")}
        return {**os.environ, **own, **more}

    def celery(self, *words: str, ear: Ear | None, where: Path = EXAMPLE) -> subprocess.Popen[bytes]:
        """Start ``python -m celery`` with these words."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *words],
                cwd=where,
                env=self.environment(ear),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def worker(
        self, *words: str, ear: Ear, app: str = "tasks", before: tuple[str, ...] = (), where: Path = EXAMPLE
    ) -> subprocess.Popen[bytes]:
        """Start a worker that logs errors only; the example app's, if no other is given."""
        words = ("-A", app, *before, "worker", "-l", "ERROR", "-n", "w@test", *words)
        return self.celery(*words, ear=ear, where=where)

    def app(self, name: str, text: str) -> str:
        """Write an app of the test's own; return its name."""
        (self.directory / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    def result_of_add(self) -> str:
        """Send a task, and return its result as the driver prints it."""
        drive = [sys.executable, "drive.py", "call", "add", "2", "3"]
        done = subprocess.run(
            drive, cwd=EXAMPLE, env=self.environment(None), capture_output=True, timeout=PATIENCE, check=True, text=True
        )
        return done.stdout

    def begin_to_sleep(self, seconds: float) -> None:
        """Send a task that sleeps so long; back when a worker has begun with it."""
        drive = [sys.executable, "drive.py", "begin", "sleep_for", str(seconds)]
        subprocess.run(
            drive, cwd=EXAMPLE, env=self.environment(None), capture_output=True, timeout=PATIENCE, check=True
        )

    def log(self) -> str:
        """Return what all of them printed."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def heartbeat(self) -> dict[str, str]:
        """What the heartbeat file says; nothing while there is none."""
        path = self.directory / "w.heartbeat"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def ask(self, request: str, seconds: float = 10.0) -> dict[str, object]:
        """Ask the worker over its socket."""
        return ask(self.directory / "w.sock", request, seconds)


def ask(path: Path, request: str, seconds: float = 10.0) -> dict[str, object]:
    """One request, one answer; nothing when there is none. The directory of a test may have a long name."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds)
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
            client.sendall(request.encode() + b"\n")
            said = b""
            while data := client.recv(1 << 16):
                said += data
    finally:
        os.close(directory)
    answer: dict[str, object] = json.loads(said) if said else {}
    return answer


def needs_library(pool: str) -> None:
    """Skip where a pool of green threads has no library; to import it would change how this very process forks."""
    if pool in {"gevent", "eventlet"} and importlib.util.find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed")
