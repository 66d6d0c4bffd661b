"""Where a node is when nobody says it: a preset has a default run directory of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from multi import observe
from multi.errors import MultiError, UsageError
from multi.machine import MachineError
from multi.settings.presets import dirnames
from multi.text import near_misses
from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.words.expand import default_directories, unnamed
from multi.words.merge import nobody_said
from multi.words.spec import Selection

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
        elsewhere = () if where.said else (*self.rundirs, *(record.node.rundir for record in self._orphans))
        return tuple(dict.fromkeys((where.rundir, *elsewhere))), where.uid

    @cached_property
    def _orphans(self) -> tuple[Record, ...]:
        """The nodes on record of a configuration that is broken, in every directory where something runs.

        Only the configuration could tell where its nodes are.
        """
        if self._words.broken is None:
            return ()
        rundirs = (*self.rundirs, *(path.rpartition("/")[0] for path in self.processes.by_pidfile))
        believed = (observe.survey(rundir, self._machine)[0] for rundir in dict.fromkeys(rundirs))
        return tuple(record for records in believed for record in records if record.node.origin == self._words.origin)

    @cached_property
    def rundirs(self) -> tuple[str, ...]:
        """The run directories of all presets, as they are when nobody says another."""
        words = self._words
        names = dirnames(words.directories, words.local.load) if words.here.uid == 0 else ("",)
        found = (default_directories(words.here, "pidfile", name) for name in names)
        return tuple(dict.fromkeys(words.here.recorded_as(path) for paths in found for path in paths))

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
        orphans = [record.node for record in self._orphans if record.node.short == node.short]
        if orphans:
            return [replace(node, pidfile=one.pidfile) for one in orphans]
        base = node.pidfile.rpartition("/")[2]
        return [replace(node, pidfile=f"{rundir}/{base}") for rundir in self.rundirs if rundir != node.rundir]

    def _has_files(self, node: Node) -> bool:
        """Whether there is a pidfile or record of that name."""
        return not self._listing(node.rundir).isdisjoint((node.pidfile, node.recordfile))

    def _listing(self, rundir: str) -> frozenset[str]:
        if rundir not in self._listings:
            self._listings[rundir] = frozenset(self._machine.listing(rundir, ""))
        return self._listings[rundir]

    def has_files(self, node: Node, sources: Mapping[str, str]) -> bool:
        """Whether the node has a pidfile or a record in any directory where it may be."""
        return any(map(self._has_files, (node, *self._namesakes(node, sources))))

    def runs(self, node: Node, sources: Mapping[str, str]) -> bool:
        """Whether a process says that it is this node; the files may be gone."""
        return any(one.pidfile in self.processes.by_pidfile for one in (node, *self._namesakes(node, sources)))

    def near(self, node: Node, sources: Mapping[str, str]) -> tuple[str, ...]:
        """The names on record that may be meant, in the directories where this node, which has no files, may be.

        Names that differ in their digits alone are of one family: ``w2`` is no misspelling of ``w1``.
        """
        found: dict[str, None] = {}
        for one in (node, *self._namesakes(node, sources)):
            if not near_misses(*_letters_apart(one.recordfile, self._listing(one.rundir))):
                continue
            shorts = (record.node.short for record in observe.survey(one.rundir, self._machine, one.uid)[0])
            found |= dict.fromkeys(near_misses(*_letters_apart(node.short, shorts)))
        return tuple(found)

    def found(self, node: Node, sources: Mapping[str, str]) -> Node:
        """The node with the pidfile that it has. Of a node that may be either of two the user chooses."""
        others = self._namesakes(node, sources)
        if not others:
            return node
        there = others if self._orphans else [node, *others]
        there = [one for one in there if self._has_files(one)]
        if not there and not self._words.traits.glances:  # they may run on without their files
            held = self.processes.by_pidfile
            there = [one for one in (node, *others) if one.pidfile in held and self._runs(one)]
        said = not nobody_said("preset", sources)
        if not there or (said and node in there):
            return node
        if len(there) > 1:
            raise either(node.short, *there[:2])
        return there[0]

    def beside(self, selection: Selection) -> Mapping[str, Node]:
        """The nodes that those of a selection come after, and that nobody asked for: a start waits for them.

        By full name, each with the pidfile that it has; without what cannot be told.
        """
        asked = {node.name for node in selection.nodes}
        names = dict.fromkeys(name for node in selection.nodes for name in node.after if name not in asked)
        unscoped = tuple(given for given in self._words.spec.settings if given.scope is None)
        spec = replace(self._words.spec, names=tuple(names), options=(), passthrough=(), settings=unscoped)
        found: dict[str, Node] = {}
        with suppress(MultiError):
            expansion = self._words.expand(spec, recorded=True) if names else Selection()
            for node in expansion.nodes:
                found[node.name] = self.found(node, expansion.sources[node.name])
        return found

    def refuse_namesake(self, node: Node, sources: Mapping[str, str]) -> None:
        """A node that runs with the pidfile of another preset is not started beside it."""
        for one in self._namesakes(node, sources):
            if self._has_files(one) and self._runs(one):
                raise runs_already(node, one)

    def beyond(self, selection: Selection) -> Iterator[tuple[Node, Node]]:
        """The nodes without a pidfile here that run elsewhere, and as what: another user's environment put them there.

        Such a process has the node's name and user, and a record of the same configuration.
        """
        lacking = {
            node.name: node
            for node in selection.nodes
            if node.origin
            and nobody_said("pidfile", selection.sources.get(node.name, {}))
            and node.pidfile not in self._listing(node.rundir)
        }
        moved = {node.pidfile for node in selection.removed}
        for pidfile, infos in self.processes.by_pidfile.items() if lacking else ():
            names = {one.instance.node for one in infos if one.instance is not None and not one.instance.elsewhere}
            for node in (lacking[name] for name in names & lacking.keys()):
                there = replace(node, pidfile=pidfile)
                if pidfile in {node.pidfile, *moved} or self.lost_pid(there) is None:
                    continue
                read = observe.record_at(there.recordfile, self._machine)
                if read is not None and (read[0].node.name, read[0].node.origin) == (node.name, node.origin):
                    yield node, there

    def _runs(self, node: Node) -> bool:
        """Whether it runs as this user's, or as that of the user whom the record there says."""
        from multi.model.state import proc_of

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


def _letters_apart(name: str, others: Iterable[str]) -> tuple[str, list[str]]:
    """A name, or the stem of a file, and those of the others (of records) that differ in more than their digits."""
    stem, letters = _stem(name), str.maketrans("", "", "0123456789")
    stems = (_stem(other) for other in others if "/" not in other or other.endswith(".json"))
    plain = stem.translate(letters)
    return stem, [one for one in stems if one.translate(letters) != plain]


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")


def runs_already(node: Node, there: Node) -> UsageError:
    """The refusal to start a node that runs with another pidfile."""
    why = f"runs already, with the pidfile {there.pidfile}, and would be started with {node.pidfile}"
    hint = f"stop that one first, or give --pidfile={node.rundir}/%n.pid if it is another node"
    return UsageError(node.short, why, hint)


def either(short: str, one: Node, other: Node) -> UsageError:
    """The refusal of a name that may be either of two nodes."""
    why = f"may be the one of {one.pidfile} or the one of {other.pidfile}"
    return UsageError(short, why, f"give --pidfile={one.rundir}/%n.pid, or the other")
