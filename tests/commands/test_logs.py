"""`logs`: last lines, and what is added, through rotation and truncation."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from following import Following, add, multi_words
from multi import api
from multi.logs import LogLine, Query, Unseen
from real import NOBODY, Real, until


def test_last_lines_behind_their_node(real: Real) -> None:
    """The last lines of each log, each behind the name of its node; --lines says how many."""
    real.start("a", "b").ok()
    real.logfile("a").write_text("".join(f"line {number}\n" for number in range(20)))
    real.logfile("b").write_bytes(b"one\nnot \xff utf-8\nno end")
    done = real.multi("logs", "a", "b", "--lines=2").ok()
    assert done.out.splitlines() == ["a | line 18", "a | line 19", "b | not \ufffd utf-8", "b | no end"]


def test_nodes_that_differ_by_their_host_alone(real: Real) -> None:
    """Lines of `w1@a` and `w1@b` can be told apart: they have the whole names, and others go on with short ones."""
    real.log.mkdir()
    for name in ("w1@a", "w1@b", "w2@a"):
        add(real.log / f"{name}.log", f"from {name}\n")
    words = ("logs", "w1@a", "w1@b", "w2@a", f"--pidfile={real.run}/%h.pid", f"--logfile={real.log}/%h.log")
    assert real.raw(*words).ok().out == "w1@a | from w1@a\nw1@b | from w1@b\nw2 | from w2@a\n"
    told = [json.loads(line)["nodes"] for line in real.raw(*words, "--json").ok().out.splitlines()]
    assert told == [["w1@a"], ["w1@b"], ["w2"]]


def test_following_survives_rotation_and_truncation(real: Real) -> None:
    """Lines that come after a rename with a new file, and after copytruncate, are shown; none is shown twice."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text("old\n")
    out = real.base / "out"
    follow = real.popen(
        "sh", "-c", f'exec "$@" > {out}', "sh", *multi_words("logs", "a", "--follow", f"--pidfile={real.run}/%n.pid")
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


def test_a_log_that_comes_later(real: Real) -> None:
    """A log that is not there yet is followed once it is."""
    real.start("a").ok()
    real.logfile("a").unlink()
    out = real.base / "out"
    words = multi_words("logs", "a", "--follow", f"--pidfile={real.run}/%n.pid")
    follow = real.popen("sh", "-c", f'exec "$@" > {out}', "sh", *words)
    real.logfile("a").write_text("here I am\n")
    until(lambda: out.exists() and "a | here I am\n" in out.read_text(), "the log is found")
    follow.terminate()
    follow.wait(20)


def test_a_log_that_is_no_file(real: Real) -> None:
    """A log on a device cannot be read again; the command says so, and fails."""
    real.raw(*real.start_words("a"), "--logfile=/dev/null").ok()
    assert "cannot be read again" in real.multi("logs", "a").exits(1).err


def test_a_worker_that_is_not_told_of_the_rotation(real: Real) -> None:
    """It writes on to the file that was moved away: that is shown until the new one grows."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text("one\n")
    following = Following(real, "a")
    following.shows("a | one")
    log.rename(f"{log}.1")
    log.touch()
    add(Path(f"{log}.1"), "two\n")
    following.shows("a | one", "a | two")
    add(log, "three\n")
    following.shows("a | one", "a | two", "a | three")
    following.ends()


def test_a_rotation_before_the_last_line_is_printed(real: Real) -> None:
    """Whoever takes the lines slowly misses none: the log is held from before the first of them is shown."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text("one\n")
    nodes = api.select("logs", ["a", f"--pidfile={real.run}/%n.pid", "--multi-config=none"])
    following = cast("Generator[LogLine | Unseen]", api.logs(nodes, Query(follow=True)))
    with contextlib.closing(following) as lines:
        shown = (line.text for line in lines if isinstance(line, LogLine))
        assert next(shown) == "one"
        log.rename(f"{log}.1")
        log.touch()
        add(Path(f"{log}.1"), "two\n")
        assert next(shown) == "two"


@pytest.mark.parametrize("how", ["renamed", "truncated", "removed"])
def test_a_line_that_a_rotation_cuts_is_a_line(real: Real, how: str) -> None:
    """What had no end yet ends there, and is not glued to the first line of what comes next."""
    real.start("a").ok()
    log = real.logfile("a")
    log.write_text("one\ntwo without end")
    following = Following(real, "a")
    following.shows("a | one")
    if how == "renamed":
        log.rename(f"{log}.1")
    elif how == "removed":
        log.unlink()
    else:
        log.write_bytes(b"")
    add(log, "new\n")
    following.shows("a | one", "a | two without end", "a | new")
    following.ends()


def test_lines_of_several_nodes_come_as_they_arrive(real: Real) -> None:
    """Each behind the node's name, in the order of their arrival, also from two nodes with one log."""
    shared = real.log / "shared.log"
    real.start("a", "b", "c", f"--logfile:a,b={shared}").ok()
    following = Following(real, "a", "b", "c")
    seen: list[str] = []
    for number in range(3):
        add(shared, f"s{number}\n")
        seen.append(f"a,b | s{number}")
        until(lambda: following.lines()[-1:] == seen[-1:], "it is shown")
        add(real.logfile("c"), f"c{number}\n")
        seen.append(f"c | c{number}")
        until(lambda: following.lines()[-1:] == seen[-1:], "it is shown")
    following.shows(*seen)
    following.ends()


def test_all_lines_that_are_asked_for(real: Real) -> None:
    """However long a log is: as many lines as it has, none of them cut."""
    real.start("a").ok()
    lines = [f"{number:06d} {'x' * 90}" for number in range(30_000)]  # 3 MB
    real.logfile("a").write_text("\n".join(lines) + "\n")
    done = real.multi("logs", "a", "--lines=25000").ok()
    assert done.out.splitlines() == [f"a | {line}" for line in lines[-25_000:]]
    assert len(real.multi("logs", "a", "--lines=99999").ok().out.splitlines()) == 30_000
    assert real.multi("logs", "a", "--lines=0").ok().out == ""
    assert len(real.multi("logs", "a").ok().out.splitlines()) == 10


def test_json(real: Real) -> None:
    """One object a line, with the names of the nodes that share the log, and the text as it is."""
    real.start("a").ok()
    real.logfile("a").write_text('tab\there, "quoted"\n')
    assert json.loads(real.multi("logs", "a", "--json").out) == {"nodes": ["a"], "text": 'tab\there, "quoted"'}


def test_nothing_to_see_is_said(real: Real) -> None:
    """A log that is not there, or is no file, is named and the others are shown; the second alone is a failure."""
    real.start("a", "b", "c").ok()
    real.logfile("a").unlink()
    real.logfile("b").unlink()
    real.logfile("b").mkdir()
    real.logfile("c").write_text("fine\n")
    done = real.multi("logs", "a", "b", "c").exits(1)
    assert done.out == "c | fine\n"
    assert f"a@{_host(done.err)}: has no log yet at {real.logfile('a')}" in done.err
    real.multi("logs", "a", "c").ok()
    assert f"cannot read the log {real.logfile('b')}: it is no regular file" in done.err


def _host(text: str) -> str:
    return text.partition("a@")[2].partition(":")[0]


@pytest.mark.root
def test_a_log_that_may_not_be_read(real: Real) -> None:
    """Another user gets the reason and what others see, and exit 77; a log that is no file makes that 1."""
    real.start("a", "b", "c").ok()
    for name in ("a", "b", "c"):
        real.recordfile(name).chmod(0o644)
    real.logfile("b").chmod(0o644)
    real.logfile("b").write_text("for all\n")
    real.logfile("c").unlink()
    real.logfile("c").mkdir()
    real.logfile("a").chmod(0o600)
    real.logfile("a").write_text("for its owner\n")
    assert real.inside("logs", "a").ok().out == "a | for its owner\n"  # and all modules are there, also for nobody
    os.seteuid(NOBODY)
    try:
        done, worse = real.inside("logs", "a", "b"), real.inside("logs", "a", "b", "c")
    finally:
        os.seteuid(0)
    assert f"cannot read the log {real.logfile('a')}: Permission denied" in done.exits(77).err
    assert done.out == "b | for all\n"
    assert f"cannot read the log {real.logfile('c')}: it is no regular file" in worse.exits(1).err


def test_a_flood_keeps_nobody_waiting(real: Real) -> None:
    """One log that grows without end hides neither another one nor the signal that ends it."""
    flood = "import sys\nwhile True: sys.stdout.write('flood\\n' * 1000)"
    real.start("a", "b", "--rlimit:a=FSIZE=300000000", f"--cmd:a={real.shell_words(flood)}").ok()
    command = multi_words("logs", f"--pidfile={real.run}/%n.pid", "--follow", "--lines=0", "a", "b")
    found = real.base / "found"
    shell = f'"$@" | grep -m 1 "^b" > {found}'
    watching = real.popen("sh", "-c", shell, "sh", *command)

    def seen() -> bool:
        add(real.logfile("b"), "here\n")
        return found.exists() and found.read_text() == "b | here\n"

    until(seen, "the other one is seen")
    assert watching.wait(20) == 0, "it ends when nobody reads any more"


@pytest.mark.parametrize("lines", ["-1", "x", "1e3", ""])
def test_g9_a_number_that_is_none(real: Real, lines: str) -> None:
    """What is no number of lines is a mistake."""
    assert "is not a number of lines" in real.multi("logs", "a", f"--lines={lines}").exits(2).err
