"""What the hooks of other libraries tell is what `multi` understands."""

from __future__ import annotations

import json
import threading
import time

import pytest

from multi.model.work import decode_work
from multi.plugins import in_hand
from multi.plugins.in_hand import InHand


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The fields that were sent last."""
    fields: dict[str, str] = {}
    monkeypatch.setattr(in_hand, "notify", lambda **sent: fields.update(sent))
    return fields


def test_tasks_of_all_processes_are_told_together(told: dict[str, str]) -> None:
    """The longest first, ten of them in the facts and three in the line for people."""
    first, second = InHand(acks_late=True), InHand(acks_late=False)
    first.began("0123456789ab", "orders.export", 300.0, ran=41.2)
    for number in range(11):
        second.began(f"{number:08}", "mail.send", ran=float(number))
    second.ended("00000010")
    second.ended("never begun")
    first.reserved, second.eta = (lambda: 3), (lambda: 1)
    in_hand.say(in_hand.total([json.loads(json.dumps(one.facts())) for one in (first, second)]), time.monotonic())
    assert told["STATUS"] == (
        "11 tasks: orders.export 0123 41s (limit 300s), mail.send 0000 9s, mail.send 0000 8s, 8 more"
    )
    work = decode_work(told["X_MULTI_TASKS"])
    assert work is not None
    assert (work.count, len(work.active), work.reserved, work.eta) == (11, 10, 3, 1)
    longest = work.active[0]
    assert (longest.name, longest.id, longest.limit, longest.acks_late) == ("orders.export", "01234567", 300.0, True)
    assert longest.seconds == pytest.approx(41.2, abs=0.5)


def test_no_task_is_told_too(told: dict[str, str]) -> None:
    """A worker that ends with nothing in hand says so."""
    in_hand.say(in_hand.total([InHand(acks_late=True).facts()]), time.monotonic())
    assert told["STATUS"] == "no task left"
    work = decode_work(told["X_MULTI_TASKS"])
    assert work is not None
    assert work.idle


def test_values_of_the_library_that_cannot_be_had_keep_nobody_from_telling(told: dict[str, str]) -> None:
    """Whatever a library raises, the worker and the thread that tells go on."""
    one = InHand(acks_late=True)
    one.began("1", "a")
    one.reserved = lambda: 1 // 0
    in_hand.say(in_hand.total([one.facts()]), time.monotonic())
    assert told["STATUS"] == "1 task: a 1 0s"


def test_a_worker_that_multi_did_not_start_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the environment of a node no thread is started and nothing is sent."""
    assert not in_hand.TOLD
    one = InHand(acks_late=True)
    one.tell(lambda: pytest.fail("nothing is to be asked"))
    assert "multi" not in [each.name for each in threading.enumerate()]
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    in_hand.notify(STATUS="x")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    in_hand.notify(STATUS="x")
