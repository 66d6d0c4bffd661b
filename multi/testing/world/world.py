"""The state of a made-up machine, which all `multi` on it share."""

from __future__ import annotations

import heapq
import signal
from collections.abc import Callable, Mapping
from functools import partial

from multi.machine import Asked, Ran
from multi.model.cgroup import Counted, Folder
from multi.model.node import Known, Node, Ready
from multi.model.process import Instance, Proc
from multi.model.schedule import parse as schedule
from multi.testing.world.bodies import HARMLESS, INIT, KILL, Body, Child, Nature, variable
from multi.testing.world.fake import Fake
from multi.testing.world.files import Entry
from multi.testing.world.locks import Flock
from multi.typed import Protocol

EPOCH = 1_700_000_000.0  # what the clock on the wall shows when the world's own shows 0


class Turns(Protocol):
    """Who lets several commands run at once, as threads of which one runs at a time."""

    def change_over(self, fake: object) -> None:
        """Before every call of one: let another one run."""

    def sleep(self, fake: object, until: float | None) -> None:
        """One waits: come back when there is something to do for it."""


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


class World:
    """The state of a made-up machine. Attributes are for tests to set."""

    def __init__(self) -> None:
        """A world with init, the directories ``/run`` and ``/log``, and nothing else in it."""
        self.time = 100.0
        self.skew = 0.0  # seconds that the clock on the wall was set forward
        self.bodies: dict[int, Body] = {}
        self.files = {path: Entry(kind="directory", mode=0o755, mtime=self.wall) for path in ("/", "/run", "/log")}
        self.flocks: dict[int, Flock] = {}  # by inode
        self.asked: dict[int, Asked] = {}  # the last stop that a lock file tells, by its inode
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
        self.plugin_notifies = False
        self.listener = "yes"  # whose the ports are that accept, see `Machine.listens`
        self.taken = False  # whether somebody listens on them before a node is started
        self.restless = False  # somebody ends during each look at the process table
        self.next_pid = 1000
        self.capacity = 10_000  # how many nodes one `multi` can hold at once
        self.crowd: Turns | None = None
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

    def add(  # noqa: PLR0913 -- the traits of a process, each by its name
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
        if pid in self.bodies:
            raise AssertionError(f"pid {pid} is not free")
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
                fake.hear(variable(body.launch, "NOTIFY_SOCKET"), fields)

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
        if not body.nature.unreaped:
            del self.bodies[body.pid]
        for fake in self.fakes:
            fake.ended(body.proc, status)
        for group in groups:
            self._resume_orphans(group)

    def _ties(self, body: Body) -> bool:
        """Whether it keeps its group from being orphaned: its parent is in another group of the same session."""
        parent = self.bodies.get(body.ppid)
        return parent is not None and parent.session == body.session and parent.pgrp != body.pgrp

    def _resume_orphans(self, group: int) -> None:
        """HUP and CONT for a group that is orphaned, if one in it is stopped, as in kernel/exit.c."""
        members = [body for body in self.bodies.values() if body.pgrp == group and not body.gone]
        if any(body.suspended for body in members) and not any(self._ties(body) for body in members):
            for signum in (signal.SIGHUP, signal.SIGCONT):
                for body in members:
                    self.signal(body, signum)

    def recycle(self, body: Body, *, argv: tuple[str, ...] = ("unrelated",), uid: int = 0) -> Body:
        """The process ends, and another one gets its pid."""
        self.end(body, 0)
        self.bodies.pop(body.pid, None)
        return self.add(pid=body.pid, argv=argv, uid=uid)
