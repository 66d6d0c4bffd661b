"""`logs`: last lines, and what is added, through rotation and truncation."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from real import until

if TYPE_CHECKING:
    from real import Real


def test_last_lines_behind_their_node(real: Real) -> None:
    """The last lines of each log, each behind the name of its node; --lines says how many."""
    real.start("a", "b").ok()
    real.logfile("a").write_text("".join(f"line {number}\n" for number in range(20)))
    real.logfile("b").write_bytes(b"one\nnot \xff utf-8\nno end")
    done = real.multi("logs", "a", "b", "--lines=2").ok()
    assert done.out.splitlines() == ["a | line 18", "a | line 19", "b | not \ufffd utf-8", "b | no end"]


def test_following_survives_rotation_and_truncation(real: Real) -> None:
    """Lines that come after a rename with a new file, and after copytruncate, are shown; none is shown twice."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text("old\n")
    out = real.base / "out"
    follow = real.popen(
        "sh", "-c", f'exec "$@" > {out}', "sh", *_multi("logs", "a", "--follow", f"--pidfile={real.run}/%n.pid")
    )

    def shown() -> str:
        return out.read_text() if out.exists() else ""

    until(lambda: "a | old\n" in shown(), "it begins with what is there")
    with log.open("a") as file:
        file.write("added\n")
    until(lambda: "a | added\n" in shown(), "what is added is shown")
    log.rename(real.log / "a.log.1")
    log.write_text("after rotation\n")
    until(lambda: "a | after rotation\n" in shown(), "the new file is found")
    log.write_text("")
    with log.open("a") as file:
        file.write("cut\n")
    until(lambda: "a | cut\n" in shown(), "truncation is noticed")
    follow.send_signal(signal.SIGINT)
    assert follow.wait(20) == 0
    assert shown().count("\n") == 4


def _multi(*words: str) -> tuple[str, ...]:
    import sys

    return (sys.executable, "-m", "multi", *words)


def test_a_log_that_comes_later(real: Real) -> None:
    """A log that is not there yet is followed once it is."""
    real.start("a").ok()
    real.logfile("a").unlink()
    out = real.base / "out"
    words = _multi("logs", "a", "--follow", f"--pidfile={real.run}/%n.pid")
    follow = real.popen("sh", "-c", f'exec "$@" > {out}', "sh", *words)
    real.logfile("a").write_text("here I am\n")
    until(lambda: out.exists() and "a | here I am\n" in out.read_text(), "the log is found")
    follow.terminate()
    follow.wait(20)


def test_a_log_that_is_no_file(real: Real) -> None:
    """A log on a device cannot be read again; the command says so."""
    real.raw(*real.start_words("a"), "--logfile=/dev/null").ok()
    assert "cannot be read again" in real.multi("logs", "a").err
