"""The installed Celery's own parser of ``celery multi``, in process, as values that tests compare with.

Nothing is started and no directory is made: Celery makes the directories of pidfiles and logs while
it parses, which is cut off here.
"""

from __future__ import annotations

import contextlib
import shlex
import unittest.mock
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery.apps.multi import MultiParser, NamespacedOptionParser
from celery.utils.nodenames import node_format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery.apps.multi import Node as CeleryNode

# What Celery hands to its workers and multi does itself (D24 of docs/reference/differences.md).
DAEMON = frozenset(
    {"-n", "-p", "--pidfile", "-f", "--logfile", "--executable", "--workdir", "--uid", "--gid", "--umask"}
)


@dataclass(frozen=True, slots=True)
class Told:
    """What Celery makes of one node. `argv` are the words that the worker would get."""

    name: str
    options: Mapping[str, str | None]
    passthrough: tuple[str, ...]
    argv: tuple[str, ...]
    pidfile: str
    logfile: str
    rendered: tuple[str, ...]


def ask(words: Sequence[str], templates: Sequence[str] = ()) -> list[Told]:
    """Parse the words after the command as ``celery multi`` does; `templates` are expanded for each node."""
    with unittest.mock.patch("celery.apps.multi.os.makedirs"):
        parsed = NamespacedOptionParser(list(words))
        parsed.parse()
        return [_told(node, templates) for node in MultiParser(cmd=None).parse(parsed)]


def read(words: Sequence[str]) -> tuple[list[str], dict[str, Mapping[str, str | None]]]:
    """The words that Celery takes for names, and the scoped options; up to where it ends in a traceback."""
    parsed = NamespacedOptionParser(list(words))
    with contextlib.suppress(ValueError, IndexError):
        parsed.parse()
    return list(parsed.values), dict(parsed.namespaces)


def values(words: Sequence[str]) -> list[str]:
    """The words that Celery takes for names."""
    return read(words)[0]


def _told(node: CeleryNode, templates: Sequence[str]) -> Told:
    words = shlex.split(" ".join(node.argv))
    return Told(
        name=node.name,
        options={name: node.expander(value) for name, value in node.options.items() if name not in DAEMON},
        passthrough=tuple(shlex.split(node.extra_args)),
        argv=tuple(words),
        pidfile=node.pidfile,
        logfile=node_format(node.logfile, node.name),  # the worker expands it once more, see celery.bin.worker
        rendered=tuple(node.expander(template) for template in templates),
    )
