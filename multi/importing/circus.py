"""The configuration of circus. Pure."""

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
    literal,
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

_SIGNALS = {"1": "HUP", "2": "INT", "3": "QUIT", "9": "KILL", "10": "USR1", "12": "USR2", "15": "TERM"}
_TAKEN_WORDS = """
    cmd args numprocesses working_dir uid gid copy_env copy_path virtualenv stop_signal graceful_timeout
    stop_children respawn autostart singleton max_age shell send_hup virtualenv_py_ver close_child_stdin
    close_child_stdout close_child_stderr
"""
_TAKEN = frozenset(_TAKEN_WORDS.split())
_WHY = {
    "priority": "'after' says which nodes must be ready before this one",
    "warmup_delay": "'multi restart --rolling' takes node by node",
    "max_retry": "restart_limit says how many ends in how many seconds are too many",
    "max_age_variance": "max_age is spread by a tenth",
    "use_sockets": "the worker binds its own sockets; several of one port need SO_REUSEPORT",
    "stdin_socket": "the worker binds its own sockets",
    "on_demand": "systemd starts on demand",
}


def imported(source: Source) -> Imported:
    """A watcher is a node, several processes of one are a group."""
    found = sections(source.text, source.path, ("#", ";"))
    tables: list[Table] = []
    remarks: list[str] = []
    for title, values in found.items():
        kind, _, name = title.partition(":")
        if kind == "watcher":
            tables += _tables(name, values, _env(name, found), source)
        elif kind == "circus":
            remarks.append(f"of circus itself, and not needed: {' '.join(values)}")
        elif kind in {"socket", "plugin"}:
            remarks.append(f"not imported, because multi has no such thing: [{title}]")
        elif kind != "env":
            remarks.append(f"not known: [{title}]")
    if not tables:
        raise ConfigError(source.path, "has no section [watcher:NAME]", "name the file that has the watchers")
    return Imported(tables=tuple(tables), defaults={"preset": "exec"}, remarks=tuple(remarks))


def _env(name: str, found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What ``[env]`` says for all, and ``[env:a,b*]`` for some."""
    env: dict[str, str] = {}
    for title, values in found.items():
        kind, _, names = title.partition(":")
        patterns = [each.strip().replace(".", r"\.").replace("*", ".*").replace("?", ".") for each in names.split(",")]
        if kind == "env" and (not names or any(re.fullmatch(each, name) for each in patterns)):
            env |= {key: _filled(value, name, None) for key, value in values.items()}
    return env


def _tables(name: str, values: Mapping[str, str], env: Mapping[str, str], source: Source) -> Iterator[Table]:
    count = int(number(values.get("numprocesses", "1"), "numprocesses"))
    texts = " ".join((values.get("cmd", ""), values.get("args", ""), *env.values()))
    remarks = tuple(_remarks(values))
    title = name_of(name)
    if count == 1 or is_true(values.get("singleton", "")):
        yield Table(title, _settings(name, values, env, source, 1), remarks)
        return
    nodes = tuple(f"{title}-{each}" for each in range(1, count + 1))
    alike = _settings(name, values, env, source, 1)
    differ = bool(re.search(r"wid", texts, re.IGNORECASE))
    yield Table(title, {} if differ else alike, remarks, nodes)
    for each, node in enumerate(nodes, start=1):
        if differ:
            yield Table(node, _settings(name, values, env, source, each))


def _settings(
    name: str, values: Mapping[str, str], env: Mapping[str, str], source: Source, worker: int
) -> dict[str, object]:
    if not values.get("cmd"):
        raise ConfigError(source.path, f"[watcher:{name}] has no cmd", "write cmd = PROGRAM")
    command = _filled(f"{values['cmd']} {values.get('args', '')}".strip(), name, worker)
    if is_true(values.get("shell", "")):
        settings: dict[str, object] = {"cmd": ["/bin/sh", "-c", literal(command)]}
    else:
        try:
            settings = settings_of(shlex.split(command))
        except ValueError as error:
            raise ConfigError(source.path, f"{command!r}: {error}", "close the quote") from None
    own = settings.pop("env", {})
    assert isinstance(own, dict)  # noqa: S101 -- for the type checker
    variables = {key: _filled(value, name, worker) for key, value in env.items()} | own
    if values.get("virtualenv"):
        variables.setdefault("PATH", f"{values['virtualenv']}/bin:{variable('PATH')}")
    signal = values.get("stop_signal", "TERM").upper().removeprefix("SIG")
    log = values.get("stdout_stream.filename") or values.get("stderr_stream.filename")
    directory = _filled(values.get("working_dir", ""), name, worker)
    settings |= {
        "workdir": literal_path(directory) or None,
        "uid": values.get("uid"),
        "gid": values.get("gid"),
        "env": variables,
        "rlimit": {
            key.removeprefix("rlimit_").upper(): value for key, value in values.items() if key.startswith("rlimit_")
        },
        "logfile": literal_path(_filled(log, name, worker)) if log else None,
        "stop_schedule": schedule(
            _SIGNALS.get(signal, signal), number(values.get("graceful_timeout", "30"), "graceful_timeout")
        ),
        "restart": "no" if "respawn" in values and not is_true(values["respawn"]) else "always",
        "max_age": f"{number(values['max_age'], 'max_age'):g}" if values.get("max_age", "0") != "0" else None,
    }
    return as_worker(settings)[0]


def _remarks(values: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        if key.startswith("hooks."):
            yield f"{key}: the hooks of multi are failed, recovered, gave_up and unhealthy"
        elif key.startswith(("stdout_stream.", "stderr_stream.")):
            if not key.endswith((".class", ".filename")):
                yield f"{key}: logrotate limits the size of logs, and the worker writes their times"
        elif key not in _TAKEN and not key.startswith("rlimit_"):
            yield f"{key}: {_WHY.get(key, 'multi has no word for it')}"
        elif key == "copy_env" and not is_true(value):
            yield "copy_env is not set: a node of multi inherits the environment of whoever starts it"
    if "autostart" in values and not is_true(values["autostart"]):
        yield "autostart = false: 'multi apply' starts it; 'multi stopwait' stops it until somebody starts it"
    if is_true(values.get("send_hup", "")):
        yield "send_hup: 'multi reload' sends HUP"


def _filled(text: str, name: str, worker: int | None) -> str:
    """``$WID``, ``$(circus.wid)``, ``$(circus.env.HOME)``."""

    def one(found: re.Match[str]) -> str:
        key = (found[1] or found[2] or found[3]).lower()
        if key in {"wid", "circus.wid"} and worker is not None:
            return str(worker)
        if key.startswith("circus.env."):
            return variable((found[1] or found[2])[len("circus.env.") :].upper())
        return {"circus.name": name, "circus.hostname": HOST}.get(key, found[0])

    return re.sub(r"\$\(([\w.]+)\)|\(\(([\w.]+)\)\)|\$(WID)\b", one, text, flags=re.IGNORECASE)
