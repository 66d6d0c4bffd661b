"""In the foreground: start the nodes, stay with them, stop them. For systemd, containers and a terminal.

The nodes are started and stopped by the same rides as ever, so `status`, `stop` and `restart` from another
shell work on them. What is added is the time in between: wait for the end of any node and for signals.

TERM and INT stop the nodes by their schedule, QUIT begins with QUIT, a second TERM or INT kills. HUP is
handed on as the node's reload signal. A node that ends without having been asked to ends the others too:
whoever started us, systemd or a container's restart policy, is the one to try again.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from multi import act, observe, ready
from multi import record as records
from multi.decide import Wish
from multi.event import Event, Failed, Gone, Interrupted, Readied, Refused, Signalled, Skipped
from multi.machine import Ended, Interruption
from multi.schedule import signal_name
from multi.sighting import Stopping, Up

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from multi.machine import Happening, Machine
    from multi.node import Node
    from multi.proc import Proc

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK_AGAIN = 0.5  # seconds between two looks at a node that somebody else is restarting


def stay(nodes: Sequence[Node], manner: act.Manner, machine: Machine) -> Iterator[Event]:
    """Start, stay, stop. Ends when the nodes have ended; one stream of events."""
    mine: list[Node] = []
    wanted = True
    by_name = {node.name: node for node in nodes}
    for event in act.walk([(node, Wish("start")) for node in nodes], manner, machine):
        match event:
            case Readied(name):
                mine.append(by_name[name])
                yield event
            case Skipped(name, pid, why, True):
                yield Failed(name, pid, f"{why}, so it cannot be run in the foreground; 'multi stopwait {name}' first")
                wanted = False
            case Interrupted():
                wanted = False
                mine = list(nodes)  # whoever was under way may run by now
            case Failed() | Refused():
                yield event
                wanted = False
            case _:
                yield event
    stop = Wish("stopwait")
    if wanted:
        machine.tell(f"READY=1\nSTATUS={len(mine)} {'node' if len(mine) == 1 else 'nodes'} running")
        watch = _Watch(mine, machine)
        yield from watch.run()
        mine, stop = watch.left, watch.wish
    machine.tell("STOPPING=1\nSTATUS=stopping the nodes")
    yield from _stop(mine, stop, manner, machine)


def _stop(nodes: Sequence[Node], wish: Wish, manner: act.Manner, machine: Machine) -> Iterator[Event]:
    """Stop by the schedule; a further signal kills."""
    for event in act.walk([(node, wish) for node in nodes], manner, machine):
        if isinstance(event, Interrupted):
            yield from act.walk([(node, Wish("kill")) for node in nodes], manner, machine)
            return
        yield event


class _Watch:
    """The time between start and stop. `left` are the nodes to be stopped, `wish` how."""

    def __init__(self, nodes: Sequence[Node], machine: Machine) -> None:
        self._machine = machine
        self._nodes = {node.name: node for node in nodes}
        self._procs: dict[str, Proc] = {}
        self._again: dict[str, float] = {}  # nodes that somebody else restarts, and when to look again
        self._failed = False
        self.wish = Wish("stopwait")

    @property
    def left(self) -> list[Node]:
        return list(self._nodes.values())

    def run(self) -> Iterator[Event]:
        for name in self._nodes:
            self._again[name] = self._machine.now()
        yield from self._look()
        while self._nodes and not self._failed:
            for happening in self._machine.wait(min(self._again.values(), default=None)):
                stop = yield from self._heard(happening)
                if stop:
                    return
            yield from self._look()

    def _heard(self, happening: Happening) -> Generator[Event, None, bool]:
        match happening:
            case Ended(name, proc, status) if self._procs.get(name) == proc:
                yield from self._ended(name, proc, status)
            case Interruption(signum) if signum == signal.SIGHUP:
                yield from self._reload()
            case Interruption(signum):
                self.wish = Wish("stopwait", signal.SIGQUIT if signum == signal.SIGQUIT else None)
                self._failed = True
        return self._failed

    def _ended(self, name: str, proc: Proc, status: int | None) -> Iterator[Event]:
        node = self._nodes[name]
        record = observe.recall(node, self._machine)
        desired = record.desired if record is not None else records.WANTED_STOPPED
        del self._procs[name]
        self._machine.release(name)
        if desired == records.WANTED_UP and record is not None and record.proc == proc:
            yield Failed(name, proc.pid, ready.end_text(status), status, logfile=node.logfile)
            self._failed = True
        elif desired == records.WANTED_STOPPED:
            yield Gone(name, proc.pid, 0.0)
            del self._nodes[name]
        else:
            self._again[name] = self._machine.now()

    def _look(self) -> Iterator[Event]:
        """Find the process of each node that has none here: at the beginning, and after somebody's restart."""
        now = self._machine.now()
        due = [name for name, at in self._again.items() if at <= now]
        if not due:
            return
        census = self._machine.census()
        for name in due:
            node = self._nodes[name]
            seen = observe.look_at(node, census, self._machine)
            match seen.sighting:
                case Up(proc) | Stopping(proc):
                    del self._again[name]
                    self._procs[name] = proc
                    self._machine.watch(name, proc)
                case _ if seen.record is not None and seen.record.desired == records.RESTARTING:
                    self._again[name] = now + _LOOK_AGAIN
                case _ if seen.record is None:
                    del self._again[name], self._nodes[name]
                    yield Gone(name, 0, 0.0)
                case sighting:
                    del self._again[name]
                    yield Failed(name, None, getattr(sighting, "why", "it is down"), logfile=node.logfile)
                    self._failed = True

    def _reload(self) -> Iterator[Event]:
        for name, proc in self._procs.items():
            signum = self._nodes[name].reload_signal
            if signum is None:
                yield Skipped(name, proc.pid, f"its preset {self._nodes[name].preset!r} has no reload signal")
            elif self._machine.signal(proc, signum) == "sent":
                yield Signalled(name, proc.pid, signum, 0.0)
            else:
                yield Skipped(name, proc.pid, f"could not be sent {signal_name(signum)}")
