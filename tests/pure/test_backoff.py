"""How long `ensure` leaves a node alone that ended again and again."""

from __future__ import annotations

from multi.decide.backoff import after_failure, remaining
from multi.model.process import Proc
from multi.model.record import STARTING, Record
from multi.value import replace
from world import node_of

SOUND = Record(node=node_of(), proc=Proc(4000, "boot:1"))


def test_it_grows() -> None:
    """A node that keeps dying is left alone for longer each time, up to an hour; one that never died is not."""
    pauses = [remaining(number, 0.0) for number in range(12)]
    assert pauses == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0, 3600.0]
    assert remaining(10**9, 0.0) == 3600.0


def test_it_passes() -> None:
    """The pause counts from the failure; a clock that was set back does not make it longer."""
    assert [remaining(3, ago) for ago in (15.0, 40.0, 4000.0, -990.0)] == [25.0, 0.0, 0.0, 40.0]


def test_failures_are_counted() -> None:
    """An end that nobody asked for is counted; one after a long time of service begins to count anew."""
    record = replace(SOUND, started=1000.0, failures=4)
    soon, late = after_failure(record, 1100.0, "it died"), after_failure(record, 1000.0 + 601, "it died")
    assert (soon.proc, soon.failures, soon.failed, soon.failure) == (None, 5, 1100.0, "it died")
    assert late.failures == 1
    assert after_failure(replace(record, phase=STARTING), 1000.0 + 601, "it died").failures == 5
