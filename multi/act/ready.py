"""Readiness probes: the proof that a started node works.

`prove` is a generator: it yields what it waits for and is sent what happened. It ends with a `Proof` or a
`Disproof`; a timeout is a disproof too. What was there before the node ran proves nothing: `baseline` remembers it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from multi.act.waits import Wait
from multi.machine import (
    INSTANCE,
    INSTANCE_NODE,
    INSTANCE_PID,
    INSTANCE_PIDFILE,
    INSTANCE_PROBE,
    Ended,
    Executed,
    Launch,
    LaunchFailed,
    Notified,
    Probed,
)
from multi.model.record import NOTIFY_WAITS
from multi.model.schedule import signal_name
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from multi.machine import Happening, Machine
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.record import Word

_FIRST_LOOK, _MOST = 0.02, 0.25  # seconds between two looks at what cannot wake us: a file, a port, a log
_LOG_CHUNK = 1 << 16  # bytes of a log that are read and searched at once
_LOG_WINDOW = 1 << 16  # bytes before them that a match may begin in
_LOG_MOST = 1 << 24  # bytes that a start may have printed before it was cut off
_CUT_OFF_SECONDS = 5.0  # that a node must live if its word of readiness may have been lost
_MOST_DIGITS = 18  # of a number in a datagram; more is neither a time nor an errno


@dataclass(frozen=True, slots=True)
class Proof:
    """Ready: `how` it was proved. `note` is for the user."""

    how: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Disproof:
    """Not ready: `why`. `status` when the process has ended, `launched` false when it never executed.

    `said` is what one that lives said of itself last, `waits` what it says that it waits for.
    """

    why: str
    status: int | None = None
    ended: bool = False
    launched: bool = True
    hint: str = ""
    said: str = ""
    waits: str = ""


Verdict: TypeAlias = Proof | Disproof


@dataclass(frozen=True, slots=True)
class Baseline:
    """What proves nothing because it was there before the node ran.

    `offset` is where its log began for this start, `log` what it has printed since, `fingerprint` that of the path of
    ``file:``, `taken` whether a process listened on the port of ``tcp:``. `word` is what the node has left on disk
    while no `multi` listened.
    """

    offset: int = 0
    fingerprint: str = ""
    log: bytes = b""
    word: Word | None = None
    taken: bool = False

    def encoded(self) -> Mapping[str, str]:
        """The words for a record: when the start is cut off, another command goes on with them."""
        return {"offset": str(self.offset), "mark": self.fingerprint, **({"taken": "1"} if self.taken else {})}

    @staticmethod
    def decoded(extra: Mapping[str, str]) -> Baseline:
        """What a record holds of it."""
        return Baseline(_number(extra.get("offset", "")), extra.get("mark", ""), taken="taken" in extra)


def baseline(node: Node, machine: Machine) -> Baseline:
    """Look at what is there while the node stands at the gate, and begin to read its log. Raises `MachineError`."""
    if node.ready.kind == "log":
        machine.log_begin(node.name, node.logfile, 0)
    kind, what = node.ready.kind, node.ready.what
    fingerprint = machine.fingerprint(what) if kind == "file" else ""
    return Baseline(machine.size(node.logfile), fingerprint, taken=kind == "tcp" and machine.taken(what))


def recalled(node: Node, extra: Mapping[str, str], machine: Machine) -> Baseline:
    """The `baseline` that another command put on record, and what was printed since. Raises `MachineError`."""
    there = Baseline.decoded(extra)
    if node.ready.kind != "log":
        return there
    size = machine.size(node.logfile)
    # One that is shorter by now was truncated or replaced, so all of it is new.
    fresh = size - there.offset if there.offset <= size else size
    return replace(there, log=machine.log_begin(node.name, node.logfile, min(fresh, _LOG_MOST)))


@dataclass(slots=True)
class _Course:
    """Where the probe is. State of one generator, never shared."""

    executed: float | None
    began: float
    deadline: float
    setting: Launch
    fingerprint: str
    log: bytes
    waits: str = ""
    unheard: float | None = None  # when a silent node counts as one that has said it
    status: str = ""
    probing: bool = False
    interval: float = _FIRST_LOOK  # seconds until the next look, or the next probe after one that failed
    again: float = 0.0  # when the next probe may begin
    why: str = ""
    proof: Proof | None = None
    until: float = 0.0  # when a node that has proved it must still be alive

    def prove(self, proof: Proof | None, node: Node, now: float) -> None:
        """It has proved that it is ready, if it has."""
        begin = now if node.startsecs_asked or self.executed is None else self.executed
        self.proof, self.until = proof, begin + node.startsecs

    def take(self, word: Word, node: Node) -> None:
        """Judge it by the word that it has left on disk."""
        self.status, self.waits = word.status, word.waits
        settled_at = word.settled_at(node)
        if settled_at is not None:
            self.proof, self.until = Proof("notify", word.status), settled_at

    @property
    def said(self) -> str:
        """What the node said of itself last, and what the last probe met with."""
        return f"{self.status} ({self.why})" if self.status and self.why else self.status or self.why


def prove(  # noqa: PLR0913 -- what a proof depends on, each by its name
    node: Node, proc: Proc, machine: Machine, *, token: str, began: float, there: Baseline, executed: bool
) -> Generator[Wait, Happening | None, Verdict]:
    """Wait for the proof. `token` is what the node carries, `began` when the start began, `there` what was there then.

    `executed` when another command started the process and was cut off: what the node has said since is lost, so for
    ``notify`` it is enough that it lives, unless it says, or has left on disk, that it is not ready yet.
    The deadline is the node's `ready_timeout` after `began`; EXTEND_TIMEOUT_USEC moves it (sd_notify(3)).
    """
    course = _Course(
        machine.now() if executed else None,
        began,
        began + node.ready_timeout,
        _setting(node, proc, token),
        there.fingerprint,
        there.log,
    )
    if there.word is not None:
        course.take(there.word, node)
    elif executed and node.ready.kind == "notify":
        course.unheard = began + min(max(node.startsecs, _CUT_OFF_SECONDS), node.ready_timeout)
    while True:
        now = machine.now()
        if proof := _proved(node, machine, course, now):
            return proof
        if course.proof is None and now >= course.deadline:
            if course.probing and not course.why:  # an answer that an earlier one gave says more
                said = machine.probe_says(node.name)
                course.why = f"its probe did not end; it last said: {said}" if said else ""
            return Disproof(_late(node, course), said=course.status, waits=course.waits)
        happening = yield Wait(_next_look(node, course, now), "ready", proc.pid, began, note=course.said)
        if happening is None:
            course.interval = min(course.interval * 1.5, _MOST)
            continue
        verdict = _heard(node, proc, course, happening, machine.now())
        if isinstance(verdict, Disproof):
            return verdict
        if course.proof is None:
            course.prove(verdict, node, machine.now())


def _proved(node: Node, machine: Machine, course: _Course, now: float) -> Proof | None:
    """A proof that holds. A node that says READY and dies of its first request was never up."""
    if course.executed is None:
        return None
    if course.proof is None:
        course.prove(_look(node, machine, course, now), node, now)
    return course.proof if now >= course.until else None


def _next_look(node: Node, course: _Course, now: float) -> float:
    if course.executed is not None and course.proof is not None:
        return course.until
    if course.executed is None or course.probing or node.ready.kind == "notify":
        return min(course.deadline, course.deadline if course.unheard is None else course.unheard)
    return min(course.deadline, course.again if course.again > now else now + course.interval)


def _look(node: Node, machine: Machine, course: _Course, now: float) -> Proof | None:
    """What can be seen without being told."""
    what = node.ready.what
    match node.ready.kind:
        case "alive":
            return Proof("alive")  # all there is to prove is that it lives for `startsecs`
        case "notify":
            if course.unheard is not None and now >= course.unheard:
                return Proof("alive", f"its start had been cut off; it has lived {now - course.began:.0f}s since")
        case "log":
            if _printed(node, machine, course):
                return Proof(str(node.ready))
        case "file":
            if machine.fingerprint(what) not in {"", course.fingerprint}:
                return Proof(str(node.ready))
        case "tcp" | "exec":
            if not course.probing and now >= course.again:
                course.probing = True
                machine.probe(node.name, node.ready.kind, what, course.setting)
    return None


def _printed(node: Node, machine: Machine, course: _Course) -> bool:
    """Whether what this start wrote to its log holds the line that means ready.

    A line that has no end yet counts when nothing was added since the last look: ``$`` must not match the middle of one
    that is being written.
    """
    import re

    pattern = re.compile(node.ready.what, re.MULTILINE)
    while data := machine.log_more(node.name, _LOG_CHUNK):
        course.log = _whole_lines(course.log) + data
        whole, newline, _ = course.log.rpartition(b"\n")
        if newline and pattern.search(whole.decode("utf-8", "replace")):
            return True
        if len(data) < _LOG_CHUNK:
            return False
    return pattern.search(course.log.decode("utf-8", "replace")) is not None


def _whole_lines(log: bytes) -> bytes:
    """The end of what was printed that a match may still begin in; ``^`` must not match where it is cut."""
    return log if len(log) <= _LOG_WINDOW else log[-_LOG_WINDOW:].partition(b"\n")[2]


def _setting(node: Node, proc: Proc, token: str) -> Launch:
    """What a command that asks for the node's health runs in: the node's own user, directory and environment.

    It carries the node's token: if we are killed, the next command finds it and its children. It gets no NOTIFY_SOCKET,
    because what it says there would be taken for the node's.
    """
    carried = (
        (INSTANCE_PROBE, "1"),  # first, so a reader of a large environment that finds the others has read this one too
        (INSTANCE, token),
        (INSTANCE_PID, str(proc.pid)),
        (INSTANCE_NODE, node.name),
        (INSTANCE_PIDFILE, node.pidfile),
    )
    env = (*node.env, *(carried if token else ()), ("NOTIFY_SOCKET", None))
    return Launch(argv=(), env=env, logfile=node.logfile, workdir=node.workdir, uid=node.uid, gid=node.gid)


def _heard(node: Node, proc: Proc, course: _Course, happening: Happening, now: float) -> Verdict | None:
    match happening:
        case Executed():
            course.executed = now
        case LaunchFailed(_, why, hint, _):
            return Disproof(why, ended=True, launched=False, hint=hint)
        case Ended(_, ended, status) if ended == proc:
            return Disproof(end_text(status) + (f" ({course.said})" if course.said else ""), status, ended=True)
        case Notified(_, fields):
            return _notified(node, course, fields, now)
        case Probed(_, ok, why):
            if ok:
                return Proof(str(node.ready), why)
            course.probing, course.why, course.again = False, why, now + course.interval
    return None


def _notified(node: Node, course: _Course, fields: Mapping[str, str], now: float) -> Verdict | None:
    if "STATUS" in fields:
        course.status, course.waits = fields["STATUS"], fields.get(NOTIFY_WAITS, "")
    course.unheard = None  # a node that speaks now will say READY, too
    code = _number(fields.get("ERRNO", ""))
    if code:
        course.why = os.strerror(min(code, 1 << 16))
    extend = _number(fields.get("EXTEND_TIMEOUT_USEC", ""))
    if extend:
        course.deadline = max(course.deadline, now + extend / 1e6)
    if fields.get("READY") == "1" and node.ready.kind == "notify":
        return Proof("notify", course.status)
    return None


def _number(text: str) -> int:
    """A number that another program wrote; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


def _late(node: Node, course: _Course) -> str:
    seconds = f"{round(course.deadline - course.began, 1):g}s"
    if course.status:
        what = f"it last said: {course.said}"
    elif course.why:
        what = course.why
    elif course.executed is None:
        what = "it did not even execute its program"
    else:
        what = _NEVER.get(node.ready.kind, "its probe did not end")
    return f"not ready after {seconds} (ready = {node.ready}): {what}"


_NEVER = {
    "notify": "it sent nothing to NOTIFY_SOCKET",
    "log": "no line that it wrote to its log matches",
    "file": "nothing was made or written there since it started",
}


def end_text(status: int | None) -> str:
    """How a process ended, for people."""
    if status is None:
        return "it has ended, with an exit status that is not known"
    if status < 0:
        return f"it was killed by signal {-status} ({signal_name(-status)})"
    return f"it exited with status {status}"
