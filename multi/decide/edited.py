"""Whether edited files are a reason to restart a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multi.model.node import Node
from multi.model.process import Proc
from multi.model.request import Due
from multi.text import listed

FIRST = 5.0  # seconds that the first stage of a stop schedule takes at most when files have changed
_SOURCES = (".py", ".pyx")
_MOST = 3  # names as fit a line


def counts(path: str, node: Node, nodes: Sequence[Node], *, anything: bool) -> bool:
    """Whether a file may change what the node does. With `anything` each file may, but for what nodes write."""
    written = any(path.startswith((f"{each.stem}.", each.logfile or f"{each.stem}.")) for each in nodes)
    return not written and (anything or path.endswith(_SOURCES) or path in node.env_files)


def due(proc: Proc, paths: Sequence[str]) -> Due:
    """The restart for these files: by a schedule whose first stage is short."""
    names = [path.rpartition("/")[2] for path in paths]
    return Due(proc, f"{listed(names, _MOST)} changed", planned=True, first=FIRST)


def kept(faults: Mapping[str, str], pid: int | None) -> str:
    """Why a node is left as it is: files with syntax errors."""
    path, fault = next(iter(faults.items()))
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    left = "is not started" if pid is None else "runs on as it was"
    return f"{left} ({path.rpartition('/')[2]}, {fault}{more})"
