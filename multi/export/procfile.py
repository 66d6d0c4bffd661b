"""A Procfile."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from multi.export.form import (
    Form,
    Order,
    ascii_name,
    comments,
    first_signal,
    named,
    refusal,
    set_env,
    with_env,
    with_limits,
)


def _procfile(order: Order) -> Mapping[str, str]:
    held = ("umask", "nice", "rlimit")
    lines: list[str] = []
    for name, node in named(order, lambda node: ascii_name(node.short, "-_")):
        lines += [f"# {name}: {remark}" for remark in comments(order, node, held, *first_signal(node))]
        words = with_limits(node, with_env(node, set_env(node)))
        command = f"exec {shlex.join(words)}"
        if node.umask is not None:
            command = f"umask {node.umask:03o} && {command}"
        if node.workdir:
            command = f"cd {shlex.quote(node.workdir)} && {command}"
        if len(command.splitlines()) != 1:
            word = next(word for word in (node.workdir or "", *words) if word.splitlines() not in ([], [word]))
            raise refusal(node, word, "a line of a Procfile cannot hold it")
        lines.append(f"{name}: {command}")
    return {"Procfile": "\n".join(lines) + "\n"}


FORMS = {"procfile": Form(files=_procfile, foreground=True)}
