"""Proofs of readiness for nodes that cannot give their own, where nothing is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.machine import MachineError, Probed
from multi.model.node import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.machine import Machine
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
