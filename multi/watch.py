"""Looks at nodes again and again, reads only what may have changed, and tells what they use meanwhile.

A look at all that there is reads files and environments, and costs some tenths of a millisecond a node. So it is taken
now and then, and when something tells that it is needed: a file of a node that is another one, a main process that is
gone or suspended. Between two of them the known processes are asked how they are.
"""

from __future__ import annotations

from multi import views
from multi.errors import MultiError
from multi.model.state import aged, has_news, is_starting, is_suspended, proc_of
from multi.model.usage import Holdings, Snapshot, Usage, snapshot, usage
from multi.selection import found_by
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import Proc, ProcessInfo, ProcessTable
    from multi.observe import Observation
    from multi.selection import Found
    from multi.views import View
    from multi.words.spec import Selection

_SHARE = 500  # times that a whole look takes, until the next one
_LONGEST = 15.0  # seconds until the next whole look
_AT_FIRST, _MORE = 0.05, 0.002  # seconds that proportional memory may take, at the first look and at each other


@dataclass(frozen=True, slots=True)
class Watched:
    """A node as it is, and what it used since the last look."""

    view: View
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One look at all nodes: those of the `selection`, then those found beside them; `wall` is the time of day.

    `trouble` is why the configuration, which has changed, cannot be read: what it was before is shown on.
    """

    wall: float
    nodes: tuple[Watched, ...]
    selection: Selection
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A node as it was at `at`, and the fingerprints that its files had right before it was looked at whole."""

    node: Node
    observation: Observation
    view: View
    files: tuple[str, ...]
    at: float
    found: Found | None = None


class Watch:
    """Looks at the nodes that `select` gives; it is asked again when the configuration or the records are others.

    With `everywhere` all others follow, as in `api.look`.
    """

    def __init__(self, select: Callable[[], Selection], machine: Machine, *, everywhere: bool = False) -> None:
        """Look at nothing yet."""
        self._select = select
        self._machine = machine
        self._everywhere = everywhere
        self._selection = select()
        self._trouble, self._warned = "", self._selection.warnings
        self._chosen_by = self._choice()
        self._known: list[_Known] = []
        self._due = machine.now()  # the next whole look
        self._snapshots: dict[str, Snapshot] = {}  # by pidfile
        self._shares: dict[Proc, int | None] = {}  # proportional memory, as it was asked last

    def frames(self, *, wide: bool = False) -> Generator[Frame, bool | None, None]:
        """Look each time that the next frame is wanted; what is sent says whether it is to tell of holdings, too."""
        while True:
            said = yield self.look(wide=wide)
            wide = wide if said is None else said

    def look(self, *, wide: bool = False) -> Frame:
        """Look at all of them. Raises `MachineError` where the process table cannot be read."""
        machine = self._machine
        begun = machine.now()
        if self._choose() or begun >= self._due:
            self._known = self._whole()
            self._due = machine.now() + min(_LONGEST, _SHARE * (machine.now() - begun))
            infos = list(map(self._tree, self._known))
        else:
            infos = self._quick()
        return Frame(
            wall=machine.wall(), nodes=self._used(infos, wide=wide), selection=self._selection, trouble=self._trouble
        )

    def _choice(self) -> tuple[object, ...]:
        """What tells that other nodes may be meant: the configuration, and which records there are."""
        selection, machine = self._selection, self._machine
        directories = {node.rundir for node in selection.nodes} | ({selection.rundir} - {""})
        if selection.rundirs is not None:
            directories |= {*selection.rundirs.default}
        listed = tuple(machine.listing(directory, ".json") for directory in sorted(directories))
        return machine.fingerprint(selection.config) if selection.config else "", listed

    def _choose(self) -> bool:
        """Whether the nodes were selected anew, because others may be meant by now."""
        now = self._choice()
        if now == self._chosen_by:
            return False
        try:
            self._selection = self._select()
            self._trouble = "; ".join(text for text in self._selection.warnings if text not in self._warned)
        except MultiError as error:
            self._trouble = str(error)
        self._chosen_by = self._choice()
        return True

    def _whole(self) -> list[_Known]:
        """Look at everything, as `status` does."""
        machine, selection = self._machine, self._selection
        processes = machine.processes() if self._everywhere else machine.sketch()
        found = found_by(selection, processes, machine, everywhere=True) if self._everywhere else ()
        nodes: list[tuple[Node, Found | None]] = [(node, None) for node in selection.nodes]
        return self._observed([*nodes, *((each.node, each) for each in found)], processes)

    def _observed(self, nodes: Sequence[tuple[Node, Found | None]], processes: ProcessTable) -> list[_Known]:
        machine = self._machine
        before = [self._files(node) for node, _ in nodes]
        at, seen = machine.now(), views.observations([node for node, _ in nodes], processes, machine)
        known: list[_Known] = []
        for (node, found), observation, prints in zip(nodes, seen, before, strict=True):
            view: View | None = views.view_of(node, observation, machine)
            if found is not None and view is not None:
                view = found.shown(view)
            if view is not None:
                files = prints if is_starting(view.state) else (*prints[:2], "")
                known.append(_Known(node, observation, view, files, at, found))
        return known

    def _files(self, node: Node, *, starts: bool = True) -> tuple[str, ...]:
        """The files that say in which state it is; one that has proved ready says no more."""
        fingerprint = self._machine.fingerprint
        said = fingerprint(node.notifyfile) if starts else ""
        return fingerprint(node.pidfile), fingerprint(node.recordfile), said

    def _quick(self) -> list[Sequence[ProcessInfo]]:
        """Ask the known processes how they are; look again at nodes of which that does not tell enough."""
        again: list[int] = []
        infos: list[Sequence[ProcessInfo]] = []
        for index, known in enumerate(self._known):
            found = self._asked(known)
            infos.append(found or ())
            if found is None or self._files(known.node, starts=bool(known.files[2])) != known.files:
                again.append(index)
                continue
            view = self._refreshed(known, found)
            self._known[index] = replace(known, view=view, at=self._machine.now())
            if view.pulse is not None and has_news(view.state, view.pulse.word):
                again.append(index)
        if again:
            processes = self._machine.sketch()
            for index in reversed(again):
                one = self._known[index]
                self._known[index : index + 1] = looked = self._observed([(one.node, one.found)], processes)
                infos[index : index + 1] = map(self._tree, looked)
        return infos

    def _tree(self, known: _Known) -> Sequence[ProcessInfo]:
        """The processes of a node that was looked at just now, and those that have ended, if nobody waited for them."""
        earlier = self._snapshots.get(known.node.pidfile)
        infos = known.view.processes
        if earlier is None or not infos:
            return infos
        there = {info.proc for info in infos}
        gone = (self._machine.look(info.proc.pid) for info in earlier.infos if info.proc not in there)
        procs = {info.proc for info in earlier.infos}
        return *infos, *(info for info in gone if info is not None and info.gone and info.proc in procs)

    def _asked(self, known: _Known) -> list[ProcessInfo] | None:
        """The processes of the node now, the main one first; None when the main one is not as it was."""
        proc = proc_of(known.view.state)
        if proc is None:
            return []
        look = self._machine.look
        before = self._snapshots.get(known.node.pidfile)
        ids = {info.proc.pid: info.proc.start_id for info in (before.infos if before else known.view.processes)}
        found = [info for pid, ident in ids.items() if (info := look(pid)) is not None and info.proc.start_id == ident]
        if not found or found[0].proc.pid != proc.pid or found[0].gone:
            return None
        return found if found[0].suspended == is_suspended(known.view.state) else None

    def _refreshed(self, known: _Known, infos: Sequence[ProcessInfo]) -> View:
        machine = self._machine
        if not infos:
            return replace(known.view, state=aged(known.view.state, machine.now() - known.at))
        living = [info for info in infos if not info.gone]
        view = views.view_of(known.node, known.observation, machine, living)
        return view if known.found is None else known.found.shown(view) or view

    def _used(self, infos: Iterable[Sequence[ProcessInfo]], *, wide: bool) -> tuple[Watched, ...]:
        """Each node with what it used since the last look."""
        machine = self._machine
        now, earlier, self._snapshots = machine.now(), self._snapshots, {}
        watched: list[Watched] = []
        held: dict[Proc, Holdings] = {}
        found = list(infos)
        if wide:
            held = self._holdings([info.proc for each in found for info in each if not info.gone])
        for known, each in zip(self._known, found, strict=True):
            if not each:
                watched.append(Watched(known.view, Usage()))
                continue
            key = known.node.pidfile
            holdings = {info.proc.pid: held[info.proc] for info in each if info.proc in held} if held else None
            taken = snapshot(now, each, holdings, earlier.get(key))
            watched.append(Watched(known.view, usage(taken, earlier.get(key))))
            self._snapshots[key] = taken
        return tuple(watched)

    def _holdings(self, procs: Sequence[Proc]) -> dict[Proc, Holdings]:
        """What each holds. The kernel adds up proportional memory page by page, so they are asked for it in turns."""
        machine = self._machine
        found = {proc: held for proc in procs if (held := machine.holdings(proc)) is not None}
        until = machine.now() + (_MORE if self._shares else _AT_FIRST)
        shares = {proc: pss for proc, pss in self._shares.items() if proc in found}  # who was asked first comes first
        for proc in [*(proc for proc in found if proc not in shares), *shares]:
            held = machine.holdings(proc, pss=True)
            shares.pop(proc, None)
            shares[proc] = None if held is None else held.pss
            if machine.now() > until:
                break
        self._shares = shares
        return {proc: replace(held, pss=shares.get(proc)) for proc, held in found.items()}
