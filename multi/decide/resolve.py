"""What is said now and what is on record -> the node that runs; asked again under the node's lock. Reads nothing."""

from __future__ import annotations

from multi.model.node import Command, Known, Node, Ready
from multi.model.request import Request, Traits
from multi.settings.table import BY_FIELD
from multi.settings.values import merge
from multi.typed import Any
from multi.value import dataclass, replace


@dataclass(frozen=True, slots=True)
class Said:
    """What the words and the configuration say of how a node runs.

    `node` is made of them. `fields` are those that somebody said, not the preset or a built-in default. `configured` is
    whether the configuration has the node, `command` whether words say a command or a preset, `words` whether they
    are a worker's own.
    """

    node: Node
    fields: frozenset[str]
    configured: bool
    command: bool
    words: bool


def says_anew(traits: Traits, said: Said, recorded: Node | None) -> bool:
    """Whether the words or the configuration, not the record, say how the node runs from now on."""
    if traits.nodes_from == "words now":
        return True
    known = isinstance(said.node.command, Known)
    if known and (said.configured or traits.nodes_from == "words or records"):
        return True
    return traits.repeats and said.command and (known or half_said(said, recorded))


def half_said(said: Said, recorded: Node | None) -> bool:
    """Whether words about a command are about another one than the recorded, for which there is no program.

    A preset that has no command of its own says none, it only says again which preset the recorded one is of.
    """
    another = recorded is not None and recorded.preset != said.node.preset
    return said.words or (said.command and another)


def resolve(traits: Traits, said: Said, recorded: Node | None) -> Node | None:
    """The node as it is on record, with the fields that are said now; None where only what is said now counts."""
    if recorded is None or says_anew(traits, said, recorded):
        return None
    return with_explicit(recorded, said.node, said.fields)


def with_explicit(recorded: Node, asked: Node, explicit: frozenset[str]) -> Node:
    """The recorded node with what was said explicitly now. Variables and limits add up, one by one."""
    if not explicit.isdisjoint(("env", "env_files")):
        explicit |= {"env", "env_files"}  # one file or variable may override another
    changes: dict[str, Any] = {
        name: merge(BY_FIELD[name], getattr(recorded, name), getattr(asked, name)) for name in explicit
    }
    if "startsecs" in explicit:
        changes["startsecs_asked"] = True
    if "env" in explicit:
        said = dict(asked.env)
        changes["env_files"] = tuple(dict.fromkeys(changes["env_files"]))
        kept = (pair for pair in recorded.env_read if pair[0] not in said)
        changes["env_read"] = (*kept, *asked.env_read)
    return replace(recorded, **changes)


def resolve_again(request: Request, node: Node, recorded: Node) -> Node | None:
    """The node that runs where another `multi` has put `recorded` on record since the request was made; None for none.

    A restart of a node as it was does not bring back what another has just replaced, and what was typed for the old
    command is not mixed with the new one.
    """
    if request.traits.stays or (request.traits.reconciles and request.held is None):
        return node
    as_it_was = node == request.recorded and (node.name, node.preset) == (recorded.name, recorded.preset)
    return recorded if as_it_was else None


_RESTARTING = ("command", *(field for field, setting in BY_FIELD.items() if setting.restarts), "env_read")


def needs_restart(running: Node, wanted: Node) -> tuple[str, ...]:
    """The fields that differ and that a process keeps from its start to its end."""
    return tuple(name for name in _RESTARTING if getattr(running, name) != getattr(wanted, name))


def resolve_lost(request: Request, node: Node, command: Command) -> Node:
    """The node of a process that lost its record: the kernel tells its words, nothing tells its preset.

    A bare command is ready when it lives. The words and the configuration override the kernel for a command that only
    starts, and for the others if the process shows a title.
    """
    said = request.says and request.traits.spawns
    if said and (request.traits.default_command or not isinstance(command, Known)):
        return node
    if isinstance(command, Known):
        return replace(node, command=command, preset="exec", ready=Ready())
    return replace(node, command=command)
