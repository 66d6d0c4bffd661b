"""An ecosystem file of pm2, where it is JSON. Pure."""

from __future__ import annotations

import json
import re
import shlex

from multi.errors import ConfigError
from multi.importing.form import Imported, Source, Table, literal, name_of, number, schedule
from multi.typed import TYPE_CHECKING
from multi.words.template import literal_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INTERPRETERS = {
    "js": "node", "cjs": "node", "mjs": "node", "ts": "ts-node", "py": "python3", "rb": "ruby", "pl": "perl",
    "php": "php", "sh": "bash", "coffee": "coffee",
}  # fmt: skip
_TAKEN_WORDS = """
    name script args interpreter interpreter_args node_args exec_interpreter cwd instances env error_file
    out_file log_file output error log max_memory_restart kill_timeout autorestart stop_exit_codes min_uptime
    restart_delay uid gid merge_logs exec_mode combine_logs pid_file
"""
_TAKEN = frozenset(_TAKEN_WORDS.split())
_WHY = {
    "watch": "'multi run --restart-on-change' restarts on a change",
    "ignore_watch": "'multi run --restart-on-change' restarts on a change",
    "max_restarts": "restart_limit says how many ends in how many seconds are too many",
    "exp_backoff_restart_delay": "restart_delay doubles with each end anyway",
    "cron_restart": "let cron run 'multi restart'",
    "wait_ready": 'ready = "notify" (sd_notify), "tcp:PORT" or "http:PORT/PATH" is waited for',
    "listen_timeout": "ready_timeout is for the proof in ready",
    "log_date_format": "the worker writes the times of its log",
    "time": "the worker writes the times of its log",
}
_SIZE = re.compile(r"(\d+)\s*([KMG]?)B?", re.IGNORECASE)


def imported(source: Source) -> Imported:
    """An app is a node, several instances of one are a group."""
    if source.path.endswith((".js", ".cjs", ".mjs")) or not source.text.lstrip().startswith(("{", "[")):
        made = "node -e \"console.log(JSON.stringify(require('./ecosystem.config.js')))\" > ecosystem.json"
        raise ConfigError(source.path, "is JavaScript, which multi does not run", f"make JSON of it: {made}")
    try:
        raw = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source.path, f"is not JSON: {error}", "correct it") from None
    apps = raw.get("apps", raw) if isinstance(raw, dict) else raw
    apps = [apps] if isinstance(apps, dict) else apps
    if not isinstance(apps, list) or not apps or not all(isinstance(app, dict) and "script" in app for app in apps):
        raise ConfigError(
            source.path, "has no apps with a script", 'write {"apps": [{"name": "web", "script": "app.js"}]}'
        )
    remarks = (
        [f"not imported: {key}" for key in raw if key != "apps"] if isinstance(raw, dict) and "apps" in raw else []
    )
    tables = [table for app in apps for table in _tables(app, source)]
    return Imported(tables=tuple(tables), defaults={"preset": "exec"}, remarks=tuple(remarks))


def _tables(app: Mapping[str, object], source: Source) -> Iterator[Table]:
    script = str(app["script"])
    name = name_of(str(app.get("name") or script.rpartition("/")[2].rpartition(".")[0] or script))
    settings, remarks = _settings(app, source), [*_remarks(app)]
    count = str(app.get("instances", 1))
    several = int(count) if count.lstrip("-").isdigit() else 0
    if several < 1:
        remarks.append(f"instances = {count} depends on the machine; write nodes = [...] with as many as you want")
    names = [name] if several < 2 else [f"{name}-{each}" for each in range(several)]  # noqa: PLR2004 -- several
    if len(names) > 1:
        remarks.append("NODE_APP_INSTANCE tells the instances apart, as with pm2; they cannot share a port")
        yield Table(name, settings, tuple(remarks), tuple(names))
        for each, one in enumerate(names):
            yield Table(one, {"env": {"NODE_APP_INSTANCE": str(each)}})
    else:
        yield Table(name, settings, tuple(remarks))


def _settings(app: Mapping[str, object], source: Source) -> dict[str, object]:
    cwd = str(app.get("cwd") or source.home)
    cwd = cwd if cwd.startswith("/") else f"{source.home}/{cwd.removeprefix('./')}".rstrip("/.")
    log = next(
        (str(app[key]) for key in ("log_file", "log", "out_file", "output", "error_file", "error") if app.get(key)),
        None,
    )
    signal_after = number(app.get("kill_timeout", 1600), "kill_timeout") / 1000
    found: dict[str, object] = {
        "cmd": [literal(word) for word in _command(app)],
        "workdir": literal_path(cwd),
        "env": {str(key): _text(value) for key, value in _mapping(app.get("env")).items()},
        "logfile": None if log is None else literal_path(log),
        "uid": app.get("uid"),
        "gid": app.get("gid"),
        "stop_schedule": schedule("INT", signal_after),
        "restart": "no" if app.get("autorestart") is False else "always",
        "max_memory": _size(app.get("max_memory_restart")),
        "startsecs": _seconds(app.get("min_uptime"), "min_uptime"),
        "restart_delay": _seconds(app.get("restart_delay"), "restart_delay"),
    }
    codes = app.get("stop_exit_codes")
    if codes is not None:
        found["exit_ok"] = [
            int(number(each, "stop_exit_codes")) for each in (codes if isinstance(codes, list) else [codes])
        ]
    return found


def _command(app: Mapping[str, object]) -> list[str]:
    script = str(app["script"])
    said = app.get("interpreter") or app.get("exec_interpreter")
    interpreter = (
        str(said)
        if said
        else _INTERPRETERS.get(script.rpartition(".")[2] if "." in script.rpartition("/")[2] else "", "none")
    )
    options = _words(app.get("interpreter_args") or app.get("node_args"))
    before = [] if interpreter == "none" else [interpreter, *options]
    return [
        *before,
        *([script] if before or "/" not in script or script.startswith(("/", ".")) else [f"./{script}"]),
        *_words(app.get("args")),
    ]


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    try:
        return shlex.split(str(value)) if value else []
    except ValueError:
        return str(value).split()


def _remarks(app: Mapping[str, object]) -> Iterator[str]:
    for key in app:
        if key.startswith("env_"):
            yield f"{key}: multi has one env; put it in a file of its own, and name that by env_file"
        elif key not in _TAKEN:
            yield f"{key}: {_WHY.get(key, 'multi has no word for it')}"
    if str(app.get("exec_mode", "")).startswith("cluster"):
        yield "exec_mode = cluster: each node is a process of its own, and no port is shared"
    if app.get("error_file") and app.get("error_file") != app.get("out_file"):
        yield "error_file: stdout and stderr go to one log here"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, (bool, dict, list)) or value is None else str(value)


def _size(value: object) -> str | None:
    if value is None:
        return None
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ConfigError(f"max_memory_restart {value}", "is no size", 'write it like "512M"')
    return f"{found[1]}{found[2].upper()}"


def _seconds(value: object, key: str) -> float | None:
    """Milliseconds, or ``10s``, ``5m``, ``1h``."""
    if value is None:
        return None
    text = str(value).strip()
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    return number(text, key) / 1000 if unit is None else number(text[:-1], key) * unit
