"""Restart on change: which files belong to which node, and what becomes of it when they are edited."""

from __future__ import annotations

import posixpath

from multi.act.waits import Wait
from multi.decide import edited
from multi.machine import MachineError
from multi.model.event import Skipped
from multi.model.happening import Changed, Edited
from multi.text import listed
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from multi.act.waits import Answer, Want
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.request import Due

_OPTION = "--restart-on-change"


class Edits:
    """The files of the nodes of one `run`. `paths` are relative to the directory of each; without any all count.

    A bundle of state: which files of a node have a syntax error at the moment.
    """

    def __init__(self, nodes: Sequence[Node], paths: Sequence[str], machine: Machine) -> None:
        """Raise `MachineError` for what is not there, before anything is started."""
        self._nodes = nodes
        self._machine = machine
        self._anything = bool(paths)
        self._faults: dict[str, dict[str, str]] = {}
        here = machine.surroundings().cwd
        self._roots: dict[str, tuple[str, ...]] = {}
        for node in nodes:
            home = node.workdir or here
            roots = tuple(posixpath.normpath(posixpath.join(home, path)) for path in paths or (".",))
            for root in roots:
                if root == "/":
                    hint = f"give --workdir, or {_OPTION}=PATHS"
                    raise MachineError(_OPTION, f"would watch all of / for {node.short}", hint)
                if not machine.kind(root):
                    raise MachineError(f"{_OPTION}: {root}", "No such file or directory", "check the paths")
            self._roots[node.name] = roots

    def begin(self) -> Iterator[Skipped]:
        """Watch them from now on, and say so: what was edited before is not seen."""
        self._machine.watch_sources(self._roots)
        for name, roots in self._roots.items():
            yield Skipped(name, None, f"restarted when files below {listed(roots)} change")

    def due(self, node: Node, proc: Proc, told: Edited) -> Generator[Want, Answer, Due | None]:
        """The restart for what was edited; None, and why, where nothing counts or something is half written."""
        paths = yield from self._ready(node, proc.pid, told)
        return edited.due(proc, paths) if paths else None

    def awaited(self, node: Node, why: str) -> Generator[Want, Answer, bool]:
        """A node that does not run: wait until its files are edited, True, or somebody changes its record."""
        yield Skipped(node.name, None, f"{why}; it is started again when its files change")
        while True:
            match (yield Wait(None, "change", 0, self._machine.now(), hears=True)):
                case Edited() as told if (yield from self._ready(node, None, told)):
                    return True
                case Changed():
                    return False

    def _ready(self, node: Node, pid: int | None, told: Edited) -> Generator[Want, Answer, tuple[str, ...]]:
        """The files that count, if all that were edited so far can be read by Python."""
        if told.why:
            yield Skipped(node.name, pid, f"its files are watched no more: {told.why}")
        paths = [one for one in told.paths if edited.counts(one, node, self._nodes, anything=self._anything)]
        if not paths:
            return ()
        before = self._faults.get(node.name, {})
        faults = {path: fault for path in (*before, *paths) if (fault := self._fault(path))}
        self._faults[node.name] = faults
        if faults:
            yield Skipped(node.name, pid, edited.kept(faults, pid))
            return ()
        return tuple(dict.fromkeys((*before, *paths)))

    def _fault(self, path: str) -> str:
        """What Python finds wrong with the file; "" for one that is gone by now, or is no Python."""
        if not path.endswith(".py"):
            return ""
        try:
            compile(self._machine.load(path), path, "exec", dont_inherit=True)
        except SyntaxError as error:
            return f"line {error.lineno}: {error.msg}"
        except ValueError as error:  # a NUL
            return str(error)
        except (OSError, MachineError):
            return ""
        return ""
