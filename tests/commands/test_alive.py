"""Liveness, limits and hooks under `ensure`, on real processes: cron comes by, and what hangs is restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.model.health import Health, decode, encode
from multi.value import replace
from real import Begun, Real, alive, until

EVERY = "--alive-every=30"  # and an answer may take as long


def state(real: Real, name: str = "a") -> dict[str, object]:
    """What `status --json` says."""
    (view,) = json.loads(real.inside("status", "--json", name).out)
    assert isinstance(view, dict)
    return view


def come_by(real: Real, *words: str) -> str:
    """One run, as cron does it, when the node is to be asked again: time is not waited for here."""
    file = real.run / "a.health"
    token = str(real.record("a")["token"])
    known = decode(file.read_bytes(), token) if file.exists() else Health(token, 0.0)
    assert known is not None
    file.write_bytes(encode(replace(known, asked=0.0)))
    return real.multi("ensure", *words).ok().out


def test_three_failures_are_a_restart_by_the_own_schedule(real: Real) -> None:
    """The third run of `ensure` stops the node, as its schedule says, and starts it; status has said why before."""
    sick = real.base / "sick"
    real.start("a", f"--alive=exec:test ! -e {sick}", EVERY, "--stop-schedule=USR1/5/KILL/5").ok()
    before = real.pid("a")
    assert come_by(real) == ""
    sick.touch()
    assert come_by(real) == ""
    assert come_by(real) == ""
    seen = state(real)
    assert seen["state"] == "running"
    assert seen["unhealthy"] is None
    liveness = seen["liveness"]
    assert isinstance(liveness, dict)
    assert (liveness["ok"], liveness["failures"]) == (False, 2)
    assert 0 <= liveness["age"] < liveness["since"] < 60
    said = come_by(real)
    assert f"unhealthy, pid {before}: alive = exec:test ! -e {sick} failed 3 times" in said
    assert f"sent USR1 to pid {before}" in said
    assert not alive(before)
    assert alive(real.pid("a"))
    assert state(real)["liveness"] is None


def test_a_dry_run_asks_nobody(real: Real) -> None:
    """G10: not one probe, not one line."""
    asked = real.base / "asked"
    real.start("a", f"--alive=exec:touch {asked}", EVERY, "--max-age=0.1").ok()
    time.sleep(0.2)
    said = real.multi("ensure", "--dry-run").ok().out
    assert "because it has run for" in said
    assert not asked.exists()
    assert not (real.run / "a.health").exists()


def test_a_node_that_grows_is_recycled_with_what_it_has_in_hand(real: Real) -> None:
    """G6: it gets its first signal and all the time that it needs."""
    real.multi(
        "start", "a", "--preset=exec", f"--pidfile={real.run}/%n.pid", f"--logfile={real.base}/%n.log", "--startsecs=0",
        f"--ready=file:{real.base}/made", "--max-memory=1M",
        f"--cmd={real.worker('--finish', '0.5', '--touch', str(real.base / 'made'))}",
    ).ok()  # fmt: skip
    before = real.pid("a")
    said = real.multi("ensure").ok().out
    assert "above max_memory = 1.0M" in said
    assert f"sent TERM to pid {before}" in said
    assert "KILL" not in said
    assert real.pid("a") != before


def test_a_hook_runs_as_the_node_does_and_is_no_part_of_it(real: Real) -> None:
    """Its directory and variables, the event as JSON, and nothing that says that it is the node's."""
    told = real.base / "told"
    real.start(
        "a", f"--hook=failed=sh -c 'cat > {told}.json; env > {told}.env; pwd; exit 7'", "--env=COLOUR=red",
        f"--workdir={real.base}",
    ).ok()  # fmt: skip
    pid = real.pid("a")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    said = real.multi("ensure").ok().out
    assert "the hook 'failed' failed: it exited with status 7" in said
    event = json.loads(Path(f"{told}.json").read_text("utf-8"))
    assert (event["event"], event["name"]) == ("failed", "a")
    assert any(word in event["why"] for word in ("KILL", "gone", "another process")), "its pid may be in use again"
    lines = Path(f"{told}.env").read_text("utf-8").splitlines()
    assert "COLOUR=red" in lines
    assert not [line for line in lines if line.startswith(("MULTI_INSTANCE", "NOTIFY_SOCKET"))]
    history = real.multi("history", "a").ok().out
    assert "hook failed: it exited with status 7" in history
    assert f"| {real.base}" in history


def test_g5_a_hook_that_hangs_holds_up_neither_a_start_nor_a_stop(real: Real) -> None:
    """The node is back, and stopped again, while the hook still runs: it is not the node's, so no stop ends it."""
    real.start("a", f"--hook=failed=sh -c 'echo $$ > {real.base}/hook; exec sleep 300'").ok()
    pid = real.pid("a")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    said = real.multi("ensure").ok().out
    assert "started, pid" in said
    assert "the hook 'failed' failed: still runs; it is killed when it has taken 30s" in said
    said = real.multi("stopwait").ok().out
    assert "process" not in said
    hook = int((real.base / "hook").read_text("ascii"))
    with contextlib.suppress(ProcessLookupError):  # a machine that is busy enough has let it come to its limit
        os.kill(hook, signal.SIGKILL)
    until(lambda: not alive(hook), "it is gone")


@pytest.mark.root
def test_g8_a_hook_of_a_users_node_is_that_users(real: Real) -> None:
    """Root runs `ensure`, and the hook runs as the node's user, without a capability."""
    real.base.chmod(0o755)
    real.start("a", "--uid=nobody", "--hook=failed=sh -c 'id -u; grep CapEff /proc/self/status'").ok()
    pid = real.pid("a")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    real.multi("ensure").ok()
    history = real.multi("history", "a").ok().out
    assert "| 65534\n" in history
    assert "CapEff:    0000000000000000" in history


# --- run ------------------------------------------------------------------------------------------------

BARKS = """
import os, socket, sys, time
muted = sys.argv[1]
address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
every = int(os.environ["WATCHDOG_USEC"]) / 4e6
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaks:
    while True:
        if not os.path.exists(muted):
            speaks.sendto(b"WATCHDOG=1", address)
        time.sleep(every)
"""


@contextlib.contextmanager
def staying(real: Real, *words: str, cmd: str = "sleep 600") -> Iterator[Begun]:
    """A `multi run` that is stopped in the end."""
    log = f"--logfile={real.base}/%n.log"
    begun = real.begin(
        "run", f"--pidfile={real.run}/%n.pid", log, "--preset=exec", "--startsecs=0", f"--cmd={cmd}", *words
    )
    try:
        yield begun
    finally:
        begun.process.terminate()


def another(real: Real, name: str, before: int) -> int:
    """Wait until another process runs as the node; its pid."""
    until(lambda: real.pidfile(name).exists() and real.pid(name) != before, f"{name} is restarted")
    return real.pid(name)


def first(real: Real, name: str) -> int:
    """Wait until the node runs; its pid."""
    until(lambda: real.pidfile(name).exists(), f"{name} has a pidfile")
    until(lambda: real.state(name) == {name: "running"}, f"{name} runs")
    return real.pid(name)


def test_run_restarts_what_fails_its_proof(real: Real) -> None:
    """Without a policy, too: who says how a node proves that it works wants it to work."""
    sick = real.base / "sick"
    with staying(real, "a", "b", f"--alive:a=exec:test ! -e {sick}", "--alive-every=0.1") as begun:
        a, b = first(real, "a"), first(real, "b")
        sick.touch()
        another(real, "a", a)
        sick.unlink()
        assert not alive(a)
        assert real.pid("b") == b
    done = begun.done().ok()
    assert f"unhealthy, pid {a}: alive = exec:test ! -e {sick} failed 3 times" in done.out
    assert f"sent TERM to pid {a}" in done.out


def test_run_hears_a_watchdog(real: Real) -> None:
    """The node finds the seconds in WATCHDOG_USEC; when it falls silent it is restarted, at once as with systemd."""
    muted = real.base / "muted"
    with staying(real, "a", "--alive=watchdog:2", cmd=real.shell_words(BARKS, str(muted))) as begun:
        pid = first(real, "a")
        real.settle()
        time.sleep(2.5)
        assert real.pid("a") == pid
        muted.touch()
        another(real, "a", pid)
        muted.unlink()
    assert "alive = watchdog:2: no WATCHDOG=1 for 2s" in begun.done().ok().out


def test_run_recycles_one_after_the_other(real: Real) -> None:
    """At most one of them is down at any moment."""
    with staying(real, "a", "b", "--max-age=2") as begun:
        pids = first(real, "a"), first(real, "b")
        another(real, "a", pids[0])
        another(real, "b", pids[1])
    out = begun.done().ok().out
    assert "recycled, pid" in out
    down = 0
    for line in out.splitlines():
        down += ("recycled, pid" in line) - ("started, pid" in line)
        assert down <= 1


def test_the_hooks_of_run_hold_up_neither_the_next_start_nor_the_end(real: Real) -> None:
    """A node dies again and again while its hook hangs: it is started again each time, and the stop is as ever."""
    hook = f"--hook=failed=sh -c 'echo $$ >> {real.base}/hooks; exec sleep 300'"
    with staying(real, "a", hook, "--restart=always", "--restart-delay=0") as begun:
        pid = first(real, "a")
        for _ in range(3):
            os.kill(pid, signal.SIGKILL)
            pid = another(real, "a", pid)
    done = begun.done().ok()
    assert "the hook 'failed' failed: still runs" in done.out
    for left in map(int, (real.base / "hooks").read_text("ascii").split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
        until(lambda left=left: not alive(left), "it is gone")  # type: ignore[misc]


def test_ensure_beside_run_asks_nothing_of_its_nodes(real: Real) -> None:
    """Each node is asked by one of them."""
    asked = real.base / "asked"
    with staying(real, "a", f"--alive=exec:sh -c 'echo >> {asked}'", "--alive-every=1000") as begun:
        pid = first(real, "a")
        real.multi("ensure", "a").ok()
        assert real.pid("a") == pid
        assert not asked.exists()
    begun.done()
