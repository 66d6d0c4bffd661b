"""A node that systemd starts: what must hold before, and the proof that it works. Units of `export` ask for both."""

from __future__ import annotations

from multi.act import ready, surroundings
from multi.act.loop import drive
from multi.act.needs import hold
from multi.act.start import proved, with_last_lines
from multi.machine import File, FileWrite
from multi.model.event import Event, Failed, Readied
from multi.model.request import Request, RunOptions, Task, Turn
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from multi.act.waits import Walk
    from multi.machine import Machine
    from multi.model.node import Node

_MOST = 4096  # bytes of what was there before


def prepare(node: Node, path: str, machine: Machine) -> Generator[Event, None, None]:
    """Wait for what the node needs, and put down at `path` what would prove nothing because it is there already."""

    def walk(_turn: Turn) -> Walk:
        why = yield from hold(node, surroundings.setting(node, machine), machine)
        if why:
            yield Failed(node.name, None, why)
            return False
        if path:
            words = ready.baseline(node, machine).encoded()
            text = "".join(f"{name}={value}\n" for name, value in words.items())
            for error in machine.write([FileWrite(path, text.encode(), None, None)]):
                if error is not None:
                    raise error
        return True

    yield from _drive(node, walk, machine)


def attest(node: Node, pid: int, path: str, machine: Machine) -> Generator[Event, None, None]:
    """Wait until the process of that pid has proved that it is ready."""

    def walk(_turn: Turn) -> Walk:
        info = machine.look(pid)
        if info is None or info.gone:
            yield Failed(node.name, pid, "it has ended")
            return False
        there = ready.recalled(node, _words(path, machine), machine)
        machine.watch(node.name, info.proc)
        began = machine.now()
        verdict = yield from proved(node, info.proc, machine, token="", began=began, there=there, executed=True)
        if isinstance(verdict, ready.Disproof):
            failed = Failed(node.name, pid, verdict.why, verdict.status)
            yield with_last_lines(failed, node, machine, there.offset) if node.logs_to_file else failed
            return False
        yield Readied(node.name, pid, machine.now() - began, verdict.how, verdict.note)
        return True

    yield from _drive(node, walk, machine)


def _drive(node: Node, walk: Callable[[Turn], Walk], machine: Machine) -> Generator[Event, None, None]:
    yield from drive([(Task(node, Request("start")), walk)], RunOptions(), machine)


def _words(path: str, machine: Machine) -> Mapping[str, str]:
    found = machine.read(path, _MOST) if path else None
    lines = found.data.decode("utf-8", "replace").splitlines() if isinstance(found, File) else []
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
