"""Property lists of launchd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.export.form import Form, Order, ascii_name, comments, set_env, unique, whole_stop_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multi.model.node import Node


def _launchd(order: Order) -> Mapping[str, str]:
    named = unique(order.nodes, lambda node: ascii_name(node.short))
    return {f"multi.{name}.plist": _plist(order, name, node) for name, node in named}


def _plist(order: Order, name: str, node: Node) -> str:
    import plistlib

    job: dict[str, object] = {
        "Label": f"multi.{name}",
        "ProgramArguments": list(node.words),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": whole_stop_seconds(node),
    }
    optional: dict[str, object] = {
        "WorkingDirectory": node.workdir,
        "UserName": node.uid,
        "GroupName": node.gid,
        "Umask": node.umask,
        "Nice": node.nice,
        "EnvironmentVariables": dict(set_env(node)) or None,
        "AbandonProcessGroup": True if node.kill_mode == "process" else None,
    }
    job.update({key: value for key, value in optional.items() if value is not None})
    if node.logs_to_file or node.logfile == "/dev/null":
        job["StandardOutPath"] = job["StandardErrorPath"] = node.logfile
    lost: list[str] = []
    for kind, which in (("SoftResourceLimits", 1), ("HardResourceLimits", 2)):
        limits: dict[str, object] = {}
        for limit in node.rlimits:
            word = _LAUNCHD_LIMITS.get(limit[0].upper())
            value = limit[which]
            if word is None or not isinstance(value, int) or value < 0:
                lost.append(limit[0])
            else:
                limits[word] = value
        if limits:
            job[kind] = limits
    found = comments(order, node, "env", "reload_signal", "first")
    if lost:
        found.append(f"not exported, because there is no word for it here: rlimit {' '.join(dict.fromkeys(lost))}")
    try:
        if any("\r" in text for text in _strings(job)):
            raise ValueError  # noqa: TRY301 -- plistlib would write LF in its place
        text = plistlib.dumps(job, sort_keys=False).decode("utf-8")
    except (ValueError, UnicodeError):
        why = "has a character in its settings that a property list cannot hold"
        raise UsageError(node.name, why, "take it out, or export it to sysv") from None
    head, newline, rest = text.partition("\n")
    return head + newline + "".join(f"<!-- {remark.replace('--', '- -')} -->\n" for remark in found) + rest


def _strings(value: object) -> Iterator[str]:
    """All that a property list is made of."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


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


FORM = Form(files=_launchd, here=True)
