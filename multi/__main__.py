"""``python -m multi``, and the command `multi`."""

from __future__ import annotations

import gc
import sys

_OBJECTS = 100_000  # made before the collector looks for cycles; a usual command makes fewer altogether


def main() -> int:
    """Run the command line of this process; its exit code. `multi.cli.main` is the same for callers from Python."""
    gc.set_threshold(_OBJECTS)
    from multi.cli import main as run

    code = run()
    gc.freeze()  # or else the interpreter looks through all objects once more before it ends
    return code


if __name__ == "__main__":
    sys.exit(main())
