"""Histories of liveness, limits and hooks on the made-up machine: `ensure` comes by each minute, `run` stays."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from crowd import Crowd
from multi import act, observe, views
from multi.act import hooks
from multi.machine import MachineError
from multi.model.event import Event, Gone, Hooked, Interrupted, Readied, Recycling, Signalled, Unhealthy
from multi.model.node import Node, Ready
from multi.model.request import Request, RunOptions, Task, traits
from multi.testing.world import Fake, Nature, World, node_of

TERM = int(signal.SIGTERM)
TCP = "127.0.0.1:80"
NODE = node_of(alive=Ready("tcp", TCP), hooks=(("unhealthy", "tell"), ("failed", "tell"), ("recovered", "tell")))
NAME = NODE.name


def started(*nodes: Node) -> World:
    """Make a world in which these nodes run; the answer to every probe is yes."""
    world = World()
    world.answers[TCP] = 0.0
    list(act.walk([Task(node, Request("start")) for node in nodes], RunOptions(), world.fake()))
    assert all(world.mains(node.pidfile) for node in nodes)
    return world


def ensure(world: World, *nodes: Node, fake: Fake | None = None) -> list[Event]:
    """Come by once."""
    fake = fake or world.fake()
    tasks = [Task(node, Request("ensure", recorded=node, named=False)) for node in nodes]
    return list(act.ensure(tasks, {}, RunOptions(), fake))


def kinds(events: list[Event]) -> list[str]:
    """Give the kinds of events, but for those of every start."""
    return [type(event).__name__ for event in events if type(event).__name__ not in {"Spawned", "Cleared"}]


def each_minute(world: World, runs: int, *nodes: Node) -> list[list[str]]:
    """Come by once a minute."""
    seen = []
    for _ in range(runs):
        world.rest(60)
        seen.append(kinds(ensure(world, *nodes)))
    return seen


RESTARTED = ["Unhealthy", "Signalled", "Gone", "Readied"]


def test_three_failures_are_three_runs_of_ensure() -> None:
    """The third restarts the node by its own schedule, and the new process begins anew."""
    world = started(NODE)
    assert each_minute(world, 2, NODE) == [["Skipped"]] * 2
    world.fails[TCP] = world.time
    (before,) = world.mains(NODE.pidfile)
    assert each_minute(world, 3, NODE) == [["Skipped"], ["Skipped"], RESTARTED]
    (after,) = world.mains(NODE.pidfile)
    assert before.gone
    assert after.proc != before.proc
    assert each_minute(world, 3, NODE) == [["Skipped"], ["Skipped"], RESTARTED]


def test_two_runs_at_once_count_once() -> None:
    """`alive_every` holds for `ensure`, too, however often cron or a script calls it."""
    world = started(NODE)
    world.fails[TCP] = 0.0
    world.rest(60)
    for _ in range(5):
        assert kinds(ensure(world, NODE)) == ["Skipped"]
        world.rest(1)
    record = observe.recall(NODE, world.fake())
    assert record is not None
    known = observe.health(record, world.fake())
    assert known is not None
    assert known.failures == 1


def test_a_node_that_answers_in_time_is_left_alone() -> None:
    """Two failures, then a yes: it begins to count anew, and nothing was restarted."""
    world = started(NODE)
    world.fails[TCP] = world.time
    each_minute(world, 2, NODE)
    del world.fails[TCP]
    each_minute(world, 1, NODE)
    world.fails[TCP] = world.time
    assert each_minute(world, 2, NODE) == [["Skipped"], ["Skipped"]]


def test_an_answer_that_never_comes_is_a_no_after_half_a_minute() -> None:
    """`ensure` waits for all of them together, and no longer."""
    nodes = [node_of(f"w{number}", alive=Ready("tcp", TCP)) for number in range(5)]
    world = started(*nodes)
    world.hangs.add(TCP)
    world.rest(60)
    began = world.time
    assert set(kinds(ensure(world, *nodes))) == {"Skipped"}
    assert 30 <= world.time - began < 31
    seen = views.look(nodes[:1], world.fake().processes(), world.fake())
    assert seen[0].health is not None
    assert (seen[0].health.failures, seen[0].health.why) == (1, "no answer after 30s")


@pytest.mark.parametrize("how", ["suspended", "stopping", "starting", "stopped"])
def test_only_what_runs_and_is_ready_is_asked(how: str) -> None:
    """Not what somebody suspended, nor what is on its way down or up: an answer would mean nothing."""
    node = NODE
    world = started(node)
    world.fails[TCP] = 0.0
    (main,) = world.mains(node.pidfile)
    if how == "suspended":
        main.suspended = True
    if how == "stopping":
        world.natures[NAME] = Nature(ignores=frozenset({TERM}))
        main.nature = world.natures[NAME]
        list(act.walk([Task(node, Request("stop"))], RunOptions(), world.fake()))
    if how == "starting":
        node = node_of(ready="notify", alive=Ready("tcp", TCP))
        world = World()
        world.fails[TCP] = 0.0
        world.natures[NAME] = Nature(says=((0.0, {"STATUS": "no broker", "X_MULTI_WAITS": "broker"}),))
        list(act.walk([Task(node, Request("start"))], RunOptions(keep_unready=True), world.fake()))
    if how == "stopped":
        list(act.walk([Task(node, Request("stopwait"))], RunOptions(), world.fake()))
    for _ in range(1 if how == "starting" else 5):
        world.rest(60)
        fake = world.fake()
        ensure(world, node, fake=fake)
        assert not [call for call in fake.calls if call[0] == "probe"]


def test_a_failure_while_somebody_stops_it_is_none() -> None:
    """Its connections are refused because it is ending."""
    world = started(NODE)
    world.fails[TCP] = 0.0
    world.natures[NAME] = Nature(ends={TERM: (1000.0, 0)})
    (main,) = world.mains(NODE.pidfile)
    main.nature = world.natures[NAME]
    world.probe_takes = 10.0
    world.rest(60)
    fake = world.fake()

    def stop() -> None:
        list(act.walk([Task(NODE, Request("stop"))], RunOptions(), world.fake()))

    world.after(5.0, stop)
    ensure(world, NODE, fake=fake)
    record = observe.recall(NODE, fake)
    assert record is not None
    known = observe.health(record, fake)
    assert known is not None
    assert known.failures == 0


def test_what_cannot_be_written_fails_nothing() -> None:
    """A full disk: the node is asked, and nothing is counted."""
    world = started(NODE)
    world.fails[TCP] = 0.0
    for _ in range(5):
        world.rest(60)
        fake = world.fake()

        def full(_: int, call: tuple[object, ...]) -> None:
            if call[0] == "append":
                raise MachineError("cannot write", "No space left on device")

        fake.trap = full
        assert kinds(ensure(world, NODE, fake=fake)) == ["Skipped"]


def test_status_shows_the_last_verdict_and_asks_nobody() -> None:
    """Why, since when, and how old it is."""
    world = started(NODE)
    world.fails[TCP] = world.time
    each_minute(world, 2, NODE)
    world.rest(7)
    fake = world.fake()
    (view,) = views.look([NODE], fake.processes(), fake)
    assert not [call for call in fake.calls if call[0] in {"probe", "append", "write"}]
    assert view.unhealthy == ""
    assert view.health is not None
    assert view.health.failures == 2
    assert view.asked_ago == pytest.approx(7, abs=0.1)


@pytest.mark.parametrize("written", [True, False])
def test_a_file_has_to_be_written_again_and_again(written: bool) -> None:
    """A node that writes each time is healthy, one that does not is restarted at the third question after the first."""
    node = node_of(alive=Ready("file", "/run/beat"))
    world = started(node)
    world.files["/run/beat"] = type(world.files["/run"])(data=b"0")
    seen = []
    for number in range(4):
        world.rest(60)
        if written:
            world.files["/run/beat"] = type(world.files["/run"])(data=b"%d" % number)
        seen.append(kinds(ensure(world, node)))
    assert (seen[-1] == RESTARTED) is not written


def test_a_watchdog_is_not_heard_by_ensure() -> None:
    """It says nothing of the node, so it restarts nobody."""
    node = node_of(alive=Ready("watchdog", "10"))
    world = started(node)
    assert each_minute(world, 5, node) == [["Skipped"]] * 5


def beat(world: World, node: Node, age: float, **fields: object) -> None:
    """Write the heartbeat of its worker, which turned `age` seconds ago."""
    (main,) = world.mains(node.pidfile)
    assert main.instance is not None
    usec = int((world.time - age) * 1e6)
    lines = {"MULTI_INSTANCE": main.instance.token, "MONOTONIC_USEC": usec, "STATE": "consuming", **fields}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    world.files[node.heartbeatfile] = type(world.files["/run"])(data=text.encode())


TASK = {"ACTIVE": 1, "BLOCKS": 1, "POOL": "solo", "OLDEST_NAME": "orders.export", "OLDEST_ID": "3f2a"}


@pytest.mark.parametrize(
    ("age", "fields", "restarted"),
    [
        (1.0, {}, False),
        (100.0, {"STATE": "waiting", "WHY": "broker"}, False),  # a broker that is down restarts nobody
        (100.0, {**TASK, "OLDEST_LIMIT": 1000}, False),  # busy, within its limit
        (100.0, {**TASK}, False),  # busy, and nothing says for how long it may
        (100.0, {**TASK, "OLDEST_LIMIT": 50}, True),
        (100.0, {}, True),
        (100.0, {"MULTI_INSTANCE": "another"}, False),  # of a start before; nothing is known of this one
    ],
)
def test_a_heartbeat_tells_the_wedged_from_the_busy(age: float, fields: dict[str, object], restarted: bool) -> None:
    """A worker that waits or works is left alone; one whose loop does not turn for no reason is restarted."""
    node = node_of(alive=Ready("heartbeat", "30"))
    world = started(node)
    seen = []
    for _ in range(3):
        world.rest(60)
        if "OLDEST_NAME" in fields:
            fields["OLDEST_USEC"] = int((world.time - age) * 1e6)
        beat(world, node, age, **fields)
        seen.append(kinds(ensure(world, node)))
    assert (seen[-1] == RESTARTED) is restarted


# --- limits ---------------------------------------------------------------------------------------------


def test_ensure_recycles_one_of_a_group_each_time() -> None:
    """What is too large, and what is too old; the others of its group go on meanwhile."""
    nodes = [node_of(f"w{number}", max_memory=1 << 20) for number in range(3)]
    world = started(*nodes)
    for node in nodes:
        world.mains(node.pidfile)[0].rss = 2 << 20
    for _ in range(3):
        events = ensure(world, *nodes)
        assert [type(event) for event in events if isinstance(event, (Recycling, Readied))] == [Recycling, Readied]
        world.rest(60)
    assert not [event for event in ensure(world, *nodes) if isinstance(event, Recycling)]


def test_a_node_of_age_is_recycled_and_begins_anew() -> None:
    """By the age of its process, whatever the clock on the wall does."""
    node = node_of(max_age=3600.0)
    world = started(node)
    world.rest(3200)
    world.skew = 1e6
    assert kinds(ensure(world, node)) == ["Skipped"]
    world.rest(400)
    assert kinds(ensure(world, node)) == ["Recycling", "Signalled", "Gone", "Readied"]
    world.rest(3200)
    assert kinds(ensure(world, node)) == ["Skipped"]


def test_a_recycled_node_has_its_whole_schedule() -> None:
    """G6: a limit is no reason to cut tasks off."""
    node = node_of(stop="TERM/600/KILL/5", max_age=60.0)
    world = started(node)
    (main,) = world.mains(node.pidfile)
    main.nature = Nature(ends={TERM: (500.0, 0)})
    world.rest(61)
    events = ensure(world, node)
    assert [event.signum for event in events if isinstance(event, Signalled)] == [TERM]
    assert [event.after for event in events if isinstance(event, Gone)] == [pytest.approx(500, abs=1)]


def test_a_dry_run_asks_nobody_and_says_what_is_due() -> None:
    """By the last answers, and by the limits as they are now."""
    large = node_of("w2", max_memory=1 << 20)
    world = started(NODE, large)
    world.fails[TCP] = world.time
    each_minute(world, 2, NODE)
    world.mains(large.pidfile)[0].rss = 2 << 20
    fake = world.fake()
    tasks = [Task(node, Request("ensure", recorded=node, named=False)) for node in (NODE, large)]
    (first, second) = act.foreseen(tasks, {}, fake)
    assert first.request.due is None
    assert second.request.due is not None
    assert second.request.due.why == "its 2.0M of memory are above max_memory = 1.0M"
    assert not [call for call in fake.calls if call[0] in {"probe", "append", "write", "signal", "lock"}]


# --- hooks ----------------------------------------------------------------------------------------------


def test_a_hook_is_told_once_for_each_end() -> None:
    """An end that `ensure` finds, the start after it, and what an unhealthy node was restarted for."""
    world = started(NODE)

    def come_by() -> list[str]:
        before = len(world.hooked)
        fake = world.fake()
        tasks = [Task(NODE, Request("ensure", recorded=NODE, named=False))]
        events = act.ensure(tasks, {}, RunOptions(), fake)
        list(act.hooked(events, [NODE], traits("ensure"), lambda *_: lambda *_: None, fake))
        return [event for _, event, _ in world.hooked[before:]]

    world.rest(60)
    assert come_by() == []
    (main,) = world.mains(NODE.pidfile)
    world.end(main, 3)
    world.rest(60)
    assert come_by() == ["failed", "recovered"]
    world.rest(60)
    assert come_by() == []
    world.fails[TCP] = world.time
    for expected in ([], [], ["unhealthy", "recovered"]):
        world.rest(60)
        assert come_by() == expected
    assert (
        world.hooked[-2][2]["why"]
        == "alive = tcp:127.0.0.1:80 failed 3 times in 2m 0s: 127.0.0.1:80: Connection refused"
    )
    assert world.hooked[-2][2]["node"] == NAME


@pytest.mark.parametrize(("takes", "waited"), [(1.0, 1.0), (60.0, hooks.LINGER)])
def test_a_command_waits_a_moment_for_its_hooks(takes: float, waited: float) -> None:
    """One that hangs holds up nothing, and is reported."""
    world = started(NODE)
    world.hook_takes["tell"] = takes
    (main,) = world.mains(NODE.pidfile)
    world.end(main, 3)
    world.rest(60)
    began = world.time
    fake = world.fake()
    events = act.ensure([Task(NODE, Request("ensure", recorded=NODE))], {}, RunOptions(), fake)
    seen = list(act.hooked(events, [NODE], traits("ensure"), lambda *_: lambda *_: None, fake))
    ready = [event for event in seen if isinstance(event, Readied)]
    assert ready[0].after < 2
    hooked = [event for event in seen if isinstance(event, Hooked)]
    assert {event.hook for event in hooked} == {"failed", "recovered"}
    assert all(bool(event.why) == (takes > waited) for event in hooked)
    assert world.time - began == pytest.approx(waited + ready[0].after, abs=1.1)


def test_whoever_interrupts_a_command_does_not_wait_for_its_hooks() -> None:
    """Ctrl-C ends it at once; the hooks go on without it."""
    world = started(NODE)
    world.hook_takes["tell"] = 60.0
    (main,) = world.mains(NODE.pidfile)
    world.end(main, 3)
    world.natures[NAME] = Nature(setup_takes=None)
    fake = world.fake()
    world.after(1.0, lambda: fake.interrupt(signal.SIGINT))
    began = world.time
    events = act.ensure([Task(NODE, Request("ensure", recorded=NODE))], {}, RunOptions(), fake)
    seen = list(act.hooked(events, [NODE], traits("ensure"), lambda *_: lambda *_: None, fake))
    assert isinstance(seen[-1], Interrupted)
    assert [event for _, event, _ in world.hooked] == ["failed"]
    assert world.time - began == pytest.approx(1, abs=0.1)


def test_a_hook_that_cannot_be_begun_fails_nothing() -> None:
    """Whatever the machine refuses: the node is started all the same."""
    world = started(NODE)
    (main,) = world.mains(NODE.pidfile)
    world.end(main, 3)
    world.rest(60)
    fake = world.fake()

    def refuse(_: int, call: tuple[object, ...]) -> None:
        if call[0] == "hook":
            raise MachineError("cannot fork", "Resource temporarily unavailable")

    fake.trap = refuse
    events = act.ensure([Task(NODE, Request("ensure", recorded=NODE))], {}, RunOptions(), fake)
    assert "Readied" in kinds(list(act.hooked(events, [NODE], traits("ensure"), lambda *_: lambda *_: None, fake)))


# --- run ------------------------------------------------------------------------------------------------


def run(world: World, seconds: float, *nodes: Node, groups: Mapping[str, str] | None = None) -> list[Event]:
    """Stay with the nodes for so long, then stop them."""
    fake = world.fake()
    world.after(seconds, lambda: fake.interrupt(signal.SIGTERM))
    return list(act.stay(nodes, RunOptions(groups=groups or {}), fake))


def began(world: World) -> World:
    """Make a world where the answer to every probe is yes."""
    world.answers[TCP] = 0.0
    return world


def test_run_restarts_what_fails_three_times_and_leaves_the_others_alone() -> None:
    """Each `alive_every` it asks; a node without a policy is restarted, too."""
    other = node_of("w2")
    world = began(World())
    world.fails[TCP] = world.time + 100
    events = run(world, 290, NODE, other)
    sick = [event for event in events if isinstance(event, Unhealthy)]
    assert [event.node for event in sick] == [NAME, NAME]
    assert "failed 3 times in 60s" in sick[0].why
    assert len([event for event in events if isinstance(event, Readied) and event.node == NAME]) == 3
    assert len([event for event in events if isinstance(event, Readied) and event.node == other.name]) == 1


def test_run_wakes_up_for_nothing_where_nothing_is_due() -> None:
    """Without `alive` and limits there is no deadline; with them there is one each `alive_every`."""
    for node, most in ((node_of(), 30), (node_of(alive=Ready("tcp", TCP)), 200)):
        world = began(World())
        fake = world.fake()
        world.after(900, lambda fake=fake: fake.interrupt(signal.SIGTERM))  # type: ignore[misc]
        list(act.stay([node], RunOptions(), fake))
        assert len([call for call in fake.calls if call[0] == "wait"]) < most


def test_the_restart_limit_holds_for_the_unhealthy() -> None:
    """More often than the limit says it is left running, and restarted when the window has passed."""
    node = node_of(alive=Ready("tcp", TCP), alive_every=1.0, alive_failures=1, restart_limit=(2, 600.0))
    world = began(World())
    world.fails[TCP] = 0.0
    events = run(world, 300, node)
    sick = [event for event in events if isinstance(event, Unhealthy)]
    assert len([event for event in events if isinstance(event, Readied)]) == 3
    assert "not restarted, because it ended 2 times within 600s" in sick[-1].why
    assert len(sick) == 3
    assert len([event for event in run(world, 500, node) if isinstance(event, Readied)]) >= 2


def test_the_word_that_a_node_is_given_up_is_the_last_one() -> None:
    """Also after starts that fail: what was told of the end is not told once more as a further try."""
    node = node_of(restart="on-failure", restart_delay=0.1, restart_limit=(2, 600.0), startsecs=1.0)
    world = World()
    world.natures[NAME] = Nature(lives=0.4, status=3)
    told = [type(event).__name__ for event in run(world, 60, node, node_of("w2")) if getattr(event, "node", "") == NAME]
    assert told.count("GaveUp") == 1
    assert told[-1] == "GaveUp"


def test_a_need_that_does_not_hold_is_told_of_less_and_less_often() -> None:
    """An unhealthy node runs on until its need holds again; the pause between two tries doubles."""
    node = node_of(alive=Ready("tcp", TCP), alive_every=1.0, alive_failures=1, needs=(Ready("tcp", "10.0.0.1:1"),))
    world = began(World())
    world.answers["10.0.0.1:1"] = 0.0
    world.fails[TCP] = world.fails["10.0.0.1:1"] = world.time + 20
    told = [type(event).__name__ for event in run(world, 120, node)]
    assert 3 <= told.count("Retrying") <= 8


def test_a_limit_is_no_failure() -> None:
    """A node that is recycled again and again is never given up."""
    node = node_of(max_age=10.0, restart_limit=(1, 600.0))
    world = World()
    events = run(world, 300, node)
    assert len([event for event in events if isinstance(event, Recycling)]) > 5
    record = observe.recall(node, world.fake())
    assert record is not None
    assert (record.failures, record.ends) == (0, ())


def test_run_recycles_one_of_a_group_at_a_time() -> None:
    """While one of them is on its way, all others of its group run."""
    nodes = [node_of(f"w{number}", max_memory=1 << 20, stop="TERM/100/KILL/5") for number in range(4)]
    world = World()
    for node in nodes:
        world.natures[node.name] = Nature(ends={TERM: (7.0, 0)})
    fake = world.fake()

    def grow() -> None:
        for body in world.offspring():
            body.rss = 2 << 20

    world.after(5.0, grow)
    world.after(400.0, lambda: fake.interrupt(signal.SIGTERM))
    groups = {node.name: "a" if index < 2 else "b" for index, node in enumerate(nodes)}
    down: dict[str, set[str]] = {"a": set(), "b": set()}
    recycled = 0
    for event in act.stay(nodes, RunOptions(groups=groups), fake):
        match event:
            case Recycling(name):
                recycled += 1
                down[groups[name]].add(name)
                assert len(down[groups[name]]) == 1
            case Readied(name):
                down[groups[name]].discard(name)
    assert recycled == 4


@pytest.mark.parametrize("how", ["silent", "trigger", "suspended", "heard"])
def test_run_hears_a_watchdog(how: str) -> None:
    """One that falls silent, or says so itself, is restarted at once; one that somebody holds is not."""
    node = node_of(alive=Ready("watchdog", "10"))
    world = World()
    until = 100 if how == "heard" else 30
    barks = tuple((float(second), {"WATCHDOG": "1"}) for second in range(0, until, 5))
    world.natures[NAME] = Nature(says=(*barks, *([(31.0, {"WATCHDOG": "trigger"})] if how == "trigger" else [])))

    def hold(suspended: bool) -> None:
        for body in world.mains(node.pidfile):
            body.suspended = suspended

    if how == "suspended":
        world.after(29, partial(hold, True))  # noqa: FBT003 -- as it is set
        world.after(80, partial(hold, False))  # noqa: FBT003 -- as it is set
    sick = [event.why for event in run(world, 60, node) if isinstance(event, Unhealthy)]
    expected = {
        "silent": ["alive = watchdog:10: no WATCHDOG=1 for 10s"],
        "trigger": ["alive = watchdog:10: it sent WATCHDOG=trigger"],
    }
    assert sick[:1] == expected.get(how, [])


def test_another_command_may_restart_it_while_it_is_asked() -> None:
    """What was under way says nothing of the new process, which begins anew."""
    world = began(World())
    world.fails[TCP] = 0.0
    world.probe_takes = 20.0

    def restart() -> None:
        list(act.walk([Task(NODE, Request("restart"))], RunOptions(), world.fake()))

    world.after(100.0, restart)
    events = run(world, 170, NODE)
    assert not [event for event in events if isinstance(event, Unhealthy)]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_meanwhile_no_node_runs_twice(seed: int) -> None:
    """G2: `run` and `ensure` want to restart a node that others stop, start and restart; KILL hits some of them."""
    nodes = [node_of(f"w{number}", alive=Ready("tcp", TCP), alive_every=1.0, alive_failures=1) for number in range(2)]
    world = began(World())
    world.fails[TCP] = 0.0

    def check() -> None:
        assert all(len(world.mains(node.pidfile)) <= 1 for node in nodes)

    def command(word: str) -> Callable[[Fake], None]:
        def typed(fake: Fake) -> None:
            tasks = [Task(node, Request(word, recorded=node if word == "ensure" else None)) for node in nodes]
            if word == "ensure":
                list(act.ensure(tasks, {}, RunOptions(), fake))
            else:
                list(act.walk(tasks, RunOptions(), fake))

        return typed

    def stays(fake: Fake) -> None:
        world.after(60, lambda: fake.interrupt(signal.SIGTERM))
        list(act.stay(nodes, RunOptions(), fake))

    words = ("ensure", "restart", "ensure", "stopwait", "start", "ensure")
    crowd = Crowd(world, seed, check, kills=2)
    crowd.run([(world.fake(), stays), *((world.fake(), command(word)) for word in words)])


def test_the_hooks_of_run_hear_of_each_end_and_of_the_last_one() -> None:
    """It ends, is started again, ends once more, and is given up."""
    node = node_of(
        restart="always",
        restart_delay=0.0,
        restart_limit=(1, 600.0),
        hooks=tuple((event, "tell") for event in ("failed", "recovered", "gave_up", "unhealthy")),
    )
    world = World()
    world.natures[NAME] = Nature(lives=20.0, status=3)
    fake = world.fake()
    list(act.hooked(act.stay([node], RunOptions(), fake), [node], traits("run"), lambda *_: lambda *_: None, fake))
    assert [event for _, event, _ in world.hooked] == ["failed", "recovered", "failed", "gave_up"]
    assert all(facts["exit_status"] == 3 for _, event, facts in world.hooked if event == "failed")
