"""The configuration of supervisord."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from multi.export.form import (
    Form,
    Order,
    ascii_name,
    comments,
    logs_itself,
    refusal,
    set_env,
    undecodable,
    unique,
    whole_stop_seconds,
    with_env,
)
from multi.model.schedule import signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.model.node import Node


def _supervisord(order: Order) -> Mapping[str, str]:
    named = unique(order.nodes, lambda node: ascii_name(node.short))
    return {"multi.conf": "\n".join(_program_section(order, name, node) for name, node in named)}


def _program_section(order: Order, name: str, node: Node) -> str:
    plain = [(key, value) for key, value in set_env(node) if _supervisor_quotes(value)]
    hard = {key for key, value in set_env(node) if not _supervisor_quotes(value)}
    lines = [f"[program:{name}]"]
    lines += [f"; {remark}" for remark in comments(order, node, "gid", "nice", "rlimit", "reload_signal")]
    lines.append(f"command={_supervisor_command(node, with_env(node, hard))}")
    if node.workdir:
        lines.append(f"directory={_supervisor_text(node, node.workdir)}")
    if node.uid:
        lines.append(f"user={_supervisor_text(node, node.uid)}")
    if node.umask is not None:
        lines.append(f"umask={node.umask:03o}")
    if plain:
        quoted = ((key, _percent(value), _supervisor_quotes(value)) for key, value in plain)
        lines.append("environment=" + ",".join(f"{key}={quote}{value}{quote}" for key, value, quote in quoted))
    if logs_itself(node) and node.logs_to_file:
        # supervisord opens it as root, and a worker of another user could not open it any more.
        lines.append("; the worker opens its log itself; what it prints besides is in a log of supervisord's")
    elif node.logfile == "/dev/null":
        lines.append("stdout_logfile=NONE")  # `supervisorctl clear` removes what is named here, and runs as root
    elif node.logs_to_file:
        lines += [f"stdout_logfile={_supervisor_text(node, node.logfile)}", "stdout_logfile_maxbytes=0"]
    lines += [
        "redirect_stderr=true",
        f"startsecs={_supervisor_stop_seconds(node)}",
        "startretries=10",
        f"stopsignal={signal_name(node.stop.first)}",
        f"stopwaitsecs={whole_stop_seconds(node)}",
        f"killasgroup={'true' if node.kill_mode == 'mixed' else 'false'}",
        "autorestart=unexpected",
    ]
    return "\n".join(lines) + "\n"


def _supervisor_stop_seconds(node: Node) -> int:
    """Seconds that a start must last: supervisord believes no other proof, and with 0 it believes every start.

    A worker that has a proof of its own may take its time to fail.
    """
    return max(1 if node.ready.kind == "alive" else 10, math.ceil(node.startsecs))


def _supervisor_command(node: Node, argv: Sequence[str]) -> str:
    """Quotes are closed and opened where supervisord would see the begin of a comment or a name to expand."""
    import shlex

    text = shlex.join(argv)
    if "\n" in text or "\r" in text or undecodable(text):
        raise refusal(node, next(word for word in argv if set("\n\r") & set(word) or undecodable(word)), _SUPERVISOR)
    return _percent(re.sub(r"(?<=\s)(?=[;#])|(?<=%)(?=\()", "''", text))


def _supervisor_text(node: Node, text: str) -> str:
    if not text.isprintable() or undecodable(text) or re.search(r"\s[;#]|%\(", text) or text != text.strip():
        raise refusal(node, text, _SUPERVISOR)
    return _percent(text)


def _supervisor_quotes(value: str) -> str:
    """The quotes that a value of ``environment=`` can stand in; empty when there are none."""
    if not value.isprintable() or undecodable(value) or re.search(r"\s[;#]|%\(", value):
        return ""
    if value.strip("'\"") != value:
        return ""
    return '"' if '"' not in value else "'" if "'" not in value else ""


_SUPERVISOR = "supervisord's configuration cannot hold it"


def _percent(text: str) -> str:
    return text.replace("%", "%%")


FORM = Form(files=_supervisord, foreground=True, here=True)
