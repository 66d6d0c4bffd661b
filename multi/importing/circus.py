"""The configuration of circus. Pure."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatchcase

from multi.errors import ConfigError
from multi.importing import form
from multi.importing.form import Imported, Source, Table
from multi.importing.ini import sections
from multi.importing.worker_command import as_worker
from multi.settings.procfile import BUILTIN
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace
from multi.words.template import literal, literal_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


_INHERITS = (
    "copy_env: circus gives a program without it nothing but what [env] says; a node of multi has the environment of "
    "whoever starts it, too"
)
_HERE = "circus runs what has no working_dir where circusd was called; here it is the directory of the file"


@dataclass(frozen=True, slots=True)
class _Watcher:
    """A watcher: its name, its values, its variables, the directory of the file, and which of its workers is meant."""

    name: str
    values: Mapping[str, str]
    env: Mapping[str, str]
    home: str
    worker: int | None = None

    def filled(self, text: str) -> str:
        """``$WID``, ``$(circus.wid)``, ``$(circus.env.HOME)``: a variable of the watcher, or else of circusd."""
        env = {key.lower(): value for key, value in self.env.items()}

        def one(found: re.Match[str]) -> str:
            key = (found[1] or found[2] or found[3]).lower().removeprefix("circus.")
            if key == "wid" and self.worker is not None:
                return str(self.worker)
            if key.startswith("env."):
                name = key.removeprefix("env.")
                return env[name] if name in env else form.variable(name.upper())
            return {"name": self.name, "hostname": form.HOST}.get(key, found[0])

        return re.sub(r"\$\(([\w.]+)\)|\(\(([\w.]+)\)\)|\$(WID)\b", one, text, flags=re.IGNORECASE)

    def said(self, key: str, default: str = "") -> str:
        """The value of a key."""
        return self.filled(self.values.get(key, default)).strip()


def _read(source: Source, remarks: list[str]) -> dict[str, dict[str, str]]:
    """The sections of the file and of what it includes; `remarks` says what that was."""
    found = {title: dict(values) for title, values in sections(source.text, source.path, (";",)).items()}
    patterns = found.get("circus", {}).get("include", "").split()
    patterns += [f"{each}/*.ini" for each in found.get("circus", {}).get("include_dir", "").split()]
    for pattern in patterns:
        others = source.matching(pattern)
        for other in others:
            for title, values in sections(other.text, other.path, (";",)).items():
                found.setdefault(title, {}).update(values)
        remarks.append(f"include {pattern}: {' '.join(other.path for other in others) or 'no file matches'}")
    return found


def imported(source: Source) -> Imported:
    """A watcher is a node, several processes of one are a group."""
    remarks: list[str] = []
    found = _read(source, remarks)
    tables: list[Table] = []
    for title, values in found.items():
        kind, _, name = title.partition(":")
        if kind == "watcher":
            with form.placed(f"{source.path}: [{title}]"):
                made = [*_tables(_Watcher(name, values, _env(name, found), source.home), source)]
            tables += made
            if not made:
                remarks.append(f"not imported, because numprocesses = 0 starts no process: [{title}]")
        elif kind == "circus":
            remarks.append(f"of circus itself, and not needed: {' '.join(key for key in values if key != 'umask')}")
        elif kind in {"socket", "plugin"}:
            keys = ", ".join(f"{key} = {value}" for key, value in values.items())
            remarks.append(f"not imported, because multi has no such thing: [{title}] {keys}".rstrip())
        elif kind != "env":
            remarks.append(f"not known: [{title}]")
    if not tables:
        why = "has no [watcher:NAME] that starts a process"
        raise ConfigError(source.path, why, "name the file that has the watchers")
    watchers = [values for title, values in found.items() if title.startswith("watcher:")]
    if not all(form.is_true(values.get("copy_env", "")) for values in watchers):
        remarks.append(_INHERITS)
    defaults: dict[str, object] = {"preset": "exec", "umask": found.get("circus", {}).get("umask")}
    if not all(values.get("working_dir") for values in watchers):
        remarks.append(_HERE)
        defaults["workdir"] = literal_path(source.home)
    return Imported(tables=tuple(tables), defaults=defaults, remarks=tuple(remarks))


def _env(name: str, found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What ``[env]`` says for all, and ``[env:a,b*]`` for some."""
    env: dict[str, str] = {}
    for title, values in sorted(found.items(), key=lambda one: one[0] != "env"):
        kind, _, names = title.partition(":")
        if kind == "env" and (not names or any(fnmatchcase(name, each.strip()) for each in names.split(","))):
            env |= values
    nobody = _Watcher(name, {}, {}, "")
    of_circusd = re.compile(r"\$([A-Z][A-Z0-9_]*)")
    return {
        key: of_circusd.sub(lambda found: form.variable(found[1]), nobody.filled(value)) for key, value in env.items()
    }


def _tables(watcher: _Watcher, source: Source) -> Iterator[Table]:
    several = form.count(watcher.said("numprocesses", "1"), "numprocesses")
    texts = " ".join((watcher.said("cmd"), watcher.said("args"), *watcher.env.values()))
    if not several:
        return
    title = form.name_of(watcher.name)
    alike, more = _settings(replace(watcher, worker=1), source)
    remarks = (*_remarks(watcher),)
    if several == 1 or form.is_true(watcher.said("singleton")):
        yield Table(title, alike, (*remarks, *more))
        return
    nodes = tuple(f"{title}-{each}" for each in range(1, several + 1))
    differ = bool(re.search(r"wid", texts, re.IGNORECASE))
    yield Table(title, {} if differ else alike, remarks if differ else (*remarks, *more), nodes)
    for each, node in enumerate(nodes, start=1):
        if differ:
            yield Table(node, *_settings(replace(watcher, worker=each), source))


def _settings(watcher: _Watcher, source: Source) -> tuple[dict[str, object], tuple[str, ...]]:
    if not watcher.values.get("cmd"):
        raise ConfigError(source.path, f"[watcher:{watcher.name}] has no cmd", "write cmd = PROGRAM")
    words = form.split(f"{watcher.said('cmd')} {watcher.said('args')}".strip(), "cmd")
    settings = form.settings_of(words)
    if form.is_true(watcher.said("shell")) and set(words[:1]) & BUILTIN - {"exec"}:  # else its shell only executes it
        settings = {"cmd": ["/bin/sh", "-c", literal(shlex.join(words))]}
    variables = form.over({key: watcher.filled(value) for key, value in watcher.env.items()}, settings, "env")
    if watcher.values.get("virtualenv"):
        programs = f"{watcher.said('virtualenv')}/bin"
        variables["PATH"] = f"{programs}:{variables.get('PATH', form.variable('PATH'))}"
    log = watcher.said("stdout_stream.filename") or watcher.said("stderr_stream.filename")
    seconds = form.number(watcher.said("graceful_timeout", "30"), "graceful_timeout")
    age = watcher.said("max_age", "0")
    limits = {key.removeprefix("rlimit_").upper(): watcher.said(key) for key in watcher.values if key[:7] == "rlimit_"}
    settings |= {
        "workdir": form.whole_path(watcher.said("working_dir"), watcher.home) or None,
        "uid": watcher.said("uid") or None,
        "gid": watcher.said("gid") or None,
        "env": variables,
        "rlimit": form.over({key: value or "unlimited" for key, value in limits.items()}, settings, "rlimit"),
        "logfile": form.whole_path(log, watcher.home) or None,
        "stop_schedule": form.schedule(watcher.said("stop_signal", "TERM"), seconds),
        "restart": "always" if form.is_true(watcher.said("respawn", "true")) else "no",
        "max_age": None if age == "0" else f"{form.number(age, 'max_age'):g}",
    }
    return as_worker(settings)


def _remarks(watcher: _Watcher) -> Iterator[str]:
    values = watcher.values
    for key, value in values.items():
        if key.startswith("hooks."):
            yield f"{key} = {value}: the hooks of multi are failed, recovered, gave_up and unhealthy"
        elif key.startswith(("stdout_stream.", "stderr_stream.")):
            if key.endswith(".class") and not value.endswith("FileStream"):
                yield f"{key} = {value}: logfile says where the output goes"
            elif not key.endswith((".class", ".filename")):
                yield f"{key} = {value}: logrotate limits the size of logs, and the worker writes their times"
        elif key not in _TAKEN and not key.startswith("rlimit_"):
            yield form.no_word(key, value, _WHY)
    if not form.is_true(values.get("autostart", "true")):
        yield f"autostart = false: {form.LATER}"
    yield from (f"{key} = true: {why}" for key, why in _IF_TRUE.items() if form.is_true(values.get(key, "")))
    log, errors = (watcher.said(f"{stream}_stream.filename") for stream in ("stdout", "stderr"))
    if log and errors and log != errors:
        yield f"stderr_stream.filename = {errors}: {form.ONE_LOG}"
    if "circus.sockets." in f"{values.get('cmd')} {values.get('args')}":
        yield "$(circus.sockets.NAME): multi hands no socket on; write the address that the program is to listen at"


_IF_TRUE = {
    "send_hup": "'multi reload' sends HUP",
    "stop_children": "multi signals the main process alone, and kills what is left of its tree",
    "shell": "circus quotes each word for the shell, so it expands nothing; the program runs without one",
}
