"""An ecosystem file of pm2, where it is JSON. Pure."""

from __future__ import annotations

import json
import posixpath
import re
import shlex

from multi.errors import ConfigError, MultiError, UsageError
from multi.importing import form
from multi.importing.form import Imported, Source, Table
from multi.importing.worker_command import as_worker
from multi.typed import TYPE_CHECKING
from multi.words.template import literal, literal_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INTERPRETERS = {
    ".js": "node", ".cjs": "node", ".mjs": "node", ".ts": "ts-node", ".py": "python3", ".rb": "ruby", ".pl": "perl",
    ".php": "php", ".sh": "bash", ".coffee": "coffee",
}  # fmt: skip
_ALIASES = {
    "exec": "script", "cmd": "script", "command": "script", "interpreter": "exec_interpreter", "user": "uid",
    "interpreterArgs": "node_args", "interpreter_args": "node_args", "out": "out_file", "output": "out_file",
    "out_log": "out_file", "error": "error_file", "err": "error_file", "err_file": "error_file",
    "err_log": "error_file", "log": "log_file", "pid": "pid_file", "cron": "cron_restart",
    "combine_logs": "merge_logs",
}  # fmt: skip
_TAKEN_WORDS = """
    name script args exec_interpreter node_args cwd instances env error_file out_file log_file max_memory_restart
    kill_timeout autorestart stop_exit_codes min_uptime restart_delay uid gid merge_logs exec_mode pid_file
    instance_var increment_var port autostart vizion
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
    "treekill": "kill_mode says what becomes of the children",
    "source_map_support": "node_args = --enable-source-maps does the same",
    "time": "the worker writes the times of its log",
}
_SIZE = re.compile(r"(\d+)\s*([KMG]?)B?", re.IGNORECASE)


def imported(source: Source) -> Imported:
    """An app is a node, several instances of one are a group."""
    if re.search(r"^(?:-\s+\w+|\w+):(?:\s|$)", source.text, re.MULTILINE) and not _LITERAL.match(source.text):
        raise ConfigError(source.path, "is YAML, which multi does not read", "make JSON of it: npx js-yaml FILE")
    try:
        raw = json.loads(_as_json(source.text))
    except (ValueError, RecursionError) as error:
        if source.path.endswith((".js", ".cjs", ".mjs")) or not source.text.lstrip().startswith(("{", "[")):
            made = f"node -e \"console.log(JSON.stringify(require('./{source.path.rpartition('/')[2]}')))\" > pm2.json"
            why = "is JavaScript that is more than one value, and multi runs none"
            raise ConfigError(source.path, why, f"make JSON of it: {made}") from None
        raise ConfigError(source.path, f"is not JSON: {error}", "correct it") from None
    apps = raw.get("apps", raw.get("pm2", raw)) if isinstance(raw, dict) else raw
    apps = [apps] if isinstance(apps, dict) else apps
    if not isinstance(apps, list) or not apps or not all(isinstance(app, dict) for app in apps):
        apps = [{}]
    apps = [{_ALIASES.get(key, key): value for key, value in app.items()} for app in apps]
    if (without := next((app for app in apps if not app.get("script")), None)) is not None:
        why = f"the app {without['name']!r} has no script" if "name" in without else "has no apps with a script"
        raise ConfigError(source.path, why, 'write {"apps": [{"name": "web", "script": "app.js"}]}')
    others = [key for key in raw if key not in {"apps", "pm2"}] if isinstance(raw, dict) and apps != [raw] else []
    whole = isinstance(raw, dict) and not {"apps", "pm2"} & raw.keys()
    remarks = [] if whole else [f"not imported: {key}" for key in others]
    tables: list[Table] = []
    for app in apps:
        with form.placed(f"{source.path}: {app.get('name') or app['script']}"):
            tables += _tables(app, source)
    return Imported(tables=tuple(tables), defaults={"preset": "exec"}, remarks=tuple(remarks))


def _as_json(text: str) -> str:
    """A value of JavaScript without code as JSON: pm2 reads comments, single quotes, names as keys, a last comma."""
    found: list[str] = []
    body = _LITERAL.sub("", text).rstrip()
    for token in _TOKEN.finditer(body.removesuffix(";")):
        word = token[0]
        if token["string"]:
            inner = re.sub(r'\\(.)|"', _escaped, word[1:-1], flags=re.DOTALL)
            if word[0] == "`" and "${" in inner:
                raise ValueError(word)
            found.append('"' + inner.replace("\n", "\\n") + '"')
        elif token["key"]:
            found.append(json.dumps(word))
        elif not (token["comment"] or token["comma"]):
            found.append(word)
    return "".join(found)


def _escaped(found: re.Match[str]) -> str:
    """A quote as JSON has it."""
    return '\\"' if found[0] == '"' else found[1] if found[1] in "'`" else found[0]


_LITERAL = re.compile(
    r"\A(?:\s|//[^\n]*\n|/\*.*?\*/)*(?:module\.exports\s*=|export\s+default(?=\s)|(?=[\[{]))", re.DOTALL
)
_COMMENT = r"//[^\n]*|/\*.*?\*/"
_TOKEN = re.compile(
    rf"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?P<comment>{_COMMENT})"""
    rf"|(?P<key>[A-Za-z_$][\w$]*(?=\s*:))|(?P<comma>,(?=(?:\s|{_COMMENT})*[\]}}]))|.",
    re.DOTALL,
)


def _tables(app: Mapping[str, object], source: Source) -> Iterator[Table]:
    script = str(app["script"])
    name = form.name_of(str(app.get("name") or script.rpartition("/")[2].rpartition(".")[0] or script))
    settings, more = as_worker(_settings(app, source))
    remarks = [*_remarks(app), *more]
    said = str(app.get("instances", 1))
    several = form.count(said, "instances") if said.isdigit() else 0
    if several < 1:
        remarks.append(f"instances = {said}: it depends on the machine; write nodes = [...] with as many as you want")
    if several < 2:  # noqa: PLR2004 -- several
        yield Table(name, settings, tuple(remarks))
        return
    number_in = str(app.get("instance_var", "NODE_APP_INSTANCE"))
    remarks.append(f"instances = {said}: {number_in} tells them apart, as with pm2; they cannot share a port")
    names = [f"{name}-{each}" for each in range(several)]
    yield Table(name, settings, tuple(remarks), tuple(names))
    counted = str(app.get("increment_var") or "")
    first = str(_mapping(app.get("env")).get(counted, 0))
    log = settings.get("logfile")
    for each, one in enumerate(names):
        own: dict[str, object] = {"env": {number_in: str(each)}}
        if counted and first.isdigit():
            own["env"] = {number_in: str(each), counted: str(int(first) + each)}
        if isinstance(log, str) and not app.get("merge_logs") and not log.startswith("/dev/"):
            stem, dot, end = log.rpartition(".")
            own["logfile"] = f"{stem}-{each}.{end}" if dot and "/" not in end else f"{log}-{each}"
        yield Table(one, own)


def _settings(app: Mapping[str, object], source: Source) -> dict[str, object]:
    cwd = str(app.get("cwd") or ".")
    cwd = cwd if cwd.startswith("/") else posixpath.normpath(posixpath.join(source.home, cwd))
    log = next((str(app[key]) for key in ("log_file", "out_file", "error_file") if isinstance(app.get(key), str)), "")
    signal_after = form.number(app.get("kill_timeout", 1600), "kill_timeout") / 1000
    command = _command(app, cwd, source)
    env = {str(key): _text(value) for key, value in _mapping(app.get("env")).items()}
    if app.get("port"):
        env["PORT"] = str(app["port"])
    if command[0].rpartition("/")[2].startswith("python"):
        env.setdefault("PYTHONUNBUFFERED", "1")  # as pm2 does
    found: dict[str, object] = {
        "cmd": [literal(word) for word in command],
        "workdir": literal_path(cwd),
        "env": env,
        "logfile": "/dev/null" if log == "NULL" else form.whole_path(log, cwd) or None,
        "uid": app.get("uid"),
        "gid": app.get("gid"),
        "stop_schedule": form.schedule("INT", signal_after),
        "restart": "no" if app.get("autorestart") is False else "always",
        "max_memory": _size(app.get("max_memory_restart")),
        "startsecs": _seconds(app.get("min_uptime"), "min_uptime"),
        "restart_delay": _seconds(app.get("restart_delay"), "restart_delay"),
    }
    codes = app.get("stop_exit_codes")
    if codes is not None:
        found["exit_ok"] = [
            int(form.number(each, "stop_exit_codes")) for each in (codes if isinstance(codes, list) else [codes])
        ]
    return found


def _command(app: Mapping[str, object], cwd: str, source: Source) -> list[str]:
    """As pm2 finds it out: by the interpreter, the end of the name, or what is in the file."""
    script = str(app["script"])
    if " " in script:
        return ["bash", "-c", script]
    interpreter = str(app.get("exec_interpreter") or "") or _INTERPRETERS.get(posixpath.splitext(script)[1], "")
    interpreter = interpreter.partition("@")[0] if interpreter.startswith("node@") else interpreter
    there = _is_text(posixpath.join(cwd, script), source) if not interpreter else None
    if there:
        interpreter = "node"
    if interpreter in {"", "none"}:
        here = there is not None and "/" not in script
        before = [f"./{script}" if here or ("/" in script and script[0] not in "/.") else script]
    else:
        before = [interpreter, *_words(app.get("node_args")), script]
    return [*before, *_words(app.get("args"))]


def _is_text(path: str, source: Source) -> bool | None:
    """Whether a file is a text; None when it is not there."""
    try:
        return None if (text := source.beside(path)) is None else "\0" not in text
    except MultiError:
        return False


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    try:
        return shlex.split(str(value)) if value else []
    except ValueError:
        return str(value).split()


def _remarks(app: Mapping[str, object]) -> Iterator[str]:
    for key, value in app.items():
        if key.startswith("env_"):
            yield f"{key}: multi has one env; put it in a file of its own, and name that by env_file"
        elif key not in _TAKEN and value not in (False, None, "", []):
            yield form.no_word(key, json.dumps(value), _WHY)
    if str(app.get("exec_mode", "")).startswith("cluster"):
        yield "exec_mode = cluster: each node is a process of its own, and no port is shared"
    if str(app.get("exec_interpreter", "")).startswith("node@"):
        yield f"interpreter = {app['exec_interpreter']}: it is the node of PATH; write the path of another"
    if app.get("autostart") is False:
        yield f"autostart = false: {form.LATER}"
    if app.get("error_file") and app.get("out_file") and app["error_file"] != app["out_file"]:
        yield f"error_file = {app['error_file']}: {form.ONE_LOG}"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, (bool, dict, list)) or value is None else str(value)


def _size(value: object) -> str | None:
    if value is None:
        return None
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise UsageError(f"max_memory_restart {value}", "is no size", 'write it like "512M"')
    return f"{found[1]}{found[2].upper()}"


def _seconds(value: object, key: str) -> float | None:
    """Milliseconds, or ``10s``, ``5m``, ``1h``."""
    if value is None:
        return None
    text = str(value).strip()
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    return form.number(text, key) / 1000 if unit is None else form.number(text[:-1], key) * unit
