"""Files for containers: Kubernetes and Compose."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.export.form import (
    Form,
    Order,
    ascii_name,
    comments,
    refusal,
    set_env,
    undecodable,
    unique,
    whole_stop_seconds,
)
from multi.model.schedule import signal_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.model.node import Node


def _compose(order: Order) -> Mapping[str, str]:
    lines = ["# MULTI_IMAGE is the image that holds the worker's program.", "services:"]
    for name, node in unique(order.nodes, lambda node: ascii_name(node.short)):
        missing = ("umask", "nice", "env", "logfile", "kill_mode", "reload_signal", *(() if node.uid else ("gid",)))
        lines += [
            f"  {json.dumps(name)}:",
            *(f"    # {remark}" for remark in comments(order, node, *missing)),
            "    image: ${MULTI_IMAGE:?the image with the worker}",
            f"    command: {_compose_text(node, list(node.words))}",
            "    init: true",
            f"    stop_signal: SIG{signal_name(node.stop.first)}",
            f"    stop_grace_period: {whole_stop_seconds(node)}s",
            "    restart: on-failure",
        ]
        if node.workdir:
            lines.append(f"    working_dir: {_compose_text(node, node.workdir)}")
        if node.uid:
            lines.append(f"    user: {_compose_text(node, node.uid + (':' + node.gid if node.gid else ''))}")
        if set_env(node):
            lines.append(f"    environment: {_compose_text(node, dict(set_env(node)))}")
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
    if undecodable(text):
        raise refusal(node, next(char for char in text if undecodable(char)), "YAML can hold nothing but Unicode")
    return "".join(_yaml_character(char) for char in text)


def _yaml_character(char: str) -> str:
    if char.isprintable() or char == "\n":  # a newline within a string is escaped already
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004 -- four digits


def _kubernetes(order: Order) -> Mapping[str, str]:
    named = unique(order.nodes, _label)
    return {f"{name}.yaml": _deployment(order, name, node) for name, node in named}


def _label(node: Node) -> str:
    name = ascii_name(node.short, "").lower().strip("-") or "node"
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
    if set_env(node):
        container["env"] = [{"name": key, "value": _kubernetes_word(value)} for key, value in set_env(node)]
    probe = _probe(node)
    if probe:
        container["readinessProbe"] = probe
    spec: dict[str, object] = {"terminationGracePeriodSeconds": whole_stop_seconds(node), "containers": [container]}
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
        *comments(order, node, *missing, proof=bool(probe)),
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


COMPOSE = Form(files=_compose, foreground=True)
KUBERNETES = Form(files=_kubernetes, foreground=True)
