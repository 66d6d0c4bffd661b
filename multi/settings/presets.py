"""Worker types as TOML files: adding one is adding a file.

A preset says what the command line of a worker type looks like (its command, how it takes a node
name and a log file, which of its options take a value) and how such a worker stops, reloads and
proves that it is ready. docs/howto/write-a-preset.md shows how to write one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from multi.errors import ConfigError, MultiError
from multi.model.node import Ready
from multi.settings import toml
from multi.settings.shipped import VALUES
from multi.settings.table import SETTINGS
from multi.settings.toml import Document
from multi.settings.values import from_document, merge
from multi.text import nearest, quoted
from multi.typed import Any
from multi.value import dataclass, replace

SHIPPED = os.path.join(os.path.dirname(__file__), "..", "presets")  # noqa: PTH118, PTH120 -- pathlib costs 10 ms to import
_OPTIONS = ("flags", "valued", "dropped", "leading_flags", "leading_valued")
_DIRNAME = "multi"
_OPTION = '["-c --concurrency"]'
_NOT_DEFAULTS = frozenset({"preset", "cmd"})  # a preset says these with its own name and its own key


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One worker type.

    `cmd` are the words that start it, empty when the user must say them. `name_option` takes the node's full name and
    `log_option` its log file; empty when the worker has no such option. With `fills_codes` the worker itself fills in
    the codes (``%n``) in both. `leading` are the options that stand between the program and its subcommand. `flags` are
    all options without a value, `valued` all with one, in every spelling; `spellings` groups those that mean the same.
    `dropped` are flags that a node must never get: they would detach it. `defaults` maps names of settings to typed
    values. `hup_ends` are words or beginnings of command lines that tell that another tool started the worker so that
    HUP ends it. `with_multi` holds the command and the defaults that go over the others where the worker's Python has
    `multi`: a command with hooks. `dirname` is the directory of root's default pidfiles and logs. Of a `single` one a
    project has one, because two do everything twice. `container` is an option with its value for a container whose root
    is read-only. `ready_fallback` is taken, with `ready_fallback_note` as the sentence for the user, when the worker's
    environment lacks what `defaults["ready"]` needs.
    """

    name: str
    summary: str = ""
    cmd: tuple[str, ...] = ()
    name_option: str = ""
    log_option: str = ""
    fills_codes: bool = False
    leading: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    spellings: tuple[tuple[str, ...], ...] = ()
    dropped: frozenset[str] = frozenset()
    defaults: Mapping[str, object]
    with_multi: Mapping[str, object] = MappingProxyType({})
    dump_signal: int | None = None
    hup_ends: tuple[str, ...] = ()
    dirname: str = _DIRNAME
    single: bool = False
    container: tuple[str, ...] = ()
    ready_fallback: Ready | None = None
    ready_fallback_note: str = ""


class NoPresetError(ConfigError):
    """No file answers to the name; where another preset asked for it, that one is at fault."""

    def named_in(self, where: str) -> ConfigError:
        """The same with the place that names it; nothing is added where that is the command line."""
        return ConfigError(f"{where}: {self.word}", self.why, self.hint) if where else self


def read_file(path: str) -> bytes:
    """Read a preset file; what `load` uses unless it is handed something stricter."""
    with open(path, "rb") as file:  # noqa: PTH123 -- pathlib costs 10 ms to import
        return file.read()


def _names(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)  # noqa: PTH208 -- pathlib costs 10 ms to import
    except OSError:
        return []
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def available(directories: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the presets in `directories` and of those that come with `multi`, sorted."""
    return tuple(sorted({*VALUES, *(name for directory in directories for name in _names(directory))}))


def dirnames(directories: Sequence[str] = (), read: Callable[[str], bytes] = read_file) -> tuple[str, ...]:
    """Every `dirname`: those of the presets that come with `multi`, and of those in `directories`. See `load`."""
    found: dict[str, None] = {str(said.get("dirname", _DIRNAME)): None for said in VALUES.values()}
    for name in (name for directory in directories for name in _names(directory)):
        try:
            found[load(name, directories, read).dirname] = None
        except MultiError:  # noqa: PERF203 -- a try costs nothing until it raises
            continue  # whoever asks for that preset is told
    return tuple(found)


def load(
    name: str,
    directories: Sequence[str] = (),
    read: Callable[[str], bytes] = read_file,
    tried: frozenset[str] = frozenset(),
) -> Preset:
    """Find the preset `name` and read it; the first of `directories` that has it overrides `multi`'s own.

    `read` returns the bytes of a file in `directories`, or raises `FileNotFoundError`. The files in `tried` are passed
    over, so a preset that extends its own name means the next of that name. Raises `ConfigError`.
    """
    around = False
    if name and "/" not in name and name.isprintable() and not name.startswith("."):
        for directory in (*directories, SHIPPED):
            path = os.path.join(directory, name + ".toml")  # noqa: PTH118 -- see SHIPPED
            if path in tried:
                around = True
                continue
            try:
                doc = _shipped(name, path) if directory == SHIPPED else toml.read(read(path), path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, UnicodeEncodeError) as error:
                why = f"cannot be read: {getattr(error, 'strerror', None) or 'its name is not text'}"
                hint = getattr(error, "hint", "") or "make it readable, or move it away"
                raise ConfigError(path, why, hint) from None
            parent = Preset(name=name, defaults={})
            if "extends" in doc.values:
                try:
                    parent = load(_string(doc, "extends"), directories, read, tried | {path})
                except NoPresetError as error:
                    raise doc.error(("extends",), f"{error.word} {error.why}", error.hint) from None
            return _read(doc, name, parent)
    if around:
        raise NoPresetError(f"preset {quoted(name)}", "extends itself in a circle", "take one 'extends' out")
    known = available(directories)
    hint = nearest(name, known)
    everything = f"there are {', '.join(known)}"
    hint = f"{hint} {everything}" if hint.startswith("did") else everything
    raise NoPresetError(f"preset {quoted(name)}", "does not exist", hint)


def _shipped(name: str, path: str) -> Document:
    """What a file that comes with `multi` says. Raises `FileNotFoundError`."""
    if name not in VALUES:
        raise FileNotFoundError
    return Document(path, "", VALUES[name])


def _read(doc: Document, name: str, parent: Preset) -> Preset:
    """Read a preset file on top of the preset that it extends, or of nothing."""
    for key in doc.values:
        if key not in _KEYS:
            raise doc.unknown((key,), _KEYS, "a key of a preset")
    said = {key: read(doc, key) for key, read in _SIMPLE.items() if key in doc.values}
    rows = _rows(doc)
    words = {kind: frozenset(word for row in rows[kind] for word in row) for kind in _OPTIONS}
    flags = words["flags"] | words["dropped"] | words["leading_flags"]
    valued = words["valued"] | words["leading_valued"]
    groups = tuple(row for kind in _OPTIONS for row in rows[kind] if len(row) > 1)
    return replace(
        parent,
        name=name,
        leading=(parent.leading - flags - valued) | words["leading_flags"] | words["leading_valued"],
        flags=(parent.flags - valued) | flags,
        valued=(parent.valued - flags) | valued,
        spellings=(*(group for group in parent.spellings if not (flags | valued) & set(group)), *groups),
        dropped=(parent.dropped - flags - valued) | words["dropped"],
        defaults=MappingProxyType(_table(doc, "defaults", SETTINGS.keys() - _NOT_DEFAULTS, parent.defaults)),
        with_multi=_with_multi(doc, parent.with_multi),
        **said,
    )


def _with_multi(doc: Document, lower: Mapping[str, object]) -> Mapping[str, object]:
    """What a preset says over the one that it extends holds in a Python with `multi`, too."""
    said = doc.table(("defaults",), doc.values.get("defaults", {}))
    over = {} if "cmd" in doc.values else {name: lower[name] for name in lower if name not in said}
    known = [name for name in SETTINGS if name != "preset"]
    return MappingProxyType({**over, **_table(doc, "with_multi", known, {})})


def _string(doc: Document, key: str) -> str:
    return doc.string((key,), doc.values[key])


def _yes(doc: Document, key: str) -> bool:
    value = doc.values[key]
    if not isinstance(value, bool):
        raise doc.error((key,), "is not true or false", "write it without quotes")
    return value


def _dirname(doc: Document, key: str) -> str:
    value = _string(doc, key)
    if not value or "/" in value or value.startswith(".") or not value.isprintable():
        raise doc.error((key,), "is not the name of a directory", "write one word, like 'multi'")
    return value


def _like(setting: str) -> Callable[[Document, str], object]:
    """Read a key that is written like a setting."""
    return lambda doc, key: from_document(SETTINGS[setting], doc.values[key], doc, (key,))


def _rows(doc: Document) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Read the table ``[options]``: each row is one option, in all its spellings."""
    rows: dict[str, tuple[tuple[str, ...], ...]] = dict.fromkeys(_OPTIONS, ())
    for kind, value in doc.table(("options",), doc.values.get("options", {})).items():
        if kind not in _OPTIONS:
            raise doc.unknown(("options", kind), _OPTIONS, "a kind of option")
        rows[kind] = tuple(tuple(row.split()) for row in doc.strings(("options", kind), value, _OPTION))
        for word in (word for row in rows[kind] for word in row):
            if not word.startswith("-") or "=" in word or ":" in word:
                why = f"{quoted(word)} is not an option"
                raise doc.error(("options", kind), why, f"write it like {_OPTION}")
    return rows


def _table(doc: Document, table: str, known: Collection[str], lower: Mapping[str, object]) -> dict[str, object]:
    merged = dict(lower)
    for key, value in doc.table((table,), doc.values.get(table, {})).items():
        if key not in known:
            raise doc.unknown((table, key), known, "a setting that a preset can have")
        typed = from_document(SETTINGS[key], value, doc, (table, key))
        merged[key] = merge(SETTINGS[key], merged.get(key), typed)
    return merged


# The keys that hold one value each.
_SIMPLE: Mapping[str, Callable[[Document, str], Any]] = {
    "summary": _string,
    "cmd": lambda doc, key: () if doc.values[key] == [] else _like("cmd")(doc, key),
    "name_option": _string,
    "log_option": _string,
    "fills_codes": _yes,
    "dirname": _dirname,
    "single": _yes,
    "container": lambda doc, key: doc.strings((key,), doc.values[key], '["-s", "/tmp/schedule"]'),
    "dump_signal": _like("reload_signal"),
    "hup_ends": lambda doc, key: doc.strings((key,), doc.values[key], '["-m worker"]'),
    "ready_fallback": _like("ready"),
    "ready_fallback_note": _string,
}
_KEYS = ("extends", *_SIMPLE, "options", "defaults", "with_multi")
