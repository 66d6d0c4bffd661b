"""`status` on real terminals: no line wraps, whatever the nodes are called, and ``--wide`` shows all."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from terminal import columns_of, on_terminal

if TYPE_CHECKING:
    from real import Real

ALL = ["NODE", "STATE", "PID", "UPTIME", "CPU", "MEMORY", "CHILDREN", "RESTARTS", "LOG", "NOTE"]
LONG = "a-worker-whose-name-is-longer-than-any-terminal-was-when-they-were-made-of-glass-12"
CONFIG = f"""
[defaults]
preset = "exec"
cmd = "sleep 600"
startsecs = 0
pidfile = "run/%n.pid"
logfile = "log/%n.log"
[groups.web]
nodes = ["web1", "漢字の労働者", "{LONG}"]
[groups.broken]
nodes = ["gone"]
restart_delay = 600  # so that it is left alone, and status says so, however slow the machine is
cmd = "sh -c 'echo it cannot reach the broker at amqp://guest@localhost:5672, and has given up; exit 3'"
"""


@pytest.fixture
def status(real: Real) -> list[str]:
    """Give the words of a `status` of nodes that run, one that died, and one that was never started."""
    config = real.base / "multi.toml"
    config.write_text(CONFIG, encoding="utf-8")
    words = f"--multi-config={config}"
    real.raw("start", "web1", "漢字の労働者", words).ok()
    real.raw("start", "gone", "--startsecs=2", words).exits(1)
    # Said so, `status` shows no nodes of other tests.
    return [sys.executable, "-m", "multi", "status", words, f"--pidfile={real.run}/%n.pid"]


def test_status_fits_every_terminal(real: Real, status: list[str]) -> None:
    """At 60, 80, 120 and 200 columns no line wraps, each node is there, and what is narrower has fewer columns."""
    shown: list[list[str]] = []
    for columns in (60, 80, 120, 200):
        code, lines = on_terminal(status, real.env, columns, cwd=str(real.base))
        assert code == 1, lines
        assert max(map(columns_of, lines)) < columns, lines
        text = "\n".join(lines)
        for word in ("web1@", "漢字の労働者", "gone@", "12", "web:", "broken:", "dead", "running", "stopped"):
            assert word in text, (columns, word, text)
        assert len(lines) <= 1 + 2 + 4 + 1
        shown.append(lines[0].split())
    assert all(len(one) <= len(other) for one, other in pairwise(shown))
    assert all({"NODE", "STATE", "NOTE"} < set(one) for one in shown)
    assert "RESTARTS" in shown[-1]


def test_wide_and_pipes_get_all(real: Real, status: list[str]) -> None:
    """With ``--wide``, and where no terminal reads it, every column is there and nothing is cut."""
    code, lines = on_terminal([*status, "--wide"], real.env, 60, cwd=str(real.base))
    piped = real.raw(*status[3:]).exits(1).out.splitlines()
    assert code == 1
    for shown in (lines, piped):
        assert shown[0].split() == ALL
        text = "\n".join(shown)
        assert f"{LONG}@" in text
        assert "it exited with status 3; 'multi ensure'" in text
        assert str(real.log / "web1.log") in text
