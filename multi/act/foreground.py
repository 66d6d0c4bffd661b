"""In the foreground: start the nodes, stay with them, stop them. For systemd, containers and a terminal.

The nodes are started and stopped by the same walks as elsewhere, so `status`, `stop` and `restart` from another shell
work on them. The time in between is that of `multi.act.keep`, a walk for each node.

TERM and INT stop the nodes by their schedule, QUIT begins with QUIT, a second signal of these kills. HUP is forwarded
as the node's reload signal, unless the terminal is gone: then it stops, as TERM does. What becomes of a node that ends
says its policy, see `keep`. Without one it stops the others too: systemd, or the policy of a container, then starts us
again.
"""

from __future__ import annotations

import signal

from multi import observe
from multi.act import service
from multi.act.forced import forced
from multi.act.keep import Keeper, Keeping
from multi.act.loop import drive
from multi.act.needs import WAITS
from multi.act.walk import walk
from multi.decide.turns import OVERRULED
from multi.machine import MachineError
from multi.model.event import (
    Awaits,
    Cleared,
    Ending,
    Event,
    Exited,
    Failed,
    GaveUp,
    Gone,
    Interrupted,
    Overheard,
    Refused,
    Signalled,
    Skipped,
)
from multi.model.request import Request, RunOptions, Task
from multi.text import plural
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from multi.act.output import Shown
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import Proc


def stay(nodes: Sequence[Node], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Start, stay, stop. Ends when the nodes have ended; one stream of events."""
    # A node that is being started or stopped has nothing to reload.
    options = replace(options, deaf_to=(signal.SIGHUP,), runner=_self(machine))
    machine.answer_watchdog()
    foreground = _Foreground(nodes, options, machine)
    events = _whole(foreground, options, machine)
    yield from events if foreground.shown is None else foreground.shown.told(events)


def _whole(foreground: _Foreground, options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    ended: set[str] = set()  # the nodes of whose end somebody was told
    for event in foreground.run():
        if isinstance(event, (Exited, Failed, GaveUp)):
            ended.add(event.node)
        yield event
    service.stopping(machine)
    for event in forced(_stop(foreground.nodes, foreground.request, options, machine)):
        if not (isinstance(event, Cleared) and event.node in ended):
            yield event


def _self(machine: Machine) -> Proc | None:
    """Our own process, by which a restart from another shell finds where the node's output goes."""
    try:
        info = machine.processes().by_pid.get(machine.me().pid)
    except MachineError:
        return None  # the walk says what is wrong
    return None if info is None else info.proc


def _request(signum: int) -> Request:
    """The request that a signal stands for."""
    return Request("stopwait", signal.SIGQUIT if signum == signal.SIGQUIT else None)


def _stop(
    nodes: Sequence[Node], request: Request, options: RunOptions, machine: Machine
) -> Generator[Event, None, None]:
    """Stop by the schedule; a further signal kills what is left."""
    began, left = machine.now(), {node.name: node for node in nodes}
    asked: dict[str, int] = {}
    enough = False
    for event in walk([Task(node, request) for node in nodes], options, machine):
        match event:
            case Interrupted(signum):
                yield _ending(signum, tuple(left.values()), kills=True)
                enough = True  # the walk ends by itself now, and gives its locks back
                continue
            case Skipped(name, None):  # it did not get so far as to run
                left.pop(name, None)
                continue
            case Signalled(name, pid):
                asked[name] = pid
            case Gone(name) | Cleared(name):
                left.pop(name, None)
        yield event
    for event in walk([Task(node, Request("kill")) for node in left.values()], options, machine) if enough else ():
        if not isinstance(event, Skipped):
            yield event
        elif event.node in asked:  # it has ended in the meantime
            yield Gone(event.node, asked[event.node], machine.now() - began)


def _ending(signum: int, nodes: Sequence[Node], *, kills: bool = False) -> Ending:
    schedules = {str(node.stop) for node in nodes}
    common = schedules.pop() if len(schedules) == 1 and signum != signal.SIGQUIT else ""
    return Ending(signum, tuple(node.name for node in nodes), common, kills)


class _Foreground:
    """The time before the stop. In the end `nodes` are those to be stopped, `request` says how."""

    def __init__(self, nodes: Sequence[Node], options: RunOptions, machine: Machine) -> None:
        self._machine = machine
        self._nodes = nodes
        self._shared = Keeping(options, machine, len(nodes) == 1, {node.name: node for node in nodes})
        self._shared.watched = any(node.watched for node in nodes)
        if options.shown:
            from multi.act.output import Shown

            self._shared.shown = Shown(nodes, self._shared.held, machine)
        self._asked = False  # whether it is over because somebody asked for it
        self._told = False  # whether whoever started us knows that all are ready
        self.request = Request("stopwait")

    @property
    def nodes(self) -> Sequence[Node]:
        return tuple(self._shared.held.values())

    @property
    def shown(self) -> Shown | None:
        return self._shared.shown

    def run(self) -> Iterator[Event]:
        """Until no node is left to stay with, one has ended that is to end all, or a signal asks for the end."""
        if self._shared.options.edits is not None:
            from multi.act.edits import Edits

            self._shared.edits = Edits(self._nodes, self._shared.options.edits, self._machine)
        yield from self._start()
        if self._shared.over or self._machine.terminal_gone():
            return
        self._tell_ready()
        yield from self._keep()

    def _tell_ready(self) -> None:
        if not (self._told or self._shared.failed or self._shared.late):
            self._told = True
            self._machine.tell(f"READY=1\nSTATUS={plural(len(self._shared.held), 'node')} running")

    def _start(self) -> Iterator[Event]:
        """The first start of all. Starts that fail are tried again by the policy, those that cannot be are the end."""
        shared = self._shared
        shared.offsets.update({node.name: self._machine.size(node.logfile) for node in self._nodes})
        for event in walk(self._tasks(), shared.options, self._machine):
            match event:
                case Failed(name, int()) if shared.held[name].restart != "no":
                    shared.failed[name] = event
                    continue
                case Interrupted():
                    yield self._interrupted(event)
                    continue
                case Skipped(name, None, why, False) if why.startswith(OVERRULED):
                    event = replace(event, met=True)  # noqa: PLW2901 -- it is no failure of ours: the keeper leaves it alone
                case Skipped(name, None, why, False) if not shared.over:
                    shared.late[name] = why
                    yield self._awaits(shared.held[name], why)
                    continue
                case Refused(name):
                    shared.held.pop(name, None)  # nothing was touched, and it is not ours to stop
            shared.over = shared.over or isinstance(event, (Failed, Refused))
            yield event

    def _awaits(self, node: Node, why: str) -> Awaits:
        """Not begun: it waits for what it needs, or for nodes that are tried again."""
        late = [name for name in node.after if name in self._shared.failed or name in self._shared.late]
        return Awaits(node.name, " ".join(late) or why.removeprefix(WAITS), "not ready" if late else "")

    def _tasks(self) -> Sequence[Task]:
        """What is asked of each node at first. What a `run` has left that was killed may run otherwise than asked."""
        tasks = []
        for node in self._nodes:
            try:
                record = observe.recall(node, self._machine)
            except MachineError:
                record = None  # the walk says what is wrong
            left = record is not None and record.runner is not None
            tasks.append(Task(node, Request("run", recorded=record.node if record is not None and left else None)))
        return tasks

    def _keep(self) -> Iterator[Event]:
        shared = self._shared
        if shared.edits is not None:
            yield from shared.edits.begin()
        keepers = [Keeper(node, shared) for node in shared.held.values()]
        lives = [(Task(keeper.node, Request("run")), keeper.life) for keeper in keepers]
        events = drive(lives, replace(shared.options, progress=None), self._machine, resident=True)
        try:
            for event in events:
                if isinstance(event, Overheard):
                    if self._told:
                        service.reloaded(self._machine)
                    continue
                if isinstance(event, Interrupted):
                    yield self._interrupted(event)
                    continue
                yield event
                self._tell_ready()
                if shared.over or not shared.held:
                    return
        finally:
            events.close()

    def _interrupted(self, event: Interrupted) -> Event:
        self.request = Request("kill") if self._asked else _request(event.signum)
        ending = _ending(event.signum, self.nodes, kills=self._asked)
        self._shared.over = self._asked = True
        return ending
