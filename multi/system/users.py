"""Users and groups: who they are, and what a node gets that runs as one of them."""

from __future__ import annotations

import errno
import os
from functools import cache

from multi.machine import Launch, MachineError
from multi.system.trusted_path import Owner

_ID_DIGITS, _NO_ID = 10, (1 << 32) - 1


class Users:
    """Looks each user and group up once; never in a forked child, where NSS may hang."""

    def __init__(self) -> None:
        self.identity = cache(_look_up)

    def uid_of(self, user: str) -> int:
        return self.identity(user, None)[0]

    def gid_of(self, group: str) -> int:
        return self.identity(None, group)[1]

    def login_group(self, user: str) -> str:
        import grp

        gid = self.identity(user, None)[1]
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            return str(gid)

    def owner(self, user: str | None, group: str | None) -> Owner | None:
        """Who shall own what is made for that user; None where it is whoever we are. Raises `MachineError`."""
        if os.geteuid() != 0 or (user is None and group is None):
            return None
        uid, gid, *_ = self.identity(user, group)
        return Owner(uid, gid)

    def setting(self, launch: Launch) -> tuple[dict[bytes, bytes], tuple[int, int, list[int]] | None]:
        """The environment of a node, and uid, gid and groups where it is to change them. Raises `MachineError`."""
        identity: tuple[int, int, list[int]] | None = None
        additions = dict(launch.env)
        if launch.uid is not None or launch.gid is not None:
            uid, gid, groups, login, home = self.identity(launch.uid, launch.gid)
            if os.geteuid() not in {0, uid}:
                what, why = f"cannot start as {launch.uid or launch.gid}", "only root can start a node as another user"
                raise MachineError(what, why, "run multi as root, or leave --uid and --gid out", errno.EPERM)
            if os.geteuid() != 0 and gid not in {os.getegid(), *os.getgroups()}:
                why = "only root can give a node a group that its user is not in"
                hint = "run multi as root, or give a --gid that this user has"
                raise MachineError(f"cannot start with the group {launch.gid or gid}", why, hint, errno.EPERM)
            if os.geteuid() == 0 or gid != os.getegid():
                identity = (uid, gid, groups)
            if os.geteuid() == 0 and launch.uid is not None:
                for name, value in (("HOME", home), ("USER", login), ("LOGNAME", login)):  # as systemd's User= does
                    additions.setdefault(name, value)
        env = dict(os.environb)
        env.pop(b"", None)  # a caller may have a variable without a name; Python executes nothing with it
        for name, text in additions.items():
            if text is None:
                env.pop(os.fsencode(name), None)
            else:
                env[os.fsencode(name)] = os.fsencode(text)
        return env, identity


def _id_number(word: str) -> int | None:
    """A uid or gid in digits; None for a name. The highest number is no id: to setresuid(2) it means "as it is"."""
    if not word.isascii() or not word.isdecimal() or len(word) > _ID_DIGITS:
        return None
    return int(word) if int(word) < _NO_ID else None


def _look_up(user: str | None, group: str | None) -> tuple[int, int, list[int], str, str]:
    """Uid, gid, groups, login name, home. Raises `MachineError`."""
    import grp
    import pwd

    hint = "check --uid and --gid"
    if user is None:
        uid, gid, login, home = os.geteuid(), os.getegid(), "", ""
        groups = os.getgroups()
    else:
        number = _id_number(user)
        try:
            entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
        except (KeyError, ValueError):
            if number is None:
                raise MachineError(f"cannot find the user {user!r}", "there is none", hint, errno.ENOENT) from None
            uid, gid, login, home, groups = number, number, user, "/", [number]
        else:
            uid, gid, login, home = entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir
            groups = os.getgrouplist(login, gid)  # what initgroups(3) would set
    if group is not None:
        number = _id_number(group)
        try:
            gid = grp.getgrnam(group).gr_gid if number is None else number
        except (KeyError, ValueError):
            raise MachineError(f"cannot find the group {group!r}", "there is none", hint, errno.ENOENT) from None
        groups = sorted({gid, *groups})
    return uid, gid, groups, login, home
