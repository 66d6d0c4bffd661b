"""The kernel's cgroups, version 2 (cgroups(7)), as files; keeps the contract of `multi.model.cgroup.Cgroups`.

A cgroup is known by its path and its inode number, which the kernel gives to no other until the next boot. Each use
opens the directory first and verifies the number afterwards, on a file system that is one of cgroups.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from functools import cached_property, partial

from multi.model.cgroup import (
    PREFIX,
    SUPERVISOR,
    Counted,
    Folder,
    counted_in,
    directory_of,
    mounts_in,
    numbers_in,
    path_in,
)
from multi.model.happening import Emptied
from multi.model.record import Cgroup
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.model.process import Proc
    from multi.system.poll import Poller
    from multi.system.processes import Processes

_DELEGATED = ("user.delegate", "trusted.delegate")  # what systemd marks with
_TAKEN = "user.multi.nodes"  # what we do
_FILE_BYTES = 1 << 16
_COUNTED = ("memory.current", "memory.peak", "memory.stat", "memory.events", "cpu.stat")
_DEEPEST = 32  # cgroups below that of a node


class Cgroups:
    """`home` is where the nodes' cgroups are made."""

    def __init__(self, poller: Poller, processes: Processes) -> None:
        self.home: str | None = None
        self._poller = poller
        self._processes = processes
        self._watched: dict[str, int] = {}  # by key
        self._left: set[str] = set()  # still to be removed

    @cached_property
    def _mounts(self) -> tuple[tuple[str, str, int, int], ...]:
        return mounts_in((_read("/proc/self/mountinfo", limit=1 << 22) or b"").decode("utf-8", "surrogateescape"))

    def _directory(self, pid: int | str) -> str | None:
        path = path_in((_read(f"/proc/{pid}/cgroup") or b"").decode("utf-8", "surrogateescape"))
        return None if path is None else directory_of(path, self._mounts)

    def _is_cgroup(self, found: os.stat_result) -> bool:
        return found.st_dev in {os.makedev(major, minor) for *_, major, minor in self._mounts}

    def here(self) -> tuple[Folder | None, Folder | None]:
        own = self._directory("self")
        return (None, None) if own is None else (self.folder(own), self.folder(os.path.dirname(own)))

    def folder(self, path: str) -> Folder | None:
        try:
            found = os.stat(path)
            if not self._is_cgroup(found):
                return None
            marks = {name for name in os.listxattr(path) if name in _DELEGATED and os.getxattr(path, name) == b"1"}
            taken = _TAKEN in os.listxattr(path)
        except OSError:
            return None
        us = {os.getpid(), self._processes.launcher}
        return Folder(
            path=path,
            uid=found.st_uid,
            marked=bool(marks),
            taken=taken,
            ours=found.st_uid == os.geteuid() and os.access(path, os.W_OK),
            others=len(_pids(_read(f"{path}/cgroup.procs") or b"") - us),
        )

    def take(self, home: str, *, divide: bool) -> None:
        self.home = home
        if not home:
            return
        with suppress(OSError), os.scandir(home) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    _rmdir(entry.path)
        with suppress(OSError):
            os.setxattr(home, _TAKEN, b"1")
        if not divide:
            return
        if self._directory("self") == home:
            with suppress(OSError):
                os.makedirs(f"{home}/{SUPERVISOR}", exist_ok=True)
                for pid in {os.getpid(), self._processes.launcher} - {0}:
                    _write(f"{home}/{SUPERVISOR}/cgroup.procs", b"%d" % pid)
        if b"memory" in (_read(f"{home}/cgroup.controllers") or b"").split():
            with suppress(OSError):  # somebody else is still in it
                _write(f"{home}/cgroup.subtree_control", b"+memory")

    def of(self, proc: Proc) -> Cgroup | None:
        path = self._directory(proc.pid)
        if path is None or not os.path.basename(path).startswith(PREFIX):
            return None
        with suppress(OSError):
            return Cgroup(path, os.stat(path).st_ino)
        return None

    def _open(self, cgroup: Cgroup) -> int | None:
        """A descriptor of its directory; None when it is gone, may not be opened, or is another one.

        Below a mount of cgroups there are no links, so nobody can bend the path.
        """
        path, below = cgroup.path, any(cgroup.path.startswith(f"{point}/") for _, point, *_ in self._mounts)
        if not below or os.path.normpath(path) != path:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        found = os.fstat(fd)
        if found.st_ino == cgroup.inode and self._is_cgroup(found):
            return fd
        os.close(fd)
        return None

    def owner(self, cgroup: Cgroup) -> int | None:
        fd = self._open(cgroup)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_uid
        finally:
            os.close(fd)

    def pids(self, cgroup: Cgroup) -> frozenset[int] | None:
        fd = self._open(cgroup)
        if fd is None:
            return None
        try:
            return frozenset(_pids_below(fd, _DEEPEST))
        except OSError:
            return None
        finally:
            os.close(fd)

    def counted(self, cgroup: Cgroup) -> Counted:
        fd = self._open(cgroup)
        if fd is None:
            return Counted()
        try:
            return counted_in({name: _read(name, fd) for name in _COUNTED})
        finally:
            os.close(fd)

    def kill(self, cgroup: Cgroup) -> None:
        fd = self._open(cgroup)
        if fd is None:
            return
        with suppress(OSError):  # it needs Linux 5.14; each process is signalled, too
            _write("cgroup.kill", b"1", fd)
        os.close(fd)

    def watch(self, key: str, cgroup: Cgroup) -> bool:
        self.release(key)
        at = self._open(cgroup)
        if at is None:
            return False
        try:
            fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
        except OSError:
            return False
        finally:
            os.close(at)
        if not _populated(fd):
            os.close(fd)
            return False
        self._watched[key] = fd
        self._poller.add(fd, partial(self._changed, key, fd), select.POLLPRI)
        self._changed(key, fd)  # it may have become empty before it was watched
        return True

    def _changed(self, key: str, fd: int) -> None:
        if self._watched.get(key) == fd and not _populated(fd):
            self.release(key)
            self._poller.queue.append(Emptied(key))

    def remove(self, path: str, cgroup: Cgroup | None = None) -> None:
        """With `cgroup` only if it is that one; without, it is one that a launch of ours was to make."""
        if cgroup is None or self.owner(cgroup) is not None:
            self._left.add(path)
        self._left -= {one for one in self._left if _rmdir(one)}

    def release(self, key: str) -> None:
        fd = self._watched.pop(key, None)
        if fd is not None:
            self._poller.drop(fd)
            os.close(fd)

    def close(self) -> None:
        for key in list(self._watched):
            self.release(key)
        for path in self._left:
            _rmdir(path)


def _read(path: str, at: int | None = None, limit: int = _FILE_BYTES) -> bytes | None:
    """A file of the kernel; None when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
    except OSError:
        return None
    try:
        data = b""
        while len(data) < limit and (more := os.read(fd, limit)):
            data += more
    except OSError:
        return None
    finally:
        os.close(fd)
    return data


def _write(path: str, data: bytes, at: int | None = None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=at)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _pids(data: bytes) -> set[int]:
    return {int(word) for word in data.split() if word.isdigit()} - {0}  # 0 is one of another PID namespace


def _pids_below(fd: int, deep: int) -> set[int]:
    """Those in the cgroup and in all below it. Raises `OSError`."""
    data = _read("cgroup.procs", fd, 1 << 24)
    found = set() if data is None else _pids(data)  # one whose threads are divided says it above
    with os.scandir(fd) as entries:
        below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)] if deep else []
    for name in below:
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except FileNotFoundError:
            continue
        try:
            found |= _pids_below(inner, deep - 1)
        finally:
            os.close(inner)
    return found


def _populated(fd: int) -> bool:
    """Whether a process is in it or below it; one that is removed meanwhile was empty."""
    try:
        return bool(numbers_in(os.pread(fd, _FILE_BYTES, 0)).get("populated"))
    except OSError:
        return False


def _rmdir(path: str) -> bool:
    """Remove a cgroup with those that its processes have made below it; False while one holds a process."""
    try:
        for below, _, _ in os.walk(path, topdown=False):
            os.rmdir(below)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
