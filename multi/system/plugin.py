"""Whether the Python that runs a worker has our entry point installed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from multi.system import files
from multi.system.program import which

_GROUP = "[celery.commands]"
_OURS = "multi.celery_plugin"
TIMEOUT = 30.0  # seconds for a Python to start and look at what is installed in it
QUESTION = (
    "import importlib.metadata as m\n"
    "points = m.entry_points()\n"
    "group = 'celery.commands'\n"
    "found = points.select(group=group) if hasattr(points, 'select') else points.get(group, ())\n"
    f"raise SystemExit(0 if any({_OURS!r} in p.value for p in found) else 1)\n"
)


def answer(program: str) -> bool | str:
    """Whether Celery, run by `program` (a Python, or a script that begins with ``#!``), loads our entry point.

    Of a Python that is not ours: its path. It has to be asked with `QUESTION`.
    """
    python = interpreter(program)
    if python is None:
        return False
    if os.path.realpath(python) == os.path.realpath(sys.executable) and _prefix(python) == sys.prefix:
        return _installed_here()
    return python


def _prefix(python: str) -> str:
    """The environment a Python belongs to: a venv's Python is often a link to one and the same file."""
    directory = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    return directory if os.path.exists(f"{directory}/pyvenv.cfg") else sys.base_prefix


def interpreter(program: str) -> str | None:
    """The Python behind a program's name: itself, or what its first line names."""
    search = os.environ.get("PATH", os.defpath)
    path = which(program, search)
    if path is None:
        return None
    if os.path.basename(path).startswith(("python", "pypy")):
        return path
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            first = file.readline(512)
    except OSError:
        return None
    words = os.fsdecode(first.removeprefix(b"#!")).split() if first.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [which(word, search) or "" for word in words[1:] if not word.startswith("-")]
    return words[0] if words and os.path.basename(words[0]).startswith(("python", "pypy")) else None


def _installed_here() -> bool:
    """Look at the files alone: importlib.metadata costs more than the rest of a command."""
    for directory in sys.path:
        for path in files.listing(directory or ".", "-info"):
            if os.path.basename(path).startswith(("multi_supervisor-", "multi_supervisor.")):
                with suppress(OSError), open(f"{path}/entry_points.txt", encoding="utf-8") as file:
                    text = file.read()
                    if _GROUP in text and _OURS in text:
                        return True
    return False
