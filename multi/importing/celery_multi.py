"""A ``celery multi start`` line, alone or in a script. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex

from multi.errors import ConfigError, MultiError, UsageError
from multi.importing import form
from multi.importing.form import ASSIGNMENT, MARKS, Imported, Source, Table, split, whole_path, without_empty
from multi.importing.shell import filled, logical_lines
from multi.importing.worker_command import by_its_python
from multi.settings.config import Config, Layer
from multi.settings.envfile import parse_env_file
from multi.settings.presets import load
from multi.settings.table import BY_FLAG
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace
from multi.words.grammar import Grammar, parse
from multi.words.names import Known, Scopes, names
from multi.words.template import literal, literal_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from multi.words.names import Name
    from multi.words.spec import Given, Spec

_STARTING = "start restart"  # of celery multi; the second only where nothing starts
_HERE = "this.host.invalid"  # the host of nodes that are named without one
_UNIT = re.compile(
    r"^\s*(Exec\w+|Environment|EnvironmentFile|User|Group|WorkingDirectory|UMask)=[-@+!:|]*(.*)", re.DOTALL
)
_UNIT_SETTINGS = {"User": "uid", "Group": "gid", "WorkingDirectory": "workdir", "UMask": "umask"}
_RANGE = re.compile(r"\d+-\d+", re.ASCII)
_ENDS = frozenset({"&&", "||", ";", "|", "&", ">", ">>", "2>&1", "2>", "<"})


@dataclass(frozen=True, slots=True)
class _Shell:
    """What is known where a line of a script begins: variables, what the workers get of them, and their settings."""

    values: dict[str, str]
    env: dict[str, object]
    said: dict[str, object]
    found: dict[tuple[str, ...], dict[str, object]]  # words of each start -> settings
    remarks: list[str]


def imported(source: Source) -> Imported:
    """The nodes of each line that starts some; of those that restart some, where none does."""
    for command in _STARTING.split():
        shell = _Shell({}, {}, {}, {}, [])
        for _, line in logical_lines(source.text):
            unit = _UNIT.match(line)
            if unit is None:
                _line(line, command, shell, source)
            elif unit[1].startswith("Exec"):
                _line(unit[2], command, shell, source)
            else:
                _of_unit(unit[1], unit[2].strip(), shell, source)
        if shell.found:
            made: list[Table] = []
            for words, said in shell.found.items():
                groups = sum(one.nodes is not None for one in made)  # a further one has a name of its own
                made += [
                    replace(one, name=f"{one.name}-{groups + 1}") if groups and one.nodes is not None else one
                    for one in tables(words, said, source.path)
                ]
            return Imported(tables=tuple(made), remarks=tuple(shell.remarks))
    raise ConfigError(source.path, "has no line with 'multi start'", "name the file that has it")


def _of_unit(key: str, value: str, shell: _Shell, source: Source) -> None:
    """What a unit of systemd says for all its commands."""
    if key in _UNIT_SETTINGS:
        shell.said[_UNIT_SETTINGS[key]] = literal_path(value) if key == "WorkingDirectory" else value
    elif key == "Environment":
        pairs = (word.partition("=") for word in split(value, f"{source.path}: {key}"))
        env = {name: text for name, equals, text in pairs if equals}
        shell.values.update(env)
        shell.env.update(env)
    elif (text := source.beside(value := value.removeprefix("-"))) is not None:
        shell.values.update(parse_env_file(text, value))
        shell.said["env_file"] = [*_list(shell.said.get("env_file", [])), literal_path(value)]


def _line(line: str, command: str, shell: _Shell, source: Source) -> None:
    """Take over what the commands of a line do for the workers."""
    if line.lstrip().startswith("#"):
        return
    try:
        words = shlex.split(filled(line, shell.values), comments=True)
    except ValueError as error:
        if re.search(rf"\bmulti\s+{command}\b", line):
            raise ConfigError(source.path, f"{line.strip()!r}: {error}", "close the quote") from None
        return
    while words:
        end = next((at for at, word in enumerate(words) if word in _ENDS or word.endswith(";")), len(words))
        one = [*words[:end], words[end][:-1]] if words[end:] and words[end] not in _ENDS else words[:end]
        _command(one, command, shell, source)
        words = words[end + 1 :]


def _command(words: list[str], command: str, shell: _Shell, source: Source) -> None:
    env: dict[str, object] = {}
    exports = words[:1] == ["export"]
    rest = words[1:] if exports else list(words)
    while rest and (found := ASSIGNMENT.fullmatch(rest[0])):
        env[found[1]] = found[2]
        rest = rest[1:]
    if not rest or exports:
        shell.values.update({key: str(value) for key, value in env.items()})
        if exports:
            shell.env.update(env)
            shell.env.update({key: shell.values[key] for key in rest if key in shell.values})
    elif rest[0] == "cd" and len(rest) > 1:
        shell.said["workdir"] = literal_path(source.home) if "(dirname" in rest[1] else whole_path(rest[1], source.home)
    elif rest[0] in {"source", "."} and len(rest) > 1:
        directory, _, name = rest[1].rpartition("/")
        if name == "activate":
            shell.said["programs"] = posixpath.join(str(shell.said.get("workdir") or source.home), directory)
        else:
            shell.remarks.append(f"not read: {rest[1]}")
    elif "-c" in rest[:-1] and rest[0].rpartition("/")[2] in {"sh", "bash", "su", "runuser", "sudo"}:
        user = next((word for word in rest[1:] if re.fullmatch(r"[a-z_][\w-]*", word)), None)
        if user and rest[0].rpartition("/")[2] in {"su", "runuser"}:
            shell = replace(shell, env=dict(shell.env), said={**shell.said, "uid": user})
        _line(rest[rest.index("-c") + 1], command, shell, source)
    else:
        _start(rest, env, command, shell, source)


def _start(words: Sequence[str], env: Mapping[str, object], command: str, shell: _Shell, source: Source) -> None:
    """Take over the nodes, where the command is one that starts some."""
    at = next((index for index, word in enumerate(words[:-1]) if word.rpartition("/")[2] == "multi"), None)
    if at is None and any(word.rpartition("/")[2] == "celery" for word in words):
        shell.remarks.append(f"not imported, because it is no celery multi: {' '.join(words)}")
    if at is None or words[at + 1] != command:
        return
    if MARKS & set(" ".join(words)):
        names = re.findall("\ufdd0(.*?)\ufdd1", " ".join(words))
        why = f"has variables of the shell, whose values are not known here: {' '.join(names)}"
        raise ConfigError(source.path, why, "write the values into the line, or import the file that sets them")
    if (made := next((word for word in words if "$(" in word or "`" in word), None)) is not None:
        raise ConfigError(source.path, f"{made!r} is made by a command, which is not run here", "write its value there")
    before = list(words[:at])
    said = dict(shell.said)
    programs = said.pop("programs", None)
    while before[:1] and before[0] in {"exec", "nohup", "sudo", "-E", "-H", "-n", "-i", "-u"}:
        if before[0] == "-u" and len(before) > 1:
            said["uid"] = before.pop(1)
        before = before[1:]
    program = next((index for index, word in enumerate(before) if word.rpartition("/")[2] == "celery"), None)
    end = 0 if program is None else program + 1
    own = form.settings_of(before[:end])
    said |= {"env": form.over({**shell.env, **env}, own, "env")}
    cmd, leading = before[end - len(_list(own.pop("cmd"))) : end], before[end:] if end else []
    if programs and cmd in ([], ["celery"]):
        cmd = [f"{programs}/celery"]
    said |= {**own, **by_its_python(cmd, "worker", source)}
    shell.found.setdefault((*leading, *words[at + 2 :]), said)


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
        raise ConfigError(path, str(error).replace(f"@{_HERE}", ""), "correct it there first") from None
    if not found:
        raise ConfigError(path, "names no node", "add a name, or a number of nodes")
    common = {
        **without_empty(said),
        **_settings(one for where, one in settings if where is None),
        "options": [word for where, one in given if where is None for word in one.typed(one.value)],
        "append": [literal(word) for word in spec.passthrough],
    }
    nodes: list[Table] = []
    for position, name in enumerate(found):
        of_node = _settings(one for where, one in settings if where is not None and position in where)
        own = [one for where, one in given if where is not None and position in where]
        last = {grammar.key(one.name): one.scope for one in own}
        options = [word for one in own if last[grammar.key(one.name)] == one.scope for word in one.typed(one.value)]
        nodes.append(Table(name.full.removesuffix(f"@{_HERE}"), {**of_node, "options": options}))
    remarks = tuple(warning.replace(f"@{_HERE}", "") for warning in (*scopes.warnings, *_ranges(spec, found, scopes)))
    if len(nodes) == 1:
        (node,) = nodes
        both = [*_list(common["options"]), *_list(node.settings["options"])]
        return [Table(node.name, {**common, **node.settings, "options": both}, remarks)]
    said_of = [node for node in nodes if without_empty(node.settings)]
    return [Table("workers", common, remarks, tuple(node.name for node in nodes)), *said_of]


def _ranges(spec: Spec, found: Sequence[Name], scopes: Scopes) -> Iterator[str]:
    """Where an option is for a range of nodes, which celery multi knows only where they are counted."""
    words = {name.word for name in found}
    if len(spec.names) == 1 and spec.names[0].isdigit():
        return
    for one in (*spec.options, *spec.settings):
        for part in (one.scope or "").split(","):
            if _RANGE.fullmatch(part) and part not in words:
                whose = " ".join(found[at].word for at in sorted(scopes.find(replace(one, scope=part)) or ()))
                if whose:
                    why = "celery multi gave it to none, because they have names"
                    yield f"{one.name}:{part} is for {whose} here; {why}"


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
