"""A machine that is made up: processes, files, locks and a clock in memory, behind the same door as the real one.

`World` is what all share; a `Fake` is what one `multi` has of it, and keeps the contract of `multi.machine.Machine`:
mypy compares the two, `test_contract` what they do. No real time passes. `Fake.wait` moves the clock to the next thing
that is due, and fails when nothing ever would be: what would hang is seen at once.

    world = World()
    world.natures["w1@host"] = Nature(ignores={signal.SIGTERM})
    events = list(walk([(node, Wish("start"))], Manner(), world.fake()))

How a process behaves is its `Nature`. What goes wrong is a `Fake.trap`: it is asked before every call and may raise
`MachineError` (the machine refuses) or call `Fake.die` (``kill -9`` hits `multi` here: the kernel gives its locks back
and shuts its gates, and everything else stays as it is). A `Crowd` lets several commands run at once, in an order that
a seed decides, changing over at every call.
"""

from __future__ import annotations

import errno
import fnmatch
import heapq
import json
import random
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Semaphore, Thread
from typing import NoReturn

from multi import value
from multi.machine import (
    INSTANCE,
    INSTANCE_NODE,
    INSTANCE_PIDFILE,
    NO_SOCKET,
    File,
    FileWrite,
    Holder,
    Hook,
    Launch,
    Machine,
    MachineError,
    Me,
    Question,
    Ran,
    Surroundings,
    Unreadable,
)
from multi.model.caller import Caller, typed
from multi.model.cgroup import Counted, Folder
from multi.model.happening import (
    Answered,
    Changed,
    Emptied,
    Ended,
    Executed,
    Happening,
    HookDone,
    Interruption,
    LaunchFailed,
    Locked,
    Notified,
    Prepared,
    Printed,
    Probed,
)
from multi.model.node import Known, Node, Ready
from multi.model.process import Instance, Proc, ProcessInfo, ProcessTable
from multi.model.record import Cgroup
from multi.model.schedule import parse as schedule
from multi.model.usage import UNTOLD, Holdings

KILL = int(signal.SIGKILL)
# By default, signal(7). What one that stands still had begun goes on: only what signals do to it is told.
HARMLESS = frozenset({signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH})
EPOCH = 1_700_000_000.0  # what the clock on the wall shows when the world's own shows 0
INIT = 1
_NOT_EXECUTED = 127  # what a process that leaves the gate without executing exits with
_MOST_CALLS = 200_000  # of one command; more is a loop that never ends
# What changes the machine, or asks it for something; the rest only looks.
EFFECTS = frozenset(
    {
        "make_directory",
        "write",
        "amend",
        "append",
        "remove",
        "run",
        "lock",
        "unlock",
        "launch",
        "open_gate",
        "shut_gate",
        "signal",
        "watch",
        "notify_address",
        "probe",
        "cgroup_take",
        "cgroup_kill",
        "cgroup_remove",
    }
)
REFUSABLE = frozenset(
    {"make_directory", "write", "append", "remove", "run", "lock", "signal", "watch"}
)  # may raise `MachineError`


class KilledError(BaseException):
    """KILL hit `multi`: nothing of the program can catch it, or do anything after it."""


def node_of(
    short: str = "w1",
    *,
    stop: str = "TERM/10/KILL/5",
    ready: str = "alive",
    argv: tuple[str, ...] | None = None,
    **traits: object,
) -> Node:
    """A node of this world: ``w1@host``, its files in ``/run`` and ``/log``. `ready` is as in the setting."""
    kind, _, what = ready.partition(":")
    given: dict[str, object] = {
        "name": f"{short}@host",
        "short": short,
        "host": "host",
        "preset": "exec",
        "command": Known(argv or ("program", short)),
        "pidfile": f"/run/{short}.pid",
        "logfile": f"/log/{short}.log",
        **traits,
    }
    return Node(stop=schedule(stop), ready=Ready(kind, what), **given)  # type: ignore[arg-type]  # fields by name


# --- processes --------------------------------------------------------------------------------------


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
        return self.ran and not self.gone and self.launch is not None and _of(self.launch, INSTANCE_PIDFILE) == pidfile


def _of(launch: Launch, name: str) -> str:
    return dict(launch.env).get(name) or ""


# --- files and locks --------------------------------------------------------------------------------


@dataclass(slots=True)
class Entry:
    """What lies at a path. `kind` is as `Unreadable` words it: ``file``, ``directory``, ``symbolic link``, ``FIFO``."""

    data: bytes = b""
    uid: int = 0
    mode: int = 0o644
    mtime: float = 0.0
    kind: str = "file"
    inode: int = field(default_factory=count(2).__next__)


@dataclass(slots=True)
class Flock:
    """A lock on a file, by its inode: at which path it was taken, who has it, and who waits for it, in order."""

    path: str
    holder: tuple[Fake, str]
    queue: list[tuple[Fake, str]] = field(default_factory=list)


# --- the world --------------------------------------------------------------------------------------


class World:
    """The state of a made-up machine. Attributes are for tests to set."""

    def __init__(self) -> None:
        """A world with init, the directories ``/run`` and ``/log``, and nothing else in it."""
        self.time = 100.0
        self.skew = 0.0  # seconds that the clock on the wall was set forward
        self.bodies: dict[int, Body] = {}
        self.files = {path: Entry(kind="directory", mode=0o755, mtime=self.wall) for path in ("/", "/run", "/log")}
        self.flocks: dict[int, Flock] = {}  # by inode
        self.natures: dict[str, Nature] = {}  # by the full name of the node
        self.nature = Nature()  # of every other node
        self.answers: dict[str, float] = {}  # what a probe asks for -> from when on the answer is yes
        self.fails: dict[str, float] = {}  # what a probe asks for -> from when on it is no again
        self.hangs: set[str] = set()  # what a probe asks for that never answers
        self.probe_takes = 0.001
        self.hooked: list[tuple[str, str, dict[str, object]]] = []  # node, event and facts of each hook that was run
        self.hook_takes: dict[str, float] = {}  # the command of a hook -> seconds; it is killed when it takes too long
        self.probe_prints: dict[str, str] = {}  # what a probe asks for -> the last line that it prints meanwhile
        self.users = {"root": 0, "nobody": 65534, "worker": 1000, "mallory": 1666}
        self.environ: dict[str, str] = {}
        self.kernel: dict[int, str] = {}  # what its log says of processes that it ended
        self.where = ""  # each `multi` is asked from, as `Caller` says it
        self.words: tuple[str, ...] = ()  # that are typed after `multi`
        self.programs: dict[str, Callable[[tuple[str, ...], str | None], Ran]] = {}  # by name, what `run` can run
        self.celery_notifies = False
        self.listener = "yes"  # whose the ports are that accept, see `Machine.listens`
        self.taken = False  # whether somebody listens on them before a node is started
        self.init_reaps = True
        self.restless = False  # somebody ends during each look at the process table
        self.next_pid = 1000
        self.room = 10_000  # how many nodes one `multi` can hold at once
        self.crowd: Crowd | None = None
        self.folder: Folder | None = None  # the cgroup in which each `multi` is
        self.folders: dict[str, Folder] = {}  # others
        self.cgroups: dict[str, int] = {}  # those of nodes: the inode of each
        self.counted: dict[str, Counted] = {}  # what was counted for them
        self.cgroup_uid = 0  # whose they are
        self.fakes: list[Fake] = []
        self.tokens = 0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.add(pid=INIT, argv=("init",))

    # -- the clock -----------------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """Seconds since the epoch, as the clock on the wall shows; it may be wrong."""
        return EPOCH + self.time + self.skew

    @property
    def due(self) -> float | None:
        """When the next thing happens."""
        return self._agenda[0][0] if self._agenda else None

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        self._count += 1
        heapq.heappush(self._agenda, (self.time + seconds, self._count, action))

    def happen(self) -> None:
        """Move the clock to the next thing that is due, and let it happen."""
        at, _, action = heapq.heappop(self._agenda)
        self.time = max(self.time, at)
        action()

    def rest(self, seconds: float) -> None:
        """Let time pass with all that happens in it, nobody looking."""
        end = self.time + seconds
        while self.due is not None and self.due <= end:
            self.happen()
        self.time = end

    # -- who is there --------------------------------------------------------------------------------

    def changed(self, path: str) -> None:
        """Tell who wants to know it."""
        for fake in self.fakes:
            fake.changed(path)

    def fake(self, *, uid: int = 0) -> Fake:
        """A `multi` with a pid of its own."""
        fake = Fake(self, uid, self.add(argv=("python", "-m", "multi"), uid=uid))
        self.fakes.append(fake)
        return fake

    def add(
        self,
        *,
        pid: int | None = None,
        argv: tuple[str, ...] = ("daemon",),
        uid: int = 0,
        ppid: int = INIT,
        pgrp: int | None = None,
        session: int | None = None,
        age: float = 0.0,
        nature: Nature | None = None,
        instance: Instance | None = None,
        cgroup: str = "",
    ) -> Body:
        """Put a process into the world; `age` is seconds since it started. A pid that is given must be free."""
        if pid is None:
            self.next_pid += 1
            while self.next_pid in self.bodies:
                self.next_pid += 1
            pid = self.next_pid
        assert pid not in self.bodies
        self._count += 1
        self.bodies[pid] = body = Body(
            proc=Proc(pid, f"boot:{self._count}"),
            ppid=ppid,
            pgrp=pid if pgrp is None else pgrp,
            session=pid if session is None else session,
            uid=uid,
            born=self.time - age,
            nature=nature or Nature(),
            argv=argv,
            instance=instance,
            cgroup=cgroup,
        )
        return body

    def offspring(self) -> list[Body]:
        """Every living process that came of the start of a node: main processes and all they made."""
        return [body for body in self.bodies.values() if body.ran and not body.gone]

    def mains(self, pidfile: str) -> list[Body]:
        """The living main processes of a node; two are one too many."""
        return [body for body in self.bodies.values() if body.serves(pidfile)]

    def run(self, body: Body) -> None:
        """A process begins to run: its children come, it prints, it says what it has to say."""
        body.ran = True
        nature = body.nature
        if nature.lives is not None:
            self.after(nature.lives, partial(self.end, body, nature.status))
        for child in nature.children:
            self.after(child.after, partial(self._bear, body, child))
        for after, data in nature.prints:
            self.after(after, partial(self._print, body, data))
        for after, path in nature.makes:
            self.after(after, partial(self._make, body, path))
        for after, fields in nature.says:
            self.after(after, partial(self._say, body, fields))

    def _bear(self, mother: Body, child: Child) -> None:
        if mother.gone:
            return
        self.run(
            self.add(
                argv=mother.argv,
                uid=mother.uid,
                ppid=INIT if child.orphan else mother.pid,
                pgrp=None if child.group or child.session else mother.pgrp,
                session=None if child.session else mother.session,
                nature=child.nature,
                instance=None if child.bare else mother.instance,
                cgroup=mother.cgroup,
            )
        )

    def _print(self, body: Body, data: bytes) -> None:
        if not body.gone and body.launch is not None:
            self.files.setdefault(body.launch.logfile, Entry(uid=body.uid)).data += data
            for fake in self.fakes:
                fake.grown(body.launch.logfile)

    def _make(self, body: Body, path: str) -> None:
        if not body.gone:
            self.files[path] = Entry(uid=body.uid, mtime=self.wall)

    def _say(self, body: Body, fields: Mapping[str, str]) -> None:
        if not body.gone and body.launch is not None:
            for fake in self.fakes:
                fake.hear(_of(body.launch, "NOTIFY_SOCKET"), fields)

    def signal(self, body: Body, signum: int) -> None:
        """A process gets a signal."""
        if body.gone or body.nature.stuck:
            return
        if signum == signal.SIGSTOP:
            body.suspended = True
        elif signum == signal.SIGCONT:
            pending, body.pending, body.suspended = body.pending, [], False
            for later in pending:
                self.signal(body, later)
        elif body.suspended and signum != KILL:
            body.pending.append(signum)
        else:
            self._obey(body, signum)

    def _obey(self, body: Body, signum: int) -> None:
        nature = body.nature
        handled = nature.ignores | HARMLESS | nature.bears.keys()
        if signum == KILL or (signum not in nature.ends and signum not in handled):
            self.end(body, -signum)
        elif signum in nature.bears:
            self._bear(body, nature.bears[signum])
        elif signum in nature.ends:
            after, status = nature.ends[signum]
            self.after(after, partial(self.end, body, status))

    def end(self, body: Body, status: int) -> None:
        """A process ends: its children go to init, whoever watches it hears of it, and who it held asleep wakes up."""
        if body.gone:
            return
        held = [other for other in self.bodies.values() if other.ppid == body.pid or other is body]
        groups = dict.fromkeys(other.pgrp for other in held if self._ties(other))
        body.gone, body.status = True, status
        for other in self.bodies.values():
            if other.ppid == body.pid:
                other.ppid = INIT
        if body.nature.heirs:
            heir = Nature(heirs=body.nature.heirs - 1)
            self.run(self.add(argv=body.argv, uid=body.uid, nature=heir, instance=body.instance, cgroup=body.cgroup))
        body.instance = None
        if not body.nature.unreaped and (body.ppid != INIT or self.init_reaps):
            del self.bodies[body.pid]
        for fake in self.fakes:
            fake.ended(body.proc, status)
        for group in groups:
            self._wake_orphans(group)

    def _ties(self, body: Body) -> bool:
        """Whether it keeps its group from being orphaned: its parent is in another group of the same session."""
        parent = self.bodies.get(body.ppid)
        return parent is not None and parent.session == body.session and parent.pgrp != body.pgrp

    def _wake_orphans(self, group: int) -> None:
        """HUP and CONT for a group that is orphaned, if one in it is stopped, as in kernel/exit.c."""
        members = [body for body in self.bodies.values() if body.pgrp == group and not body.gone]
        if any(body.suspended for body in members) and not any(self._ties(body) for body in members):
            for signum in (signal.SIGHUP, signal.SIGCONT):
                for body in members:
                    self.signal(body, signum)

    def recycle(self, body: Body, *, argv: tuple[str, ...] = ("stranger",), uid: int = 0) -> Body:
        """The process ends, and another one gets its pid."""
        self.end(body, 0)
        self.bodies.pop(body.pid, None)
        return self.add(pid=body.pid, argv=argv, uid=uid)


# --- what one multi has of it -----------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Launched:
    """A process that this `multi` asked for. `key` is empty while nobody asks for it."""

    key: str
    body: Body
    launch: Launch
    prepared: bool = False
    opened: bool = False
    shut: bool = False
    status: int | None = None  # what it exited with, once it has
    watched: bool = False  # by somebody beside who started it


class FakeCgroups:
    """What one `multi` does with cgroups."""

    def __init__(self, fake: Fake) -> None:
        """Nothing is decided yet."""
        self.home: str | None = None
        self.watched: dict[str, Cgroup] = {}
        self._left: set[str] = set()
        self._fake = fake

    def _inside(self, path: str) -> list[Body]:
        return [body for body in self._fake.world.bodies.values() if body.cgroup == path and not body.gone]

    def here(self) -> tuple[Folder | None, Folder | None]:
        """The one that the test has put us into."""
        return self._fake.world.folder, None

    def folder(self, path: str) -> Folder | None:
        """That one, or another one that is ours."""
        own = self._fake.world.folder
        return own if own is not None and own.path == path else self._fake.world.folders.get(path)

    def take(self, home: str, *, divide: bool) -> None:  # noqa: ARG002 -- there are no controllers
        """Remove what is empty."""
        self.home = home
        if home:
            self._fake._call("cgroup_take", home)  # noqa: SLF001 -- a part of it
            for path in [path for path in self._fake.world.cgroups if not self._inside(path)]:
                del self._fake.world.cgroups[path]

    def of(self, proc: Proc) -> Cgroup | None:
        """Where a process is."""
        body = self._fake.world.bodies.get(proc.pid)
        return Cgroup(body.cgroup, self._fake.world.cgroups[body.cgroup]) if body is not None and body.cgroup else None

    def owner(self, cgroup: Cgroup) -> int | None:
        """Whose it is."""
        return self._fake.world.cgroup_uid if self._fake.world.cgroups.get(cgroup.path) == cgroup.inode else None

    def pids(self, cgroup: Cgroup) -> frozenset[int] | None:
        """Who is in it, hidden or not."""
        there = self.owner(cgroup) is not None
        return frozenset(body.pid for body in self._inside(cgroup.path)) if there else None

    def counted(self, cgroup: Cgroup) -> Counted:
        """What was counted, if the test has said so."""
        there = self.owner(cgroup) is not None
        return self._fake.world.counted.get(cgroup.path, Counted()) if there else Counted()

    def kill(self, cgroup: Cgroup) -> None:
        """End all in it."""
        self._fake._call("cgroup_kill", cgroup.path)  # noqa: SLF001 -- a part of it
        for body in self._inside(cgroup.path) if self.owner(cgroup) is not None else ():
            self._fake.world.signal(body, KILL)

    def watch(self, key: str, cgroup: Cgroup) -> bool:
        """Hear of the end of the last one in it."""
        if not self.pids(cgroup):
            return False
        self.watched[key] = cgroup
        return True

    def ended(self) -> None:
        """From the world: a process has ended."""
        for key in [key for key, cgroup in self.watched.items() if not self.pids(cgroup)]:
            del self.watched[key]
            self._fake.heard.append(Emptied(key))

    def remove(self, path: str, cgroup: Cgroup | None = None) -> None:
        """Remove it where nobody is in it."""
        self._fake._call("cgroup_remove", path)  # noqa: SLF001 -- a part of it
        if cgroup is None or self.owner(cgroup) is not None:
            self._left.add(path)
        self.tidy()

    def tidy(self) -> None:
        """Remove what has become empty."""
        for path in [path for path in self._left if not self._inside(path)]:
            self._left.discard(path)
            self._fake.world.cgroups.pop(path, None)


class MadeUpLog:
    """A file of a log."""

    packed = False

    def __init__(self, path: str, entry: Entry) -> None:
        """As it is now."""
        self.path, self._data = path, entry.data
        self.size = self.length = len(entry.data)
        self.written, self.identity = entry.mtime, str(entry.inode)

    @staticmethod
    def position(offset: int) -> int:
        """It has no holes."""
        return offset

    def read(self, at: int, limit: int) -> bytes:
        """What stands there."""
        return self._data[at : at + limit]


class Fake:
    """One `multi` on a made-up machine: keeps the contract of `multi.machine.Machine`."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        """Hold nothing yet."""
        self.world = world
        self.uid = uid
        self.body = body
        self.dead = False
        self._told = False  # that it is dead
        self.calls: list[tuple[str, ...]] = []  # every call, its name and its words; for assertions
        self.trap: Callable[[int, tuple[str, ...]], None] | None = None  # asked with the number and words of each call
        self.heard: list[Happening] = []  # what `wait` will return
        self._launcher: Body | None = None
        self._launched: list[Launched] = []
        self._watched: dict[tuple[str, Proc], None] = {}
        self._ears: dict[str, str] = {}  # key -> address
        self._kept_ears: set[str] = set()
        self._probes: dict[str, tuple[object, str]] = {}  # by key: which one it is, and what it asks for
        self._read: dict[str, tuple[str, int]] = {}  # key -> log, and bytes that were read of it
        self._files: dict[str, str] = {}  # key -> path whose changes it hears of
        self._followed: dict[str, tuple[str, int]] = {}  # path and how far it was told, by key
        self.cgroups = FakeCgroups(self)

    def effects(self, *names: str) -> list[tuple[str, ...]]:
        """The calls so far that changed something, or only those with these names."""
        return [call for call in self.calls if call[0] in (names or EFFECTS)]

    def _call(self, *words: str) -> None:
        """Every method begins here: others may run meanwhile, and what is planned to go wrong goes wrong."""
        if self.world.crowd is not None:
            self.world.crowd.change_over(self)
        if self.dead and not self._told:
            self._told = True
            raise KilledError
        if self.dead:
            return
        self.calls.append(words)
        assert len(self.calls) < _MOST_CALLS, f"it spins: {self.calls[-10:]}"
        if self.trap is not None:
            self.trap(len(self.calls), words)

    # -- the end of it -------------------------------------------------------------------------------

    def die(self) -> NoReturn:
        """Be hit by KILL, here and now."""
        self.bury()
        self._told = True
        raise KilledError

    def bury(self) -> None:
        """What the kernel does when `multi` is gone: locks are free, gates are shut, the nodes go to init.

        The Python that runs it here is not gone: its ``finally`` blocks act on a world of their own from now on.
        """
        self.dead = True
        self.heard.clear()
        self._leave()
        self.world = World()

    def close(self) -> None:
        """The command is over. The nodes live on; the launcher does not."""
        if not self.dead:
            self.cgroups.tidy()
            self._leave()

    def _leave(self) -> None:
        for launched in list(self._launched):
            self._forget(launched)
        self._launched.clear()
        for inode in list(self.world.flocks):
            self._give_back(inode, None)
        self._watched.clear()
        self._ears.clear()
        self._probes.clear()
        if self._launcher is not None:
            self.world.end(self._launcher, 0)
            self._launcher = None
        self.world.end(self.body, 0)
        if self in self.world.fakes:
            self.world.fakes.remove(self)

    # -- where we are --------------------------------------------------------------------------------

    def surroundings(self) -> Surroundings:
        """Where we are."""
        return Surroundings(
            environ=self.world.environ,
            cwd="/",
            home="/root",
            hostname="host",
            python="/usr/bin/python3",
            uid=self.uid,
            home_of={user: f"/home/{user}" for user in self.world.users}.get,
        )

    def user_name(self, uid: int) -> str:
        """The login name, or else the number."""
        return next((name for name, number in self.world.users.items() if number == uid), str(uid))

    def load(self, path: str) -> bytes:
        """A file's content; raises `OSError`."""
        entry = self.world.files.get(path)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return entry.data

    def load_as(self, path: str, uid: int) -> bytes:
        """A file's content for that user; raises `OSError`."""
        entry = self.world.files.get(path)
        if entry is not None and uid not in {0, entry.uid} and not entry.mode & 0o004:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return self.load(path)

    def peek(self, path: str) -> bytes:
        """The same."""
        return self.load(path)

    def find(self, pattern: str) -> Iterable[str]:
        """Paths that match."""
        return fnmatch.filter(self.world.files, pattern)

    def kind(self, path: str) -> str:
        """What lies at a path; every program is there."""
        entry = self.world.files.get(path)
        if entry is None:
            return "program" if path.startswith("/usr/bin/") else ""
        return entry.kind if entry.kind in {"file", "directory"} else "other"

    def cannot_create(self, path: str) -> tuple[str, int]:
        """Why no file can be made there."""
        at = path
        while at not in self.world.files:
            at = at.rpartition("/")[0] or "/"
        entry = self.world.files[at]
        wanted = "file" if at == path else "directory"
        return ("", 0) if entry.kind == wanted else (f"{at} is not a {wanted}", errno.ENOTDIR)

    # -- looking -------------------------------------------------------------------------------------

    def now(self) -> float:
        """The world's own clock."""
        return self.world.time

    def wall(self) -> float:
        """What the clock on the wall shows."""
        return self.world.wall

    def me(self) -> Me:
        """Who we are."""
        return Me(self.uid, self.body.pid)

    def caller(self) -> Caller:
        """Who asks."""
        return Caller(self.user_name(self.uid), self.world.where, typed("multi", self.world.words), self.body.pid)

    def uid_of(self, user: str) -> int:
        """User name or number -> uid. Raises `MachineError`."""
        if user.isdigit():
            return int(user)
        if user not in self.world.users:
            raise MachineError(f"cannot find the user {user!r}", "there is none", "check --uid and --gid", errno.ENOENT)
        return self.world.users[user]

    def gid_of(self, group: str) -> int:
        """Group name or number -> gid; each user has a group of that name. Raises `MachineError`."""
        if group.isdigit():
            return int(group)
        if group not in self.world.users:
            why = f"cannot find the group {group!r}"
            raise MachineError(why, "there is none", "check --uid and --gid", errno.ENOENT)
        return self.world.users[group]

    def login_group(self, user: str) -> str:
        """Each user has a group of that name."""
        return self.user_name(self.uid_of(user))

    def ourselves(self) -> tuple[str, ...]:
        """Who we are on a command line."""
        return ("/usr/bin/multi",)

    def which(self, name: str) -> str:
        """Where a program is."""
        return f"/usr/bin/{name}" if name in self.world.programs else ""

    def run(self, words: tuple[str, ...], data: str | None = None) -> Ran:
        """Run a program of this world."""
        self._call("run", *words)
        name = words[0].rpartition("/")[2]
        if name not in self.world.programs:
            raise MachineError(f"cannot run {words[0]}", "No such file or directory", "", errno.ENOENT)
        return self.world.programs[name](words[1:], data)

    def read(self, path: str, limit: int) -> File | Unreadable | None:
        """A file."""
        self._call("read", path)
        entry = self.world.files.get(path)
        if entry is None:
            return None
        if entry.kind != "file":
            return Unreadable(f"it is a {entry.kind}")
        if self.uid not in {0, entry.uid} and not entry.mode & 0o004:
            return Unreadable("Permission denied")
        if len(entry.data) > limit:
            return Unreadable(f"it is {len(entry.data)} bytes long, {limit} at most make sense")
        return File(entry.data, entry.uid, entry.mode, entry.mtime)

    def listing(self, directory: str, suffix: str) -> tuple[str, ...]:
        """Paths in a directory."""
        return tuple(
            sorted(
                path
                for path in self.world.files
                if path.rpartition("/")[0] == directory and path.endswith(suffix) and "/." not in path[len(directory) :]
            )
        )

    def processes(self) -> ProcessTable:
        """Every process that is not hidden."""
        self._call("processes")
        world = self.world
        infos = {body.pid: self._info(body) for body in world.bodies.values() if not body.hidden}
        return ProcessTable(world.time, world.wall, infos, settled=not world.restless)

    def sketch(self) -> ProcessTable:
        """There are so few that it is always the whole table."""
        return self.processes()

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:  # noqa: ARG002 -- as above
        """The table tells all."""
        return processes

    def look(self, pid: int) -> ProcessInfo | None:
        """One process, but for what it carries."""
        body = self.world.bodies.get(pid)
        return None if body is None or body.hidden else value.replace(self._info(body), instance=None)

    def _info(self, body: Body) -> ProcessInfo:
        return ProcessInfo(
            proc=body.proc,
            ppid=body.ppid,
            pgrp=body.pgrp,
            session=body.session,
            uid=body.uid,
            gone=body.gone,
            age=self.world.time - body.born,
            suspended=body.suspended and not body.gone,
            instance=body.instance,
            rss=body.rss,
            cpu=body.cpu,
            status=body.status,
        )

    def holdings(self, proc: Proc, *, pss: bool = False) -> Holdings | None:
        """What a process holds."""
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            return None
        return body.holdings if pss else value.replace(body.holdings, pss=None)

    def kernel_says(self, pid: int, since: float) -> str:  # noqa: ARG002 -- no pid is given twice
        """What the kernel's log says of the end of a process."""
        return self.world.kernel.get(pid, "")

    def exists(self, pid: int) -> bool:
        """Whether there is such a process, hidden or not."""
        return pid in self.world.bodies

    def cmdline(self, pid: int) -> tuple[str, ...]:
        """The words of a process."""
        body = self.world.bodies.get(pid)
        if body is None or body.gone or body.hidden:
            return ()
        return (body.nature.title,) if body.ran and body.nature.title else body.argv

    def executed(self, pid: int) -> tuple[str, ...]:
        """The words of a process that shows no title."""
        body = self.world.bodies.get(pid)
        return () if body is None or (body.ran and body.nature.title) else self.cmdline(pid)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        entry = self.world.files.get(path)
        return len(entry.data) if entry is not None and entry.kind == "file" else 0

    def fingerprint(self, path: str) -> str:
        """What lies at a path, as a word."""
        entry = self.world.files.get(path)
        return "" if entry is None else f"{entry.inode}:{entry.mtime}"

    def log_begin(self, key: str, path: str, limit: int, offset: int = 0) -> bytes:
        """The end of a log, to go on from there."""
        size = self.size(path)
        self._read[key] = path, size
        begin = max(offset if offset <= size else 0, size - limit)
        return self.world.files[path].data[begin:] if size else b""

    def log_more(self, key: str, limit: int) -> bytes:
        """What was added."""
        if key not in self._read:
            return b""
        path, at = self._read[key]
        entry = self.world.files.get(path, Entry())
        at = at if at <= len(entry.data) else 0
        data = entry.data[at : at + limit]
        self._read[key] = path, at + len(data)
        return data

    def watch_sources(self, roots: Mapping[str, Sequence[str]]) -> None:
        """Nobody edits anything here, but `edit` does."""
        self._call("watch_sources", *roots)

    def follow(self, key: str, path: str, offset: int, *, bounded: bool) -> None:  # noqa: ARG002 -- of the disk
        """Tell what is added to a log."""
        self._call("follow", path)
        self._followed.setdefault(key, (path, offset))

    def printed(self, key: str) -> tuple[str, ...]:
        """What was added, unfinished lines too."""
        self._call("printed", key)
        return tuple(self._lines(key, "").splitlines())

    def _lines(self, key: str, end: str) -> str:
        """What was added up to the last such end."""
        path, at = self._followed[key]
        data = self.world.files.get(path, Entry()).data[at:].decode()
        text = data[: data.rindex(end) + len(end)] if end in data else ""
        self._followed[key] = path, at + len(text.encode())
        return text

    def grown(self, path: str) -> None:
        """From the world: somebody has printed."""
        for key in [key for key, (followed, _) in self._followed.items() if followed == path]:
            lines = tuple(self._lines(key, "\n").splitlines())
            if lines:
                self.heard.append(Printed(key, lines))

    def log_files(self, key: str, path: str, *, rotated: bool = False) -> list[MadeUpLog]:  # noqa: ARG002 -- nothing is open
        """The log, or what was moved away from it."""
        names = [name for name in self.world.files if name.startswith(f"{path}.")] if rotated else [path]
        found = [MadeUpLog(name, self.world.files[name]) for name in names if name in self.world.files]
        return sorted(found, key=lambda file: -file.written)

    @staticmethod
    def within(seconds: float, call: Callable[[], object]) -> object:  # noqa: ARG004 -- nothing takes time here
        """What the call returns."""
        return call()

    def ask(self, key: str, question: Question) -> None:
        """Ask a worker."""
        self._call("ask", question.path, question.word)
        body, seconds = self.world.bodies.get(question.proc.pid), question.seconds
        ask = None if body is None or body.gone or body.proc != question.proc else body.nature.answers
        if ask is None:
            self.heard.append(Answered(key, "", NO_SOCKET))
            return
        text = "" if body is None or body.suspended else ask(question.word)
        answered = Answered(key, text, "" if text else f"it does not answer within {seconds:g}s")
        self.world.after(0.001 if text else seconds, lambda: self.heard.append(answered))

    def notifies(self, key: str, program: str, user: str | None, group: str | None) -> bool:  # noqa: ARG002 -- for any user
        """Whether Celery in this world tells when it is ready."""
        return bool(program) and self.world.celery_notifies

    def token(self) -> str:
        """A new word, the same in every run."""
        self.world.tokens += 1
        return f"{self.world.tokens:032x}"

    # -- files ---------------------------------------------------------------------------------------

    def make_directory(self, path: str, user: str | None, group: str | None) -> None:  # noqa: ARG002 -- groups make no difference here
        """Make it, and what is missing above it."""
        self._call("make_directory", path)
        at = path
        while at not in self.world.files:
            self.world.files[at] = Entry(kind="directory", uid=self._owner(user), mode=0o755, mtime=self.world.wall)
            at = at.rpartition("/")[0] or "/"
        if self.world.files[at].kind != "directory":
            del self.world.files[path]
            raise MachineError(f"cannot make the directory {path}", f"{at} is not a directory", "choose another path")

    def write(self, writes: Sequence[FileWrite]) -> list[MachineError | None]:
        """Replace each, all or nothing."""
        return [self._write(write) for write in writes]

    def _write(self, write: FileWrite) -> MachineError | None:
        try:
            self._call("write", write.path)
            self._enter(write.path, "write")
        except MachineError as error:
            return error
        owner = self.uid if write.ours else self._owner(write.user)
        shared = write.ours and write.user is not None  # here a user's group is the user alone
        mode = write.mode or (0o600 if write.private and not shared else 0o644)
        self.world.files[write.path] = Entry(write.data, owner, mode, self.world.wall)
        self.world.changed(write.path)
        return None

    def watch_file(self, key: str, path: str) -> None:
        """Hear of what happens to a file."""
        self._call("watch_file", path)
        self._files[key] = path

    def changed(self, path: str) -> None:
        """From the world: a file is another one now."""
        self.heard.extend(Changed(key) for key, watched in self._files.items() if watched == path)

    def amend(self, path: str, old: bytes, new: bytes) -> None:
        """Change it where it stands."""
        self._call("amend", path)
        entry = self.world.files.get(path)
        if entry is None:
            raise MachineError(f"cannot write {path}", "No such file or directory", "", errno.ENOENT)
        entry.data = entry.data.replace(old, new)
        self.world.changed(path)

    def append(self, path: str, lines: bytes, limit: int, user: str | None, group: str | None) -> None:  # noqa: ARG002 -- groups make no difference here
        """Add lines; of a file that would become too long the older half goes."""
        self._call("append", path)
        self._enter(path, "write")
        entry = self.world.files.setdefault(path, Entry(uid=self._owner(user), mode=0o600))
        kept = entry.data
        if len(kept) + len(lines) > limit:
            kept = kept[len(kept) - limit // 2 :].partition(b"\n")[2]
        entry.data = kept + lines

    def remove(self, path: str) -> None:
        """Remove it, if it is there."""
        self._call("remove", path)
        entry = self.world.files.get(path)
        if entry is not None and entry.kind == "directory":
            raise MachineError(f"cannot remove {path}", "Is a directory", "", errno.EISDIR)
        self.world.files.pop(path, None)
        self.world.changed(path)

    def _owner(self, user: str | None) -> int:
        return self.uid if user is None else self.uid_of(user)

    def _enter(self, path: str, verb: str) -> None:
        directory = self.world.files.get(path.rpartition("/")[0] or "/")
        if directory is None or directory.kind != "directory":
            raise MachineError(f"cannot {verb} {path}", "No such file or directory", "start again", errno.ENOENT)
        entry = self.world.files.get(path)
        if entry is not None and entry.kind == "directory":
            raise MachineError(f"cannot {verb} {path}", "Is a directory", "", errno.EISDIR)

    # -- locks ---------------------------------------------------------------------------------------

    def lock(self, key: str, path: str, user: str | None, group: str | None) -> Holder | None:  # noqa: ARG002 -- groups make no difference here
        """Take it, or stand in line."""
        self._call("lock", path)
        self._enter(path, "lock")
        return None if self._take(key, path, self._owner(user)) is None else self.holder(key)

    def lock_directory(self, key: str, path: str, owners: Iterable[tuple[str | None, str | None]]) -> Holder | None:
        """The same for a run directory."""
        user, group = next(iter(owners))
        return self.lock(key, path, user, group)

    def holder(self, key: str) -> Holder:
        """Who holds the lock that is waited for."""
        flock = next((one for one in self.world.flocks.values() if (self, key) in one.queue), None)
        return Holder() if flock is None else Holder(f"pid {flock.holder[0].body.pid}: multi")

    def _take(self, key: str, path: str, owner: int) -> Fake | None:
        """Have the lock (None), or stand in line behind somebody."""
        entry = self.world.files.setdefault(path, Entry(uid=owner, mtime=self.world.wall))
        flock = self.world.flocks.get(entry.inode)
        if flock is None:
            self.world.flocks[entry.inode] = Flock(path, (self, key))
            return None
        flock.queue.append((self, key))
        return flock.holder[0]

    def holds(self, key: str) -> bool:
        """Whether it is ours, and its file still the one at its path."""
        return any(
            flock.holder == (self, key)
            and flock.path in self.world.files
            and self.world.files[flock.path].inode == inode
            for inode, flock in self.world.flocks.items()
        )

    def unlock(self, key: str) -> None:
        """Give it back, or leave the line."""
        self._call("unlock", key)
        for inode in list(self.world.flocks):
            self._give_back(inode, key)

    def _give_back(self, inode: int, key: str | None) -> None:
        """`key` None is every key of this `multi`."""
        flock = self.world.flocks[inode]
        flock.queue = [one for one in flock.queue if not (one[0] is self and key in {None, one[1]})]
        if flock.holder[0] is not self or key not in {None, flock.holder[1]}:
            return
        del self.world.flocks[inode]
        entry = self.world.files.get(flock.path)
        for fake, waiting in flock.queue:
            if entry is not None and entry.inode == inode and inode not in self.world.flocks:
                self.world.flocks[inode] = Flock(flock.path, (fake, waiting))
                fake.heard.append(Locked(waiting))
            elif fake._take(waiting, flock.path, fake.uid) is None:  # noqa: SLF001 -- it is one of us
                fake.heard.append(Locked(waiting))  # the file was replaced while it slept: it begins again

    # -- starting ------------------------------------------------------------------------------------

    def may_launch(self, launch: Launch) -> None:
        """Raise `MachineError` for what only root could grant."""
        if self.uid not in {0, self._owner(launch.uid)}:
            hint = "run multi as root, or leave --uid and --gid out"
            why = "only root can start a node as another user"
            raise MachineError(f"cannot start as {launch.uid}", why, hint, errno.EPERM)

    def expect_launches(self) -> None:
        """Nothing has to come up here."""

    def launch(self, key: str, launch: Launch) -> None:
        """Fork a process that sets itself up and comes to the gate."""
        self._call("launch", key)
        uid = self._owner(launch.uid)
        if self.uid not in {0, uid}:
            why = f"cannot start as {launch.uid}: only root can start a node as another user"
            self.heard.append(LaunchFailed(key, why, "run multi as root, or leave --uid and --gid out", errno.EPERM))
            return
        if self._launcher is None:
            self._launcher = self.world.add(argv=self.body.argv, uid=self.uid, ppid=self.body.pid)
        world = self.world
        nature = world.natures.get(_of(launch, INSTANCE_NODE), world.nature)
        body = world.add(argv=launch.argv, uid=uid, ppid=self._launcher.pid, session=self._launcher.session)
        launched = Launched(key, body, launch)
        self._launched.append(launched)
        if nature.setup_takes is not None:
            world.after(nature.setup_takes, partial(self._set_up, world, launched, nature))

    def _set_up(self, world: World, launched: Launched, nature: Nature) -> None:
        body = launched.body
        if launched.shut or body.gone:
            world.end(body, _NOT_EXECUTED)
        elif nature.setup_fails is not None:
            self.heard.append(LaunchFailed(launched.key, *nature.setup_fails))
            world.end(body, _NOT_EXECUTED)
        else:
            if launched.launch.logfile.startswith("/") and not launched.launch.logfile.startswith(("/dev/", "/proc/")):
                world.files.setdefault(launched.launch.logfile, Entry(uid=body.uid, mode=0o640))
            launched.prepared = True
            if launched.launch.cgroup:
                body.cgroup = launched.launch.cgroup
                world.cgroups.setdefault(body.cgroup, len(world.cgroups) + 2)
            body.nature = nature
            self.heard.append(Prepared(launched.key, body.proc))

    def _child(self, key: str) -> Launched | None:
        return next((launched for launched in reversed(self._launched) if launched.key == key), None)

    def open_gate(self, key: str) -> None:
        """Let it execute."""
        self._call("open_gate", key)
        launched = self._child(key)
        if launched is not None and launched.prepared and not launched.opened and not launched.shut:
            launched.opened = True
            self.world.after(0.0, partial(self._execute, self.world, launched))

    def _execute(self, world: World, launched: Launched) -> None:
        body, launch = launched.body, launched.launch
        if body.gone:
            return
        if body.nature.exec_fails is not None:
            if launched.key:
                self.heard.append(LaunchFailed(launched.key, *body.nature.exec_fails))
            world.end(body, _NOT_EXECUTED)
            return
        token, name = _of(launch, INSTANCE), _of(launch, INSTANCE_NODE)
        body.instance = Instance(token, body.pid, name, _of(launch, INSTANCE_PIDFILE)) if token else None
        body.launch = launch
        if launched.key:
            self.heard.append(Executed(launched.key))
        world.run(body)

    def shut_gate(self, key: str) -> None:
        """Send it away."""
        self._call("shut_gate", key)
        launched = self._child(key)
        if launched is not None and not launched.opened:
            launched.shut = True
            if launched.prepared:
                self.world.end(launched.body, _NOT_EXECUTED)

    def _forget(self, launched: Launched) -> None:
        """Nobody asks for it any more. Its gate is shut by that; one that is past it runs on, and its end is kept."""
        launched.key = ""
        if not launched.opened:
            launched.shut = True
            if launched.prepared:
                self.world.end(launched.body, _NOT_EXECUTED)
        if not launched.prepared or (launched.status is not None and launched.watched):
            self._launched.remove(launched)

    # -- signals and ends ----------------------------------------------------------------------------

    def signal(self, proc: Proc, signum: int) -> str:
        """Signal exactly this process."""
        self._call("signal", str(proc.pid), str(signum))
        if proc.pid in {0, INIT, self.body.pid}:
            return "denied"
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            return "gone"
        if self.uid not in {0, body.uid}:
            return "denied"
        self.world.signal(body, signum)
        return "sent"

    def watch(self, key: str, proc: Proc) -> None:
        """Report its end; the launcher does so for its own children."""
        self._call("watch", str(proc.pid))
        for launched in self._launched:
            if launched.body.proc == proc:
                launched.key, launched.watched = key, True
                if launched.status is not None:
                    self.heard.append(Ended(key, proc, launched.status))
                return
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            self.heard.append(Ended(key, proc, None))
        else:
            self._watched[key, proc] = None

    def ended(self, proc: Proc, status: int) -> None:
        """From the world: a process has ended."""
        self.cgroups.ended()
        for launched in self._launched:
            if launched.body.proc == proc and launched.prepared:
                launched.status = status
                if launched.key:
                    self.heard.append(Ended(launched.key, proc, status))
        for key, watched in list(self._watched):
            if watched == proc:
                del self._watched[key, watched]
                self.heard.append(Ended(key, proc, None))

    # -- readiness -----------------------------------------------------------------------------------

    def notify_address(self, key: str, token: str, *, keep: bool = False) -> str:
        """Open an ear."""
        self._call("notify_address", key)
        address = f"@multi-{token}"
        if key not in self._kept_ears or self._ears[key] != address:
            self._ears[key] = address
            (self._kept_ears.add if keep else self._kept_ears.discard)(key)
        return self._ears[key]

    def hear(self, address: str, fields: Mapping[str, str]) -> None:
        """From the world: somebody said something to an address."""
        for key, ear in self._ears.items():
            if ear == address:
                self.heard.append(Notified(key, dict(fields)))

    def probe(self, key: str, kind: str, what: str, launch: Launch) -> None:  # noqa: ARG002 -- no program runs here
        """Ask a port or a command."""
        self._call("probe", kind, what)
        ticket = object()
        self._probes[key] = ticket, what
        if what in self.world.hangs:
            return
        self.world.after(self.world.probe_takes, partial(self._answer, key, kind, what, ticket))

    def end_probe(self, key: str) -> None:
        """Nobody waits for it any more."""
        self._probes.pop(key, None)

    def probe_says(self, key: str) -> str:
        """What the probe under way prints."""
        return self.world.probe_prints.get(self._probes[key][1], "") if key in self._probes else ""

    def hook(self, node: str, hook: Hook) -> None:
        """Run a hook, which outlives this `multi`."""
        self._call("hook", node, hook.event)
        self.world.hooked.append((node, hook.event, json.loads(hook.data)))
        takes = self.world.hook_takes.get(hook.command, 0.01)
        why = f"still ran after {hook.seconds:g}s, and was killed" if takes > hook.seconds else ""
        self.world.after(min(takes, hook.seconds), lambda: self.heard.append(HookDone(node, hook.event, why)))

    def listens(self, procs: Sequence[Proc], at: tuple[str, int]) -> str:  # noqa: ARG002 -- one port is as good as another
        """Whose port it is."""
        return self.world.listener

    def taken(self, what: str) -> bool:  # noqa: ARG002 -- one port is as good as another
        """Whether somebody listens there."""
        return self.world.taken

    def _answer(self, key: str, kind: str, what: str, ticket: object) -> None:
        if key in self._probes and self._probes[key][0] is ticket:
            said = self.probe_says(key)
            del self._probes[key]
            now, never = self.world.time, float("inf")
            ok = self.world.answers.get(what, never) <= now < self.world.fails.get(what, never)
            why = f"{what}: Connection refused" + (f": {said}" if said else "")
            at = ("10.0.0.1", 80) if ok and kind == "tcp" else None
            self.heard.append(Probed(key, ok=ok, why="" if ok else why, at=at))

    def terminal_gone(self) -> bool:
        """Nobody here has one."""
        return False

    def tell(self, text: str) -> None:
        """Say it to whoever started this `multi`."""
        self._call("tell", text)

    def answer_watchdog(self) -> None:
        """Nobody here has one."""

    def extend_timeout(self) -> None:
        """Nobody here waits."""

    def interrupt(self, signum: int) -> None:
        """From the world: somebody wants this command to stop."""
        self.heard.append(Interruption(signum))

    # -- waiting -------------------------------------------------------------------------------------

    def make_room(self, nodes: int) -> int:
        """As much as is asked for, if the world has it."""
        return min(nodes, self.world.room)

    def release(self, key: str) -> None:
        """Forget everything that is held for this key."""
        self._call("release", key)
        for launched in [one for one in self._launched if one.key == key]:
            self._forget(launched)
        for inode in list(self.world.flocks):
            self._give_back(inode, key)
        for watched in [one for one in self._watched if one[0] == key]:
            del self._watched[watched]
        if key not in self._kept_ears:
            self._ears.pop(key, None)
        self._probes.pop(key, None)
        self._read.pop(key, None)
        self._files.pop(key, None)
        self.cgroups.watched.pop(key, None)

    def wait(self, until: float | None) -> Sequence[Happening]:
        """Let the world go on until something happens, or it is `until`."""
        self._call("wait")
        world = self.world
        if world.crowd is not None:
            world.crowd.sleep(self, until)
            if self.dead:
                self._told = True
                raise KilledError
        while not self.heard:
            if world.due is not None and (until is None or world.due <= until):
                world.happen()
                continue
            assert until is not None, f"it hangs: nothing will ever happen; the last it did was {self.calls[-12:]}"
            world.time = max(world.time, until)
            break
        heard, self.heard = self.heard, []
        return heard


def keeps_the_contract(fake: Fake) -> Machine:
    """For the type checker: a `Fake` is a `Machine`."""
    return fake


# --- several at once --------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Player:
    """One command of a crowd, in a thread that runs only while it has the baton."""

    fake: Fake
    command: Callable[[Fake], None]
    baton: Semaphore = field(default_factory=lambda: Semaphore(0))
    sleeping: bool = False
    until: float | None = None
    over: bool = False
    failure: BaseException | None = None

    def may_run(self, now: float) -> bool:
        """Whether it has anything to do now."""
        if self.over:
            return False
        woken = self.fake.dead or self.fake.heard or (self.until is not None and self.until <= now)
        return bool(not self.sleeping or woken)


class Crowd:
    """Several commands at once, in an order that `seed` decides; only one thread ever runs.

    `check` is called after every turn, between any two calls of any two commands: what must always be true of the
    world is asserted there. With `kills`, that many commands are hit by KILL at moments that the seed decides.
    """

    def __init__(self, world: World, seed: int, check: Callable[[], None], *, kills: int = 0) -> None:
        """Nothing runs yet."""
        self._world = world
        self._dice = random.Random(seed)
        self._check = check
        self._kills = kills
        self._conductor = Semaphore(0)
        self._players: list[_Player] = []
        self.killed: list[Fake] = []

    def run(self, commands: Sequence[tuple[Fake, Callable[[Fake], None]]]) -> None:
        """Run them all to the end. Raises what the first of them raised, `KilledError` excepted."""
        self._players = [_Player(fake, command) for fake, command in commands]
        threads = [Thread(target=self._play, args=(player,), daemon=True) for player in self._players]
        self._world.crowd = self
        try:
            for thread in threads:
                thread.start()
            while not all(player.over for player in self._players):
                self._turn()
                self._check()
        finally:
            self._world.crowd = None
            for player in self._players:
                if not player.over:  # a check has failed: whoever still waits for its turn is let go
                    player.fake.dead = True
                    player.baton.release()
            for thread in threads:
                thread.join(10)
        for player in self._players:
            if player.failure is not None:
                raise player.failure

    def _turn(self) -> None:
        ready = [player for player in self._players if player.may_run(self._world.time)]
        if ready and self._kills and self._dice.random() < 0.02:
            self._kills -= 1
            victim = self._dice.choice(ready)
            victim.fake.bury()
            self.killed.append(victim.fake)
        # Now and then the world goes on although somebody has something to do: a slow machine.
        if ready and not (self._world.due is not None and self._dice.random() < 0.1):
            player = self._dice.choice(ready)
            player.baton.release()
            self._conductor.acquire()
            return
        ends = [player.until for player in self._players if player.sleeping and player.until is not None]
        next_end = min(ends, default=None)
        if self._world.due is not None and (next_end is None or self._world.due <= next_end):
            self._world.happen()
        else:
            assert next_end is not None, "they hang: all wait, and nothing will ever happen"
            self._world.time = max(self._world.time, next_end)

    def _play(self, player: _Player) -> None:
        player.baton.acquire()
        try:
            player.command(player.fake)
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised again by `run`, in the main thread
            player.failure = error
        player.over = True
        self._conductor.release()

    def change_over(self, fake: Fake) -> None:
        """From a `Fake`, before every call: let somebody else have the baton."""
        player = self._of(fake)
        if player is not None:
            self._conductor.release()
            player.baton.acquire()

    def sleep(self, fake: Fake, until: float | None) -> None:
        """From a `Fake` that waits: be passed over until there is something to do."""
        player = self._of(fake)
        if player is None:
            return
        player.sleeping, player.until = True, until
        while not player.may_run(self._world.time):
            self._conductor.release()
            player.baton.acquire()
            if self._world.crowd is None:
                raise KilledError
        player.sleeping = False

    def _of(self, fake: Fake) -> _Player | None:
        return next((player for player in self._players if player.fake is fake), None)
