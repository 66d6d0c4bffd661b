"""`logs` asked for a time, a pattern, a start: on real files, rotated and large."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from following import Following, add, multi_words
from real import Real, until


def stamp(seconds: float, text: str) -> str:
    """A line of so many seconds ago, as Celery writes it."""
    then = datetime.now(tz=timezone.utc).astimezone() - timedelta(seconds=seconds)
    return f"[{then:%Y-%m-%d %H:%M:%S},{then.microsecond // 1000:03d}: INFO/MainProcess] {text}\n"


def texts(out: str) -> list[str]:
    """The last word of each line."""
    return [line.split()[-1] for line in out.splitlines()]


def test_since_and_grep(real: Real) -> None:
    """Lines of the last minutes, merged by their times; a traceback belongs to the line before it."""
    real.start("a", "b").ok()
    real.logfile("a").write_text(stamp(900, "a1") + stamp(300, "a2") + "Traceback\n" + stamp(100, "a3"))
    real.logfile("b").write_text(stamp(200, "b1"))
    assert texts(real.multi("logs", "--since=10m").ok().out) == ["a2", "Traceback", "b1", "a3"]
    assert texts(real.multi("logs", "--since=10m", "--grep=^Trace|b").ok().out) == ["Traceback", "b1"]
    assert texts(real.multi("logs", "--since=10m", "--lines=1").ok().out) == ["b1", "a3"]
    assert texts(real.multi("logs", "a", "--grep=a[12]").ok().out) == ["a1", "a2"]
    assert texts(real.multi("logs", "a", "--grep=a", "-n", "2").ok().out) == ["Traceback", "a3"]
    assert real.multi("logs", "--since=1s").ok().out == ""
    moment = f"{datetime.now(tz=timezone.utc) - timedelta(seconds=250):%Y-%m-%dT%H:%M:%S+00:00}"
    assert texts(real.multi("logs", f"--since={moment}").ok().out) == ["b1", "a3"]


def test_what_logrotate_has_moved_away(real: Real) -> None:
    """With numbers and with dates, packed too; a neighbour of a like name is not of this log."""
    real.start("a").ok()
    log = real.logfile("a")
    with gzip.open(f"{log}.2.gz", "wt") as packed:
        packed.write(stamp(900, "old") + stamp(500, "packed"))
    Path(f"{log}-20261121").write_text(stamp(400, "dated"))
    Path(f"{log}.1").write_text(stamp(300, "plain"))
    Path(f"{log}.bak").write_text(stamp(200, "no"))
    Path(f"{log}.9.gz").write_bytes(b"damaged")
    log.write_text(stamp(100, "live"))
    for name, age in ((".2.gz", 450), ("-20261121", 400), (".1", 300), (".9.gz", 9000)):
        os.utime(f"{log}{name}", (time.time() - age,) * 2)
    assert texts(real.multi("logs", "--since=10m").ok().out) == ["packed", "dated", "plain", "live"]
    assert texts(real.multi("logs").ok().out) == ["live"]
    os.utime(f"{log}.9.gz")
    assert "cannot read the log" in real.multi("logs", "--since=10m").exits(1).err


def test_what_is_not_known_is_said(real: Real) -> None:
    """A log whose lines say no time: --since fails and says so, the other is shown; --since-start knows the place."""
    real.start("a", "b").ok()
    real.logfile("b").write_text(stamp(10, "b1"))
    add(real.logfile("a"), "one\ntwo\n")
    done = real.multi("logs", "--since=10m").exits(1)
    assert texts(done.out) == ["b1"]
    assert "no line of its log says when it was written" in done.err
    real.multi("stopwait", "a").ok()
    real.start("a").ok()
    add(real.logfile("a"), "three\n")
    assert texts(real.multi("logs", "a", "--since-start").ok().out) == ["three"]
    real.logfile("a").rename(f"{real.logfile('a')}.1")
    add(real.logfile("a"), "four\n")
    assert texts(real.multi("logs", "a", "--since-start").ok().out) == ["three", "four"]
    done = real.multi("logs", "a", "--since-start", "--timestamps", "--json").ok()
    assert [json.loads(line)["time"] for line in done.out.splitlines()] == [None, None]
    add(real.log / "no.log", "text\n")
    assert (
        "not on record as started"
        in real.multi("logs", "no", "--since-start", f"--logfile={real.log}/%n.log").exits(1).err
    )


def test_timestamps(real: Real) -> None:
    """The time of a line, in the zone of the machine, or - where it is not known; in JSON null."""
    real.start("a").ok()
    real.logfile("a").write_text("untimed\n" + "2026-11-21T22:37:41.123Z timed\n")
    untimed, timed = real.multi("logs", "--timestamps").ok().out.splitlines()
    assert untimed == "- a | untimed"
    assert datetime.fromisoformat(timed.split()[0]) == datetime(2026, 11, 21, 22, 37, 41, 123000, timezone.utc)
    times = [json.loads(line)["time"] for line in real.multi("logs", "--timestamps", "--json").ok().out.splitlines()]
    assert times == [None, timed.split()[0]]


def test_follow_what_is_searched(real: Real) -> None:
    """--follow goes on with lines that match, through a rotation; none is shown twice, also one without its end."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text(stamp(900, "no") + stamp(9, "yes1") + stamp(8, "other") + "yes2 un")
    following = Following(real, "a", "--since=1m", "--grep=yes")

    def shown(*words: str) -> None:
        until(lambda: texts("\n".join(following.lines())) == [*words], f"{words}, not {following.lines()}")

    shown("yes1")
    add(log, "finished\nnothing\n")
    shown("yes1", "unfinished")
    log.rename(f"{log}.1")
    add(log, "yes3\n")
    shown("yes1", "unfinished", "yes3")
    following.ends()


def test_a_log_of_two_gigabytes(real: Real) -> None:
    """The end of a large log, and one with a hole before it, are found in a moment."""
    real.start("a", "b").ok()
    with real.logfile("a").open("wb") as file:  # truncated under a writer that does not append
        file.truncate(2 << 30)
        file.seek(0, os.SEEK_END)
        file.write(stamp(5, "end").encode())
    line = stamp(90_000, "x" * 1000).encode()
    with real.logfile("b").open("wb") as file:
        for _ in range(30):
            file.write(line * 1000)  # 30 MB
        file.write(stamp(5, "end").encode())
    begin = time.monotonic()
    for words in (("--since=1m",), ("--since=1m", "--grep=end"), ("--grep=end", "-n1"), ("--timestamps", "-n1")):
        assert texts(real.multi("logs", *words).ok().out) == ["end", "end"]
    assert time.monotonic() - begin < 100, "four times, on a busy machine"
    begin = time.process_time()
    assert texts(real.inside("logs", "--since=1m").ok().out) == ["end", "end"]
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--grep=(x"], "--grep=(x: is not a regular expression: missing ), unterminated subpattern at character 1"),
        (["--grep=" + "(" * 20_000], "is a regular expression that is too large"),
        (["--since=x"], "--since=x: is no time and no age"),
        (["--since=5m", "--since-start"], "say two beginnings; give one of them"),
        (["--grepp=x"], "did you mean --grep?"),
        (["--timestamp"], "did you mean --timestamps?"),
    ],
)
def test_g9_what_is_no_search(real: Real, words: list[str], says: str) -> None:
    """G9: one line, exit 2, nothing read."""
    real.start("a").ok()
    done = real.multi("logs", "a", *words).exits(2)
    assert says in done.err
    assert done.out == ""


def test_a_pattern_that_does_not_end(real: Real) -> None:
    """One that backtracks for ever is given up after two seconds of one line, exit 2."""
    real.start("a").ok()
    add(real.logfile("a"), "a" * 60 + "b\n")
    done = real.multi("logs", "a", "--grep=(a|aa)+$").exits(2)
    assert "takes more than 2s for one line of 61 characters; write it without a repetition in a repetition" in done.err


def test_wait_for_a_line(real: Real) -> None:
    """Each node has to print one after the wait began, through a rotation too; what stood there before is none."""
    real.start("a", "b").ok()
    add(real.logfile("a"), "cache is warm\n")
    done = real.multi("wait", "--log=is warm", "--timeout=0.2").exits(1)
    assert done.err.count("has printed no such line within 0.2s") == 2
    waiting = real.popen(*multi_words("wait", f"--pidfile={real.run}/%n.pid", "--log=is warm", "--timeout=60"))
    until(lambda: inotified(waiting.pid) == 3, "it watches a directory and two files")
    add(real.logfile("a"), "nothing\n")
    add(real.logfile("a"), "now it is warm\n")
    real.logfile("b").rename(f"{real.logfile('b')}.1")
    assert waiting.poll() is None
    add(real.logfile("b"), "it is warm, without an end")
    assert waiting.wait(20) == 0


def inotified(pid: int) -> int:
    """How many things a process watches."""
    try:
        texts = [each.read_text() for each in Path(f"/proc/{pid}/fdinfo").iterdir()]
    except OSError:
        return 0
    return sum(text.count("inotify wd:") for text in texts)


def test_wait_for_a_line_of_this_start(real: Real) -> None:
    """With --since-start a line counts that stands there, not one of an earlier start; exit 130 when interrupted."""
    real.start("a").ok()
    add(real.logfile("a"), "old\n")
    real.multi("stopwait", "a").ok()
    real.start("a").ok()
    add(real.logfile("a"), "new\n")
    assert real.multi("wait", "--log=new", "--since-start").ok().out == "a | new\n"
    real.multi("wait", "--log=old", "--since-start", "--timeout=0.1").exits(1)
    waiting = real.popen(*multi_words("wait", f"--pidfile={real.run}/%n.pid", "--log=never"))
    until(lambda: inotified(waiting.pid), "it waits")
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == 130


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--log=("], "is not a regular expression"),
        (["--log=x", "--down"], "--log --down: are two things to wait for"),
        (["--since-start"], "--since-start: says since when a line counts; add --log=RE"),
        (["--log=x", "--timeout=x"], "is not a number of seconds"),
    ],
)
def test_g9_what_is_no_wait_for_a_line(real: Real, words: list[str], says: str) -> None:
    """G9: one line, exit 2, before anything is waited for."""
    real.start("a").ok()
    assert says in real.multi("wait", "a", *words).exits(2).err
