"""The same nodes for another supervisor: files as data, path -> text. Pure; whoever asked writes them.

What another supervisor cannot say is said in a comment of its file, never dropped in silence.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.schedule import FOREVER, signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multi.node import Node

_LONG = 86_400  # seconds: what stands for ``forever`` where a number is needed


def export(form: str, nodes: Sequence[Node], program: tuple[str, ...] = ("multi",)) -> Mapping[str, str]:
    """Files for `form`, by path relative to where they are put. `program` runs `multi`, for forms that go on using it.

    Raises `UsageError` for an unknown form, and for node names that the form cannot tell apart.
    """
    maker = FORMS.get(form)
    if maker is None:
        raise UsageError(form, "is no form that nodes can be exported to", f"it can be {', '.join(FORMS)}")
    return maker(nodes, program)


def words(node: Node) -> tuple[str, ...]:
    """The words after ``multi start`` that make exactly this node, whatever is configured there."""
    import shlex

    said = [node.name, "--preset=exec", f"--cmd={_literal(shlex.join(node.argv))}"]
    said += [f"--pidfile={_literal(node.pidfile)}", f"--logfile={_literal(node.logfile)}"]
    for flag, value in (("workdir", node.workdir), ("uid", node.uid), ("gid", node.gid)):
        if value is not None:
            said.append(f"--{flag}={_literal(value)}")
    if node.umask is not None:
        said.append(f"--umask={node.umask:03o}")
    if node.nice is not None:
        said.append(f"--nice={node.nice}")
    said += [f"--env={name}={_literal(value)}" for name, value in node.env if value is not None]
    said += [f"--rlimit={name}={_limit(soft)}:{_limit(hard)}" for name, soft, hard in node.rlimits]
    said += [f"--stop-schedule={node.stop}", f"--kill-mode={node.kill_mode}", f"--ready={_literal(str(node.ready))}"]
    said += [f"--ready-timeout={node.ready_timeout:g}", f"--startsecs={node.startsecs:g}"]
    if node.reload_signal is not None:
        said.append(f"--reload-signal={signal_name(node.reload_signal)}")
    return tuple(said)


def _literal(text: str) -> str:
    """Text in which `multi`'s templates find nothing to fill in."""
    return text.replace("%", "%%")


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)


def _set_env(node: Node) -> list[tuple[str, str]]:
    return [(name, value) for name, value in node.env if value is not None]


def _patience(node: Node) -> int:
    """Whole seconds from the first signal to KILL."""
    kills = [moment.at for moment in node.stop.timeline if signal_name(moment.signum) == "KILL"]
    seconds = kills[0] if kills else node.stop.total
    return _LONG if seconds == FOREVER else round(seconds)


def _middle(node: Node) -> str:
    """A remark where the schedule has more than a first signal and KILL."""
    between = [stage for stage in node.stop.stages[1:] if signal_name(stage.signum) != "KILL"]
    return f"of the stop schedule {node.stop} only the first signal and KILL can be said here" if between else ""


def _unique(nodes: Sequence[Node], name_of: Callable[[Node], str]) -> list[tuple[str, Node]]:
    named = [(name_of(node), node) for node in nodes]
    seen: dict[str, Node] = {}
    for name, node in named:
        if name in seen:
            raise UsageError(
                node.name, f"and {seen[name].name} would both be called {name}", "export one of them alone"
            )
        seen[name] = node
    return named


# --- systemd ----------------------------------------------------------------------------------------


def _systemd(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    return {f"multi-{name}.service": _unit(node) for name, node in _unique(nodes, lambda node: _dashed(node.short))}


def _unit(node: Node) -> str:
    notify = node.ready.kind == "notify"
    service = [
        f"Type={'notify' if notify else 'exec'}",
        *(["NotifyAccess=main", f"TimeoutStartSec={node.ready_timeout:g}"] if notify else []),
        "ExecStart=" + " ".join(_unit_word(word, command=True) for word in node.argv),
        *([f"WorkingDirectory={_unit_text(node.workdir)}"] if node.workdir else []),
        *([f"User={_unit_text(node.uid)}"] if node.uid else []),
        *([f"Group={_unit_text(node.gid)}"] if node.gid else []),
        *([f"UMask={node.umask:04o}"] if node.umask is not None else []),
        *([f"Nice={node.nice}"] if node.nice is not None else []),
        *(f"Limit{name.upper()}={_unit_limit(soft)}:{_unit_limit(hard)}" for name, soft, hard in node.rlimits),
        *(f"Environment={_unit_word(f'{name}={value}')}" for name, value in _set_env(node)),
        *(_TELL if notify and node.preset.startswith("celery") else ()),
        *(f"UnsetEnvironment={name}" for name, value in node.env if value is None),
        *_unit_log(node),
        *([f"# {_middle(node)}"] if _middle(node) else []),
        f"KillSignal=SIG{signal_name(node.stop.first)}",
        f"KillMode={node.kill_mode}",
        f"TimeoutStopSec={'infinity' if _patience(node) == _LONG else _patience(node)}",
        *([f"ExecReload=/bin/kill -{signal_name(node.reload_signal)} $MAINPID"] if node.reload_signal else []),
        "Restart=on-failure",
    ]
    if node.ready.kind not in {"notify", "alive"}:
        service.insert(0, f"# systemd cannot wait for ready = {_one_line(str(node.ready))}")
    return "\n".join(
        [
            "[Unit]",
            f"Description={_unit_text(node.name)}",
            "After=network.target",
            "",
            "[Service]",
            *service,
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


_TELL = ("# lets the plug-in that multi has in Celery say READY=1", "Environment=MULTI_INSTANCE=systemd")


def _unit_log(node: Node) -> list[str]:
    if not node.logs_to_file:
        return []
    if any(_means_log(word, node.logfile) for word in node.argv):
        # systemd opens it as root, and a worker of another user could not open it any more.
        return ["# the worker opens its log itself; what it prints besides is in the journal"]
    return [f"StandardOutput=append:{_unit_text(node.logfile)}", "StandardError=inherit"]


def _means_log(word: str, logfile: str) -> bool:
    """Whether a word of the command is the log, alone or as an option's value; ``%I`` is the worker's to fill in."""
    return word.replace("%I", "").replace("%i", "0").rpartition("=")[2] == logfile


def _unit_limit(value: int) -> str:
    return "infinity" if value < 0 else str(value)


def _unit_text(text: str) -> str:
    """A value in which systemd's specifiers find nothing (systemd.unit(5))."""
    return _one_line(text).replace("%", "%%")


def _unit_word(text: str, *, command: bool = False) -> str:
    """One word in systemd's quoting (systemd.syntax(7)); in a command line also safe from variables."""
    escaped = "".join(_UNIT_ESCAPES.get(char, char) for char in text).replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    plain = text and all(char.isalnum() or char in "_-./=:,@+%" for char in text)
    return escaped if plain else f'"{escaped}"'


_UNIT_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _dashed(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name)


# --- sysv and cron: `multi` goes on doing the work -----------------------------------------------------


def _sysv(nodes: Sequence[Node], program: tuple[str, ...]) -> Mapping[str, str]:
    import shlex

    starts = "\n".join(f"    {shlex.join((*program, 'start', *words(node)))} || code=$?" for node in nodes)
    others = "\n".join(f'    {shlex.join(program)} "$@" {shlex.join(_whereabouts(node))} || code=$?' for node in nodes)
    names = " ".join(_one_line(node.name) for node in nodes)
    return {
        "multi-nodes": f"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          multi-nodes
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {names}
### END INIT INFO

start() {{
    code=0
{starts}
    return $code
}}

each() {{
    code=0
{others}
    return $code
}}

case "${{1:-}}" in
    start) start ;;
    stop) each stopwait ;;
    restart | force-reload) each stopwait && start ;;
    reload) each reload ;;
    status) each status ;;
    *) echo "usage: $0 start|stop|restart|force-reload|reload|status" >&2; exit 2 ;;
esac
"""
    }


def _whereabouts(node: Node) -> tuple[str, ...]:
    """What the commands after `start` need to be told: the rest is on record."""
    return node.name, "--preset=exec", f"--pidfile={_literal(node.pidfile)}"


def _cron(nodes: Sequence[Node], program: tuple[str, ...]) -> Mapping[str, str]:
    import shlex

    lines = [
        "# m h dom mon dow user command",
        "SHELL=/bin/sh",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    for node in nodes:
        # multi itself becomes the node's user, so that the directories can be made; cron(8) reads % as a newline.
        start = shlex.join((*program, "--quiet", "start", *words(node)))
        ensure = shlex.join((*program, "ensure", *_whereabouts(node)))
        if "\n" in start:
            raise UsageError(
                node.name, "has a newline in its command, which a crontab cannot hold", "export it to sysv"
            )
        lines += [f"@reboot root {start}".replace("%", "\\%"), f"* * * * * root {ensure}".replace("%", "\\%")]
    return {"multi-nodes": "\n".join(lines) + "\n"}


# --- supervisord ----------------------------------------------------------------------------------------


def _supervisord(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    return {
        "multi.conf": "\n".join(
            _program_section(name, node) for name, node in _unique(nodes, lambda n: _dashed(n.short))
        )
    }


def _program_section(name: str, node: Node) -> str:
    import shlex

    lines = [f"[program:{name}]", f"command={_supervisor(shlex.join(node.argv))}"]
    if node.workdir:
        lines.append(f"directory={_supervisor(node.workdir)}")
    if node.uid:
        lines.append(f"user={_supervisor(node.uid)}")
    if node.umask is not None:
        lines.append(f"umask={node.umask:03o}")
    env = _set_env(node)
    if env:
        pairs = ",".join(f'{key}="{_supervisor_value(value)}"' for key, value in env)
        lines.append(f"environment={pairs}")
    if node.logs_to_file:
        lines += [f"stdout_logfile={_supervisor(node.logfile)}", "redirect_stderr=true"]
    lines += [
        f"startsecs={round(node.startsecs)}",
        f"stopsignal={signal_name(node.stop.first)}",
        f"stopwaitsecs={_patience(node)}",
        f"killasgroup={'true' if node.kill_mode == 'mixed' else 'false'}",
        "autorestart=unexpected",
    ]
    lines += [f"; {remark}" for remark in (_middle(node), _unsaid(node, gid=True)) if remark]
    return "\n".join(lines) + "\n"


def _supervisor(text: str) -> str:
    if "\n" in text:
        raise UsageError(text, "has a newline, which supervisord's configuration cannot hold", "export it to systemd")
    return text.replace("%", "%%").replace(" ;", " \\;")


def _supervisor_value(text: str) -> str:
    return _supervisor(text).replace("\\", "\\\\").replace('"', '\\"')


def _unsaid(node: Node, *, gid: bool = False) -> str:
    """A remark on settings that the other supervisor has no word for."""
    missing = [name for name, value in (("nice", node.nice), ("rlimit", node.rlimits or None)) if value is not None]
    if gid and node.gid is not None:
        missing.append("gid")
    return f"not exported, because there is no word for it here: {', '.join(missing)}" if missing else ""


# --- containers -------------------------------------------------------------------------------------------


def _compose(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    lines = ["# MULTI_IMAGE is the image that holds the worker's program.", "services:"]
    for name, node in _unique(nodes, lambda node: _dashed(node.short)):
        lines += [
            f"  {json.dumps(name)}:",
            "    image: ${MULTI_IMAGE:?the image with the worker}",
            f"    command: {_compose_text(list(node.argv))}",
            "    init: true",
            f"    stop_signal: SIG{signal_name(node.stop.first)}",
            f"    stop_grace_period: {_patience(node)}s",
            "    restart: on-failure",
        ]
        if node.workdir:
            lines.append(f"    working_dir: {_compose_text(node.workdir)}")
        if node.uid:
            lines.append(f"    user: {_compose_text(node.uid + (':' + node.gid if node.gid else ''))}")
        if _set_env(node):
            lines.append(f"    environment: {_compose_text(dict(_set_env(node)))}")
        if node.rlimits:
            limits = {limit.lower(): {"soft": soft, "hard": hard} for limit, soft, hard in node.rlimits}
            lines.append(f"    ulimits: {json.dumps(limits)}")
        lines += [f"    # {remark}" for remark in (_middle(node), _umask_remark(node)) if remark]
    return {"compose.yaml": "\n".join(lines) + "\n"}


def _compose_text(value: object) -> str:
    """JSON is YAML; ``$`` would begin a variable."""
    return json.dumps(value).replace("$", "$$")


def _umask_remark(node: Node) -> str:
    missing = [name for name, value in (("umask", node.umask), ("nice", node.nice)) if value is not None]
    return f"not exported, because there is no word for it here: {', '.join(missing)}" if missing else ""


def _kubernetes(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    named = _unique(
        nodes, lambda node: _dashed(node.short).lower().replace("_", "-").replace(".", "-").strip("-") or "node"
    )
    return {f"{name}.yaml": _deployment(name, node) for name, node in named}


def _deployment(name: str, node: Node) -> str:
    container: dict[str, object] = {
        "name": name,
        "image": "IMAGE",
        "command": [_kubernetes_word(word) for word in node.argv],
    }
    if node.workdir:
        container["workingDir"] = node.workdir
    if _set_env(node):
        container["env"] = [{"name": key, "value": _kubernetes_word(value)} for key, value in _set_env(node)]
    probe = _probe(node)
    if probe:
        container["readinessProbe"] = probe
    spec: dict[str, object] = {"terminationGracePeriodSeconds": _patience(node), "containers": [container]}
    security = {
        key: int(value)
        for key, value in (("runAsUser", node.uid), ("runAsGroup", node.gid))
        if value and value.isdigit()
    }
    if security:
        spec["securityContext"] = security
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
    remarks = [
        "IMAGE is the image that holds the worker's program.",
        *([f"Kubernetes sends TERM, unless the image has a STOPSIGNAL; this node wants {signal_name(node.stop.first)}."]
          if signal_name(node.stop.first) != "TERM" else []),
        *([_middle(node)] if _middle(node) else []),
        *(["user and group are numbers in Kubernetes; these are names: " + f"{node.uid or ''} {node.gid or ''}".strip()]
          if len(security) < sum(value is not None for value in (node.uid, node.gid)) else []),
    ]  # fmt: skip
    return "".join(f"# {remark}\n" for remark in remarks) + json.dumps(deployment, indent=2) + "\n"


def _kubernetes_word(text: str) -> str:
    return text.replace("$(", "$$(")


def _probe(node: Node) -> dict[str, object]:
    import shlex

    what = node.ready.what
    match node.ready.kind:
        case "tcp":
            return {"tcpSocket": {"port": int(what.rpartition(":")[2])}}
        case "file":
            return {"exec": {"command": ["test", "-e", what]}}
        case "exec":
            return {"exec": {"command": shlex.split(what)}}
    return {}


# --- launchd and Procfile --------------------------------------------------------------------------------------


def _launchd(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    return {
        f"multi.{name}.plist": _plist(name, node) for name, node in _unique(nodes, lambda node: _dashed(node.short))
    }


def _plist(name: str, node: Node) -> str:
    import plistlib

    job: dict[str, object] = {
        "Label": f"multi.{name}",
        "ProgramArguments": list(node.argv),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": _patience(node),
    }
    optional: dict[str, object] = {
        "WorkingDirectory": node.workdir,
        "UserName": node.uid,
        "GroupName": node.gid,
        "Umask": node.umask,
        "Nice": node.nice,
        "EnvironmentVariables": dict(_set_env(node)) or None,
    }
    job.update({key: value for key, value in optional.items() if value is not None})
    if node.logs_to_file:
        job["StandardOutPath"] = job["StandardErrorPath"] = node.logfile
    for kind, which in (("SoftResourceLimits", 1), ("HardResourceLimits", 2)):
        limits = {
            _LAUNCHD_LIMITS[limit[0].upper()]: limit[which]
            for limit in node.rlimits
            if limit[0].upper() in _LAUNCHD_LIMITS
        }
        if limits:
            job[kind] = limits
    return plistlib.dumps(job, sort_keys=False).decode("utf-8")


_LAUNCHD_LIMITS = {
    "NOFILE": "NumberOfFiles",
    "NPROC": "NumberOfProcesses",
    "CORE": "Core",
    "CPU": "CPU",
    "DATA": "Data",
    "FSIZE": "FileSize",
    "MEMLOCK": "MemoryLock",
    "RSS": "ResidentSetSize",
    "STACK": "Stack",
}


def _procfile(nodes: Sequence[Node], _program: tuple[str, ...]) -> Mapping[str, str]:
    import shlex

    lines: list[str] = []
    for name, node in _unique(nodes, lambda node: _dashed(node.short)):
        command = shlex.join(node.argv)
        if _set_env(node):
            command = "env " + " ".join(shlex.quote(f"{key}={value}") for key, value in _set_env(node)) + " " + command
        if node.workdir:
            command = f"cd {shlex.quote(node.workdir)} && exec {command}"
        if "\n" in command:
            raise UsageError(
                node.name, "has a newline in its command, which a Procfile cannot hold", "export it to systemd"
            )
        lines.append(f"{name}: {command}")
    return {"Procfile": "\n".join(lines) + "\n"}


FORMS: Mapping[str, Callable[[Sequence[Node], tuple[str, ...]], Mapping[str, str]]] = {
    "systemd": _systemd,
    "sysv": _sysv,
    "cron": _cron,
    "supervisord": _supervisord,
    "kubernetes": _kubernetes,
    "compose": _compose,
    "launchd": _launchd,
    "procfile": _procfile,
}
