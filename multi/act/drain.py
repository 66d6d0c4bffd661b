"""A worker takes no new task, and consumes again: through the plug-in that listens in it."""

from __future__ import annotations

import json

from multi import observe
from multi.act.waits import InterruptedWalk, Wait
from multi.decide.turns import overruled
from multi.machine import NO_SOCKET, MachineError, Question
from multi.model.event import Drained, Failed, Resumed
from multi.model.happening import Answered, Ended
from multi.model.step import Consume, Drain
from multi.model.work import Work, work_of
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Generator

    from multi.act.journal import Journal
    from multi.act.waits import Answer, Walk, Want
    from multi.machine import Machine
    from multi.model.process import Proc

_SECONDS = 5.0  # for an answer; the plug-in waits for three at most until the worker's loop turns
_FIRST_ASK, _MOST_ASK = 0.1, 1.0  # seconds between two questions whether it is idle
_HINT = "multi-supervisor has to be installed in its Python, and multi has to have started it"
_LATER = "its loop does not turn just now; this is done as soon as it does"


def carry_out(step: Drain | Consume, journal: Journal, machine: Machine, *, keep: bool) -> Walk:
    """Do the step; `keep` is whether a worker whose last task is waited for stays drained after an interrupt."""
    match step:
        case Drain(proc, True):
            return _until_idle(proc, journal, machine, keep=keep)
        case Drain(proc):
            return _drain(proc, journal, machine)
        case Consume(proc):
            return _consume(proc, journal, machine)


def _drain(proc: Proc, journal: Journal, machine: Machine) -> Walk:
    """Let the worker take no new task, and put that on record; False when it cannot be done."""
    record = journal.record
    if record is not None and not record.draining:
        yield from journal.save(replace(record, draining=machine.wall()))
    raw = yield from _asked("drain", proc, journal, machine)
    if isinstance(raw, str):
        if record is not None:
            yield from journal.save(record)  # as it was
        yield Failed(journal.node.name, proc.pid, f"cannot be drained: {raw}")
        return False
    yield Drained(journal.node.name, proc.pid, work_of(raw), "" if raw.get("done", True) else _LATER)
    return True


def _consume(proc: Proc, journal: Journal, machine: Machine) -> Walk:
    """Let the worker consume again, from the queues that it consumed from."""
    raw = yield from _asked("resume", proc, journal, machine)
    if isinstance(raw, str):
        yield Failed(journal.node.name, proc.pid, f"cannot be resumed: {raw}")
        return False
    if journal.record is not None and journal.record.draining:
        yield from journal.save(replace(journal.record, draining=0.0))
    yield Resumed(journal.node.name, proc.pid, "" if raw.get("done", True) else _LATER)
    return True


def _until_idle(proc: Proc, journal: Journal, machine: Machine, *, keep: bool) -> Walk:
    """Drain the worker and wait for its last task, for as long as that takes.

    An interrupt lets it consume again, unless it was drained before, or `keep` says that it stays so.
    """
    before = journal.record
    machine.watch(journal.node.name, proc)
    if not (yield from _drain(proc, journal, machine)):
        return False
    try:
        by = yield from _last_task(proc, journal, machine)
    except (GeneratorExit, InterruptedWalk) as error:
        if keep or (before is not None and before.draining):
            raise
        _take_back(proc, journal, machine)
        if isinstance(error, InterruptedWalk):  # a walk that is closed cannot say anything any more
            yield Resumed(journal.node.name, proc.pid, "interrupted before its last task was done")
        raise
    if by:
        yield overruled(journal.node.name, by)
    return not by


def _last_task(proc: Proc, journal: Journal, machine: Machine) -> Generator[Want, Answer, str]:
    """Ask again and again what it has in hand: until that is nothing, or the process has ended.

    Who asks for a stop that waits for no task is not kept waiting: that one is returned.
    """
    name, began, interval = journal.node.name, machine.now(), _FIRST_ASK
    wait = Wait(None, "idle", proc.pid, began)
    work: Work | None = None
    while not (by := journal.overruled()):
        machine.ask(name, _question("tasks", proc, journal, machine))
        answer = yield replace(wait, until=machine.now() + 2 * _SECONDS)
        if isinstance(answer, Ended) and answer.proc == proc:
            return ""
        if isinstance(answer, Answered) and (raw := _object(answer.text)) is not None:
            work, before = work_of(raw), work
            if work is not None and work.idle:
                return ""
            wait = replace(wait, work=work, work_at=machine.now(), note="")
            if work is not None and (before is None or _counts(work) != _counts(before)):
                yield wait.progress(name, machine.now())
        elif isinstance(answer, Answered):
            wait = replace(wait, note=answer.why)
        pause = machine.now() + interval
        interval = min(interval * 1.5, _MOST_ASK)
        while machine.now() < pause:
            happening = yield replace(wait, until=pause)
            if isinstance(happening, Ended) and happening.proc == proc:
                return ""
    return by


def _counts(work: Work) -> tuple[int, int, int]:
    return work.count, work.reserved, work.eta


def _take_back(proc: Proc, journal: Journal, machine: Machine) -> None:
    """Let it consume again, at once: a walk that is over cannot wait for an answer."""
    try:
        machine.ask(journal.node.name, _question("resume", proc, journal, machine))
        if journal.record is not None:
            journal.save_at_once(replace(journal.record, draining=0.0))
    except MachineError:
        return  # 'multi status' shows what it is


def _asked(
    word: str, proc: Proc, journal: Journal, machine: Machine
) -> Generator[Want, Answer, dict[str, object] | str]:
    """What the plug-in answers, or why there is no answer."""
    began = machine.now()
    machine.watch(journal.node.name, proc)
    machine.ask(journal.node.name, _question(word, proc, journal, machine))
    while True:
        match (yield Wait(began + 2 * _SECONDS, "answer", proc.pid, began)):
            case Answered(_, text, why):
                raw = _object(text)
                if raw is None:
                    return f"{why}; {_HINT}" if why == NO_SOCKET else why or "it answered something else"
                return str(raw["error"])[:200] if "error" in raw else raw
            case Ended(_, ended) if ended == proc:
                return "it has ended"
            case None:
                return "it does not answer"
            case _:
                continue


def _object(text: str) -> dict[str, object] | None:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


def _question(word: str, proc: Proc, journal: Journal, machine: Machine) -> Question:
    node = journal.node
    return Question(node.socketfile, word, proc, observe.uid_of(node, machine), _SECONDS)
