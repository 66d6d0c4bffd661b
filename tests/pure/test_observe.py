"""The judgement of one node as a table: what is found on the machine, and what is therefore true.

The rule is to fail closed. So most of the rows are about what must not be believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from multi import observe
from multi.codec import encode
from multi.decide.resolve import with_explicit
from multi.machine import File, Me, Unreadable
from multi.model import record as records
from multi.model.node import Known, Node
from multi.model.process import Instance, Proc, ProcessInfo, ProcessTable
from multi.model.record import Record
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.observe.evidence import Evidence, decoded
from multi.observe.judge import judge
from multi.testing.world import Entry, World, node_of
from multi.value import replace

WALL = 1_700_000_000.0
NODE = node_of(argv=("/usr/bin/program", "--name", "w1"), hup_ends=("-m celery", "[celeryd: "))
ROOT, WORKER, MALLORY = 0, 1000, 1666
PID, ME = 4000, 77
PROC = Proc(PID, "boot:1")
TOKEN = "t" * 32


def info(
    pid: int = PID,
    start_id: str = "boot:1",
    *,
    uid: int = ROOT,
    age: float = 100.0,
    gone: bool = False,
    suspended: bool = False,
    ppid: int = 1,
    pgrp: int | None = None,
    session: int = 1,
    instance: Instance | None = None,
    status: int | None = None,
) -> ProcessInfo:
    """One process, by default the node's own."""
    pgrp = pid if pgrp is None else pgrp
    where = {"ppid": ppid, "pgrp": pgrp, "session": session}
    return ProcessInfo(
        proc=Proc(pid, start_id),
        **where,
        uid=uid,
        gone=gone,
        age=age,
        suspended=suspended,
        instance=instance,
        status=status,
    )


def holder(
    pid: int = PID,
    *,
    main: int | None = None,
    node: Node = NODE,
    token: str = TOKEN,
    uid: int = ROOT,
    age: float = 100.0,
) -> ProcessInfo:
    """A process that says in its environment what it is: the main process, unless it names another one."""
    return info(pid, uid=uid, age=age, instance=Instance(token, pid if main is None else main, node.name, node.pidfile))


def file(data: bytes, *, uid: int = ROOT, mode: int = 0o644, age: float = 50.0) -> File:
    """A file that was written so many seconds ago."""
    return File(data, uid, mode, WALL - age)


def pidfile(pid: int | bytes = PID, *, uid: int = ROOT, mode: int = 0o644, age: float = 50.0) -> File:
    """A pidfile."""
    return file(b"%d\n" % pid if isinstance(pid, int) else pid, uid=uid, mode=mode, age=age)


def recordfile(
    proc: Proc | None = PROC, *, node: Node = NODE, uid: int = ROOT, mode: int = 0o644, **traits: object
) -> File:
    """A record, as it lies on disk."""
    record = replace(Record(node=node, proc=proc, token=TOKEN), **traits)  # type: ignore[arg-type]  # fields by name
    return file(encode(record), uid=uid, mode=mode)


LOOKS_RIGHT = NODE.words
LOOKS_WRONG = ("/usr/sbin/sshd", "-D")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is found, and what is true. `why` is a pattern for the reason that is given."""

    name: str
    is_true: type[State]
    why: str = ""
    pidfile: File | Unreadable | None = None
    record: File | Unreadable | None = None
    infos: tuple[ProcessInfo, ...] = ()
    cmdline: tuple[str, ...] = LOOKS_RIGHT
    hidden: frozenset[int] = frozenset()
    node_uid: int | None = None
    me: int = ROOT
    proc: Proc = PROC
    facts: dict[str, object] = field(default_factory=dict)


def running(**traits: object) -> Case:
    """A case in which record, pidfile and process agree, but for what is said otherwise."""
    given: dict[str, object] = {
        "is_true": Up,
        "pidfile": pidfile(),
        "record": recordfile(),
        "infos": (info(),),
        **traits,
    }
    return Case(**given)  # type: ignore[arg-type]  # fields by name


def foreign(**traits: object) -> Case:
    """A case with a pidfile of another tool: no record, but for what is said otherwise."""
    return running(**{"record": None, **traits})


OURS = [
    Case(name="nothing there", is_true=Down),
    Case(name="foreign processes only", is_true=Down, infos=(info(), info(4001))),
    running(name="all agree"),
    running(name="not seen ready yet", record=recordfile(phase=records.STARTING), facts={"ready": False}),
    running(
        name="asked to stop",
        is_true=Stopping,
        record=recordfile(desired=records.WANTED_STOPPED, signalled=True),
        facts={"sent": True},
    ),
    running(
        name="asked to stop, by one who was cut off before the signal",
        is_true=Stopping,
        record=recordfile(desired=records.WANTED_STOPPED),
        facts={"sent": False},
    ),
    foreign(
        name="Celery's worker, as celery multi starts it",
        cmdline=("/v/bin/python", "-m", "celery", "-A", "proj", "worker", "-n", NODE.name),
        facts={"ends_on_hup": True},
    ),
    foreign(
        name="Celery's worker, as celery multi starts it, with a title of setproctitle's instead of its words",
        cmdline=(f"[celeryd: {NODE.name}:MainProcess] -active- (-A proj worker -n {NODE.name})",),
        facts={"ends_on_hup": True},
    ),
    foreign(
        name="Celery's worker, started by its program",
        cmdline=("/v/bin/python", "/v/bin/celery", "-A", "proj", "worker", "-n", NODE.name),
        facts={"ends_on_hup": False},
    ),
    running(
        name="Celery's worker, as multi starts it",
        cmdline=("/v/bin/python", "-m", "celery", "-A", "proj", "worker", "-n", NODE.name),
        facts={"ends_on_hup": False},
    ),
    running(name="being restarted", is_true=Stopping, record=recordfile(desired=records.RESTARTING)),
    running(name="it goes on", facts={"suspended": False}),
    running(name="suspended", infos=(info(suspended=True),), facts={"suspended": True, "ready": True}),
    running(
        name="suspended in a stop",
        is_true=Stopping,
        record=recordfile(desired=records.WANTED_STOPPED, signalled=True),
        infos=(info(suspended=True),),
        facts={"suspended": True, "sent": True},
    ),
    running(
        name="suspended without its pidfile",
        is_true=Lost,
        pidfile=None,
        infos=(info(suspended=True),),
        why="gone",
        facts={"suspended": True},
    ),
    running(name="process gone", is_true=Dead, why="pid 4000 is gone", infos=()),
    running(
        name="process hidden from us",
        is_true=Unsure,
        why=r"w1\.json names pid 4000, which runs but may not be looked at",
        infos=(info(ME),),
        hidden=frozenset({PID}),
    ),
    running(
        name="process hidden from us, pidfile gone",
        is_true=Unsure,
        why=r"w1\.json names pid 4000, which runs but may not be looked at",
        pidfile=None,
        infos=(),
        hidden=frozenset({PID}),
    ),
    running(
        name="process of an earlier boot, its pid hidden from us",
        is_true=Dead,
        why="pid 4000 is gone",
        record=recordfile(Proc(PID, "earlier:1")),
        infos=(info(ME),),
        hidden=frozenset({PID}),
    ),
    running(
        name="pid that is hidden from us was the node's before it lost its files",
        is_true=Lost,
        why="is gone",
        record=recordfile(Proc(4001, PROC.start_id)),
        pidfile=None,
        infos=(holder(),),
        hidden=frozenset({4001}),
    ),
    running(name="process is a zombie", is_true=Dead, why="pid 4000 is gone", infos=(info(gone=True),)),
    running(
        name="process is a zombie whose status may be known",
        is_true=Dead,
        why=r"pid 4000 is gone: it was killed by signal 9 \(KILL\)",
        infos=(info(gone=True, status=-9),),
    ),
    running(
        name="pid belongs to another process",
        is_true=Dead,
        why="pid 4000 is another process now",
        infos=(info(start_id="boot:2"),),
    ),
    running(
        name="pid belongs to another process that looks just like it",
        is_true=Dead,
        why="another process now",
        infos=(info(start_id="boot:2", age=3.0),),
        cmdline=LOOKS_RIGHT,
    ),
    running(name="another boot", is_true=Dead, infos=(info(start_id="another boot:1"),)),
    running(
        name="stopped on purpose",
        is_true=Dead,
        record=recordfile(desired=records.WANTED_STOPPED),
        infos=(),
        facts={"on_purpose": True, "end": None},
    ),
    running(
        name="G14: stopped, and on record as that",
        is_true=Down,
        record=recordfile(None, desired=records.WANTED_STOPPED, stopped_at=WALL - 7.0, stopped_by="root (multi)"),
        pidfile=None,
        infos=(),
        facts={"on_record": True, "since": 7.0, "by": "root (multi)"},
    ),
    running(
        name="G14: stopped, and cut off before that was on record",
        is_true=Down,
        record=recordfile(desired=records.WANTED_STOPPED),
        pidfile=None,
        infos=(),
        facts={"on_record": True, "since": None},
    ),
    running(
        name="G14: on record as stopped, and another tool has started it since",
        is_true=Up,
        record=recordfile(None, desired=records.WANTED_STOPPED),
        cmdline=LOOKS_RIGHT,
    ),
    running(
        name="G14: on record as stopped, and what another tool has started since is dead",
        is_true=Dead,
        why="pid 4000 is gone",
        record=recordfile(None, desired=records.WANTED_STOPPED),
        infos=(),
        facts={"on_purpose": False},
    ),
    running(
        name="cut off in a restart, after the stop",
        is_true=Dead,
        record=recordfile(desired=records.RESTARTING),
        pidfile=None,
        infos=(),
        facts={"on_purpose": False},
    ),
    running(
        name="last start failed",
        is_true=Dead,
        why="it exited with status 3",
        record=recordfile(None, failure="it exited with status 3"),
        pidfile=None,
        infos=(),
    ),
    running(name="pidfile lost", is_true=Lost, why="its pidfile /run/w1.pid is gone", pidfile=None),
    running(
        name="pidfile lost while it stops",
        is_true=Stopping,
        pidfile=None,
        record=recordfile(desired=records.WANTED_STOPPED, signalled=True),
    ),
    running(name="pidfile emptied", is_true=Lost, why="damaged: it is empty", pidfile=pidfile(b"")),
    running(name="pidfile half written", is_true=Lost, why="half written", pidfile=pidfile(b"40")),
    running(name="pidfile names nobody", is_true=Lost, why="names pid 4001 instead", pidfile=pidfile(4001)),
    running(
        name="pidfile names a foreign process",
        is_true=Lost,
        why="names pid 4001 instead",
        pidfile=pidfile(4001),
        infos=(info(), info(4001)),
        cmdline=LOOKS_WRONG,
    ),
    running(
        name="pidfile names another process that looks like the node",
        is_true=Unsure,
        why="and both run",
        pidfile=pidfile(4001),
        infos=(info(), info(4001)),
    ),
    running(
        name="pidfile names another process, the recorded one is gone",
        is_true=Up,
        pidfile=pidfile(4001),
        infos=(info(4001, "boot:9"),),
        proc=Proc(4001, "boot:9"),
    ),
    running(name="record lost", is_true=Lost, why=r"its record /run/w1\.json is gone", record=None, infos=(holder(),)),
    running(name="both lost", is_true=Lost, why="is gone", record=None, pidfile=None, infos=(holder(),)),
    running(name="record damaged", is_true=Lost, why="damaged: it is not JSON", record=file(b"{"), infos=(holder(),)),
    running(
        name="record damaged, and nobody runs",
        is_true=Dead,
        why="damaged: it is not JSON",
        record=file(b"{"),
        pidfile=None,
        infos=(),
    ),
    running(
        name="two processes say that they are it",
        is_true=Unsure,
        why=r"pids 4000, 4001 all say that they are w1@host",
        record=None,
        infos=(holder(), holder(4001)),
    ),
    running(
        name="a child of it carries its instance, the main process is gone",
        is_true=Dead,
        why="1 process of its tree still runs",
        infos=(holder(4001, main=PID),),
    ),
    running(
        name="children outlived main process and files",
        is_true=Dead,
        why="its main process is gone; 2 processes of its tree still run",
        pidfile=None,
        record=None,
        infos=(holder(4001, main=PID), holder(4002, main=PID)),
    ),
    running(
        name="a record by another way to the same directory, or copied from elsewhere, of a process that runs",
        is_true=Unsure,
        why=r"/run/w1\.json says that w1@host runs as pid 4000 with the pidfile /elsewhere/w1\.pid; "
        r"give --pidfile=/elsewhere/w1\.pid, or remove /run/w1\.json if it is a copy$",
        record=recordfile(node=replace(NODE, pidfile="/elsewhere/w1.pid")),
        pidfile=None,
    ),
    running(
        name="a record that was copied from elsewhere, of a process that is gone",
        is_true=Dead,
        why=r"it is about the pidfile /elsewhere/w1\.pid",
        record=recordfile(node=replace(NODE, pidfile="/elsewhere/w1.pid")),
        pidfile=None,
        infos=(),
    ),
    running(
        name="a record that was copied from another node's",
        is_true=Dead,
        why=r"it is about the pidfile /run/w2\.pid",
        record=recordfile(node=replace(NODE, pidfile="/run/w2.pid")),
        pidfile=None,
    ),
    running(
        name="the files belong to another node that runs",
        is_true=Unsure,
        why="belongs to w1@other, which runs as pid 4000; .*--hostname=other",
        record=recordfile(node=replace(NODE, name="w1@other", host="other")),
    ),
    running(
        name="the files are those of another node that is gone",
        is_true=Dead,
        record=recordfile(node=replace(NODE, name="w1@other", host="other")),
        infos=(),
    ),
]

FOREIGN = [
    foreign(name="older, of the file's owner, and looks like it"),
    foreign(name="gone", is_true=Dead, why="pid 4000 is gone", infos=()),
    foreign(name="a zombie", is_true=Dead, why="pid 4000 is gone", infos=(info(gone=True),)),
    foreign(
        name="younger than the file",
        is_true=Dead,
        why="started after",
        infos=(info(age=10.0),),
        cmdline=LOOKS_WRONG,
    ),
    foreign(
        name="younger than the file, but looks like it: a clock may have been set",
        is_true=Unsure,
        why="started after",
        infos=(info(age=10.0),),
    ),
    foreign(name="as old as the file, as coarse clocks have it", infos=(info(age=49.99),)),
    foreign(
        name="got the pid at once, and has a child of the node to betray it",
        is_true=Dead,
        why=r"pid 4000 is another process now: pid 4001 came of this node's and is older; 1 process of its tree still",
        infos=(info(age=50.0), holder(4001, main=PID, age=50.01)),
        cmdline=LOOKS_WRONG,
    ),
    foreign(
        name="has a child of its own age",
        infos=(info(age=50.1), holder(4001, main=PID, age=50.1)),
    ),
    foreign(
        name="another user's process says that it is older",
        infos=(info(age=60.0), holder(4001, main=PID, age=70.0, uid=MALLORY)),
    ),
    foreign(
        name="got the pid soon after the file was written",
        is_true=Dead,
        why="is another process now",
        infos=(info(age=49.5),),
        cmdline=LOOKS_WRONG,
    ),
    foreign(name="looks different", is_true=Unsure, why=r"does not look like w1@host \(.*sshd", cmdline=LOOKS_WRONG),
    foreign(name="shows no words", is_true=Unsure, why="no command line", cmdline=()),
    foreign(name="same words under another path of the program", cmdline=("/opt/bin/program", "--name", "w1")),
    foreign(name="a script, as the kernel shows it", cmdline=("/bin/sh", "/usr/bin/program", "--name", "w1")),
    foreign(name="a script with an option", cmdline=("/bin/sh", "-e", "/usr/bin/program", "--name", "w1")),
    foreign(
        name="a script of the same name elsewhere",
        is_true=Unsure,
        why="does not look like",
        cmdline=("/bin/sh", "/tmp/program", "--name", "w1"),
    ),
    foreign(
        name="its command as an argument of many words",
        is_true=Unsure,
        why="does not look like",
        cmdline=("watch", "-n", "1", "/usr/bin/program", "--name", "w1"),
    ),
    foreign(
        name="same words, another program",
        is_true=Unsure,
        why="does not look like",
        cmdline=("/usr/bin/other", "--name", "w1"),
    ),
    foreign(name="full name as an option", cmdline=("celery", "worker", "--hostname=w1@host")),
    foreign(name="full name as a word", cmdline=("/usr/bin/python3", "-m", "celery", "worker", "-n", "w1@host")),
    foreign(name="full name glued to its option", cmdline=("celery", "worker", "-nw1@host")),
    foreign(name="full name in a title", cmdline=("[celeryd: w1@host:MainProcess] -active- (worker -c 2)",)),
    foreign(name="told to write this pidfile", cmdline=("celery", "-A", "p", "beat", "--pidfile=/run/w1.pid")),
    foreign(name="told to write this pidfile, in a title", cmdline=("[celery beat] -A p beat --pidfile=/run/w1.pid",)),
    foreign(
        name="told to write another pidfile that begins alike",
        is_true=Unsure,
        why="does not look like",
        cmdline=("celery", "-A", "p", "beat", "--pidfile=/run/w1.pid.old"),
    ),
    foreign(
        name="the name of another node that ends alike",
        is_true=Unsure,
        why="does not look like",
        cmdline=("celery", "worker", "-n", "new-w1@host"),
    ),
    foreign(
        name="the name of another node that begins alike",
        is_true=Unsure,
        why="does not look like",
        cmdline=("celery", "worker", "--hostname=w1@host2"),
    ),
    foreign(
        name="the name of another node on a host of the same domain",
        is_true=Unsure,
        why="does not look like",
        cmdline=("[celeryd: w1@host.example.com:MainProcess]",),
    ),
    foreign(
        name="hidden from us",
        is_true=Unsure,
        why="may not be looked at",
        infos=(),
        hidden=frozenset({PID}),
    ),
    foreign(
        name="runs as another user than the file's owner",
        is_true=Unsure,
        why="belongs to uid 1000 but names pid 4000, which runs as uid 0; remove the file if it was planted",
        pidfile=pidfile(uid=WORKER),
        node_uid=WORKER,
    ),
    foreign(
        name="root's file names a process of the node's user",
        pidfile=pidfile(),
        node_uid=WORKER,
        infos=(info(uid=WORKER),),
    ),
    foreign(
        name="the node's user's file names its own process",
        pidfile=pidfile(uid=WORKER),
        node_uid=WORKER,
        infos=(info(uid=WORKER),),
    ),
    foreign(
        name="somebody else's process, and we are not root",
        is_true=Unsure,
        why="run multi as that user or as root",
        pidfile=pidfile(uid=ROOT),
        me=WORKER,
    ),
]

HOSTILE = [
    *(
        foreign(name=f"pidfile holds {data!r}", is_true=Unsure, why=why, pidfile=pidfile(data), infos=(info(),))
        for data, why in [
            (b"", "empty"),
            (b"\n", "empty"),
            (b"  \n", "empty"),
            (b"4000", "newline"),
            (b"-1\n", "does not hold a pid"),
            (b"+4000\n", "does not hold a pid"),
            (b"0\n", "no node can be"),
            (b"1\n", "no node can be"),
            (b"00001\n", "no node can be"),
            (b"%d\n" % ME, "no node can be"),
            (b"40000000000000000000\n", "does not hold a pid"),
            (b"4000 4001\n", "does not hold a pid"),
            (b"4000\n4001\n", "does not hold a pid"),
            (b"4000\0\n", "does not hold a pid"),
            (b"\0\0\0\0", "newline"),
            (b"0x10\n", "does not hold a pid"),
            (b"4_000\n", "does not hold a pid"),
            ("\u0664\u0660\u0660\u0660\n".encode(), "does not hold a pid"),  # Arabic digits
            (b"4000.0\n", "does not hold a pid"),
            (b"\xff\xfe\n", "does not hold a pid"),
        ]
    ),
    foreign(name="a pid beyond what the kernel has", is_true=Dead, why="is gone", pidfile=pidfile(4194305), infos=()),
    foreign(name="the largest number that may be a pid", is_true=Dead, pidfile=pidfile(9999999999), infos=()),
    foreign(name="blanks around it", pidfile=pidfile(b"  4000\r\n")),
    foreign(
        name="pidfile is a link",
        is_true=Unsure,
        why=r"/run/w1\.pid cannot be read: it is a symbolic link; look at it, and remove it$",
        pidfile=Unreadable("it is a symbolic link"),
    ),
    running(
        name="record may not be read",
        is_true=Unsure,
        why=r"/run/w1\.json cannot be read: Permission denied; run multi as its owner, or as root$",
        record=Unreadable("Permission denied", "run multi as its owner, or as root"),
    ),
    running(
        name="planted pidfile",
        is_true=Unsure,
        why=r"/run/w1\.pid belongs to uid 1666, not to this node's user",
        pidfile=pidfile(uid=MALLORY),
    ),
    running(
        name="planted record",
        is_true=Unsure,
        why=r"/run/w1\.json belongs to uid 1666",
        record=recordfile(uid=MALLORY),
    ),
    running(
        name="record of the node's own user that names somebody else's process",
        is_true=Unsure,
        why="belongs to uid 1000 but names pid 4000, which runs as uid 0",
        record=recordfile(uid=WORKER),
        node_uid=WORKER,
    ),
    running(
        name="group may write the pidfile", is_true=Unsure, why="mode 0664.*chmod go-w", pidfile=pidfile(mode=0o664)
    ),
    running(name="all may write the record", is_true=Unsure, why="mode 0646", record=recordfile(mode=0o646)),
    running(
        name="group may write, and we are not root: whose group it is, is our own affair",
        pidfile=pidfile(mode=0o664, uid=WORKER),
        record=recordfile(mode=0o664, uid=WORKER),
        infos=(info(uid=WORKER),),
        me=WORKER,
    ),
    running(
        name="a process of another user says that it is the node",
        is_true=Down,
        pidfile=None,
        record=None,
        infos=(holder(uid=MALLORY),),
        me=WORKER,
    ),
    running(
        name="a child says that it is the main process, under another pid",
        is_true=Dead,
        pidfile=None,
        record=None,
        infos=(holder(4001, main=PID),),
        why="its main process is gone",
    ),
    running(
        name="a main process in a container that shares the run directory",
        is_true=Unsure,
        record=recordfile(Proc(7, "boot:1")),
        pidfile=pidfile(7),
        infos=(info(instance=Instance(TOKEN, 7, NODE.name, NODE.pidfile, elsewhere=True)),),
        why="pid 4000 says that it is w1@host, in another PID namespace, as of a container; run multi there",
    ),
    running(
        name="a stranger that says so is not believed",
        is_true=Down,
        record=None,
        pidfile=None,
        node_uid=WORKER,
        infos=(info(uid=MALLORY, instance=Instance(TOKEN, 7, NODE.name, NODE.pidfile, elsewhere=True)),),
    ),
    running(
        name="our own pid says that it is the node: multi was started from it",
        is_true=Down,
        pidfile=None,
        record=None,
        infos=(holder(ME),),
    ),
]


@pytest.mark.parametrize("case", [*OURS, *FOREIGN, *HOSTILE], ids=lambda case: case.name)
def test_judge(case: Case) -> None:
    """Each row of the table holds."""
    processes = ProcessTable(0.0, WALL, {one.proc.pid: one for one in case.infos})
    evidence = Evidence(
        pidfile=case.pidfile,
        record=decoded(NODE, case.record),
        cmdline=case.cmdline,
        hidden=case.hidden,
        uid=case.me if case.node_uid is None else case.node_uid,
    )
    node = NODE if case.node_uid is None else replace(NODE, uid=str(case.node_uid))
    seen = judge(node, evidence, processes, Me(case.me, ME)).state
    assert type(seen) is case.is_true, seen
    if isinstance(seen, (Up, Stopping, Lost)):
        assert seen.proc == case.proc
    if isinstance(seen, (Dead, Lost, Unsure)):
        assert re.search(case.why, seen.why), seen.why
        assert "\n" not in seen.why
    for name, value in case.facts.items():
        assert getattr(seen, name) == value


def test_names_of_cases_are_unique() -> None:
    """No row of the table hides another one."""
    names = [case.name for case in (*OURS, *FOREIGN, *HOSTILE)]
    assert len(set(names)) == len(names)


def test_what_another_node_left_is_no_history() -> None:
    """The record of another node is cleared with its pidfile, but does not become the history of this one."""
    other = recordfile(node=replace(NODE, name="w1@other", host="other"))
    evidence = Evidence(pidfile=pidfile(), record=decoded(NODE, other), uid=ROOT)
    assert judge(NODE, evidence, ProcessTable(0.0, WALL, {}), Me(ROOT, ME)).record is None


@pytest.mark.parametrize(
    ("argv", "cmdline", "expected"),
    [
        (("/venv/bin/python", "-m", "celery", "worker"), ("python3.12", "-m", "celery", "worker"), True),
        (("/venv/bin/python", "-m", "celery", "worker"), ("perl", "-m", "celery", "worker"), False),
        (("server",), ("/usr/bin/server",), True),
        (("server",), ("/bin/sh", "/usr/bin/server"), True),
        (("server",), ("/bin/sh", "/usr/bin/observer"), False),
        (("server",), ("sh", "server"), False),
        (("server",), (), False),
        (("server", "--logfile=/a", "x"), ("server", "x", "--logfile=/b"), True),
        (("server", "x"), ("server", "x", "y"), False),
        (("server", "x", "y"), ("server",), False),
    ],
)
def test_a_command_that_looks_alike(argv: tuple[str, ...], cmdline: tuple[str, ...], expected: bool) -> None:
    """Without its name in the words, the program and all words after it must be the node's own."""
    evidence = Evidence(pidfile=pidfile(), record=decoded(NODE, None), uid=ROOT, cmdline=cmdline)
    seen = judge(
        replace(NODE, command=Known(argv)), evidence, ProcessTable(0.0, WALL, {PID: info()}), Me(ROOT, ME)
    ).state
    assert isinstance(seen, Up if expected else Unsure)


# --- trees ------------------------------------------------------------------------------------------------


def members(infos: Iterable[ProcessInfo], known: Iterable[Proc] = (), *, token: str = TOKEN) -> set[int]:
    """The pids of a tree whose main process is `PROC`."""
    table = {one.proc.pid: one for one in infos}
    return {one.proc.pid for one in observe.tree(PROC, token, ProcessTable(0.0, WALL, table), Me(ROOT, ME), known)}


OTHER = Instance("o" * 32, 5000, "w2@host", "/run/w2.pid")
MAIN = holder()


@pytest.mark.parametrize(
    ("name", "infos", "expected"),
    [
        ("alone", [MAIN], set()),
        ("a child", [MAIN, info(4001, ppid=PID)], {4001}),
        ("a grandchild", [MAIN, info(4001, ppid=PID), info(4002, ppid=4001)], {4001, 4002}),
        ("a child in a session of its own", [MAIN, info(4001, ppid=PID, session=4001)], {4001}),
        ("an orphan that carries the token", [MAIN, holder(4001, main=PID)], {4001}),
        ("a child of such an orphan", [MAIN, holder(4001, main=PID), info(4002, ppid=4001)], {4001, 4002}),
        ("a member of its group that is nobody's child", [MAIN, info(4001, pgrp=PID)], {4001}),
        ("a zombie", [MAIN, info(4001, ppid=PID, gone=True)], set()),
        ("the living child of a zombie", [MAIN, info(4001, ppid=PID, gone=True), info(4002, ppid=4001)], {4002}),
        ("a stranger", [MAIN, info(4001)], set()),
        ("init and the kernel", [MAIN, info(1, ppid=0), info(2, ppid=0)], set()),
        ("we, started by it", [MAIN, info(ME, ppid=PID), info(4001, ppid=ME)], set()),
        ("we, in its group", [MAIN, info(ME, pgrp=PID), info(4001, ppid=ME)], set()),
        (
            "another node that it started, and that node's child",
            [MAIN, replace(info(5000, ppid=PID), instance=OTHER), info(5001, ppid=5000)],
            set(),
        ),
        ("main process gone, a child carries on", [holder(4001, main=PID), info(4002, ppid=4001)], {4001, 4002}),
        ("main process gone, its group now another's", [info(4001, pgrp=PID)], set()),
        (
            "main process gone, its pid now another's, with a child and a group",
            [info(PID, "boot:2"), info(4001, ppid=PID, pgrp=PID)],
            set(),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tree(name: str, infos: list[ProcessInfo], expected: set[int]) -> None:
    """Members are descendants, carriers of the token, and the group while it is provably still the same."""
    assert members(infos) == expected, name


def test_tree_of_known_members() -> None:
    """Who was seen in the tree stays in it when its mother is gone, with its children and its group."""
    bare, child, grouped = info(4001, pgrp=PID), info(4002, ppid=4001), info(4003, pgrp=PID)
    assert members([bare, child, grouped]) == set()
    assert members([bare, child, grouped], [bare.proc]) == {4001, 4002, 4003}
    assert members([replace(bare, proc=Proc(4001, "boot:2"))], [bare.proc]) == set()


def test_tree_without_a_token() -> None:
    """A process that another tool started has no token; that others have none either joins nobody."""
    empty = Instance("", 0, "", "")
    infos = [info(), info(4001, ppid=PID), replace(info(4002), instance=empty)]
    assert members(infos, token="") == {4001}


def order(*there: ProcessInfo) -> list[int]:
    """In which order a tree is killed; all but zombies are in it."""
    infos = {one.proc.pid: one for one in (info(1, session=0), MAIN, *there)}
    tree = [one for one in there if not one.gone]
    return [proc.pid for proc in observe.kill_order(tree, ProcessTable(0.0, WALL, infos))]


def test_g5_children_are_killed_before_parents() -> None:
    """G5: whatever their pids, groups and sessions are."""
    infos = [info(30, ppid=PID), info(10, ppid=30), info(20, ppid=10, pgrp=10), info(40, ppid=20, session=40)]
    assert order(*infos) == [40, 20, 10, 30]
    assert order(*reversed(infos)) == [40, 20, 10, 30]


def test_g5_an_orphan_is_killed_before_what_ties_its_group_to_the_session() -> None:
    """G5: a job whose grandchild was orphaned keeps that one's group from being so, and a zombie does as well."""
    job, orphan = info(10, ppid=PID), info(20, ppid=1, pgrp=10)
    assert order(job, orphan) == order(orphan, job) == [20, 10]
    shell, zombie = info(5, ppid=PID), info(10, ppid=5, gone=True)
    assert order(shell, zombie, orphan) == order(orphan, zombie, shell) == [20, 5]


def test_g5_a_kill_order_has_everybody_once() -> None:
    """G5: a table of several moments may show a circle of parents, and a chain may be long."""
    circle = [info(10, ppid=20), info(20, ppid=10)]
    assert sorted(order(*circle)) == [10, 20]
    chain = [info(5000 + number, ppid=PID if number == 0 else 4999 + number) for number in range(5000)]
    assert order(*chain) == [9999 - number for number in range(5000)]


def test_adopted_token() -> None:
    """The token is that of this very process, never of another one under its pid."""
    processes = ProcessTable(0.0, WALL, {PID: MAIN})
    assert observe.adopted_token(PROC, processes) == TOKEN
    assert observe.adopted_token(Proc(PID, "boot:2"), processes) == ""
    assert observe.adopted_token(Proc(1, "boot:1"), processes) == ""


def test_g8_a_stolen_token() -> None:
    """G8: who carries the token of another node is none of whose tree it says; it would be killed with it."""
    child, thief = holder(4001, main=PID), holder(5000, uid=MALLORY)
    processes = ProcessTable(0.0, WALL, {one.proc.pid: one for one in (child, thief)})
    assert observe.adopted_token(thief.proc, processes) == ""


# --- what is recorded in a directory ------------------------------------------------------------------------


def put(world: World, path: str, found: File) -> None:
    """Lay a file into a made-up world."""
    world.files[path] = Entry(found.data, found.uid, found.mode, found.mtime)


def test_recorded() -> None:
    """Sound records are found; what is damaged, copied or planted is passed over."""
    world = World()
    second = node_of("w2", uid="worker")
    put(world, "/run/w1.json", recordfile())
    put(world, "/run/w2.json", recordfile(node=second, uid=WORKER))
    put(world, "/run/copy.json", recordfile())
    put(world, "/run/damaged.json", file(b"{}"))
    put(world, "/run/planted.json", recordfile(node=node_of("planted"), uid=MALLORY))
    put(world, "/run/claims.json", recordfile(node=node_of("claims", uid="worker"), uid=MALLORY))
    put(world, "/run/open.json", recordfile(node=node_of("open"), mode=0o666))
    world.files["/run/link.json"] = Entry(kind="symbolic link")
    world.files["/run/dir.json"] = Entry(kind="directory")
    fake = world.fake()
    assert [record.node.name for record in observe.survey("/run", fake)[0]] == ["w1@host", "w2@host"]
    assert observe.survey("/nowhere", fake) == ((), ())


@pytest.mark.parametrize(
    ("found", "believed"),
    [
        (recordfile(), True),
        (recordfile(uid=MALLORY), False),
        (recordfile(mode=0o664), False),
        (file(b"nonsense"), False),
        (recordfile(node=replace(NODE, short="w2", name="w2@host")), False),
        (recordfile(node=replace(NODE, host="renamed", name="w1@renamed")), True),
        (recordfile(node=replace(NODE, uid="worker"), uid=WORKER), True),
        (recordfile(node=replace(NODE, uid="root"), uid=WORKER), False),
        (recordfile(node=replace(NODE, uid=None), uid=WORKER), False),
        (recordfile(node=replace(NODE, uid="worker"), uid=WORKER, mode=0o666), False),
    ],
    ids=[
        "ours",
        "planted",
        "open",
        "damaged",
        "another node",
        "host renamed",
        "user's",
        "root's",
        "nobody's",
        "shared",
    ],
)
def test_recall(found: File, believed: bool) -> None:
    """A record is believed when root or we wrote it, or when it can only make things run as whoever wrote it (G8)."""
    world = World()
    put(world, "/run/w1.json", found)
    assert (observe.recall(NODE, world.fake()) is not None) == believed


def test_recall_of_what_is_not_there() -> None:
    """No record is no record."""
    assert observe.recall(NODE, World().fake()) is None


def test_with_explicit() -> None:
    """What was said now goes over what is on record, and nothing else does."""
    asked = replace(NODE, startsecs=9.0, lock_timeout=9.0)
    assert with_explicit(NODE, asked, frozenset({"startsecs"})) == replace(NODE, startsecs=9.0, startsecs_asked=True)
