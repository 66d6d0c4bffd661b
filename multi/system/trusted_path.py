"""The path to a file: for root, one that no other user can have bent.

Whoever may write in a directory may put a link into it, or another directory in the place of one. Root that opens
``/home/u/run/w1.pid`` by its whole path is led wherever u likes. So for root each step of a path is taken on its own,
from a descriptor of the directory before (openat(2)), and judged by who could have changed what lies there:

- A link is followed only where nobody but root can have made it, and where nobody but root can have moved what leads
  there.
- A directory of somebody who has nothing to do with the node is refused, so is one that everybody may write in (unless
  it is sticky, as /tmp is), so is one at the end of the path that a foreign group may write in.

Everybody else uses paths as they are: the kernel knows what they may do.

A directory that was judged stays open for the command's next use of it: nobody can put another one behind an open
descriptor. It is judged again by what it and its path are then; if either is not as it was, the whole path is walked.
"""

from __future__ import annotations

import errno
import os
import stat

from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection

_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # O_PATH needs no right to list it
_MAKE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as many as the kernel follows, path_resolution(7)
_MODE = 0o755
_ALL_UIDS = (1 << 32) - 1
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_KEPT = 4  # directories that stay open


@dataclass(frozen=True, slots=True)
class Owner:
    """Who shall own what is made."""

    uid: int
    gid: int


class UnsafeError(OSError):
    """Root must not go there: `strerror` says why, `hint` what to try."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(errno.EPERM, why)
        self.hint = hint


class Directory:
    """An open directory, to be used as `dir_fd`, and closed.

    For anybody but root it is none (`fd` is None), and `name` gives back the whole path. `bent` is the first directory
    on the way whose entries somebody else than root could have moved; it is `guarded` when there is none, and nobody
    but root can have put what lies in it there.
    """

    def __init__(
        self, path: str, users: Collection[int] | None, groups: Collection[int], maker: Owner | None = None
    ) -> None:
        self.path = path
        self.fd: int | None = None
        self.bent = ""
        self._users = users
        self._groups = groups
        self._maker = maker  # of what is missing; None makes nothing
        self.group_root = True  # what the group root may write counts as root's
        self._links = 0
        self._shared = False  # somebody else than root could have put something into the directory where we are
        self._is: tuple[int, ...] = ()  # where we are, as it was when it was judged
        self._kept: _Kept | None = None  # whose the descriptor is; it keeps us, too, until it is dropped

    def __enter__(self) -> Directory:  # noqa: PYI034 -- typing.Self is Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, unless it stays open for the next use."""
        if self.fd is not None and self._kept is None:
            os.close(self.fd)
            self.fd = None

    def name(self, base: str) -> str:
        """What to call a file in it, together with `fd`."""
        return base if self.fd is not None else f"{self.path}/{base}"

    @property
    def guarded(self) -> bool:
        return not self.bent and not self._shared

    def keep(self, kept: _Kept | None, whom: _Whom) -> None:
        """Let it stay open, and remember what was found on the way; `kept` is open already, if it is the same."""
        if self.fd is None or (kept is None and len(_kept) >= _MOST_KEPT):
            return
        if kept is None:
            kept = _kept[self.path] = _Kept(self.fd, self._is)
        elif kept.was == self._is:
            os.close(self.fd)
            self.fd = kept.fd
        else:
            return
        self._kept = kept
        kept.judged[whom] = self

    def descend(self) -> None:
        """Go there, a step at a time."""
        pending = _steps(self.path)
        shown = self._enter(os.open("/", _STEP), "/", last=not pending)
        while pending:
            name = pending.pop()
            there = f"{shown.rstrip('/')}/{name}"
            step = self._step(name, there)
            if isinstance(step, int):
                shown = self._enter(step, there, last=not pending)
                continue
            pending += _steps(step)
            if step.startswith("/"):
                shown = self._enter(os.open("/", _STEP), "/", last=not pending)

    def _step(self, name: str, shown: str) -> int | str:
        """Open the next directory; the target, where it is a link that may be followed."""
        try:
            return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=self.fd)
        except FileNotFoundError:
            if self._maker is None:
                raise
            return self._make(name, self._maker)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                raise
        if not stat.S_ISLNK(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{shown} is not a directory")
        if not self.guarded:
            raise UnsafeError(f"{shown} is a link that another user could have made", "name what it leads to")
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.readlink(name, dir_fd=self.fd)

    def _make(self, name: str, owner: Owner) -> int:
        try:
            os.mkdir(name, 0o700, dir_fd=self.fd)
        except FileExistsError:
            return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=self.fd)  # another multi was faster
        made = os.open(name, _MAKE, dir_fd=self.fd)
        try:
            os.fchown(made, owner.uid, owner.gid)
            os.fchmod(made, _MODE)
        except OSError:
            os.close(made)
            raise
        return made

    def _enter(self, fd: int, shown: str, *, last: bool) -> str:
        """Take the step, and look who could have changed what lies there."""
        self.close()
        self.fd = fd
        found = os.fstat(fd)
        self._is = _identity(found)
        writers = stat.S_IMODE(found.st_mode) & _OTHERS_WRITE
        if self.group_root and found.st_gid == 0:
            writers &= ~stat.S_IWGRP
        movers = 0 if found.st_mode & stat.S_ISVTX else writers
        roots = is_roots(found)
        if self._users is not None:
            if not roots and found.st_uid not in self._users:
                raise UnsafeError(
                    f"{shown} belongs to uid {found.st_uid}, who could replace what lies there",
                    f"give --uid {user_name(found.st_uid)}, or choose a directory of root's",
                )
            if movers & stat.S_IWOTH:
                raise UnsafeError(f"everybody may write in {shown}", f"chmod o-w {shown}, or choose another directory")
            if movers and last and found.st_gid not in self._groups:
                raise UnsafeError(
                    f"group {found.st_gid} may write in {shown}", f"chmod g-w {shown}, or choose another directory"
                )
        self._shared = not roots or bool(writers)
        if not roots or movers:
            self.bent = self.bent or shown
        return shown


_Whom = tuple["tuple[int, ...] | None", "tuple[int, ...]"]  # users and groups, as `open_directory` has them


class _Kept:
    """A directory that stays open, what it was when it was judged, and for whom it was."""

    def __init__(self, fd: int, was: tuple[int, ...]) -> None:
        self.fd = fd
        self.was = was
        self.judged: dict[_Whom, Directory] = {}
        self._pid = os.getpid()  # in a forked copy the number may mean another file

    def __del__(self) -> None:
        if self._pid == os.getpid():
            os.close(self.fd)

    def holds(self, path: str) -> bool:
        """Whether nothing has changed: neither whose it is and who may write in it, nor where the path leads."""
        try:
            return self._pid == os.getpid() and self.was == _identity(os.fstat(self.fd)) == _identity(os.stat(path))
        except OSError:
            return False


_kept: dict[str, _Kept] = {}


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found[:3] + found[4:6] + (found[3] > 0,)  # mode, inode, device, owners, and whether it has a name at all


def open_directory(
    directory: str, users: Collection[int] | None = None, groups: Collection[int] = (), maker: Owner | None = None
) -> Directory:
    """Go to a directory. Raises `OSError`, as root also `UnsafeError`.

    `users`, besides root, are those who may own a directory of the path, and `groups` those that may write in the last
    one. Without `users` anybody may; then what lies there must be judged by its own owner. `maker` is who shall own
    what is missing: root makes it.
    """
    if os.geteuid() != 0:
        return Directory(directory, users, groups, maker)
    whom = None if users is None else tuple(users), tuple(groups)
    kept = _kept.get(directory)
    if kept is not None and not kept.holds(directory):
        _kept.pop(directory).judged.clear()
        kept = None
    if kept is not None and whom in kept.judged:
        return kept.judged[whom]
    at = Directory(directory, users, groups, maker)
    try:
        at.descend()
    except BaseException:
        at.close()
        raise
    at.keep(kept, whom)
    return at


def make_directory(directory: str, owner: Owner | None) -> None:
    """Go to a directory as `open_directory` does, and make what is missing, for `owner`. Raises `OSError`."""
    from multi.system import spare

    spare.secure(directory)
    if os.geteuid() != 0:
        _make_plain(directory)
        return
    users, groups = ((), ()) if owner is None else ((owner.uid,), (owner.gid,))
    open_directory(directory, users, groups, owner or Owner(0, os.getegid())).close()


def _make_plain(directory: str) -> None:
    if os.path.isdir(directory):
        return
    if os.path.lexists(directory):
        raise NotADirectoryError(errno.ENOTDIR, f"{directory} is not a directory")
    _make_plain(os.path.dirname(directory))
    try:
        os.mkdir(directory, 0o700)
        os.chmod(directory, 0o700)
    except FileExistsError:
        return  # another multi was faster


def distrust(path: str, found: os.stat_result) -> str:
    """Why root must not believe what `path` says, whose file is `found`; empty when nobody else has a hand in it."""
    if not is_roots(found):
        return f"belongs to uid {found.st_uid}, so root must not act on what it says"
    if found.st_mode & _OTHERS_WRITE:
        return f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    real = os.path.realpath(path)
    if not os.path.samestat(found, os.stat(real)):
        return "was replaced while it was read"
    for file in {os.path.abspath(path), real}:
        try:
            with Directory(os.path.dirname(file), None, ()) as at:
                at.group_root = False
                at.descend()
                if at.bent:
                    return f"lies in {at.bent}, where another user could have put it"
        except UnsafeError as error:
            return f"cannot be believed: {error.strerror}"
    return ""


def is_roots(found: os.stat_result) -> bool:
    """Whether it belongs to root, or to the root outside our user namespace."""
    return found.st_uid == 0 or _is_outside(found.st_uid)


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


def _is_outside(uid: int) -> bool:
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
