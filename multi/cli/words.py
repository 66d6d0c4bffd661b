"""Raw words -> the command, the flags that are `multi`'s own, and the words that belong to the node grammar.

Click's option parser never sees these words: it eats ``--`` and bundles short options, so that ``-c:seq`` would set
a ``-q``. Nothing here knows what a node is; everything is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from multi.errors import UsageError
from multi.value import dataclass

# What may stand before the command, as in ``celery -A proj multi start w1``. A test compares both sets with the
# installed Celery's.
LEADING_WITH_VALUE = frozenset(
    {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
    | {"--multi-config", "--preset", "--pidfile", "-p", "--logfile", "-f"}
)
LEADING_FLAGS = frozenset(
    {"-C", "--no-color", "-q", "--quiet", "--skip-checks", "--version", "--help"}
    | {"-h", "--dry-run", "--json", "--nosplash", "--strict", "--verbose"}
)


@dataclass(frozen=True, slots=True)
class Split:
    """A command line in three: what stood before the command, the command (None: there is none), what came after."""

    leading: tuple[str, ...]
    command: str | None
    rest: tuple[str, ...]


def split(words: Sequence[str], is_command: Callable[[str], bool]) -> Split:
    """Find the command: the first word that is neither an option nor the value of one.

    After an option that is not known here, a word is its value unless it is a command.
    """
    position = 0
    while position < len(words) and words[position] != "--":
        word = words[position]
        if not word.startswith("-"):
            return Split(tuple(words[:position]), word, tuple(words[position + 1 :]))
        position += 1
        if position < len(words) and not words[position].startswith("-"):
            position += _takes(word, words[position], is_command)
    return Split(tuple(words), None, ())


def joined(leading: Sequence[str]) -> list[str]:
    """The words before the command, a long option that is not known here as one word with the value that it took.

    There each word without a dash is a value. Among the words of the grammar it would be the name of a node.
    """
    words: list[str] = []
    for word in leading:
        before = words[-1] if words else ""
        novel = before.startswith("--") and "=" not in before and before not in LEADING_WITH_VALUE
        if novel and not word.startswith("-"):
            words[-1] = f"{before}={word}"
        else:
            words.append(word)
    return words


def _takes(option: str, word: str, is_command: Callable[[str], bool]) -> bool:
    """Whether `word` is the value of `option`, which stands before it."""
    if option in LEADING_FLAGS or "=" in option or _is_glued(option):
        return False  # a flag, or a value of its own: --app=proj, -Aproj
    return option in LEADING_WITH_VALUE or not is_command(word)


def _is_glued(option: str) -> bool:
    """Whether a short option carries its value: ``-Aproj``."""
    return not option.startswith("--") and len(option) > 2  # noqa: PLR2004 -- a dash and a letter


@dataclass(frozen=True, slots=True)
class Option:
    """One of `multi`'s own flags, as a row of a table; its help is in help.toml.

    `flags` are its spellings, the first is its name. `metavar` shows its value in help; an `optional` value can only
    be given as ``--flag=VALUE``. Without a `metavar` it takes none.
    """

    flags: tuple[str, ...]
    metavar: str = ""
    optional: bool = False

    @property
    def name(self) -> str:
        """The spelling that the program looks it up by."""
        return self.flags[0]


@dataclass(frozen=True, slots=True)
class Taken:
    """The words that are left, and the options taken from among them by name; of repeated ones the last counts."""

    words: tuple[str, ...]
    given: Mapping[str, str | None]


def take(words: Sequence[str], options: Sequence[Option]) -> Taken:
    """Take `options` out of `words`, wherever they stand before ``--``, as ``celery multi`` does with its own.

    A word that only begins like an option is left where it is: it may be the worker's. Raises `UsageError` where a
    value is missing.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    left: list[str] = []
    given: dict[str, str | None] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            left.append(word)
            left += words[position:]
            break
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        if option is None or (equals and not option.metavar):
            left.append(word)
        elif equals or not option.metavar or option.optional:
            given[option.name] = value if equals else None
        elif position < len(words) and words[position] != "--":
            given[option.name] = words[position]
            position += 1
        else:
            raise UsageError(word, "needs a value", f"write it like {flag}={option.metavar}")
    return Taken(tuple(left), given)
