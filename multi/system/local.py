"""Who and where we are: environment, host, home, and the files that the user's words come from.

All that the commands need which never look at a process; importing it costs next to nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager, suppress
from functools import cache, partial

from multi.errors import NotPermittedError
from multi.machine import MachineError, Me, Surroundings
from multi.system import spare, trusted_path
from multi.system.program import which
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multi.model.caller import Caller


def _home_of(user: str) -> str | None:
    made = os.path.expanduser(f"~{user}")
    return None if made.startswith("~") else made


@contextmanager
def _being(user: str | None, group: str | None) -> Iterator[None]:
    """Be another user for the files that are looked at meanwhile, where we are root. Raises `MachineError`.

    What decides is the effective user alone; the real one stays root's, so that user may not signal us meanwhile.
    """
    if os.geteuid() != 0 or (user is None and group is None):
        yield
        return
    from multi.system.users import Users

    uid, gid, groups, *_ = Users().identity(user, group)
    ours = os.getegid(), os.getgroups()
    hint = "give multi CAP_SETUID and CAP_SETGID"  # root has not got them in some containers
    try:
        os.setgroups(groups)
    except OSError as error:
        raise MachineError(f"cannot become {user or group}", error.strerror or "", hint, errno.EPERM) from error
    try:
        try:
            os.setegid(gid)
            os.seteuid(uid)
        except OSError as error:
            raise MachineError(f"cannot become {user or group}", error.strerror or "", hint, errno.EPERM) from error
        yield
    finally:
        os.seteuid(0)
        os.setegid(ours[0])
        os.setgroups(ours[1])


def _may(path: str, mode: int) -> bool:
    """Whether the kernel lets us; yes where that cannot be told, while we are somebody else."""
    if os.geteuid() == os.getuid():
        return os.access(path, mode)
    if os.access not in os.supports_effective_ids or os.access(path, mode, effective_ids=True):
        return True
    try:  # a C library without faccessat2(2) knows of no access control lists
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (OSError, AttributeError):
        return False


def _nearest(path: str) -> str:
    """What is there of a path that is missing."""
    at = os.path.dirname(path)
    while not os.path.lexists(at):
        at = os.path.dirname(at)
    return at


class Local:
    """The part of the machine that parsing and expanding ask."""

    def surroundings(self) -> Surroundings:
        try:
            cwd = os.getcwd()
        except OSError:
            cwd = ""
        home = os.path.expanduser("~")
        return Surroundings(
            environ=dict(os.environ),
            cwd=cwd,
            # Where none is known, Debian's name for that: nothing can be made there, and who tries is told what to say.
            home=home if home.startswith("/") else "/nonexistent",
            hostname=os.uname().nodename,
            python=sys.executable,
            uid=os.geteuid(),
            home_of=_home_of,
            unusable=cache(spare.unusable),
            spare=partial(spare.choice, os.geteuid()),
            spares=spare.made(os.geteuid()),
        )

    def me(self) -> Me:
        return Me(uid=os.geteuid(), pid=os.getpid())

    def caller(self) -> Caller:
        from multi.system import caller

        return caller.caller()

    def token(self) -> str:
        return os.urandom(16).hex()

    user_name = staticmethod(trusted_path.user_name)

    def program(self, name: str, path: str) -> str:
        """Where a program is found by `path`; as it is when it is found nowhere."""
        return which(name, path) or name

    def load(self, path: str) -> bytes:
        return self.peek(path, refuse=os.geteuid() == 0)

    def load_as(self, path: str, uid: int) -> bytes:
        with _being(str(uid), None):
            return self.peek(path)

    def peek(self, path: str, *, refuse: bool = False) -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except PermissionError:
            home = os.environ.get("HOME", "")
            if not home.startswith("/") or not path.startswith(f"{home.rstrip('/')}/") or _may(home, os.X_OK):
                raise
            why = f"HOME={home} may not be entered by this user"  # so what it has for us is not known
            raise trusted_path.UnsafeError(why, "set HOME to a directory of this user") from None
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(22, "it is not a regular file", path)
            if refuse and (why := trusted_path.distrust(path, found)):
                remedy = f"chown root:root and chmod go-w, or run multi as that user; 'ls -ld {path}' shows it"
                raise NotPermittedError(path, why, remedy)
            return file.read()

    def find(self, pattern: str) -> Iterable[str]:
        from glob import glob

        return glob(pattern)

    def create(self, path: str, data: bytes, mode: int) -> bool:
        """Write a new file, its directory made; False when something else is there already. Raises `OSError`."""
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            return self.says(path, data)
        try:
            with open(fd, "wb") as file:
                file.write(data)
        except BaseException:  # half of it would be taken for what somebody has changed
            self.remove(path)
            raise
        return True

    def remove(self, path: str) -> None:
        """Remove a file; fine when that cannot be done."""
        with suppress(OSError):
            os.unlink(path)

    def says(self, path: str, data: bytes) -> bool:
        """Whether a regular file is there with this content."""
        try:
            return self.peek(path) == data
        except OSError:
            return False

    def replace(self, path: str, data: bytes) -> None:
        """Put a file that all may read in the place of another, for a program that reads it at any moment.

        Nothing is flushed, because it is soon written again. Root goes nowhere that another user could have bent, and
        what is there must be a file: a device stays. Raises `OSError`.
        """
        from multi.machine import FileWrite
        from multi.system import files

        directory, base = os.path.split(path)
        with trusted_path.open_directory(directory, ()) as at:
            try:
                there = os.stat(at.name(base), dir_fd=at.fd, follow_symlinks=False)
            except FileNotFoundError:
                there = None
            if there is not None and not stat.S_ISREG(there.st_mode):
                raise trusted_path.UnsafeError("it is there and is no regular file", "give another --output")
            mine = f"{base}.{os.getpid()}"  # several may write at once
            try:
                os.close(files.write_temporary(at, mine, FileWrite(path, data, None, None), None))
                os.rename(at.name(files.temporary(mine)), at.name(base), src_dir_fd=at.fd, dst_dir_fd=at.fd)
            except BaseException:
                with suppress(OSError):
                    os.unlink(at.name(files.temporary(mine)), dir_fd=at.fd)
                raise

    def kind(self, path: str, user: str | None = None, group: str | None = None) -> str:
        with _being(user, group):
            try:
                mode = os.stat(path).st_mode
            except OSError:
                return ""
            if stat.S_ISDIR(mode):
                return "directory" if user is None or _may(path, os.X_OK) else "other"
            if stat.S_ISREG(mode):
                return "program" if _may(path, os.X_OK) else "file"
            return "other"

    def cannot_create(self, path: str) -> tuple[str, int]:
        if os.path.isdir(path):
            return "is a directory", errno.EISDIR
        at = path if os.path.exists(path) else _nearest(path)
        if at != path and not os.path.isdir(at):
            return f"cannot be made: {at} is no directory", errno.ENOTDIR
        if _may(at, os.W_OK if at == path else os.W_OK | os.X_OK):
            return "", 0
        code = errno.EROFS if os.statvfs(at).f_flag & os.ST_RDONLY else errno.EACCES
        if at == path:
            return f"cannot be written: {os.strerror(code)}", code
        return f"cannot be made in {at}: {os.strerror(code)}", code

    def cannot_have(self, path: str, user: str | None, group: str | None, *, ours: bool) -> tuple[str, int]:
        found = self.cannot_create(path)
        if found[0] or os.geteuid() != 0:
            return found
        from multi.system.users import Users

        owner = Users().owner(user, group)
        directory = os.path.dirname(path)
        there = os.path.isdir(directory)
        if ours or owner is None or not there:  # as where it is made
            users, groups = ((), ()) if owner is None else ((owner.uid,), (owner.gid,))
            try:
                trusted_path.open_directory(directory, users, groups).close()
            except FileNotFoundError:
                pass
            except OSError as error:
                return f"cannot be made: {error.strerror}", error.errno or 0
        if ours or owner is None:
            return found
        near = _nearest(path)
        with _being(user, group):
            found = self.cannot_create(path) if there else ("", 0)
            if not there and not _may(near, os.X_OK):
                found = f"cannot be made in {near}: {os.strerror(errno.EACCES)}", errno.EACCES
        return (f"{found[0]}, as {user or group}", found[1]) if found[0] else found
