"""What in a command is meant for a shell, which `multi` does not use."""

from __future__ import annotations

import pytest

from multi.settings.shell import mistake

BUILTINS = frozenset({"cd", "exec", "source"})
AROUND = "write sh -c '...', with exec before the last command"
QUOTE = "quote it if the program takes it"
LOG = f"leave it out: logfile gets stdout and stderr; {QUOTE}"
DIRECTORY = "write --workdir /srv/x (workdir in TOML), and the command alone"


@pytest.mark.parametrize(
    ("text", "word", "hint"),
    [
        ("cd /srv/x; prog", "cd", DIRECTORY),
        ("cd /srv/x && prog", "cd", DIRECTORY),
        ("cd", "cd", "write --workdir DIR (workdir in TOML), and the command alone"),
        ("FOO=1 prog", "FOO=1", "write --env FOO=1 (env in TOML), and the command alone"),
        ('FOO="a b" prog', 'FOO="a b"', 'write --env FOO="a b" (env in TOML), and the command alone'),
        ("a && b", "&&", f"{AROUND}; {QUOTE}"),
        ("a || b", "||", f"{AROUND}; {QUOTE}"),
        ("a | b", "|", f"{AROUND}; {QUOTE}"),
        ("a; b", "a;", f"{AROUND}; {QUOTE}"),
        ("a ; b", ";", f"{AROUND}; {QUOTE}"),
        ("exec a", "exec", AROUND),
        ("source venv/bin/activate && a", "source", AROUND),
        ("a > log", ">", LOG),
        ("a >>log 2>&1", ">>log", LOG),
        ("a 2>&1", "2>&1", LOG),
        ("a < in", "<", LOG),
        ("a &", "&", "leave it out: every node runs in the background"),
    ],
)
def test_what_is_for_a_shell(text: str, word: str, hint: str) -> None:
    """A command that only a shell can run is told apart, with what to write instead."""
    assert mistake(text, BUILTINS) == (f"{word!r} is for a shell, and none is used", hint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prog",
        "sh -c 'cd /x; FOO=1 exec prog > log'",
        "env FOO=1 prog",
        "prog 'a && b' '|' \"&&\" '>' a';'",
        'prog --opt="a && b"',
        r"find . -exec rm {} \; \&\& \>",
        "prog --url=http://x/?a=1&b=2 --filter=a>b --size=<5 <none>",
        "prog a;b",
        "./cd x",
        "prog cd",
        "prog FOO=1",
    ],
)
def test_what_is_for_the_program(text: str) -> None:
    """G11: what is quoted, or stands within a word, reaches the program."""
    assert mistake(text, BUILTINS) is None
