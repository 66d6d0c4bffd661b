"""When a line of a log was written, by the line itself, and the part of a log that is newer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multi.logs.since import Moment, UntimedError, finished, lines, lines_backwards, lines_since
from multi.logs.times import Times
from multi.testing.world import Entry
from multi.testing.world.logs import MadeUpLog

NOW = datetime(2026, 11, 21, 22, 40, tzinfo=timezone.utc).timestamp()


def utc(*when: int, micro: int = 0) -> float:
    """A moment that says its zone."""
    return datetime(*when, microsecond=micro, tzinfo=timezone.utc).timestamp()  # type: ignore[misc,arg-type]


def local(*when: int, micro: int = 0) -> float:
    """A moment of the clock on the wall."""
    return datetime(*when, microsecond=micro).timestamp()  # type: ignore[misc,arg-type] # noqa: DTZ001 -- what is tested


@pytest.mark.parametrize(
    ("line", "at"),
    [
        (b"2026-11-21T22:37:41Z started", utc(2026, 11, 21, 22, 37, 41)),
        (b"2026-11-21T22:37:41.123+0100 x", utc(2026, 11, 21, 21, 37, 41, micro=123_000)),
        (b"2026-11-21 22:37:41,5 x", local(2026, 11, 21, 22, 37, 41, micro=500_000)),
        (b"2026/11/21 22:37:41 nginx", local(2026, 11, 21, 22, 37, 41)),
        (b"[2026-11-21 22:37:41,123: INFO/MainProcess] c", local(2026, 11, 21, 22, 37, 41, micro=123_000)),
        (b"[2026-11-21 22:37:41 -0230] [7] [INFO] gunicorn", utc(2026, 11, 22, 1, 7, 41)),
        (b"[2026-11-21 22:37:41,001] [PID 9] dramatiq", local(2026, 11, 21, 22, 37, 41, micro=1_000)),
        (b"\0\0\0" + b"2026-11-21T22:37:41Z behind a hole", utc(2026, 11, 21, 22, 37, 41)),
        (b"Nov 21 22:37:41 host x[1]: y", local(2026, 11, 21, 22, 37, 41)),
        (b"Nov  1 02:03:04 host x", local(2026, 11, 1, 2, 3, 4)),
        (b"Dec 31 23:59:59 host of last year", local(2025, 12, 31, 23, 59, 59)),
        (b"Feb 29 10:00:00 host of no year near", None),
        (b"22:37:41 rq", None),
        (b"2026-11-99 22:37:41 x", None),
        (b"2026-11-21 22:37:410", None),
        (b"INFO 2026-11-21 22:37:41 x", None),
        (b"  File x, line 3", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"Xyz 21 22:37:41 host", None),
    ],
)
def test_times_of_lines(line: bytes, at: float | None) -> None:
    """Well-known forms at the beginning; whatever else stands there is no time."""
    assert Times(NOW).of(line) == at


def stamped(second: int, text: str = "") -> bytes:
    """A line of that second."""
    then = datetime.fromtimestamp(NOW, timezone.utc) + timedelta(seconds=second)
    return f"{then:%Y-%m-%dT%H:%M:%SZ} {text}\n".encode()


def log(data: bytes, written: float = NOW) -> MadeUpLog:
    """A log with that content."""
    return MadeUpLog("/log/w1.log", Entry(data, mtime=written))


def since(moment: Moment, *files: MadeUpLog) -> list[bytes]:
    """The lines that are not older."""
    return [line.data for line in lines_since(files, moment, Times(NOW))]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 40), st.integers(0, 10), st.booleans(), st.integers(0, 3000)), max_size=200),
    st.integers(0, 4_000),
)
def test_what_is_newer_is_found_without_reading_the_rest(steps: list[tuple[int, int, bool, int]], first: int) -> None:
    """The same lines as by reading all: out of order, without a time, longer than what is read at once."""
    data, at, shown, last = b"", 0, [], None
    for step, late, plain, length in steps:
        at += step
        line = b"  more " + b"x" * length + b"\n" if plain else stamped(at - late, "y" * length)
        last = last if plain else at - late
        data += line
        if last is not None and last >= first:
            shown.append(line[:-1])
    try:
        assert since(Moment(NOW + first), log(data, NOW + 99_999)) == shown
    except UntimedError:
        assert last is None
        assert data


def test_what_was_moved_away_comes_first() -> None:
    """As far as it is needed: a file whose last change is older is not opened, and one that is not needed not read."""
    old, older = log(stamped(-90, "a") + stamped(-50, "b"), NOW - 50), log(b"never read", NOW - 500)
    now = log(stamped(-40, "c"))
    texts = [line.split()[1] for line in since(Moment(NOW - 60), now, old, older)]
    assert texts == [b"b", b"c"]
    enough = log(stamped(-80, "x" * 200_000) + stamped(-10, "c"))
    assert [line.split()[1] for line in since(Moment(NOW - 60), enough, old)] == [b"b", b"c"]


def test_a_log_without_times() -> None:
    """Nobody can tell what is newer; of one that was not written to since then, nothing is."""
    with pytest.raises(UntimedError):
        since(Moment(NOW - 60), log(b"one\ntwo\n"))
    with pytest.raises(UntimedError):
        since(Moment(NOW - 60), log((b"x" * 10_000 + b"\n") * 500))
    assert since(Moment(NOW - 60), log(b"one\n", NOW - 61)) == []
    assert since(Moment(NOW - 60), log(b"")) == []


def test_since_the_start() -> None:
    """From the place on record, also in a file that was renamed since; not in one that was truncated since."""
    data = b"before\n" + b"plain\n" + stamped(5)
    file = log(data)
    assert since(Moment(NOW, (file.identity, 7)), file)[0] == b"plain"
    newer = log(b"after the rename\n", NOW + 9)
    assert since(Moment(NOW, (file.identity, 7)), newer, file)[-1] == b"after the rename"
    cut = log(stamped(-1, "before") + stamped(9, "after"))
    assert len(since(Moment(NOW, (cut.identity, 3)), cut)) == 1, "the place is in the middle of a line"
    regrown = log(stamped(3, "x") + stamped(9, "y"))
    place = len(stamped(3, "x"))
    assert len(since(Moment(NOW, (regrown.identity, place)), regrown)) == 2, "what stands before it is newer"


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=30), st.booleans())
def test_backwards_is_forwards_reversed(parts: list[bytes], ended: bool) -> None:
    """Every line once, an unfinished one included."""
    data = b"\n".join(parts) + (b"\n" if ended and parts else b"")
    file = log(data)
    forwards = [line.data for line in lines(file, 0, Times(NOW))]
    assert list(lines_backwards(file, file.size))[::-1] == forwards
    assert data[finished(file) :].count(b"\n") == 0
    assert finished(file) == data.rfind(b"\n") + 1
