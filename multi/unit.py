"""``python -m multi.unit``: what the units that `multi export systemd` writes run beside their node.

    before NAME [ready=PROOF] [needs=PROBE]... [ready_timeout=SECONDS] [logfile=PATH] [workdir=PATH]   # ExecStartPre=
    after NAME ready=PROOF [ready_timeout=SECONDS] [startsecs=SECONDS] [logfile=PATH] [workdir=PATH]   # ExecStartPost=

systemd tells the rest by variables: MAINPID, and in RUNTIME_DIRECTORY where `before` leaves what proves nothing.
"""

from __future__ import annotations

import os
import sys

from multi.act import attested
from multi.cli.screen import Screen
from multi.errors import MultiError
from multi.machine import MachineError
from multi.model.node import Known, Node, Ready
from multi.model.schedule import parse
from multi.report import Style, event_code, event_lines
from multi.system import System


def main() -> int:
    """The exit code: 0 where what was asked for is true of the node."""
    what, name, *pairs = sys.argv[1:]
    node, directory = _node(name, pairs), os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    path = f"{directory}/before" if directory else ""
    screen, code = Screen(sys.stdout, sys.stderr, os.environ), 0
    try:
        with System() as machine:
            pid = int(os.environ["MAINPID"]) if what == "after" else None
            for event in attested(node, path, machine, pid):
                failed = event_code(event)
                (screen.complain if failed else screen.say)(*event_lines(event, Style()))
                code = code or failed
    except (MachineError, MultiError, OSError) as error:
        screen.remark(f"{name}: {error}")
        code = 1
    return code


def _node(name: str, pairs: list[str]) -> Node:
    said: dict[str, list[str]] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        said.setdefault(key, []).append(value)

    def first(key: str, default: str) -> str:
        return said.get(key, [default])[0]

    return Node(
        name=name,
        short=name.partition("@")[0],
        host=name.partition("@")[2],
        preset="exec",
        command=Known(("true",)),
        pidfile="",
        logfile=first("logfile", "/dev/null"),
        workdir=first("workdir", "/"),
        stop=parse("KILL/5"),
        ready=_probe(first("ready", "alive")),
        needs=tuple(map(_probe, said.get("needs", ()))),
        ready_timeout=float(first("ready_timeout", "60")),
        startsecs=float(first("startsecs", "0")),
        startsecs_asked="startsecs" in said,
    )


def _probe(text: str) -> Ready:
    kind, _, what = text.partition(":")
    return Ready(kind, what)


if __name__ == "__main__":
    sys.exit(main())
