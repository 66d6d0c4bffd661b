"""``python -m multi``."""

from __future__ import annotations

import sys

from multi.cli import main

if __name__ == "__main__":
    sys.exit(main())
