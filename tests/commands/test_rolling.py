"""`restart --rolling` and `apply --rolling` on real nodes: a bad release never takes all of them down."""

from __future__ import annotations

import signal

import pytest

from real import Real, alive, until

NAMES = ("n1", "n2", "n3", "n4", "n5")


def release(real: Real) -> str:
    """A worker whose next release is what the file `release` says: ``good``, or the name of the node that it breaks."""
    (real.base / "release").write_text("good", encoding="ascii")
    code = (
        "import sys, time\n"
        f"if open({str(real.base / 'release')!r}).read() == sys.argv[1]: sys.exit('bad release')\n"
        "time.sleep(600)"
    )
    return real.shell_words(code, "%n")


def pids(real: Real) -> dict[str, int]:
    """Short name -> pid."""
    return {name: real.pid(name) for name in NAMES if real.pidfile(name).exists()}


def order(events: list[dict[str, object]], *kinds: str) -> list[str]:
    """The events of some kinds in their order, as ``KIND NAME``."""
    return [f"{one['event']} {str(one['node']).partition('@')[0]}" for one in events if one["event"] in kinds]


def shorts(event: dict[str, object], key: str) -> list[str]:
    """A list of full names in an event, as short ones."""
    names = event[key]
    assert isinstance(names, list)
    return [str(name).partition("@")[0] for name in names]


def test_each_is_ready_before_the_next_is_touched(real: Real) -> None:
    """One at a time: stop, start, ready; then the next."""
    real.start(*NAMES, cmd=release(real), startsecs=0.1).ok()
    before = pids(real)
    done = real.multi("restart", *NAMES, "--rolling", "--json").ok()
    steps = [f"{kind} {name}" for name in NAMES for kind in ("signalled", "gone", "spawned", "ready")]
    assert order(done.events, "signalled", "gone", "spawned", "ready") == steps
    after = pids(real)
    assert all(before[name] != after[name] for name in NAMES)
    assert "halted" not in {one["event"] for one in done.events}


def test_never_more_than_n_are_down(real: Real) -> None:
    """With ``--rolling=2`` two are under way at most, and more than one at some moment."""
    real.start(*NAMES, cmd=release(real), startsecs=0.2).ok()
    done = real.multi("restart", *NAMES, "--rolling=2", "--json").ok()
    down: set[object] = set()
    most = 0
    for one in done.events:
        if one["event"] == "signalled":
            down.add(one["node"])
        elif one["event"] == "ready":
            down.discard(one["node"])
        most = max(most, len(down))
    assert most == 2
    assert len(pids(real)) == 5


def test_it_stops_at_the_first_failure(real: Real) -> None:
    """The release breaks n3: n1 and n2 run the new, n4 and n5 the old; the last lines say so, and what to type."""
    real.start(*NAMES, cmd=release(real), startsecs=0.2).ok()
    before = pids(real)
    (real.base / "release").write_text("n3", encoding="ascii")
    done = real.multi("restart", *NAMES, "--rolling").exits(1)
    host = done.out.partition("n1@")[2].partition(":")[0]
    last = (
        f"multi: stopped at the first failure; new: n1@{host} n2@{host}; down: n3@{host}; "
        f"as before: n4@{host} n5@{host}"
    )
    said, hint = done.err.splitlines()[-2:]
    assert said == last
    right = "    hint: put right why it failed, then type: multi restart --rolling "
    assert hint.startswith(right)
    assert hint.endswith(" n1 n2 n3 n4 n5")
    assert f"n3@{host}: failed: it exited with status 1" in done.err
    assert "| bad release" in done.err
    after = pids(real)
    assert {name for name in NAMES if after.get(name) == before[name]} == {"n4", "n5"}
    assert real.state(*NAMES) == {"n1": "running", "n2": "running", "n3": "dead", "n4": "running", "n5": "running"}


def test_those_under_way_come_to_their_end(real: Real) -> None:
    """With a width of two, the one beside the failing one is finished, and counts as new."""
    code = (
        "import sys, time\n"
        f"if sys.argv[1] == 'n1' and open({str(real.base / 'release')!r}).read() == 'n1': sys.exit(1)\n"
        "time.sleep(600)"
    )
    (real.base / "release").write_text("good", encoding="ascii")
    real.start(*NAMES, cmd=real.shell_words(code, "%n"), startsecs=0.5).ok()
    (real.base / "release").write_text("n1", encoding="ascii")
    done = real.multi("restart", *NAMES, "--rolling=2", "--json").exits(1)
    halted = done.events[-1]
    assert halted["event"] == "halted"
    assert {key: shorts(halted, key) for key in ("new", "failed", "unfinished", "untouched")} == {
        "new": ["n2"],
        "failed": ["n1"],
        "unfinished": [],
        "untouched": ["n3", "n4", "n5"],
    }


def test_one_that_does_not_stop_is_a_failure(real: Real) -> None:
    """A node that outlives its schedule is not started a second time, and ends the round."""
    (real.base / "release").write_text("good", encoding="ascii")
    real.start("n1", "n2", cmd=real.worker("--ignore", "TERM"), startsecs=0.3).ok()
    before = {name: real.pid(name) for name in ("n1", "n2")}
    done = real.multi("restart", "n1", "n2", "--rolling", "--stop-schedule=TERM/0.3").exits(1)
    assert "still there" in done.err
    assert "failed: n1@" in done.err.splitlines()[-2]
    assert "as before: n2@" in done.err.splitlines()[-2]
    assert {name: real.pid(name) for name in ("n1", "n2")} == before
    assert all(map(alive, before.values()))


def test_a_node_that_was_down_is_started_in_its_turn(real: Real) -> None:
    """`restart` means that all run afterwards."""
    real.start(*NAMES, cmd=release(real)).ok()
    real.multi("stop", "n2").ok()
    until(lambda: not real.processes("n2"), "n2 is gone")
    real.multi("restart", "--rolling", *NAMES).ok()
    assert set(real.state(*NAMES).values()) == {"running"}


def test_without_rolling_one_failure_holds_up_no_other(real: Real) -> None:
    """All at once: the others are restarted, and the one that failed is named."""
    real.start(*NAMES, cmd=release(real), startsecs=0.3).ok()
    before = pids(real)
    (real.base / "release").write_text("n3", encoding="ascii")
    done = real.multi("restart", *NAMES).exits(1)
    assert "n3@" in done.err
    assert "stopped at the first failure" not in done.err
    assert {name for name, pid in pids(real).items() if before[name] != pid} == {"n1", "n2", "n4", "n5"}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_g3_an_interrupted_round_says_where_it_was(real: Real, signum: int) -> None:
    """Ctrl-C while the second one stops: what is new, under way and as before is told; the next restart goes on."""
    real.start(*NAMES, cmd=real.worker("--finish", "1.5"), startsecs=0.1).ok()
    before = pids(real)
    begun = real.begin("restart", f"--pidfile={real.run}/%n.pid", *NAMES, "--rolling", "--json")
    until(lambda: real.state("n2") == {"n2": "stopping"}, "the second one is asked to stop")
    begun.process.send_signal(signum)
    done = begun.done().exits(130)
    halted = done.events[-2]
    assert shorts(halted, "unfinished") == ["n2"]
    assert shorts(halted, "new") == ["n1"]
    assert shorts(halted, "untouched") == ["n3", "n4", "n5"]
    assert {name for name in NAMES if real.pidfile(name).exists() and real.pid(name) == before[name]} >= {"n3", "n4"}
    real.multi("restart", "n2").ok()
    assert real.state("n2") == {"n2": "running"}


@pytest.mark.parametrize("width", ["0", "-1", "x", "1.5", ""])
def test_g9_a_width_that_is_none(real: Real, width: str) -> None:
    """What is no number of nodes is a mistake, and nothing is done."""
    real.start("n1").ok()
    before = real.pid("n1")
    done = real.multi("restart", "n1", f"--rolling={width}").exits(2)
    assert "is not a number of nodes" in done.err
    assert real.pid("n1") == before
