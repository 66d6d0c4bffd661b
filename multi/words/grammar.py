"""Words -> `Spec`: names, options, scoped options, passthrough.

The grammar is that of ``celery multi``, read from the raw words; docs/reference/differences.md lists what
differs. What an option means to the worker is not known here, only whether it takes a value: the
preset says so for its own options, `multi.settings.table` for ours. An option that neither knows takes
the next word when it has one dash, and never when it has two, as ``celery multi`` does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import schedule
from multi.settings.table import BY_FLAG
from multi.value import dataclass, field
from multi.words.spec import Given, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.settings.presets import Preset
    from multi.settings.table import Setting

_NAMING = frozenset({"-n", "--hostname", "--prefix", "--suffix", "--range-prefix"})
_READ_BEFORE = frozenset({"--multi-config"})  # no setting: only `opening` reads it
_OPENING = frozenset({"--multi-config", "--preset"})
_FREE_TEXT = frozenset({"--cmd", "--append"})  # their value is a command line, which may begin with a dash


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What is known of the options on one command line.

    `flags` take no value, `valued` take one, `dropped` are taken and forgotten. `spellings` maps
    each spelling of an option to one that stands for all. `settings` are `multi`'s own, by flag.
    `subcommand` is the worker's word after its program (``worker``): it is a frequent mistake among
    node names. `signals` says whether the command takes ``-SIG``.
    """

    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    spellings: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    subcommand: str = ""
    signals: bool = False

    def key(self, name: str) -> str:
        """The spelling that stands for all of this option's."""
        return self.spellings.get(name, name)

    def takes_value(self, name: str) -> bool | None:
        """Whether the option has a value; None when it is not known."""
        if name in _NAMING or name in _READ_BEFORE or name in self.settings or name in self.valued:
            return True
        return False if name in self.flags or name in self.dropped else None


def grammar_of(preset: Preset, *, signals: bool = False) -> Grammar:
    """The grammar for a preset's options and all settings; `signals` for a command that takes ``-SIG``.

    A one-letter flag of ours that the worker has too is the worker's: ours have long forms as well.
    """
    theirs = {name for name in preset.flags | preset.valued if not name.startswith("--")}
    return Grammar(
        flags=preset.flags,
        valued=preset.valued,
        dropped=preset.dropped,
        spellings={spelling: group[0] for group in preset.spellings for spelling in group},
        settings=BY_FLAG if theirs.isdisjoint(BY_FLAG) else {k: v for k, v in BY_FLAG.items() if k not in theirs},
        subcommand=subcommand_of(preset),
        signals=signals,
    )


def subcommand_of(preset: Preset) -> str:
    """The word after the preset's program (``worker``), empty when it has none."""
    words = preset.cmd[2:] if preset.cmd[:1] == ("-m",) else preset.cmd[1:]
    return words[0] if words else ""


@dataclass(frozen=True, slots=True)
class Opening:
    """What decides how words are read. `words` are all but ``--strict``; an option that was not given is None."""

    words: tuple[str, ...]
    strict: bool
    multi_config: str | None
    preset: str | None


def opening(words: Sequence[str]) -> Opening:
    """Find what must be known before the grammar is, and so without knowing the other options; the last one counts."""
    end = words.index("--") if "--" in words else len(words)
    head = [word for word in words[:end] if word != "--strict"]
    found: dict[str, str] = {}
    for position, word in enumerate(head, start=1):
        flag, equals, value = word.partition("=")
        if flag in _OPENING and (equals or position < len(head)):
            found[flag] = value if equals else head[position]
    return Opening((*head, *words[end:]), len(head) < end, found.get("--multi-config"), found.get("--preset"))


def parse(words: Sequence[str], grammar: Grammar) -> Spec:
    """Read the words after the command.

    Raises `UsageError` for an option without its value, a scope that is none, or an unknown signal.
    """
    reader = _Reader(words, grammar, with_names=True)
    reader.read()
    if reader.empty_names and not reader.names:
        raise UsageError("''", "is no node name", "leave the empty word out, or write a name")
    return Spec(
        names=tuple(reader.names),
        options=tuple(reader.options),
        settings=tuple(reader.settings),
        passthrough=tuple(reader.passthrough),
        signum=reader.signum,
        prefix=reader.naming.get("--prefix"),
        suffix=reader.naming.get("--suffix"),
        hostname=reader.naming.get("--hostname", reader.naming.get("-n")),
        range_prefix=reader.naming.get("--range-prefix"),
        hints=tuple(reader.hints()),
    )


def parse_options(words: Sequence[str], grammar: Grammar, where: str) -> tuple[Given, ...]:
    """Read worker options where no node is named: ``options = [...]`` of the configuration.

    A word that is no option, and everything from ``--`` on, is kept in its place as a `Given`
    without a value. Raises `ConfigError`, which names `where`, for a setting, a scope, or an option
    without its value.
    """
    reader = _Reader(words, grammar, with_names=False)
    try:
        reader.read()
    except MultiError as error:
        raise ConfigError(where, str(error)) from None
    for given in reader.settings:
        name = grammar.settings[given.name].name
        raise ConfigError(where, f"{given.name} is no worker option but a setting", f"write {name} = ... instead")
    for name in reader.naming:
        raise ConfigError(where, f"{name} cannot stand here", "a node's name is its key in [nodes.NAME] or its group")
    for given in reader.options:
        if given.scope is not None:
            why = f"{given.name}:{given.scope} cannot stand here"
            raise ConfigError(where, why, f"write options under [nodes.{given.scope}] instead")
    return tuple(reader.options) + tuple(Given(word) for word in reader.passthrough)


class _Reader:
    """One walk over the words."""

    __slots__ = ("_grammar", "_position", "_with_names", "_words", "empty_names", "late", "names", "naming", "options",
                 "passthrough", "quoted", "settings", "signum")  # fmt: skip

    def __init__(self, words: Sequence[str], grammar: Grammar, *, with_names: bool) -> None:
        self._words = words
        self._grammar = grammar
        self._with_names = with_names
        self._position = 0
        self.names: list[str] = []
        self.late: list[str] = []  # names that stand after an option
        self.options: list[Given] = []
        self.settings: list[Given] = []
        self.passthrough: Sequence[str] = ()
        self.signum: int | None = None
        self.naming: dict[str, str] = {}
        self.empty_names = False
        self.quoted: list[str] = []  # words that look like several options

    def hints(self) -> list[str]:
        hints = [f"{word!r} is one word; if it is several options, leave out the quotes" for word in self.quoted]
        word = self._grammar.subcommand
        if word and word in self.late and len(self.names) > 1:
            hints.append(
                f"{word!r} was taken as the name of a node; leave it out if it is meant as the worker's subcommand"
            )
        return hints

    def read(self) -> None:
        words = self._words
        for word in words:
            if "\0" in word:
                raise UsageError(word, "holds a NUL character", "no command can get such a word; take it out")
        while self._position < len(words):
            word = words[self._position]
            self._position += 1
            if word == "--":
                self.passthrough = words[self._position :]
                return
            if not word.startswith("-") or word == "-":
                self._name(word)
            elif word.startswith("--"):
                self._quoted(word, word.partition("=")[0])
                self._long(word)
            elif not self._signal(word):
                self._quoted(word, word[:2])
                self._short(word)

    def _quoted(self, word: str, name: str) -> None:
        """Note a word with a known option of the worker in front and what looks like another one behind a blank."""
        grammar = self._grammar
        if grammar.takes_value(name) is not None and name not in grammar.settings:
            behind = word.split()[1:]
            if any(len(part) > 1 and part.startswith("-") for part in behind):
                self.quoted.append(word)

    def _name(self, word: str) -> None:
        if not self._with_names:
            self.options.append(Given(word))
        elif not word:
            self.empty_names = True  # as celery multi: "$NODES" of a shell may be empty
        else:
            self.names.append(word)
            if self.options or self.settings:
                self.late.append(word)

    def _long(self, word: str) -> None:
        head, equals, value = word.partition("=")
        name, scope = _split_scope(head, word)
        if equals:
            self._add(Given(name, value, scope, joined=True), word)
        else:
            self._add(Given(name, self._value_of(name, word), scope), word)

    def _short(self, word: str) -> None:
        grammar = self._grammar
        head = word.partition(":")[0]
        if len(head) > 2 and grammar.takes_value(head) is None:  # noqa: PLR2004 -- a dash and a letter
            takes_value = grammar.takes_value(word[:2])
            if takes_value:
                self._glued(word[:2], word[2:], word)
                return
            if takes_value is False and self._bundle(word):
                return
        name, scope = _split_scope(word, word)
        self._add(Given(name, self._value_of(name, word), scope), word)

    def _glued(self, name: str, rest: str, word: str) -> None:
        """``-c4``, ``-Ofair:w1``: one word, so the next one is not touched."""
        value, colon, scope = rest.partition(":")
        if colon and (":" in scope or "/" in scope):
            hint = f"write the value as a word of its own: {name} {rest}"
            raise UsageError(word, f"{scope!r}, what stands after the ':', is not a scope", hint)
        self._add(Given(name, value, _checked(scope, word) if colon else None, joined=True), word)

    def _bundle(self, word: str) -> bool:
        """``-EB`` is ``-E -B``, ``-Bc4`` is ``-B -c4``. False when a letter is not known: then it is one option."""
        grammar = self._grammar
        letters, colon, scope_text = word[1:].partition(":")
        flags = 0
        while flags < len(letters) and (takes_value := grammar.takes_value("-" + letters[flags])) is not True:
            if takes_value is None:
                return False
            flags += 1
        scope = _checked(scope_text, word) if colon else None
        for letter in letters[:flags]:
            self._add(Given("-" + letter, None, scope), word)
        if flags < len(letters):
            self._bundle_end("-" + letters[flags], letters[flags + 1 :], scope, word)
        return True

    def _bundle_end(self, name: str, value: str, scope: str | None, word: str) -> None:
        if value:
            self._add(Given(name, value, scope, joined=True), word)
        else:
            self._add(Given(name, self._value_of(name, word), scope), word)

    def _value_of(self, name: str, word: str) -> str | None:
        """The next word, where it is the option's value."""
        takes_value = self._grammar.takes_value(name)
        if takes_value is False:
            return None
        following = self._words[self._position] if self._position < len(self._words) else None
        if takes_value is None:
            # An unknown option is read as celery multi reads it, but in `options` no node name can follow.
            if following is None or following.startswith("-") or (self._with_names and name.startswith("--")):
                return None
        elif following is None or following == "--" or not _may_be_value(name, following):
            found = "nothing follows" if following is None else f"{following!r} follows"
            raise UsageError(word, f"needs a value, but {found}", _value_hint(name, word))
        self._position += 1
        return following

    def _add(self, given: Given, word: str) -> None:
        grammar = self._grammar
        name = given.name
        if name in _NAMING:
            if given.scope is not None:
                raise UsageError(
                    word, "is about all names and takes no scope", f"write {name} without ':{given.scope}'"
                )
            self.naming[name] = given.value or ""
        elif name in grammar.settings:
            self.settings.append(given)
        elif name not in grammar.dropped and name not in _READ_BEFORE:
            self.options.append(given)

    def _signal(self, word: str) -> bool:
        """Take ``-TERM``, ``-SIGTERM``, ``-term`` or ``-15``; False when the word is an option."""
        if not self._grammar.signals:
            return False
        found = schedule.find_signal(word)
        if found is None:
            if self._should_be_signal(word):
                schedule.parse_signal(word)  # says what is wrong
            return False
        self.signum = found
        return True

    def _should_be_signal(self, word: str) -> bool:
        """Whether a word that is no signal of this system can only have been meant as one."""
        body = word[1:]
        if not all(c.isascii() and (c.isalnum() or c in "+-") for c in body):
            return False
        if body.isdigit() or body[:3].upper() == "SIG":
            return True
        grammar = self._grammar
        if len(body) == 1 or grammar.takes_value(word) is not None or grammar.takes_value(word[:2]):
            return False
        if all(grammar.takes_value("-" + letter) is not None for letter in body):
            return False
        return body.isupper() or bool(grammar.flags or grammar.valued)


def _split_scope(head: str, word: str) -> tuple[str, str | None]:
    """``-c:1,2`` -> ``-c`` and ``1,2``."""
    name, colon, scope = head.partition(":")
    if not colon:
        return name, None
    if not name.strip("-"):
        raise UsageError(word, "has a scope but no option before the ':'", "write it like -c:1 4 or --opt:w1=value")
    return name, _checked(scope, word)


def _checked(scope: str, word: str) -> str:
    if ":" in scope:
        raise UsageError(word, "has more than one ':'", "write one scope, like -c:1 4, -c:w1,w2 4 or --opt:1-3=value")
    if not all(scope.split(",")):
        why = "names an empty scope" if not scope else "has an empty item in its scope"
        raise UsageError(word, why, "write it like -c:1 4, -c:w1,w2 4 or --opt:1-3=value")
    return scope


def _may_be_value(name: str, word: str) -> bool:
    """Whether `word` can be the value of an option that needs one: another option cannot, a negative number can."""
    if not word.startswith("-") or word == "-" or name in _FREE_TEXT:
        return True
    return word[1:].replace(".", "", 1).isdecimal()


def _value_hint(name: str, word: str) -> str:
    if name.startswith("--"):
        return f"write {word}=VALUE"
    return f"write {word} VALUE"
