"""Names that neither the configuration nor a record has: a misspelt one never acts (G13)."""

from __future__ import annotations

import posixpath

from multi.errors import MultiError, UsageError
from multi.text import near_misses, plural
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.machine import LocalHost
    from multi.model.node import Node
    from multi.selection.words import Words
    from multi.typed import Protocol
    from multi.words.spec import Selection

    class Traces(Protocol):
        """What tells whether a node is, or was, on this machine; `sources` say where its settings are from."""

        def has_files(self, node: Node, sources: Mapping[str, str]) -> bool:
            """Whether it has a pidfile or a record."""

        def runs(self, node: Node, sources: Mapping[str, str]) -> bool:
            """Whether a process says that it is this node."""

        def near(self, node: Node, sources: Mapping[str, str]) -> Sequence[str]:
            """The names on record that may be meant."""


_SHOWN = 10  # names, as many as still help in one line


class Files:
    """The traces that nodes leave, as far as they are looked for without the machine."""

    def __init__(self, local: LocalHost) -> None:
        """Look at nothing yet."""
        self._local = local

    def has_files(self, node: Node, sources: Mapping[str, str]) -> bool:
        """Whether it has a pidfile or a record, where it would have them now."""
        del sources
        return any(map(self._local.kind, (node.recordfile, node.pidfile)))

    def runs(self, node: Node, sources: Mapping[str, str]) -> bool:
        """Not looked for."""
        del node, sources
        return False

    def near(self, node: Node, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Not looked for."""
        del node, sources
        return ()


def check(words: Words, strange: Sequence[Node], expansion: Selection, traces: Traces) -> tuple[str, ...]:
    """Warnings about names that may be misspelt; `strange` are the nodes that nothing knows.

    Where a configuration names nodes, no other name means anything, unless words about a command come with it: then it
    is a new node. Without one, any name may be that of a new node. Raises `UsageError`.
    """
    sources = expansion.sources
    if words.broken is not None:
        return _passed_over(words, words.broken, strange, len(expansion.nodes))
    where = posixpath.basename(words.config.path or "")
    if words.configures_nodes and not words.spec.says_command:
        for node in strange:
            if not traces.runs(node, sources[node.name]):
                near = traces.near(node, sources[node.name])
                raise _refusal(words, node, f"is neither in {where} nor on record", near)
    for node in strange if words.traits.shows_logs else ():
        if node.logs_to_file and not words.local.kind(node.logfile):
            near = traces.near(node, sources[node.name])
            raise _refusal(words, node, f"is not on record, and has no log {node.logfile}", near)
    if words.configures_nodes:
        names = " ".join(node.short for node in strange[:_SHOWN]) + (" ..." if len(strange) > _SHOWN else "")
        new = f"; taken for {plural(len(strange), 'new node')}" if words.traits.default_command else ""
        return (f"{names}: neither in {where} nor on record{new}",)
    close = {node.short: traces.near(node, sources[node.name]) for node in strange}
    return tuple(f"{short} is not on record; did you mean {names[0]!r}?" for short, names in close.items() if names)


def _passed_over(words: Words, broken: MultiError, strange: Sequence[Node], number: int) -> tuple[str, ...]:
    """The same where the configuration that may know the names is broken; `number` nodes are named in all."""
    told = words.spec.says_command or any(given.name in {"--pidfile", "-p"} for given in words.spec.settings)
    if words.traits.disturbs and not told and len(strange) == number:
        raise broken  # "not running" might be wrong: a name may be a group's, and files may lie elsewhere
    return tuple(f"{node.short} is not on record; only the configuration could tell more" for node in strange)


def _refusal(words: Words, node: Node, why: str, recorded: Sequence[str]) -> UsageError:
    """The refusal of a name, with the nearest that is configured or `recorded`, or all that are configured."""
    config = words.config
    groups = {group.name: group.nodes for group in config.groups}
    named = list(
        dict.fromkeys((*groups, *(name for name, _ in config.nodes), *(n for g in groups.values() for n in g)))
    )
    near = near_misses(node.short, (*named, *recorded))
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = f"there are {', '.join(named[:_SHOWN])}{', ...' if len(named) > _SHOWN else ''}" if named else ""
    if words.traits.default_command and not words.traits.takes_no_others:
        hint += " (a new node needs the worker's options, --cmd or --preset)"
    return UsageError(node.short, why, hint)
