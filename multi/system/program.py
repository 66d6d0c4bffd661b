"""Which file the name of a program means, and how a step that sets up its process fails."""

from __future__ import annotations

import errno
import os


def candidates(word: str, path: str, base: str = "") -> list[str]:
    """The files that the name of a program may mean, in the order of PATH; `base` is where its process is."""
    return [os.path.join(base, directory, word) for directory in ([""] if "/" in word else path.split(":"))]


def which(word: str, path: str) -> str | None:
    """The file that execvp(3) would execute."""
    return next((file for file in candidates(word, path) if os.access(file, os.X_OK) and os.path.isfile(file)), None)


class SetUpError(Exception):
    """A step of setting a node up failed; as `multi.machine.MachineError`, which stands among dear imports."""

    def __init__(self, what: str, why: str, hint: str, code: int) -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint
        self.errno = code


def failed(what: str, error: Exception, hint: str) -> SetUpError:
    """One step of setting up a node."""
    code = getattr(error, "errno", errno.EINVAL) or 0
    return SetUpError(what, getattr(error, "strerror", None) or str(error), hint, code)


def find_program(word: bytes, env: dict[bytes, bytes]) -> bytes:
    """The file that `word` means, with the node's own PATH. Raises `SetUpError` naming what was looked for."""
    name, path = os.fsdecode(word), os.fsdecode(env.get(b"PATH", os.fsencode(os.defpath)))
    found = which(name, path)
    if found is not None:
        return os.fsencode(found)
    files = [file for file in candidates(name, path) if os.path.isfile(file)]
    hint = "check --cmd and --executable"
    if files:
        hint = f"chmod +x {files[0]}, or check --uid"
        raise failed(f"cannot execute {files[0]}", OSError(errno.EACCES, "it is not executable for this user"), hint)
    if "/" in name and os.path.isdir(name):
        raise failed(f"cannot execute {name}", OSError(errno.EISDIR, "it is a directory"), hint)
    closed = next(filter(None, map(_closed, candidates(name, path))), "")
    if closed and "/" in name:
        error = OSError(errno.EACCES, f"this user may not enter {closed}")
        raise failed(f"cannot execute {name}", error, f"chmod o+x {closed}, or check --uid")
    what = f"cannot find the program {name!r}" + ("" if "/" in name else f" in PATH={path}")
    what += f" (this user may not enter {closed})" if closed else ""
    raise failed(what, OSError(errno.ENOENT, "no such file"), f"{hint}, or give a full path")


def _closed(path: str) -> str:
    """The first directory on the way to a file that we may not enter, links followed; "" when there is none."""
    parts = os.path.realpath(path).split("/")[1:-1]
    ways = ("/" + "/".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next((way for way in ways if os.path.isdir(way) and not os.access(way, os.X_OK)), "")
