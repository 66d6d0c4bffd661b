"""A Compose file: a service a node."""

from __future__ import annotations

from collections.abc import Mapping

from multi.export import container, form
from multi.export.container import HOME, Service
from multi.export.form import Form, Order
from multi.text import exact_size
from multi.typed import Any

_IMAGE = "${MULTI_IMAGE:?the image with the worker and multi}"


def _compose(order: Order) -> Mapping[str, str]:
    container.check_namespace(order, "[a-z0-9][-_a-z0-9]*")
    made = container.services(order, form.ascii_name)
    labels = {name: service.label for service in made for name in service.nodes}
    wanted = order.wanted
    lines = [f"# {remark}" for remark in container.no_image(order, "MULTI_IMAGE")]
    lines += [f"name: {container.scalar(made[0].node, wanted.namespace)}"] if wanted.namespace else []
    lines.append("services:")
    for service in made:
        body = container.yaml(service.node, _service(order, service, labels), 4)
        image = container.scalar(service.node, wanted.image) if wanted.image else _IMAGE
        lines += [
            f"  {container.scalar(service.node, service.label)}:",
            *(f"    # {remark}" for remark in _remarks(order, service, labels)),
            f"    image: {image}",
            *(line.replace("$", "$$") for line in body),  # no variables
        ]
    return {"compose.yaml": "\n".join(lines) + "\n"}


def _service(order: Order, service: Service, labels: Mapping[str, str]) -> dict[str, Any]:
    node = service.node
    container.is_single(order, service)
    first = [labels[name] for name in node.after if name in labels and labels[name] != service.label]
    of_preset, said = container.variables(order, service)
    return form.present(
        {
            "command": service.run.words(without=("--rlimit",)),
            "depends_on": {each: {"condition": "service_healthy"} for each in dict.fromkeys(first)} or None,
            "env_file": list(node.env_files) or None,
            "environment": {**of_preset, **said} or None,
            "working_dir": node.workdir,
            "user": node.uid and node.uid + (f":{node.gid}" if node.gid else ""),
            "stop_signal": "SIGTERM",
            "stop_grace_period": f"{service.grace}s",
            # Docker starts none with on-failure again after itself, and `multi run` that is told to stop ends with 0.
            "restart": "unless-stopped" if node.restart == "no" else node.restart,
            "healthcheck": {"test": ["CMD", *service.probe], **service.health},
            "read_only": True,
            "tmpfs": [HOME],
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "ulimits": {limit.lower(): {"soft": soft, "hard": hard} for limit, soft, hard in node.rlimits} or None,
            "deploy": _deploy(order, service),
        }
    )


def _deploy(order: Order, service: Service) -> dict[str, Any] | None:
    wanted = order.wanted
    limits = form.present(
        {
            "cpus": None if wanted.cpu is None else f"{wanted.cpu / 1000:g}",
            "memory": None if wanted.memory is None else exact_size(wanted.memory, container.UNITS),
        }
    )
    count = wanted.replicas or len(service.nodes)
    resources = {"limits": limits} if limits else None
    return form.present({"replicas": count if count > 1 else None, "resources": resources}) or None


def _remarks(order: Order, service: Service, labels: Mapping[str, str]) -> list[str]:
    lost = container.no_wait(service, labels)
    if service.node.env_files:
        lost.append("Compose reads the files of env_file by rules of its own: it fills in $NAME")
    return container.remarks(order, service, ("restart",), *lost)


FORMS = {"compose": Form(files=_compose, foreground=True, delegates=True, containers=True)}
