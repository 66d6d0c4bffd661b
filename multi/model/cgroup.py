"""Control groups (cgroups(7)): what is known of them, and how they are asked for.

Under ``Delegate=yes`` of systemd, or wherever else one is delegated to `multi`, each start of a node has a cgroup of
its own. Its name tells node and token, so it is never used twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from multi.text import plural
from multi.typed import TYPE_CHECKING, Protocol
from multi.value import dataclass

if TYPE_CHECKING:
    from multi.model.process import Proc
    from multi.model.record import Cgroup

PREFIX = "node-"  # of the names of nodes' cgroups, so that none is the name of a file of the kernel
SUPERVISOR = "supervisor"  # where `multi` itself goes: one with controllers for others may hold no process of its own
_NAME_BYTES = 200  # of a node's name; a file name has 255 at most
_TOKEN_DIGITS = 12
_DIGITS = 19  # of a 64-bit number


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A cgroup that may be ours to use: its directory, and what says so.

    `marked` is the mark of systemd (``user.delegate``), `taken` that of a `multi` that has used it before; with `ours`
    it belongs to our user, who may write there; `uid` is whose it is. `others` is how many processes are in it beside
    us.
    """

    path: str
    uid: int = 0
    marked: bool = False
    taken: bool = False
    ours: bool = False
    others: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What the kernel has counted for a cgroup; None where the controller is missing, or it may not be looked at.

    `memory` is bytes without the page cache, `peak` the most that was ever charged, page cache included, `cpu` seconds
    of processor time, also of processes that are gone. `oom_kills` is how many of its processes the kernel ended for
    want of memory.
    """

    memory: int | None = None
    peak: int | None = None
    cpu: float | None = None
    oom_kills: int | None = None


class Cgroups(Protocol):
    """The cgroups of the machine. What cannot be told is None, and nothing raises."""

    home: str | None  # where nodes get theirs, empty for nowhere; None until it is decided

    def here(self) -> tuple[Folder | None, Folder | None]: ...  # our own, and the one above it
    def folder(self, path: str) -> Folder | None: ...

    def take(self, home: str, *, divide: bool) -> None:
        """Use it from now on; what lies there empty of earlier nodes goes. To `divide` it counts memory in each."""

    def of(self, proc: Proc) -> Cgroup | None: ...  # that of a node in which the process is
    def owner(self, cgroup: Cgroup) -> int | None: ...  # its uid; None also when it is gone or another one
    def pids(self, cgroup: Cgroup) -> frozenset[int] | None: ...  # in it and below it
    def counted(self, cgroup: Cgroup) -> Counted: ...
    def kill(self, cgroup: Cgroup) -> None: ...  # all in it at once, also what forks meanwhile
    def watch(self, key: str, cgroup: Cgroup) -> bool: ...  # whether anybody is in it: then `Emptied` follows
    def remove(self, path: str, cgroup: Cgroup | None = None) -> None: ...  # now, or when another one is, or at the end


def killed_text(counted: Counted | None) -> str:
    """What the kernel did for want of memory; empty where that is nothing, or not known."""
    kills = None if counted is None else counted.oom_kills
    return f"the kernel, short of memory, killed {plural(kills, 'process')} of it" if kills else ""


def name_of(node: str, token: str) -> str:
    """The name of the cgroup of one start of a node."""
    short = node.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
    return f"{PREFIX}{short}-{token[:_TOKEN_DIGITS]}"


def path_in(text: str) -> str | None:
    """The path in ``/proc/PID/cgroup`` that is of version 2; None where there is none, or it is not below ours."""
    for line in text.splitlines():
        if line.startswith("0::/"):
            path = line[3:]
            return None if path.startswith("/..") or path.endswith(" (deleted)") else path
    return None


def mounts_in(text: str) -> tuple[tuple[str, str, int, int], ...]:
    """The mounts of version 2 in ``/proc/self/mountinfo``: what of the tree, where, and the numbers of its device."""
    found = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        numbers = fields[2].split(":") if len(fields) > 4 else []  # noqa: PLR2004 -- proc_pid_mountinfo(5)
        if tail.startswith("cgroup2 ") and len(numbers) == 2 and all(one.isdigit() for one in numbers):  # noqa: PLR2004 -- major and minor
            found.append((_unescaped(fields[3]), _unescaped(fields[4]), int(numbers[0]), int(numbers[1])))
    return tuple(found)


def _unescaped(text: str) -> str:
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text


def directory_of(path: str, mounts: tuple[tuple[str, str, int, int], ...]) -> str | None:
    """Where the cgroup of that path lies in the file system; None where no mount shows it."""
    for root, point, *_ in reversed(mounts):  # the last one covers those before it
        if root in {"/", path} or path.startswith(f"{root}/"):
            below = path if root == "/" else path[len(root) :]
            return (point.rstrip("/") + below.rstrip("/")) or "/"
    return None


def numbers_in(data: bytes | None) -> Mapping[str, int]:
    """The lines ``name number`` of a file such as ``memory.events``; lines of another form are left out."""
    lines = (line.split() for line in (data or b"").decode("ascii", "replace").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and _is_number(words[1])}  # noqa: PLR2004 -- name and number


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _DIGITS


def counted_in(files: Mapping[str, bytes | None]) -> Counted:
    """What the kernel's files of a cgroup say, by their names; None for one that cannot be read."""
    stat, events, cpu = (numbers_in(files.get(name)) for name in ("memory.stat", "memory.events", "cpu.stat"))
    current, peak = (_number(files.get(name)) for name in ("memory.current", "memory.peak"))
    cache = max(0, stat.get("file", 0) - stat.get("shmem", 0))  # shared memory counts as file, and is no cache
    usec = cpu.get("usage_usec")
    return Counted(
        None if current is None else max(0, current - cache),
        peak,
        None if usec is None else usec / 1e6,
        events.get("oom_kill"),
    )


def _number(data: bytes | None) -> int | None:
    text = (data or b"").decode("ascii", "replace").strip()
    return int(text) if _is_number(text) else None
