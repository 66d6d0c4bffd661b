"""The whole terminal: taken while something is shown on it, given back as it was, and what is typed meanwhile."""

from __future__ import annotations

import os
import re
import select
import signal
import termios
import time
from collections.abc import Mapping, Sequence

from multi.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from multi.cli.screen import Screen

# xterm's private modes: another screen buffer, a cursor that is not seen, lines that do not wrap.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ERASE, _TO_THE_END = "\x1b[2J", "\x1b[K"
_ESCAPE, _SPLIT = b"\x1b", 0.025  # seconds in which the rest of a key follows, if it is one of several bytes
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O[A-Z])")  # of a function key: ECMA-48 CSI and SS3
_QUITS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LONGEST = 1024  # bytes that are read at once
KEYS: Mapping[str, str] = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
    "\r": "enter", "\n": "enter", "\x7f": "back", "\b": "back", "\x1b": "escape",
}  # fmt: skip
QUIT, DRAW = "quit", "draw"  # what a signal means


class Terminal:
    """The terminal that `screen` is, from `__enter__` to `__exit__`. Where it does not draw, it only waits.

    A signal that would end us, and a terminal of another size, arrive as keys. Suspended, we leave the terminal as it
    was, and take it again when we go on.
    """

    def __init__(self, screen: Screen, keyboard: int | None, *, draws: bool) -> None:
        """Take nothing yet. `keyboard` is the descriptor of a terminal, None where nothing can be typed."""
        self._screen = screen
        self._draws = draws
        self._reads = keyboard if draws else None
        self._taken = False
        self._modes: list[Any] = []  # of the terminal, before we took it
        self._drawn: tuple[str, ...] = ()
        self._heard: list[int] = []
        self._caught: dict[int, Any] = {}
        self._pipe = (-1, -1)
        self._outer = -1

    def __enter__(self) -> Terminal:  # noqa: PYI034 -- typing.Self is Python 3.11
        """Hear of signals first, so that none ends us on a terminal that is not as it was."""
        self._pipe = os.pipe()
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        self._outer = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for signum in _QUITS:
            self._catch(signum)
        if self._draws:
            for signum in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
                self._catch(signum)
            self._take()
        return self

    def __exit__(self, *_: object) -> None:
        """Give all back."""
        try:
            self._leave()
        finally:
            for signum, handler in self._caught.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(self._outer)
            for descriptor in self._pipe:
                os.close(descriptor)

    def _catch(self, signum: int) -> None:
        if signal.getsignal(signum) is not signal.SIG_IGN or signum not in _QUITS:  # nohup stays deaf
            self._caught[signum] = signal.signal(signum, self._hear)

    def _hear(self, signum: int, _: FrameType | None) -> None:
        self._heard.append(signum)

    def _take(self) -> None:
        """Our own screen, and keys as they are typed. In the background, the first of the two suspends us, termios(3).

        Keys that interrupt or suspend still send signals.
        """
        if self._reads is not None:
            try:
                modes = termios.tcgetattr(self._reads)
                self._modes = self._modes or list(modes)
                modes[3] &= ~(termios.ICANON | termios.ECHO)
                termios.tcsetattr(self._reads, termios.TCSANOW, modes)
            except termios.error:  # it was hung up, of which CONT tells, too; a read says so
                return
        self._screen.put(_ENTER)
        self._taken, self._drawn = True, ()

    def _leave(self) -> None:
        """The screen and the modes as they were; those of a terminal that a shell has by now are the shell's."""
        if not self._taken:
            return
        self._taken = False
        self._screen.put(_LEAVE)
        try:
            if self._reads is not None and self._modes and os.tcgetpgrp(self._reads) == os.getpgrp():
                termios.tcsetattr(self._reads, termios.TCSANOW, self._modes)
        except (OSError, termios.error):  # it was hung up
            pass
        self._modes = []

    def _suspend(self) -> None:
        """Do what the kernel does to who does not hear of Ctrl-Z, and go on when we are resumed."""
        self._leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._hear)
        self._take()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self._screen.width, self._screen.height

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the lines that are not there yet."""
        text = "" if self._drawn else _ERASE
        for row, line in enumerate(lines):
            if row >= len(self._drawn) or self._drawn[row] != line:
                text += f"\x1b[{row + 1};1H{line}{_TO_THE_END}"
        if text:
            self._screen.put(text)
        self._drawn = tuple(lines)

    def wait(self, until: float) -> Sequence[str]:
        """Keys, as soon as some are typed; none when the time is over, a second of `time.monotonic`."""
        while True:
            keys = self._signalled()
            left = until - time.monotonic()
            if keys or left <= 0:
                return keys
            ours = self._pipe[0]
            ready, _, _ = select.select([ours] if self._reads is None else [ours, self._reads], [], [], left)
            if ours in ready:
                os.read(ours, _LONGEST)
            if self._reads in ready:
                keys = self._typed(self._reads)
                if keys:
                    return keys

    def _signalled(self) -> list[str]:
        """What the signals that came mean."""
        keys: list[str] = []
        while self._heard:
            signum = self._heard.pop(0)
            if signum in _QUITS:
                keys.append(QUIT)
            elif signum == signal.SIGTSTP:
                self._suspend()
            elif signum == signal.SIGCONT and self._taken:
                self._take()  # the modes and the screen may be a shell's
            self._drawn = ()
            keys.append(DRAW)
        return keys

    def _typed(self, descriptor: int) -> list[str]:
        try:
            data = os.read(descriptor, _LONGEST)
            if data == _ESCAPE and select.select([descriptor], [], [], _SPLIT)[0]:
                data += os.read(descriptor, _LONGEST)
        except OSError:  # EIO: it was hung up
            data = b""
        return keys_in(data.decode("utf-8", "ignore")) if data else [QUIT]


def keys_in(text: str) -> list[str]:
    """What was typed, key by key: a name of `KEYS`, or a character. A key that we do not know is none."""
    keys: list[str] = []
    while text:
        sequence = _SEQUENCE.match(text)
        word = sequence[0] if sequence else text[0]
        text = text[len(word) :]
        if word in KEYS or word.isprintable():
            keys.append(KEYS.get(word, word))
    return keys
