"""Processes of a made-up machine, and how they behave."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from multi import value
from multi.machine import INSTANCE_PIDFILE, Launch
from multi.model.process import Instance, Proc
from multi.model.usage import UNTOLD, Holdings

KILL = int(signal.SIGKILL)
# By default, signal(7). What one that stands still had begun goes on: only what signals do to it is told.
HARMLESS = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH})
INIT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that a process makes: what it is like, when it comes, and how far away from its mother it goes."""

    nature: Nature
    after: float = 0.0  # seconds after its mother began to run
    group: bool = False  # to a group of its own
    session: bool = False  # to a session of its own, and so a group
    orphan: bool = False  # its mother is gone at once: a double fork
    bare: bool = False  # with an empty environment


@value.dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """How a process behaves. One without traits lives until the first deadly signal, and dies of it at once.

    `ends` maps a signal to (seconds until the end, exit status), `bears` one to a child that its handler makes. After
    `lives` seconds it ends by itself with `status`.
    `says`, `prints` and `makes` are (seconds after it began to run, what): notifications, output, files. One that is
    `stuck` does not even obey KILL, as in uninterruptible sleep. One that is `unreaped` stays as a zombie. `heirs`
    further processes come one after the other, each when the one before it ends. A plug-in in it
    `answers` a word. One with a `title` shows that in place of its words.
    """

    ignores: frozenset[int] = frozenset()
    ends: Mapping[int, tuple[float, int]] = value.field(default_factory=dict)
    bears: Mapping[int, Child] = value.field(default_factory=dict)
    lives: float | None = None
    status: int = 0
    children: tuple[Child, ...] = ()
    says: tuple[tuple[float, Mapping[str, str]], ...] = ()
    prints: tuple[tuple[float, bytes], ...] = ()
    makes: tuple[tuple[float, str], ...] = ()
    stuck: bool = False
    unreaped: bool = False
    answers: Callable[[str], str] | None = None
    heirs: int = 0
    title: str = ""
    setup_takes: float | None = 0.0  # seconds until it stands at the gate, None for never
    setup_fails: tuple[str, str, int] | None = None  # why, hint, errno
    exec_fails: tuple[str, str, int] | None = None


@dataclass(slots=True, eq=False)
class Body:
    """One process, alive or a zombie."""

    proc: Proc
    ppid: int
    pgrp: int
    session: int
    uid: int
    born: float
    nature: Nature = field(default_factory=Nature)
    argv: tuple[str, ...] = ()
    instance: Instance | None = None
    hidden: bool = False  # from the process table, as by hidepid=2 (proc(5))
    gone: bool = False
    status: int | None = None  # what a zombie exited with
    suspended: bool = False  # it was stopped by a signal
    pending: list[int] = field(default_factory=list)  # signals that it gets when it goes on
    ran: bool = False  # it executed the program of a node, or came of one that did
    launch: Launch | None = None  # what it is the main process of
    rss: int = 4096
    cpu: float = 0.0
    holdings: Holdings = UNTOLD
    cgroup: str = ""

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.proc.pid

    def serves(self, pidfile: str) -> bool:
        """Whether it is a main process of the node with that pidfile, alive, and past the gate."""
        return (
            self.ran
            and not self.gone
            and self.launch is not None
            and variable(self.launch, INSTANCE_PIDFILE) == pidfile
        )


def variable(launch: Launch, name: str) -> str:
    """What a variable of the environment of a new process is; empty where it has none of that name."""
    return dict(launch.env).get(name) or ""
