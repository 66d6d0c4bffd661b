"""The path to a file: for root, one that no other user can have bent.

Whoever may write in a directory may put a link into it, or another directory in the place of one. Root that opens
``/home/u/run/w1.pid`` by its whole path is led wherever u likes. So for root each step of a path is taken on its own,
from a descriptor of the directory before (openat(2)), and judged by who could have changed what lies there:

- A link is followed only where nobody but root can have made it, and where nobody but root can have moved what leads
  there.
- A directory of somebody who has nothing to do with the node is refused, so is one that everybody may write in (unless
  it is sticky, as /tmp is), so is one at the end of the path that a foreign group may write in.

Everybody else uses paths as they are: the kernel knows what they may do.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Collection

_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # O_PATH needs no right to list it
_MAKE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as many as the kernel follows, path_resolution(7)
_MODE = 0o755
_ALL_UIDS = (1 << 32) - 1


class Owner(NamedTuple):
    """Who shall own what is made."""

    uid: int
    gid: int


class UnsafeError(OSError):
    """Root must not go there: `strerror` says why, `hint` what to try."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(errno.EPERM, why)
        self.hint = hint


@final
class Directory:
    """An open directory, to be used as `dir_fd`, and closed.

    For anybody but root it is none (`fd` is None), and `name` gives back the whole path. It is `guarded` when nobody
    but root can have put what lies in it there.
    """

    __slots__ = ("fd", "guarded", "path")

    def __init__(self, directory: str, fd: int | None, *, guarded: bool = False) -> None:
        self.path = directory
        self.fd = fd
        self.guarded = guarded

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def name(self, base: str) -> str:
        """What to call a file in it, together with `fd`."""
        return base if self.fd is not None else f"{self.path}/{base}"


def open_directory(directory: str, users: Collection[int] | None = None, groups: Collection[int] = ()) -> Directory:
    """Go to a directory. Raises `OSError`, as root also `UnsafeError`.

    `users`, besides root, are those who may own a directory of the path, and `groups` those that may write in the last
    one. Without `users` anybody may; then what lies there must be judged by its own owner.
    """
    if os.geteuid() != 0:
        return Directory(directory, None)
    descent = _Descent(users, groups)
    fd = descent.go(directory)
    return Directory(directory, fd, guarded=descent.guarded)


def make_directory(directory: str, owner: Owner | None) -> None:
    """Go to a directory as `open_directory` does, and make what is missing, for `owner`. Raises `OSError`."""
    if os.geteuid() != 0:
        _make_plain(directory)
        return
    users = () if owner is None else (owner.uid,)
    groups = () if owner is None else (owner.gid,)
    os.close(_Descent(users, groups, owner or Owner(0, os.getegid())).go(directory))


def _make_plain(directory: str) -> None:
    missing: list[str] = []
    at = directory
    while at != "/":
        try:
            found = os.stat(at)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(at)
            at = os.path.dirname(at)
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{at} is not a directory")
        break
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)
        except FileExistsError:
            continue  # another multi was faster


class _Descent:
    """One path, a step at a time. State of one call of `go`."""

    def __init__(self, users: Collection[int] | None, groups: Collection[int], maker: Owner | None = None) -> None:
        self._users = users
        self._groups = groups
        self._maker = maker  # of what is missing; None makes nothing
        self._links = 0
        self._shown = "/"
        self._bent = False  # somebody else than root could have moved what we came through
        self._shared = False  # somebody else than root could have put something into the directory where we are

    def go(self, directory: str) -> int:
        """Return a descriptor of the directory."""
        pending = _steps(directory)
        at = self._start(last=not pending)
        try:
            while pending:
                name = pending.pop()
                step = self._step(at, name)
                if isinstance(step, str):
                    pending += _steps(step)
                    step = self._start(last=not pending) if step.startswith("/") else os.dup(at)
                    os.close(at)
                    at = step
                    continue
                os.close(at)
                at = step
                self._shown = f"{self._shown.rstrip('/')}/{name}"
                self._judge(at, last=not pending)
        except BaseException:
            os.close(at)
            raise
        return at

    @property
    def guarded(self) -> bool:
        """Whether nobody but root can have put what lies in this directory there."""
        return not self._bent and not self._shared

    def _start(self, *, last: bool) -> int:
        root = os.open("/", _STEP)
        self._shown = "/"
        self._judge(root, last=last)
        return root

    def _step(self, at: int, name: str) -> int | str:
        """Open the next directory; the target, where it is a link that may be followed."""
        try:
            return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=at)
        except FileNotFoundError:
            if self._maker is None:
                raise
            return self._make(at, name, self._maker)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                raise
        shown = f"{self._shown.rstrip('/')}/{name}"
        if not stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{shown} is not a directory")
        if not self.guarded:
            raise UnsafeError(f"{shown} is a link that another user could have made", "name what it leads to")
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.readlink(name, dir_fd=at)

    def _make(self, at: int, name: str, owner: Owner) -> int:
        try:
            os.mkdir(name, 0o700, dir_fd=at)
        except FileExistsError:
            return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=at)  # another multi was faster
        made = os.open(name, _MAKE, dir_fd=at)
        try:
            os.fchown(made, owner.uid, owner.gid)
            os.fchmod(made, _MODE)
        except OSError:
            os.close(made)
            raise
        return made

    def _judge(self, fd: int, *, last: bool) -> None:
        """Look who could have changed what lies in this directory."""
        found = os.fstat(fd)
        writers = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        if found.st_gid == 0:
            writers &= ~stat.S_IWGRP
        movers = 0 if found.st_mode & stat.S_ISVTX else writers
        roots = found.st_uid == 0 or is_outside(found.st_uid)
        if self._users is not None:
            if not roots and found.st_uid not in self._users:
                raise UnsafeError(
                    f"{self._shown} belongs to uid {found.st_uid}, who could replace what lies there",
                    f"give --uid {user_name(found.st_uid)}, or choose a directory of root's",
                )
            if movers & stat.S_IWOTH:
                raise UnsafeError(
                    f"everybody may write in {self._shown}", f"chmod o-w {self._shown}, or choose another directory"
                )
            if movers and last and found.st_gid not in self._groups:
                raise UnsafeError(
                    f"group {found.st_gid} may write in {self._shown}",
                    f"chmod g-w {self._shown}, or choose another directory",
                )
        self._shared = not roots or bool(writers)
        self._bent = self._bent or not roots or bool(movers)


def _steps(path: str) -> list[str]:
    """Its parts, the next one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def user_name(uid: int) -> str:
    """The login name of a user, or else the number: what belongs behind ``--uid``."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def is_outside(uid: int) -> bool:
    """Whether the uid stands for all those that do not exist in our user namespace (user_namespaces(7)).

    There, "root" is one of them outside, and what belongs to the real root shows as theirs.
    """
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            mapped = sum(int(line.split()[2]) for line in file)
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
            return mapped < _ALL_UIDS and uid == int(file.read())
    except (OSError, ValueError, IndexError):
        return False
