"""`history` and `why` on real nodes: what is kept of them, whose it is, and what `status` says of a death."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real import NOBODY, alive, until

if TYPE_CHECKING:
    from real import Real


def past(real: Real, *words: str) -> list[dict[str, object]]:
    """What ``history --json`` prints of node a."""
    done = real.raw("history", "a", f"--pidfile={real.run}/%n.pid", "--json", *words).ok()
    return [json.loads(line) for line in done.out.splitlines()]


def killed(real: Real) -> int:
    """Start node a, and KILL it; its pid."""
    real.start("a", cmd=real.worker("--print", "connected", "--print", "KeyError: 'x'"), startsecs=0.3).ok()
    pid = real.pid("a")
    until(lambda: "KeyError" in real.logfile("a").read_text(encoding="utf-8"), "it has printed")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    return pid


def test_a_life(real: Real) -> None:
    """A start, a death that nobody saw, and `ensure`: each is kept with its caller, told in sentences, and private."""
    pid = killed(real)
    words = (f"--pidfile={real.run}/%n.pid",)
    status = real.raw("status", "a", *words)
    # How it ended is known as long as nobody has waited for it, which depends on who adopts orphans here.
    ended = r"is gone(: it was killed by signal 9 \(KILL\))?; last line of its log: KeyError: 'x'"
    assert re.search(ended, status.out)
    assert json.loads(real.raw("status", "a", "--json", *words).out)[0]["log_tail"] == ["connected", "KeyError: 'x'"]
    real.raw("ensure", "a", *words).ok()
    again = real.pid("a")
    events = past(real)
    assert [(each["event"], each["pid"]) for each in events] == [
        ("spawned", pid),
        ("ready", pid),
        ("cleared", None),
        ("spawned", again),
        ("ready", again),
    ]
    assert events[2]["log_tail"] == ["connected", "KeyError: 'x'"]
    by = events[2]["by"]
    assert isinstance(by, dict)
    assert by["command"] == f"multi ensure a {words[0]}"
    told = real.raw("why", "a", *words).ok().out
    assert f"was found dead by {by['user']}" in told
    assert f"It is running as pid {again}, for " in told
    assert stat.S_IMODE(Path(real.run, "a.history").stat().st_mode) == 0o600


def test_no_values_of_variables(real: Real) -> None:
    """The value of a variable is in no history, however it was given."""
    real.start("a", "--env=KEY=hunter2", "--env:a", "OTHER=hunter2").ok()
    assert "hunter2" not in Path(real.run, "a.history").read_text(encoding="ascii")


def test_a_failed_start(real: Real) -> None:
    """A start that failed is kept with its exit status and last lines."""
    real.start("a", cmd=real.worker("--print", "boom", "--exit", "3"), startsecs=0.3)
    failed = next(each for each in past(real) if each["event"] == "failed")
    assert (failed["exit_status"], failed["log_tail"]) == (3, ["boom"])


def test_since(real: Real) -> None:
    """Only what happened since then; nothing is fine, no time is not, and neither is no history at all."""
    real.start("a").ok()
    assert past(real, "--since=1h") == past(real, "--since=2001-02-03") == past(real)
    assert past(real, "--since=2096-01-01T00:00") == []
    assert [each["event"] for each in past(real, "--lines=1")] == ["ready"]
    assert real.raw("history", "a", "--since=soon").code == 2
    assert real.raw("history", "b", f"--pidfile={real.run}/%n.pid").code == 1


@pytest.mark.root
def test_it_is_the_nodes_users(real: Real) -> None:
    """Root's start of a user's node leaves a history that this user can read and add to, and nobody else."""
    for path in (real.run, real.log):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    real.start("a", "--uid=nobody").ok()
    found = Path(real.run, "a.history").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o600)
    assert len(past(real)) == 2
