"""The configuration of supervisord."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence

from multi.export import form
from multi.export.form import Form, Order
from multi.model.node import Node
from multi.model.schedule import signal_name

_NOT_HELD = "supervisord's configuration cannot hold it"


def _supervisord(order: Order) -> Mapping[str, str]:
    depths, named = _depths(order.nodes), form.named(order)
    sections = [_section(order, name, node, depths[node.name]) for name, node in named]
    members: dict[str, list[tuple[str, Node]]] = {}
    for name, node in named:
        members.setdefault(form.ascii_name(order.groups.get(node.name, "")), []).append((name, node))
    alone = {name for name, _ in members.pop("", ())}
    for group, nodes in members.items():
        title = f"{group}-group" if group in alone else group  # a program without a group is one, with its own name
        lines = [f"[group:{title}]", f"programs={','.join(name for name, _ in nodes)}"]
        depth = max(depths[node.name] for _, node in nodes)
        sections.append("\n".join([*lines, *([f"priority={_FIRST + depth}"] if depth else []), ""]))
    return {"multi.conf": "\n".join(sections)}


def _depths(nodes: Sequence[Node]) -> Mapping[str, int]:
    """How many of the others must be started before each, one after the other; 0 for all where there is no order."""
    after = {node.name: node.after for node in nodes}
    depths = dict.fromkeys(after, 0)
    for _ in nodes:  # there is no circle
        depths = {name: max((depths[each] + 1 for each in after[name] if each in depths), default=0) for name in depths}
    return depths


def _section(order: Order, name: str, node: Node, depth: int) -> str:
    env = form.set_env(node)
    quotes = {key: _quotes(value) for key, value in env.items()}
    plain = [f"{key}={quote}{_percent(env[key])}{quote}" for key, quote in quotes.items() if quote]
    hard = {key: env[key] for key, quote in quotes.items() if not quote}
    lines = [
        f"[program:{name}]",
        *(f"; {remark}" for remark in form.comments(order, node, _held(node), *_signals(node))),
        *([f"; prlimit runs as {node.uid}, who cannot raise a hard limit"] if node.uid and node.rlimits else []),
        f"command={_command(node, form.with_limits(node, form.with_env(node, hard), nice=_may_be_nice(node)))}",
        *([f"priority={_FIRST + depth}"] if node.after or depth else []),
        *([f"directory={_text(node, node.workdir)}"] if node.workdir else []),
        *([f"user={_text(node, node.uid)}"] if node.uid else []),
        *([f"umask={node.umask:03o}"] if node.umask is not None else []),
        *(["environment=" + ",".join(plain)] if plain else []),
        *_log(node),
        "redirect_stderr=true",
        f"startsecs={_start_seconds(node)}",
        "startretries=10",
        f"stopsignal={signal_name(node.stop.first)}",
        f"stopwaitsecs={form.whole_stop_seconds(node)}",
        f"killasgroup={'true' if node.kill_mode == 'mixed' else 'false'}",
        f"autorestart={'true' if node.restart == 'always' else 'unexpected'}",
        *([f"exitcodes={','.join(map(str, node.exit_ok))}"] if node.exit_ok != (0,) else []),
    ]
    return "\n".join(lines) + "\n"


_SIGNAL = 128  # what is above stands for an end by a signal
_FIRST = 999  # supervisord's own: what comes after nothing


def _held(node: Node) -> list[str]:
    held = ["logfile", "uid", "umask", "rlimit", "kill_mode", "startsecs", "restart", "exit_ok"]
    return [*held, "nice"] if _may_be_nice(node) else held


def _signals(node: Node) -> list[str]:
    """To supervisord an end by a signal is never expected."""
    return [f"exit_ok {status} of a signal" for status in node.exit_ok if status > _SIGNAL]


def _may_be_nice(node: Node) -> bool:
    """Whether nice(1), which runs as the node's user, is allowed to."""
    return (node.nice or 0) >= 0 or form.is_root(node)


def _log(node: Node) -> list[str]:
    if node.logfile == "/dev/null":
        return ["stdout_logfile=NONE"]  # `supervisorctl clear` removes what is named here, and runs as root
    if not node.logs_to_file:
        return []
    if form.logs_itself(node):
        # supervisord opens it as root, and a worker of another user could not open it any more.
        return ["; the worker opens its log itself; what it prints besides is in a log of supervisord's"]
    return [f"stdout_logfile={_text(node, node.logfile)}", "stdout_logfile_maxbytes=0"]


def _start_seconds(node: Node) -> int:
    """Seconds that a start must last: supervisord believes no other proof, and with 0, where said, it believes all.

    A worker that has a proof of its own may take its time to fail.
    """
    least = 10 if node.ready.sign != "life" else 0 if node.startsecs_asked else 1
    return max(least, math.ceil(node.startsecs))


def _command(node: Node, argv: Sequence[str]) -> str:
    """Quotes are closed and opened where supervisord would see the begin of a comment or a name to expand."""
    for word in argv:
        if set("\n\r") & set(word) or form.undecodable(word):
            raise form.refusal(node, word, _NOT_HELD)
    return _percent(re.sub(r"(?<=\s)(?=[;#])|(?<=%)(?=\()", "''", shlex.join(argv)))


def _text(node: Node, text: str) -> str:
    if not _plain(text) or text != text.strip():
        raise form.refusal(node, text, _NOT_HELD)
    return _percent(text)


def _quotes(value: str) -> str:
    """The quotes that a value of ``environment=`` can stand in; empty when there are none."""
    if not _plain(value) or value.strip("'\"") != value:
        return ""
    return '"' if '"' not in value else "'" if "'" not in value else ""


def _plain(text: str) -> bool:
    """Whether supervisord sees neither a comment nor a name to expand."""
    return text.isprintable() and not re.search(r"\s[;#]|%\(", text)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


FORMS = {"supervisord": Form(files=_supervisord, foreground=True, here=True)}
