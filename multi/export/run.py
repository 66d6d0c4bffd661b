"""The command `multi run` that makes a given node in an image, which has `multi` and the presets that come with it.

It says the worker's own words and its preset, where `multi` there makes the very same node of them: that is tried here.
Else, as with a preset of the user's, it says a bare command.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from multi.errors import MultiError
from multi.export import form
from multi.export.sysv import settings
from multi.machine import Surroundings
from multi.model.node import Known, Node
from multi.model.request import traits
from multi.model.schedule import parse
from multi.settings import config, presets
from multi.settings.presets import Preset
from multi.settings.table import SETTINGS
from multi.value import dataclass, replace
from multi.words import grammar
from multi.words.expand import expand
from multi.words.template import literal

# The engine's business, or that of the place where the files are.
_NOT_TOLD = (
    *("--preset", "--cmd", "--pidfile", "--logfile", "--uid", "--gid", "--workdir", "--env", "--env-file"),
    *("--restart", "--restart-delay", "--restart-limit", "--after", "--lock-timeout"),
)
# What `multi run` takes for itself before ``--``, and a worker may have, too.
TAKEN = frozenset(
    {"--json", "--quiet", "-q", "--verbose", "--nosplash", "--no-color", "--help", "--strict", "--dry-run"}
    | {"--procfile", "--formation", "--restart-on-change", "--no-prefix", "--timestamps"}
    | {"--exit-when-one-gives-up", "--keep-unready"}
)


@dataclass(frozen=True, slots=True)
class Run:
    """`multi run` of a node. `said` are the preset and the worker's words, `last` those behind ``--``.

    `usual` is what it makes of them without further flags.
    """

    node: Node
    name: str
    said: tuple[str, ...]
    last: tuple[str, ...]
    usual: Node

    @property
    def sets(self) -> Mapping[str, str]:
        """The variables that the worker gets without being told: those of its preset."""
        return form.set_env(self.usual)

    def words(self, without: Sequence[str] = ()) -> list[str]:
        """The words of it, without the flags that the engine has words for."""
        own = "--multi-config=none"  # one that lies in the image would change the node
        tail = ["--", *self.last] if self.last else []
        return ["multi", "run", self.name, *self.said, *self._flags(without), own, *tail]

    def _flags(self, without: Sequence[str]) -> Iterable[str]:
        """What differs from what is usual; and the variables that it must not have."""
        usual = settings(self.usual)
        for flag, values in settings(self.node).items():
            if flag not in _NOT_TOLD and flag not in without and values != usual.get(flag):
                yield from (f"{flag}={value}" for value in values)
        yield from (f"--env={name}-" for name in form.unset_env(self.node))


def of(node: Node, name: str, hostname: str) -> Run:
    """The command for the node, which it calls `name`; `hostname` is the host of nodes whose host nobody said.

    The node's command begins with ``-m`` where the Python of the image is meant.
    """
    own = _own(node, name, hostname)
    made = own and _made(own.words()[2:], hostname)
    return own if own and made and _alike(node, name, made) else _bare(node, name)


def _bare(node: Node, name: str) -> Run:
    """As a bare command: a template up to the first word that needs quotes, and the node's name; the rest as it is."""
    words = node.words
    named = [at for at, word in enumerate(words, start=1) if node.name in word]
    plain = [at for at, word in enumerate(words) if shlex.quote(word) != word] or [len(words)]
    length = max(2 if words[:1] == ("-m",) else 1, plain[0], *named)
    cmd = shlex.join(_template(node, words[:length]))
    usual = Node(
        name=node.name,
        short=node.short,
        host=node.host,
        preset="exec",
        command=node.command,
        pidfile=node.pidfile,
        logfile=node.logfile,
        stop=parse("TERM/90/KILL/5"),
    )
    return Run(node, name, ("--preset=exec", f"--cmd={cmd}"), words[length:], usual)


def _own(node: Node, name: str, hostname: str) -> Run | None:
    """The command by its preset, if that comes with `multi`; nobody knows yet whether it makes the same node."""
    try:
        preset = presets.load(node.preset)
    except MultiError:
        return None
    if not preset.cmd:
        return None
    python, words = (node.words[:1], node.words[1:]) if node.words[1:2] == ("-m",) else ((), node.words)
    length = 2 if words[:1] == ("-m",) else 1
    program, rest = words[:length], words[length:]
    subcommand = tuple(filter(None, [grammar.subcommand_of(preset)]))
    leading = _known(rest, preset)
    options = rest[leading + len(subcommand) :]
    named = _named(node, options, preset)
    length = _known(options, preset)
    last = options[length + 2 * (length == named) :]
    plain = next((at for at, word in enumerate(last) if node.name in word), len(last))
    cmd = (*program, *subcommand)
    said = (
        *([f"--preset={preset.name}"] if preset.name != SETTINGS["preset"].default else []),
        *(f"--executable={literal(path)}" for path in python),
        *([] if cmd in {preset.cmd, preset.with_multi.get("cmd")} else [f"--cmd={shlex.join(_template(node, cmd))}"]),
        *_template(node, (*rest[:leading], *options[:length])),
        *([f"--append={shlex.join(_template(node, last[plain:]))}"] if last[plain:] else []),
    )
    if named not in {None, length} or any(word.partition("=")[0] in TAKEN for word in said):
        return None
    usual = _made([name, *said, "--", *last[:plain]], hostname)
    return None if usual is None else Run(node, name, said, last[:plain], usual)


def _template(node: Node, words: Iterable[str]) -> list[str]:
    return ["%h".join(map(literal, word.split(node.name))) for word in words]


def _known(words: Sequence[str], preset: Preset) -> int:
    """How many of the words are options that the preset knows, with their values; up to the first other one."""
    known = grammar.Grammar(preset)
    at = 0
    while at < len(words):
        name, more, _ = words[at].partition("=") if words[at].startswith("--") else (words[at][:2], words[at][2:], "")
        if name not in preset.flags | preset.valued or name in known.settings or name in grammar.NAMING:
            break
        at += 2 if name in preset.valued and not more else 1
    return at


def _named(node: Node, words: Sequence[str], preset: Preset) -> int | None:
    """Where the option stands that hands the worker its name."""
    names = {node.name, literal(node.name)}
    pairs = enumerate(pairwise(words))
    return next((at for at, (word, value) in pairs if word == preset.name_option and value in names), None)


def _made(words: Sequence[str], hostname: str) -> Node | None:
    """The node that `multi run` makes of the words on another host; None where they are not understood."""
    host = f"{hostname}-2"
    here = Surroundings(environ={}, cwd="/", home="/", hostname=host, python="", uid=1, home_of=lambda _: None)
    opening = grammar.opening(words)
    try:
        known = grammar.Grammar(presets.load(opening.preset or str(SETTINGS["preset"].default)))
        found = expand(
            grammar.parse(opening.words, known),
            config.EMPTY,
            here,
            presets.load,
            config.Layer("environment"),
            traits=traits("run"),
            load=presets.read_file,
            foreground=True,
        )
    except MultiError:
        return None
    return found.nodes[0] if len(found.nodes) == 1 else None


# What another host or the engine says.
_FREE = (
    *("name", "short", "host", "pidfile", "logfile", "origin", "lock_timeout"),
    *("uid", "gid", "workdir", "env", "env_files", "env_read", "after"),
)


def _alike(node: Node, name: str, made: Node) -> bool:
    """Whether what is made there is the node, but for what the engine does."""
    words = node.words if node.words[:1] != ("-m",) else ("", *node.words)
    same = Known(tuple(word.replace(node.name, made.name) for word in words))
    free = {field: getattr(made, field) for field in _FREE}
    once = replace(node, command=same, restart="no", restart_delay=1.0, restart_limit=None, **free)
    mine = dict(node.env)
    kept = all(key in mine and mine[key] == value for key, value in made.env)
    return kept and once == made and made.short == name.partition("@")[0]
