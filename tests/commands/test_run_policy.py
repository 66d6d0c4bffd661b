"""Restart policies in `multi run`, and `ensure` beside it, on real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from real import Begun, Real, alive, status, until

FAST = ("--restart-delay=0.1",)


def begin(real: Real, *words: str, cmd: str = "sleep 600") -> Begun:
    """``multi run`` in the background, each node with a log of its own."""
    place = (f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", "--preset=exec", "--startsecs=0")
    return real.begin("run", *place, f"--cmd={cmd}", *words)


def up(real: Real, *names: str, but: dict[str, int] | None = None) -> dict[str, int]:
    """Wait until all run, as other processes than `but`; their pids."""

    def ready() -> bool:
        if not all(real.pidfile(name).exists() for name in names):
            return False
        return set(real.state(*names).values()) == {"running"} and not any(
            real.pid(name) == (but or {}).get(name) for name in names
        )

    until(ready, f"{names} run")
    return {name: real.pid(name) for name in names}


def end(real: Real, begun: Begun) -> str:
    """TERM, and all that it said."""
    begun.process.send_signal(signal.SIGTERM)
    out = begun.done().ok().out
    assert real.family() == []
    return out


def tally(real: Real) -> Path:
    """A file that gets a letter for each start, by `counting`."""
    return real.base / "tally"


def counting(real: Real, rest: str) -> str:
    """A shell that adds a letter to the tally, then does the rest."""
    return f'sh -c "printf x >> {tally(real)}; {rest}"'


@pytest.mark.parametrize(("policy", "code"), [("on-failure", 0), ("on-failure", 3), ("always", 0)])
def test_who_is_started_again(real: Real, policy: str, code: int) -> None:
    """`on-failure` goes by the exit status, `always` does not ask; the last end is the exit code of a single node."""
    words = (f"--restart={policy}", "--restart-limit=2/60s", "--exit-ok=0", *FAST)
    done = begin(real, "a", *words, cmd=counting(real, f"exit {code}")).done().exits(code)
    again = policy == "always" or code != 0
    assert tally(real).read_text(encoding="ascii") == ("xxx" if again else "x")
    record = real.record("a")
    if again:
        assert "given up: it ended 3 times within 60s" in done.out + done.err
        assert record["gave_up"]
        assert "given up" in real.multi("status", "a").exits(1).out
        real.multi("ensure", "a").exits(1)
        assert tally(real).read_text(encoding="ascii") == "xxx", "ensure leaves it alone"
    else:
        assert "it exited with status 0" in done.out
        assert real.state("a") == {"a": "stopped"}
        real.multi("ensure", "a")
        assert tally(real).read_text(encoding="ascii") == "x"
    (real.base / "stay").touch()
    real.multi("start", "a", "--startsecs=0", "--cmd=sleep 600", "--preset=exec").ok()
    assert real.record("a")["gave_up"] == ""


def test_several_go_on_with_the_others(real: Real) -> None:
    """What is given up ends nobody else, and is held again when another command starts it; TERM then is exit 1."""
    words = ("--restart=on-failure", "--restart-limit=1/60s", *FAST)
    flag = real.base / "good"
    begun = begin(real, "a", "b", *words, f"--cmd:b=sh -c 'test -e {flag} && exec sleep 600; exit 4'")
    until(lambda: real.recordfile("b").exists() and real.record("b")["gave_up"], "b is given up")
    kept = up(real, "a")
    flag.touch()
    real.multi("start", "b").ok()
    until(lambda: real.record("b")["runner_pid"] == begun.process.pid, "run holds it")
    started = up(real, "b")
    os.kill(started["b"], signal.SIGKILL)
    up(real, "b", but=started)
    assert real.pid("a") == kept["a"]
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().exits(1)
    assert "another command started it" in done.out
    assert real.family() == []


def test_one_that_is_given_up_may_end_all(real: Real) -> None:
    """--exit-when-one-gives-up stops the others: exit 1."""
    words = ("--restart=always", "--restart-limit=1/60s", "--exit-when-one-gives-up", *FAST)
    done = begin(real, "a", "b", *words, "--cmd:b=false").done().exits(1)
    assert "given up" in done.err
    assert real.family() == []
    assert real.state("a") == {"a": "stopped"}


def test_run_follows_the_record(real: Real) -> None:
    """Stopped, started, restarted, forgotten and changed by other commands; no end that was asked for is a failure."""
    begun = begin(real, "a", "b", "--restart=always", *FAST)
    first = up(real, "a", "b")
    real.multi("stopwait", "a").ok()
    assert real.state("a") == {"a": "stopped"}
    real.multi("start", "a").ok()
    second = up(real, "a", but=first)
    until(lambda: real.record("a")["runner_pid"] == begun.process.pid, "run holds it again")
    real.multi("restart", "a").ok()
    third = up(real, "a", but=second)
    os.kill(third["a"], signal.SIGKILL)
    up(real, "a", but=third)
    assert real.record("a")["failures"] == 1
    real.multi("stopwait", "b").ok()
    real.multi("forget", "b").ok()
    real.start("b").ok()
    begun.process.send_signal(signal.SIGTERM)
    begun.done().ok()
    assert real.state("b") == {"b": "running"}, "forgotten, it is nobody's, and not stopped with the others"
    real.multi("stopwait", "b").ok()


def test_a_stop_while_it_waits_for_its_turn_ends_run(real: Real) -> None:
    """The only node is stopped by another command during its pause: nothing is left to stay with."""
    begun = begin(real, "a", "--restart=always", "--restart-delay=600", cmd=counting(real, "exit 1"))
    until(lambda: real.recordfile("a").exists() and real.record("a")["exit_status"] == 1, "it has ended")
    real.multi("stop", "a").ok()
    begun.done().ok()
    assert tally(real).read_text(encoding="ascii") == "x"


def test_term_while_it_waits_for_its_turn(real: Real) -> None:
    """Nothing runs, so nothing is waited for, and the node is on record as stopped."""
    begun = begin(real, "a", "--restart=always", "--restart-delay=600", cmd="false")
    until(lambda: real.recordfile("a").exists() and real.record("a")["exit_status"] == 1, "it has ended")
    begun.process.send_signal(signal.SIGTERM)
    assert begun.done().ok().seconds < 60
    assert real.state("a") == {"a": "stopped"}


def test_ensure_leaves_alone_what_a_living_run_holds(real: Real) -> None:
    """Also what is dead and waits for its turn; once `run` was killed, `ensure` goes by the same count."""
    begun = begin(real, "a", "--restart=always", "--restart-delay=600", cmd=counting(real, "exit 1"))
    until(lambda: real.recordfile("a").exists() and real.record("a")["exit_status"] == 1, "it has ended")
    assert real.multi("ensure", "a").ok().out == ""
    begun.process.kill()
    begun.process.wait(20)
    real.multi("ensure", "a").exits(1)
    assert tally(real).read_text(encoding="ascii") == "x", "its pause is not over"


def test_g3_a_run_that_was_killed_is_followed_by_the_next(real: Real) -> None:
    """G3: its nodes live on, and the next `run` takes them, or restarts what runs otherwise than is asked now.

    It takes what another command has restarted meanwhile, too.
    """
    begun = begin(real, "a", "b", "c", "--restart=always", *FAST)
    before = up(real, "a", "b", "c")
    begun.process.kill()
    begun.process.wait(20)
    real.multi("restart", "c").ok()
    restarted = up(real, "c", but=before)
    again = begin(real, "a", "b", "c", "--restart=always", "--env:b=NEW=1", *FAST)
    until(lambda: real.record("a")["runner_pid"] == again.process.pid, "it is taken")
    until(lambda: real.record("c")["runner_pid"] == again.process.pid, "it is taken")
    after = up(real, "a", "b", "c", but={"b": before["b"]})
    assert (after["a"], after["c"]) == (before["a"], restarted["c"])
    assert not alive(before["b"])
    os.kill(after["a"], signal.SIGKILL)
    up(real, "a", but=after)
    assert "its 'multi run' is gone" in end(real, again)


def test_nothing_wakes_it_while_nothing_is_due(real: Real) -> None:
    """Not once, with nodes that run, one that was given up, and one whose turn comes later."""
    words = ("--restart=always", "--restart-limit:b=1/60s", "--restart-delay:b=0", "--restart-delay:c=600")
    begun = begin(real, "a", "b", "c", *words, "--cmd:b=false", "--cmd:c=false")
    until(lambda: real.recordfile("b").exists() and real.record("b")["gave_up"], "b is given up")
    until(lambda: real.recordfile("c").exists() and real.record("c")["exit_status"] == 1, "c waits")

    def sleeps(seconds: float) -> bool:
        before = status(begun.process.pid)["voluntary_ctxt_switches"]
        with pytest.raises(AssertionError):
            until(lambda: False, "time passes", seconds=seconds)
        return status(begun.process.pid)["voluntary_ctxt_switches"] == before

    until(lambda: sleeps(3), "it sleeps once it has told all that")
    begun.process.send_signal(signal.SIGTERM)
    begun.done()


def test_what_it_tells_programs(real: Real) -> None:
    """``--json`` and the history have the end, the pause, and that it was given up."""
    words = ("--restart=always", "--restart-limit=1/60s", "--json", *FAST)
    done = begin(real, "a", *words, cmd="sh -c 'echo last words; exit 3'").done().exits(3)
    events = [json.loads(line) for line in done.out.splitlines()]
    told = [(each["event"], each["exit_status"]) for each in events if each["event"] in {"retrying", "gave_up"}]
    assert told == [("retrying", 3), ("gave_up", 3)]
    assert events[-1]["log_tail"] == ["last words"]
    past = [each["event"] for each in map(json.loads, real.multi("history", "a", "--json").ok().out.splitlines())]
    assert [each for each in past if each in {"retrying", "gave_up"}] == ["retrying", "gave_up"]
    assert "was given up at" in real.multi("why", "a").out


def test_a_program_that_is_gone_is_told_each_time(real: Real) -> None:
    """A start that fails before the program runs is an end like others: told, counted, and given up by the limit."""
    program = real.base / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    begun = begin(real, "a", "--restart=always", "--restart-limit=2/60s", "--restart-delay=0", cmd=str(program))
    pid = up(real, "a")["a"]
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    done = begun.done()
    assert done.code != 0
    assert f"it was killed by signal 9 (KILL) (pid {pid}); starting it again" in done.out
    assert "no such file" in done.out
    assert "given up: it ended 3 times within 60s" in done.err
