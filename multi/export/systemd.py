"""Unit files of systemd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from multi.export.form import (
    Form,
    Order,
    ascii_name,
    comments,
    logs_itself,
    refusal,
    set_env,
    stop_seconds,
    undecodable,
    unique,
    unset_env,
)
from multi.model.schedule import FOREVER, signal_name
from multi.text import printable, seconds_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.model.node import Node


def _systemd(order: Order) -> Mapping[str, str]:
    named = unique(order.nodes, lambda node: ascii_name(node.short))
    return {f"multi-{name}.service": _unit(order, node) for name, node in named}


def _unit(order: Order, node: Node) -> str:
    notify = node.ready.kind == "notify"
    reload = f"ExecReload=/bin/kill -{signal_name(node.reload_signal)} $MAINPID" if node.reload_signal else ""
    service = [
        *(f"# {remark}" for remark in comments(order, node, proof=notify, killed=False)),
        f"Type={'notify' if notify else 'exec'}",
        *(["NotifyAccess=all", f"TimeoutStartSec={seconds_text(max(node.ready_timeout, 1))}"] if notify else []),
        "ExecStart=" + " ".join(_unit_word(word, command=True) for word in _unit_command(node)),
        *([f"WorkingDirectory={_unit_text(node, node.workdir)}"] if node.workdir else []),
        *([f"User={_unit_text(node, node.uid)}"] if node.uid else []),
        *([f"Group={_unit_text(node, node.gid)}"] if node.gid else []),
        *([f"UMask={node.umask:04o}"] if node.umask is not None else []),
        *([f"Nice={node.nice}"] if node.nice is not None else []),
        *(f"Limit{name.upper()}={_unit_limit(soft)}:{_unit_limit(hard)}" for name, soft, hard in node.rlimits),
        *(f"Environment={_unit_variable(node, name, value)}" for name, value in set_env(node)),
        *(_TELL if notify else ()),
        *(f"UnsetEnvironment={name}" for name in unset_env(node)),
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
    for word in filter(undecodable, argv):
        raise refusal(node, word, "systemctl cannot show what is not UTF-8")
    plain = argv[0].isprintable() and not set(argv[0]) & set("\"'\\$") and argv[0][:1] not in "-@:+!|"
    return argv if plain else ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)


def _unit_log(node: Node) -> list[str]:
    if node.logfile == "/dev/null":
        return ["StandardOutput=null", "StandardError=inherit"]
    if not node.logs_to_file:
        return []
    directory = f"# this directory has to be there: {printable(node.logfile.rpartition('/')[0] or '/')}"
    if logs_itself(node):
        # systemd opens it as root, and a worker of another user could not open it any more.
        return [directory, "# the worker opens its log itself; what it prints besides is in the journal"]
    return [directory, f"StandardOutput=append:{_unit_text(node, node.logfile)}", "StandardError=inherit"]


def _unit_stop_seconds(node: Node) -> list[str]:
    seconds = stop_seconds(node)
    # 0 would mean for ever to systemd.
    lines = [f"TimeoutStopSec={'infinity' if seconds == FOREVER else max(1, math.ceil(seconds))}"]
    kills = any(signal_name(stage.signum) == "KILL" for stage in node.stop.stages)
    return lines if kills or seconds == FOREVER else [*lines, "SendSIGKILL=no"]


def _unit_limit(value: int) -> str:
    return "infinity" if value < 0 else str(value)


def _unit_text(node: Node, text: str) -> str:
    """A value that systemd reads as it is, in which its specifiers find nothing (systemd.unit(5))."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise refusal(node, text, "systemd takes no such path")
    return text.replace("%", "%%")


def _unit_variable(node: Node, name: str, value: str) -> str:
    if undecodable(value):
        raise refusal(node, value, "systemd takes no variable that is not UTF-8")
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


FORM = Form(files=_systemd, foreground=True, here=True)
