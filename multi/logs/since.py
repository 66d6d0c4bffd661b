"""The part of a log that was written since a moment, found without reading the rest."""

from __future__ import annotations

from collections.abc import Iterator

from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.logs.times import Times
    from multi.machine import LogFile

CHUNK = 1 << 16
_FAR = 1 << 22  # bytes in which a line with a time is looked for
_LONGEST = 1 << 20  # bytes of a line


@dataclass(frozen=True, slots=True)
class TimedLine:
    """A line without its end, and when it was written: by itself, or by the last line before it that says when."""

    data: bytes
    at: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Since when. With `exact`, which the start of a node has left, the lines behind that place are meant.

    `exact` is (identity of the file, offset).
    """

    at: float
    exact: tuple[str, int] | None = None


class UntimedError(Exception):
    """No line says when it was written, so nobody can tell which are newer."""


def lines_since(files: Sequence[LogFile], moment: Moment, times: Times, end: int | None = None) -> Iterator[TimedLine]:
    """The lines of a log that are not older. `files` are the log and what was rotated away, the newest first.

    Of the newest what stands behind `end` is left out. Lines of several processes may stand a little out of order; each
    is judged by its own time. Raises `UntimedError`.
    """
    if not files:
        return
    for number, file in enumerate(files):
        if moment.exact is not None and file.identity == moment.exact[0] and _holds(file, moment, times):
            yield from lines(file, file.position(moment.exact[1]), times, None if number else end)
            for left, newer in reversed([*enumerate(files[:number])]):
                yield from lines(newer, 0, times, None if left else end)
            return
    wanted: list[tuple[LogFile, int]] = []
    for file in files:
        if file.written < moment.at:
            break
        begin = 0 if file.packed else _begin(file, moment.at, times)
        wanted.append((file, begin))
        if begin > 0:
            break
    for number, (file, begin) in reversed([*enumerate(wanted)]):
        yield from _newer(lines(file, begin, times, None if number else end), moment.at)


def _holds(file: LogFile, moment: Moment, times: Times) -> bool:
    """Whether the place is still what it was: the file was not truncated since, as copytruncate does."""
    assert moment.exact is not None  # noqa: S101 -- the caller has looked
    position = file.position(moment.exact[1])
    if file.packed or position > file.size:
        return False
    if position and file.read(position - 1, 1) != b"\n":
        return False
    first = _first(file, 0, position, times)
    return first is None or first[1] <= moment.at


def _newer(found: Iterator[TimedLine], since: float) -> Iterator[TimedLine]:
    timed = empty = True
    for line in found:
        timed, empty = line.at is not None, False
        if line.at is not None and line.at >= since:
            yield line
    if not (timed or empty):  # the last line has the time of any before it
        raise UntimedError


def _begin(file: LogFile, since: float, times: Times) -> int:
    """A place before which nothing is newer, as near as a chunk. Raises `UntimedError`."""
    if file.size > _FAR and not (_first(file, file.size - _FAR, file.size, times) or _first(file, 0, CHUNK, times)):
        raise UntimedError
    low, high = 0, file.size
    while high - low > CHUNK:
        middle = (low + high) // 2
        found = _first(file, middle, high, times)
        if found is None or found[1] >= since:
            high = middle
        else:
            low = found[0]
    return _line_begin(file, max(0, low - CHUNK))


def _line_begin(file: LogFile, at: int) -> int:
    """The first line that begins there or later."""
    if at <= 0:
        return 0
    data = file.read(at - 1, _LONGEST)
    end = data.find(b"\n")
    return at + end if end >= 0 else at


def _first(file: LogFile, low: int, high: int, times: Times) -> tuple[int, float] | None:
    """The first line that begins in between and has a time: where, and when."""
    at = _line_begin(file, low)
    most = min(high, at + _FAR)
    while at < most:
        data = file.read(at, CHUNK)
        position = at
        whole, newline, _ = data.rpartition(b"\n")
        for line in (whole if newline else data).split(b"\n"):
            if position >= most:
                return None
            found = times.of(line)
            if found is not None:
                return position, found
            position += len(line) + 1
        at += len(whole) + 1 if newline else len(data)
        if not data:
            break
    return None


def lines(file: LogFile, begin: int, times: Times, end: int | None = None) -> Iterator[TimedLine]:
    """The lines from a place on, which begins a line, to `end`, or to the end that it had when it was opened."""
    end = file.size if end is None else end
    at, rest, last = begin, b"", None
    while file.packed or at < end:
        data = file.read(at, CHUNK if file.packed else min(CHUNK, end - at))
        if not data:
            break
        at += len(data)
        *done, rest = (rest + data).split(b"\n")
        if len(rest) > _LONGEST:
            done.append(rest)
            rest = b""
        for line in done:
            found = times.of(line)
            last = last if found is None else found
            yield TimedLine(line, last)
    if rest:
        found = times.of(rest)
        yield TimedLine(rest, last if found is None else found)


def finished(file: LogFile) -> int:
    """Where the last line ends that has an end."""
    at = file.size
    while at > max(0, file.size - _LONGEST):
        step = min(CHUNK, at)
        at -= step
        found = file.read(at, step).rfind(b"\n")
        if found >= 0:
            return at + found + 1
    return file.size if at else 0


def lines_backwards(file: LogFile, end: int) -> Iterator[bytes]:
    """The lines before a place, the last one first."""
    at, rest, first = end, b"", True
    while at > 0:
        step = min(CHUNK, at)
        at -= step
        data = file.read(at, step) + rest
        if first:
            data, first = data.removesuffix(b"\n"), False
        rest, *done = data.split(b"\n")
        yield from reversed(done)
        if len(rest) > _LONGEST:
            yield rest
            rest = b""
    if end:
        yield rest
