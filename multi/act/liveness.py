"""Asks running nodes whether they work, and looks at their limits: each `alive_every` for `run`, once for `ensure`.

It asks off the loop, as for readiness, and has no deadline while nothing is due. What is learnt lies beside the record,
where `status` and the next command find it. It says which processes are due; the restart is a walk like any other.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from multi import decide, observe
from multi.act.start import own_answer
from multi.act.stop import listen
from multi.act.surroundings import setting
from multi.act.walk import walk
from multi.decide import health as rules
from multi.decide.health import Answer, Member
from multi.machine import Interruption, MachineError, Notified, Probed
from multi.model import health as files
from multi.model.event import Interrupted, Recovered, Recycling, Unhealthy
from multi.model.request import Due
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from multi.machine import Happening, Machine
    from multi.model.event import Event
    from multi.model.health import Health
    from multi.model.node import Node
    from multi.model.process import Proc, ProcessTable
    from multi.model.record import Record
    from multi.model.request import RunOptions, Task
    from multi.observe import Observation

_KEY = "alive:"  # no name of a node holds a colon
_NOT_HEARD = "nobody hears its watchdog: only 'multi run' does"


@dataclass(slots=True)
class _Case:
    """One process that is asked. A bundle of state, not a value.

    `ask_at` is when to ask next, `until` how long the answer under way may take, `heard` when its watchdog was last.
    """

    node: Node
    record: Record
    proc: Proc
    born: float
    health: Health | None
    ask_at: float = inf
    until: float | None = None
    heard: float = 0.0


class Liveness:
    """The nodes that are asked. `due` are those that are to be restarted.

    With `stays` it goes on asking, and hears watchdogs.
    """

    def __init__(self, nodes: Iterable[Node], groups: Mapping[str, str], machine: Machine, *, stays: bool) -> None:
        """Ask nobody yet. `groups` are the groups of the configuration, by the full names of their nodes."""
        self.due: dict[str, Due] = {}
        self._all = {node.name for node in nodes}
        self._groups = groups
        self._machine = machine
        self._stays = stays
        self._cases: dict[str, _Case] = {}
        self._up: set[str] = set()  # those that are ready, asked or not
        self._limits_at = inf

    # -- whom -----------------------------------------------------------------------------------------------

    def follow(self, node: Node, observed: Observation, processes: ProcessTable) -> None:
        """Begin to ask a node that is ready, and go on where the last command has left off."""
        self.drop(node.name)
        proc, record = rules.ready(observed.state), observed.record
        if proc is None:
            return
        self._up.add(node.name)
        if record is None or not node.watched:
            return
        now = self._machine.now()
        born = now - processes.by_pid[proc.pid].age
        health = observe.health(record, self._machine) if node.alive is not None else None
        case = self._cases[node.name] = _Case(node, record, proc, born, health, heard=now)
        if node.alive is not None and rules.can_answer(observed.state):
            case.ask_at = self._first(case, now)
        why = rules.unhealthy(node, health, now)
        if why and not self._stays:
            self.due[node.name] = Due(case.proc, why)
        if self._stays and self._sign(case) == "watchdog":
            listen(node.name, record.token, self._machine)
        if self._stays:
            self._limits_at = min(self._limits_at, self._next_limit(case, now + rules.MEMORY_EVERY))

    def _first(self, case: _Case, now: float) -> float:
        node, health = case.node, case.health
        if self._stays:
            return max(now, rules.ask_at(node, health, now)) if self._sign(case) != "watchdog" else inf
        return now if rules.ask_now(node, health, case.born, now) else inf

    def leave(self, name: str) -> None:
        """It is not to be counted any more: somebody stopped it, or it was given up."""
        self.drop(name)
        self._all.discard(name)

    def drop(self, name: str) -> None:
        """Its process has ended, or is about to."""
        self.due.pop(name, None)
        self._up.discard(name)
        case = self._cases.pop(name, None)
        if case is not None and case.until is not None:
            self._machine.end_probe(_KEY + name)

    @property
    def unanswered(self) -> bool:
        """Whether an answer is under way."""
        return any(case.until is not None for case in self._cases.values())

    # -- when -----------------------------------------------------------------------------------------------

    def next(self) -> float | None:
        """When something is due; None while nothing ever is."""
        at = min((self._next_of(case) for case in self._cases.values()), default=inf)
        at = min(at, self._limits_at)
        return None if at == inf else at

    def _next_of(self, case: _Case) -> float:
        if case.until is not None:
            return case.until
        if self._stays and case.node.name not in self.due and self._sign(case) == "watchdog":
            return case.heard + _seconds(case.node)
        return case.ask_at

    def turn(self) -> Iterator[Event]:
        """Do what is due."""
        now = self._machine.now()
        for case in [case for case in self._cases.values() if self._next_of(case) <= now]:
            if case.until is not None:
                yield from self._late(case)
            elif self._stays and self._sign(case) == "watchdog":
                yield from self._silent(case)
            else:
                yield from self._ask(case)
        if self._limits_at <= now:
            yield from self.look_at_limits()

    def hear(self, happening: Happening) -> Iterator[Event]:
        """Take an answer, or a sign of life."""
        match happening:
            case Probed(key, ok, why, at) if key.startswith(_KEY):
                case = self._cases.get(key.removeprefix(_KEY))
                if case is not None and case.until is not None:
                    case.until = None
                    if at is not None:
                        ok, why = self._own(case, happening)
                    yield from self._answered(case, Answer(ok=ok, why="" if ok else why))
            case Notified(name, fields) if name in self._cases:
                if fields.get("WATCHDOG") == "1":
                    self._cases[name].heard = self._machine.now()
                elif fields.get("WATCHDOG") == "trigger":  # sd_notify(3): it has found out itself
                    self._cases[name].heard = -inf

    def again(self) -> None:
        """What was under way may have been answered while nobody listened: it is asked anew, and counts as nothing."""
        now = self._machine.now()
        for name, case in self._cases.items():
            if case.until is not None:
                self._machine.end_probe(_KEY + name)
                case.until, case.ask_at = None, now
            case.heard = max(case.heard, now)

    # -- asking ---------------------------------------------------------------------------------------------

    @staticmethod
    def _sign(case: _Case) -> str:
        return "" if case.node.alive is None else case.node.alive.sign

    def _ask(self, case: _Case) -> Iterator[Event]:
        node, machine, alive = case.node, self._machine, case.node.alive
        assert alive is not None  # noqa: S101 -- the others have nothing to be asked
        match alive.sign:
            case "path":
                yield from self._answered(case, rules.written(case.health, machine.fingerprint(alive.path), alive.path))
            case "beat":
                beat = observe.heartbeat(case.record, machine)
                yield from self._answered(case, rules.beaten(beat, machine.now(), _seconds(node)))
            case "watchdog":
                yield from self._answered(case, Answer(ok=None, why=_NOT_HEARD))
            case _:
                case.until = machine.now() + rules.answer_within(node)
                machine.probe(
                    _KEY + node.name, alive.kind, alive.what, setting(node, machine, case.proc, case.record.token)
                )

    def _late(self, case: _Case) -> Iterator[Event]:
        key = _KEY + case.node.name
        printed = self._machine.probe_says(key)
        self._machine.end_probe(key)
        case.until = None
        why = f"no answer after {rules.answer_within(case.node):g}s" + (f"; it last said: {printed}" if printed else "")
        yield from self._answered(case, Answer(ok=False, why=why))

    def _silent(self, case: _Case) -> Iterator[Event]:
        """Its watchdog was not heard in time, which needs no second failure, as with systemd."""
        seconds, now = _seconds(case.node), self._machine.now()
        why = f"it sent no WATCHDOG=1 for {seconds:g}s" if case.heard > -inf else "it sent WATCHDOG=trigger"
        case.heard = now  # asked anew, where it is not to be restarted
        if self._works(case):
            self._write(case, rules.asked(case.health, case.record.token, Answer(ok=False, why=why), now))
            yield from self._sick(case, f"alive = {case.node.alive}: {why}")

    def _own(self, case: _Case, probed: Probed) -> tuple[bool, str]:
        """A port that accepts proves something only when it is the node's own."""
        try:
            processes = self._machine.processes()
        except (MachineError, OSError):
            return probed.ok, probed.why
        what = str(case.node.alive)
        own = own_answer(probed, what, case.proc, token=case.record.token, processes=processes, machine=self._machine)
        return own.ok, own.why

    def _answered(self, case: _Case, answer: Answer) -> Iterator[Event]:
        now = self._machine.now()
        if answer.ok is False and not self._works(case):
            answer = Answer(ok=None)
        before = case.health
        self._write(case, rules.asked(before, case.record.token, answer, now))
        case.ask_at = now + case.node.alive_every if self._stays else inf
        if answer.ok and before is not None and rules.unhealthy(case.node, before, now):
            self.due.pop(case.node.name, None)
            yield Recovered(case.node.name, case.proc.pid, f"it had {rules.failing(case.node, before, now)}")
        why = rules.unhealthy(case.node, case.health, now)
        if why:
            yield from self._sick(case, why)

    def _sick(self, case: _Case, why: str) -> Iterator[Event]:
        if case.node.name not in self.due or self.due[case.node.name].planned:
            self.due[case.node.name] = Due(case.proc, why)
            yield Unhealthy(case.node.name, case.proc.pid, why)

    def _works(self, case: _Case) -> bool:
        """Whether it still is the process that runs, and neither suspended nor asked to stop: else it says nothing."""
        try:
            state = observe.look_at(case.node, self._machine.processes(), self._machine).state
        except (MachineError, OSError):
            return False
        return rules.can_answer(state) and rules.ready(state) == case.proc

    def _write(self, case: _Case, health: Health) -> None:
        """What cannot be written is known here all the same."""
        case.health = health
        node = case.node
        try:
            self._machine.append(node.healthfile, files.encode(health), files.HEALTH_LIMIT, node.uid, node.gid)
        except (MachineError, OSError):
            return

    # -- limits ---------------------------------------------------------------------------------------------

    def _next_limit(self, case: _Case, first: float) -> float:
        """When to look at the limits of a node; not before `first`, but for the moment that it comes of age."""
        at = inf if case.node.max_memory is None else first
        limit = rules.age_limit(case.node, case.record.token)
        if limit is None:
            return at
        of_age = case.born + limit
        return min(at, of_age if of_age > self._machine.now() else first)

    def look_at_limits(self) -> Iterator[Event]:
        """Recycle one of each group that is at a limit; all nodes share one look at the process table."""
        now, machine = self._machine.now(), self._machine
        try:
            processes: ProcessTable | None = machine.processes()
        except (MachineError, OSError):
            processes = None  # as under a sandbox; the next look may be luckier
        later = now + rules.MEMORY_EVERY
        if self._stays:
            self._limits_at = min((self._next_limit(case, later) for case in self._cases.values()), default=inf)
        if processes is None:
            return
        for name, due in rules.turns([self._member(name, processes) for name in sorted(self._all)]).items():
            if name not in self.due:
                self.due[name] = due
                yield Recycling(name, due.proc.pid, due.why)

    def _member(self, name: str, processes: ProcessTable) -> Member:
        group, case = self._groups.get(name, ""), self._cases.get(name)
        works = name in self._up and name not in self.due
        info = None if case is None else processes.by_pid.get(case.proc.pid)
        if case is None or info is None or info.proc != case.proc or not works:
            return Member(name, group, works=works)
        token = case.record.token
        tree = observe.tree(case.proc, token, processes, self._machine.me())
        memory = info.rss + sum(one.rss for one in tree if not observe.is_probe(one))
        why = rules.over(case.node, token, info.age, memory)
        if not why:
            return Member(name, group, works=True)
        beat = observe.heartbeat(case.record, self._machine)
        tasks = None if beat is None else beat.active
        return Member(name, group, works=True, due=Due(case.proc, why, planned=True), tasks=tasks)


def ensure(
    tasks: Sequence[Task], groups: Mapping[str, str], options: RunOptions, machine: Machine
) -> Generator[Event, None, None]:
    """Ask each node once, then walk; what is due is restarted."""
    live = _begun(tasks, groups, machine)
    yield from live.turn()
    while live.unanswered:
        for happening in machine.wait(live.next()):
            if isinstance(happening, Interruption):
                yield Interrupted(happening.signum)
                return
            yield from live.hear(happening)
        yield from live.turn()
    yield from live.look_at_limits()
    yield from walk([_with(task, live.due) for task in tasks], options, machine)


def foreseen(tasks: Sequence[Task], groups: Mapping[str, str], machine: Machine) -> list[Task]:
    """The same tasks with what is due by the last answers; nobody is asked."""
    live = _begun(tasks, groups, machine)
    for _ in live.look_at_limits():
        pass
    return [_with(task, live.due) for task in tasks]


def _begun(tasks: Sequence[Task], groups: Mapping[str, str], machine: Machine) -> Liveness:
    live = Liveness([task.node for task in tasks], groups, machine, stays=False)
    processes = machine.processes()
    for task in tasks:
        try:
            observed = observe.look_at(task.node, processes, machine)
        except MachineError:
            continue  # the walk says what is wrong
        if decide.is_meant_to_be_down(observed.state):
            live.leave(task.node.name)
        else:
            live.follow(task.node, observed, processes)
    return live


def _with(task: Task, due: Mapping[str, Due]) -> Task:
    found = due.get(task.node.name)
    return task if found is None else replace(task, request=replace(task.request, due=found))


def _seconds(node: Node) -> float:
    """The argument of a probe that waits to hear."""
    return 0.0 if node.alive is None else float(node.alive.what)
