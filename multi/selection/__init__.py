"""Which nodes a command line is about: words, configuration and records to a `Selection`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.selection.words import Words

if TYPE_CHECKING:
    from multi.machine import LocalHost, Machine
    from multi.words.spec import Selection


def of_words(command: str, words: Sequence[str], local: LocalHost, *, foreground: bool = False) -> Selection:
    """The nodes that the words and the configuration make, whatever is on record."""
    return Words(command, words, local, foreground=foreground).pure()


def of_records(command: str, words: Sequence[str], machine: Machine, *, foreground: bool = False) -> Selection:
    """The nodes of a command that looks at what is on record too."""
    from multi.selection.records import Records

    return Records(Words(command, words, machine, foreground=foreground), machine).select()
