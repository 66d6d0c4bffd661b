"""A Procfile -> the configuration that it stands for: as foreman and honcho read it.

A line ``NAME: COMMAND`` is a node, any other line is passed over. A shell runs the command in the directory of the
file, with the variables of ``.env`` there, and with PORT: the base, 5000 unless somebody says another, and a hundred
more for each line.
"""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Mapping

from multi.errors import ConfigError
from multi.settings.config import Config, Group, Layer
from multi.settings.envfile import parse_env_file
from multi.settings.table import SETTINGS
from multi.settings.toml import decoded
from multi.settings.values import from_toml
from multi.text import nearest, quoted
from multi.value import dataclass

SCHEME = "procfile"  # before the path of a Procfile that stands where a configuration is named
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_FIRST_PORT, _PORTS_APART = 5000, 100
_STOP = "TERM/5/KILL/5"  # foreman and honcho wait for five seconds, too
_MOST = 1000  # nodes of one line
# What a shell does itself. Before any other command an exec saves the shell, which would stand between it and signals.
_BUILTIN_WORDS = """
    ! ( . : [ [[ alias bg break case cd command continue eval exec exit export false fg for function if read readonly
    return select set shift source test time times trap true type ulimit umask unset until wait while {
"""
BUILTIN = frozenset(_BUILTIN_WORDS.split())
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# The shell stays, and hands each signal on to the process group, which is the node's own.
_FORWARDING = """for s in TERM INT QUIT HUP; do trap "trap : $s; kill -s $s 0" $s; done
( {command}
) & c=$!; while :; do wait $c; s=$?; kill -0 $c 2>/dev/null || exit $s; done"""


@dataclass(frozen=True, slots=True)
class Named:
    """A Procfile that stands where a configuration is named, and how many nodes some of its lines are to have."""

    path: str
    formation: str = ""


def named(word: str | None) -> Named | None:
    """``procfile:PATH``, or ``procfile+web=2,worker=3:PATH``; None for any other word."""
    scheme, colon, path = (word or "").partition(":")
    kind, _, formation = scheme.partition("+")
    return Named(path, formation) if colon and kind == SCHEME else None


def word_of(path: str, formation: str) -> str:
    """The inverse of `named`. Raises `ConfigError`."""
    if ":" in formation:
        raise ConfigError(
            f"--formation={formation}", "is no list of counts", "write it like --formation=web=2,worker=3"
        )
    return f"{SCHEME}+{formation}:{path}" if formation else f"{SCHEME}:{path}"


def read(
    given: Named, cwd: str, environ: Mapping[str, str], load: Callable[[str], bytes], rundir: str
) -> tuple[str, Config]:
    """The path of the file, and what it says. `rundir` is where run directories lie. Raises `ConfigError`."""
    if not given.path or not (cwd or given.path.startswith("/")):
        raise ConfigError(f"--procfile {quoted(given.path, 200)}", "is not the path of a file", "write the whole path")
    path = posixpath.normpath(posixpath.join(cwd, given.path))
    try:
        text = decoded(load(path), path)
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(f"--procfile {quoted(given.path, 200)}", why, "name the Procfile") from None
    home = posixpath.dirname(path)
    env_file = f"{home}/.env"
    try:
        variables = dict(parse_env_file(decoded(load(env_file), env_file), env_file))
        env_files: tuple[str, ...] = (env_file,)
    except (FileNotFoundError, NotADirectoryError):
        variables, env_files = {}, ()
    except OSError as error:
        raise ConfigError(env_file, f"cannot be read: {error.strerror or error}", "make it readable") from None
    base = _port(variables.get("PORT") or environ.get("PORT") or str(_FIRST_PORT))
    project = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', posixpath.basename(home)) or 'root'}-{zlib.crc32(path.encode()):08x}"
    defaults = {
        "preset": "exec",
        "workdir": _literal(home),
        "pidfile": f"{_literal(rundir)}/{project}/%n.pid",
        "stop_schedule": _STOP,
        "env_file": [_literal(each) for each in env_files],
    }
    lines = dict(command_lines(text, path))
    if not lines:
        raise ConfigError(path, "has no line NAME: COMMAND", "write one, like web: python app.py")
    counts = _counts(given.formation, lines)
    nodes: list[tuple[str, Layer]] = []
    groups: list[Group] = []
    for index, (name, (number, command)) in enumerate(lines.items()):
        names = [name] if counts[name] == 1 else [f"{name}.{each}" for each in range(1, counts[name] + 1)]
        where = f"{path}:{number}"
        if names and max(counts.values()) > 1:  # to name them all; and groups come before nodes, so all are in one
            groups.append(Group(name, tuple(names), Layer(where)))
        for each, full in enumerate(names):
            port = str(base + index * _PORTS_APART + each)
            nodes.append((full, _layer({"cmd": ["/bin/sh", "-c", script(command)], "env": {"PORT": port}}, where)))
    return path, Config(path, _layer(defaults, path), tuple(groups), tuple(nodes))


def _layer(values: Mapping[str, object], where: str) -> Layer:
    return Layer(where, {key: from_toml(SETTINGS[key], value, where) for key, value in values.items()})


def _literal(path: str) -> str:
    """As a template of a path, which is filled in twice."""
    return path.replace("%", "%%%%")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise ConfigError(f"PORT={text}", "is not the number of a port", "write it like PORT=5000")
    return int(text)


def command_lines(text: str, path: str) -> Iterator[tuple[str, tuple[int, str]]]:
    """Name, number of the line and command."""
    seen: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            continue
        name, command = found.groups()
        if name in seen:
            raise ConfigError(f"{path}:{number}", f"{name!r} is in line {seen[name]} too", "give it another name")
        seen[name] = number
        yield name, (number, command)


def _counts(formation: str, lines: Mapping[str, object]) -> dict[str, int]:
    """How many nodes each line has. ``all=2`` is for those that nothing else is said of."""
    said: dict[str, int] = {}
    for part in formation.split(",") if formation else ():
        name, _, count = part.strip().partition("=")
        if not (count.isascii() and count.isdigit() and int(count) <= _MOST):
            why = "is not a name and a number"
            raise ConfigError(f"--formation={formation}", f"{quoted(part)} {why}", "write it like --formation=web=2")
        if name not in lines and name != "all":
            raise ConfigError(f"--formation={formation}", f"the Procfile has no {name!r}", nearest(name, lines))
        said[name] = int(count)
    return {name: said.get(name, said.get("all", 1)) for name in lines}


def script(command: str) -> str:
    """What the shell is told, so that a signal to the main process reaches what the command runs."""
    import shlex

    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that is not closed, which the shell tells
        words = []
    operators = any(set(word) <= set(lexer.punctuation_chars) - {"<", ">"} for word in words)
    if not words or operators or words[0] in BUILTIN or "`" in command or "$(" in command:
        script = command if words[:1] == ["exec"] and not operators else _FORWARDING.replace("{command}", command)
    else:
        script = f"exec env {command}" if _ASSIGNMENT.match(command) else f"exec {command}"
    return script.replace("%", "%%")
