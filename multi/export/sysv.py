"""An init script, and lines for cron: forms that go on using `multi`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from multi.errors import UsageError
from multi.export.form import Form, Order, refusal
from multi.model.node import Node
from multi.settings.table import BY_FIELD
from multi.settings.values import to_toml
from multi.text import exact_size, flag_values, printable
from multi.typed import TypeAlias
from multi.words.template import literal, literal_path

_Flags: TypeAlias = dict[str, tuple[str, ...]]  # each flag with its values, in the order of the command line
_CRON_LINE = 998  # characters: the longest command that every cron takes


def words(nodes: Sequence[Node], flags_of: Callable[[Node], _Flags]) -> tuple[str, ...]:
    """Names and flags: what is the same for all is said once, anything else for its node."""
    flags = [flags_of(node) for node in nodes]
    said = [node.name for node in nodes]
    for flag in dict.fromkeys(flag for one in flags for flag in one):
        values = [one.get(flag, ()) for one in flags]
        if len(set(values)) == 1:
            said += [f"{flag}={value}" for value in values[0]]
            continue
        for position, node in enumerate(nodes):
            scope = str(position + 1) if "=" in node.name else node.name
            said += [f"{flag}:{scope}={value}" for value in values[position]]
    return tuple(said)


def _whereabouts(node: Node) -> _Flags:
    """What the commands after ``start`` need: where the record is, and whose it is, because root trusts no other."""
    return {"--pidfile": (literal_path(node.pidfile),), "--uid": flag_values(node.uid), "--gid": flag_values(node.gid)}


def _with_log(node: Node) -> _Flags:
    """The same and the log, which `status` shows, also of nodes that are not on record."""
    return {**_whereabouts(node), "--logfile": (literal_path(node.logfile),)}


_FILLED = frozenset({"ready", "probe", "probes", "hooks"})  # settings whose codes are filled in


def settings(node: Node) -> _Flags:
    """All settings, so that ``multi start`` makes exactly this node; env files are read again at each start."""
    flags: _Flags = {"--preset": ("exec",), **_whereabouts(node), "--cmd": (literal(shlex.join(node.words)),)}
    read = dict(node.env_read)
    for name, setting in BY_FIELD.items():
        value = getattr(node, name)
        if name == "startsecs" and not node.startsecs_asked:
            continue
        if name == "env":
            value = tuple(pair for pair in node.env if pair[0] not in read)
        texts = flag_values(exact_size(value) if setting.kind == "size" and value else to_toml(setting, value))
        if setting.kind in {"path", "paths"} or (name == "ready" and node.ready.path):
            texts = tuple(map(literal_path, texts))
        elif setting.kind in _FILLED:
            texts = tuple(map(literal, texts))
        flags[setting.flags[0]] = texts
    return flags


def _sysv(order: Order) -> Mapping[str, str]:
    names = printable(" ".join(node.name for node in order.nodes))
    remarks = "".join(f"# {printable(f'{name}: {remark}')}\n" for name, remark in order.remarks.items())
    program = shlex.join((*order.become, *order.program))
    deaf = " ".join(node.name for node in order.nodes if node.reload_signal is None)
    hearing = [node for node in order.nodes if node.reload_signal is not None]
    reload = 'echo "$0: these nodes have no reload signal; use restart" >&2; exit 3'
    if hearing:
        reload = _sysv_command(program, "reload", order.told or words(hearing, _whereabouts))
    if hearing and deaf:
        skipped = shlex.quote(f"left as it is, because it has no reload signal: {deaf}")
        reload = f"echo {skipped} >&2\n    {reload}"
    return {
        order.title: f"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          {order.title}
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {names}
### END INIT INFO
{remarks}
cd {shlex.quote(order.directory)} || exit 1{_WHY_ROOT if order.directory == "/" else ""}{_sysv_settings(order)}

up() {{{f"{chr(10)}    {order.prepare} || exit 1" if order.prepare else ""}
    {_sysv_command(program, '"$1"', order.told or words(order.nodes, settings))}
}}

known() {{
    {_sysv_command(program, '"$@"', order.told or words(order.nodes, _with_log))}
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


_WHY_ROOT = " # python -m looks into the current directory first"


def _sysv_settings(order: Order) -> str:
    """What reads the file with the administrator's own variables, where there may be one."""
    if not order.told:
        return ""
    file = f"/etc/default/{order.title}"
    return f"""
set -a # every MULTI_* variable is a setting of the nodes
# shellcheck source=/dev/null # the administrator's
[ ! -r {file} ] || . {file}
set +a"""


def _sysv_command(program: str, command: str, told: Sequence[str]) -> str:
    """A command of sh, a word a line."""
    return " \\\n        ".join([f"{program} {command}", *(shlex.quote(word) for word in told)])


def _cron(order: Order) -> Mapping[str, str]:
    lines = [f"# {printable(f'{name}: {remark}')}" for name, remark in order.remarks.items()]
    if order.user is not None:
        lines += ["# PATH: the usual one, and where programs of the nodes were found"] if order.path else []
        lines += ["# m h dom mon dow user command", "SHELL=/bin/sh", f"PATH={order.path or _CRON_PATH}"]
    # multi itself becomes the node's user, so that the directories can be made.
    starter = "root" if order.prepare else order.user
    first = f"{order.prepare} && " if order.prepare else ""
    become = order.become if order.prepare else ()
    for line in _cron_lines(order, (*become, *order.program), ("--quiet", "start"), settings):
        lines.append(f"@reboot {_column(starter)}{first}{line}")
    for line in _cron_lines(order, order.program, ("ensure",), _whereabouts):
        lines.append(f"* * * * * {_column(order.user)}{line}")
    return {order.title: "\n".join(lines) + "\n"}


_CRON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _column(user: str | None) -> str:
    return "" if user is None else f"{user} "


def _cron_lines(
    order: Order, program: tuple[str, ...], command: tuple[str, ...], flags_of: Callable[[Node], _Flags]
) -> list[str]:
    """One command for all nodes, or where that is too long for cron one for each."""
    where = "" if order.directory == "/" else f"cd {_cron_command((order.directory,))} && exec "
    if order.user is None and order.path:
        program = ("env", f"PATH={order.path}", *program)
    if order.told:
        return [where + _cron_command((*program, *command, *order.told))]
    together = where + _cron_command((*program, *command, *words(order.nodes, flags_of)))
    if len(together) <= _CRON_LINE and "\n" not in together:
        return [together]
    lines: list[str] = []
    for node in order.nodes:
        line = where + _cron_command((*program, *command, *words([node], flags_of)))
        if "\n" in line:
            raise refusal(node, "\n", "a line of a crontab cannot hold it")
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
    return re.sub(r"\\(?=[\\%])", r"\\''", shlex.join(argv)).replace("%", "\\%")


FORMS = {
    "sysv": Form(files=_sysv, here=True, delegates=True, mode=0o755),
    "cron": Form(files=_cron, here=True, delegates=True),
}
