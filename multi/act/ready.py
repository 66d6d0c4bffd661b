"""Readiness probes: the proof that a started node works.

`prove` is a generator: it yields what it waits for and is sent what happened. It ends with a `Proof` or a
`Disproof`; a timeout is a disproof too. What was there before the node ran proves nothing: `baseline` remembers it.
"""

from __future__ import annotations

import os
from math import inf

from multi.act.waits import Wait
from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PID, INSTANCE_PIDFILE, INSTANCE_PROBE, Launch
from multi.model.happening import Ended, Executed, LaunchFailed, Notified, Probed
from multi.model.node import Ready
from multi.model.proof import KINDS
from multi.model.record import LOG_BEGAN, NOTIFY_WAITS
from multi.model.schedule import end_text
from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from multi.machine import Machine
    from multi.model.happening import Happening
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

    `offset` is where its log began for this start, in the file `logfile` (device and inode), `log` what it has printed
    since, `fingerprint` that of the path it
    is to make, `taken` whether a process listened on its port. `word` is what the node has left on disk while no
    `multi` listened.
    """

    offset: int = 0
    fingerprint: str = ""
    log: bytes = b""
    logfile: str = ""
    word: Word | None = None
    taken: bool = False

    def encoded(self) -> Mapping[str, str]:
        """The words for a record: when the start is cut off, another command goes on with them."""
        log = {LOG_BEGAN: f"{self.logfile} {self.offset}"} if self.logfile else {}
        return {"offset": str(self.offset), "mark": self.fingerprint, **log, **({"taken": "1"} if self.taken else {})}

    @staticmethod
    def decoded(extra: Mapping[str, str]) -> Baseline:
        """What a record holds of it."""
        return Baseline(_number(extra.get("offset", "")), extra.get("mark", ""), taken="taken" in extra)


def baseline(node: Node, machine: Machine) -> Baseline:
    """Look at what is there while the node stands at the gate, and begin to read its log. Raises `MachineError`."""
    ready = node.ready
    if ready.sign == "line":
        machine.log_begin(node.name, node.logfile, 0)
    fingerprint = machine.fingerprint(ready.path) if ready.path else ""
    logfile = machine.fingerprint(node.logfile).rpartition(":")[0] if node.logs_to_file else ""
    taken = bool(ready.port) and machine.taken(ready.port)
    return Baseline(machine.size(node.logfile), fingerprint, logfile=logfile, taken=taken)


def recalled(node: Node, extra: Mapping[str, str], machine: Machine) -> Baseline:
    """The `baseline` that another command put on record, and what was printed since. Raises `MachineError`."""
    there = Baseline.decoded(extra)
    if node.ready.sign != "line":
        return there
    return replace(there, log=machine.log_begin(node.name, node.logfile, _LOG_MOST, there.offset))


def prove(  # noqa: PLR0913 -- what a proof depends on, each by its name
    node: Node, proc: Proc, machine: Machine, *, token: str, began: float, there: Baseline, executed: bool
) -> Generator[Wait, Happening | None, Verdict]:
    """Wait for the proof. `token` is what the node carries, `began` when the start began, `there` what was there then.

    `executed` when another command started the process and was cut off: what the node has said since is lost, so for
    its own word it is enough that it lives, unless it says, or has left on disk, that it is not ready yet.
    The deadline is the node's `ready_timeout` after `began`; EXTEND_TIMEOUT_USEC moves it (sd_notify(3)).
    """
    course = _Course(node, proc, machine, began, there, executed=executed)
    setting = _setting(node, proc, token)
    while True:
        now = machine.now()
        if course.executed is not None:
            course.look(now, setting)
            if course.proof is not None and now >= course.until:
                return course.proof
        if course.proof is None and now >= course.deadline:
            return course.late()
        happening = yield Wait(course.next_look(now), "ready", proc.pid, began, note=course.said)
        if happening is None:
            course.interval = min(course.interval * 1.5, _MOST)
        elif disproof := course.hear(happening, machine.now()):
            return disproof


class _Course:
    """Where one proof is. State of one generator, never shared."""

    def __init__(  # noqa: PLR0913 -- as `prove`
        self, node: Node, proc: Proc, machine: Machine, began: float, there: Baseline, *, executed: bool
    ) -> None:
        self._node = node
        self._proc = proc
        self._machine = machine
        self._began = began
        self._there = there
        self._log = there.log
        self.executed = machine.now() if executed else None
        self.deadline = began + node.ready_timeout
        self.interval = _FIRST_LOOK  # seconds until the next look, or the next probe after one that failed
        self.proof: Proof | None = None
        self.until = 0.0  # when a node that has proved it must still be alive: who dies of its first request was not up
        self._status = self._waits = self._why = ""
        self._silent_until = inf  # when a silent node counts as one that has said it
        self._probing = False
        self._again = 0.0  # when the next probe may begin
        word = there.word
        if word is not None:
            self._status, self._waits = word.status, word.waits
            settled_at = word.settled_at(node)
            if settled_at is not None:
                self.proof, self.until = Proof(str(node.ready), word.status), settled_at
        elif executed and node.ready.sign == "word":
            self._silent_until = began + min(max(node.startsecs, _CUT_OFF_SECONDS), node.ready_timeout)

    @property
    def said(self) -> str:
        """What the node said of itself last, and what the last probe met with."""
        return f"{self._status} ({self._why})" if self._status and self._why else self._status or self._why

    def _prove(self, now: float, how: object, note: str = "") -> None:
        if self.proof is None:
            begin = now if self._node.startsecs_asked or self.executed is None else self.executed
            self.proof, self.until = Proof(str(how), note), begin + self._node.startsecs

    def next_look(self, now: float) -> float:
        if self.executed is not None and self.proof is not None:
            return self.until
        if self.executed is None or self._probing or self._node.ready.sign == "word":
            return min(self.deadline, self._silent_until)
        return min(self.deadline, self._again if self._again > now else now + self.interval)

    def look(self, now: float, setting: Launch) -> None:
        """See what can be seen without being told."""
        node, machine, ready = self._node, self._machine, self._node.ready
        if self.proof is not None:
            return
        match ready.sign:
            case "life":
                self._prove(now, ready)  # all there is to prove is that it lives for `startsecs`
            case "word":
                if now >= self._silent_until:
                    note = f"its start had been cut off; it has lived {now - self._began:.0f}s since"
                    self._prove(now, Ready(), note)
            case "line":
                if self._printed():
                    self._prove(now, ready)
            case "path":
                if machine.fingerprint(ready.path) not in {"", self._there.fingerprint}:
                    self._prove(now, ready)
            case _:
                if not self._probing and now >= self._again:
                    self._probing = True
                    machine.probe(node.name, ready.kind, ready.what, setting)

    def _printed(self) -> bool:
        """Whether what this start wrote to its log holds the line that means ready.

        A line that has no end yet counts when nothing was added since the last look: ``$`` must not match the middle of
        one that is being written.
        """
        import re

        pattern = re.compile(self._node.ready.what, re.MULTILINE)
        while data := self._machine.log_more(self._node.name, _LOG_CHUNK):
            if len(self._log) > _LOG_WINDOW:  # ``^`` must not match where it is cut
                self._log = self._log[-_LOG_WINDOW:].partition(b"\n")[2]
            self._log += data
            whole, newline, _ = self._log.rpartition(b"\n")
            if newline and pattern.search(whole.decode("utf-8", "replace")):
                return True
            if len(data) < _LOG_CHUNK:
                return False
        return pattern.search(self._log.decode("utf-8", "replace")) is not None

    def hear(self, happening: Happening, now: float) -> Disproof | None:
        match happening:
            case Executed():
                self.executed = now
            case LaunchFailed(_, why, hint, _):
                return Disproof(why, ended=True, launched=False, hint=hint)
            case Ended(_, ended, status) if ended == self._proc:
                why = end_text(status) + (f" ({self.said})" if self.said else "")
                return Disproof(why, status, ended=True)
            case Notified(_, fields):
                self._hear_word(fields, now)
            case Probed(_, ok, why) if ok:
                self._prove(now, self._node.ready, why)
            case Probed(_, _, why):
                self._probing, self._why, self._again = False, why, now + self.interval
        return None

    def _hear_word(self, fields: Mapping[str, str], now: float) -> None:
        if "STATUS" in fields:
            self._status, self._waits = fields["STATUS"], fields.get(NOTIFY_WAITS, "")
        self._silent_until = inf  # a node that speaks now will say READY, too
        code = _number(fields.get("ERRNO", ""))
        if code:
            self._why = os.strerror(min(code, 1 << 16))
        extend = _number(fields.get("EXTEND_TIMEOUT_USEC", ""))
        if extend:
            self.deadline = max(self.deadline, now + extend / 1e6)
        if fields.get("READY") == "1" and self._node.ready.sign == "word":
            self._prove(now, self._node.ready, self._status)

    def late(self) -> Disproof:
        node = self._node
        if self._probing and not self._why:  # an answer that an earlier one gave says more
            printed = self._machine.probe_says(node.name)
            self._why = f"its probe did not end; it last said: {printed}" if printed else ""
        if self._status:
            what = f"it last said: {self.said}"
        elif self._why or self.executed is None:
            what = self._why or "it did not even execute its program"
        else:
            what = KINDS[node.ready.kind].never
        seconds = f"{round(self.deadline - self._began, 1):g}s"
        why = f"not ready after {seconds} (ready = {node.ready}): {what}"
        return Disproof(why, said=self._status, waits=self._waits)


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


def _number(text: str) -> int:
    """A number that another program wrote; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
