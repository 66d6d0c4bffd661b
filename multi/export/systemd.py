"""Unit files of systemd."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from multi.export import form
from multi.export.form import Form, Order
from multi.model.node import Node
from multi.model.schedule import FOREVER, signal_name
from multi.text import printable, seconds_text


def _systemd(order: Order) -> Mapping[str, str]:
    named = list(form.named(order))
    units = {node.name: f"multi-{name}.service" for name, node in named}
    after = {node.name: [units[name] for name in node.after if name in units] for _, node in named}
    return {units[node.name]: _unit(order, node, after[node.name]) for _, node in named}


def _unit(order: Order, node: Node, after: Sequence[str]) -> str:
    notify = node.ready.sign == "word"
    remarks = form.comments(order, node, proof=notify, killed=False, ordered=True)
    lines = [
        "[Unit]",
        f"Description={printable(node.name).replace('%', '%%')}",
        f"After={' '.join(('network.target', *after))}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *(f"# {remark}" for remark in remarks),
        f"Type={'notify' if notify else 'exec'}",
        *(["NotifyAccess=all", f"TimeoutStartSec={seconds_text(max(node.ready_timeout, 1))}"] if notify else []),
        "ExecStart=" + " ".join(_word(word, command=True) for word in _command(node)),
        *([f"WorkingDirectory={_text(node, node.workdir)}"] if node.workdir else []),
        *([f"User={_text(node, node.uid)}"] if node.uid else []),
        *([f"Group={_text(node, node.gid)}"] if node.gid else []),
        *([f"UMask={node.umask:04o}"] if node.umask is not None else []),
        *([f"Nice={node.nice}"] if node.nice is not None else []),
        *(f"Limit{name.upper()}={_limit(soft)}:{_limit(hard)}" for name, soft, hard in node.rlimits),
        *(f"Environment={_variable(node, name, value)}" for name, value in form.set_env(node).items()),
        *(_TELL if notify else ()),
        *(f"UnsetEnvironment={name}" for name in form.unset_env(node)),
        *_log(node),
        f"KillSignal=SIG{signal_name(node.stop.first)}",
        f"KillMode={node.kill_mode}",
        *_stop_seconds(node),
        *([f"ExecReload=/bin/kill -{signal_name(node.reload_signal)} $MAINPID"] if node.reload_signal else []),
        "Restart=on-failure",
        "RestartSec=10",
        "OOMPolicy=continue",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


_TELL = ("# a plug-in of multi in the worker says READY=1 only where this is set", "Environment=MULTI_INSTANCE=systemd")


def _command(node: Node) -> Sequence[str]:
    """A program with quotes, backslashes or signs of systemd's own in its name is for a shell: systemd takes none."""
    argv = node.words
    for word in filter(form.undecodable, argv):
        raise form.refusal(node, word, "systemctl cannot show what is not UTF-8")
    plain = argv[0].isprintable() and not set(argv[0]) & set("\"'\\$") and argv[0][:1] not in "-@:+!|"
    return argv if plain else ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)


def _log(node: Node) -> list[str]:
    if node.logfile == "/dev/null":
        return ["StandardOutput=null", "StandardError=inherit"]
    if not node.logs_to_file:
        return []
    directory = f"# this directory has to be there: {printable(node.logfile.rpartition('/')[0] or '/')}"
    if form.logs_itself(node):
        # systemd opens it as root, and a worker of another user could not open it any more.
        return [directory, "# the worker opens its log itself; what it prints besides is in the journal"]
    return [directory, f"StandardOutput=append:{_text(node, node.logfile)}", "StandardError=inherit"]


def _stop_seconds(node: Node) -> list[str]:
    seconds = form.stop_seconds(node)
    if seconds == FOREVER:
        return ["TimeoutStopSec=infinity"]
    lines = [f"TimeoutStopSec={max(1, math.ceil(seconds))}"]  # systemd takes 0 for infinity
    return lines if form.kills(node) else [*lines, "SendSIGKILL=no"]


def _limit(value: int) -> str:
    return "infinity" if value < 0 else str(value)


def _text(node: Node, text: str) -> str:
    """A value that systemd reads as it is, without specifiers (systemd.unit(5))."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise form.refusal(node, text, "systemd takes no such path")
    return text.replace("%", "%%")


def _variable(node: Node, name: str, value: str) -> str:
    if form.undecodable(value):
        raise form.refusal(node, value, "systemd takes no variable that is not UTF-8")
    return _word(f"{name}={value}")


def _word(text: str, *, command: bool = False) -> str:
    """One word in systemd's quoting (systemd.syntax(7)); in a command line also safe from variables."""
    escaped = "".join(_character(char) for char in text).replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    plain = text and all(char.isalnum() or char in "_-./=:,@+%" for char in text)
    return escaped if plain else f'"{escaped}"'


def _character(char: str) -> str:
    if char in '\\"':
        return "\\" + char
    return char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8"))


FORMS = {"systemd": Form(files=_systemd, foreground=True, here=True)}
