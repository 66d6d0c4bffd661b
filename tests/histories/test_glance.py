"""`tasks` and `status --health` on the made-up machine."""

from __future__ import annotations

import json
from io import StringIO

import pytest

from multi import cli
from multi.act import walk
from multi.cli.screen import Screen
from multi.model.request import Request, RunOptions, Task
from multi.model.work import ActiveTask, Work, encode_work
from multi.testing.world import World, node_of
from scene import beats, running

WORK = Work(2, (ActiveTask("orders.export", "3f2a77aa", 41.0, 300.0), ActiveTask("mail.send", "9c01bb22", 2.0)), 3, 1)


def multi(world: World, *words: str) -> tuple[int, str, str]:
    """One command line: its exit code, and what it prints and complains about."""
    out, err, fake = StringIO(), StringIO(), world.fake()
    code = cli.serve([words[0], "--pidfile=/run/%n.pid", *words[1:]], Screen(out, err, {}), {}, fake)
    fake.close()
    return code, out.getvalue(), err.getvalue()


def test_tasks() -> None:
    """Each worker tells what it has in hand; one without a plug-in is named once, and one that is down is not asked."""
    world = World()
    running(world, "w1", answers=lambda word: encode_work(WORK) if word == "tasks" else "")
    running(world, "w2", answers=lambda _: '{"count": 0, "state": "draining"}')
    running(world, "w3")
    running(world, "w4")
    code, out, err = multi(world, "tasks")
    assert code == 0, (out, err)
    assert out.splitlines() == [
        "w1@host: 2 tasks; 3 reserved; 1 ETA",
        "    orders.export  3f2a  41s  limit 300s",
        "    mail.send      9c01   2s",
        "w2@host: no task; draining",
    ]
    assert err == (
        "multi: w3 w4: cannot tell, because no plug-in of multi runs in the worker; "
        "'multi help tasks' says where there is one\n"
    )
    assert multi(world, "tasks", "w1", "w3")[0] == 1
    (shown, other) = json.loads(multi(world, "tasks", "w1", "w3", "--json")[1])
    assert shown["tasks"]["active"][0] == {
        "name": "orders.export",
        "id": "3f2a77aa",
        "seconds": 41.0,
        "limit": 300.0,
        "acks_late": False,
    }
    assert (other["tasks"], other["why"]) == (None, "it has no socket")
    assert "processes" not in {call[0] for fake in world.fakes for call in fake.calls}


def test_tasks_of_a_worker_that_does_not_answer() -> None:
    """It is busy since its last beat, by the clock on the wall; one that is down has no tasks."""
    world = World()
    node = node_of()
    running(world, answers=lambda _: "")
    world.rest(4000)
    beats(world, node, ago=3700)
    code, out, _ = multi(world, "tasks")
    assert code == 1
    assert out.startswith("w1@host: busy since 20")
    assert out.endswith(": it does not answer within 1.5s\n")
    assert len(out.split(": ")[1]) in {len("busy since 14:02"), len("busy since 2026-11-21 14:02")}
    running(world, "w2", answers=lambda _: "[1,")
    assert multi(world, "tasks", "w2")[1] == "w2@host: it answered something else than its tasks\n"
    fake = world.fake()
    list(walk([Task(node_of(each), Request("stopwait")) for each in ("w1", "w2")], RunOptions(), fake))
    fake.close()
    assert multi(world, "tasks")[:2] == (0, "w1@host: not running\nw2@host: not running\n")
    assert multi(world, "tasks", "w1")[0] == 1


BUSY = {
    "POOL": "solo",
    "BLOCKS": "1",
    "ACTIVE": "1",
    "OLDEST_USEC": "90000000",
    "OLDEST_NAME": "a",
    "OLDEST_ID": "7",
}


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        ({}, 0, "running, last beat 0.0s ago"),
        ({"ago": 31.0}, 1, "running, wedged since 31s: its loop does not turn, last beat 31s ago"),
        ({"ago": 31.0, "STATE": "waiting", "WHY": "refused"}, 0, "waits for broker since 50s: refused"),
        ({"ago": 31.0, **BUSY}, 0, "busy since 31s: a 7 "),
        ({"ago": 31.0, **BUSY, "OLDEST_LIMIT": "5"}, 1, "wedged since 31s: a 7 "),
        ({"DRAINED": "1", "STATE": "draining"}, 0, "running, draining, last beat"),
        ({"MULTI_INSTANCE": "of another start", "ago": 99.0}, 0, "healthy: running\n"),
    ],
)
def test_health_by_the_heartbeat(said: dict[str, object], code: int, text: str) -> None:
    """A wedged worker is unhealthy; one that waits for its broker, is busy, drains or has no heartbeat is not."""
    world = World()
    running(world)
    world.rest(100.0)
    beats(world, node_of(), **said)  # type: ignore[arg-type]  # by name
    found = multi(world, "status", "--health", "w1")
    assert found[0] == code
    assert found[1].startswith(f"w1@host: {'un' if code else ''}healthy: ")
    assert text in found[1]


def test_health_by_the_state() -> None:
    """One that runs or ends as it was told is healthy; one that is dead, stopped, suspended or not ready is not."""
    world = World()
    body = running(world)
    assert multi(world, "status", "--health", "w1") == (0, "w1@host: healthy: running\n", "")
    assert multi(world, "status", "--health", "--quiet", "w1") == (0, "", "")
    (shown,) = json.loads(multi(world, "status", "--health", "--json", "w1")[1])
    assert (shown["healthy"], shown["state"], shown["heartbeat"]) == (True, "running", None)
    body.suspended = True
    assert multi(world, "status", "--health", "w1")[0] == 1
    body.suspended = False
    world.end(body, 1)
    code, out, _ = multi(world, "status", "--health")
    assert (code, out.startswith("w1@host: unhealthy: dead, ")) == (1, True)
    running(world, "w2", ready="notify")
    assert multi(world, "status", "--health", "w2")[:2] == (1, "w2@host: unhealthy: starting\n")
    assert multi(world, "status", "--health", "w1", "w2")[0] == 1


def test_health_reads_no_process_table() -> None:
    """A probe that asks every few seconds looks at the node's own process alone, and changes nothing (G10)."""
    world = World()
    running(world)
    fake = world.fake()
    words = ["status", "--pidfile=/run/%n.pid", "--health"]
    for more in ([], ["w1"]):
        assert cli.serve([*words, *more], Screen(StringIO(), None, {}), {}, fake) == 0
    assert "processes" not in {call[0] for call in fake.calls}
    assert fake.effects() == []
