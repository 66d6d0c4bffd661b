"""Configuration files and the environment -> layers of typed settings; unknown keys are errors.

What a file may say is described in docs/reference/configuration.md and, with comments, in config/multi.toml. Nothing
here opens a file: the functions that read one are handed in, so that what may be trusted is decided in
one place.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from multi.errors import ConfigError
from multi.settings import toml
from multi.settings.table import SETTINGS
from multi.settings.toml import Document, dotted, substitute
from multi.settings.values import from_document, from_toml, merge, split
from multi.text import quoted
from multi.value import dataclass, field

MOST_NODES = 10_000
_MOST_FILES = 1_000  # more than this is a pattern that matches the wrong directory
_DEEPEST = 20
_LONGEST_KEY = 6  # tool.multi.groups.NAME.env.VARIABLE
_SYSTEM = "/etc/multi"
NO_FILE = "none"  # in place of a path: no configuration is read, wherever one lies
_WILD = frozenset("*?[")
_SECTIONS = ("include", "defaults", "groups", "nodes")
_LAYER_KEYS = (*SETTINGS, "options")
_GROUP_KEYS = ("nodes", "count", "prefix")

Read = Callable[[str], bytes]
Find = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place: typed values by name, and under ``options`` words for the worker.

    `source` says where they are from, in the words of `check`; `origins` says it for single keys of several files.
    """

    source: str
    values: Mapping[str, object] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Where the value of `key` is from."""
        return self.origins.get(key, self.source)


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that share a layer, in the order written."""

    name: str
    nodes: tuple[str, ...]
    layer: Layer


@dataclass(frozen=True, slots=True)
class Config:
    """What the configuration says. `path` is the file that was found."""

    path: str | None
    defaults: Layer
    groups: tuple[Group, ...] = ()
    nodes: tuple[tuple[str, Layer], ...] = ()


EMPTY = Config(None, Layer("[defaults]"))


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration file that was found. `why` says why this one: the option, the variable or the directory."""

    path: str
    text: bytes
    why: str


def locate(  # noqa: PLR0913, PLR0917 -- where to look, and by what
    explicit: str | None, environ: Mapping[str, str], cwd: str, home: str, read: Read, peek: Read | None = None
) -> Source | None:
    """Find the one configuration file that counts, in the order written here; None when there is or shall be none.

    `read` returns a file's bytes and raises `OSError`; `peek` does without asking who wrote it, so that a
    ``pyproject.toml`` of somebody else's that says nothing of ours is no obstacle. Raises `ConfigError` for a file that
    was asked for and does not exist, and for one that cannot be read: without it something else would run.
    """
    if explicit == "":
        raise ConfigError("--multi-config", "needs the path of a file", "leave it out to search the usual places")
    for path, why in ((explicit, "--multi-config"), (environ.get("MULTI_CONFIG"), "MULTI_CONFIG")):
        if path:
            if not cwd and not path.startswith("/"):
                gone = "is relative, and the current directory has been removed"
                raise ConfigError(f"{why} {quoted(path, 200)}", gone, "write the whole path")
            full = posixpath.join(cwd, path)
            text = _read(full, read)
            if text is None:
                raise ConfigError(f"{why} {quoted(path, 200)}", "does not exist", "name an existing file")
            return Source(full, text, why)
    here = (
        (posixpath.join(cwd, "multi.toml"), "in the current directory"),
        (posixpath.join(cwd, "pyproject.toml"), "[tool.multi] in the current directory"),
    )
    for path, why in (
        *(here if cwd else ()),  # one that is gone holds no file
        (posixpath.join(_user(environ, home), "multi.toml"), "in your configuration directory"),
        (posixpath.join(_SYSTEM, "multi.toml"), "of the system"),
    ):
        if _is_pyproject(path):
            seen = _read(path, peek or read)
            if seen is None or not _has_table(seen, path):
                continue
        text = _read(path, read)
        if text is not None:
            return Source(path, text, why)
    return None


def _is_pyproject(path: str) -> bool:
    """Whether the table ``[tool.multi]`` is meant, not the whole file."""
    return posixpath.basename(path) == "pyproject.toml"


def preset_directories(environ: Mapping[str, str], home: str) -> tuple[str, ...]:
    """Where presets of the user and of the system lie; the first overrides the second."""
    return posixpath.join(_user(environ, home), "presets"), posixpath.join(_SYSTEM, "presets")


def _user(environ: Mapping[str, str], home: str) -> str:
    """Find the user's directory; a relative one is ignored, as the XDG Base Directory Specification says."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return posixpath.join(base if base.startswith("/") else posixpath.join(home, ".config"), "multi")


def _read(path: str, read: Read) -> bytes | None:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL, or a character that no file name can have
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        hint = "make it readable, or name another with --multi-config"
        if isinstance(error, PermissionError):  # of a directory that is closed nobody can tell whether it has one
            hint = "go to another directory, make it readable, or name another with --multi-config"
        raise ConfigError(path, why, getattr(error, "hint", "") or hint) from None


def _has_table(text: bytes, path: str) -> bool:
    if b"multi" not in text:  # so that a project without [tool.multi] costs nothing
        return False
    tool = toml.read(text, path).values.get("tool")
    return isinstance(tool, dict) and "multi" in tool


def parse_config(
    text: bytes | str, path: str, environ: Mapping[str, str], read: Read, find: Find = lambda pattern: (pattern,)
) -> Config:
    """TOML -> `Config`; a file overrides what it includes, and a later included file an earlier one.

    `read` returns the bytes of an included file and raises `OSError`; `find` returns the paths that match a pattern of
    ``include``. Raises `ConfigError` with file, line and key.
    """
    reader = _Reader(environ, read, find)
    reader.file(text, path, ())
    return reader.config(path)


@dataclass(slots=True)
class _Table:
    """One table while files are being merged: its values, where each is from, and where it was last seen."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    last: tuple[Document, tuple[str, ...]] | None = None

    def layer(self, source: str) -> Layer:
        values = {key: value for key, value in self.values.items() if key not in _GROUP_KEYS}
        origins = {key: origin for key, origin in self.origins.items() if key in values and origin != source}
        return Layer(source, MappingProxyType(values), MappingProxyType(origins))

    def error(self, why: str, hint: str) -> ConfigError:
        """Build the error about the whole table, where it was last seen."""
        assert self.last is not None  # noqa: S101 -- a table without a file has no mistake
        doc, keys = self.last
        return doc.error(keys, why, hint)


class _Reader:
    """Merges one file and what it includes, the weakest first."""

    def __init__(self, environ: Mapping[str, str], read: Read, find: Find) -> None:
        self.environ = environ
        self.read = read
        self.find = find
        self.files = 0
        self.defaults = _Table()
        self.groups: dict[str, _Table] = {}
        self.nodes: dict[str, _Table] = {}

    def file(self, text: bytes | str, path: str, including: tuple[str, ...]) -> None:
        doc = toml.read(text, path)
        base: tuple[str, ...] = ()
        values: dict[str, object] = doc.values
        if _is_pyproject(path):
            base = ("tool", "multi")
            values = _subtable(doc, _subtable(doc, values, ("tool",)), base)
        for key in values:
            if key not in _SECTIONS:
                raise _unknown(doc, (*base, key), _SECTIONS, "a table of multi's configuration", "tables")
        values = {key: self._substituted(doc, (*base, key), value) for key, value in values.items()}
        self.files += 1
        if "include" in values:
            self._include(doc, (*base, "include"), values["include"], (*including, posixpath.normpath(path)))
        keys = (*base, "defaults")
        _merge(doc, keys, _subtable(doc, values, keys), self.defaults)
        for section, tables in (("groups", self.groups), ("nodes", self.nodes)):
            found = _subtable(doc, values, (*base, section))
            for name in found:
                keys = (*base, section, name)
                _check_name(doc, keys, name, section)
                table = tables.setdefault(name, _Table())
                _merge(doc, keys, _subtable(doc, found, keys), table, group=section == "groups")

    def _substituted(self, doc: Document, keys: tuple[str, ...], value: object) -> object:
        """Fill in the variables in all strings."""
        if isinstance(value, list):
            return [self._substituted(doc, keys, item) if isinstance(item, str) else item for item in value]
        if isinstance(value, dict) and len(keys) < _LONGEST_KEY:
            return {key: self._substituted(doc, (*keys, key), item) for key, item in value.items()}
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return substitute(value, self.environ)
        except ConfigError as error:
            raise doc.error(keys, f"{error.word} {error.why}", error.hint) from None

    def _include(self, doc: Document, keys: tuple[str, ...], value: object, including: tuple[str, ...]) -> None:
        for pattern in doc.strings(keys, value, f'{keys[-1]} = ["a", "b"]'):
            wild = bool(set(pattern) & _WILD)
            here = posixpath.dirname(doc.path)
            if wild:  # the directory's own name is no pattern
                here = "".join(f"[{char}]" if char in _WILD else char for char in here)
            wanted = posixpath.join(here, pattern)
            for path in sorted(self.find(wanted)) if wild else (wanted,):
                if posixpath.normpath(path) in including:
                    chain = " -> ".join((*including[including.index(posixpath.normpath(path)) :], path))
                    raise doc.error(keys, f"goes in a circle: {chain}", "take one of these includes out")
                if self.files >= _MOST_FILES or len(including) >= _DEEPEST:
                    limits = f"{_MOST_FILES} files, or more than {_DEEPEST} files deep"
                    raise doc.error(keys, f"leads to more than {limits}", "include fewer files")
                try:
                    text = _read(path, self.read)
                except ConfigError as error:
                    raise doc.error(keys, f"{path} {error.why}", "make it readable, or take it out") from None
                if text is None:
                    raise doc.error(keys, f"{path} does not exist", "write a pattern like conf.d/*.toml if it may not")
                self.file(text, path, including)

    def config(self, path: str) -> Config:
        groups: list[Group] = []
        owner: dict[str, str] = {}
        for name, table in self.groups.items():
            members = _members(name, table)
            for member in members:
                if member in owner:
                    again = "is named twice" if owner[member] == name else f"is in [groups.{owner[member]}] too"
                    hint = "a node belongs to one group; take it out of one place"
                    raise table.error(f"{quoted(member)} {again}", hint)
                owner[member] = name
            groups.append(Group(name, members, table.layer(f"{path} {_title(('groups', name))}")))
        if len(owner) > MOST_NODES:
            raise ConfigError(path, f"has {len(owner)} nodes in its groups, more than {MOST_NODES}", "lower a count")
        nodes = tuple((name, table.layer(f"{path} {_title(('nodes', name))}")) for name, table in self.nodes.items())
        return Config(path, self.defaults.layer(f"{path} [defaults]"), tuple(groups), nodes)


def _merge(
    doc: Document, keys: tuple[str, ...], said: Mapping[str, object], table: _Table, *, group: bool = False
) -> None:
    """Lay what a file says over what the files before it said."""
    known = (*_GROUP_KEYS, *_LAYER_KEYS) if group else _LAYER_KEYS
    typed: dict[str, object] = {}
    for key, value in said.items():
        if key in _GROUP_KEYS and not group:
            raise doc.error((*keys, key), "belongs to a group", "write it under a line [groups.NAME]")
        if key not in known:
            raise _unknown(doc, (*keys, key), known, "a setting", "settings")
        typed[key] = _typed(doc, (*keys, key), value)
    if "nodes" in typed and "count" in typed:
        raise doc.error((*keys, "count"), "stands beside 'nodes'", "keep the names or the count, not both")
    if "prefix" in typed and "count" not in typed:
        raise doc.error((*keys, "prefix"), "stands without 'count'", "it names counted nodes: add count = 3")
    if "nodes" in typed or "count" in typed:
        for key in _GROUP_KEYS:
            table.values.pop(key, None)
    for key, value in typed.items():
        table.values[key] = merge(SETTINGS[key], table.values.get(key), value) if key in SETTINGS else value
        table.origins[key] = f"{doc.path} {_title(keys)}"
    table.last = doc, keys


def _unknown(doc: Document, keys: tuple[str, ...], known: Iterable[str], what: str, table: str) -> ConfigError:
    """Build the error for a key that means nothing here, or only to another supervisor: see foreign.toml."""
    from multi.settings.presets import read_file

    path = posixpath.join(posixpath.dirname(__file__), "foreign.toml")
    hints = toml.read(read_file(path), path).values[table]
    plain = keys[-1].lower().replace("-", "").replace("_", "")
    if isinstance(hints, dict) and plain in hints:
        return doc.error(keys, f"{quoted(keys[-1])} is not {what}", str(hints[plain]))
    return doc.unknown(keys, known, what)


def _typed(doc: Document, keys: tuple[str, ...], value: object) -> object:
    match keys[-1]:
        case "nodes":
            names = doc.strings(keys, value, f'{keys[-1]} = ["a", "b"]')
            for name in names:
                _check_name(doc, keys, name, "nodes")
            return names
        case "count":
            return _count(doc, keys, value)
        case "prefix":
            prefix = doc.string(keys, value)
            _check_name(doc, keys, prefix, "nodes")
            return prefix
        case "options":
            return from_document(SETTINGS["append"], value, doc, keys)
        case name:
            return from_document(SETTINGS[name], value, doc, keys)


def _title(keys: tuple[str, ...]) -> str:
    return f"[{dotted(keys)}]"


def _subtable(doc: Document, table: Mapping[str, object], keys: tuple[str, ...]) -> dict[str, object]:
    return doc.table(keys, table.get(keys[-1], {}))


def _check_name(doc: Document, keys: tuple[str, ...], name: str, section: str) -> None:
    """Refuse what cannot be a file name or would read as something else on the command line."""
    word = "group" if section == "groups" else "node"
    bad = set(name) & set("/:,") or any(char.isspace() or not char.isprintable() for char in name)
    if not name or bad or name.startswith("-") or name.count("@") > (word == "node"):
        hint = "use letters, digits, - _ and . only" + (", and @HOST at its end" if word == "node" else "")
        raise doc.error(keys, f"{quoted(name)} cannot be the name of a {word}", hint)


def _count(doc: Document, keys: tuple[str, ...], value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:  # noqa: PLR2004 -- fits
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_NODES:
        raise doc.error(keys, "is not a number of nodes", f"write a whole number from 0 to {MOST_NODES}")
    return value


def _members(name: str, table: _Table) -> tuple[str, ...]:
    nodes, count = table.values.get("nodes"), table.values.get("count")
    if isinstance(nodes, tuple):
        return nodes
    if isinstance(count, int):
        prefix = table.values.get("prefix", name)
        return tuple(f"{prefix}{number}" for number in range(1, count + 1))
    raise table.error("has no nodes", 'add nodes = ["a", "b"], or count = 3')


def environment(environ: Mapping[str, str]) -> Layer:
    """``MULTI_UMASK``, ``MULTI_STOP_SCHEDULE`` and so on -> a layer. Raises `ConfigError`.

    An empty variable counts as unset. A repeatable setting takes shell-quoted words: ``MULTI_ENV='A=1 B="x y"'``.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        variable = f"MULTI_{name.upper()}"
        text = environ.get(variable)
        if not text:
            continue
        value: object = ()
        try:
            for word in split(text) if setting.repeatable else (text,):
                value = merge(setting, value, from_toml(setting, word, variable))
        except ValueError:
            raise ConfigError(variable, "has a quote that is not closed", "close it") from None
        values[name], origins[name] = value, variable
    return Layer("environment", MappingProxyType(values), MappingProxyType(origins))
