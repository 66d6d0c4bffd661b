"""What the user said, nothing resolved yet, and the nodes that it is about."""

from __future__ import annotations

from collections.abc import Mapping

from multi.model.node import Node
from multi.model.request import Fallback
from multi.typed import Literal, TypeAlias
from multi.value import dataclass, field

# Whose output `run` collects to show it in whole lines: of several nodes, or also of one.
Collect: TypeAlias = Literal["never", "several", "always"]


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it was typed.

    `name` is ``-c`` or ``--concurrency``, without scope and value. `value` is None when there is none; ``--opt=`` gives
    the empty string. `scope` is what stood after the ``:``, None when the option is for every node. `joined` is true
    when name and value are one word (``--opt=value``, ``-c4``): the worker gets it the way it was typed.
    """

    name: str
    value: str | None = None
    scope: str | None = None
    joined: bool = False

    def typed(self, value: str | None) -> list[str]:
        """The words that it was typed as, with `value` for its value."""
        if value is None:
            return [self.name]
        if not self.joined:
            return [self.name, value]
        return [f"{self.name}={value}" if self.name.startswith("--") else self.name + value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that one command line says about nodes.

    `names` are the words that name nodes, in order, ``("3",)`` for a count. `options` are the worker's, `settings` are
    `multi`'s own (see `multi.settings.table`), both in the order typed. `passthrough` is what stood after ``--``,
    without it. `signum` is the signal given as ``-SIG``. `hints` are sentences for the user about words that are
    probably not meant the way they are read.
    """

    names: tuple[str, ...] = ()
    options: tuple[Given, ...] = ()
    settings: tuple[Given, ...] = ()
    passthrough: tuple[str, ...] = ()
    signum: int | None = None
    prefix: str | None = None
    suffix: str | None = None
    hostname: str | None = None
    range_prefix: str | None = None
    hints: tuple[str, ...] = ()

    @property
    def says_command(self) -> bool:
        """Whether anything here is about the worker's command: then a recorded one is not reused."""
        return self.says_words or any(given.name == "--preset" for given in self.settings)

    @property
    def says_words(self) -> bool:
        """Whether anything here is a part of the worker's command itself, which a preset alone need not be."""
        command = {"--cmd", "--append", "--executable"}
        return bool(self.options or self.passthrough or any(given.name in command for given in self.settings))


@dataclass(frozen=True, slots=True)
class RunDirectories:
    """Where nodes are looked for that nobody asked about.

    In the run directories `searched` a command finds a node by its name alone; `default` are those of all presets.
    """

    searched: tuple[str, ...] = ()
    default: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The nodes that one command line is about.

    `warnings` are sentences for the user. `sources` tells, per node and setting, where its value comes from
    (``built in``, ``preset celery``, ``multi.toml [defaults]``, ``MULTI_UMASK``, ``command line``), `settings` the
    values themselves. `recorded` is what was on record of the nodes that were taken from their record, by name, and
    `configured` are the names of those that the configuration has, `unsaid` of those whose command nobody but the
    preset says. `groups` are the groups of the configuration by the full names of their nodes. `removed` are nodes that
    this configuration started and does not have any more, for ``apply`` and ``diff``. `beside` are those, by full name,
    that others of these come after, and that nobody asked for. `fallbacks` are proofs of
    readiness by node, for those that cannot give their own. `rundir` is where records were looked for when no node was
    named, `config` the configuration file that was read, and `found` says why it was that one. `rundirs` says where
    others are looked for; it is None where the user said which nodes are meant.
    """

    nodes: tuple[Node, ...] = ()
    spec: Spec = Spec()
    warnings: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    recorded: Mapping[str, Node] = field(default_factory=dict)
    configured: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()
    groups: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[Node, ...] = ()
    beside: Mapping[str, Node] = field(default_factory=dict)
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    rundir: str = ""
    config: str | None = None
    found: str = ""
    rundirs: RunDirectories | None = None
