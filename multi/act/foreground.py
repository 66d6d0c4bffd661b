"""In the foreground: start the nodes, stay with them, stop them. For systemd, containers and a terminal.

The nodes are started and stopped by the same walks as elsewhere, so `status`, `stop` and `restart` from another shell
work on them. This module adds the time in between: it waits for the end of any node and for signals.

TERM and INT stop the nodes by their schedule, QUIT begins with QUIT, a second signal of these kills. HUP is forwarded
as the node's reload signal, unless the terminal is gone: then it stops, as TERM does. An unexpected end of one node
stops the others too: systemd, or the restart policy of a container, then starts us again.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from multi import decide, observe
from multi.act.start import with_last_lines
from multi.act.walk import walk
from multi.machine import Ended, Interruption, Locked, MachineError
from multi.model import record as records
from multi.model.event import Adopted, Event, Failed, Gone, Interrupted, Refused, Signalled, Skipped
from multi.model.request import Request, RunOptions, Task
from multi.model.schedule import end_text, signal_name
from multi.model.step import AwaitDown, Refuse, Skip, Spawn
from multi.text import plural
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from multi.machine import Happening, Machine
    from multi.model.node import Node
    from multi.model.process import Proc

_LOOK_AGAIN = 0.5  # seconds between two looks at a node whose lock cannot be waited for


def stay(nodes: Sequence[Node], options: RunOptions, machine: Machine) -> Generator[Event, None, None]:
    """Start, stay, stop. Ends when the nodes have ended; one stream of events."""
    # A node that is being started or stopped has nothing to reload.
    options = replace(options, deaf_to=(signal.SIGHUP,), runner=_self(machine))
    machine.answer_watchdog()
    watch = _Watch(nodes, options, machine)
    yield from watch.run()
    machine.tell("STOPPING=1\nSTATUS=stopping the nodes")
    yield from _stop(list(watch.nodes.values()), watch.request, options, machine)


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


def _stop(nodes: Sequence[Node], request: Request, options: RunOptions, machine: Machine) -> Iterator[Event]:
    """Stop by the schedule; a further signal kills."""
    enough = False
    for event in walk([Task(node, request) for node in nodes], options, machine):
        match event:
            case Interrupted():
                enough = True  # the walk ends by itself now, and gives its locks back
            case Skipped(_, None):
                continue  # it did not get so far as to run
            case _:
                yield event
    if enough:
        yield from walk([Task(node, Request("kill")) for node in nodes], options, machine)


class _Watch:
    """The time before the stop. In the end `nodes` are those to be stopped, `request` says how."""

    def __init__(self, nodes: Sequence[Node], options: RunOptions, machine: Machine) -> None:
        self._options = options
        self._machine = machine
        self._procs: dict[str, Proc] = {}
        self._again: dict[str, float] = {}  # nodes to look at, and when
        self._over = False
        self._asked = False  # whether it is over because somebody asked for it
        self._offsets = {node.name: machine.size(node.logfile) for node in nodes}  # of the logs, before the start
        self.nodes = {node.name: node for node in nodes}
        self.request = Request("stopwait")

    def run(self) -> Iterator[Event]:
        """Until other commands have stopped all nodes, one has ended by itself, or a signal asks for the end."""
        yield from self._start(self.nodes)
        if self._over:
            return
        self._machine.tell(f"READY=1\nSTATUS={plural(len(self.nodes), 'node')} running")
        self._over = self._machine.terminal_gone()
        while True:
            yield from self._look()
            if self._over or not self.nodes:
                return
            for happening in self._machine.wait(min(self._again.values(), default=None)):
                yield from self._heard(happening)

    def _heard(self, happening: Happening) -> Iterator[Event]:
        match happening:
            case Ended(name, proc, status) if self._procs.get(name) == proc:
                yield from self._ended(name, proc, status)
            case Locked(name) if name in self.nodes:
                self._machine.unlock(name)
                self._again[name] = self._machine.now()
            case Interruption(signal.SIGHUP) if not self._machine.terminal_gone():
                yield from self._reload()
            case Interruption(signum):
                self.request = Request("kill") if self._asked else _request(signum)
                self._over = self._asked = True

    def _ended(self, name: str, proc: Proc, status: int | None) -> Iterator[Event]:
        node = self.nodes[name]
        record = observe.recall(node, self._machine)
        del self._procs[name]
        self._machine.release(name)
        if record is None or record.desired == records.WANTED_STOPPED:
            del self.nodes[name]
            yield Gone(name, proc.pid, 0.0)
        elif record.desired == records.WANTED_UP and record.proc == proc:
            self._over = True
            yield self._failed(Failed(name, proc.pid, end_text(status), status), node)
        else:
            self._await_lock(node)

    def _failed(self, failed: Failed, node: Node) -> Failed:
        """The failure with the last lines of its log, unless they are part of our own output."""
        if not node.logs_to_file:
            return replace(failed, logfile=node.logfile)
        return with_last_lines(failed, node, self._machine, self._offsets[node.name])

    def _await_lock(self, node: Node) -> None:
        """Another command is restarting the node. When we get its lock, that command is done or gone."""
        machine = self._machine
        try:
            free = machine.lock(node.name, node.lockfile, node.uid, node.gid) is None
        except MachineError:
            self._again[node.name] = machine.now() + _LOOK_AGAIN
            return
        if free:
            machine.unlock(node.name)
            self._again[node.name] = machine.now()

    def _look(self) -> Iterator[Event]:
        """Find the process of each node that has none here: at first, and after a restart by another command."""
        now = self._machine.now()
        due = [name for name, at in self._again.items() if at <= now]
        if not due:
            return
        processes = self._machine.processes()
        for name in due:
            del self._again[name]
            observed = observe.look_at(self.nodes[name], processes, self._machine)
            match decide.stay(observed.state, observed.record):
                case AwaitDown(proc):
                    self._procs[name] = proc
                    self._machine.watch(name, proc)
                case Spawn():
                    yield from self._start((name,), again=True)
                case Skip():
                    del self.nodes[name]
                    yield Gone(name, 0, 0.0)
                case Refuse(why):
                    self._over = True
                    yield self._failed(Failed(name, None, why), self.nodes[name])

    def _start(self, names: Iterable[str], *, again: bool = False) -> Iterator[Event]:
        """Start nodes; `again` for one whose restart by another command was cut off."""
        for event in walk([Task(self.nodes[name], Request("start")) for name in names], self._options, self._machine):
            match event:
                case Skipped(name, pid, _, True) | Adopted(name, pid) if not again:
                    del self.nodes[name]  # another command started it, so it is not ours to stop
                    self._over = True
                    yield Failed(name, pid, decide.runs_elsewhere(name))
                case Interrupted(signum):
                    self.request = _request(signum)
                    self._over = True
                case _:
                    self._over = self._over or isinstance(event, (Failed, Refused))
                    yield event
        # The walk has dropped what else happened meanwhile.
        self._again = dict.fromkeys(self.nodes, self._machine.now())

    def _reload(self) -> Iterator[Event]:
        for name, proc in self._procs.items():
            signum = self.nodes[name].reload_signal
            if signum is None:
                yield Skipped(name, proc.pid, f"its preset {self.nodes[name].preset!r} has no reload signal")
            elif self._machine.signal(proc, signum) == "sent":
                yield Signalled(name, proc.pid, signum, 0.0)
            else:
                yield Skipped(name, proc.pid, f"could not be sent {signal_name(signum)}")
