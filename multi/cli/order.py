"""Raw words -> the command, the flags that are `multi`'s own, and the words that belong to the node grammar.

Click's option parser never sees these words: it eats ``--`` and bundles short options, so that ``-c:seq`` would set
a ``-q``. Nothing here knows what a node is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from multi.cli.screen import Screen
from multi.errors import UsageError
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.model.request import Traits
    from multi.words.spec import Selection

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

    @property
    def leading(self) -> Option:
        """The option as it may stand before the command, where a short one is Celery's."""
        return Option(self.flags[:1], self.metavar, self.optional)


DUMP = "dump"  # stands in the place of a signal's name

JSON = Option(("--json",))
QUIET = Option(("--quiet", "-q"))
VERBOSE = Option(("--verbose",))
NOSPLASH = Option(("--nosplash",))
NO_COLOR = Option(("--no-color",))
HELP = Option(("--help",))
SHORT_HELP = Option(("-h",))
VERSION = Option(("--version",))
GLOBAL = (JSON, QUIET, VERBOSE, NOSPLASH, NO_COLOR, HELP)
SILENT = (NOSPLASH, QUIET, JSON)  # with one of these --verbose prints no splash

DRY_RUN = Option(("--dry-run",))
ROLLING = Option(("--rolling",), metavar="N", optional=True)
CANARY = Option(("--canary",), metavar="M", optional=True)
SETTLE = Option(("--settle",), metavar="SECONDS")
ROLLBACK = Option(("--rollback",))
AGAIN = Option(("--again",))
ROLLOUT = (ROLLING, CANARY, SETTLE, ROLLBACK, AGAIN)
LOCK_HELD = Option(("--lock-held",))
ONE_ENDS_ALL = Option(("--exit-when-one-gives-up",))
NO_PREFIX = Option(("--no-prefix",))
PROCFILE = Option(("--procfile",), metavar="FILE")
FORMATION = Option(("--formation",), metavar="NAME=N,...")
RESTART_ON_CHANGE = Option(("--restart-on-change",), metavar="PATHS", optional=True)
TIMESTAMPS = Option(("--timestamps",))
FOREGROUND = (PROCFILE, FORMATION, RESTART_ON_CHANGE, NO_PREFIX, TIMESTAMPS, ONE_ENDS_ALL)
KEEP_UNREADY = Option(("--keep-unready",))
WHEN_IDLE = Option(("--when-idle",))
KEEP_DRAINED = Option(("--keep-drained",))
UP = Option(("--up",))
DOWN = Option(("--down",))
TIMEOUT = Option(("--timeout",), metavar="SECONDS")

FOLLOW = Option(("--follow", "-f"))  # as tail(1) has them; before the command, -f is --logfile
LINES = Option(("--lines", "-n"), metavar="N")
SINCE = Option(("--since",), metavar="WHEN")
SINCE_START = Option(("--since-start",))
GREP = Option(("--grep",), metavar="RE")
LOG = Option(("--log",), metavar="RE")

ALL = Option(("--all",))
WIDE = Option(("--wide",))
WATCH = Option(("--watch",), metavar="SECONDS", optional=True)
SORT = Option(("--sort",), metavar="KEY")
HEALTH = Option(("--health",))

OUTPUT = Option(("--output",), metavar="DIR")
IMAGE = Option(("--image",), metavar="IMAGE")
NAMESPACE = Option(("--namespace",), metavar="NAME")
REPLICAS = Option(("--replicas",), metavar="N")
CPU = Option(("--cpu",), metavar="CORES")
MEMORY = Option(("--memory",), metavar="SIZE")
CONTAINERS = (IMAGE, NAMESPACE, REPLICAS, CPU, MEMORY)
OUTPUT_FILE = Option(("--output",), metavar="FILE")
FROM = Option(("--from",), metavar="FORM")
FORMAT = Option(("--format",), metavar="FORMAT")
WARNING = Option(("--warning",), metavar="RANGE")
CRITICAL = Option(("--critical",), metavar="RANGE")

SYSTEMD = Option(("--systemd",))
CRON = Option(("--cron",))
SYSV = Option(("--sysv",))
USER = Option(("--user",))
NOW = Option(("--now",))

# Words of the node grammar that are nobody's setting; the pipeline reads them, help and completion show them.
STRICT = Option(("--strict",))
CONFIG = Option(("--multi-config",), metavar="FILE")
HOSTNAME = Option(("--hostname", "-n"), metavar="HOST")
SUFFIX = Option(("--suffix",), metavar="HOST")
PREFIX = Option(("--prefix",), metavar="TEXT")
RANGE_PREFIX = Option(("--range-prefix",), metavar="TEXT")
GRAMMAR = (HOSTNAME, SUFFIX, PREFIX, RANGE_PREFIX, STRICT, CONFIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One row of the table of commands: its traits, and its own options. What help says of it is in help.toml."""

    name: str
    aliases: tuple[str, ...]
    traits: Traits
    options: tuple[Option, ...]

    @property
    def takes_nodes(self) -> bool:
        """Whether words after it may name nodes."""
        return self.traits.nodes_from != "nothing"

    @property
    def announced(self) -> bool:
        """Whether it prints name and version first, with --verbose on a terminal."""
        traits = self.traits
        return (traits.spawns or traits.ends) and not (traits.stays or traits.unattended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user ordered, and what it is carried out with: the screen, and the machine (None is the real one).

    `leading` are the words that stood before the command, `words` those after it, both without the options that are
    `given`, by name.
    """

    command: Command
    leading: tuple[str, ...]
    words: tuple[str, ...]
    given: Mapping[str, str | None]
    screen: Screen
    machine: Machine | None

    @property
    def typed(self) -> str:
        """The command line of a rolling command, to be typed again; what was rolled back is tried again."""
        import shlex

        given = {one.name: self.given[one.name] for one in self.command.options if one.name in self.given}
        if self.has(ROLLBACK):
            given[AGAIN.name] = None
        options = (name if value is None else f"{name}={value}" for name, value in given.items())
        return shlex.join(("multi", *self.leading, self.command.name, *options, *self.words))

    def has(self, option: Option) -> bool:
        """Whether `option` was given."""
        return option.name in self.given

    def say(self, values: Iterable[object], lines: Iterable[str], *, quiet: bool = False) -> int:
        """Print the values as lines of JSON with ``--json``, or else the lines unless it is to be `quiet`; exit 0."""
        if self.has(JSON):
            self.say_json(*values)
        elif not quiet:
            self.screen.say(*lines)
        return 0

    def say_json(self, *values: object) -> None:
        """Print each value as a line of JSON."""
        from multi.report.json import to_json

        self.screen.say(*map(to_json, values))


def no_nodes(order: Order, selection: Selection) -> UsageError:
    """The refusal of a command that is about no node at all."""
    hint = f"name some, as in 'multi {order.command.name} w1 w2'"
    if not selection.rundir:
        return UsageError("", "there are no nodes: none is named, none is configured", hint)
    why = f"there are no nodes: none is named, none is configured, none is recorded in {selection.rundir}"
    return UsageError("", why, f"{hint}, or say with --pidfile where they are")


def split(
    words: Sequence[str], is_command: Callable[[str], bool]
) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """What stands before the command, the command (None: there is none), and what comes after it.

    The command is the first word that is neither an option nor the value of one. After an option that is not known
    here, a word is its value unless it is a command. A long one and its value become one word: among the words of the
    grammar the value would be the name of a node.
    """
    leading: list[str] = []
    position = 0
    while position < len(words) and words[position] != "--":
        word = words[position]
        if not word.startswith("-"):
            return tuple(leading), word, tuple(words[position + 1 :])
        position += 1
        value = words[position] if position < len(words) else "-"
        if value.startswith("-") or not _takes(word, value, is_command):
            leading.append(word)
            continue
        position += 1
        novel = word.startswith("--") and word not in LEADING_WITH_VALUE
        leading += [f"{word}={value}"] if novel else [word, value]
    return (*leading, *words[position:]), None, ()


def _takes(option: str, word: str, is_command: Callable[[str], bool]) -> bool:
    """Whether `word` is the value of `option`, which stands before it."""
    glued = not option.startswith("--") and len(option) > 2  # noqa: PLR2004 -- a dash, a letter and a value: -Aproj
    if option in LEADING_FLAGS or "=" in option or glued:
        return False
    return option in LEADING_WITH_VALUE or not is_command(word)


def take(words: Sequence[str], options: Sequence[Option]) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """Take `options` out of `words`, wherever they stand before ``--``, as ``celery multi`` does with its own.

    Returns the words that are left, and the options by name; of repeated ones the last counts. A word that only begins
    like an option is left where it is: it may be the worker's. Raises `UsageError` where a value is missing.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    left: list[str] = []
    given: dict[str, str | None] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            left += words[position - 1 :]
            break
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        if option is None and (glued := by_flag.get(word[:2])) and glued.metavar:  # -n5
            option, equals, value = glued, "=", word[2:]
        if option is None or (equals and not option.metavar):
            left.append(word)
        elif equals or not option.metavar or option.optional:
            given[option.name] = value if equals else None
        elif position < len(words) and words[position] != "--":
            given[option.name] = words[position]
            position += 1
        else:
            raise UsageError(word, "needs a value", f"write it like {flag}={option.metavar}")
    return tuple(left), given
