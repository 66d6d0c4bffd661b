"""The rule of restarts, a table: what is on record, how it ended, who asks, and what becomes of the node."""

from __future__ import annotations

from typing import Any

import pytest

from multi.decide.restart import Again, By, GivenUp, Leave, Verdict, counted, delay, verdict
from multi.model.process import Proc
from multi.model.record import RESTARTING, STARTING, Record
from multi.testing.world import node_of
from multi.value import replace

WALL = 100_000.0
PROC = Proc(4000, "boot:1")


def record(*, node: dict[str, Any] | None = None, **facts: object) -> Record:
    """Of a node that was started a minute ago, and was ready."""
    said: dict[str, Any] = {"proc": PROC, "started": WALL - 60, **facts}
    return Record(node=node_of(restart_delay=0.0, **(node or {})), **said)


NO, FAILURE, ALWAYS = ({"restart": policy} for policy in ("no", "on-failure", "always"))
NEAR = tuple(WALL - back for back in (50.0, 40.0, 30.0, 20.0, 10.0))
BUSY = {"ends": NEAR, "failures": 5}
GIVEN_UP = GivenUp("it ended 6 times within 60s; the last time it exited with status 1")
UNKNOWN = GivenUp("it ended 6 times within 60s")

TABLE: list[tuple[Record, int | None, By, Verdict]] = [
    # the policy
    (record(node=NO), 1, "run", Leave(well=False)),
    (record(node=NO), 0, "run", Leave(well=True)),
    (record(node=NO), 1, "ensure", Again()),
    (record(node=NO), None, "ensure", Again()),
    (record(node=NO), 0, "ensure", Leave(well=True)),
    (record(node=FAILURE), 1, "run", Again()),
    (record(node=FAILURE), -9, "run", Again()),
    (record(node=FAILURE), None, "run", Again()),
    (record(node=FAILURE), 0, "run", Leave(well=True)),
    (record(node=FAILURE), 0, "ensure", Leave(well=True)),
    (record(node=ALWAYS), 0, "run", Again()),
    (record(node=ALWAYS), 0, "ensure", Again()),
    # what is no failure
    (record(node={**FAILURE, "exit_ok": (3, 143)}), 3, "run", Leave(well=True)),
    (record(node={**FAILURE, "exit_ok": (3, 143)}), -15, "run", Leave(well=True)),
    (record(node={**FAILURE, "exit_ok": (3, 143)}), 0, "run", Again()),
    (record(node={**FAILURE, "exit_ok": ()}), 0, "run", Again()),
    # how often
    (record(node=FAILURE, **BUSY), 1, "run", GIVEN_UP),
    (record(node=FAILURE, **BUSY), None, "run", UNKNOWN),
    (record(node=FAILURE, **BUSY), 0, "run", Leave(well=True)),
    (record(node=ALWAYS, **BUSY), 1, "run", GIVEN_UP),
    (record(node=FAILURE, **BUSY), 1, "ensure", Again()),
    (record(node={**NO, "restart_limit": (5, 60.0)}, **BUSY), None, "ensure", UNKNOWN),
    (record(node={**FAILURE, "restart_limit": (0, 0.0)}, **BUSY), 1, "run", Again()),
    (record(node={**FAILURE, "restart_limit": (6, 60.0)}, **BUSY), 1, "run", Again()),
    (record(node={**FAILURE, "restart_limit": (5, 50.0)}, **BUSY), 1, "run", Again()),
    (record(node=FAILURE, ends=tuple(WALL + 3600 + number for number in range(6))), 1, "run", Again()),
    # what is on record already
    (record(node=FAILURE, proc=None, exit_status=1, **BUSY), None, "run", Again()),
    (record(node=FAILURE, proc=None, exit_status=1, ends=(*NEAR, WALL)), None, "run", GIVEN_UP),
    (record(node=FAILURE, proc=None, gave_up="why"), None, "run", GivenUp("why", new=False)),
    (record(node=FAILURE, proc=None, gave_up="why"), None, "ensure", GivenUp("why", new=False)),
    (record(node=NO, desired=RESTARTING, **BUSY), None, "ensure", Again()),
    (record(node=FAILURE, desired=RESTARTING, **BUSY), 1, "run", Again()),
]


@pytest.mark.parametrize(("known", "status", "by", "expected"), TABLE)
def test_the_rule(known: Record, status: int | None, by: By, expected: Verdict) -> None:
    """A row says what becomes of a node that ended and that nobody stopped."""
    assert verdict(known, status, WALL, by) == expected


def test_the_pause_doubles_to_five_minutes_and_is_spread_by_a_tenth() -> None:
    """A first pause that is longer than that stays as it is; without an end there is none."""
    base = replace(record(), node=node_of(restart_delay=1.0))
    for number, full in enumerate((1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300), 1):
        pauses = {delay(replace(base, failures=number, failed=float(at))) for at in range(20)}
        assert full * 0.9 <= min(pauses) < max(pauses) <= full
        assert len(pauses) == 20, "nodes that ended together do not start together"
    assert delay(replace(base, failures=0)) == 0.0
    assert delay(replace(base, failures=10**9)) <= 300.0
    assert 540 <= delay(replace(base, node=node_of(restart_delay=600.0), failures=3)) <= 600


def test_who_asks_later_waits_for_the_rest() -> None:
    """An end on record is waited for from its own moment; a clock that was set back does not make that longer."""
    known = replace(record(proc=None, failures=3, failed=WALL), node=node_of(restart="always", restart_delay=1.0))
    full = delay(known)
    by: By
    for by in ("run", "ensure"):
        assert verdict(known, None, WALL + 1, by) == Again(known.failed + full - (WALL + 1))
        assert verdict(known, None, WALL + 5, by) == Again()
        assert verdict(known, None, WALL - 999, by) == Again(full)
    alive = replace(known, proc=PROC)
    assert verdict(alive, 1, WALL + 1000, "run") == Again(delay(counted(alive, WALL + 1000, "")))
    assert verdict(alive, None, WALL + 1000, "ensure") == Again(), "it died since, and nobody knows when"


def test_ends_are_counted() -> None:
    """An end that nobody asked for is counted; one after ten minutes of service begins to count anew."""
    known = record(started=1000.0, failures=4, ends=(1010.0, 1090.0))
    soon, late = counted(known, 1100.0, "it died", 3), counted(known, 1000.0 + 601, "it died")
    assert (soon.proc, soon.failures, soon.failed, soon.failure) == (None, 5, 1100.0, "it died")
    assert (soon.ends, soon.exit_status) == ((1090.0, 1100.0), 3)
    assert (late.failures, late.ends, late.exit_status) == (1, (1601.0,), None)
    assert counted(replace(known, phase=STARTING), 1000.0 + 601, "it died").failures == 5
    many = replace(known, ends=tuple(1050.0 + number for number in range(50)))
    assert len(counted(many, 1100.0, "").ends) == 6, "as many as the limit needs"
    without = replace(many, node=node_of(restart_limit=(0, 0.0)))
    assert counted(without, 1100.0, "").ends == ()
