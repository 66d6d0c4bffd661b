"""``multi help`` and ``--help``: the prose of help.toml, laid out by click from the table of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import click

from multi.api import presets
from multi.cli.commands import COMMANDS, find
from multi.cli.order import GLOBAL, GRAMMAR, HELP, VERSION, Command, Option, Order
from multi.cli.prose import filled, of_option, prose
from multi.errors import UsageError
from multi.settings.presets import available, load
from multi.settings.table import BY_FLAG, SETTINGS, Setting
from multi.typed import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from multi.machine import Machine


_WIDEST = 100  # columns; a longer line is hard to read
_NARROWEST = 40
_GIVEN = ("--pidfile", "--json")  # of a command that names no others


def carry_out(order: Order) -> int:
    """``help [COMMAND | TOPIC]``."""
    words = [word for word in order.words if word != "--"]
    if len(words) > 1:
        why = f"tells about one command, not {len(words)}"
        raise UsageError(f"help {' '.join(words)}", why, f"try 'multi help {words[0]}'")
    width = order.screen.width
    if words and words[0] in TOPICS:
        order.screen.say(topic(words[0], width, order.machine))
    else:
        order.screen.say(page(find(words[0]), width) if words else overview(width))
    return 0


def _formatter(width: int) -> click.HelpFormatter:
    return click.HelpFormatter(width=max(_NARROWEST, min(width, _WIDEST)))


def overview(width: int = 80) -> str:
    """The page of ``multi help``: every command on a line."""
    page = _formatter(width)
    said = prose()["overview"]
    page.write_usage("multi", "COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]")
    _paragraphs(page, said["about"])
    with page.section("Commands"):
        summaries = {", ".join((row.name, *row.aliases)): prose()["commands"][row.name]["summary"] for row in COMMANDS}
        page.write_dl(list(summaries.items()))
    with page.section("Topics of 'multi help'"):
        page.write_dl([(name, said["summary"]) for name, said in prose()["topics"].items()])
    _examples(page, said["examples"])
    _paragraphs(page, said["more"])
    return page.getvalue().rstrip("\n")


def page(command: Command, width: int = 80) -> str:
    """The page of one command: what it does, and the options that matter for it."""
    page = _formatter(width)
    said = prose()["commands"][command.name]
    page.write_usage(f"multi {command.name}", said.get("usage", "[NODES] [OPTIONS]"))
    summary = said["summary"][0].upper() + said["summary"][1:] + "."
    aliases = [f"Another name of it is {', '.join(command.aliases)}."] if command.aliases else []
    _paragraphs(page, summary, *map(filled, said.get("about", ())), *aliases)
    with page.section("Options"):
        page.write_dl([*option_rows(command.options, command.name), *map(given_row, given(command))])
    _examples(page, said.get("examples", ()))
    if command.takes_nodes:
        theirs = "Other options, and all after --, are the worker's. " if "WORKER" in said.get("usage", "") else ""
        _paragraphs(page, f"{theirs}More: 'multi help options', 'multi help settings'.")
    return page.getvalue().rstrip("\n")


def topic(name: str, width: int = 80, machine: Machine | None = None) -> str:
    """The page of one of `TOPICS`."""
    page = _formatter(width)
    said = prose()["topics"][name]
    _paragraphs(page, *said["about"])
    for title, rows in TOPICS[name](machine):
        with page.section(title):
            page.write_dl(rows)
    _examples(page, said.get("examples", ()))
    return page.getvalue().strip("\n")


_Sections: TypeAlias = "list[tuple[str, list[tuple[str, str]]]]"


def _options(_: Machine | None) -> _Sections:
    return [
        ("Options of every command", option_rows((*GLOBAL, VERSION))),
        ("Options about names", option_rows(GRAMMAR)),
    ]


def _presets(machine: Machine | None) -> _Sections:
    known = presets(machine=machine)
    shipped = {name: load(name).summary for name in available()}
    rows = [(name, shipped.get(name, "a preset of yours, or of this machine")) for name in known]
    return [("Presets", rows)]


def _prose(topic: str, **titles: str) -> _Sections:
    """The sections that stand in help.toml, each with its title."""
    return [(title, list(prose()["topics"][topic][key].items())) for key, title in titles.items()]


TOPICS: Mapping[str, Callable[[Machine | None], _Sections]] = {
    "settings": lambda _: [("Settings", [_setting_row(each, each.help) for each in SETTINGS.values()])],
    "options": _options,
    "presets": _presets,
    "templates": lambda _: _prose("templates", codes="Templates"),
    "exit-codes": lambda _: _prose("exit-codes", codes="Exit codes", status="Exit codes of status"),
}


def given(command: Command) -> Sequence[str]:
    """The settings, and the options of every command, that its page has."""
    return prose()["commands"][command.name].get("options", _GIVEN) if command.takes_nodes else (HELP.name,)


def option_rows(options: Iterable[Option], command: str = "") -> list[tuple[str, str]]:
    """Options with their values, each with its help, or with that of the command if it means something of its own."""
    rows = []
    for option in options:
        value = f"[={option.metavar}]" if option.optional else f"={option.metavar}" if option.metavar else ""
        rows.append((", ".join(option.flags) + value, of_option(option.name, command)))
    return rows


def given_row(flag: str) -> tuple[str, str]:
    """The row of a setting, in short, or of an option."""
    if flag in BY_FLAG:
        return _setting_row(BY_FLAG[flag], BY_FLAG[flag].help.partition(";")[0])
    return option_rows(option for option in (*GLOBAL, *GRAMMAR) if flag in option.flags)[0]


def _setting_row(setting: Setting, text: str) -> tuple[str, str]:
    return f"{', '.join(setting.flags)} {setting.metavar}", text.replace("`", "")


def _paragraphs(page: click.HelpFormatter, *texts: str) -> None:
    for text in texts:
        page.write_paragraph()
        page.write_text(text)


def _examples(page: click.HelpFormatter, lines: Sequence[str]) -> None:
    if lines:
        with page.section("Examples"):
            for line in lines:  # never wrapped: they are there to be copied
                page.write(f"  {line}\n")
