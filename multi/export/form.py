"""What the forms of export share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.model.schedule import FOREVER, signal_name
from multi.text import printable
from multi.value import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multi.model.node import Node

_LONG = 86_400  # seconds: what stands for ``forever`` where a number is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is exported. `program` runs `multi`, for forms that go on using it; `remarks` are sentences by full name."""

    nodes: Sequence[Node]
    program: tuple[str, ...] = ("multi",)
    remarks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of export.

    `files` makes the files, by path relative to where they are put. With `foreground` the supervisor runs the node
    itself and takes its output, so that a log is its own business. With `here` it is one of the machine that we are
    on, where the node's user, directory and program are those that it would have here. With `delegates` it goes on
    using `multi`, which reads env files itself. `mode` are the permissions of the files.
    """

    files: Callable[[Order], Mapping[str, str]]
    foreground: bool = False
    here: bool = False
    delegates: bool = False
    mode: int = 0o644


def set_env(node: Node) -> list[tuple[str, str]]:
    """The variables that the node sets."""
    return [(name, value) for name, value in node.env if value is not None]


def unset_env(node: Node) -> list[str]:
    """The variables that the node takes away."""
    return [name for name, value in node.env if value is None]


def stop_seconds(node: Node) -> float:
    """Seconds from the first signal to KILL, or to the end of a schedule that has none; may be `FOREVER`."""
    kills = [moment.at for moment in node.stop.timeline if signal_name(moment.signum) == "KILL"]
    return kills[0] if kills else node.stop.total


def whole_stop_seconds(node: Node) -> int:
    """The same in whole seconds, where there has to be a number."""
    return _LONG if stop_seconds(node) == FOREVER else math.ceil(stop_seconds(node))


def comments(order: Order, node: Node, *missing: str, proof: bool = False, killed: bool = True) -> list[str]:
    """What the form has no words for, as sentences.

    `missing` are settings of this node that it cannot say. `proof` is whether it waits for `ready`, `killed` whether it
    sends KILL at the end, as all but systemd do.
    """
    said = {
        "uid": node.uid is not None,
        "gid": node.gid is not None,
        "umask": node.umask is not None,
        "nice": node.nice is not None,
        "rlimit": bool(node.rlimits),
        "env": bool(unset_env(node)),
        "logfile": node.logs_to_file,
        "kill_mode": node.kill_mode != "mixed",
        "reload_signal": node.reload_signal is not None,
        "first": signal_name(node.stop.first) != "TERM",
    }
    names = {"env": f"env (without {' '.join(unset_env(node))})", "first": f"stop with {signal_name(node.stop.first)}"}
    lost = [names.get(name, name) for name in missing if said[name]]
    found = [f"not exported, because there is no word for it here: {', '.join(lost)}"] if lost else []
    between = [stage for stage in node.stop.stages[1:] if signal_name(stage.signum) != "KILL"]
    kills = any(signal_name(stage.signum) == "KILL" for stage in node.stop.stages)
    if between or (killed and not kills and stop_seconds(node) != FOREVER):
        found.append(f"of the stop schedule {node.stop} only the first signal and KILL can be said here")
    if not proof and node.ready.kind != "alive":
        found.append(f"ready = {node.ready} is not waited for here")
    if node.env_read:
        variables = " ".join(name for name, _ in node.env_read)
        found.append(f"{variables}: as {' '.join(node.env_files)} had it when this was made")
    if node.name in order.remarks:
        found.append(order.remarks[node.name])
    return [printable(remark) for remark in found]


def ascii_name(name: str, others: str = "-_.") -> str:
    """A name of letters, digits and a few more, whatever it is made of."""
    return "".join(char if char.isascii() and (char.isalnum() or char in others) else "-" for char in name)


def unique(nodes: Iterable[Node], name_of: Callable[[Node], str]) -> list[tuple[str, Node]]:
    """Each node with the name it gets. Raises `UsageError` when two get the same."""
    named = [(name_of(node), node) for node in nodes]
    seen: dict[str, Node] = {}
    for name, node in named:
        if name in seen:
            raise UsageError(
                node.name, f"and {seen[name].name} would both be called {name}", "export one of them alone"
            )
        seen[name] = node
    return named


def refusal(node: Node, text: str, what: str, hint: str = "export it to sysv") -> UsageError:
    """The error that says which text of the node a file cannot hold."""
    return UsageError(node.name, f"has {text!r} in its settings, and {what}", hint)


def undecodable(text: str) -> bool:
    """Whether `text` came from bytes that are not UTF-8."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def _means_log(word: str, logfile: str) -> bool:
    """Whether a word of the command is the log, alone or as an option's value; ``%I`` is the worker's to fill in."""
    return word.replace("%I", "").replace("%i", "0").rpartition("=")[2] == logfile


def logs_itself(node: Node) -> bool:
    """Whether the worker opens the log that its node has."""
    return any(_means_log(word, node.logfile) for word in node.words)


def with_env(node: Node, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """The command behind env(1), which sets these variables (all when not told), and takes away what is to be."""
    wanted = None if names is None else frozenset(names)
    told = [f"{name}={value}" for name, value in set_env(node) if wanted is None or name in wanted]
    unset = [word for name in unset_env(node) for word in ("-u", name)]
    return ("env", *unset, *told, *node.words) if told or unset else node.words
