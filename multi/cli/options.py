"""The flags that are `multi`'s own, and those of the node grammar that help and completion show; a row each."""

from __future__ import annotations

from multi.cli.words import Option

DUMP = "dump"  # stands in the place of a signal's name

JSON = Option(("--json",))
QUIET = Option(("--quiet", "-q"))
VERBOSE = Option(("--verbose",))
NOSPLASH = Option(("--nosplash",))
NO_COLOR = Option(("--no-color",))
HELP = Option(("--help",))
SHORT_HELP = Option(("-h",))
VERSION = Option(("--version",))
GLOBAL = (JSON, QUIET, VERBOSE, NOSPLASH, NO_COLOR, HELP)
SILENT = (NOSPLASH, QUIET, JSON)  # who says one of these gets no splash

DRY_RUN = Option(("--dry-run",))
ROLLING = Option(("--rolling",), metavar="N", optional=True)
KEEP_UNREADY = Option(("--keep-unready",))
UP = Option(("--up",))
DOWN = Option(("--down",))
TIMEOUT = Option(("--timeout",), metavar="SECONDS")

FOLLOW = Option(("--follow",))
LINES = Option(("--lines",), metavar="N")

OUTPUT = Option(("--output",), metavar="DIR")

# Words of the node grammar that are nobody's setting; the pipeline reads them, help and completion show them.
STRICT = Option(("--strict",))
CONFIG = Option(("--multi-config",), metavar="FILE")
HOSTNAME = Option(("--hostname", "-n"), metavar="HOST")
SUFFIX = Option(("--suffix",), metavar="HOST")
PREFIX = Option(("--prefix",), metavar="TEXT")
RANGE_PREFIX = Option(("--range-prefix",), metavar="TEXT")
GRAMMAR = (HOSTNAME, SUFFIX, PREFIX, RANGE_PREFIX, STRICT, CONFIG)
