"""The configuration of supervisord. Pure."""

from __future__ import annotations

import re
import shlex

from multi.errors import ConfigError
from multi.importing.form import (
    HOST,
    Imported,
    Source,
    Table,
    is_true,
    name_of,
    number,
    schedule,
    settings_of,
    variable,
)
from multi.importing.ini import sections
from multi.importing.worker_command import as_worker
from multi.typed import TYPE_CHECKING
from multi.words.template import literal_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SERVER = ("supervisord", "supervisorctl", "unix_http_server", "inet_http_server", "rpcinterface")
_RESTART = {"true": "always", "unexpected": "on-failure", "false": "no"}
_STREAMS = {"/dev/fd/1": "/dev/stdout", "/proc/self/fd/1": "/dev/stdout", "/dev/fd/2": "/dev/stderr"}
# What is said by other keys, or is what multi does anyway.
_TAKEN_WORDS = """
    command directory user umask environment stdout_logfile stderr_logfile redirect_stderr startsecs autorestart
    exitcodes stopsignal stopwaitsecs stopasgroup killasgroup process_name numprocs numprocs_start autostart
    stdout_logfile_maxbytes stdout_logfile_backups stderr_logfile_maxbytes stderr_logfile_backups
"""
_TAKEN = frozenset(_TAKEN_WORDS.split())
_WHY = {
    "priority": "multi starts all nodes at once; 'after' says which must be ready before this one",
    "startretries": "restart_limit says how many ends in how many seconds are too many",
    "serverurl": "there is no server",
    "stdout_capture_maxbytes": "there are no events of the output",
    "stderr_capture_maxbytes": "there are no events of the output",
    "stdout_events_enabled": "there are no events of the output",
    "stderr_events_enabled": "there are no events of the output",
    "stdout_syslog": "run with systemd, or a log shipper, sends a log on",
    "stderr_syslog": "run with systemd, or a log shipper, sends a log on",
}


def imported(source: Source) -> Imported:
    """Programs are nodes, several processes of one are a group, and so is a group of programs."""
    found = sections(source.text, source.path)
    tables: list[Table] = []
    members: dict[str, list[str]] = {}
    remarks: list[str] = []
    common = found.get("supervisord", {})
    for title, values in found.items():
        kind, _, name = title.partition(":")
        if kind == "program":
            nodes = [*_processes(name, values, common, source)]
            members[name] = [node.name for node in nodes]
            tables += nodes
        elif kind in {"eventlistener", "fcgi-program"}:
            remarks.append(f"not imported, because multi has no such thing: [{title}]")
        elif kind == "include":
            remarks.append(f"[include] is not followed; name the files too: {values.get('files', '')}")
        elif kind in _SERVER:
            keys = [key for key in values if key not in {"environment", "umask"} or kind != "supervisord"]
            remarks += [f"of supervisord itself, and not needed: [{title}] {' '.join(keys)}".rstrip()]
        elif kind != "group":
            remarks.append(f"not known: [{title}]")
    if not members:
        raise ConfigError(source.path, "has no section [program:NAME]", "name the file that has the programs")
    groups = [*_groups(found, members, source)]
    return Imported(tables=(*groups, *tables), defaults={"preset": "exec"}, remarks=tuple(remarks))


def _groups(
    found: Mapping[str, Mapping[str, str]], members: Mapping[str, list[str]], source: Source
) -> Iterator[Table]:
    grouped: set[str] = set()
    for title, values in found.items():
        kind, _, name = title.partition(":")
        if kind != "group":
            continue
        programs = [each.strip() for each in values.get("programs", "").split(",") if each.strip()]
        unknown = [each for each in programs if each not in members]
        if unknown:
            raise ConfigError(
                source.path, f"[{title}] has {unknown[0]!r}, which is no program there", "name that file too"
            )
        grouped.update(programs)
        remarks = [_no_word(key) for key in values if key != "programs"]
        yield Table(name_of(name), {}, tuple(remarks), tuple(node for each in programs for node in members[each]))
    for name, nodes in members.items():
        if len(nodes) > 1 and name not in grouped:
            yield Table(name_of(name), {}, (), tuple(nodes))


def _processes(name: str, values: Mapping[str, str], common: Mapping[str, str], source: Source) -> Iterator[Table]:
    count, first = (int(number(values.get(key, default), key)) for key, default in _COUNTS.items())
    for each in range(first, first + count):
        known = {"program_name": name, "process_num": each, "group_name": name, "numprocs": count, "here": source.home}
        title = _filled(values.get("process_name", "%(program_name)s"), known, source)
        settings, remarks = _settings({**known, "process_name": title}, values, common, source)
        yield Table(name_of(title), settings, tuple(remarks))


_COUNTS = {"numprocs": "1", "numprocs_start": "0"}


def _settings(
    known: Mapping[str, object], values: Mapping[str, str], common: Mapping[str, str], source: Source
) -> tuple[dict[str, object], list[str]]:
    def said(key: str) -> str:
        return _filled(values.get(key, ""), known, source)

    if not said("command"):
        raise ConfigError(source.path, f"[program:{known['program_name']}] has no command", "write command = PROGRAM")
    try:
        settings = settings_of(shlex.split(said("command")))
    except ValueError as error:
        raise ConfigError(source.path, f"{said('command')!r}: {error}", "close the quote") from None
    remarks = [_no_word(key) for key in values if key not in _TAKEN]
    env = {
        **_environment(_filled(common.get("environment", ""), known, source), source),
        **_environment(said("environment"), source),
    }
    own = settings.pop("env", {})
    assert isinstance(own, dict)  # noqa: S101 -- for the type checker
    user, _, group = said("user").partition(":")
    umask = said("umask") or common.get("umask", "")
    signal, seconds = said("stopsignal") or "TERM", number(said("stopwaitsecs") or "10", "stopwaitsecs")
    settings |= {
        "workdir": literal_path(said("directory")) or None,
        "uid": user or None,
        "gid": group or None,
        "umask": umask or None,
        "env": {**env, **own},
        "logfile": _log(said("stdout_logfile")),
        "startsecs": number(said("startsecs"), "startsecs") if "startsecs" in values else None,
        "stop_schedule": schedule(signal, seconds),
        "restart": _RESTART.get((said("autorestart") or "unexpected").lower(), "always"),
    }
    if "exitcodes" in values:
        settings["exit_ok"] = [int(number(each, "exitcodes")) for each in said("exitcodes").split(",")]
    if "killasgroup" in values and not is_true(said("killasgroup")) and not is_true(said("stopasgroup")):
        settings["kill_mode"] = "process"
    settings, more = as_worker(settings)
    return settings, [*remarks, *more, *_of_values(values, said("stdout_logfile"), said("stderr_logfile"))]


def _of_values(values: Mapping[str, str], log: str, errors: str) -> Iterator[str]:
    """What the value of a key means that has a word here."""
    if is_true(values.get("stopasgroup", "")):
        yield "stopasgroup: multi signals the main process alone, and kills what is left of its tree (kill_mode)"
    if "autostart" in values and not is_true(values["autostart"]):
        value = values["autostart"]
        yield f"autostart={value}: 'multi apply' starts it; 'multi stopwait' stops it until somebody starts it"
    if errors not in {"", "AUTO", "NONE", log}:
        yield f"stderr_logfile {errors}: stdout and stderr go to one log here"
    for key in ("stdout_logfile_maxbytes", "stdout_logfile_backups"):
        if key in values and values[key].strip() not in {"0", "0MB"} and log not in {"NONE", ""}:
            yield f"{key}={values[key]}: logrotate limits the size of logs"


def _no_word(key: str) -> str:
    return f"{key}: {_WHY.get(key, 'multi has no word for it')}"


def _log(path: str) -> str | None:
    if path == "NONE":
        return "/dev/null"
    return None if path in {"", "AUTO"} else literal_path(_STREAMS.get(path, path))


def _environment(text: str, source: Source) -> dict[str, object]:
    """``KEY="value",OTHER=value``, split as supervisord does."""
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():\ufdd0\ufdd1"
    try:
        words = list(lexer)
    except ValueError as error:
        raise ConfigError(source.path, f"environment {text!r}: {error}", "close the quote") from None
    pairs = [words[at : at + 3] for at in range(0, len(words), 4)]
    if any(len(pair) != 3 or pair[1] != "=" for pair in pairs):  # noqa: PLR2004 -- a name, = and a value
        raise ConfigError(
            source.path, f"environment {text!r} is no list of KEY=value", 'write KEY="value",OTHER="value"'
        )
    return {key: value.strip("'\"") for key, _, value in pairs}


def _filled(text: str, known: Mapping[str, object], source: Source) -> str:
    """``%(program_name)s``, ``%(ENV_HOME)s``, ``%%``."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        key = found[1]
        if key.startswith("ENV_"):
            return variable(key.removeprefix("ENV_"))
        if key == "host_node_name":
            return HOST
        if key not in known:
            raise ConfigError(source.path, f"%({key})s is not known", "write what it stands for")
        try:
            return f"%({key}){found[2]}" % known
        except (TypeError, ValueError):
            raise ConfigError(
                source.path, f"{found[0]} is no format of {known[key]!r}", "write %(process_num)d"
            ) from None

    return re.sub(r"%%|%\((\w+)\)([-+ #0-9.]*[sdioxXeEfFgGcr])", one, text)
