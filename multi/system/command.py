"""Programs of the system that `multi` runs to their end: systemctl, crontab and their like."""

from __future__ import annotations

import os
import subprocess
import sys

from multi.machine import MachineError, Ran
from multi.system.program import which

_SECONDS = 300.0  # systemctl start waits for the nodes; a deadline, not a wait
_MOST = 4000  # characters of what it says on standard error that matter


def run(words: tuple[str, ...], data: str | None = None) -> Ran:
    """Run a program with `data` on its standard input, in English. Raises `MachineError` where it cannot be run."""
    try:
        done = subprocess.run(  # noqa: S603 -- programs of the system, without a shell
            words,
            input=(data or "").encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"cannot run {words[0]}", f"it did not end within {_SECONDS:g} seconds") from error
    except OSError as error:
        raise MachineError(f"cannot run {words[0]}", error.strerror or str(error), "", error.errno or 0) from error
    out, err = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return Ran(done.returncode, out, err[-_MOST:])


def find(name: str) -> str:
    """Where a program is; administrators' are not on every PATH."""
    return which(name, f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin") or ""


def ourselves() -> tuple[str, ...]:
    """The command as it was installed: what was called, or else what lies beside our Python, or that Python itself.

    A link stays a link: pipx and deploys let it lead to what is current.
    """
    for path in (sys.argv[0], f"{os.path.dirname(sys.executable)}/multi"):
        if os.path.basename(path) == "multi" and os.path.isfile(path) and os.access(path, os.X_OK):
            return (os.path.abspath(path),)
    return sys.executable, "-m", "multi"
