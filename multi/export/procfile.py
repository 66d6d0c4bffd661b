"""A Procfile."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from multi.export import form
from multi.export.form import Form, Order


def _procfile(order: Order) -> Mapping[str, str]:
    held = ("umask", "nice", "rlimit")
    lines: list[str] = []
    for name, node in form.named(order, lambda node: form.ascii_name(node.short, "-_")):
        lines += [f"# {name}: {remark}" for remark in form.comments(order, node, held, *form.first_signal(node))]
        words = form.with_limits(node, form.with_env(node, form.set_env(node)))
        command = f"exec {shlex.join(words)}"
        if node.umask is not None:
            command = f"umask {node.umask:03o} && {command}"
        if node.workdir:
            command = f"cd {shlex.quote(node.workdir)} && {command}"
        if len(command.splitlines()) != 1:
            word = next(word for word in (node.workdir or "", *words) if word.splitlines() not in ([], [word]))
            raise form.refusal(node, word, "a line of a Procfile cannot hold it")
        lines.append(f"{name}: {command}")
    return {"Procfile": "\n".join(lines) + "\n"}


FORMS = {"procfile": Form(files=_procfile, foreground=True)}
