"""Manifests for Kubernetes: a Deployment a node, a StatefulSet for counted nodes.

They keep to the Pod Security Standard "restricted", unless root was asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence

from multi.errors import UsageError
from multi.export import container, form
from multi.export.container import HOME, PROBE_SECONDS, Service
from multi.export.form import Form, Order, Wanted
from multi.model.node import Ready
from multi.model.proof import address
from multi.text import exact_size
from multi.typed import Any

_LONGEST_LABEL = 63  # RFC 1123
_STARTING = 5  # seconds between two questions whether it is ready


def _kubernetes(order: Order) -> Mapping[str, str]:
    files: dict[str, str] = {}
    container.check_namespace(order, "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
    for service in container.services(order, lambda name: form.ascii_name(name, "").lower().strip("-") or "node"):
        if len(service.label) > _LONGEST_LABEL:
            why = f"is longer than the {_LONGEST_LABEL} characters that a name may have in Kubernetes"
            raise UsageError(service.node.name, why, "give the node a shorter name")
        files |= _Manifests(order, service).files()
    return files


class _Manifests:
    """The files of one service."""

    def __init__(self, order: Order, service: Service) -> None:
        self._order = order
        self._service = service
        self._node = service.node
        self._label = service.label
        self._of_preset, self._said = container.variables(order, service)
        for name in self._said:
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", name):
                raise form.refusal(self._node, name, "a ConfigMap takes other names")
        self._single = container.is_single(order, service)
        self._counted = len(service.nodes) > 1 and not self._single

    def files(self) -> dict[str, str]:
        label = self._label
        files = {f"{label}.yaml": self._text(self._workload(), self._remarks())}
        if self._said:
            name = f"{label}-env"
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(name), "data": self._said}
            files[f"{name}.yaml"] = self._text(config)
        if self._counted:
            headless = {"clusterIP": "None", "selector": self._selector()}
            service = {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(label), "spec": headless}
            files[f"{label}-service.yaml"] = self._text(service)
        return files

    def _text(self, manifest: Mapping[str, object], remarks: Sequence[str] = ()) -> str:
        lines = ["---", *(f"# {remark}" for remark in remarks), *container.yaml(self._node, manifest)]
        return "\n".join(lines) + "\n"

    def _metadata(self, name: str) -> dict[str, Any]:
        return form.present({"name": name, "namespace": self._order.wanted.namespace or None, "labels": self._labels()})

    def _selector(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self._label, "app.kubernetes.io/instance": self._label}

    def _labels(self) -> dict[str, str]:
        component = form.ascii_name(self._node.preset, "-_.").strip("-_.")[:_LONGEST_LABEL] or "worker"
        about = {"app.kubernetes.io/component": component, "app.kubernetes.io/managed-by": "multi"}
        return {**self._selector(), **about}

    def _workload(self) -> dict[str, Any]:
        count = self._order.wanted.replicas or len(self._service.nodes)
        counted = {"serviceName": self._label, "podManagementPolicy": "Parallel"}
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet" if self._counted else "Deployment",
            "metadata": self._metadata(self._label),
            "spec": {
                "replicas": count,
                **(counted if self._counted else self._strategy(count)),
                "selector": {"matchLabels": self._selector()},
                "template": {"metadata": self._pod_metadata(), "spec": self._pod()},
            },
        }

    def _strategy(self, count: int) -> dict[str, Any]:
        """Of a bare command nobody knows whether two may run side by side, and one alone must never be two."""
        if self._single or (count == 1 and self._node.preset == "exec"):
            return {"strategy": {"type": "Recreate"}}
        return {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}

    def _pod_metadata(self) -> dict[str, Any]:
        """A pod does not notice by itself that its ConfigMap has changed: its digest is part of the pod."""
        digest = hashlib.sha256(json.dumps(self._said, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
        annotations = {"multi/env-digest": digest[:16]} if self._said else None
        return form.present({"labels": self._labels(), "annotations": annotations})

    def _pod(self) -> dict[str, Any]:
        node = self._node
        return form.present(
            {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": self._service.grace,
                "securityContext": None if node.uid is None else self._user(node.uid),
                "containers": [self._container()],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        )

    def _container(self) -> dict[str, Any]:
        node, service = self._node, self._service
        sources = [{"secretRef": {"name": f"{self._label}-secret"}}] if node.env_files else []
        sources += [{"configMapRef": {"name": f"{self._label}-env"}}] if self._said else []
        env = [{"name": name, "value": _expanded(value)} for name, value in self._of_preset.items()]
        health = _exec(service.probe)
        alive = None if node.alive is None else _asked(node.alive)
        often = {"periodSeconds": max(1, round(node.alive_every)), "failureThreshold": node.alive_failures}
        tries = max(1, math.ceil(max(node.ready_timeout, 1) / _STARTING))
        return form.present(
            {
                "name": self._label,
                "image": self._order.wanted.image or "IMAGE",
                "command": [_expanded(word) for word in service.run.words()],
                "workingDir": node.workdir,
                "envFrom": sources or None,
                "env": env or None,
                "resources": self._resources(),
                "startupProbe": {**health, "periodSeconds": _STARTING, "failureThreshold": tries},
                "readinessProbe": _asked(node.ready) or health,
                "livenessProbe": {**(alive or health), **often},
                "securityContext": self._restricted(),
                "volumeMounts": [{"name": "tmp", "mountPath": HOME}],
            }
        )

    def _resources(self) -> dict[str, Any] | None:
        """A limit of the processor would only slow a worker down; one of memory is what is reserved for it."""
        wanted = self._order.wanted
        memory = None if wanted.memory is None else exact_size(wanted.memory, ("", "Ki", "Mi", "Gi"))
        cpu = None if wanted.cpu is None else f"{wanted.cpu}m"
        requests = form.present({"cpu": cpu, "memory": memory})
        limits = {"memory": memory} if memory else None
        return form.present({"requests": requests, "limits": limits}) if requests else None

    def _user(self, uid: str) -> dict[str, object]:
        """Who the pod runs as. The kubelet itself refuses to run it as root where that was not asked for."""
        user = self._number("user", "uid", uid)
        gid = self._node.gid
        group = {} if gid is None else {"runAsGroup": self._number("group", "gid", gid)}
        return {"runAsUser": user, **group, "runAsNonRoot": user != 0}

    def _restricted(self) -> dict[str, Any]:
        """Who runs it is the image's to say where nobody says it here, but never root."""
        return {
            **({"runAsNonRoot": True} if self._node.uid is None else {}),
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }

    def _number(self, kind: str, setting: str, word: str) -> int:
        found = container.number_of(word)
        if found is None:
            why = f"has the {kind} {word!r}, and Kubernetes takes numbers alone"
            raise UsageError(self._node.name, why, f"say the number that it has in the image, as in --{setting}=1000")
        return found

    def _remarks(self) -> list[str]:
        node = self._node
        found: list[str] = []
        if node.restart == "on-failure":
            found.append("restart = on-failure: Kubernetes starts it again whichever way it ended")
        if node.env_files:
            files = " ".join(f"--from-env-file={shlex.quote(path)}" for path in node.env_files)
            found.append(f"its variables are a Secret: kubectl create secret generic {self._label}-secret {files}")
        if node.after:
            names = " ".join(name.partition("@")[0] for name in node.after)
            found.append(f"does not wait here for {names}; 'needs' is waited for in the pod")
        if node.uid is None:
            found.append(
                "who runs it is the image's USER, which has to be a number and not 0; or export it with --uid=NUMBER"
            )
        if node.ready.port or (node.alive is not None and node.alive.port):
            found.append("the probe connects to the pod's own address: listen there, not on localhost alone")
        return [*container.no_image(self._order), *container.remarks(self._order, self._service, ["restart"], *found)]


def _exec(command: Sequence[str]) -> dict[str, Any]:
    return {"exec": {"command": [_expanded(word) for word in command]}, "timeoutSeconds": PROBE_SECONDS}


def _asked(ready: Ready) -> dict[str, Any] | None:
    """What the kubelet can ask for itself."""
    if not ready.port:
        return None
    port = address(ready.port)[1]
    asked = {"httpGet": {"path": ready.page, "port": port}} if ready.page else {"tcpSocket": {"port": port}}
    return {**asked, "timeoutSeconds": PROBE_SECONDS}


def _expanded(text: str) -> str:
    """What the kubelet expands to `text`: ``$(NAME)`` would be a variable, and ``$$`` is one dollar sign.

    The kubelet breaks a character of several bytes after any other dollar sign. What needs no escape gets none: not all
    that play such files take it away again.
    """
    return re.sub(r"\$(?=[$(]|[^\x00-\x7f])", "$$", text)


_INDEX = "kustomization.yaml"


def _kustomization(files: Mapping[str, str], wanted: Wanted) -> Mapping[str, str]:
    """What ``kubectl apply -k`` reads. It is no manifest."""
    if _INDEX in files:
        raise UsageError(_INDEX, "is what lists the files, and a node would have it", "give the node another name")
    lines = ["---", "apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
    lines += [f"namespace: {json.dumps(wanted.namespace)}"] if wanted.namespace else []
    lines += ["resources:", *(f"  - {path}" for path in files)]
    return {_INDEX: "\n".join(lines) + "\n"}


FORMS = {"kubernetes": Form(files=_kubernetes, foreground=True, delegates=True, containers=True, index=_kustomization)}
