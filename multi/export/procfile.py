"""A Procfile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.export.form import Form, Order, ascii_name, comments, refusal, unique, with_env

if TYPE_CHECKING:
    from collections.abc import Mapping


def _procfile(order: Order) -> Mapping[str, str]:
    import shlex

    missing = ("uid", "gid", "rlimit", "logfile", "kill_mode", "reload_signal", "first")
    lines: list[str] = []
    for name, node in unique(order.nodes, lambda node: ascii_name(node.short, "-_")):
        lines += [f"# {name}: {remark}" for remark in comments(order, node, *missing)]
        first = [f"cd {shlex.quote(node.workdir)}"] if node.workdir else []
        first += [f"umask {node.umask:03o}"] if node.umask is not None else []
        nice = () if node.nice is None else ("nice", "-n", str(node.nice))
        command = " && ".join([*first, f"exec {shlex.join((*nice, *with_env(node)))}"])
        if len(command.splitlines()) != 1:
            word = next(word for word in (node.workdir or "", *with_env(node)) if word.splitlines() not in ([], [word]))
            raise refusal(node, word, "a line of a Procfile cannot hold it")
        lines.append(f"{name}: {command}")
    return {"Procfile": "\n".join(lines) + "\n"}


FORM = Form(files=_procfile, foreground=True)
