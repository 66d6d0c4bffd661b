"""Liveness, limits and hooks under `ensure`, on real processes: cron comes by, and what hangs is restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from real import Real, alive, until

EVERY = "--alive-every=0.1"  # the least that there is: each run of ensure asks


def state(real: Real, name: str = "a") -> dict[str, object]:
    """What `status --json` says."""
    (view,) = json.loads(real.inside("status", "--json", name).out)
    assert isinstance(view, dict)
    return view


def come_by(real: Real, *words: str) -> str:
    """One run, as cron does it, a while after the one before."""
    time.sleep(0.12)
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
    said = come_by(real)
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
    assert "KILL" in event["why"] or "gone" in event["why"]
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
