"""The notation of start-stop-daemon, both ways."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multi.errors import UsageError
from multi.model.schedule import (
    FOREVER,
    Moment,
    Schedule,
    Stage,
    find_signal,
    parse,
    parse_signal,
    signal_name,
)

TERM, QUIT, KILL, INT = (int(getattr(signal, f"SIG{name}")) for name in ("TERM", "QUIT", "KILL", "INT"))


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("TERM/30/KILL/5", [(TERM, 30.0), (KILL, 5.0)]),
        ("TERM/90/QUIT/10/KILL/5", [(TERM, 90.0), (QUIT, 10.0), (KILL, 5.0)]),
        ("TERM/forever", [(TERM, FOREVER)]),
        ("INT/5/TERM/forever", [(INT, 5.0), (TERM, FOREVER)]),
        ("5", [(TERM, 5.0), (KILL, 5.0)]),
        ("0", [(TERM, 0.0), (KILL, 0.0)]),
        ("0.5", [(TERM, 0.5), (KILL, 0.5)]),
        ("15/1.25/9/0", [(TERM, 1.25), (KILL, 0.0)]),
        ("-TERM/1/-9/1", [(TERM, 1.0), (KILL, 1.0)]),
        ("sigterm/1/SIGKILL/1", [(TERM, 1.0), (KILL, 1.0)]),
        (" TERM / 30 / KILL / 5 ", [(TERM, 30.0), (KILL, 5.0)]),
        ("RTMIN+3/1", [(signal.SIGRTMIN + 3, 1.0)]),
        ("TERM/999999999999", [(TERM, 999999999999.0)]),
        ("TERM/1234567.125", [(TERM, 1234567.125)]),
        ("TERM/0.0000000001", [(TERM, 1e-10)]),
    ],
)
def test_parse(text: str, stages: list[tuple[int, float]]) -> None:
    """What is written means this, and is written again so that it means the same."""
    schedule = parse(text)
    assert [(stage.signum, stage.seconds) for stage in schedule.stages] == stages
    assert parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs a number of seconds"),
        ("/", "is not a signal"),
        ("TERM", "needs a number of seconds"),
        ("TERM/", "is not a number of seconds"),
        ("TERM/30/KILL", "needs a number of seconds"),
        ("TERM/30/", "needs a number of seconds"),
        ("30/KILL", "'KILL' is not a number of seconds"),
        ("99/5", "'99' is not a signal"),
        ("NOSUCH/5", "'NOSUCH' is not a signal"),
        ("TERM/soon", "'soon' is not a number of seconds"),
        ("TERM/-1", "'-1' is not a number of seconds"),
        ("TERM/1e3", "'1e3' is not a number of seconds"),
        ("TERM/nan", "'nan' is not a number of seconds"),
        ("TERM/inf", "'inf' is not a number of seconds"),
        ("TERM/.5", "is not a number of seconds"),
        ("TERM/5.", "is not a number of seconds"),
        ("TERM/\u0665", "is not a number of seconds"),
        ("TERM/1_000", "is not a number of seconds"),
        ("TERM/9999999999999", "is not a number of seconds"),
        ("TERM/forever/KILL/5", "nothing can come after 'forever'"),
        ("TERM/Forever", "is not a number of seconds"),
        ("0/5", "is not a signal"),
        ("65/5", "is not a signal"),
        ("forever", "needs a number of seconds"),
    ],
)
def test_parse_refuses(text: str, why: str) -> None:
    """What means nothing is refused, with the reason and an example."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert why in caught.value.why
    assert caught.value.word == text
    assert "TERM/90/QUIT/10/KILL/5" in caught.value.hint


SIGNALS = st.sampled_from(sorted(signal.valid_signals()))
SECONDS = st.from_regex(r"[0-9]{1,12}|[0-9]{1,5}\.[0-9]{1,6}", fullmatch=True).filter(str.isascii).map(float)


@given(st.lists(st.tuples(SIGNALS, SECONDS), min_size=1, max_size=6), st.booleans())
def test_round_trip(pairs: list[tuple[int, float]], endless: bool) -> None:
    """Every schedule is written so that reading it gives the same one."""
    stages = [Stage(int(signum), seconds) for signum, seconds in pairs]
    if endless:
        stages[-1] = Stage(stages[-1].signum, FOREVER)
    schedule = Schedule(tuple(stages))
    assert parse(str(schedule)) == schedule


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Any text is a schedule or a mistake that is explained; nothing else happens."""
    try:
        schedule = parse(text)
    except UsageError:
        return
    assert parse(str(schedule)) == schedule


def test_timeline() -> None:
    """The moments of a schedule count from the first signal."""
    schedule = parse("TERM/90/QUIT/10/KILL/5")
    assert schedule.timeline == (Moment(0.0, TERM), Moment(90.0, QUIT), Moment(100.0, KILL))
    assert (schedule.first, schedule.total) == (TERM, 105.0)
    assert parse("TERM/forever").total == FOREVER


def test_starting_with() -> None:
    """``-SIG`` is the first signal; how long to wait for it, and what comes after it, stays."""
    assert str(parse("TERM/90/KILL/5").starting_with(QUIT)) == "QUIT/90/KILL/5"


@pytest.mark.parametrize(
    ("word", "signum"),
    [
        ("-TERM", TERM),
        ("-SIGTERM", TERM),
        ("-term", TERM),
        ("-sigTerm", TERM),
        ("-15", TERM),
        ("TERM", TERM),
        ("15", TERM),
        ("9", KILL),
        ("-09", KILL),
        ("CHLD", int(signal.SIGCHLD)),
        ("RTMIN", int(signal.SIGRTMIN)),
        ("RTMAX", int(signal.SIGRTMAX)),
        ("RTMIN+1", signal.SIGRTMIN + 1),
    ],
)
def test_find_signal(word: str, signum: int) -> None:
    """Signals go by their names, with SIG or without, in any case, and by their numbers."""
    assert find_signal(word) == parse_signal(word) == signum
    assert find_signal(signal_name(signum)) == signum


@pytest.mark.parametrize(
    "word",
    ["", "-", "--TERM", "-c", "0", "-0", "65", "-999", "1000000", "SIGSIGTERM", "RTMIN+99", "RTMIN+", "\u0669", "SIG"],
)
def test_no_signal(word: str) -> None:
    """What is no signal of this system is None, and an error where one was asked for."""
    assert find_signal(word) is None
    with pytest.raises(UsageError, match="is not a signal of this system"):
        parse_signal(word)


def test_signal_names() -> None:
    """Every signal of this system has a name that leads back to it."""
    for signum in signal.valid_signals():
        assert find_signal(signal_name(signum)) == signum


def test_signals_are_those_of_the_standard_library() -> None:
    """Each number and each name mean what they mean in `signal`, whose import is not paid."""
    for number in map(int, signal.valid_signals()):
        known = number in {int(each) for each in signal.Signals}  # before 3.11 without 16, STKFLT
        other = f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else str(number)
        expected = signal.Signals(number).name if known else other
        assert signal_name(number) == expected.removeprefix("SIG")
        assert find_signal(expected) == number
    for name, each in signal.Signals.__members__.items():
        assert find_signal(name) == int(each)
