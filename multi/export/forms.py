"""The same nodes for another supervisor: files as data, path -> text. Pure; whoever asked writes them.

What another supervisor cannot say is said in a comment of its file, never dropped in silence. Words that its file
cannot hold are an error: they would reach the worker as something else.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

from multi.errors import UsageError
from multi.model.schedule import FOREVER, signal_name
from multi.text import printable, seconds_text
from multi.value import dataclass, field
from multi.words import template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from multi.model.node import Node

_LONG = 86_400  # seconds: what stands for ``forever`` where a number is needed
# Forms of which the supervisor runs the node itself and takes its output, so that a log is its own business.
FOREGROUND = frozenset({"systemd", "supervisord", "kubernetes", "compose", "procfile"})
# Forms for the machine that we are on, where the node's user, directory and program are those that it would have here.
HERE = frozenset({"systemd", "sysv", "cron", "supervisord", "launchd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is exported. `program` runs `multi`, for forms that go on using it; `remarks` are sentences by full name."""

    nodes: Sequence[Node]
    program: tuple[str, ...] = ("multi",)
    remarks: Mapping[str, str] = field(default_factory=dict)


def export(form: str, order: Order) -> Mapping[str, str]:
    """Files for `form`, by path relative to where they are put.

    Raises `UsageError` for an unknown form, for node names that the form cannot tell apart, and for words that it
    cannot hold.
    """
    if form not in FORMS:
        refuse(form)
    return FORMS[form](order)


def mode(form: str, *, secret: bool) -> int:
    """The permissions of a file of `form`, which is `secret` when it holds values of variables."""
    rights = 0o755 if form == "sysv" else 0o644
    return rights & 0o700 if secret else rights


def values(form: str, node: Node) -> list[tuple[str, str]]:
    """The variables whose values are in the files of `form`; of those from env files a digest stands for the value."""
    return [*_set_env(node), *(() if form in {"sysv", "cron"} else node.env_read)]


def refuse(form: str) -> NoReturn:
    """Say that this is no form."""
    from multi.text import nearest

    raise UsageError(form or "''", "is no form that nodes can be exported to", f"{nearest(form, FORMS)}")


# --- what the forms share -------------------------------------------------------------------------------


def _set_env(node: Node) -> list[tuple[str, str]]:
    return [(name, value) for name, value in node.env if value is not None]


def _unset_env(node: Node) -> list[str]:
    return [name for name, value in node.env if value is None]


def _stop_seconds(node: Node) -> float:
    """Seconds from the first signal to KILL, or to the end of a schedule that has none; may be `FOREVER`."""
    kills = [moment.at for moment in node.stop.timeline if signal_name(moment.signum) == "KILL"]
    return kills[0] if kills else node.stop.total


def _whole_stop_seconds(node: Node) -> int:
    """The same in whole seconds, where there has to be a number."""
    return _LONG if _stop_seconds(node) == FOREVER else math.ceil(_stop_seconds(node))


def _remarks(order: Order, node: Node, *missing: str, proof: bool = False, killed: bool = True) -> list[str]:
    """What the form has no words for, as sentences.

    `missing` are settings of this node that it cannot say. `proof` is whether it waits for `ready`, `killed` whether it
    sends KILL at the end, as all but systemd do.
    """
    said = {
        "uid": node.uid is not None,
        "gid": node.gid is not None,
        "umask": node.umask is not None,
        "nice": node.nice is not None,
        "rlimit": bool(node.rlimits),
        "env": bool(_unset_env(node)),
        "logfile": node.logs_to_file,
        "kill_mode": node.kill_mode != "mixed",
        "reload_signal": node.reload_signal is not None,
        "first": signal_name(node.stop.first) != "TERM",
    }
    names = {"env": f"env (without {' '.join(_unset_env(node))})", "first": f"stop with {signal_name(node.stop.first)}"}
    lost = [names.get(name, name) for name in missing if said[name]]
    found = [f"not exported, because there is no word for it here: {', '.join(lost)}"] if lost else []
    between = [stage for stage in node.stop.stages[1:] if signal_name(stage.signum) != "KILL"]
    kills = any(signal_name(stage.signum) == "KILL" for stage in node.stop.stages)
    if between or (killed and not kills and _stop_seconds(node) != FOREVER):
        found.append(f"of the stop schedule {node.stop} only the first signal and KILL can be said here")
    if not proof and node.ready.kind != "alive":
        found.append(f"ready = {node.ready} is not waited for here")
    if node.env_read:
        variables = " ".join(name for name, _ in node.env_read)
        found.append(f"{variables}: as {' '.join(node.env_files)} had it when this was made")
    if node.name in order.remarks:
        found.append(order.remarks[node.name])
    return [printable(remark) for remark in found]


def _ascii(name: str, others: str = "-_.") -> str:
    """A name of letters, digits and a few more, whatever it is made of."""
    return "".join(char if char.isascii() and (char.isalnum() or char in others) else "-" for char in name)


def _unique(nodes: Iterable[Node], name_of: Callable[[Node], str]) -> list[tuple[str, Node]]:
    named = [(name_of(node), node) for node in nodes]
    seen: dict[str, Node] = {}
    for name, node in named:
        if name in seen:
            raise UsageError(
                node.name, f"and {seen[name].name} would both be called {name}", "export one of them alone"
            )
        seen[name] = node
    return named


def _refuse(node: Node, text: str, what: str, hint: str = "export it to sysv") -> UsageError:
    return UsageError(node.name, f"has {text!r} in its settings, and {what}", hint)


def _undecodable(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _means_log(word: str, logfile: str) -> bool:
    """Whether a word of the command is the log, alone or as an option's value; ``%I`` is the worker's to fill in."""
    return word.replace("%I", "").replace("%i", "0").rpartition("=")[2] == logfile


def _logs_itself(node: Node) -> bool:
    """Whether the worker opens the log that its node has."""
    return any(_means_log(word, node.logfile) for word in node.words)


def _with_env(node: Node, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """The command behind env(1), which sets these variables (all when not told), and takes away what is to be."""
    wanted = None if names is None else frozenset(names)
    told = [f"{name}={value}" for name, value in _set_env(node) if wanted is None or name in wanted]
    unset = [word for name in _unset_env(node) for word in ("-u", name)]
    return ("env", *unset, *told, *node.words) if told or unset else node.words


# --- systemd ----------------------------------------------------------------------------------------


def _systemd(order: Order) -> Mapping[str, str]:
    named = _unique(order.nodes, lambda node: _ascii(node.short))
    return {f"multi-{name}.service": _unit(order, node) for name, node in named}


def _unit(order: Order, node: Node) -> str:
    notify = node.ready.kind == "notify"
    reload = f"ExecReload=/bin/kill -{signal_name(node.reload_signal)} $MAINPID" if node.reload_signal else ""
    service = [
        *(f"# {remark}" for remark in _remarks(order, node, proof=notify, killed=False)),
        f"Type={'notify' if notify else 'exec'}",
        *(["NotifyAccess=all", f"TimeoutStartSec={seconds_text(max(node.ready_timeout, 1))}"] if notify else []),
        "ExecStart=" + " ".join(_unit_word(word, command=True) for word in _unit_command(node)),
        *([f"WorkingDirectory={_unit_text(node, node.workdir)}"] if node.workdir else []),
        *([f"User={_unit_text(node, node.uid)}"] if node.uid else []),
        *([f"Group={_unit_text(node, node.gid)}"] if node.gid else []),
        *([f"UMask={node.umask:04o}"] if node.umask is not None else []),
        *([f"Nice={node.nice}"] if node.nice is not None else []),
        *(f"Limit{name.upper()}={_unit_limit(soft)}:{_unit_limit(hard)}" for name, soft, hard in node.rlimits),
        *(f"Environment={_unit_variable(node, name, value)}" for name, value in _set_env(node)),
        *(_TELL if notify else ()),
        *(f"UnsetEnvironment={name}" for name in _unset_env(node)),
        *_unit_log(node),
        f"KillSignal=SIG{signal_name(node.stop.first)}",
        f"KillMode={node.kill_mode}",
        *_unit_stop_seconds(node),
        *([reload] if reload else []),
        "Restart=on-failure",
        "RestartSec=10",
        "OOMPolicy=continue",
    ]
    return "\n".join(
        [
            "[Unit]",
            f"Description={printable(node.name).replace('%', '%%')}",
            "After=network.target",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *service,
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


_TELL = ("# a plug-in of multi in the worker says READY=1 only where this is set", "Environment=MULTI_INSTANCE=systemd")


def _unit_command(node: Node) -> Sequence[str]:
    """A program with quotes, backslashes or signs of systemd's own in its name is for a shell: systemd takes none."""
    argv = node.words
    for word in filter(_undecodable, argv):
        raise _refuse(node, word, "systemctl cannot show what is not UTF-8")
    plain = argv[0].isprintable() and not set(argv[0]) & set("\"'\\$") and argv[0][:1] not in "-@:+!|"
    return argv if plain else ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)


def _unit_log(node: Node) -> list[str]:
    if node.logfile == "/dev/null":
        return ["StandardOutput=null", "StandardError=inherit"]
    if not node.logs_to_file:
        return []
    directory = f"# this directory has to be there: {printable(node.logfile.rpartition('/')[0] or '/')}"
    if _logs_itself(node):
        # systemd opens it as root, and a worker of another user could not open it any more.
        return [directory, "# the worker opens its log itself; what it prints besides is in the journal"]
    return [directory, f"StandardOutput=append:{_unit_text(node, node.logfile)}", "StandardError=inherit"]


def _unit_stop_seconds(node: Node) -> list[str]:
    seconds = _stop_seconds(node)
    # 0 would mean for ever to systemd.
    lines = [f"TimeoutStopSec={'infinity' if seconds == FOREVER else max(1, math.ceil(seconds))}"]
    kills = any(signal_name(stage.signum) == "KILL" for stage in node.stop.stages)
    return lines if kills or seconds == FOREVER else [*lines, "SendSIGKILL=no"]


def _unit_limit(value: int) -> str:
    return "infinity" if value < 0 else str(value)


def _unit_text(node: Node, text: str) -> str:
    """A value that systemd reads as it is, in which its specifiers find nothing (systemd.unit(5))."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise _refuse(node, text, "systemd takes no such path")
    return text.replace("%", "%%")


def _unit_variable(node: Node, name: str, value: str) -> str:
    if _undecodable(value):
        raise _refuse(node, value, "systemd takes no variable that is not UTF-8")
    return _unit_word(f"{name}={value}")


def _unit_word(text: str, *, command: bool = False) -> str:
    """One word in systemd's quoting (systemd.syntax(7)); in a command line also safe from variables."""
    escaped = "".join(_unit_character(char) for char in text).replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    plain = text and all(char.isalnum() or char in "_-./=:,@+%" for char in text)
    return escaped if plain else f'"{escaped}"'


def _unit_character(char: str) -> str:
    if char in '\\"':
        return "\\" + char
    return char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8"))


# --- sysv and cron: `multi` goes on doing the work -----------------------------------------------------

_Flags = tuple[tuple[str, tuple[str, ...]], ...]  # each flag with its values, in the order of the command line


def words(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The words after ``multi start`` that make exactly these nodes."""
    return _said(nodes, [_flags(node) for node in nodes])


def whereabouts(nodes: Sequence[Node]) -> tuple[str, ...]:
    """What the commands after ``start`` need to be told: the rest is on record."""
    return _said(nodes, [_known_flags(node) for node in nodes])


def _said(nodes: Sequence[Node], of_each: Sequence[_Flags]) -> tuple[str, ...]:
    """Names and flags: what is the same for all is said once, anything else for its node."""
    flags = dict.fromkeys(flag for one in of_each for flag, _ in one)
    said = [node.name for node in nodes]
    for flag in flags:
        values = [dict(one).get(flag, ()) for one in of_each]
        if len(set(values)) == 1:
            said += [f"{flag}={value}" for value in values[0]]
            continue
        for position, node in enumerate(nodes):
            scope = str(position + 1) if "=" in node.name else node.name
            said += [f"{flag}:{scope}={value}" for value in values[position]]
    return tuple(said)


def _known_flags(node: Node) -> _Flags:
    """Where the node is on record, and whose it is: as root, `multi` believes nothing that another user could write."""
    who = (("--uid", node.uid), ("--gid", node.gid))
    return (
        ("--pidfile", (template.literal_path(node.pidfile),)),
        *((flag, (value,)) for flag, value in who if value is not None),
    )


def _flags(node: Node) -> _Flags:
    import shlex

    proof = str(node.ready)
    one = {
        "--cmd": template.literal(shlex.join(node.words)),
        "--logfile": template.literal_path(node.logfile),
        "--workdir": template.literal_path(node.workdir) if node.workdir is not None else None,
        "--umask": f"{node.umask:03o}" if node.umask is not None else None,
        "--nice": str(node.nice) if node.nice is not None else None,
        "--stop-schedule": str(node.stop),
        "--kill-mode": node.kill_mode,
        "--ready": template.literal_path(proof) if node.ready.kind == "file" else template.literal(proof),
        "--ready-timeout": seconds_text(node.ready_timeout),
        "--startsecs": seconds_text(node.startsecs) if node.startsecs_asked else None,
        "--lock-timeout": seconds_text(node.lock_timeout),
        "--reload-signal": signal_name(node.reload_signal) if node.reload_signal is not None else None,
    }
    read = dict(node.env_read)
    own = [(name, value) for name, value in node.env if name not in read]
    several = {
        "--env": tuple(f"{name}-" if value is None else f"{name}={value}" for name, value in own),
        "--env-file": tuple(template.literal_path(path) for path in node.env_files),
        "--rlimit": tuple(f"{name}={_limit(soft)}:{_limit(hard)}" for name, soft, hard in node.rlimits),
    }
    return (
        ("--preset", ("exec",)),
        *_known_flags(node),
        *((flag, (value,)) for flag, value in one.items() if value is not None),
        *((flag, values) for flag, values in several.items() if values),
    )


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)


def _sysv(order: Order) -> Mapping[str, str]:
    import shlex

    names = printable(" ".join(node.name for node in order.nodes))
    remarks = "".join(f"# {printable(f'{name}: {remark}')}\n" for name, remark in order.remarks.items())
    program = shlex.join(order.program)
    deaf = [node.name for node in order.nodes if node.reload_signal is None]
    hearing = [node for node in order.nodes if node.reload_signal is not None]
    skipped = f"echo {shlex.quote('left as it is, because it has no reload signal: ' + ' '.join(deaf))} >&2"
    reload = 'echo "$0: these nodes have no reload signal; use restart" >&2; exit 3'
    if hearing:
        reload = "\n    ".join([*([skipped] if deaf else []), _sysv_command(program, "reload", whereabouts(hearing))])
    return {
        "multi-nodes": f"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          multi-nodes
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {names}
### END INIT INFO
{remarks}
cd / || exit 1 # python -m looks into the current directory first

up() {{
    {_sysv_command(program, '"$1"', words(order.nodes))}
}}

known() {{
    {_sysv_command(program, '"$@"', _with_logs(order.nodes))}
}}

reload() {{
    {reload}
}}

try_restart() {{
    states=$(known status --json)
    code=$?
    case $code in 0 | 1 | 3 | 4) ;; *) exit "$code" ;; esac
    if printf '%s' "$states" | grep -E -q '"state": *"(running|starting|stopping|lost)"'; then up restart; fi
}}

case "${{1:-}}" in
    start) up start ;;
    stop) known stopwait ;;
    restart | force-reload) up restart ;;
    try-restart) try_restart ;;
    reload) reload ;;
    status) known status ;;
    *) echo "usage: $0 start|stop|restart|force-reload|try-restart|reload|status" >&2; exit 2 ;;
esac
"""
    }


def _sysv_command(program: str, command: str, told: Sequence[str]) -> str:
    """A command of sh, a word a line."""
    import shlex

    return " \\\n        ".join([f"{program} {command}", *(shlex.quote(word) for word in told)])


def _with_logs(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The whereabouts, and the logs for `status`, also of nodes that are not on record."""
    logs = [("--logfile", (template.literal_path(node.logfile),)) for node in nodes]
    return _said(nodes, [(*_known_flags(node), log) for node, log in zip(nodes, logs, strict=True)])


_CRON_LINE = 998  # characters: the longest command that every cron takes


def _cron(order: Order) -> Mapping[str, str]:
    lines = [f"# {printable(f'{name}: {remark}')}" for name, remark in order.remarks.items()]
    lines += [
        "# m h dom mon dow user command",
        "SHELL=/bin/sh",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    # multi itself becomes the node's user, so that the directories can be made.
    lines += [f"@reboot root {line}" for line in _cron_lines(order, ("--quiet", "start"), words)]
    lines += [f"* * * * * root {line}" for line in _cron_lines(order, ("ensure",), whereabouts)]
    return {"multi-nodes": "\n".join(lines) + "\n"}


def _cron_lines(order: Order, command: tuple[str, ...], told: Callable[[Sequence[Node]], tuple[str, ...]]) -> list[str]:
    """One command for all nodes, or where that is too long for cron one for each."""
    together = _cron_command((*order.program, *command, *told(order.nodes)))
    if len(together) <= _CRON_LINE and "\n" not in together:
        return [together]
    lines: list[str] = []
    for node in order.nodes:
        line = _cron_command((*order.program, *command, *told([node])))
        if "\n" in line:
            raise _refuse(node, "\n", "a line of a crontab cannot hold it")
        if len(line.encode("utf-8", "surrogateescape")) > _CRON_LINE:
            why = f"needs a line of {len(line)} characters, and cron takes {_CRON_LINE}"
            raise UsageError(node.name, why, "export it to sysv, or write a multi.toml and use config/cron.d/multi")
        lines.append(line)
    return lines


def _cron_command(argv: Sequence[str]) -> str:
    r"""A command as crontab(5) has it: ``\%`` for a percent sign.

    Some crons take ``\\`` for one backslash and others for two, so no two characters that mean something to any of them
    stand side by side: the shell's quotes are closed and opened between them.
    """
    import shlex

    return re.sub(r"\\(?=[\\%])", r"\\''", shlex.join(argv)).replace("%", "\\%")


# --- supervisord ----------------------------------------------------------------------------------------


def _supervisord(order: Order) -> Mapping[str, str]:
    named = _unique(order.nodes, lambda node: _ascii(node.short))
    return {"multi.conf": "\n".join(_program_section(order, name, node) for name, node in named)}


def _program_section(order: Order, name: str, node: Node) -> str:
    plain = [(key, value) for key, value in _set_env(node) if _supervisor_quotes(value)]
    hard = {key for key, value in _set_env(node) if not _supervisor_quotes(value)}
    lines = [f"[program:{name}]"]
    lines += [f"; {remark}" for remark in _remarks(order, node, "gid", "nice", "rlimit", "reload_signal")]
    lines.append(f"command={_supervisor_command(node, _with_env(node, hard))}")
    if node.workdir:
        lines.append(f"directory={_supervisor_text(node, node.workdir)}")
    if node.uid:
        lines.append(f"user={_supervisor_text(node, node.uid)}")
    if node.umask is not None:
        lines.append(f"umask={node.umask:03o}")
    if plain:
        quoted = ((key, _percent(value), _supervisor_quotes(value)) for key, value in plain)
        lines.append("environment=" + ",".join(f"{key}={quote}{value}{quote}" for key, value, quote in quoted))
    if _logs_itself(node) and node.logs_to_file:
        # supervisord opens it as root, and a worker of another user could not open it any more.
        lines.append("; the worker opens its log itself; what it prints besides is in a log of supervisord's")
    elif node.logfile == "/dev/null":
        lines.append("stdout_logfile=NONE")  # `supervisorctl clear` removes what is named here, and runs as root
    elif node.logs_to_file:
        lines += [f"stdout_logfile={_supervisor_text(node, node.logfile)}", "stdout_logfile_maxbytes=0"]
    lines += [
        "redirect_stderr=true",
        f"startsecs={_supervisor_patience(node)}",
        "startretries=10",
        f"stopsignal={signal_name(node.stop.first)}",
        f"stopwaitsecs={_whole_stop_seconds(node)}",
        f"killasgroup={'true' if node.kill_mode == 'mixed' else 'false'}",
        "autorestart=unexpected",
    ]
    return "\n".join(lines) + "\n"


def _supervisor_patience(node: Node) -> int:
    """Seconds that a start must last: supervisord believes no other proof, and with 0 it believes every start.

    A worker that has a proof of its own may take its time to fail.
    """
    return max(1 if node.ready.kind == "alive" else 10, math.ceil(node.startsecs))


def _supervisor_command(node: Node, argv: Sequence[str]) -> str:
    """Quotes are closed and opened where supervisord would see the begin of a comment or a name to expand."""
    import shlex

    text = shlex.join(argv)
    if "\n" in text or "\r" in text or _undecodable(text):
        raise _refuse(node, next(word for word in argv if set("\n\r") & set(word) or _undecodable(word)), _SUPERVISOR)
    return _percent(re.sub(r"(?<=\s)(?=[;#])|(?<=%)(?=\()", "''", text))


def _supervisor_text(node: Node, text: str) -> str:
    if not text.isprintable() or _undecodable(text) or re.search(r"\s[;#]|%\(", text) or text != text.strip():
        raise _refuse(node, text, _SUPERVISOR)
    return _percent(text)


def _supervisor_quotes(value: str) -> str:
    """The quotes that a value of ``environment=`` can stand in; empty when there are none."""
    if not value.isprintable() or _undecodable(value) or re.search(r"\s[;#]|%\(", value):
        return ""
    if value.strip("'\"") != value:
        return ""
    return '"' if '"' not in value else "'" if "'" not in value else ""


_SUPERVISOR = "supervisord's configuration cannot hold it"


def _percent(text: str) -> str:
    return text.replace("%", "%%")


# --- containers -------------------------------------------------------------------------------------------


def _compose(order: Order) -> Mapping[str, str]:
    lines = ["# MULTI_IMAGE is the image that holds the worker's program.", "services:"]
    for name, node in _unique(order.nodes, lambda node: _ascii(node.short)):
        missing = ("umask", "nice", "env", "logfile", "kill_mode", "reload_signal", *(() if node.uid else ("gid",)))
        lines += [
            f"  {json.dumps(name)}:",
            *(f"    # {remark}" for remark in _remarks(order, node, *missing)),
            "    image: ${MULTI_IMAGE:?the image with the worker}",
            f"    command: {_compose_text(node, list(node.words))}",
            "    init: true",
            f"    stop_signal: SIG{signal_name(node.stop.first)}",
            f"    stop_grace_period: {_whole_stop_seconds(node)}s",
            "    restart: on-failure",
        ]
        if node.workdir:
            lines.append(f"    working_dir: {_compose_text(node, node.workdir)}")
        if node.uid:
            lines.append(f"    user: {_compose_text(node, node.uid + (':' + node.gid if node.gid else ''))}")
        if _set_env(node):
            lines.append(f"    environment: {_compose_text(node, dict(_set_env(node)))}")
        if node.rlimits:
            limits = {limit.lower(): {"soft": soft, "hard": hard} for limit, soft, hard in node.rlimits}
            lines.append(f"    ulimits: {json.dumps(limits)}")
    return {"compose.yaml": "\n".join(lines) + "\n"}


def _compose_text(node: Node, value: object) -> str:
    """``$`` would begin a variable."""
    return _yaml(node, value).replace("$", "$$")


def _yaml(node: Node, value: object, indent: int | None = None) -> str:
    """JSON is YAML, but for what YAML has no pairs of escapes for, and what it does not allow unescaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if _undecodable(text):
        raise _refuse(node, next(char for char in text if _undecodable(char)), "YAML can hold nothing but Unicode")
    return "".join(_yaml_character(char) for char in text)


def _yaml_character(char: str) -> str:
    if char.isprintable() or char == "\n":  # a newline within a string is escaped already
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004 -- four digits


def _kubernetes(order: Order) -> Mapping[str, str]:
    named = _unique(order.nodes, _label)
    return {f"{name}.yaml": _deployment(order, name, node) for name, node in named}


def _label(node: Node) -> str:
    name = _ascii(node.short, "").lower().strip("-") or "node"
    if len(name) > _LONGEST_LABEL:
        why = f"is longer than the {_LONGEST_LABEL} characters that a name may have in Kubernetes"
        raise UsageError(node.name, why, "give the node a shorter name")
    return name


_LONGEST_LABEL = 63  # RFC 1123


def _deployment(order: Order, name: str, node: Node) -> str:
    container: dict[str, object] = {
        "name": name,
        "image": "IMAGE",
        "command": [_kubernetes_word(word) for word in node.words],
    }
    if node.workdir:
        container["workingDir"] = node.workdir
    if _set_env(node):
        container["env"] = [{"name": key, "value": _kubernetes_word(value)} for key, value in _set_env(node)]
    probe = _probe(node)
    if probe:
        container["readinessProbe"] = probe
    spec: dict[str, object] = {"terminationGracePeriodSeconds": _whole_stop_seconds(node), "containers": [container]}
    if node.uid is not None:
        spec["securityContext"] = _security(node, node.uid)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # one node, one process: never an old and a new one side by side
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }
    lone_group = () if node.uid else ("gid",)  # a container engine takes a group beside a user only
    missing = ("umask", "nice", "rlimit", "env", "logfile", "kill_mode", "reload_signal", *lone_group)
    remarks = [
        "IMAGE is the image that holds the worker's program.",
        *_remarks(order, node, *missing, proof=bool(probe)),
        *([f"Kubernetes sends TERM, unless the image has a STOPSIGNAL; this node wants {signal_name(node.stop.first)}."]
          if signal_name(node.stop.first) != "TERM" else []),
        *(["the probe connects to the pod's own address: listen there, not on localhost alone"]
          if node.ready.kind == "tcp" else []),
    ]  # fmt: skip
    return "".join(f"# {remark}\n" for remark in remarks) + _yaml(node, deployment, indent=2) + "\n"


def _security(node: Node, uid: str) -> dict[str, object]:
    """Who the pod runs as. The kubelet itself refuses to run it as root where that was not asked for."""
    user = _number(node, "user", "uid", uid)
    group = {} if node.gid is None else {"runAsGroup": _number(node, "group", "gid", node.gid)}
    return {"runAsUser": user, **group, "runAsNonRoot": user != 0}


def _number(node: Node, kind: str, setting: str, word: str) -> int:
    if word == "root":
        return 0
    if word.isascii() and word.isdigit():
        return int(word)
    raise UsageError(
        node.name,
        f"has the {kind} {word!r}, and Kubernetes takes numbers alone",
        f"say the number that it has in the image, as in --{setting}=1000",
    )


def _kubernetes_word(text: str) -> str:
    """``$(NAME)`` would be a variable, and ``$$`` is one dollar sign.

    The kubelet breaks a character of several bytes after any other dollar sign. What needs no escape gets none: not all
    that play such files take it away again.
    """
    return re.sub(r"\$(?=[$(]|[^\x00-\x7f])", "$$", text)


def _probe(node: Node) -> dict[str, object]:
    import shlex

    what = node.ready.what
    match node.ready.kind:
        case "tcp":
            return {"tcpSocket": {"port": int(what.rpartition(":")[2])}}
        case "file":
            command = ["test", "-e", what]
        case "exec":
            command = shlex.split(what)
        case _:
            return {}
    return {"exec": {"command": [_kubernetes_word(word) for word in command]}}


# --- launchd and Procfile --------------------------------------------------------------------------------------


def _launchd(order: Order) -> Mapping[str, str]:
    named = _unique(order.nodes, lambda node: _ascii(node.short))
    return {f"multi.{name}.plist": _plist(order, name, node) for name, node in named}


def _plist(order: Order, name: str, node: Node) -> str:
    import plistlib

    job: dict[str, object] = {
        "Label": f"multi.{name}",
        "ProgramArguments": list(node.words),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": _whole_stop_seconds(node),
    }
    optional: dict[str, object] = {
        "WorkingDirectory": node.workdir,
        "UserName": node.uid,
        "GroupName": node.gid,
        "Umask": node.umask,
        "Nice": node.nice,
        "EnvironmentVariables": dict(_set_env(node)) or None,
        "AbandonProcessGroup": True if node.kill_mode == "process" else None,
    }
    job.update({key: value for key, value in optional.items() if value is not None})
    if node.logs_to_file or node.logfile == "/dev/null":
        job["StandardOutPath"] = job["StandardErrorPath"] = node.logfile
    lost: list[str] = []
    for kind, which in (("SoftResourceLimits", 1), ("HardResourceLimits", 2)):
        limits: dict[str, object] = {}
        for limit in node.rlimits:
            word = _LAUNCHD_LIMITS.get(limit[0].upper())
            value = limit[which]
            if word is None or not isinstance(value, int) or value < 0:
                lost.append(limit[0])
            else:
                limits[word] = value
        if limits:
            job[kind] = limits
    remarks = _remarks(order, node, "env", "reload_signal", "first")
    if lost:
        remarks.append(f"not exported, because there is no word for it here: rlimit {' '.join(dict.fromkeys(lost))}")
    try:
        if any("\r" in text for text in _strings(job)):
            raise ValueError  # noqa: TRY301 -- plistlib would write LF in its place
        text = plistlib.dumps(job, sort_keys=False).decode("utf-8")
    except (ValueError, UnicodeError):
        why = "has a character in its settings that a property list cannot hold"
        raise UsageError(node.name, why, "take it out, or export it to sysv") from None
    head, newline, rest = text.partition("\n")
    return head + newline + "".join(f"<!-- {remark.replace('--', '- -')} -->\n" for remark in remarks) + rest


def _strings(value: object) -> Iterator[str]:
    """All that a property list is made of."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


_LAUNCHD_LIMITS = {
    "NOFILE": "NumberOfFiles",
    "NPROC": "NumberOfProcesses",
    "CORE": "Core",
    "CPU": "CPU",
    "DATA": "Data",
    "FSIZE": "FileSize",
    "MEMLOCK": "MemoryLock",
    "RSS": "ResidentSetSize",
    "STACK": "Stack",
}


def _procfile(order: Order) -> Mapping[str, str]:
    import shlex

    missing = ("uid", "gid", "rlimit", "logfile", "kill_mode", "reload_signal", "first")
    lines: list[str] = []
    for name, node in _unique(order.nodes, lambda node: _ascii(node.short, "-_")):
        lines += [f"# {name}: {remark}" for remark in _remarks(order, node, *missing)]
        first = [f"cd {shlex.quote(node.workdir)}"] if node.workdir else []
        first += [f"umask {node.umask:03o}"] if node.umask is not None else []
        nice = () if node.nice is None else ("nice", "-n", str(node.nice))
        command = " && ".join([*first, f"exec {shlex.join((*nice, *_with_env(node)))}"])
        if len(command.splitlines()) != 1:
            word = next(
                word for word in (node.workdir or "", *_with_env(node)) if word.splitlines() not in ([], [word])
            )
            raise _refuse(node, word, "a line of a Procfile cannot hold it")
        lines.append(f"{name}: {command}")
    return {"Procfile": "\n".join(lines) + "\n"}


FORMS: Mapping[str, Callable[[Order], Mapping[str, str]]] = {
    "systemd": _systemd,
    "sysv": _sysv,
    "cron": _cron,
    "supervisord": _supervisord,
    "kubernetes": _kubernetes,
    "compose": _compose,
    "launchd": _launchd,
    "procfile": _procfile,
}
