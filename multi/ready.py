"""Readiness probes: the proof that a started node works.

`prove` is a generator: it yields what it waits for and is sent what happened. It ends with a `Proof` or a
`Disproof`; that nobody says READY in time is a disproof too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from multi.machine import Ended, Executed, LaunchFailed, Notified, Probed
from multi.node import Ready
from multi.pause import Pause
from multi.schedule import signal_name
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.machine import Happening, Machine
    from multi.node import Node
    from multi.proc import Proc

_FIRST_LOOK, _MOST = 0.02, 0.25  # seconds between two looks at what cannot wake us: a file, a port, a log
ALIVE = Ready("alive")
_LOG_CHUNK = 1 << 18  # bytes of a log that are searched at one look


@dataclass(frozen=True, slots=True)
class Proof:
    """Ready: `how` it was proved. `note` is for the user."""

    how: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Disproof:
    """Not ready: `why`. `status` when the process has ended, `launched` false when it never executed."""

    why: str
    status: int | None = None
    ended: bool = False
    launched: bool = True
    hint: str = ""


Verdict: TypeAlias = Proof | Disproof


@dataclass(slots=True)
class _Course:
    """Where the probe is. State of one generator, never shared."""

    executed: float | None
    deadline: float
    status: str = ""
    probing: bool = False
    why: str = ""
    proof: Proof | None = None


def prove(  # noqa: PLR0913 -- what a proof depends on, each by its name
    node: Node, proc: Proc, machine: Machine, *, began: float, offset: int, executed: bool
) -> Generator[Pause, Happening | None, Verdict]:
    """Wait for the proof. `began` is when the start began, `offset` where its log begins.

    `executed` when the process was started by somebody else. The deadline is the node's `ready_timeout`
    after `began`; EXTEND_TIMEOUT_USEC moves it (sd_notify(3)).
    """
    course = _Course(machine.now() if executed else None, began + node.ready_timeout)
    look = _FIRST_LOOK
    while True:
        now = machine.now()
        if course.executed is not None:
            course.proof = course.proof or _look(node, machine, course, offset)
            # A proof alone is not enough: what says READY and dies of its first request was never up.
            if course.proof is not None and now >= course.executed + node.startsecs:
                return course.proof
        if course.proof is None and now >= course.deadline:
            return Disproof(_late(node, course))
        happening = yield Pause(_next_look(node, course, now, look), "ready", proc.pid, began)
        if happening is None:
            look = min(look * 1.5, _MOST)
            continue
        verdict = _heard(node, proc, course, happening, machine.now())
        if isinstance(verdict, Disproof):
            return verdict
        course.proof = course.proof or verdict


def _next_look(node: Node, course: _Course, now: float, look: float) -> float:
    if course.executed is not None and course.proof is not None:
        return course.executed + node.startsecs
    if course.executed is None or course.probing or node.ready.kind == "notify":
        return course.deadline
    return min(course.deadline, now + look)


def _look(node: Node, machine: Machine, course: _Course, offset: int) -> Proof | None:
    """What can be seen without being told."""
    what = node.ready.what
    match node.ready.kind:
        case "alive":
            return Proof("alive")  # all there is to prove is that it lives for `startsecs`
        case "log":
            import re

            text = machine.tail(node.logfile, offset, _LOG_CHUNK).decode("utf-8", "replace")
            if re.search(what, text, re.MULTILINE):
                return Proof(str(node.ready))
        case "file":
            if machine.read(what, 1 << 62) is not None:
                return Proof(str(node.ready))
        case "tcp" | "exec":
            if not course.probing:
                course.probing = True
                machine.probe(node.name, node.ready.kind, what, node.env)
    return None


def _heard(node: Node, proc: Proc, course: _Course, happening: Happening, now: float) -> Verdict | None:
    match happening:
        case Executed():
            course.executed = now
        case LaunchFailed(_, why, hint, _):
            return Disproof(why, ended=True, launched=False, hint=hint)
        case Ended(_, ended, status) if ended == proc:
            return Disproof(_end_text(status, course), status, ended=True)
        case Notified(_, fields):
            return _notified(node, course, fields, now)
        case Probed(_, ok, why):
            course.probing, course.why = False, why
            if ok:
                return Proof(str(node.ready))
    return None


def _notified(node: Node, course: _Course, fields: dict[str, str] | object, now: float) -> Verdict | None:
    assert isinstance(fields, dict)  # noqa: S101 -- the machine makes it; this is for the type checker
    course.status = fields.get("STATUS", course.status)
    code = fields.get("ERRNO", "")
    if code.isdigit() and int(code):
        course.why = os.strerror(int(code))
    extend = fields.get("EXTEND_TIMEOUT_USEC", "")
    if extend.isdigit():
        course.deadline = max(course.deadline, now + int(extend) / 1e6)
    if fields.get("READY") == "1" and node.ready.kind == "notify":
        return Proof("notify", course.status)
    return None


def _late(node: Node, course: _Course) -> str:
    last = course.status or course.why
    said = f"; it last said: {last}" if last else ""
    return f"not ready after {node.ready_timeout:g}s (ready = {node.ready}){said}"


def _end_text(status: int | None, course: _Course) -> str:
    said = f" ({course.status or course.why})" if course.status or course.why else ""
    return end_text(status) + said


def end_text(status: int | None) -> str:
    """How a process ended, for people."""
    if status is None:
        return "it has ended, with an exit status that is not known"
    if status < 0:
        return f"it was killed by signal {-status} ({signal_name(-status)})"
    return f"it exited with status {status}"
