"""Files for containers: Kubernetes and Compose."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from multi.errors import UsageError
from multi.export import form
from multi.export.form import Form, Order
from multi.model.node import Node
from multi.model.proof import address
from multi.model.schedule import signal_name

_LONGEST_LABEL = 63  # RFC 1123


def _compose(order: Order) -> Mapping[str, str]:
    lines = ["# MULTI_IMAGE is the image that holds the worker's program.", "services:"]
    missing = ("umask", "nice", "env", "logfile", "kill_mode", "reload_signal", "gid without uid")
    for name, node in form.named(order):
        service = form.present(
            {
                "command": list(node.words),
                "init": True,
                "stop_signal": f"SIG{signal_name(node.stop.first)}",
                "stop_grace_period": f"{form.whole_stop_seconds(node)}s",
                "restart": "on-failure",
                "working_dir": node.workdir,
                "user": node.uid and node.uid + (f":{node.gid}" if node.gid else ""),
                "environment": form.set_env(node) or None,
                "ulimits": {limit.lower(): {"soft": soft, "hard": hard} for limit, soft, hard in node.rlimits} or None,
            }
        )
        lines += [
            f"  {json.dumps(name)}:",
            *(f"    # {remark}" for remark in form.comments(order, node, *missing)),
            "    image: ${MULTI_IMAGE:?the image with the worker}",
            *(f"    {key}: {_yaml(node, value).replace('$', '$$')}" for key, value in service.items()),  # no variables
        ]
    return {"compose.yaml": "\n".join(lines) + "\n"}


def _yaml(node: Node, value: object, indent: int | None = None) -> str:
    """JSON is YAML, but for what YAML has no pairs of escapes for, and what it does not allow unescaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if form.undecodable(text):
        bad = next(char for char in text if form.undecodable(char))
        raise form.refusal(node, bad, "YAML can hold nothing but Unicode")
    return "".join(_yaml_character(char) for char in text)


def _yaml_character(char: str) -> str:
    if char.isprintable() or char == "\n":  # a newline within a string is escaped already
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004 -- four digits


def _kubernetes(order: Order) -> Mapping[str, str]:
    return {f"{name}.yaml": _deployment(order, name, node) for name, node in form.named(order, _label)}


def _label(node: Node) -> str:
    name = form.ascii_name(node.short, "").lower().strip("-") or "node"
    if len(name) > _LONGEST_LABEL:
        why = f"is longer than the {_LONGEST_LABEL} characters that a name may have in Kubernetes"
        raise UsageError(node.name, why, "give the node a shorter name")
    return name


def _deployment(order: Order, name: str, node: Node) -> str:
    env = [{"name": key, "value": _expanded(value)} for key, value in form.set_env(node).items()]
    probe = _probe(node)
    container = {
        "name": name,
        "image": "IMAGE",
        "command": [_expanded(word) for word in node.words],
        "workingDir": node.workdir,
        "env": env or None,
        "readinessProbe": probe,
    }
    pod = {
        "terminationGracePeriodSeconds": form.whole_stop_seconds(node),
        "containers": [form.present(container)],
        "securityContext": None if node.uid is None else _security(node, node.uid),
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # one node, one process: never an old and a new one side by side
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": form.present(pod)},
        },
    }
    missing = ("umask", "nice", "rlimit", "env", "logfile", "kill_mode", "reload_signal", "gid without uid")
    remarks = [
        "IMAGE is the image that holds the worker's program.",
        *form.comments(order, node, *missing, proof=probe is not None),
    ]
    signal = signal_name(node.stop.first)
    if signal != "TERM":
        remarks.append(f"Kubernetes sends TERM, unless the image has a STOPSIGNAL; this node wants {signal}.")
    if node.ready.port:
        remarks.append("the probe connects to the pod's own address: listen there, not on localhost alone")
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
    why = f"has the {kind} {word!r}, and Kubernetes takes numbers alone"
    raise UsageError(node.name, why, f"say the number that it has in the image, as in --{setting}=1000")


def _expanded(text: str) -> str:
    """What the kubelet expands to `text`: ``$(NAME)`` would be a variable, and ``$$`` is one dollar sign.

    The kubelet breaks a character of several bytes after any other dollar sign. What needs no escape gets none: not all
    that play such files take it away again.
    """
    return re.sub(r"\$(?=[$(]|[^\x00-\x7f])", "$$", text)


def _probe(node: Node) -> Mapping[str, object] | None:
    ready = node.ready
    if ready.port:
        port = address(ready.port)[1]
        return {"httpGet": {"path": ready.page, "port": port}} if ready.page else {"tcpSocket": {"port": port}}
    if not ready.path and not ready.command:
        return None
    command = ["test", "-e", ready.path] if ready.path else shlex.split(ready.command)
    return {"exec": {"command": [_expanded(word) for word in command]}}


FORMS = {
    "compose": Form(files=_compose, foreground=True),
    "kubernetes": Form(files=_kubernetes, foreground=True),
}
