"""The differences of docs/reference/differences.md as predicates: which argument lists fall under which row.

They look at the words, at the options that Celery's own command line declares, and at what Celery's parser makes of the
words; never at ours. A predicate may say yes to more than the row is about, which only makes the comparison smaller.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from celery.bin.celery import celery as celery_command
from celery.bin.worker import worker as worker_command

import celery_oracle
from multi.settings.table import BY_FLAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from celery_oracle import Told

PARAMS = (*celery_command.params, *worker_command.params)
APP_OPTIONS = frozenset(spelling for param in celery_command.params for spelling in param.opts)
FLAGS = frozenset(spelling for param in PARAMS if param.is_flag for spelling in param.opts)
NAMING = frozenset({"-n", "--hostname", "--prefix", "--suffix", "--range-prefix"})
VALUED = frozenset(spelling for param in PARAMS if not param.is_flag for spelling in param.opts) | {*BY_FLAG} | NAMING
GROUPS = {spelling: param.opts[0] for param in PARAMS for spelling in param.opts} | {"-p": "--pidfile"}


class Line:
    """An argument list as Celery sees it: `own` is what stands before ``--``."""

    def __init__(self, words: Sequence[str]) -> None:
        """Ask Celery; `told` is None, and nothing is known of the nodes, where that ends in a traceback."""
        self.own = words[: words.index("--")] if "--" in words else words
        self.told = _ask(words)
        everywhere = _ask([unscoped(word) for word in words])
        self.names, self.scopes = celery_oracle.read(words)
        self.counted = len(self.names) == 1 and re.fullmatch(r"\+?\d[\d_]*", self.names[0]) is not None
        self.fulls = [one.name for one in everywhere or ()]
        self.typed = list(self.fulls if self.counted else self.names)
        if len(self.fulls) != len(self.typed):
            self.typed = self.fulls = []
        # What Celery calls each node by in a scope, beside its full name.
        self.called = [
            str(place) if self.counted else name.partition("@")[0] for place, name in enumerate(self.typed, start=1)
        ]

    def options(self) -> Iterator[tuple[str, str, str, str | None]]:
        """Each option: its name, the whole word, what stands after a ``=``, and the word that follows."""
        for place, word in enumerate(self.own):
            head, equals, value = word.partition("=")
            if word.startswith("-") and word != "-":
                following = self.own[place + 1] if place + 1 < len(self.own) else None
                yield head.partition(":")[0], word, equals + value, following

    def items(self) -> Iterator[tuple[str, bool]]:
        """Each item of each scope, and whether Celery knows a node by it."""
        for scope in self.scopes:
            for item in scope.split(","):
                yield item, item in self.called or item in self.fulls

    def places(self, scope: str) -> Iterator[int]:
        """The nodes that a scope may mean to either parser."""
        for item in scope.split(","):
            ends = re.fullmatch(r"(\d+)-(\d+)", item)
            for place, full in enumerate(self.fulls):
                in_range = ends is not None and int(ends[1]) <= place + 1 <= int(ends[2])
                if item in {self.called[place], full, str(place + 1)} or in_range:
                    yield place


def unscoped(word: str) -> str:
    """``-c:1`` -> ``-c``."""
    head, equals, value = word.partition("=")
    return head.partition(":")[0] + equals + value if word.startswith("-") else word


def infos(words: Sequence[str]) -> set[str]:
    """The differences of docs/reference/differences.md that an argument list falls under."""
    line = Line(words)
    return {info for info, predicate in PREDICATES.items() if predicate(line)}


def _ask(words: Sequence[str]) -> list[Told] | None:
    try:
        return celery_oracle.ask(words)
    except Exception:  # noqa: BLE001 -- whatever ends celery multi with a traceback
        return None


def _is_value(word: str | None) -> bool:
    return word is not None and not word.startswith("-")


def _other_word_count(line: Line) -> bool:
    """D1: a flag before a word, or a long option that needs a value and has none of its own."""
    return any(
        _is_value(following)
        and ((name in FLAGS and name[1] != "-") or (name in VALUED and name[1] == "-" and not said))
        for name, _, said, following in line.options()
    )


def _no_value(line: Line) -> bool:
    """D2: an option that needs a value is followed by none, or a setting is set to nothing."""
    return any(
        (name in VALUED and not (name[1] == "-" and said) and not _is_value(following))
        or (name in BY_FLAG and said == "=")
        for name, _, said, following in line.options()
    )


def _glued(line: Line) -> bool:
    """D3: a short option that is known, with something behind its letter."""
    return any(len(name) > 2 and name[1] != "-" and name[:2] in FLAGS | VALUED for name, _, _, _ in line.options())


def _two_spellings(line: Line) -> bool:
    """D11: one option in two spellings, of which one is scoped; or a path of ours in two."""
    spellings: dict[str, set[str]] = {}
    scoped: set[str] = set()
    for name, word, _, _ in line.options():
        key = GROUPS.get(name, name)
        spellings.setdefault(key, set()).add(name)
        if unscoped(word) != word or key in {"--pidfile", "--logfile"}:
            scoped.add(key)
    return any(len(spellings[key]) > 1 for key in scoped)


def _several_scopes(line: Line) -> bool:
    """D12: a node has one option by two scopes, or has anything by its full name and by another scope."""
    of_option: dict[tuple[int, str], set[str]] = {}
    of_node: dict[int, set[str]] = {}
    for scope, options in line.scopes.items():
        for place in line.places(scope):
            of_node.setdefault(place, set()).add(scope)
            for option in options:
                of_option.setdefault((place, GROUPS.get(option, option)), set()).add(scope)
    return any(len(scopes) > 1 for scopes in of_option.values()) or any(
        len(scopes) > 1 and "@" in "".join(scopes) + ("" if line.counted else line.names[place])
        for place, scopes in of_node.items()
    )


def _range_of_names(line: Line) -> bool:
    """D13: a range that is no node's name, among named nodes."""
    return any(not line.counted and not known and re.fullmatch(r"\d+-\d+", item) for item, known in line.items())


def _other_name(line: Line) -> bool:
    """D14: a scope with a name that Celery prints but does not know the node by, or an index of ``w1@%h``."""
    also = {full.partition("@")[0] for full in line.fulls} | {*line.typed}
    for item, known in line.items():
        if not known and item in also:
            return True
        index = int(item) - 1 if item.isdigit() else -1
        if not line.counted and not known and 0 <= index < len(line.fulls) and "%" in line.names[index]:
            return True
    return False


def _out_of_range(line: Line) -> bool:
    """D15: an index that no node has."""
    return any(item.isdigit() and not 0 < int(item) <= len(line.fulls) for item, _ in line.items())


def _index_or_name(line: Line) -> bool:
    """D16: a number that is one node's index and another's name."""
    return any(
        known and not line.counted and item.isdigit() and 0 < int(item) <= len(line.fulls)
        and line.called[int(item) - 1] != item
        for item, known in line.items()
    )  # fmt: skip


def _no_scope(line: Line) -> bool:
    """D17: a scope that is none, or a scope on an option that has none."""
    for name, word, _, _ in line.options():
        head = word.partition("=")[0]
        _, colon, scope = head.partition(":")
        ends = [re.fullmatch(r"(\d+)-(\d+)", item) for item in scope.split(",")]
        if colon and (":" in scope or not all(scope.split(",")) or not name.strip("-") or name in NAMING):
            return True
        if any(end is not None and int(end[1]) > int(end[2]) for end in ends):
            return True
    return False


def _other_code(line: Line) -> bool:
    """D18: something but ``%h`` in what becomes a name."""
    naming = [word for name, word, _, _ in line.options() if name in NAMING]
    return any(re.search(r"%[^h]", word) for word in (*line.names, *naming))


def _no_name(line: Line) -> bool:
    """D19: a name that cannot be a file name, or one with two hosts."""
    return any(
        re.search(r"[/:,\s]", name) or name.startswith("@") or name.count("@") > 1 or name in {".", ".."}
        for name in (*line.names, *line.fulls)
    )


def _shared(line: Line) -> bool:
    """D20: two nodes with one pidfile."""
    return line.told is not None and len({one.pidfile for one in line.told}) < len(line.told)


def _scoped_command(line: Line) -> bool:
    """D28: a scope on the words of the command, which Celery hands to the worker instead."""
    return any(word.startswith(("--append:", "--cmd:")) for _, word, _, _ in line.options())


PREDICATES: Mapping[str, Callable[[Line], bool]] = {
    "D1": _other_word_count,
    "D2": _no_value,
    "D3": _glued,
    "D6": lambda line: "" in line.own,
    "D9": lambda line: "-" in line.own,
    "D11": _two_spellings,
    "D12": _several_scopes,
    "D13": _range_of_names,
    "D14": _other_name,
    "D15": _out_of_range,
    "D16": _index_or_name,
    "D17": _no_scope,
    "D18": _other_code,
    "D19": _no_name,
    "D20": _shared,
    "D21": lambda line: line.told is not None and not 0 < len(line.told) <= 10_000,
    "D22": lambda line: line.told is None,
    "D28": _scoped_command,
}
