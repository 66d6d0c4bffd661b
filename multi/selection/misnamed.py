"""Names that neither the configuration nor a record has: a misspelt one never acts (G13)."""

from __future__ import annotations

import posixpath

from multi.errors import MultiError, UsageError
from multi.text import near_misses, plural, some
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.model.node import Node
    from multi.selection.words import Words

_SHOWN = 10  # names, as many as still help in one line


def check(
    words: Words,
    strange: Sequence[Node],
    number: int,
    runs: Callable[[Node], bool],
    recorded: Callable[[Node], Sequence[str]],
) -> tuple[str, ...]:
    """Warnings about names that may be misspelt; `strange` are the nodes, of this `number`, that nothing knows.

    `runs` tells whether a process says that it is a node, and `recorded` the names on record that may be meant.

    Where a configuration names nodes, no other name means anything, unless words about a command come with it: then it
    is a new node. Without one, any name may be that of a new node. Raises `UsageError`.
    """
    if words.broken is not None:
        return _passed_over(words, words.broken, strange, number)
    where = posixpath.basename(words.config.path or "")
    if words.configures_nodes and not words.spec.says_command:
        for node in strange:
            if not runs(node):
                raise _refusal(words, node, f"is neither in {where} nor on record", recorded(node))
    for node in strange if words.traits.shows_logs else ():
        if node.logs_to_file and not words.local.kind(node.logfile):
            raise _refusal(words, node, f"is not on record, and has no log {node.logfile}", recorded(node))
    if words.configures_nodes:
        names = some([node.short for node in strange])
        new = f"; taken for {plural(len(strange), 'new node')}" if words.traits.default_command else ""
        return (f"{names}: neither in {where} nor on record{new}",)
    close = {node.short: recorded(node) for node in strange}
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
