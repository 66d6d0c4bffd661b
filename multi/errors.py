"""What a user did wrong, with fields: the word, why, what to try.

These are the only exceptions that the command line catches. What goes wrong with one node while it
is being worked on is an event (`multi.model.event`), and a bug is a plain traceback.
"""

from __future__ import annotations

from multi.text import printable

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUSY = 75  # EX_TEMPFAIL, sysexits.h
EXIT_PERMISSION = 77  # EX_NOPERM, sysexits.h
EXIT_KILLED = 137  # 128 + SIGKILL, as container engines report it
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class MultiError(Exception):
    """A mistake that only the user can put right.

    `word` is what they wrote (an option, a node, a path), `why` says what is wrong with it, `hint`
    says what to try next. `exit_code` is what the command line exits with.
    """

    exit_code = EXIT_USAGE

    def __init__(self, word: str, why: str, hint: str = "") -> None:
        """Keep the three fields; the text is made from them."""
        super().__init__(word, why, hint)
        self.word = word
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        """One printable line: what, why, what to try."""
        text = f"{self.word}: {self.why}" if self.word else self.why
        if self.hint:
            text += f"; {self.hint}"
        return printable(text)


class UsageError(MultiError):
    """The words on the command line do not mean anything (exit 2)."""


class ConfigError(MultiError):
    """A configuration file, preset or environment variable is wrong (exit 2)."""


class NotPermittedError(MultiError):
    """The user may not do this, or it is not safe to do it as root (exit 77)."""

    exit_code = EXIT_PERMISSION


class BusyError(MultiError):
    """Another command works on these nodes; the same may go well later (exit 75)."""

    exit_code = EXIT_BUSY
