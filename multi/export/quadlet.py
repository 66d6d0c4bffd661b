"""Podman's Quadlet: a container unit a node, of which Podman makes a service of systemd (podman-systemd.unit(5)).

A file with a key that Podman does not know makes no service. So the keys are those of 4.4, the first that has Quadlet,
and what came later is said as options of `podman run`. All of them come to be words of ``ExecStart``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from multi.errors import UsageError
from multi.export import container, form, systemd
from multi.export.container import HOME, Service
from multi.export.form import Form, Order
from multi.text import exact_size, printable, seconds_text
from multi.value import replace

_PULL_SECONDS = 300  # that a start may take besides, because the image may have to be fetched
_LEAVE_SECONDS = 15  # that Podman has to remove the container, before systemd kills it


def _quadlet(order: Order) -> Mapping[str, str]:
    if order.wanted.replicas is not None:
        why, hint = "cannot be said to Quadlet, which has one container a file", "'multi export quadlet 3' has three"
        raise UsageError(f"--replicas={order.wanted.replicas}", why, hint)
    for service in container.services(order, form.ascii_name):
        container.is_single(order, service)
    made = container.services(order, lambda name: f"multi-{form.ascii_name(name)}", counted=False)
    units = {service.node.name: f"{service.label}.service" for service in made}
    return {f"{service.label}.container": _unit(order, service, units) for service in made}


def _unit(order: Order, service: Service, units: Mapping[str, str]) -> str:
    node = service.node
    after = " ".join(units[name] for name in node.after if name in units)
    waits = node.ready_timeout * (2 if node.needs else 1) + node.startsecs
    lines = [
        *(f"# {remark}" for remark in (*container.no_image(order), *_remarks(order, service, units))),
        "[Unit]",
        f"Description={printable(node.name.partition('@')[0]).replace('%', '%%')}",
        *([f"After={after}", f"Wants={after}"] if after else []),
        *systemd.start_limit(node),
        "",
        "[Container]",
        f"Image={_word(service, order.wanted.image or 'IMAGE', quote=False)}",
        f"Exec={_words(service, service.run.words(without=('--rlimit',)))}",
        *(f"Environment={_word(service, pair)}" for pair in _environment(order, service)),
        *(f"EnvironmentFile={_word(service, path)}" for path in node.env_files),
        *_user(service),
        "ReadOnly=true",
        "NoNewPrivileges=true",
        "DropCapability=all",
        "# systemd waits until the node is ready",
        "Notify=true",
        *(f"PodmanArgs={_words(service, words)}" for words in _arguments(order, service) if words),
        *([] if "@" in service.name else ["# its name is that of a node of this machine", "PodmanArgs=--hostname=%H"]),
        "",
        "[Service]",
        f"TimeoutStartSec={seconds_text(waits + _PULL_SECONDS)}",
        f"TimeoutStopSec={service.grace + _LEAVE_SECONDS}",
        *systemd.restart(replace(node, max_age=None)),
        "",
        "[Install]",
        "WantedBy=multi-user.target default.target",
    ]
    return "\n".join(lines) + "\n"


def _environment(order: Order, service: Service) -> list[str]:
    of_preset, said = container.variables(order, service)
    return [f"{name}={value}" for name, value in {**of_preset, **said}.items()]


def _user(service: Service) -> list[str]:
    """Numbers alone are keys of 4.4."""
    who = [name for name in (service.node.uid, service.node.gid) if name is not None] if service.node.uid else []
    numbers = [container.number_of(name) for name in who]
    if None not in numbers:
        return [f"{key}={number}" for key, number in zip(("User", "Group"), numbers, strict=False)]
    return [f"PodmanArgs={_word(service, '--user=' + ':'.join(who))}"] if who else []


def _arguments(order: Order, service: Service) -> list[list[str]]:
    """Options of `podman run`, those of a line together."""
    node, wanted = service.node, order.wanted
    health = {"cmd": json.dumps(service.probe), **service.health}
    return [
        [f"--tmpfs={HOME}"],
        [f"--stop-timeout={service.grace}", "--stop-signal=SIGTERM"],
        [f"--health-{name.replace('_', '-')}={value}" for name, value in health.items()],
        [f"--ulimit={limit.lower()}={soft}:{hard}" for limit, soft, hard in node.rlimits],
        [] if node.workdir is None else [f"--workdir={node.workdir}"],
        [] if wanted.cpu is None else [f"--cpus={wanted.cpu / 1000:g}"],
        [] if wanted.memory is None else [f"--memory={exact_size(wanted.memory, container.UNITS)}"],
    ]


def _words(service: Service, words: Sequence[str]) -> str:
    return " ".join(_word(service, word) for word in words)


def _word(service: Service, word: str, *, quote: bool = True) -> str:
    """A word that Quadlet reads as systemd does, and that systemd reads once more: ``$`` and ``%`` are doubled."""
    if not word or form.undecodable(word):
        raise form.refusal(service.node, word, "Quadlet takes neither an empty word nor one that is not UTF-8")
    made = systemd.quoted(word, command=True)
    if not quote and made[0] == '"':
        raise form.refusal(service.node, word, "Quadlet takes no such name of an image")
    return made


def _remarks(order: Order, service: Service, units: Mapping[str, str]) -> list[str]:
    lost = container.no_wait(service, units)
    if service.node.env_files:
        lost.append("Podman reads the files of EnvironmentFile by rules of its own: NAME=value without quotes")
    if order.wanted.namespace:
        lost.append(f"not exported, because there is no word for it here: namespace {order.wanted.namespace}")
    return container.remarks(order, service, ("restart", "restart_delay", "restart_limit"), *lost)


FORMS = {"quadlet": Form(files=_quadlet, foreground=True, delegates=True, containers=True)}
