"""Asks running nodes whether they work, and looks at their limits, for `run` and `ensure`.

`run` asks each `alive_every`, `ensure` each time that it runs.

`Care` is what is asked of one process; it goes on as part of a walk, so it waits as walks do, and has no deadline while
nothing is due. `Limits` is what the nodes of a command share. What is learnt lies beside the record, where `status` and
the next command find it. A process that is `due` is restarted by a walk like any other.
"""

from __future__ import annotations

from functools import partial
from math import inf

from multi import decide, observe
from multi.act.loop import drive
from multi.act.start import own_answer
from multi.act.surroundings import setting
from multi.act.waits import Wait, process_table
from multi.act.walk import walk
from multi.decide import health as rules
from multi.decide import restart
from multi.decide.health import Answer, Member
from multi.machine import MachineError
from multi.model import health as files
from multi.model.event import Interrupted, Recovered, Recycling, Unhealthy
from multi.model.happening import Notified, Probed
from multi.model.request import Due
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping, Sequence

    from multi.act.waits import Answer as Sent
    from multi.act.waits import Walk, Want
    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.health import Health
    from multi.model.node import Node
    from multi.model.process import Proc, ProcessTable
    from multi.model.record import Record
    from multi.model.request import RunOptions, Task
    from multi.observe import Observation

    Doing = Generator[Want, Sent, None]

_NOT_HEARD = "nobody hears its watchdog: only 'multi run' does"


class Limits:
    """What the nodes of one command share: who works, who has reached a limit, and whose turn it is.

    `names` are the nodes that count, `groups` those of the configuration, by full names.
    """

    def __init__(self, names: Collection[str], groups: Mapping[str, str], machine: Machine) -> None:
        """Know of no process yet. `names` may change."""
        self._names = names
        self.working: set[str] = set()
        self.cares: dict[str, Care] = {}
        self._looked_at = -inf
        self._groups = groups
        self._machine = machine

    def begin(self, care: Care) -> None:
        """Its process works from now on."""
        self.working.add(care.node.name)
        self.cares[care.node.name] = care

    def end(self, name: str) -> None:
        """Its process has ended, or is about to."""
        self.working.discard(name)
        self.cares.pop(name, None)

    def leave(self, name: str) -> None:
        """It does not count: it is not to run, or somebody else looks after it."""
        self._names = {one for one in self._names if one != name}

    def look(self, processes: ProcessTable) -> None:
        """Let one node of each group be due that has reached a limit, if it is its turn; once for each table."""
        if processes.at == self._looked_at:
            return
        self._looked_at = processes.at
        for care in self.cares.values():
            processes = self._machine.reaching(processes, care.proc)
        members = [self._member(name, processes) for name in sorted(self._names)]
        for name, due in rules.turns(members).items():
            self.cares[name].due = due

    def _member(self, name: str, processes: ProcessTable) -> Member:
        group, care = self._groups.get(name, ""), self.cares.get(name)
        info = None if care is None else processes.by_pid.get(care.proc.pid)
        held = info is not None and info.suspended  # somebody may hold it on purpose
        works = name in self.working and (care is None or care.due is None) and not held
        if care is None or info is None or info.proc != care.proc or not works:
            return Member(name, group, works=works)
        token = care.record.token
        counted = observe.counted(care.record, self._machine)
        tree = observe.tree(care.proc, token, processes, self._machine.me())
        memory = info.rss + sum(one.rss for one in tree if not observe.is_probe(one))
        memory = memory if counted is None or counted.memory is None else counted.memory
        why = rules.over(care.node, token, info.age, memory)
        if not why:
            return Member(name, group, works=True)
        beat = observe.heartbeat(care.record, self._machine)
        tasks = None if beat is None else beat.active
        return Member(name, group, works=True, due=Due(care.proc, why, planned=True), tasks=tasks, age=info.age)


@dataclass(slots=True)
class Care:
    """One process that is asked, and its limits. A bundle of state, not a value.

    With `stays` it is asked again and again, and its watchdog is heard. `ask_at` is when to ask next, `until` how long
    the answer under way may take, `heard` when its watchdog was heard last, `limits_at` when to look at its limits.
    """

    node: Node
    record: Record
    proc: Proc
    born: float
    limits: Limits
    machine: Machine
    stays: bool
    health: Health | None = None
    ask_at: float = inf
    until: float | None = None
    heard: float = 0.0
    limits_at: float = inf
    due: Due | None = None
    told: bool = False  # that it is unhealthy

    def begin(self, *, can_answer: bool) -> None:
        """Find out when to ask, going on where the last command has left off."""
        now, node = self.machine.now(), self.node
        self.limits.begin(self)
        if node.alive is not None:
            self.health = observe.health(self.record, self.machine)
            why = rules.unhealthy(node, self.health, now)
            if why and not restart.refusal(self.record, self.machine.wall(), "run" if self.stays else "ensure"):
                self.due = Due(self.proc, why)
            if self._barks:
                try:
                    self.machine.notify_address(node.name, self.record.token, keep=True)
                    self.heard = now
                except MachineError:
                    self.heard = inf  # who cannot be heard is not restarted for being silent
            elif self.stays:
                self.ask_at = max(now, rules.ask_at(node, self.health, now))
            elif can_answer and rules.ask_now(node, self.health, self.born, now):
                self.ask_at = now
        if self.stays:
            self.limits_at = self._next_limit(rules.next_look(now))

    def end(self) -> None:
        """Its process has ended, or is about to."""
        self.machine.end_probe(self.node.name)
        self.limits.end(self.node.name)

    @property
    def _barks(self) -> bool:
        return self.stays and self.node.alive is not None and self.node.alive.sign == "watchdog"

    @property
    def _seconds(self) -> float:
        """The argument of a probe that waits to hear."""
        return inf if self.node.alive is None else float(self.node.alive.what)

    def next(self) -> float | None:
        """When something is due; None while nothing ever is."""
        at = self.ask_at if self.until is None else self.until
        at = min(at, self.limits_at, self.heard + self._seconds if self._barks else inf)
        return None if at == inf else at

    def hear(self, happening: Sent) -> Doing:
        """Take an answer or a sign of life, or, when nothing happened in time, do what is due."""
        match happening:
            case Probed(_, ok, why) if self.until is not None:
                self.until = None
                if ok and happening.at is not None:
                    ok, why = yield from self._own(happening)
                yield from self._answered(Answer(ok=ok, why="" if ok else why))
            case Notified(_, fields) if "WATCHDOG" in fields:
                trigger = fields["WATCHDOG"] == "trigger"  # sd_notify(3): it has found out itself
                self.heard = -inf if trigger else self.machine.now()
                if trigger and self._barks:
                    yield from self._silent()
            case None:
                yield from self._turn(self.machine.now())

    def _turn(self, now: float) -> Doing:
        if self.until is not None and self.until <= now:
            yield from self._late()
        elif self.until is None and self.ask_at <= now:
            yield from self._ask(now)
        if self._barks and self.heard + self._seconds <= now:
            yield from self._silent()
        if self.limits_at <= now:
            self.limits_at = self._next_limit(rules.next_look(now))
            self.limits.look((yield from process_table()))

    # -- asking ---------------------------------------------------------------------------------------------

    def _ask(self, now: float) -> Doing:
        node, machine, alive = self.node, self.machine, self.node.alive
        assert alive is not None  # noqa: S101 -- else there is no time to ask
        match alive.sign:
            case "path":
                yield from self._answered(rules.written(self.health, machine.fingerprint(alive.path), alive.path))
            case "beat":
                beat = observe.heartbeat(self.record, machine)
                yield from self._answered(rules.beaten(beat, now, self._seconds))
            case "watchdog":
                yield from self._answered(Answer(ok=None, why=_NOT_HEARD))
            case _:
                self.until = now + rules.answer_within(node)
                machine.probe(node.name, alive.kind, alive.what, setting(node, machine, self.proc, self.record.token))

    def _late(self) -> Doing:
        name, seconds = self.node.name, rules.answer_within(self.node)
        printed = self.machine.probe_says(name)
        self.machine.end_probe(name)
        self.until = None
        why = f"no answer after {seconds:g}s" + (f"; it last said: {printed}" if printed else "")
        yield from self._answered(Answer(ok=False, why=why))

    def _silent(self) -> Doing:
        """Its watchdog was not heard in time, which needs no second failure, as with systemd."""
        why = f"no WATCHDOG=1 for {self._seconds:g}s" if self.heard > -inf else "it sent WATCHDOG=trigger"
        self.heard = now = self.machine.now()
        if (yield from self._works()):
            self._write(rules.asked(self.health, self.record.token, Answer(ok=False, why=why), now))
            yield from self._sick(f"alive = {self.node.alive}: {why}")

    def _own(self, probed: Probed) -> Generator[Want, Sent, tuple[bool, str]]:
        """A port that accepts proves something only when it is the node's own."""
        processes = self.machine.reaching((yield from process_table()), self.proc)
        what = str(self.node.alive)
        own = own_answer(probed, what, self.proc, token=self.record.token, processes=processes, machine=self.machine)
        return own.ok, own.why

    def _answered(self, answer: Answer) -> Doing:
        node, before = self.node, self.health
        if answer.ok is False and not (yield from self._works()):
            answer = Answer(ok=None)
        now = self.machine.now()
        self._write(rules.asked(before, self.record.token, answer, now))
        self.ask_at = now + node.alive_every if self.stays else inf
        if answer.ok and before is not None and rules.unhealthy(node, before, now):
            self.due = None
            yield Recovered(node.name, self.proc.pid, f"it had {rules.failing(node, before, now)}")
        why = rules.unhealthy(node, self.health, now)
        if why:
            yield from self._sick(why)

    def _sick(self, why: str) -> Doing:
        """It is due, if the rule of restarts lets it; told once, and again when it is restarted after all."""
        if self.due is not None and not self.due.planned:
            return
        not_yet = restart.refusal(self.record, self.machine.wall(), "run" if self.stays else "ensure")
        self.due = None if not_yet else Due(self.proc, why)
        if not (not_yet and self.told):
            yield Unhealthy(self.node.name, self.proc.pid, f"{why}; {not_yet}" if not_yet else why)
        self.told = True

    def _works(self) -> Generator[Want, Sent, bool]:
        """Whether it still is the process that runs, neither suspended nor asked to stop: else a no says nothing."""
        try:
            state = observe.look_at(self.node, (yield from process_table()), self.machine).state
        except MachineError:
            return False
        return rules.can_answer(state) and rules.ready(state) == self.proc

    def _write(self, health: Health) -> None:
        """What cannot be written is known here all the same."""
        self.health = health
        node = self.node
        try:
            self.machine.append(node.healthfile, files.encode(health), files.HEALTH_LIMIT, node.uid, node.gid)
        except (MachineError, OSError):
            return

    def _next_limit(self, first: float) -> float:
        """When to look at its limits; not before `first`, but for the moment that it comes of age."""
        at = inf if self.node.max_memory is None else first
        limit = rules.age_limit(self.node, self.record.token)
        if limit is None:
            return at
        of_age = self.born + limit
        return min(at, of_age if of_age > self.machine.now() else first)


def care_of(node: Node, observed: Observation, limits: Limits, machine: Machine, *, stays: bool) -> Care | None:
    """What is to be asked of a node as it was observed; None where there is nothing to ask, or nobody to be asked."""
    proc, record = rules.ready(observed.state), observed.record
    if proc is None:
        return None
    limits.working.add(node.name)
    if record is None or not node.watched:
        return None
    born = machine.now() - observed.processes.by_pid[proc.pid].age
    care = Care(node, record, proc, born, limits, machine, stays)
    care.begin(can_answer=rules.can_answer(observed.state))
    return care


def ensure(
    tasks: Sequence[Task], groups: Mapping[str, str], options: RunOptions, machine: Machine
) -> Generator[Event, None, None]:
    """Ask each node once, then walk; what is due is restarted."""
    limits = Limits({task.node.name for task in tasks}, groups, machine)
    asked = [(task, partial(_ask_once, task.node, limits, machine)) for task in tasks]
    for event in drive(asked, options, machine):
        yield event
        if isinstance(event, Interrupted):
            return
    yield from _look_once(limits, machine)
    yield from walk(_with_dues(tasks, limits), options, machine)


def foreseen(tasks: Sequence[Task], groups: Mapping[str, str], machine: Machine) -> Sequence[Task]:
    """The same tasks with what is due by the last answers; nobody is asked."""
    limits = Limits({task.node.name for task in tasks}, groups, machine)
    processes = machine.sketch()
    for task in tasks:
        _begin(task.node, processes, limits, machine)
    limits.look(processes)
    return _with_dues(tasks, limits)


def _begin(node: Node, processes: ProcessTable, limits: Limits, machine: Machine) -> Care | None:
    try:
        observed = observe.look_at(node, processes, machine)
    except MachineError:
        return None  # the walk says what is wrong
    if observed.runner is not None:
        limits.leave(node.name)
        return None  # a `multi run` looks after it
    if decide.is_meant_to_be_down(observed.state) or (observed.record is not None and observed.record.gave_up):
        limits.leave(node.name)
    return care_of(node, observed, limits, machine, stays=False)


def _ask_once(node: Node, limits: Limits, machine: Machine, _began: float) -> Walk:
    care = _begin(node, (yield from process_table()), limits, machine)
    if care is None or care.ask_at == inf:
        return True
    yield from care.hear(None)
    while (until := care.until) is not None:
        yield from care.hear((yield Wait(until, "health", care.proc.pid, machine.now())))
    return True


def _look_once(limits: Limits, machine: Machine) -> Iterable[Event]:
    if any(care.node.max_memory or care.node.max_age for care in limits.cares.values()):
        limits.look(machine.sketch())
    for name, care in limits.cares.items():
        if care.due is not None and care.due.planned:
            yield Recycling(name, care.proc.pid, care.due.why)


def _with_dues(tasks: Sequence[Task], limits: Limits) -> Sequence[Task]:
    dues = {name: care.due for name, care in limits.cares.items()}
    return [replace(task, request=replace(task.request, due=dues.get(task.node.name))) for task in tasks]
