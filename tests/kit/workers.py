"""Real workers of other projects: start one, wait for what it prints, and the server that RQ needs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from private_machine import find, need


def wanted(name: str) -> ModuleType:
    """Import a worker's package, or skip with a plain sentence where it is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed in this Python")
    return importlib.import_module(name)


class started:  # noqa: N801 -- reads as a verb where it is used
    """One process with its output in ``out`` of its directory; killed at the end if it still runs."""

    def __init__(self, words: list[str], directory: Path, **env: str) -> None:
        """Keep the words; nothing runs yet."""
        self.words = words
        self.directory = directory
        self.env = env

    def __enter__(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with (self.directory / "out").open("ab") as out:
            self.process = subprocess.Popen(
                self.words,
                cwd=self.directory,
                env={**os.environ, "PYTHONWARNINGS": "ignore", **self.env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        return self.process

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def text(path: Path) -> str:
    """What a file holds; nothing when there is none yet."""
    return path.read_text() if path.exists() else ""


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until the condition is true; fail when the process ends before."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"exited with {process.returncode}"
        assert time.monotonic() < end, "not within its time"
        time.sleep(0.05)


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """URL of a redis-server that answers at a socket of its own, and is gone when the block is left."""
    need("redis-server", root=False)
    with tempfile.TemporaryDirectory(prefix="multi-redis-") as made:  # short, because the path of a socket has to be
        home = Path(made)
        server = find("redis-server")
        assert server is not None
        words = [server, "--port", "0", "--unixsocket", str(home / "socket"), "--save", "", "--appendonly", "no"]

        def listening() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(home / "socket")) == 0

        with started(words, home) as process:
            wait_for(listening, process)
            yield f"unix://{home}/socket"
