"""Property lists of launchd."""

from __future__ import annotations

from collections.abc import Mapping

from multi.errors import UsageError
from multi.export import form
from multi.export.form import Form, Order
from multi.model.node import Node

_LIMITS = {
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

_HELD = ("logfile", "uid", "gid", "umask", "nice", "rlimit", "kill_mode", "restart")


def _launchd(order: Order) -> Mapping[str, str]:
    return {f"multi.{name}.plist": _plist(order, name, node) for name, node in form.named(order)}


def _plist(order: Order, name: str, node: Node) -> str:
    import plistlib
    from xml.parsers.expat import ExpatError

    limits = {which: (_LIMITS.get(which), soft, hard) for which, soft, hard in node.rlimits}
    lost = [which for which, (word, soft, hard) in limits.items() if word is None or min(soft, hard) < 0]
    log = node.logfile if node.logs_to_file or node.logfile == "/dev/null" else None
    job = form.present(
        {
            "Label": f"multi.{name}",
            "ProgramArguments": list(node.words),
            "RunAtLoad": True,
            "KeepAlive": True if node.restart == "always" else {"SuccessfulExit": False},
            "ExitTimeOut": form.whole_stop_seconds(node),
            "WorkingDirectory": node.workdir,
            "UserName": node.uid,
            "GroupName": node.gid,
            "Umask": node.umask,
            "Nice": node.nice,
            "EnvironmentVariables": form.set_env(node) or None,
            "AbandonProcessGroup": True if node.kill_mode == "process" else None,
            "StandardOutPath": log,
            "StandardErrorPath": log,
            "SoftResourceLimits": {word: soft for word, soft, _ in limits.values() if word and soft >= 0} or None,
            "HardResourceLimits": {word: hard for word, _, hard in limits.values() if word and hard >= 0} or None,
        }
    )
    limited = [f"rlimit {' '.join(lost)}"] if lost else []
    found = form.comments(order, node, _HELD, *form.without(node), *form.first_signal(node), *limited)
    found += [f"launchd looks for users by name: put that of {node.uid} here"] if (node.uid or "").isdigit() else []
    try:
        data = plistlib.dumps(job, sort_keys=False)
        if plistlib.loads(data) != job:
            raise ValueError  # noqa: TRY301 -- plistlib writes LF in the place of CR
    except (ValueError, ExpatError):
        why = "has a character in its settings that a property list cannot hold"
        raise UsageError(node.name, why, "take it out, or export it to sysv") from None
    head, newline, rest = data.decode().partition("\n")
    return head + newline + "".join(f"<!-- {remark.replace('--', '- -')} -->\n" for remark in found) + rest


FORMS = {"launchd": Form(files=_launchd, here=True)}
