"""``-c:1,w2 4`` -> which nodes a scoped option is for.

A scope is a name, a full name, an index from 1, a range ``1-3`` or a list of these. A node of
exactly that name overrides an index or a range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.words.names import fill_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from multi.words.names import Name
    from multi.words.spec import Given


class Scopes:
    """Which nodes a scope means. Each scope is looked up once; what is odd about it is said once."""

    __slots__ = ("_found", "_hostname", "_known", "_names", "_strict", "warnings")

    def __init__(self, names: Sequence[Name], hostname: str, *, strict: bool) -> None:
        """With `strict` what is odd is an error."""
        self._names = names
        self._hostname = hostname
        self._strict = strict
        self._found: dict[str, frozenset[int]] = {}
        self._known: tuple[Mapping[str, Sequence[int]], Mapping[str, Sequence[int]]] | None = None
        self.warnings: list[str] = []

    def find(self, given: Given) -> frozenset[int] | None:
        """The positions of the nodes that the option is for; None for all."""
        if given.scope is None:
            return None
        found = self._found.get(given.scope)
        if found is None:
            where = f"{given.name}:{given.scope}"
            found = frozenset(position for item in given.scope.split(",") for position in self._item(item, where))
            self._found[given.scope] = found
        return found

    def _item(self, item: str, where: str) -> Iterable[int]:
        named = self._named(item)
        if named:
            return named
        if is_number(item):
            return [self._index(item, where)]
        first, dash, last = item.partition("-")
        if dash and is_number(first) and is_number(last):
            return self._range(first, last, where)
        self._odd(where, f"no node is named {item!r}")
        return ()

    def _named(self, item: str) -> Sequence[int]:
        if self._known is None:
            names = self._names
            self._known = _positions(name.own for name in names), _positions(name.also for name in names)
        own, also = self._known
        filled = fill_host(item, self._hostname)
        return own.get(item) or own.get(filled) or also.get(item) or also.get(filled) or ()

    def _index(self, item: str, where: str) -> int:
        index = _number(item)
        if index < 1:
            raise UsageError(where, "the first node has the index 1", self._there_are())
        if index > len(self._names):
            raise UsageError(where, f"there is no node with the index {item}", self._there_are())
        return index - 1

    def _range(self, first: str, last: str, where: str) -> Iterable[int]:
        start, stop = _number(first), _number(last)
        if start > stop:
            raise UsageError(where, f"the range {first}-{last} runs backwards", f"write {last}-{first}")
        if start < 1 or stop > len(self._names):
            self._odd(where, f"the range {first}-{last} reaches beyond the nodes")
        return range(max(start, 1) - 1, min(stop, len(self._names)))

    def _odd(self, where: str, why: str) -> None:
        if self._strict:
            raise UsageError(where, why, self._there_are())
        self.warnings.append(f"{where}: {why}; {self._there_are()}")

    def _there_are(self) -> str:
        if not self._names:
            return "there are no nodes"
        shown = [f"{number} {name.full}" for number, name in enumerate(self._names[:10], start=1)]
        rest = len(self._names) - len(shown)
        return f"the nodes are {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def _positions(words: Iterable[Iterable[str]]) -> Mapping[str, Sequence[int]]:
    """Which nodes each word stands for."""
    found: dict[str, list[int]] = {}
    for position, of_one in enumerate(words):
        for word in of_one:
            found.setdefault(word, []).append(position)
    return found


def is_number(text: str) -> bool:
    """Whether `text` is plain digits, as an index is."""
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    """A number that may be too long for `int`; then it is beyond any node anyway."""
    return int(text) if len(text.lstrip("0")) < 10 else 10**9  # noqa: PLR2004 -- more digits than any index
