"""A terminal of any width: what a command prints on it, and how many columns that takes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unicodedata
from collections.abc import Mapping, Sequence

_SECONDS = 60


def on_terminal(
    words: Sequence[str], env: Mapping[str, str], columns: int, *, cwd: str | None = None
) -> tuple[int, list[str]]:
    """Run a command on a terminal that many columns wide; its exit code and its lines, without their colours."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environ = {**env, "TERM": "xterm"}
        process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=cwd)
        os.close(theirs)
        theirs = -1
        said = b""
        try:
            while more := os.read(ours, 1 << 16):
                said += more
        except OSError:  # EIO: nobody has the other end any more, pty(7)
            pass
        code = process.wait(_SECONDS)
    finally:
        for descriptor in {ours, theirs} - {-1}:
            os.close(descriptor)
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.decode())
    return code, text.replace("\r\n", "\n").splitlines()


def columns_of(line: str) -> int:
    """How many columns a terminal takes for a line."""
    return sum(
        0 if unicodedata.category(c) == "Mn" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line
    )
