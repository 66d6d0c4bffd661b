"""Proofs of readiness for nodes that cannot give their own, where nothing is started."""

from __future__ import annotations

from multi.errors import UsageError
from multi.machine import MachineError
from multi.model.happening import Probed
from multi.model.node import Known
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from multi.machine import LocalHost, Machine
    from multi.model.node import Node
    from multi.model.request import Fallback
    from multi.words.spec import Selection


def missing_plugin(selection: Selection, machine: Machine) -> Mapping[str, Fallback]:
    """The fallbacks without those whose Python has the entry point: all are asked at once."""
    fallbacks = selection.fallbacks
    able: dict[str, bool | None] = {}
    for node in selection.nodes:
        if node.name in fallbacks and fallbacks[node.name].asks and isinstance(node.command, Known):
            try:
                able[node.name] = machine.notifies(node.name, node.words[0], node.uid, node.gid)
            except MachineError:
                able[node.name] = True  # no such user: whoever starts the node says so
    while None in able.values():
        for happening in machine.wait(None):
            if isinstance(happening, Probed):
                able[happening.key] = happening.ok
    return {name: each for name, each in fallbacks.items() if not able.get(name, False)}


def as_from_here(
    nodes: Iterable[Node], fallbacks: Mapping[str, Fallback], local: LocalHost, program: Callable[[str, str], str]
) -> list[Node]:
    """The nodes with the user, directory and program that they would have if they were started here and now.

    `program` finds a program by a PATH. Raises `UsageError`.
    """
    here = local.surroundings()
    nodes = list(nodes)
    without = [node.short for node in nodes if node.workdir is None]
    if without and not here.cwd:
        why = "have no workdir, and the current directory has been removed"
        raise UsageError(" ".join(without[:10]), why, "change to a directory that exists, or give --workdir")
    me = None if here.uid == 0 else local.user_name(here.uid)
    path = here.environ.get("PATH", "")
    return [
        replace(
            fallbacks[node.name].instead(node) if node.name in fallbacks else node,
            command=Known((program(node.words[0], dict(node.env).get("PATH") or path), *node.words[1:])),
            workdir=node.workdir or here.cwd,
            uid=node.uid or me,
        )
        for node in nodes
    ]
