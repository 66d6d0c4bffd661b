"""Who asks: the user, and the terminal, scheduler or unit that this process belongs to."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from multi.model.caller import Caller, typed
from multi.system.trusted_path import user_name
from multi.text import printable

_MOST_PARENTS = 32
_MOST_BYTES = 1 << 14
_MOST_LETTERS = 60
_PTS_MAJORS = range(136, 144)  # Documentation/admin-guide/devices.txt
_TTY, _CONSOLES = 4, 64
# What a process is called (proc_pid_comm(5)) -> where its children come from.
_PARENTS = {"cron": "cron", "crond": "cron", "anacron": "cron", "fcron": "cron", "atd": "at", "sshd": "ssh"}


def caller() -> Caller:
    """Look at this process; what cannot be told is left out."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    program = "multi" if program in {"", "-c", "-m", "__main__.py"} else program
    return Caller(_user(), printable(_where())[:_MOST_LETTERS], typed(program, sys.argv[1:]), os.getpid())


def _user() -> str:
    name, before = user_name(os.geteuid()), os.environ.get("SUDO_USER", "")
    return printable(f"{before[:_MOST_LETTERS]} as {name}" if before not in {"", name} else name)


def _where() -> str:
    terminal = _terminal()
    if terminal:
        return f"tty {terminal}"
    return _ancestor() or ("ssh" if "SSH_CONNECTION" in os.environ else "") or unit_of(_read("/proc/self/cgroup"))


def _terminal() -> str:
    """The controlling terminal, or else one of the standard streams."""
    number = int(_stat("self")[5])
    major, minor = os.major(number), os.minor(number)
    if major in _PTS_MAJORS:
        return f"pts/{(major - _PTS_MAJORS.start) * 256 + minor}"
    if major == _TTY:
        return f"tty{minor}" if minor < _CONSOLES else f"ttyS{minor - _CONSOLES}"
    for fd in range(3):
        with suppress(OSError):
            return os.ttyname(fd).removeprefix("/dev/")
    return ""


def _ancestor() -> str:
    """The nearest ancestor that starts commands for others."""
    pid = os.getppid()
    for _ in range(_MOST_PARENTS):
        name, _, parent, *_ = _stat(str(pid))
        where = "ssh" if name.startswith("sshd") else _PARENTS.get(name.lower(), "")
        if where or int(parent) <= 0:
            return where
        pid = int(parent)
    return ""


def unit_of(cgroups: str) -> str:
    """The service of proc_pid_cgroup(5) that the process is in; the manager of a user's services is none."""
    for line in cgroups.splitlines():
        units = [each for each in line.split("/") if each.endswith((".service", ".scope"))]
        if units and units[-1].endswith(".service") and not units[-1].startswith("user@"):
            return f"unit {units[-1]}"
    return ""


def _stat(pid: str) -> list[str]:
    """Name and further fields of proc_pid_stat(5); zeros where there is none to read."""
    text = _read(f"/proc/{pid}/stat")
    if ")" not in text:
        return [""] + ["0"] * 9
    return [text[text.index("(") + 1 : text.rindex(")")], *text[text.rindex(")") + 2 :].split()]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
