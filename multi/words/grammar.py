"""Words -> `Spec`: names, options, scoped options, passthrough.

The grammar is that of ``celery multi``, read from the raw words; docs/reference/differences.md lists what differs. What
an option means to the worker is not known here, only whether it takes a value: the preset says so for its own options,
`multi.settings.table` for ours. An option that neither knows takes the next word when it has one dash, and never when
it has two, as ``celery multi`` does it.
"""

from __future__ import annotations

from multi.errors import ConfigError, MultiError, UsageError
from multi.model import schedule
from multi.settings.table import BY_FLAG
from multi.typed import TYPE_CHECKING
from multi.value import dataclass
from multi.words.spec import Given, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.settings.presets import Preset

NAMING = frozenset({"-n", "--hostname", "--prefix", "--suffix", "--range-prefix"})
READ_BEFORE = frozenset({"--multi-config"})  # no setting: only `opening` reads it
_OPENING = frozenset({"--multi-config", "--preset"})
_FREE_TEXT = frozenset({"--cmd", "--append"})  # their value is a command line, which may begin with a dash


class Grammar:
    """What is known of the options on one command line: those of the preset, and our settings."""

    def __init__(self, preset: Preset, *, signals: bool = False) -> None:
        """With `signals` the command takes ``-SIG``.

        A one-letter flag of ours that the worker has too is the worker's: ours have long forms as well.
        """
        self.preset = preset
        self.signals = signals
        theirs = {name for name in preset.flags | preset.valued if not name.startswith("--")}
        self.settings = {flag: setting for flag, setting in BY_FLAG.items() if flag not in theirs}
        self._spellings = {spelling: group[0] for group in preset.spellings for spelling in group}

    def key(self, name: str) -> str:
        """The spelling that stands for all of this option's."""
        return self._spellings.get(name, name)

    def takes_value(self, name: str) -> bool | None:
        """Whether the option has a value; None when it is not known."""
        if name in NAMING or name in READ_BEFORE or name in self.settings or name in self.preset.valued:
            return True
        return False if name in self.preset.flags else None


def subcommand_of(preset: Preset) -> str:
    """The word after the preset's program (``worker``), empty when it has none."""
    words = preset.cmd[2:] if preset.cmd[:1] == ("-m",) else preset.cmd[1:]
    return words[0] if words else ""


@dataclass(frozen=True, slots=True)
class Opening:
    """What must be known before the words are read. `words` are all but ``--strict``; None is not given."""

    words: tuple[str, ...]
    strict: bool
    multi_config: str | None
    preset: str | None


def opening(words: Sequence[str]) -> Opening:
    """Find the options by which the others are read; the last one counts."""
    end = words.index("--") if "--" in words else len(words)
    head = [word for word in words[:end] if word != "--strict"]
    found: dict[str, str] = {}
    for position, word in enumerate(head, start=1):
        flag, equals, value = word.partition("=")
        if flag in _OPENING and (equals or position < len(head)):
            found[flag] = value if equals else head[position]
    return Opening((*head, *words[end:]), len(head) < end, found.get("--multi-config"), found.get("--preset"))


def parse(words: Sequence[str], grammar: Grammar) -> Spec:
    """Read the words after the command. Raises `UsageError`."""
    reader = _Reader(words, grammar, with_names=True)
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

    A word that is no option, and everything from ``--`` on, is kept in its place as a `Given` without a value.
    Raises `ConfigError`, which names `where`.
    """
    try:
        reader = _Reader(words, grammar, with_names=False)
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

    def __init__(self, words: Sequence[str], grammar: Grammar, *, with_names: bool) -> None:
        self._words = words
        self._grammar = grammar
        self._with_names = with_names
        self._position = 0
        self._late: list[str] = []  # names that stand after an option
        self._quoted: list[str] = []  # words that look like several options
        self.names: list[str] = []
        self.options: list[Given] = []
        self.settings: list[Given] = []
        self.passthrough: Sequence[str] = ()
        self.signum: int | None = None
        self.naming: dict[str, str] = {}
        self.empty_names = False
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
                head, equals, value = word.partition("=")
                self._look_for_quotes(word, head)
                self._add(*_split_scope(head, word), word, value if equals else None)
            elif not self._signal(word):
                self._look_for_quotes(word, word[:2])
                head = word.partition(":")[0]
                bundled = len(head) > 2 and grammar.takes_value(head) is None  # noqa: PLR2004 -- a dash and a letter
                if not (bundled and self._bundle(word)):
                    self._add(*_split_scope(word, word), word)

    def hints(self) -> list[str]:
        hints = [f"{word!r} is one word; if it is several options, leave out the quotes" for word in self._quoted]
        word = subcommand_of(self._grammar.preset)
        if word and word in self._late and len(self.names) > 1:
            hints.append(
                f"{word!r} was taken as the name of a node; leave it out if it is meant as the worker's subcommand"
            )
        return hints

    def _look_for_quotes(self, word: str, name: str) -> None:
        """Note a word with a known option of the worker in front and what looks like another one behind a blank."""
        theirs = self._grammar.takes_value(name) is not None and name not in self._grammar.settings
        if theirs and any(len(part) > 1 and part.startswith("-") for part in word.split()[1:]):
            self._quoted.append(word)

    def _name(self, word: str) -> None:
        if not self._with_names:
            self.options.append(Given(word))
        elif not word:
            self.empty_names = True  # as celery multi: "$NODES" of a shell may be empty
        else:
            self.names.append(word)
            if self.options or self.settings:
                self._late.append(word)

    def _bundle(self, word: str) -> bool:
        """``-c4`` is ``-c 4``, ``-EB:w1`` is ``-E -B``, for w1, ``-Bc4`` is ``-B -c4``.

        False when a letter is not known: then it is one option.
        """
        letters, colon, scope = word[1:].partition(":")
        flags = 0
        while flags < len(letters) and (takes_value := self._grammar.takes_value("-" + letters[flags])) is not True:
            if takes_value is None:
                return False
            flags += 1
        if not flags and (":" in scope or "/" in scope):
            hint = f"write the value as a word of its own: {word[:2]} {word[2:]}"
            raise UsageError(word, f"{scope!r}, what stands after the ':', is not a scope", hint)
        checked = _checked(scope, word) if colon else None
        for letter in letters[:flags]:
            self._add("-" + letter, checked, word)
        if flags < len(letters):
            self._add("-" + letters[flags], checked, word, letters[flags + 1 :] or None)
        return True

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
            hint = f"write {word}=VALUE" if name.startswith("--") else f"write {word} VALUE"
            raise UsageError(word, f"needs a value, but {found}", hint)
        self._position += 1
        return following

    def _add(self, name: str, scope: str | None, word: str, joined: str | None = None) -> None:
        """Take an option; its value is `joined` to it, or else the next word where it needs one."""
        grammar = self._grammar
        value = self._value_of(name, word) if joined is None else joined
        given = Given(name, value, scope, joined=joined is not None)
        if name in NAMING:
            if scope is not None:
                raise UsageError(word, "is about all names and takes no scope", f"write {name} without ':{scope}'")
            self.naming[name] = value or ""
        elif name in grammar.settings:
            self.settings.append(given)
        elif name not in grammar.preset.dropped and name not in READ_BEFORE:
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
        return body.isupper() or bool(grammar.preset.flags or grammar.preset.valued)


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
