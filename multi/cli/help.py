"""``multi help`` and ``--help``: the prose of help.toml, laid out by click from the table of commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from multi.cli.commands import COMMANDS, find
from multi.cli.order import GLOBAL, GRAMMAR, HELP, VERSION, Command, Option, Order
from multi.cli.prose import prose
from multi.errors import UsageError
from multi.settings.table import SETTINGS

_WIDTH = 100


def carry_out(order: Order) -> int:
    """``help [COMMAND]``."""
    words = [word for word in order.words if word != "--"]
    if len(words) > 1:
        why = f"tells about one command, not {len(words)}"
        raise UsageError(f"help {' '.join(words)}", why, f"try 'multi help {words[0]}'")
    order.screen.say(page(find(words[0])) if words else overview())
    return 0


def overview() -> str:
    """The page of ``multi help``: every command on a line."""
    page = click.HelpFormatter(max_width=_WIDTH)
    said = prose()["overview"]
    page.write_usage("multi", "COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]")
    _paragraphs(page, said["about"])
    with page.section("Commands"):
        summaries = {", ".join((row.name, *row.aliases)): prose()["commands"][row.name]["summary"] for row in COMMANDS}
        page.write_dl(list(summaries.items()))
    with page.section("Options of every command"):
        page.write_dl(_rows((*GLOBAL, VERSION)))
    with page.section("Exit codes"):
        page.write_dl(list(said["exit-codes"].items()))
    _examples(page, said["examples"])
    _paragraphs(page, said["more"])
    return page.getvalue().rstrip("\n")


def page(command: Command) -> str:
    """The page of one command."""
    page = click.HelpFormatter(max_width=_WIDTH)
    said = prose()["commands"][command.name]
    page.write_usage(f"multi {command.name}", said.get("usage", "[NODES] [OPTIONS]"))
    summary = said["summary"][0].upper() + said["summary"][1:] + "."
    aliases = [f"Another name of it is {', '.join(command.aliases)}."] if command.aliases else []
    _paragraphs(page, summary, *map(_filled, said.get("about", ())), *aliases)
    with page.section("Options"):
        page.write_dl(_rows((*command.options, *((*GRAMMAR, *GLOBAL) if command.takes_nodes else (HELP,)))))
    if command.takes_nodes:
        with page.section("Settings (for some nodes only: --opt:w1=VALUE, --opt:1-3=VALUE)"):
            page.write_dl(
                [
                    (f"{', '.join(setting.flags)} {setting.metavar}", setting.help.replace("`", ""))
                    for setting in SETTINGS.values()
                ]
            )
        _paragraphs(page, "Every other option, and everything after --, is the worker's.")
    _examples(page, said.get("examples", ()))
    return page.getvalue().rstrip("\n")


def _filled(text: str) -> str:
    if "{forms}" not in text:
        return text
    from multi.export import FORMS  # it imports every form

    return text.replace("{forms}", ", ".join(FORMS))


def _rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    rows = []
    for option in options:
        value = f"[={option.metavar}]" if option.optional else f"={option.metavar}" if option.metavar else ""
        rows.append((", ".join(option.flags) + value, prose()["options"][option.name]))
    return rows


def _paragraphs(page: click.HelpFormatter, *texts: str) -> None:
    for text in texts:
        page.write_paragraph()
        page.write_text(text)


def _examples(page: click.HelpFormatter, lines: Sequence[str]) -> None:
    if lines:
        with page.section("Examples"):
            for line in lines:  # never wrapped: they are there to be copied
                page.write(f"  {line}\n")
