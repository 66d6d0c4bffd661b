"""Where a node is when nobody says it: a preset has a default run directory of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from multi import observe
from multi.errors import MultiError, UsageError
from multi.machine import MachineError
from multi.settings.presets import dirnames
from multi.value import replace
from multi.words.expand import default_directory, unnamed
from multi.words.merge import nobody_said

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import ProcessTable
    from multi.model.record import Record
    from multi.selection.words import Words


class Finder:
    """The run directories and the processes in which a node may be found; each is read once."""

    def __init__(self, words: Words, machine: Machine) -> None:
        """Read nothing yet."""
        self._words = words
        self._machine = machine
        self._listings: dict[str, frozenset[str]] = {}

    @cached_property
    def processes(self) -> ProcessTable:
        """The process table, read once however many nodes are looked for in it."""
        return self._machine.processes()

    def unnamed(self) -> tuple[tuple[str, ...], str | None]:
        """The run directories of the nodes that nobody names, and the user who asks for them."""
        words = self._words
        where = unnamed(words.spec, words.config, words.here, words.preset, words.environment)
        return tuple(dict.fromkeys((where.rundir, *(() if where.said else self._rundirs)))), where.uid

    @cached_property
    def _rundirs(self) -> tuple[str, ...]:
        """The run directories of all presets, as they are when nobody says another."""
        words = self._words
        names = dirnames(words.directories, words.local.load) if words.here.uid == 0 else ("",)
        return tuple(default_directory(words.here, "pidfile", name) for name in names)

    def recall(self, node: Node) -> Record | None:
        """What is on record of a node; nothing of one whose user is unknown, which the command itself tells."""
        try:
            return observe.recall(node, self._machine)
        except MachineError:
            return None

    def _namesakes(self, node: Node, sources: Mapping[str, str]) -> list[Node]:
        """The node as it would be in the default run directories of other presets."""
        if not nobody_said("pidfile", sources):
            return []
        base = node.pidfile.rpartition("/")[2]
        return [replace(node, pidfile=f"{rundir}/{base}") for rundir in self._rundirs if rundir != node.rundir]

    def _has_files(self, node: Node) -> bool:
        """Whether there is a pidfile or record of that name."""
        rundir = node.rundir
        if rundir not in self._listings:
            self._listings[rundir] = frozenset(self._machine.listing(rundir, ""))
        return not self._listings[rundir].isdisjoint((node.pidfile, node.recordfile))

    def found(self, node: Node, sources: Mapping[str, str]) -> Node:
        """The node with the pidfile that it has. Of a node that may be either of two the user chooses."""
        others = self._namesakes(node, sources)
        if not others:
            return node
        there = [one for one in (node, *others) if self._has_files(one)]
        if not there:  # they may run on without their files
            held = self.processes.by_pidfile
            there = [one for one in (node, *others) if one.pidfile in held and self._runs(one)]
        said = not nobody_said("preset", sources)
        if not there or (said and node in there):
            return node
        if len(there) > 1:
            raise either(node.short, *there[:2])
        return there[0]

    def refuse_namesake(self, node: Node, sources: Mapping[str, str]) -> None:
        """A node that runs with the pidfile of another preset is not started beside it."""
        for one in self._namesakes(node, sources):
            if self._has_files(one) and self._runs(one):
                why = f"runs already, with the pidfile {one.pidfile}, and would be started with {node.pidfile}"
                hint = f"stop that one first, or give --pidfile={node.rundir}/%n.pid if it is another node"
                raise UsageError(node.short, why, hint)

    def _runs(self, node: Node) -> bool:
        """Whether it runs as this user's, or as that of the user whom the record there says."""
        from multi.decide.table import proc_of

        try:
            record = observe.recall(node, self._machine)
            there = node if record is None else record.node
            return proc_of(observe.look_at(there, self.processes, self._machine).state) is not None
        except MachineError:
            return False  # no such user: the command itself says so

    def lost_pid(self, node: Node) -> int | None:
        """The process that says that it is this node, and runs as the user that the node is to run as.

        Its command may be started again as that user. What another user's process says, root must not even listen to.
        """
        uid = self.uid_of(node)
        infos = () if uid is None else observe.main_token_holders(node, self.processes, uid, self._machine.me())
        return infos[0].proc.pid if infos else None

    def uid_of(self, node: Node) -> int | None:
        """Whom the node is to run as; None where there is no such user, which its start tells."""
        try:
            return self._machine.me().uid if node.uid is None else self._machine.uid_of(node.uid)
        except MachineError:
            return None

    def lost(self, rundirs: Sequence[str], known: Mapping[str, Node]) -> list[Node]:
        """The nodes that run with a pidfile in one of these directories, and have no record there."""
        found: list[Node] = []
        for pidfile, infos in self.processes.by_pidfile.items():
            rundir = pidfile.rpartition("/")[0]
            if rundir not in rundirs:
                continue
            here = {node.name for node in (*known.values(), *found) if node.rundir == rundir}
            names = {info.instance.node for info in infos if info.instance is not None} - here
            lost = (self._lost(name, pidfile) for name in sorted(names))
            found += [node for node in lost if node is not None]
        return found

    def _lost(self, name: str, pidfile: str) -> Node | None:
        """A node that lost its record: its name and pidfile from its environment, its command from the kernel."""
        try:
            expansion = self._words.expand(replace(self._words.spec, names=(name,)))
        except MultiError:
            return None
        node = replace(expansion.nodes[0], pidfile=pidfile)
        pid = self.lost_pid(node)
        return None if pid is None else replace(node, command=observe.command_of(pid, self._machine))


def either(short: str, one: Node, other: Node) -> UsageError:
    """The refusal of a name that may be either of two nodes."""
    why = f"may be the one of {one.pidfile} or the one of {other.pidfile}"
    return UsageError(short, why, f"give --pidfile={one.rundir}/%n.pid, or the other")
