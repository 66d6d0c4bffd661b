"""Watching a node that is ready: a release that works at first and dies soon after is found out here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.act.ready import Disproof
from multi.act.waits import Wait
from multi.machine import Ended, Notified
from multi.model.schedule import end_text
from multi.text import duration

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.act.waits import Answer
    from multi.machine import Machine
    from multi.model.process import Proc


def watch(proc: Proc, seconds: float, machine: Machine) -> Generator[Wait, Answer, Disproof | None]:
    """Wait so long that the node, which is ready, has shown that it works; what is wrong with it, None for nothing."""
    began = machine.now()
    until = began + seconds
    while True:
        answer = yield Wait(until, "settle", proc.pid, began)
        after = f"{duration(machine.now() - began)} after it was ready"
        match answer:
            case None:
                return None
            case Ended(_, ended, status) if ended == proc:
                return Disproof(f"{end_text(status)}, {after}", status, ended=True)
            case Notified(_, fields) if fields.get("READY") == "1":
                return Disproof(f"it restarted itself in place, {after}")
            case _:
                pass
