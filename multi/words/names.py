"""Words -> the names of nodes: a name, a full name, a count, or a node or group of the configuration.

``w1`` is ``w1@HOST``, ``w1@example.com`` is itself, a single ``3`` is ``celery1 celery2 celery3``. In
a name only ``%h``, the host's name, is filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import ConfigError, UsageError
from multi.settings.config import MOST_NODES
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.settings.config import Config, Layer
    from multi.words.spec import Spec

_LONGEST_SHORT = 200  # bytes; with the suffix of a temporary file it must fit in the 255 of a file name
_LONGEST_NAME = 255
_NO_HOST = ('""', "''")  # how celery multi spells "without a host"
_RANGE_PREFIX = "celery"


@dataclass(frozen=True, slots=True)
class Name:
    """A node by name only: `full` is ``w1@host``, `short` is ``w1``.

    `word` is what was typed or configured. `own` are the words that a scope calls this node by in
    ``celery multi``; `also` are further ones (with the prefix, the name of its group), which count
    where no node has the scope as its own. `layers` are what the configuration says for the node,
    lowest first; `configured` tells whether it has the node itself.
    """

    word: str
    full: str
    short: str
    host: str
    own: frozenset[str]
    also: frozenset[str]
    layers: tuple[Layer, ...] = ()
    configured: bool = False


def names(spec: Spec, config: Config, hostname: str) -> tuple[Name, ...]:
    """The nodes that `spec` names, in order; all of the configuration's when it names none.

    `hostname` is this host's. Raises `UsageError` for a name that cannot be one, a node named twice,
    and a count of none or too many.
    """
    known = _Known(spec, config, hostname)
    if not spec.names:
        return known.everything()
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


class _Known:
    """The names of the configuration, and what a word on the command line stands for."""

    __slots__ = ("_by_full", "_by_short", "_by_word", "_config", "_groups", "_hostname", "_spec")

    def __init__(self, spec: Spec, config: Config, hostname: str) -> None:
        self._spec = spec
        self._config = config
        self._hostname = hostname
        self._groups: dict[str, tuple[str, ...]] = {group.name: group.nodes for group in config.groups}
        self._by_word: dict[str, Name] = {}
        self._by_full: dict[str, Name] = {}
        self._by_short: dict[str, list[Name]] = {}
        self._read(config)

    def _read(self, config: Config) -> None:
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
            name = replace(name, also=also, layers=tuple(found), configured=True)
            twin = self._by_full.get(name.full)
            if twin is not None:
                raise ConfigError(config.path or "", f"{twin.word!r} and {word!r} are one node", "write it once")
            self._by_word[word] = self._by_full[name.full] = name
            self._by_short.setdefault(name.short, []).append(name)

    def everything(self) -> tuple[Name, ...]:
        """All nodes of the configuration, in the order written."""
        return tuple(self._by_word.values())

    def of(self, word: str) -> tuple[Sequence[Name], bool]:
        """The nodes that a word stands for, and whether it is the name of a group."""
        configured = self._configured(word)
        if configured:
            return configured, False
        if word in self._groups:
            return [self._by_word[node] for node in self._groups[word]], True
        count = _count(word) if len(self._spec.names) == 1 else None
        return ([self._compose(word)] if count is None else self._counted(count)), False

    def _configured(self, word: str) -> Sequence[Name]:
        if word in self._by_word:
            return [self._by_word[word]]
        return self._by_short.get(word, ())

    def _counted(self, count: int) -> Sequence[Name]:
        if count < 1:
            raise UsageError(str(count), "is no number of nodes", "write a number from 1, or the nodes' names")
        if count > MOST_NODES:
            raise _too_many(str(count))
        prefix = self._spec.range_prefix or _RANGE_PREFIX
        return [self._named(str(number), f"{prefix}{number}@{self._suffix()}") for number in range(1, count + 1)]

    def _compose(self, word: str) -> Name:
        return self._named(word, word if "@" in word else f"{self._spec.prefix or ''}{word}@{self._suffix()}")

    def _suffix(self) -> str:
        spec = self._spec
        suffix = spec.suffix or (self._hostname if spec.hostname is None else spec.hostname)
        return "" if suffix in _NO_HOST else suffix

    def _named(self, word: str, typed: str) -> Name:
        """Make the name; where the configuration has the same node, it is that one."""
        full = fill_host(typed, self._hostname)
        short, _, host = full.partition("@")
        _check_name(full, short, host, word)
        own = frozenset({short if "@" in word else word, full})
        known = self._by_full.get(full)
        if known is None:
            return Name(word, full, short, host, own, frozenset({word, short}), (self._config.defaults,))
        return replace(known, own=known.own | own, also=known.also | {word, short})


def _too_many(word: str) -> UsageError:
    return UsageError(word, f"is more than {MOST_NODES} nodes", "write a smaller number")


def _count(word: str) -> int | None:
    """``3`` -> 3; None for a name. Python's notation of integers, as in ``celery multi``."""
    try:
        return int(word)
    except ValueError:
        if word.isdecimal():  # longer than Python converts
            raise _too_many(word[:20] + "...") from None
        return None


def plain(full: str) -> Name:
    """A full name that nobody configured."""
    short, _, host = full.partition("@")
    return Name(full, full, short, host, frozenset({full, short}), frozenset())


def is_full_name(full: str) -> bool:
    """Whether a name read from somewhere is one that a node can have."""
    short, _, host = full.partition("@")
    try:
        _check_name(full, short, host, full)
    except UsageError:
        return False
    # The words of a command never make another one: each has its host, with nothing left to fill in.
    return bool(host) and fill_host(full, "") == full


def fill_host(text: str, hostname: str) -> str:
    """Fill in ``%h``; also ``%%h``, as people copy it from systemd units: Celery's worker fills that in too."""
    return text.replace("%%h", hostname).replace("%h", hostname) if "%" in text else text


def _check_name(full: str, short: str, where: str, word: str) -> None:
    if not short:
        raise UsageError(word, "has nothing before the '@'", "write it like w1@example.com")
    if "@" in where:
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
