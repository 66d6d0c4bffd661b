"""Where run and log directories are when the usual ones cannot be made: one private directory of a user.

As in a container with a read-only root and any uid. Every command finds it by the uid alone, so it is at a fixed place
where anybody may make directories; what lies there counts only if nobody but its owner can have put it there. The
parent is sticky, so nobody else can move or remove it, and its owner and mode are looked at each time.

It is not below $XDG_RUNTIME_DIR or /run/user: that goes with the last login, and the nodes stay. /tmp comes first,
because the containers of one pod share /dev/shm; a read-only container often has nothing but /dev/shm.
"""

from __future__ import annotations

import errno
import os
import stat

PARENTS = ("/tmp", "/dev/shm")  # noqa: S108 -- its owner, mode and parent are looked at, see `fault`


def paths(uid: int) -> tuple[str, ...]:
    """Where it may be; the first one that is there or can be made."""
    return tuple(f"{parent}/multi-{uid}" for parent in PARENTS)


def made(uid: int) -> tuple[str, ...]:
    """Those that are there, and private."""
    return tuple(path for path in paths(uid) if os.path.lexists(path) and not fault(path, uid))


def choice(uid: int) -> tuple[str, str]:
    """The one to use, or empty; and why those before it are passed over."""
    there = made(uid)
    if there:
        return there[0], ""
    why: list[str] = []
    for path in paths(uid):
        found = fault(path, uid) if os.path.lexists(path) else (unusable(path) or _shaky(os.path.dirname(path), uid))
        if not found:
            return path, "; ".join(why)
        why.append(f"{path} {found}")
    return "", "; ".join(why)


def fault(path: str, uid: int) -> str:
    """Why what is there is not to be used; empty when it is private."""
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    mode = stat.S_IMODE(found.st_mode)
    others = 0o022 if uid == 0 else 0o077  # what root makes may be read by all, as elsewhere
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory, so another user may have put it there"
    if found.st_uid != uid:
        return f"belongs to uid {found.st_uid}"
    if mode & others:
        return f"is open to others (mode {mode:04o})"
    return _shaky(os.path.dirname(path), uid)


def _shaky(parent: str, uid: int) -> str:
    """Why what lies in that directory is not safe from others."""
    from multi.system.trusted_path import is_roots

    try:
        above = os.stat(parent)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    if not is_roots(above) and above.st_uid != uid:
        return f"lies in a directory of uid {above.st_uid}"
    if above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        return f"lies where others may move it: {parent} is not sticky"
    return ""


def unusable(path: str) -> str:
    """Why nothing can be made or written at that path; empty when a directory is there or can be made, and be used."""
    at = path
    while not os.path.lexists(at) and at not in {"/", ""}:
        at = os.path.dirname(at)
    if os.path.isdir(at) and os.access(at, os.W_OK | os.X_OK):
        return ""
    if not os.path.isdir(at):
        return f"cannot be made: {at} is no directory"
    code = errno.EROFS if os.statvfs(at).f_flag & os.ST_RDONLY else errno.EACCES
    return f"cannot be written: {os.strerror(code)}" if at == path else f"cannot be made in {at}: {os.strerror(code)}"


def secure(directory: str) -> None:
    """Make the spare directory that `directory` lies in, if it lies in one, or see that it is private.

    Raises `OSError`.
    """
    uid = os.geteuid()
    for path in paths(uid):
        if f"{directory}/".startswith(f"{path}/"):
            try:
                os.mkdir(path, 0o700)
                if uid == 0:
                    os.chmod(path, 0o755)  # noqa: S103 -- what root makes may be read by all, as elsewhere
            except FileExistsError:
                pass
            why = fault(path, uid)
            if why:
                from multi.system.trusted_path import UnsafeError

                raise UnsafeError(f"{path} {why}", "remove it, or give --pidfile and --logfile")
