"""What can be reached from outside: nothing. docs/explanation/security.md says why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil

from real import until

if TYPE_CHECKING:
    from real import Real


def test_g8_nothing_listens_on_the_network(real: Real) -> None:
    """G8: a `run` that stays, and the nodes that it holds, have no internet socket at all."""
    (real.base / "multi.toml").write_text(
        f'[defaults]\npreset = "exec"\npidfile = "{real.run}/%n.pid"\ncmd = "sleep 600"\nstartsecs = 0\n'
        'restart = "always"\n[nodes.w1]\n[nodes.w2]\n'
    )
    resident = real.popen(sys.executable, "-m", "multi", "run")
    until(lambda: real.processes("w1") and real.processes("w2"), "run starts both")
    stays = psutil.Process(resident.pid)
    family = [stays, *(psutil.Process(pid) for name in ("w1", "w2") for pid in real.processes(name))]
    assert len(family) >= 3
    ask = "net_connections" if hasattr(stays, "net_connections") else "connections"  # psutil before 6.0
    asked = [(each.name(), getattr(each, ask)("inet")) for each in family]
    assert [(name, sockets) for name, sockets in asked if sockets] == []
