"""What a worker says it has in hand, and its heartbeat: read with suspicion, and shown."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multi.model.work import (
    NO_PULSE,
    ActiveTask,
    Heartbeat,
    Pulse,
    Work,
    cut_text,
    decode_heartbeat,
    decode_work,
    encode_work,
    pulse,
)
from multi.report.work import pulse_text, work_text
from multi.value import replace

EXPORT = ActiveTask("orders.export", "3f2a77aa", 41.0, 300.0)
MAIL = ActiveTask("mail.send", "9c01bb22", 2.0, acks_late=True)
TWO = Work(2, (EXPORT, MAIL))


def test_work_round_trip() -> None:
    """What is written is read."""
    for work in (TWO, Work(0), Work(12, (MAIL,), 3, 1)):
        assert decode_work(encode_work(work)) == work


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
@example("[" * 100_000)
@example('{"count": 1e400}')
@example('{"count": ' + "9" * 5000 + "}")
@example('{"count": true}')
@example('{"count": -1}')
@example("{" * 20_000)
def test_any_work(text: str) -> None:
    """Any text is work, or None."""
    found = decode_work(text)
    assert found is None or found.count >= 0


@pytest.mark.parametrize(
    ("task", "kept"),
    [
        ({"name": "a", "id": "3f2a77aa-long", "seconds": 1}, ActiveTask("a", "3f2a77aa", 1.0)),
        ({"name": "a", "id": "b", "seconds": 1, "limit": None, "acks_late": 1}, ActiveTask("a", "b", 1.0)),
        ({"name": "a", "id": "b", "seconds": 1, "limit": -1}, ActiveTask("a", "b", 1.0)),
        ({"name": "a" * 999, "id": "b", "seconds": 0, "args": "secret"}, ActiveTask("a" * 200, "b", 0.0)),
        ({"name": "a", "id": "b", "seconds": float("nan")}, None),
        ({"name": "a", "id": "b", "seconds": "1"}, None),
        ({"name": 1, "id": "b", "seconds": 1}, None),
        ("a", None),
    ],
)
def test_a_task_that_is_not_as_agreed(task: Any, kept: ActiveTask | None) -> None:  # noqa: ANN401 -- anything
    """A task that is not as agreed is left out, and the others are kept, the longest first and ten at most."""
    said = {"count": 2, "active": [{"name": "b", "id": "c", "seconds": 0.5}, task], "reserved": "3", "eta": 1}
    other = ActiveTask("b", "c", 0.5)
    expected = tuple(sorted((each for each in (kept, other) if each), key=lambda each: -each.seconds))
    assert decode_work(json.dumps(said)) == Work(2, expected, 0, 1)
    many = decode_work(json.dumps({"count": 1, "active": [{"name": "b", "id": "c", "seconds": 0.5}] * 50}))
    assert many is not None
    assert (len(many.active), many.count) == (10, 10)


def test_idle() -> None:
    """A worker is idle without tasks under way or reserved; ETA tasks go back to their broker."""
    assert Work(0, eta=3).idle
    assert not Work(0, reserved=1).idle
    assert not TWO.idle
    assert TWO.aged(10).active[0].seconds == 51
    assert TWO.aged(-10) == TWO


@pytest.mark.parametrize(
    ("work", "signum", "left", "text"),
    [
        (
            TWO,
            signal.SIGQUIT,
            48.7,
            "2 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s; QUIT in 49s",
        ),
        (Work(0, (), 3, 1), None, None, "no task; 3 reserved; 1 ETA"),
        (
            Work(9, (EXPORT, MAIL)),
            None,
            None,
            "9 tasks: orders.export 3f2a 41s (limit 300s), mail.send 9c01 2s and 7 more",
        ),
        (Work(2), None, None, "2 tasks"),
        (
            Work(2, (ActiveTask("a", "3f2a77aa", 700.0), ActiveTask("b\x1b[2J", "3f2a77bb", 0.4))),
            None,
            None,
            r"2 tasks: a 3f2a77a 11m 40s, b\x1b[2J 3f2a77b 0s",
        ),
    ],
)
def test_work_text(work: Work, signum: int | None, left: float | None, text: str) -> None:
    """Number, names, short ids that differ, seconds, limits, and which signal comes next."""
    assert work_text(work, signum, left) == text


def test_cut_text() -> None:
    """Which tasks a signal cut off, and what becomes of each."""
    text = "QUIT cut off 3 tasks: orders.export 3f2a 41s (lost), mail.send 9c01 2s (redelivered) and 1 more"
    assert cut_text(signal.SIGQUIT, 3, TWO.active) == text


# --- the heartbeat ----------------------------------------------------------------------------------------

LINES = {
    "MULTI_INSTANCE": "t",
    "MONOTONIC_USEC": "100000000",
    "STATE": "consuming",
    "SINCE_USEC": "40000000",
    "WHY": "",
    "ACTIVE": "0",
}
BLOCKED = Heartbeat(
    at=100.0,
    written=160.0,
    state="consuming",
    since=40.0,
    pool="solo",
    blocks=True,
    active=1,
    oldest=ActiveTask("orders.export", "3f2a77aa", 70.0, 300.0),
)
TASK = BLOCKED.oldest or EXPORT
IDLE = Heartbeat(at=100.0, written=100.0, state="consuming", since=40.0)


def beat(**said: str) -> bytes:
    """The bytes of a heartbeat."""
    return "".join(f"{name}={value}\n" for name, value in {**LINES, **said}.items()).encode()


def test_heartbeat() -> None:
    """What the worker's loop wrote."""
    assert decode_heartbeat(beat(), "t") == IDLE
    oldest = {"OLDEST_USEC": "90000000", "OLDEST_NAME": "orders.export", "OLDEST_ID": "3f2a77aa", "OLDEST_LIMIT": "300"}
    pool = {"WRITTEN_USEC": "160000000", "POOL": "solo", "BLOCKS": "1", "ACTIVE": "1"}
    assert decode_heartbeat(beat(**pool, **oldest), "t") == BLOCKED
    asked = decode_heartbeat(beat(STATE="stopping", X_MULTI_STOP="asked", X_MULTI_STOP_BY="remote control"), "t")
    assert asked is not None
    assert asked.stopped_by == "remote control"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        beat()[:-1],
        beat(MULTI_INSTANCE="of another start"),
        beat(MONOTONIC_USEC=""),
        beat(MONOTONIC_USEC="-1"),
        beat(MONOTONIC_USEC="9" * 30),
        beat(STATE="asleep"),
        beat(WHY="a\0b"),
    ],
)
def test_no_heartbeat(data: bytes) -> None:
    """What is cut off, of another start or none of a heartbeat says nothing."""
    assert decode_heartbeat(data, "t") is None


@given(st.binary(max_size=300))
def test_any_heartbeat(data: bytes) -> None:
    """Any bytes are a heartbeat or None."""
    decode_heartbeat(data, "t")
    decode_heartbeat(beat() + data + b"\n", "t")


@pytest.mark.parametrize(
    ("found", "now", "word", "since"),
    [
        (None, 100.0, "none", None),
        (IDLE, 105.0, "consumes", 65.0),
        (IDLE, 100.0 - 5, "none", None),  # a clock of another boot
        (IDLE, 100.0 - 0.5, "consumes", 59.5),
        (IDLE, 161.0, "wedged", 61.0),
        (replace(IDLE, state="waiting", why="refused"), 9999.0, "waits", 9959.0),
        (replace(IDLE, state="stopping"), 9999.0, "stopping", 9959.0),
        (replace(IDLE, state="draining"), 105.0, "draining", 65.0),
        (replace(IDLE, state="draining"), 161.0, "wedged", 61.0),
        (BLOCKED, 161.0, "busy", 61.0),
        (replace(BLOCKED, written=389.0, oldest=replace(TASK, seconds=299.0)), 390.0, "busy", 290.0),
        (replace(BLOCKED, written=389.0, oldest=replace(TASK, seconds=299.0)), 391.0, "wedged", 291.0),
        (BLOCKED, 300.0, "busy", 200.0),  # a task holds the lock of the interpreter
        (BLOCKED, 391.0, "wedged", 291.0),
        (replace(BLOCKED, oldest=replace(TASK, limit=None)), 99999.0, "busy", 99899.0),
        (replace(BLOCKED, pool="prefork", blocks=False), 161.0, "wedged", 61.0),
        (replace(BLOCKED, pool="prefork", blocks=False), 300.0, "wedged", 200.0),
        (replace(BLOCKED, pool="threads", blocks=False), 161.0, "wedged", 61.0),
        (replace(BLOCKED, pool="threads", blocks=False), 300.0, "busy", 200.0),
    ],
)
def test_pulse(found: Heartbeat | None, now: float, word: str, since: float | None) -> None:
    """A broker that is down and a task within its time limit make no worker unhealthy; silence of a loop does."""
    verdict = pulse(found, now, 60.0)
    assert (verdict.word, verdict.since) == (word, since)
    assert verdict.healthy is (word != "wedged")


def test_pulse_text() -> None:
    """`status` tells what is out of the ordinary."""
    assert (
        pulse_text(Pulse("waits", 1.0, 40.0, "Connection refused")) == "waits for broker since 40s: Connection refused"
    )
    assert pulse_text(pulse(BLOCKED, 161.0, 60.0)) == "busy since 61s: orders.export 3f2a 71s (limit 300s)"
    beyond = "orders.export 3f2a 301s (limit 300s) runs beyond its limit"
    assert pulse_text(pulse(BLOCKED, 391.0, 60.0)) == f"wedged since 4m 51s: {beyond}"
    assert pulse_text(Pulse("consumes", 1.0, 40.0)) == pulse_text(NO_PULSE) == ""
