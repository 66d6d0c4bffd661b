"""What is on record or runs although nobody asked about it: found in the default run directories, and by the tokens.

A `status` that names no node shows these beside the nodes of the configuration, each with what to add to a command to
reach it. Nothing that a process says of itself is believed for more than showing it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from multi import observe
from multi.errors import UsageError
from multi.model.node import Node, Unknown
from multi.model.schedule import parse
from multi.model.state import State, Unsure, is_nothing
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace
from multi.views import View
from multi.words.names import is_full_name
from multi.words.spec import RunDirectories
from multi.words.template import literal_path

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.model.process import ProcessInfo, ProcessTable
    from multi.model.record import Record
    from multi.selection.finder import Finder
    from multi.selection.words import Words
    from multi.words.spec import Selection

_WHERE = ("pidfile", "uid")  # who says one of these asks about the nodes there, and no others


@dataclass(frozen=True, slots=True)
class Found:
    """A node that was found. `where` says where, and what to add to a command to reach it.

    `state` is given where looking at its files would tell nothing, as those of a container.
    """

    node: Node
    where: str
    on_record: bool = False
    state: State | None = None

    def shown(self, view: View) -> View | None:
        """The view of it, with where; None where all that runs is a child that was meant to outlive the node."""
        if self.state is not None:
            return View(node=self.node, state=self.state, found=self.where)
        return None if is_nothing(view.state) and not self.on_record else replace(view, found=self.where)


def rundirs(words: Words, finder: Finder) -> RunDirectories | None:
    """Where others are looked for; None where the user said whose nodes are meant, or where they are."""
    if any(given.name in {f"--{name}" for name in _WHERE} for given in words.spec.settings):
        return None
    if any(name in words.environment.values for name in _WHERE):
        return None
    try:
        searched = finder.unnamed()[0]
    except UsageError:
        searched = ()  # each node of the configuration has a directory of its own
    return RunDirectories(searched, finder.rundirs)


def others(
    selection: Selection, processes: ProcessTable, machine: Machine, *, everywhere: bool = False
) -> tuple[Found, ...]:
    """The nodes beside those of the selection; with `everywhere` those in containers, too."""
    search = _Search(selection, processes, machine)
    return (*search.on_record(), *search.running(everywhere=everywhere))


class _Search:
    """One search; a node is known by its pidfile."""

    def __init__(self, selection: Selection, processes: ProcessTable, machine: Machine) -> None:
        """Look for nothing yet."""
        self._rundirs = selection.rundirs or RunDirectories()
        self._config = (selection.config or "").rpartition("/")[2]
        self._processes = processes
        self._machine = machine
        self._me = machine.me()
        self._known = {node.pidfile for node in selection.nodes}
        self._known_records = {node.recordfile for node in selection.nodes}

    def on_record(self) -> Iterator[Found]:
        """What is on record in the default run directories, whether it runs or not."""
        for rundir in self._rundirs.default:
            for path in self._machine.listing(rundir, ".json"):
                if path in self._known_records:
                    continue
                read = observe.record_at(path, self._machine)
                if read is not None and read[0].node.pidfile not in self._known:
                    yield self._recorded(*read)

    def _recorded(self, record: Record, believed: Record | None) -> Found:
        self._known.add(record.node.pidfile)
        if believed is not None:
            return replace(self._found(believed.node), on_record=True)
        user = "" if record.owner is None or self._me.uid != 0 else self._machine.user_name(record.owner)
        if user:
            again = observe.record_at(record.node.recordfile, self._machine, user)
            believed = None if again is None else again[1]
        node = _bare(record.node.name, record.node.pidfile) if believed is None else believed.node
        return replace(self._found(node, user), on_record=True)

    def running(self, *, everywhere: bool) -> Iterator[Found]:
        """What runs with a token of ours, wherever its files are or were."""
        for pidfile, infos in self._processes.by_pidfile.items():
            if pidfile in self._known:
                continue
            found = self._running(pidfile, infos, everywhere=everywhere)
            if found is not None:
                yield found

    def _running(self, pidfile: str, infos: Sequence[ProcessInfo], *, everywhere: bool) -> Found | None:
        holders = [
            (info, info.instance)
            for info in infos
            if info.instance is not None and not info.gone and info.proc.pid != self._me.pid
        ]
        mains = (holder for holder in holders if holder[1].pid == holder[0].proc.pid)
        holder = next(mains, None) or next(iter(holders), None)
        if holder is None or not pidfile.startswith("/") or not is_full_name(holder[1].node):
            return None
        info, instance = holder
        if instance.elsewhere or pidfile.startswith("/proc/"):
            state = Unsure(f"pid {info.proc.pid} runs in a container or another root directory")
            return (
                Found(_bare(instance.node, pidfile), "elsewhere: run multi there", state=state) if everywhere else None
            )
        user = None if info.uid == self._me.uid else self._machine.user_name(info.uid)
        node = _bare(instance.node, pidfile, user)
        read = observe.record_at(node.recordfile, self._machine)
        if read is not None and read[1] is None and user is not None:
            read = observe.record_at(node.recordfile, self._machine, user)
        elif read is not None:
            user = None  # root needs not be told whose node it is
        record = None if read is None else read[1]
        if record is not None and record.node.name == instance.node:
            return self._found(record.node, user)
        return self._found(_bare(instance.node, pidfile, user, info.proc.pid, self._machine), user)

    def _found(self, node: Node, user: str | None = None) -> Found:
        """Where a node was found, and what to add to ask for it; with a `user`, root has to say that one."""
        where, add = [], []
        if user:
            where.append(f"of {user}")
            add.append(f"--uid={user}")
        if node.rundir not in self._rundirs.searched:
            where.append(f"in {node.rundir}")
            add.append(f"--pidfile={template(node)}")
        elif not where:
            where.append(f"not in {self._config}" if self._config else "not asked about")
        text = ", ".join(where)
        return Found(node, f"{text}: add {shlex.join(add)}" if add else text)


def _bare(name: str, pidfile: str, user: str | None = None, pid: int = 0, machine: Machine | None = None) -> Node:
    """A node of which no record is believed: only for showing it."""
    short, _, host = name.partition("@")
    command = Unknown("no record tells it") if machine is None else observe.command_of(pid, machine)
    return Node(
        name=name, short=short, host=host, preset="exec", command=command, pidfile=pidfile, logfile="", uid=user,
        stop=parse("KILL/5"),
    )  # fmt: skip


def template(node: Node) -> str:
    """What ``--pidfile`` is given to mean this node's, and that of its neighbours where they are named alike."""
    rundir, _, last = node.pidfile.rpartition("/")
    codes = {f"{node.short}.pid": "%n.pid", f"{node.name}.pid": "%h.pid"}
    return f"{literal_path(rundir)}/{codes.get(last) or literal_path(last)}"
