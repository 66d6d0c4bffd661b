"""Who asks `multi` for something: for the record of a node and its history."""

from __future__ import annotations

from multi.text import printable
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 160  # characters of a command line: there may be hundreds of nodes on it, and it stands in a line of `status`
_PLAIN = frozenset("%+,-./:=@_")  # what a shell takes as it is, beside letters and digits
_VARIABLES = "--env"  # its values are variables of the node; `--env-file` and the like only name files


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, where their `multi` runs, the command as typed, and its pid.

    `where` is ``tty pts/3``, ``cron``, ``at``, ``ssh``, ``unit x.service``, or empty when nothing tells.
    """

    user: str
    where: str
    command: str
    pid: int

    @property
    def text(self) -> str:
        """``root from cron (multi ensure)``."""
        return f"{self.user}{self.where and f' from {self.where}'} ({self.command})"


def typed(program: str, words: Sequence[str]) -> str:
    """A command line as a shell takes it, on one line and cut short; without the values of a node's variables."""
    shown = [program, *_without_values(words)]
    text = printable(" ".join(map(_quoted, shown)))
    return text if len(text) <= _MOST else text[: _MOST - 3] + "..."


def _without_values(words: Sequence[str]) -> list[str]:
    shown: list[str] = []
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        if _has_variable(option) and equals:
            variable, _, hidden = value.partition("=")
            shown.append(f"{option}={variable}{hidden and '=...'}")
        elif _has_variable(before):
            shown.append(option + (value and "=..."))
        else:
            shown.append(word)
        before = word
    return shown


def _has_variable(option: str) -> bool:
    return option == _VARIABLES or option.startswith(f"{_VARIABLES}:")


def _quoted(word: str) -> str:
    if word and all(letter.isalnum() or letter in _PLAIN for letter in word):
        return word
    import shlex

    return shlex.quote(word)
