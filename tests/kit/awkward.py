"""Words that shells and formats read in different ways."""

from __future__ import annotations

import os

WORDS = [
    "plain",
    "two words",
    "  blanks  around  ",
    "",
    "tab\there",
    "new\nline",
    "\n",
    "carriage\rreturn",
    "it's",
    '"quoted"',
    "'",
    '"',
    "back\\slash",
    "\\",
    "$HOME ${HOME} $(id) `id`",
    "!! !$ ~ ~root",
    "* ? [a-z] {a,b}",
    "a;b & c | d > e < f # g",
    "-", "--flag", "--opt=value with blanks", "-c", "--opt=",
    "%n %h %d %i %I %% %",
    "caf\u00e9 \u4f60\u597d \U0001f600",
    os.fsdecode(b"not \xff\xfe utf-8 \x80"),
    "\x01\x02\x1b[31m\x7f",
    "@file", "=", "a=b", ":", "w1:2",
    "x" * 5000,
]  # fmt: skip
TAME = [word for word in WORDS if "%" not in word]  # outside of `--` a percent sign begins a template
UNICODE = [word for word in WORDS if not any("\ud800" <= char <= "\udfff" for char in word)]
# Where backslashes, quotes and percent signs meet, formats disagree most.
KNOTS = [
    "\\%", "%\\", "\\\\%%", "a\\%b", "\\'%", "\\\\", "\\\\\\",
    "' ;#", "a ;b #c", "\t;d", ";", "#", "%(here)s %%(ENV_HOME)s",
    "$", "$$", "$(HOME)", "$$(HOME)", "${HOME}", "a'b", '"\'"', "=", "-u", "A=B",
]  # fmt: skip
VALUES = {
    f"MY_{number}": word
    for number, word in enumerate([*WORDS, *KNOTS])
    if len(word) < 100 and not any("\ud800" <= char <= "\udfff" for char in word)
}


def exact(words: list[str]) -> list[bytes]:
    """The words as bytes."""
    return [os.fsencode(word) for word in words]
