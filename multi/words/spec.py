"""What the user said: words on the command line, nothing resolved yet."""

from __future__ import annotations

from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it was typed.

    `name` is ``-c`` or ``--concurrency``, without scope and value. `value` is None when none was
    given (``--opt=`` gives the empty string). `scope` is what stood after the ``:``, None when the
    option is for every node. `joined` is true when name and value are one word (``--opt=value``,
    ``-c4``): the worker gets it the way it was typed.
    """

    name: str
    value: str | None = None
    scope: str | None = None
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that one command line says about nodes.

    `names` are the words that name nodes, in order, ``("3",)`` for a count. `options` are the
    worker's, `settings` are `multi`'s own (see `multi.settings.table`), both in the order typed.
    `passthrough` is what stood after ``--``, without it. `signum` is the signal given as ``-SIG``.
    `prefix`, `suffix`, `hostname` and `range_prefix` are None when not given. `hints` are sentences
    for the user about words that are probably not meant the way they are read.
    """

    names: tuple[str, ...] = ()
    options: tuple[Given, ...] = ()
    settings: tuple[Given, ...] = ()
    passthrough: tuple[str, ...] = ()
    signum: int | None = None
    prefix: str | None = None
    suffix: str | None = None
    hostname: str | None = None
    range_prefix: str | None = None
    hints: tuple[str, ...] = ()

    @property
    def says_command(self) -> bool:
        """Whether anything here is about the worker's command: then a recorded one is not reused."""
        return self.says_words or any(given.name == "--preset" for given in self.settings)

    @property
    def says_words(self) -> bool:
        """Whether anything here is a part of the worker's command itself, which a preset alone need not be."""
        command = {"--cmd", "--append", "--executable"}
        return bool(self.options or self.passthrough or any(given.name in command for given in self.settings))
