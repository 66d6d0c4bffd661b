"""``multi completion``, and what a shell may put in place of the word that is being typed.

Click knows the shells: its scripts ask with ``_MULTI_COMPLETE``, and its classes read the question and word the
answer. What the candidates are is found out here, from the raw words, since click's parser must not touch them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from signal import Signals

import click
from click.shell_completion import CompletionItem as Candidate
from click.shell_completion import ShellComplete, get_completion_class

from multi import api
from multi.cli.commands import BY_NAME, COMMANDS
from multi.cli.order import CONFIG, DUMP, GLOBAL, GRAMMAR, VERSION, Command, Option, Order, split
from multi.cli.prose import of_option, prose
from multi.cli.screen import Screen
from multi.errors import EXIT_FAILED, MultiError, UsageError
from multi.settings.table import BY_FLAG, SETTINGS
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Machine

SHELLS = ("bash", "zsh", "fish")
_PLACES = frozenset({"--multi-config", "--pidfile", "-p", "--preset", "--workdir"})  # they say where nodes are recorded


def carry_out(order: Order) -> int:
    """``completion SHELL``: the script that teaches a shell."""
    if len(order.words) != 1:
        raise UsageError("completion", f"needs one shell, not {len(order.words)}", f"it can be {', '.join(SHELLS)}")
    order.screen.say(_script(_shell(order.words[0])))
    return 0


def answer(question: str, screen: Screen, machine: Machine | None) -> int:
    """Answer a script: `question` is ``bash_source`` or ``bash_complete``, and so on.

    A shell shows what goes wrong here in the middle of the user's line, so nothing but an answer is ever printed.
    """
    name, _, instruction = question.partition("_")
    shell = _shell(name)
    if instruction == "source":
        screen.say(_script(shell))
        return 0
    try:
        words, incomplete = shell.get_completion_args()
    except (KeyError, ValueError, IndexError):  # asked by hand, without the variables that the script sets
        return EXIT_FAILED
    screen.say(*map(shell.format_completion, candidates(words, incomplete, machine)))
    return 0


def candidates(words: Sequence[str], incomplete: str, machine: Machine | None) -> list[Candidate]:
    """What can stand in the place of `incomplete`, after `words`; nothing where nodes or presets cannot be known."""
    try:
        return [each for each in _possible(words, incomplete, machine) if each.value.startswith(incomplete)]
    except (MultiError, OSError):
        return []


def _possible(words: Sequence[str], incomplete: str, machine: Machine | None) -> Iterable[Candidate]:
    _, name, rest = split(words, BY_NAME.__contains__)
    command = BY_NAME.get(name or "")
    if "--" in words or (name is not None and command is None):
        return ()  # after -- the words are the worker's, which knows best
    if command is not None and not rest and command.traits.first_word in _FIRST_WORDS:
        return _FIRST_WORDS[command.traits.first_word]()
    option = words[-1] if words else ""
    values = _values(option, incomplete, machine) if command is None or command.takes_nodes else ()
    own = command and next((one for one in command.options if option in one.flags), None)
    if own:  # it overrides a setting of that spelling: `logs -f`
        values = () if own.metavar and not own.optional else None
    if values is not None:
        return values
    if command is None:
        return _options((*GLOBAL, VERSION)) if incomplete.startswith("-") else _commands()
    if incomplete.startswith("-") and ":" not in incomplete:
        settings = (
            Candidate(each.flags[0], help=each.help.partition(";")[0].replace("`", "")) for each in SETTINGS.values()
        )
        return (*_options((*command.options, *GRAMMAR, *GLOBAL), command.name), *settings)
    return _nodes(command, words, incomplete, machine)


def _nodes(command: Command, words: Sequence[str], incomplete: str, machine: Machine | None) -> Iterator[Candidate]:
    """The scope of an option, or a node or group that is not named yet: a short name, or a full one with a host.

    They are configured, or else recorded where the words say.
    """
    places: list[str] = []
    for word, following in zip(words, (*words[1:], ""), strict=True):
        flag, equals, _ = word.partition("=")
        if flag in _PLACES:
            places += [word] if equals else [word, following]
    selection = api.select("status", places, machine=machine)
    names = [node.name for node in selection.nodes]
    shorts = dict.fromkeys((*(name.partition("@")[0] for name in names), *selection.groups.values()))
    if incomplete.startswith("-"):
        return (Candidate(f"{incomplete.partition(':')[0]}:{short}") for short in shorts)
    typed = words if command.traits.first_word != "node" else ()  # that node is named twice
    return (Candidate(name) for name in (names if "@" in incomplete else shorts) if name not in typed)


def _shell(name: str) -> ShellComplete:
    """Click's half of the talk with one shell. Its command tree stays empty: the candidates are found here."""
    known = get_completion_class(name) if name in SHELLS else None
    if known is None:
        raise UsageError(name, "is not a shell that multi can teach", f"it can be {', '.join(SHELLS)}")
    return known(click.Command("multi"), {}, "multi", "_MULTI_COMPLETE")


def _script(shell: ShellComplete) -> str:
    """Click's script, which for fish would cut a description at its first comma."""
    return shell.source().rstrip("\n").replace('string split "," ', 'string split -m 1 "," ')


def _commands() -> Iterator[Candidate]:
    return (Candidate(row.name, help=prose()["commands"][row.name]["summary"]) for row in COMMANDS)


def _topics() -> Iterator[Candidate]:
    return (Candidate(name, help=said["summary"]) for name, said in prose()["topics"].items())


def _options(options: Sequence[Option], command: str = "") -> Iterator[Candidate]:
    return (Candidate(option.name, help=of_option(option.name, command)) for option in options)


def _forms() -> Iterator[Candidate]:
    from multi.export import FORMS  # it imports every form

    return map(Candidate, FORMS)


def _signals() -> Iterator[Candidate]:
    yield Candidate(DUMP, help="the preset's signal to dump stacks")
    for member in sorted(Signals):
        yield Candidate(member.name.removeprefix("SIG"))


# A template is nobody's to guess; a node is completed as all are.
_FIRST_WORDS: Mapping[str, Callable[[], Iterable[Candidate]]] = {
    "shell": lambda: map(Candidate, SHELLS),
    "template": lambda: (),
    "form": _forms,
    "command": lambda: (*_commands(), *_topics()),
    "signal": _signals,
}


def _values(option: str, incomplete: str, machine: Machine | None) -> Sequence[Candidate] | None:
    """What may be the value of `option`; None when it takes none, or it is not known here."""
    setting = BY_FLAG.get(option.partition(":")[0])
    if option == CONFIG.name or (setting and setting.kind == "path"):
        return [Candidate(incomplete, type="dir" if setting and setting.name == "workdir" else "file")]
    if setting is None:
        return None
    return list(map(Candidate, api.presets(machine=machine) if setting.name == "preset" else setting.choices))
