"""The nodes that those of a command come after, and that nobody asked for: a start waits for one that is on its way."""

from __future__ import annotations

from contextlib import suppress

from multi.errors import MultiError
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.model.node import Node
    from multi.selection.finder import Finder
    from multi.selection.words import Words
    from multi.words.spec import Selection


def beside(words: Words, finder: Finder, selection: Selection) -> Mapping[str, Node]:
    """By full name, each with the pidfile that it has; without what cannot be told."""
    asked = {node.name for node in selection.nodes}
    names = dict.fromkeys(name for node in selection.nodes for name in node.after if name not in asked)
    if not names:
        return {}
    unscoped = tuple(given for given in words.spec.settings if given.scope is None)
    spec = replace(words.spec, names=tuple(names), options=(), passthrough=(), settings=unscoped)
    found: dict[str, Node] = {}
    with suppress(MultiError):
        expansion = words.expand(spec, recorded=True)
        for node in expansion.nodes:
            found[node.name] = finder.found(node, expansion.sources[node.name])
    return found
