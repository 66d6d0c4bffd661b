"""``python -m multi``, and the command `multi`."""

from __future__ import annotations

import gc
import os
import sys

_INTERRUPTED, _USAGE = 130, 2  # as `multi.errors` has them, which may be what could not be imported any more
_OBJECTS = 100_000  # made before the collector looks for cycles; a usual command makes fewer altogether


def main() -> int:
    """Run the command line of this process; its exit code. `multi.cli.main` is the same for callers from Python."""
    if not hasattr(os, "posix_spawn"):
        sys.stderr.write(f"multi: {sys.implementation.name} has no os.posix_spawn; install multi with CPython\n")
        return _USAGE
    gc.set_threshold(_OBJECTS)
    if os.getpid() == 1:
        _keep_signals()
    try:
        from multi.cli import main as run
    except KeyboardInterrupt:  # Ctrl-C this early is no bug, and there was no time for anything yet
        if sys.stderr is not None:
            sys.stderr.write("multi: interrupted before anything was done\n")
        return _INTERRUPTED
    code = run()
    gc.freeze()  # or else the interpreter looks through all objects once more before it ends
    return code


def _keep_signals() -> None:
    """To process 1 the kernel sends only what it handles or blocks: a TERM while we import would be lost."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))


if __name__ == "__main__":
    sys.exit(main())
