"""Where text goes: results to stdout, errors to stderr, one redrawn line on a terminal.

Output is a side of the work, never the work itself. A reader that goes away (``multi restart | head -1``) must not
stop a command between the stop and the start of a node, so a stream that fails is given up and the command goes on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping

from multi.text import printable
from multi.typed import TextIO

_REDRAW_EVERY = 0.1  # seconds; more often only costs time
_ERROR, _WARNING, INFO = 3, 4, 6  # syslog(3)
_ERASE = "\r\x1b[K"  # to the line's beginning, then erase to its end: ECMA-48 CR and EL


class Screen:
    """The two streams of one command, and what is drawn on them.

    A stream that is None (closed by the caller) takes everything and shows nothing.
    """

    def __init__(
        self,
        out: TextIO | None,
        err: TextIO | None,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the streams once: whether they are terminals does not change."""
        self._out = out
        self._err = err
        self._clock = clock
        self._drawn = ""  # the redrawn line that can be seen now
        self._drawn_at = float("-inf")
        smart = environ.get("TERM", "") not in {"", "dumb"}
        self.out_is_terminal, self.err_is_terminal = _is_terminal(out), _is_terminal(err)
        self.redraws = self.out_is_terminal and smart  # whether a line can be drawn again in its place
        colour = smart and not environ.get("NO_COLOR")  # https://no-color.org
        self.colour = colour and self.out_is_terminal
        self.error_colour = colour and self.err_is_terminal
        self._to_journal = _is_journal(err, environ.get("JOURNAL_STREAM", ""))
        self.error: OSError | None = None  # why results could not be printed, other than a reader that went away

    @property
    def deaf(self) -> bool:
        """Whether nobody reads stdout any more: then it is in vain to go on only for the sake of printing."""
        return self._out is None

    def say(self, *lines: str) -> None:
        """Results: whole lines on stdout, out at once."""
        if lines:
            text = "".join(line + "\n" for line in lines)
            self._out = self._write(self._out, _ERASE + text + self._drawn if self._drawn else text)

    def complain(self, *lines: str, priority: int = _ERROR) -> None:
        """Errors and failures: whole lines on stderr, out at once; in the journal each with its priority."""
        if lines:
            if self._to_journal:
                lines = tuple(f"<{priority}>{line}" for text in lines for line in text.split("\n"))
            if self._drawn:
                self._out = self._write(self._out, _ERASE)
            self._err = self._write(self._err, "".join(line + "\n" for line in lines))
            if self._drawn:
                self._draw(self._drawn)

    def remark(self, *texts: str) -> None:
        """Complain in a sentence each, with who says it: other programs print on stderr too."""
        for text in texts:
            self.complain(f"multi: {printable(text)}", priority=_WARNING if text.startswith("warning: ") else _ERROR)

    def wants_redraw(self) -> bool:
        """Whether the redrawn line may be drawn now; asked before the text of it is made."""
        return self.redraws and self._clock() - self._drawn_at >= _REDRAW_EVERY

    def redraw(self, line: str) -> None:
        """Draw `line` in place of the last redrawn one; it stays below what is said, until it is wiped."""
        self._draw(line)
        self._drawn_at = self._clock()

    def wipe(self) -> None:
        """Take the redrawn line away."""
        if self._drawn:
            self._drawn = ""
            self._drawn_at = float("-inf")
            self._out = self._write(self._out, _ERASE)

    def _draw(self, text: str) -> None:
        self._out = self._write(self._out, _ERASE + text)
        self._drawn = text

    def put(self, text: str) -> None:
        """Something that is drawn on stdout, as it is."""
        self._out = self._write(self._out, text)

    @property
    def width(self) -> int:
        """Columns of the terminal that stdout is; 80 where it does not tell."""
        return self._size()[0] or 80

    @property
    def height(self) -> int:
        """Its rows; 24 where it does not tell."""
        return self._size()[1] or 24

    def _size(self) -> tuple[int, int]:
        try:
            return (0, 0) if self._out is None else os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return 0, 0

    def _write(self, stream: TextIO | None, text: str) -> TextIO | None:
        """Write `text`; the stream to use from now on."""
        if stream is None:
            return None
        try:
            _put(stream, text)
        except ValueError:  # closed by whoever owns it
            return None
        except OSError as error:
            # A reader that went away, and a terminal that hung up (EIO), say that nobody listens any more.
            if stream is self._out and not isinstance(error, BrokenPipeError) and not self.out_is_terminal:
                self.error = error
            return None
        return stream


def complete_streams() -> None:
    """Give the process the standard streams that its caller has closed, on the null device.

    Otherwise the next file that is opened, a pidfile or a lock, would get descriptor 0, 1 or 2, and be read or
    written by whoever means the standard streams.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free descriptor is taken, which is the stream's; it stays open to the end of the process.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 -- pathlib is paid for by nobody else


def _put(stream: TextIO, text: str) -> None:
    """All of `text`, at once and past every buffer: what is buffered would fail a second time when Python ends."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # a stream that only lives in memory
        stream.write(text)
        stream.flush()
        return
    stream.flush()
    data = _encoded(text, stream.encoding or "utf-8")
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # noqa: PERF203 -- somebody made the shared terminal or pipe non-blocking
            import select

            select.select([], [descriptor], [])


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes that came in undecodable go out as they came; what the encoding does not have is shown escaped."""
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace")


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _is_journal(stream: TextIO | None, told: str) -> bool:
    """Whether the stream is the one that systemd made for the journal, which reads priorities there (sd-daemon(3))."""
    if stream is None or not told:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or it only lives in memory
        return False
    return told == f"{found.st_dev}:{found.st_ino}"
