"""A terminal of any size: what is printed, drawn and typed there, and how many columns text takes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import pyte

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


class Emulator:
    """A terminal with a process on it, which it controls (job control too): the pty is real, the screen is pyte's.

    `said` is all that was written on it.
    """

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], columns: int, rows: int = 24, *, cwd: str | None = None
    ) -> None:
        """Start the process."""
        self._ours, theirs = pty.openpty()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.said = b""
        self._modes = termios.tcgetattr(theirs)
        self.resize(columns, rows)
        environ = {**env, "TERM": "xterm"}
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=cwd, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- one thread
        )  # fmt: skip
        self._theirs = theirs

    def __enter__(self) -> Emulator:  # noqa: PYI034 -- typing.Self is Python 3.11
        """Nothing is done."""
        return self

    def __exit__(self, *_: object) -> None:
        """KILL what is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_SECONDS)
        os.close(self._ours)
        os.close(self._theirs)

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size; the kernel tells who runs in its foreground."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type on it."""
        os.write(self._ours, text.encode())

    def hang_up(self) -> None:
        """Take the terminal away, as when a window is closed or a connection is lost."""
        os.close(self._ours)
        self._ours = os.open(os.devnull, os.O_RDWR)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def shows_cursor(self) -> bool:
        """Whether it can be seen."""
        return not self._screen.cursor.hidden

    @property
    def is_cooked(self) -> bool:
        """Whether the modes are as they were at first: lines are edited, and what is typed is seen."""
        return termios.tcgetattr(self._theirs) == self._modes

    def read(self, seconds: float = 0.0) -> bool:
        """Take what was written on it; whether there was anything within the seconds."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            more = os.read(self._ours, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more, pty(7)
            return False
        self.said += more
        self._stream.feed(more)
        return bool(more)

    def until(self, condition: Callable[[str], object], what: str) -> str:
        """Wait until that is true of what is on the screen."""
        deadline = time.monotonic() + _SECONDS
        while not condition(text := "\n".join(self.lines)):
            assert time.monotonic() < deadline, f"never: {what}\n{text}"
            self.read(0.1)
        return text

    def heard(self, data: bytes, count: int = 1) -> None:
        """Wait until that was written on it, so many times."""
        self.until(lambda _: self.said.count(data) >= count, f"{data!r} {count} times")

    def end(self) -> int:
        """Wait for the process, and take all that it wrote; its exit code."""
        deadline = time.monotonic() + _SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end:\n" + "\n".join(self.lines)
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.returncode


def columns_of(line: str) -> int:
    """How many columns a terminal takes for a line."""
    return sum(
        0 if unicodedata.category(c) == "Mn" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line
    )


class Session:
    """A command under way on a terminal of its own: what it has said so far, and a keyboard.

    It is a context manager: at its end the terminal hangs up, which ends the command.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], columns: int, *, cwd: str) -> None:
        """Begin it."""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.said = b""
        self.process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm"},
            cwd=cwd,
            preexec_fn=_take_terminal,  # noqa: PLW1509 -- no test has threads when it begins one
        )
        os.close(theirs)

    def __enter__(self) -> Session:  # noqa: D105, PYI034 -- a context manager; typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:  # noqa: D105 -- as above
        os.close(self._ours)
        self.process.wait(_SECONDS)

    @property
    def text(self) -> str:
        """All that it has said, colours included."""
        return self.said.decode("utf-8", "backslashreplace").replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        """Its lines without colours and redrawn lines."""
        return re.sub(r"\x1b\[[0-9;]*[mK]", "", re.sub(r"\r[^\n]*\r", "\r", self.text)).splitlines()

    def type(self, keys: bytes) -> None:
        """Press keys; the third control character is Ctrl-C."""
        os.write(self._ours, keys)

    def sees(self, text: str, *, count: int = 1) -> None:
        """Wait until it has said that, so many times."""
        self._read(lambda: self.text.count(text) >= count, f"{text!r} is said {count} times")

    def ends(self) -> int:
        """Wait for its end; its exit code."""
        self._read(lambda: False, "")
        return self.process.wait(_SECONDS)

    def _read(self, enough: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not enough():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {_SECONDS} s: {what}; it said:\n{self.text}"
            if not select.select([self._ours], [], [], left)[0]:
                continue
            try:
                more = os.read(self._ours, 1 << 16)
            except OSError:  # EIO: nobody has the other end any more, pty(7)
                more = b""
            self.said += more
            if not more:
                assert not what, f"it ended before: {what}; it said:\n{self.text}"
                return


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
