"""What in a command is meant for a shell. `multi` uses none, so the program would get it as an argument."""

from __future__ import annotations

import re

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:\\.|[^"\\])*")+""", re.DOTALL)
_JOINS = frozenset({"&&", "||", "|", "|&", ";"})


_AROUND = "write sh -c '...', with exec before the last command"
_QUOTE = "quote it if the program takes it"


def mistake(text: str, builtins: frozenset[str]) -> tuple[str, str] | None:
    """Why a shell-quoted command needs a shell, and what to write; None when it needs none.

    What is quoted is meant for the program. `builtins` are commands that only a shell has.
    """
    words = _WORD.findall(text)
    found = _of_the_first(words, builtins) if words else None
    if found is None and words[-1:] == ["&"]:
        found = "&", "leave it out: every node runs in the background"
    if found is None:
        found = next(filter(None, map(_of_any, words)), None)
    return found and (f"{found[0]!r} is for a shell, and none is used", found[1])


def _of_the_first(words: list[str], builtins: frozenset[str]) -> tuple[str, str] | None:
    head = words[0]
    if head == "cd":
        where = words[1].rstrip(";") if len(words) > 1 else "DIR"
        return head, f"write --workdir {where} (workdir in TOML), and the command alone"
    if re.match(r"[A-Za-z_]\w*=", head):
        return head, f"write --env {head} (env in TOML), and the command alone"
    return (head, _AROUND) if head in builtins else None


def _of_any(word: str) -> tuple[str, str] | None:
    if re.match(r"[012&]?>|<(?!\w+>)", word):
        return word, f"leave it out: logfile gets stdout and stderr; {_QUOTE}"
    if word in _JOINS or (word.endswith(";") and not word.endswith("\\;")):
        return word, f"{_AROUND}; {_QUOTE}"
    return None
