"""A ``celery multi start`` line, alone or in a script. Pure."""

from __future__ import annotations

import re
import shlex

from multi.errors import ConfigError, MultiError, UsageError
from multi.importing.form import Imported, Source, Table, literal
from multi.importing.shell import logical_lines
from multi.importing.worker_command import words_of
from multi.settings.config import Config, Layer
from multi.settings.presets import load
from multi.settings.table import BY_FLAG
from multi.typed import TYPE_CHECKING
from multi.words.grammar import Grammar, parse
from multi.words.names import Known, Scopes, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from multi.words.spec import Given

_HERE = "this.host.invalid"  # the host of nodes that are named without one
_START = re.compile(r"\bmulti\s+(?:start|restart)\b")
_UNIT = re.compile(r"^\s*Exec\w+=[-@+!:|]*")  # of systemd
_OPERATORS = frozenset({"&&", "||", ";", "|", "&", ">", ">>", "2>&1", "2>", "<"})


def imported(source: Source) -> Imported:
    """The first line that starts nodes."""
    for line in logical_lines(source.text):
        if _START.search(line) and not line.lstrip().startswith("#"):
            return Imported(tables=tuple(_line(line, source)))
    raise ConfigError(source.path, "has no line with 'multi start'", "name the file that has it")


def _line(line: str, source: Source) -> list[Table]:
    if "$" in line:
        why = "has variables of the shell, whose values are not known here"
        raise ConfigError(source.path, why, "write the values into the line, or import the file that sets them")
    try:
        words = shlex.split(_UNIT.sub("", line), comments=True)
    except ValueError as error:
        raise ConfigError(source.path, f"{line.strip()!r}: {error}", "close the quote") from None
    at = next((index for index, word in enumerate(words[:-1]) if word.rpartition("/")[2] == "multi"), None)
    if at is None:
        raise ConfigError(source.path, f"{line.strip()!r} has no word 'multi'", "write the line by itself into a file")
    after = words[at + 2 :]
    end = next((index for index, word in enumerate(after) if word in _OPERATORS), len(after))
    env: dict[str, object] = {}
    before = words[:at]
    while before and (found := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", before[0])):
        env[found[1]] = found[2]
        before = before[1:]
    program = next((index for index, word in enumerate(before) if word.rpartition("/")[2] == "celery"), None)
    leading = [] if program is None else before[program + 1 :]
    cmd = [] if program is None or before[program] == "celery" else [before[program], "worker"]
    said: dict[str, object] = {"cmd": [literal(word) for word in cmd], "env": env}
    return tables([*leading, *after[:end]], said, source.path)


def tables(words: Sequence[str], said: Mapping[str, object], path: str) -> list[Table]:
    """The nodes of such words: a group with what is said for all, and nodes with what is said for some."""
    grammar = Grammar(load("celery"))
    try:
        spec = parse(words, grammar)
        found = names(spec, Known(spec, Config(None, Layer("", {}), (), ()), _HERE))
        scopes = Scopes(found, _HERE, strict=False)
        given = [(scopes.find(one), one) for one in spec.options]
        settings = [(scopes.find(one), one) for one in spec.settings]
    except MultiError as error:
        raise ConfigError(path, str(error), "correct it there first") from None
    if not found:
        raise ConfigError(path, "names no node", "add a name, or a number of nodes")
    common = {
        **{name: value for name, value in said.items() if value not in ([], {}, None)},
        **_settings(one for where, one in settings if where is None),
        "options": [word for where, one in given if where is None for word in words_of(one)],
        "append": [literal(word) for word in spec.passthrough],
    }
    nodes: list[Table] = []
    for position, name in enumerate(found):
        last = {grammar.key(one.name): one.scope for where, one in given if where is not None and position in where}
        own = [
            one
            for where, one in given
            if where is not None and position in where and last[grammar.key(one.name)] == one.scope
        ]
        of_node = _settings(one for where, one in settings if where is not None and position in where)
        nodes.append(
            Table(
                name.full.removesuffix(f"@{_HERE}"),
                {**of_node, "options": [word for one in own for word in words_of(one)]},
            )
        )
    remarks = tuple(scopes.warnings)
    if len(nodes) == 1:
        (node,) = nodes
        options = [*_list(common["options"]), *_list(node.settings["options"])]
        return [Table(node.name, {**common, **node.settings, "options": options}, remarks)]
    said_of = [node for node in nodes if any(value not in ([], {}, None) for value in node.settings.values())]
    return [Table("workers", common, remarks, tuple(node.name for node in nodes)), *said_of]


def _list(value: object) -> list[object]:
    assert isinstance(value, list)  # noqa: S101 -- for the type checker
    return value


def _settings(given: Iterable[Given]) -> dict[str, object]:
    found: dict[str, object] = {}
    for one in given:
        setting = BY_FLAG[one.name]
        if not setting.repeatable:
            found[setting.name] = one.value
            continue
        many = found.setdefault(setting.name, [] if setting.kind == "paths" else {})
        if isinstance(many, list):
            many.append(one.value)
        elif isinstance(many, dict):
            key, equals, value = (one.value or "").partition("=")
            if not equals and not key.endswith("-"):
                raise UsageError(one.name, "needs KEY=VALUE", "correct it there first")
            many[key if equals else key[:-1]] = value if equals else False
    return found
