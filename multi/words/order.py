"""What a node comes `after`, in words of the configuration -> full names; a circle is an error that shows it. Pure.

A word is a node or a group. A node that inherits from a group or from the defaults that it comes after itself does not.
"""

from __future__ import annotations

from multi.errors import ConfigError, UsageError
from multi.model.order import cycle
from multi.text import nearest, quoted
from multi.typed import TYPE_CHECKING, cast
from multi.value import replace
from multi.words.merge import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.model.node import Node
    from multi.settings.config import Config
    from multi.words.names import Known, Name

_MOST_SHOWN = 10  # names of a circle


class Order:
    """What the words of one command line and its configuration stand for."""

    def __init__(self, known: Known, config: Config, *, strict: bool) -> None:
        """With `strict` no other nodes exist than those that are asked for and the configured ones."""
        self._known = known
        self._config = config
        self._strict = strict or bool(known.by_full)
        self._typed: dict[str, str] = {}

    def resolved(self, nodes: Sequence[Node], sources: Mapping[str, Mapping[str, str]]) -> tuple[Node, ...]:
        """The nodes with full names. Raises `UsageError` for a word that means nothing, `ConfigError` for a circle."""
        self._typed = {word: node.name for node in nodes for word in (node.short, node.name)}
        made = tuple(
            replace(node, after=self._names(node.name, node.after, sources[node.name]["after"])) if node.after else node
            for node in nodes
        )
        after = {name.full: self._configured(name) for name in self._known.by_full.values()}
        after.update((node.name, node.after) for node in made)
        circle = cycle(after)
        if circle:
            shorts = [full.partition("@")[0] for full in circle]
            shown = " -> ".join((*shorts[:_MOST_SHOWN], *(["..."] if len(shorts) > _MOST_SHOWN else [])))
            why = f"goes in a circle: {shown}, each after the next"
            where = f"{self._config.path}: after" if self._config.path else "after"
            raise ConfigError(where, why, "take one of them out")
        return made

    def _configured(self, name: Name) -> tuple[str, ...]:
        """What the configuration alone says of a node."""
        for layer in reversed(name.layers):
            if "after" in layer.values:
                words = cast("tuple[str, ...]", layer.values["after"])
                return self._names(name.full, words, layer.origin("after")) if words else ()
        return ()

    def _names(self, full: str, words: Sequence[str], source: str) -> tuple[str, ...]:
        own = "[nodes." in source or source.startswith(f"{COMMAND_LINE} ")
        found: dict[str, None] = {}
        for word in words:
            names = self._of(word, source)
            found |= dict.fromkeys(one for one in names if one != full or (own and len(names) == 1))
        return tuple(found)

    def _of(self, word: str, source: str) -> Sequence[str]:
        names, is_known = self._known.meant(word)
        if not is_known and word in self._typed:
            return [self._typed[word]]
        if self._strict and not is_known:
            why = f"{quoted(word)} is neither a node nor a group"
            raise UsageError(f"after ({source})", why, nearest(word, (*self._known.words(), *self._typed)))
        return [name.full for name in names]
