"""Words -> the names of nodes, and which of them the scope of an option means.

``w1`` is ``w1@HOST``, ``w1@example.com`` is itself, a single ``3`` is ``celery1 celery2 celery3``; a word may also be a
node or group of the configuration. In a name only ``%h``, the host's name, is filled in.

A scope, as in ``-c:1,w2 4``, is a name, a full name, an index from 1, a range ``1-3`` or a list of these. A node of
exactly that name overrides an index or a range.
"""

from __future__ import annotations

from multi.errors import ConfigError, UsageError
from multi.settings.config import MOST_NODES
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from multi.settings.config import Config, Layer
    from multi.words.spec import Given, Spec

_LONGEST_SHORT = 200  # bytes; with the suffix of a temporary file it must fit in the 255 of a file name
_LONGEST_NAME = 255
_DASHES = "‐‑‒–—―−"  # noqa: RUF001 -- what programs that typeset make of - and --
_NO_HOST = ('""', "''")  # how celery multi spells "without a host"
_RANGE_PREFIX = "celery"


@dataclass(frozen=True, slots=True)
class Name:
    """A node by name only: `full` is ``w1@host``.

    `word` is what was typed or configured. `own` are the words that a scope calls this node by in ``celery multi``;
    `also` are further ones (with the prefix, the name of its group), which count where no node has the scope as its
    own. `layers` are what the configuration says for the node, lowest first; `configured` tells whether it has the node
    itself, and `group` in which group, empty for none.
    """

    word: str
    full: str
    own: frozenset[str]
    also: frozenset[str]
    layers: tuple[Layer, ...]
    configured: bool = False
    group: str = ""


def names(spec: Spec, known: Known) -> tuple[Name, ...]:
    """The nodes that `spec` names, in order; all of the configuration's when it names none.

    Raises `UsageError` for a name that cannot be one, a node named twice, and a count of none or too many.
    """
    if not spec.names:
        return tuple(known.by_full.values())
    found: dict[str, Name] = {}
    said: set[str] = set()
    for word in spec.names:
        of_word, is_group = known.of(word)
        for name in of_word:
            if name.full in said and not is_group:
                raise UsageError(name.full, "is named twice", "name each node once")
            found.setdefault(name.full, name)
        if not is_group:
            said.update(name.full for name in of_word)
    return tuple(found.values())


class Known:
    """The names of the configuration, in the order written, and what a word on the command line stands for."""

    def __init__(self, spec: Spec, config: Config, hostname: str) -> None:
        """Raises `ConfigError` where two names of the configuration are one node."""
        self._spec = spec
        self._hostname = hostname
        self._defaults = config.defaults
        self.by_full: dict[str, Name] = {}
        by_word: dict[str, list[Name]] = {}
        by_short: dict[str, list[Name]] = {}
        layers: dict[str, list[Layer]] = {}
        groups: dict[str, set[str]] = {}
        for group in config.groups:
            for word in group.nodes:
                layers.setdefault(word, [config.defaults]).append(group.layer)
                groups.setdefault(word, set()).add(group.name)
        for word, layer in config.nodes:
            layers.setdefault(word, [config.defaults]).append(layer)
        for word, found in layers.items():
            name = self._compose(word)
            also = name.also | groups.get(word, set())
            group_name = next(iter(groups.get(word, ())), "")  # it belongs to one at most
            name = replace(name, also=also, layers=tuple(found), configured=True, group=group_name)
            twin = self.by_full.get(name.full)
            if twin is not None:
                raise ConfigError(config.path or "", f"{twin.word!r} and {word!r} are one node", "write it once")
            self.by_full[name.full] = name
            by_word[word] = [name]
            by_short.setdefault(name.full.partition("@")[0], []).append(name)
        by_group = {group.name: [name for word in group.nodes for name in by_word[word]] for group in config.groups}
        self._meant = {**by_group, **by_short, **by_word}
        self._groups = by_group.keys() - by_short.keys() - by_word.keys()

    def of(self, word: str) -> tuple[Sequence[Name], bool]:
        """The nodes that a word stands for, and whether it is the name of a group."""
        if word in self._meant:
            return self._meant[word], word in self._groups
        count = _count(word) if len(self._spec.names) == 1 else None
        if count is None:
            return [self._compose(word)], False
        prefix = self._spec.range_prefix or _RANGE_PREFIX
        numbers = map(str, range(1, count + 1))
        return [self._named(number, f"{prefix}{number}@{self._suffix()}") for number in numbers], False

    def meant(self, word: str) -> tuple[Sequence[Name], bool]:
        """The nodes that a word within a setting stands for, and whether the configuration knows them."""
        if word in self._meant:
            return self._meant[word], True
        name = self._compose(word)
        return [name], name.configured

    def words(self) -> Iterable[str]:
        """Every word of the configuration that names nodes."""
        return self._meant

    def _compose(self, word: str) -> Name:
        return self._named(word, word if "@" in word else f"{self._spec.prefix or ''}{word}@{self._suffix()}")

    def _suffix(self) -> str:
        spec = self._spec
        suffix = spec.suffix or (self._hostname if spec.hostname is None else spec.hostname)
        return "" if suffix in _NO_HOST else suffix

    def _named(self, word: str, typed: str) -> Name:
        """Make the name; where the configuration has the same node, it is that one."""
        full = fill_host(typed, self._hostname)
        _check_name(full, word)
        short = full.partition("@")[0]
        own = frozenset({short if "@" in word else word, full})
        also = frozenset({word, short})
        known = self.by_full.get(full)
        if known is None:
            return Name(word, full, own, also, (self._defaults,))
        return replace(known, own=known.own | own, also=known.also | also)


def _count(word: str) -> int | None:
    """``3`` -> 3; None for a name. Python's notation of integers, as in ``celery multi``."""
    try:
        count = int(word)
        shown = str(count)
    except ValueError:
        if not word.isdecimal():
            return None
        count, shown = MOST_NODES + 1, word[:20] + "..."  # longer than Python converts
    if count < 1:
        raise UsageError(shown, "is no number of nodes", "write a number from 1, or the nodes' names")
    if count > MOST_NODES:
        raise UsageError(shown, f"is more than {MOST_NODES} nodes", "write a smaller number")
    return count


def is_full_name(full: str) -> bool:
    """Whether a name read from somewhere is one that a node can have."""
    try:
        _check_name(full, full)
    except UsageError:
        return False
    # The words of a command never make another one: each has its host, with nothing left to fill in.
    return bool(full.partition("@")[2]) and fill_host(full, "") == full


def fill_host(text: str, hostname: str) -> str:
    """Fill in ``%h``; also ``%%h``, as people copy it from systemd units: Celery's worker fills that in too."""
    return text.replace("%%h", hostname).replace("%h", hostname) if "%" in text else text


def _check_name(full: str, word: str) -> None:
    short, _, host = full.partition("@")
    if not short:
        raise UsageError(word, "has nothing before the '@'", "write it like w1@example.com")
    if short[0] in _DASHES:
        why = f"begins with {short[0]!r} (U+{ord(short[0]):04X}), which is not the dash of an option"
        raise UsageError(word, why, "type it as - or --")
    if "@" in host:
        why = f"makes the node name {full}, whose host has an '@'"
        raise UsageError(word, why, "write one '@' in a name, and none in --hostname or --suffix")
    for character in full:
        if character in "/:," or character.isspace() or not character.isprintable():
            why = f"makes the node name {full!r}, and {character!r} cannot stand in a name, which becomes a file name"
            raise UsageError(word, why, "take it out")
    if short in {".", ".."}:
        raise UsageError(word, "cannot be a node name, which becomes a file name", "write another one")
    if len(short.encode(errors="replace")) > _LONGEST_SHORT or len(full.encode(errors="replace")) > _LONGEST_NAME:
        raise UsageError(word[:40] + "...", "is too long for a node name, which becomes a file name", "shorten it")


class Scopes:
    """Which nodes a scope means. Each scope is looked up once; what is odd about it is said once."""

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
            index = _number(item)
            if index < 1:
                raise UsageError(where, "the first node has the index 1", self._there_are())
            if index > len(self._names):
                raise UsageError(where, f"there is no node with the index {item}", self._there_are())
            return [index - 1]
        first, dash, last = item.partition("-")
        if not (dash and is_number(first) and is_number(last)):
            self._odd(where, f"no node is named {item!r}")
            return ()
        start, stop = _number(first), _number(last)
        if start > stop:
            raise UsageError(where, f"the range {first}-{last} runs backwards", f"write {last}-{first}")
        if start < 1 or stop > len(self._names):
            self._odd(where, f"the range {first}-{last} reaches beyond the nodes")
        return range(max(start, 1) - 1, min(stop, len(self._names)))

    def _named(self, item: str) -> Sequence[int]:
        if self._known is None:
            names = self._names
            self._known = _positions(name.own for name in names), _positions(name.also for name in names)
        own, also = self._known
        filled = fill_host(item, self._hostname)
        return own.get(item) or own.get(filled) or also.get(item) or also.get(filled) or ()

    def _odd(self, where: str, why: str) -> None:
        if self._strict:
            raise UsageError(where, why, self._there_are())
        self.warnings.append(f"{where}: {why}; {self._there_are()}")

    def _there_are(self) -> str:
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
