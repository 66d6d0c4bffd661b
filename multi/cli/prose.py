"""The prose of help.toml, read without the command line that it is about."""

from __future__ import annotations

import os
from functools import cache

from multi.settings import toml
from multi.settings.presets import read_file
from multi.typed import Any

PROSE = os.path.join(os.path.dirname(__file__), "help.toml")  # noqa: PTH118, PTH120 -- pathlib costs 10 ms to import


@cache
def prose() -> dict[str, Any]:
    """What is said of the whole, of each option, command and topic, and of commands that other supervisors have."""
    return dict(toml.read(read_file(PROSE), PROSE).values)


def of_option(name: str, command: str = "") -> str:
    """What is said of an option: of a command's, if it means something of its own there, or else of every command's."""
    said: dict[str, str] = prose()["options"]
    return said.get(f"{command} {name}") or said[name]


def filled(text: str) -> str:
    """Text of help.toml with the forms of export in it."""
    if "{forms}" not in text:
        return text
    from multi.export import FORMS  # it imports every form

    return text.replace("{forms}", ", ".join(FORMS))
