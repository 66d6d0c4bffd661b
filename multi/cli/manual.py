"""What ``help`` and ``--help`` print, laid out by click from the table of commands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TypedDict, cast

import click

from multi.cli.commands import COMMANDS
from multi.cli.options import GLOBAL, GRAMMAR, HELP, VERSION
from multi.cli.order import Command
from multi.cli.words import Option
from multi.settings import toml
from multi.settings.presets import read_file
from multi.settings.table import SETTINGS, Setting

_EXIT_CODES = (
    ("0", "what was asked for is true of every node"),
    ("1", "a node failed"),
    ("2", "a mistake in the words or the config"),
    ("75", "another multi holds a node longer than --lock-timeout"),
    ("77", "no permission, or not safe to do as root"),
    ("130", "interrupted; what was started lives on"),
    ("status", "has codes of its own, see 'multi help status'"),
)
_EXAMPLES = (
    "multi start w1 w2 -A proj -c:w2 4",
    "multi status",
    "multi restart --rolling",
    "multi stopwait",
    "multi start a b --preset exec --cmd 'python worker.py --name %n'",
)
_WIDTH = 100
PROSE = os.path.join(os.path.dirname(__file__), "help.toml")  # noqa: PTH118, PTH120 -- pathlib costs 10 ms to import


class Prose(TypedDict, total=False):
    """What help says of a command: `about` a string a paragraph, `examples` whole command lines."""

    summary: str
    usage: str
    about: list[str]
    examples: list[str]


@cache
def prose() -> Mapping[str, object]:
    """What stands in help.toml."""
    return toml.read(read_file(PROSE), PROSE).values


def command_prose(name: str) -> Prose:
    """What help says of the command."""
    return cast("dict[str, Prose]", prose()["commands"])[name]


def option_prose(option: Option) -> str:
    """What help says of the option."""
    return cast("dict[str, str]", prose()["options"])[option.name]


def overview() -> str:
    """The page of ``multi help``: every command on a line."""
    page = _formatter()
    page.write_usage("multi", "COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]")
    _paragraphs(
        page, ["Keeps named worker processes under control. What works after 'celery multi' works after 'multi'."]
    )
    with page.section("Commands"):
        page.write_dl([(_names(command), command_prose(command.name)["summary"]) for command in COMMANDS])
    with page.section("Options of every command"):
        page.write_dl(_rows((*GLOBAL, VERSION)))
    with page.section("Exit codes"):
        page.write_dl(_EXIT_CODES)
    _examples(page, _EXAMPLES)
    _paragraphs(page, ["'multi help COMMAND' tells about one command."])
    return page.getvalue().rstrip("\n")


def page(command: Command) -> str:
    """The page of one command."""
    page = _formatter()
    said = command_prose(command.name)
    page.write_usage(f"multi {command.name}", said.get("usage", "[NODES] [OPTIONS]"))
    summary = said["summary"][0].upper() + said["summary"][1:] + "."
    about = [_filled(text) for text in said.get("about", ())]
    aliases = [f"Another name of it is {', '.join(command.aliases)}."] if command.aliases else []
    _paragraphs(page, [summary, *about, *aliases])
    others = (*GRAMMAR, *GLOBAL) if command.takes_nodes else (HELP,)
    with page.section("Options"):
        page.write_dl(_rows((*command.options, *others)))
    if command.takes_nodes:
        with page.section("Settings (for some nodes only: --opt:w1=VALUE, --opt:1-3=VALUE)"):
            page.write_dl([(_setting(setting), setting.help.replace("`", "")) for setting in SETTINGS.values()])
        _paragraphs(page, ["Every other option, and everything after --, is the worker's."])
    _examples(page, said.get("examples", ()))
    return page.getvalue().rstrip("\n")


def _filled(text: str) -> str:
    if "{forms}" not in text:
        return text
    from multi.export import FORMS

    return text.replace("{forms}", ", ".join(FORMS))


def _formatter() -> click.HelpFormatter:
    return click.HelpFormatter(max_width=_WIDTH)


def _names(command: Command) -> str:
    return ", ".join((command.name, *command.aliases))


def _rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [(_spelling(option), option_prose(option)) for option in options]


def _spelling(option: Option) -> str:
    value = f"[={option.metavar}]" if option.optional else f"={option.metavar}" if option.metavar else ""
    return ", ".join(option.flags) + value


def _setting(setting: Setting) -> str:
    return f"{', '.join(setting.flags)} {setting.metavar}"


def _paragraphs(page: click.HelpFormatter, texts: Iterable[str]) -> None:
    for text in texts:
        page.write_paragraph()
        page.write_text(text)


def _examples(page: click.HelpFormatter, lines: Sequence[str]) -> None:
    if lines:
        with page.section("Examples"):
            for line in lines:  # never wrapped: they are there to be copied
                page.write(f"  {line}\n")
