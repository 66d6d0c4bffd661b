"""The configuration of supervisord. Pure."""

from __future__ import annotations

import re
import shlex

from multi.errors import ConfigError, UsageError
from multi.importing import form
from multi.importing.form import Imported, Source, Table
from multi.importing.ini import sections
from multi.importing.worker_command import as_worker
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_SERVER = ("supervisord", "supervisorctl", "unix_http_server", "inet_http_server", "rpcinterface")
_RESTART = {
    **dict.fromkeys(("true", "yes", "on", "1"), "always"),
    **dict.fromkeys(("false", "no", "off", "0"), "no"),
    "unexpected": "on-failure",
}
_STREAMS = {"/dev/fd/1": "/dev/stdout", "/proc/self/fd/1": "/dev/stdout", "/dev/fd/2": "/dev/stderr"}
_NO_LOG = {"none": "/dev/null", "off": "/dev/null", "auto": None, "syslog": None, "": None}
# What is said by other keys, or is what multi does anyway.
_TAKEN_WORDS = """
    command directory user umask environment stdout_logfile stderr_logfile redirect_stderr startsecs autorestart
    exitcodes stopsignal stopwaitsecs stopasgroup killasgroup process_name numprocs numprocs_start autostart
    stdout_logfile_maxbytes stdout_logfile_backups stderr_logfile_maxbytes stderr_logfile_backups
"""
_TAKEN = frozenset(_TAKEN_WORDS.split())
_OF_SERVER = frozenset({"environment", "umask", "user", "directory", "minfds"})  # that its programs inherit
_WHY = {
    "priority": "supervisord starts in this order and waits for nobody; multi starts all at once, and 'after' says "
    "which nodes must be ready before a node",
    "startretries": "restart_limit says how many ends in how many seconds are too many",
    "serverurl": "there is no server",
    "stdout_capture_maxbytes": "there are no events of the output",
    "stderr_capture_maxbytes": "there are no events of the output",
    "stdout_events_enabled": "there are no events of the output",
    "stderr_events_enabled": "there are no events of the output",
    "stdout_syslog": "run with systemd, or a log shipper, sends a log on",
    "stderr_syslog": "run with systemd, or a log shipper, sends a log on",
}
_NO_SUCH = {
    "eventlistener": "hooks tell of nodes that fail or recover, and max_memory limits memory",
    "fcgi-program": "let the program listen by itself, and write it as a node",
}
_ROTATES = (
    "supervisord rotates a log at 50 MB unless it says otherwise; a log here grows until logrotate cuts it: "
    "config/logrotate.d/multi is an example"
)

_WHOSE_LOG = (
    "supervisord opens a log as root; multi opens it as the user of the node (uid), who needs leave to write the file, "
    "or into its directory"
)


@dataclass(frozen=True, slots=True)
class _File:
    """A configuration with what it includes: where it is, its sections, what [supervisord] says for all programs.

    `included` says what became of [include].
    """

    path: str
    home: str
    found: Mapping[str, Mapping[str, str]]
    common: Mapping[str, str]
    included: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def filled(self, text: str, known: Mapping[str, object]) -> str:
        """``%(program_name)s``, ``%(ENV_HOME)s``, ``%%``."""

        def one(found: re.Match[str]) -> str:
            if found[0] == "%%":
                return "%"
            key = found[1]
            if key not in known and key.startswith("ENV_"):
                return form.variable(key.removeprefix("ENV_"))
            if key not in known:
                raise ConfigError(self.path, f"%({key})s is not known", "write what it stands for")
            try:
                return f"%({key}){found[2]}" % known
            except (TypeError, ValueError):
                why = f"{found[0]} is no format of {known[key]!r}"
                raise ConfigError(self.path, why, "write %(process_num)d") from None

        return re.sub(r"%%|%\((\w+)\)([-+ #0-9.]*[sdioxXeEfFgGcr])", one, text)


def imported(source: Source) -> Imported:
    """Programs are nodes, several processes of one are a group, and so is a group of programs."""
    file = _file(source)
    group_of = {name: group for group, programs in _programs(file).items() for name in programs}
    made: list[tuple[str, str, Table]] = []  # program, name of the process, node
    members: dict[str, list[str]] = {}
    remarks = [*file.included]
    for title, values in file.found.items():
        kind, _, name = title.partition(":")
        if kind == "program":
            with form.placed(f"{source.path}: [{title}]"):
                processes = [*_processes(name, group_of.get(name, name), values, file)]
            made += [(name, *one) for one in processes]
            if not processes:
                remarks.append(f"not imported, because numprocs = 0 starts no process: [{title}]")
                members[name] = []
        elif kind in _NO_SUCH:
            remarks.append(f"not imported, because multi has no such thing: [{title}]; {_NO_SUCH[kind]}")
        elif kind in _SERVER:
            keys = [key for key in values if key not in _OF_SERVER or kind != "supervisord"]
            remarks += [f"of supervisord itself, and not needed: [{title}] {' '.join(keys)}".rstrip()]
        elif kind not in {"group", "include"}:
            remarks.append(f"not known: [{title}]")
    if not made:
        why = "has no [program:NAME] that starts a process" if members else "has no section [program:NAME]"
        hint = "name the file that has the programs"
        raise ConfigError(source.path, why, hint)
    names = [form.name_of(title) for _, title, _ in made]
    tables: list[Table] = []
    for (program, title, table), name in zip(made, names, strict=True):
        unclear = name.isdigit() or names.count(name) > 1  # a lone number is a count of nodes
        whole = form.name_of(f"{program}_{title}") if unclear else name
        members.setdefault(program, []).append(whole)
        tables.append(Table(whole, table.settings, table.remarks))
    remarks += _of_logs(file, tables)
    whole_tables = tuple(form.said_once(_groups(file, members), tables))
    return Imported(tables=whole_tables, defaults={"preset": "exec"}, remarks=tuple(remarks))


def _of_logs(file: _File, tables: Iterable[Table]) -> Iterator[str]:
    if any(_rotated(values) for title, values in file.found.items() if title.startswith("program:")):
        yield _ROTATES
    if any(table.settings.get("uid") and table.settings.get("logfile") for table in tables):
        yield _WHOSE_LOG


def _file(source: Source) -> _File:
    """What the files say together, and what they include: of two values of a key the later counts."""
    found: dict[str, dict[str, str]] = {}

    def add(one: Source, *, named: bool) -> None:
        for title, values in sections(one.text, one.path).items():
            if named and title.startswith("program:") and title in found:
                raise ConfigError(one.path, f"[{title}] is there twice", "import the files one by one, or rename it")
            here = one.home.replace("%", "%%")
            lower = {key.lower(): value.replace("%(here)s", here) for key, value in values.items()}
            found.setdefault(title, {}).update(lower)

    named = (source, *source.others)
    for each in named:
        add(each, named=True)
    included: list[str] = []
    seen = {f"{each.home}/{each.path.rpartition('/')[2]}" for each in named}
    for each in named:
        patterns = sections(each.text, each.path).get("include", {}).get("files", "")
        for pattern in patterns.replace("%(here)s", each.home).split():
            others = [other for other in each.matching(pattern) if other.path not in seen]
            for other in others:
                add(other, named=False)
            seen.update(other.path for other in others)
            files = " ".join(other.path for other in others) or "no file matches, or all are named; name the files too"
            included.append(f"[include] {pattern}: {files}")
    file = _File(source.path, source.home, found, found.get("supervisord", {}), tuple(included))
    text = file.filled(file.common.get("environment", ""), {"host_node_name": form.HOST})
    with form.placed(f"{source.path}: [supervisord]"):
        _limits(file)
        return replace(file, env=_environment(text))


def _programs(file: _File) -> Mapping[str, Sequence[str]]:
    return {
        title[6:]: [each.strip() for each in values.get("programs", "").split(",") if each.strip()]
        for title, values in file.found.items()
        if title.startswith("group:")
    }


def _groups(file: _File, members: Mapping[str, list[str]]) -> Iterator[Table]:
    grouped: set[str] = set()
    for name, programs in _programs(file).items():
        others = [each for each in programs if each not in members]
        unknown = [each for each in others if f"fcgi-program:{each}" not in file.found]
        if unknown:
            why = f"[group:{name}] has {unknown[0]!r}, which is no program there"
            raise ConfigError(file.path, why, "name that file too")
        grouped.update(programs)
        remarks = [
            form.no_word(key, value, _WHY) for key, value in file.found[f"group:{name}"].items() if key != "programs"
        ]
        nodes = tuple(node for each in programs for node in members.get(each, ()))
        if nodes:
            yield Table(form.name_of(name), {}, tuple(remarks), nodes)
    for name, nodes_of in members.items():
        if len(nodes_of) > 1 and name not in grouped:
            yield Table(form.name_of(name), {}, (), tuple(nodes_of))


def _processes(name: str, group: str, values: Mapping[str, str], file: _File) -> Iterator[tuple[str, Table]]:
    known: dict[str, object] = {
        "program_name": name,
        "group_name": group,
        "host_node_name": form.HOST,
        "here": file.home,
    }
    known |= {f"ENV_{key}": value for key, value in file.env.items()}
    several = form.count(file.filled(values.get("numprocs", "1"), known), "numprocs")
    if several > 1 and "%(process_num)" not in values.get("process_name", ""):
        why, hint = "its processes have one name", "write process_name = %(program_name)s_%(process_num)02d"
        raise UsageError(f"numprocs = {several}", why, hint)
    first = int(form.number(file.filled(values.get("numprocs_start", "0"), known), "numprocs_start"))
    for each in range(first, first + several):
        of_one = {**known, "process_num": each, "numprocs": several}
        own = _environment(file.filled(values.get("environment", ""), of_one))
        of_one |= {f"ENV_{key}": value for key, value in own.items()}
        title = file.filled(values.get("process_name", "%(program_name)s"), of_one)
        settings, remarks = _settings(of_one, {**file.env, **own}, values, file)
        yield title, Table(title, settings, tuple(remarks))


def _settings(
    known: Mapping[str, object], env: Mapping[str, str], values: Mapping[str, str], file: _File
) -> tuple[dict[str, object], list[str]]:
    def said(key: str, default: str = "") -> str:
        return file.filled(values.get(key, default), known).strip()

    if not said("command"):
        raise ConfigError(file.path, f"[program:{known['program_name']}] has no command", "write command = PROGRAM")
    settings = form.settings_of(form.split(said("command"), "command"))
    remarks = [form.no_word(key, value, _WHY) for key, value in values.items() if key not in _TAKEN]
    server = "" if file.common.get("user", "").strip() in {"root", "0"} else file.common.get("user", "")
    foreground = form.is_true(file.common.get("nodaemon", ""))  # which then goes into no directory
    user, _, group = said("user", server).partition(":")
    directory = said("directory", "" if foreground else file.common.get("directory", ""))
    seconds = form.number(said("stopwaitsecs", "10") or "10", "stopwaitsecs")
    settings |= {
        "workdir": form.whole_path(directory, file.home) or None,
        "uid": user or None,
        "gid": group or None,
        "umask": said("umask", file.common.get("umask", "")) or None,
        "rlimit": form.over(_limits(file), settings, "rlimit"),
        "env": form.over(env, settings, "env"),
        "logfile": _log(said, file.home),
        "startsecs": form.number(said("startsecs"), "startsecs") if "startsecs" in values else None,
        "stop_schedule": form.schedule(said("stopsignal", "TERM"), seconds),
        "restart": _restart(said("autorestart", "unexpected").lower()),
    }
    if "exitcodes" in values:
        settings["exit_ok"] = [int(form.number(each, "exitcodes")) for each in said("exitcodes").split(",")]
    as_group = said("killasgroup", said("stopasgroup"))
    if as_group:
        settings["kill_mode"] = "mixed" if form.is_true(as_group) else "process"
    settings, more = as_worker(settings)
    return settings, [*remarks, *more, *_of_values(values, said)]


def _restart(text: str) -> str:
    if text not in _RESTART and not text.startswith("\ufdd0"):
        raise UsageError("autorestart", f"{text!r} is not known", "write true, false or unexpected")
    return _RESTART.get(text, "always")


def _limits(file: _File) -> dict[str, object]:
    """The limit that supervisord raises for itself, and so for its programs."""
    least = form.number(file.common.get("minfds", "1024"), "minfds")
    return {"NOFILE": int(least)} if least > 1024 else {}  # noqa: PLR2004 -- what most systems have


def _of_values(values: Mapping[str, str], said: Callable[..., str]) -> Iterator[str]:
    """What the value of a key means that has a word here."""
    if form.is_true(said("stopasgroup")):
        yield (
            "stopasgroup = true: multi signals the main process alone, and kills what is left of its tree (kill_mode); "
            "a shell before the program must exec it"
        )
    if said("autorestart").startswith("\ufdd0"):
        yield f"autorestart = {said('autorestart')}: its value is not known here, and is taken for true"
    if "autostart" in values and not form.is_true(said("autostart")):
        yield f"autostart = {values['autostart']}: {form.LATER}"
    log, errors = said("stdout_logfile"), said("stderr_logfile")
    if not form.is_true(said("redirect_stderr")) and errors.lower() not in _NO_LOG and errors != log:
        if log.lower() not in _NO_LOG:
            yield f"stderr_logfile = {errors}: {form.ONE_LOG}"
        elif log:
            yield f"stdout_logfile = {log}: {form.ONE_LOG}, that of stderr_logfile"
    for key in ("stdout_logfile", "stderr_logfile"):
        if said(key).lower() == "syslog":
            yield f"{key} = syslog: {_WHY['stdout_syslog']}"


def _rotated(values: Mapping[str, str]) -> bool:
    """Whether supervisord rotates a log of a program."""
    return any(
        values.get(key, "").strip().lower() not in _NO_LOG
        and not values[key].startswith(("/dev/", "/proc/"))
        and values.get(f"{key}_maxbytes", "50MB").strip().lower() not in {"0", "0mb"}
        for key in ("stdout_logfile", "stderr_logfile")
    )


def _log(said: Callable[..., str], home: str) -> str | None:
    """The log of stdout; that of stderr where stdout has none and stderr has one of its own."""
    paths = [said("stdout_logfile"), *([] if form.is_true(said("redirect_stderr")) else [said("stderr_logfile")])]
    for path in paths:
        if path.lower() not in _NO_LOG:
            return form.whole_path(_STREAMS.get(path, path), home)
    return "/dev/null" if all(_NO_LOG[path.lower()] for path in paths) else None


def _environment(text: str) -> dict[str, str]:
    """``KEY="value",OTHER=value``, split as supervisord does. Raises `UsageError`, without the values."""
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():\ufdd0\ufdd1\ufdd2"
    try:
        words = list(lexer)
    except ValueError as error:
        raise UsageError("environment", str(error), "close the quote") from None
    pairs = [words[at : at + 3] for at in range(0, len(words), 4)]
    wrong = next((at for at, pair in enumerate(pairs) if len(pair) != 3 or pair[1] != "="), None)  # noqa: PLR2004
    if wrong is not None:
        behind = f" behind {pairs[wrong - 1][0]}" if wrong else ""
        raise UsageError("environment", f"is no list of KEY=value{behind}", 'write KEY="value",OTHER="value"')
    return {key: value.strip("'\"") for key, _, value in pairs}
