"""Real workers of other projects: start one, wait for what it prints, and the server that RQ needs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest


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
def fake_redis(home: Path) -> Iterator[int]:
    """Port of a Redis that lives in a Python process, with its files in `home`."""
    wanted("fakeredis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    code = f"import fakeredis; fakeredis.TcpFakeServer(('127.0.0.1', {port})).serve_forever()"
    home.mkdir()
    with started([sys.executable, "-c", code], home) as process:

        def listening() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listening, process)
        yield port
