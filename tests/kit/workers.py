"""Real workers of other projects: start one, wait for what it prints, and the servers that they need."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
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

    def __init__(self, words: list[str], directory: Path, *, user: int | None = None, **env: str) -> None:
        """Keep the words; nothing runs yet. `user` is who it runs as, if not whoever runs the tests."""
        self.words = words
        self.directory = directory
        self.user = user
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
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user is not None else None,
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


_NOBODY = 65534  # PostgreSQL refuses to run as root


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """What libpq is told to reach a PostgreSQL of its own, with a socket alone; gone when the block is left."""
    need("pg_ctlcluster", root=False)  # of Debian's package postgresql, which keeps its programs off PATH
    directories = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert directories, "the package postgresql is not whole"
    user = _NOBODY if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="multi-pg-") as made:  # short, because the path of a socket has to be
        home = Path(made)
        if user is not None:
            shutil.chown(home, user, user)
        initdb = [f"{directories[-1]}/initdb", "-D", f"{home}/data", "-A", "trust", "-U", "multi", "--no-sync"]
        initdb += ["--locale=C", "--encoding=UTF8"]
        with started(initdb, home, user=user) as process:
            assert process.wait(60) == 0, text(home / "out")
        words = [f"{directories[-1]}/postgres", "-D", f"{home}/data", "-k", made, "-h", "", "-F"]
        with started(words, home, user=user) as process:
            wait_for(lambda: "ready to accept connections" in text(home / "out"), process)
            yield f"host={made} dbname=postgres user=multi"
            process.send_signal(signal.SIGINT)  # a fast stop: it drops who is connected
            process.wait(30)


def install(directory: Path, *requirements: str) -> Path:
    """A Python of its own in which these are installed from the registry. Skips where that cannot be reached."""
    venv = [sys.executable, "-m", "venv", "--without-pip", str(directory)]
    subprocess.run(venv, capture_output=True, timeout=60, check=True)
    python = directory / "bin/python"
    words = [sys.executable, "-m", "pip", f"--python={python}", "install", "-q", *requirements]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        reason = f"cannot install {' '.join(requirements)}: {done.stderr.strip().splitlines()[-1]}"
        if os.environ.get("MULTI_TEST_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python
