"""What the nodes of `run` print: their logs are followed, and told of under the names of their nodes."""

from __future__ import annotations

from contextlib import suppress

from multi.machine import MachineError
from multi.model.event import Adopted, Exited, Failed, GaveUp, Gone, Output, Retrying, Spawned, Survived
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from multi.machine import Machine
    from multi.model.event import Event
    from multi.model.node import Node

_ENDS = (Failed, Retrying, GaveUp, Exited, Gone, Survived)


class Shown:
    """Which logs are followed. `held` are the nodes by name, as they are at the moment."""

    def __init__(self, nodes: Iterable[Node], held: Mapping[str, Node], machine: Machine) -> None:
        """Only what is added from now on is told."""
        self._held = held
        self._machine = machine
        sharing: dict[str, list[str]] = {}
        for node in nodes:
            if node.logs_to_file:
                sharing.setdefault(node.logfile, []).append(node.name)
        self._offsets = {path: machine.size(path) for path in sharing}
        self._keys = {name: ",".join(names) for names in sharing.values() for name in names}
        self._paths: dict[str, str] = {}  # by key
        self._pids: dict[str, int] = {}

    def follow(self, node: Node) -> None:
        """Follow the log that the node has now, unless it is followed already. One that cannot be read is not."""
        path, key = node.logfile, self._keys.setdefault(node.name, node.name)
        if not node.logs_to_file or (path in self._paths.values() and self._paths.get(key) != path):
            return
        offset = self._offsets.setdefault(path, self._machine.size(path))
        self._paths[key] = path
        with suppress(MachineError):
            self._machine.follow(key, path, offset, bounded=path == node.outputfile)

    def told(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """The events, and what the nodes print; all of it before what is said of their end."""
        for node in self._held.values():
            self.follow(node)
        try:
            for event in events:
                if isinstance(event, _ENDS):
                    yield from self._rest(self._keys.get(event.node, ""))
                yield replace(event, pid=self._pids.get(event.node)) if isinstance(event, Output) else event
                if isinstance(event, (Spawned, Adopted)) and event.node in self._held:
                    self._pids[event.node] = event.pid
                    self.follow(self._held[event.node])
        finally:
            events.close()
        for key in self._paths:
            yield from self._rest(key)

    def _rest(self, key: str) -> Iterator[Event]:
        lines = self._machine.printed(key) if key in self._paths else ()
        if lines:
            yield Output(key, lines, self._machine.wall(), self._pids.get(key))
