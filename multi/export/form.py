"""What the forms of export share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from multi.errors import UsageError
from multi.model.node import Node
from multi.model.schedule import FOREVER, KILL, signal_name
from multi.settings.scalars import limit_text
from multi.settings.table import BY_FIELD
from multi.text import listed, printable
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field

if TYPE_CHECKING:
    from multi.settings.presets import Preset

LONG = 86_400  # seconds: stands for ``forever`` where a number is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user says of containers, for each of them: thousandths of a processor, bytes of memory.

    `namespace` is a project to Compose.
    """

    image: str = ""
    namespace: str = ""
    replicas: int | None = None
    cpu: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is exported. `program` runs `multi`, for forms that go on using it; `remarks` are sentences by full name.

    `told` are words that tell `multi` of the nodes, in place of all that is set for them. Forms that use `multi` call
    their file `title`. It runs in `directory`, as `user` (None: in a crontab without that column), whom root becomes by
    the words of `become`, after the line of shell `prepare`; and with `path` for PATH. With `keeps` the command of a
    node is `multi run`, which tells for itself when its node is ready. `env_texts` are the nodes' env files.

    Of containers it says what is `wanted`, which host the nodes have where nobody said another, and what their presets
    are, by name. `groups` are those of the configuration, by full name of a node.
    """

    nodes: Sequence[Node]
    program: tuple[str, ...]
    remarks: Mapping[str, str] = field(default_factory=dict)
    env_texts: Mapping[str, bytes] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    title: str = "multi-nodes"
    directory: str = "/"
    user: str | None = "root"
    become: tuple[str, ...] = ()
    prepare: str = ""
    path: str = ""
    keeps: bool = False
    wanted: Wanted = Wanted()
    hostname: str = ""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of export.

    `files` makes the files, by path relative to where they are put. It raises `UsageError` for names that the form
    cannot tell apart and for words that it cannot hold. With `foreground` the supervisor runs the node itself and takes
    its output, so a log is its own business. With `here` the supervisor is one of this machine: user, directory and
    program are those that the node would have here. With `delegates` it goes on using `multi`, which reads env files
    itself. Forms of `containers` take what is wanted of them. `mode` are the permissions of the files. Into a directory
    goes beside them what lists them, the `index`.
    """

    files: Callable[[Order], Mapping[str, str]]
    foreground: bool = False
    here: bool = False
    delegates: bool = False
    containers: bool = False
    mode: int = 0o644
    index: Callable[[Mapping[str, str], Wanted], Mapping[str, str]] = lambda files, wanted: {}  # noqa: ARG005 -- none

    def values(self, node: Node) -> list[tuple[str, str]]:
        """The variables whose values are in the files; of those from env files a digest stands for the value."""
        return [*set_env(node).items(), *(() if self.delegates else node.env_read)]


def set_env(node: Node) -> dict[str, str]:
    """The variables that the node sets."""
    return {name: value for name, value in node.env if value is not None}


def unset_env(node: Node) -> list[str]:
    """The variables that the node takes away."""
    return [name for name, value in node.env if value is None]


def present(values: Mapping[str, object]) -> dict[str, object]:
    """The values without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def kills(node: Node) -> bool:
    """Whether the stop schedule has a KILL."""
    return any(stage.signum == KILL for stage in node.stop.stages)


def stop_seconds(node: Node) -> float:
    """Seconds from the first signal to KILL, or to the end of a schedule that has none; may be `FOREVER`."""
    return next((moment.at for moment in node.stop.timeline if moment.signum == KILL), node.stop.total)


def whole_stop_seconds(node: Node) -> int:
    """The same in whole seconds, of which systemd and launchd take 0 for infinity; a day stands for `FOREVER`."""
    return LONG if stop_seconds(node) == FOREVER else max(1, math.ceil(stop_seconds(node)))


# Settings with sentences of their own below, and what is the business of `multi` alone.
_TOLD = frozenset(
    {"workdir", "env", "env_file", "stop_schedule", "ready", "ready_timeout", "after", "needs"}
    | {"alive_every", "alive_failures", "lock_timeout"}
)


def lost(node: Node, held: Iterable[str], *others: str) -> list[str]:
    """What is not exported, as a sentence: `others`, and each setting that is neither usual nor `held` by the form."""
    usual = {"logfile": not node.logs_to_file, "startsecs": not node.startsecs_asked}
    names = [
        setting.name
        for field_name, setting in BY_FIELD.items()
        if setting.name not in {*_TOLD, *held}
        and not usual.get(field_name, False)
        and getattr(node, field_name) != setting.default
    ]
    found = sorted((*names, *others))
    return [f"not exported, because there is no word for it here: {', '.join(found)}"] if found else []


def without(node: Node) -> list[str]:
    """The variables that the node takes away, for `lost`."""
    return [f"env (without {' '.join(unset_env(node))})"] if unset_env(node) else []


def first_signal(node: Node) -> list[str]:
    """The first signal of its stop schedule, for `lost`; TERM is everybody's."""
    name = signal_name(node.stop.first)
    return [] if name == "TERM" else [f"stop with {name}"]


def comments(
    order: Order, node: Node, held: Iterable[str], *others: str, proof: bool = False, by_systemd: bool = False
) -> list[str]:
    """What the form has no words for, as sentences.

    `held` are the settings that it says, `others` what else of the node it does not. `proof` is whether it waits for
    `ready`. Nobody but systemd keeps the order of `after`, and all but systemd send KILL at the end.
    """
    found = lost(node, held, *others)
    between = any(stage.signum != KILL for stage in node.stop.stages[1:])
    if between or (not by_systemd and not kills(node) and stop_seconds(node) != FOREVER):
        found.append(f"of the stop schedule {node.stop} only the first signal and KILL can be said here")
    if not proof and node.ready.sign != "life":
        found.append(f"ready = {node.ready} is not waited for here")
    if node.needs or (node.after and not by_systemd):
        waits = [*(() if by_systemd else (name.partition("@")[0] for name in node.after)), *map(str, node.needs)]
        found.append(f"does not wait here for {listed(waits)}")
    if node.env_read:
        variables = " ".join(name for name, _ in node.env_read)
        found.append(f"{variables}: as {' '.join(node.env_files)} had it when this was made")
    if node.name in order.remarks:
        found.append(order.remarks[node.name])
    return [printable(remark) for remark in found]


def ascii_name(name: str, others: str = "-_.") -> str:
    """`name` with a dash for each character that is not a letter, a digit or one of `others`."""
    return "".join(char if char.isascii() and (char.isalnum() or char in others) else "-" for char in name)


def named(
    order: Order, name_of: Callable[[Node], str] = lambda node: ascii_name(node.short)
) -> Iterable[tuple[str, Node]]:
    """Each node with the name it gets. Raises `UsageError` when two get the same."""
    seen: dict[str, Node] = {}
    for node in order.nodes:
        name = name_of(node)
        if name in seen:
            why = f"and {seen[name].name} would both be called {name}"
            raise UsageError(node.name, why, "export one of them alone")
        seen[name] = node
    return seen.items()


def refusal(node: Node, text: str, what: str) -> UsageError:
    """The error that says which text of the node a file cannot hold."""
    return UsageError(node.name, f"has {text!r} in its settings, and {what}", "export it to sysv")


def undecodable(text: str) -> bool:
    """Whether `text` came from bytes that are not UTF-8."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def logs_itself(node: Node) -> bool:
    """Whether a word of the command says the log."""
    return any(says_log(node, word) for word in node.words)


def says_log(node: Node, word: str) -> bool:
    """Whether the word, or the value of that option, is the log; ``%I`` is the worker's to fill in."""
    return word.rpartition("=")[2].replace("%I", "").replace("%i", "0") == node.logfile


def is_root(node: Node) -> bool:
    """Whether it runs as root where root runs the supervisor."""
    return node.uid in {None, "0", "root"}


def with_env(node: Node, env: Mapping[str, str]) -> tuple[str, ...]:
    """The command behind env(1), which sets the variables of `env` and takes away those that the node takes away."""
    unset = [word for name in unset_env(node) for word in ("-u", name)]
    told = [f"{name}={value}" for name, value in env.items()]
    return ("env", *unset, *told, *node.words) if told or unset else node.words


def with_limits(node: Node, words: Sequence[str], *, nice: bool = True) -> tuple[str, ...]:
    """The command behind prlimit(1) and, where it is to be `nice`, nice(1)."""
    options = [f"--{name.lower()}={limit_text(*pair)}" for name, *pair in node.rlimits]
    first = ("nice", "-n", str(node.nice)) if nice and node.nice is not None else ()
    return (*first, *(("prlimit", *options) if options else ()), *words)
