"""What a shell may put in place of the word that is being typed.

Click knows the shells: its scripts ask with ``_MULTI_COMPLETE``, and its classes read the question and word the
answer. What the candidates are is found out here, from the raw words, since click's parser must not touch them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from multi.cli.commands import COMMANDS, find, is_command
from multi.cli.manual import command_prose, option_prose
from multi.cli.options import CONFIG, DUMP, GLOBAL, GRAMMAR, VERSION
from multi.cli.order import Command, Session
from multi.cli.words import Option, split
from multi.errors import EXIT_FAILED, MultiError, UsageError
from multi.value import dataclass

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_MULTI_COMPLETE"
_PLACES = frozenset({"--multi-config", "--pidfile", "-p", "--preset", "--workdir"})  # they say where nodes are recorded


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that fits. `kind` is ``plain``, or ``file`` or ``dir`` where the shell itself knows better."""

    value: str
    help: str = ""
    kind: str = "plain"


def script(shell: str) -> str:
    """The script that teaches `shell` to complete. Raises `UsageError` for one that click does not know."""
    return _shell(shell).source().rstrip("\n")


def answer(question: str, session: Session) -> int:
    """Answer a script: `question` is ``bash_source`` or ``bash_complete``, and so on.

    A shell shows what goes wrong here in the middle of the user's line, so nothing but an answer is ever printed.
    """
    shell, _, instruction = question.partition("_")
    if instruction == "source":
        session.screen.say(script(shell))
        return 0
    asked = _shell(shell)
    try:
        words, incomplete = asked.get_completion_args()
    except (KeyError, ValueError, IndexError):  # asked by hand, without the variables that the script sets
        return EXIT_FAILED
    from click.shell_completion import CompletionItem

    found = candidates(words, incomplete, lambda locations: _node_names(session, locations), lambda: _presets(session))
    items = [CompletionItem(one.value, type=one.kind, help=one.help or None) for one in found]
    session.screen.say(*(asked.format_completion(item) for item in items))
    return 0


def candidates(
    words: Sequence[str],
    incomplete: str,
    nodes: Callable[[Sequence[str]], Sequence[str]],
    presets: Callable[[], Sequence[str]],
) -> list[Candidate]:
    """What can stand in the place of `incomplete`, after `words`.

    `nodes` tells the full names of the nodes there are; its argument are the words that say where they are recorded.
    `presets` tells the names of the presets.
    """
    if "--" in words:
        return []  # what follows is the worker's, which knows best
    parts = split(words, is_command)
    last = words[-1] if words else ""
    if parts.command is None:
        return _value_of(last, incomplete, presets) or _fitting(_beginnings(incomplete), incomplete)
    if not is_command(parts.command):
        return []
    command = find(parts.command)
    if not parts.rest and command.name in _FIRST_WORDS:
        return _fitting(_FIRST_WORDS[command.name](), incomplete)
    if not command.takes_nodes:
        return []
    value = _value_of(last, incomplete, presets)
    return _fitting(_in_grammar(command, words, incomplete, nodes), incomplete) if value is None else value


def _in_grammar(
    command: Command, words: Sequence[str], incomplete: str, nodes: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[Candidate]:
    """A flag, the scope of one, or a node that is not there yet: a short name, or a full one once there is a host."""
    if incomplete.startswith("-") and ":" not in incomplete:
        yield from _flags(command)
        return
    names = nodes(_locations(words))
    shorts = tuple(dict.fromkeys(name.partition("@")[0] for name in names))
    if incomplete.startswith("-"):
        option = incomplete.partition(":")[0]
        yield from (Candidate(f"{option}:{short}") for short in shorts)
        return
    typed = frozenset[str]() if command.name == "get" else frozenset(words)
    yield from (Candidate(name) for name in (names if "@" in incomplete else shorts) if name not in typed)


def _shell(name: str) -> ShellComplete:
    """Click's half of the talk with one shell. Its command tree stays empty: the candidates are found here."""
    import click
    from click.shell_completion import get_completion_class

    known = get_completion_class(name) if name in SHELLS else None
    if known is None:
        raise UsageError(name, "is not a shell that multi can teach", f"it can be {', '.join(SHELLS)}")
    return known(click.Command("multi"), {}, "multi", _VARIABLE)


def _fitting(candidates: Iterable[Candidate], incomplete: str) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.value.startswith(incomplete)]


def _beginnings(incomplete: str) -> Iterator[Candidate]:
    yield from (Candidate(row.name, command_prose(row.name)["summary"]) for row in COMMANDS)
    if incomplete.startswith("-"):
        yield from _options((*GLOBAL, VERSION))


def _flags(command: Command) -> Iterator[Candidate]:
    from multi.settings.table import SETTINGS

    yield from _options((*command.options, *GRAMMAR, *GLOBAL))
    for setting in SETTINGS.values():
        yield Candidate(setting.flags[0], setting.help.partition(";")[0].replace("`", ""))


def _options(options: Sequence[Option]) -> Iterator[Candidate]:
    for option in options:
        yield Candidate(option.flags[0], option_prose(option))


def _forms() -> Iterable[str]:
    from multi.export import FORMS

    return FORMS


def _signals() -> Iterator[Candidate]:
    import signal

    yield Candidate(DUMP, "the preset's signal to dump stacks")
    for member in sorted(signal.Signals):
        yield Candidate(member.name.removeprefix("SIG"))


_FIRST_WORDS: Mapping[str, Callable[[], Iterable[Candidate]]] = {
    "completion": lambda: map(Candidate, SHELLS),
    "expand": lambda: (),
    "export": lambda: map(Candidate, _forms()),
    "help": lambda: (Candidate(row.name, command_prose(row.name)["summary"]) for row in COMMANDS),
    "signal": _signals,
}


def _value_of(option: str, incomplete: str, presets: Callable[[], Sequence[str]]) -> list[Candidate] | None:
    """What may be the value of `option`, the word before; None when it takes none, or it is not known here."""
    from multi.settings.table import BY_FLAG

    if option == CONFIG.name:
        return [Candidate(incomplete, kind="file")]
    setting = BY_FLAG.get(option.partition(":")[0])
    if setting is None:
        return None
    if setting.name == "workdir":
        return [Candidate(incomplete, kind="dir")]
    choices = presets() if setting.name == "preset" else setting.choices
    if choices:
        return _fitting([Candidate(choice) for choice in choices], incomplete)
    return [Candidate(incomplete, kind="file")] if setting.kind == "path" else []


def _locations(words: Sequence[str]) -> list[str]:
    """The words among `words` that say where nodes are recorded, with their values."""
    locations: list[str] = []
    for word, following in zip(words, (*words[1:], ""), strict=True):
        flag, equals, _ = word.partition("=")
        if flag in _PLACES:
            locations += [word] if equals else [word, following]
    return locations


def _node_names(session: Session, locations: Sequence[str]) -> Sequence[str]:
    """The full names of all nodes that are configured, or else recorded; none when they cannot be known."""
    try:
        return [node.name for node in session.pipeline().select("status", locations).nodes]
    except (MultiError, OSError):
        return []


def _presets(session: Session) -> Sequence[str]:
    """The names of the presets; none when they cannot be known."""
    try:
        return session.pipeline().presets()
    except (MultiError, OSError):
        return ()
