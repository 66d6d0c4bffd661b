"""Watching a node that is ready: a release that works at first and dies soon after is found out here."""

from __future__ import annotations

from multi import observe
from multi.act.ready import Disproof
from multi.act.waits import Wait
from multi.model.happening import Ended, Notified
from multi.model.schedule import end_text
from multi.text import duration
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.act.waits import Answer
    from multi.machine import Machine
    from multi.model.process import Proc
    from multi.model.record import Record


_LOOK_EVERY = 1.0  # seconds between two looks at a heartbeat


def watch(
    record: Record | None, proc: Proc, seconds: float, machine: Machine
) -> Generator[Wait, Answer, Disproof | None]:
    """Wait so long that the node, which is ready, has shown that it works; what is wrong with it, None for nothing."""
    began = machine.now()
    until = began + seconds
    beats = record is not None and observe.heartbeat(record, machine) is not None
    while True:
        now = machine.now()
        after = f"{duration(now - began)} after it was ready"
        why = _no_pulse(record, now, machine) if beats and record is not None else ""
        if why:
            return Disproof(f"{why}, {after}")
        answer = yield Wait(min(until, now + _LOOK_EVERY) if beats else until, "settle", proc.pid, began)
        after = f"{duration(machine.now() - began)} after it was ready"
        match answer:
            case None if machine.now() >= until:
                return None
            case Ended(_, ended, status) if ended == proc:
                return Disproof(f"{end_text(status)}, {after}", status, ended=True)
            case Notified(_, fields) if fields.get("READY") == "1":
                return Disproof(f"it restarted itself in place, {after}")
            case _:
                pass


def _no_pulse(record: Record, now: float, machine: Machine) -> str:
    from multi.model.work import pulse

    found = pulse(observe.heartbeat(record, machine), now)
    return f"its heartbeat says that it does not work: {found.why}" if found.healthy is False else ""
