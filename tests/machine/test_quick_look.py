"""G1, G2, G5: a look that leaves out what is older than the nodes tells the same of them as a look at everything."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PIDFILE, Me
from multi.model.process import Outline, Proc, ProcessInfo, ProcessTable
from multi.observe import tree
from multi.system.processes import Processes
from real import Real, until

TOKEN = "0123456789abcdef" * 2
SECONDS = 4.0  # that the storm is compared for
FEWEST = 6  # comparisons, at least
FEWEST_MEMBERS = 5  # of the storm in one look at least, to prove something
LONGEST = 90.0  # seconds that the storm rages at most: at a load of 90, six comparisons took more than 40
ENV = {INSTANCE: TOKEN, INSTANCE_NODE: "a@host", INSTANCE_PIDFILE: "/nowhere/a.pid"}

# A main process whose descendants hide: in a session of their own, without their environment, without their parent, in
# another group, as another user. Each lives for a moment and forks now and then. The parameter is when all of it ends.
STORM = """
import os, random, sys, time
end = float(sys.argv[1])
os.setpgid(0, 0)
def live(depth):
    while time.monotonic() < end:
        time.sleep(random.random() * 0.1)
        if depth > 2 or random.random() < 0.5:
            os._exit(0)
        try:
            pid = os.fork()
        except OSError:
            continue
        if pid == 0:
            how = random.choice(["plain", "session", "group", "orphan", "bare", "user"])
            if how == "session":
                os.setsid()
            elif how == "group":
                os.setpgid(0, 0)
            elif how == "orphan" and os.fork():
                os._exit(0)
            elif how == "user" and os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            elif how == "bare":
                left = f"import time; time.sleep({random.random() * 0.5})"
                try:
                    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", left], {})
                except PermissionError:
                    os._exit(0)
            random.seed()
            live(depth + 1)
    os._exit(0)
while time.monotonic() < end:
    if os.fork() == 0:
        random.seed()
        live(0)
    time.sleep(0.03)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
time.sleep(60)
"""

# An older process of the main one's session: it joins the main one's group when the file of its parameter names that.
JOINER = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
os.setpgid(0, int(open(sys.argv[1]).read()))
open(sys.argv[1] + ".joined", "w").close()
time.sleep(60)
"""

MAIN = f'export MULTI_INSTANCE_PID=$$; exec {sys.executable} -I -S -c "$0" "$1"'


@pytest.fixture
def family(tmp_path: Path, real: Real) -> Iterator[tuple[Processes, Proc, int, Path]]:
    """A quick looker, a main process in a group of its own, the pid of its older sibling, and the file for that one."""
    said = tmp_path / "group"
    joiner = subprocess.Popen([sys.executable, "-I", "-S", "-c", JOINER, str(said)], env=real.env)
    time.sleep(0.05)  # a tick is 0.01 seconds: it is older
    words = ["sh", "-c", MAIN, STORM, str(time.monotonic() + LONGEST)]
    main = subprocess.Popen(words, env={**real.env, **ENV})
    try:
        whole = Processes(procfs=True)
        until(lambda: held(whole.table(), main.pid), "the main process shows its token")
        yield Processes(procfs=True), whole.table().by_pid[main.pid].proc, joiner.pid, said
    finally:
        looker = Processes(procfs=True)
        for _ in range(50):
            table = looker.table()
            left = [info.proc for info in table.by_token.get(TOKEN, ())]
            left += [info.proc for one in left for info in table.by_parent.get(one.pid, ())]
            for proc in left:
                if looker.is_same(proc):
                    os.kill(proc.pid, 9)
            if not left:
                break
        for process in (joiner, main):
            process.kill()
            process.wait()


def held(table: ProcessTable, pid: int) -> bool:
    """Whether the process carries the token and leads its group."""
    info = table.by_pid.get(pid)
    return info is not None and info.instance is not None and info.pgrp == pid


def members(main: Proc, table: ProcessTable) -> set[Proc]:
    """The tree of the main process."""
    return {info.proc for info in tree(main, TOKEN, table, Me(os.geteuid(), os.getpid()))}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_g5_a_quick_look_sees_the_tree_that_a_full_look_sees(family: tuple[Processes, Proc, int, Path]) -> None:
    """In a storm of processes that hide, whoever is in the tree before and after a quick look is in it then, too."""
    quick, main, joiner, said = family
    full = Processes(procfs=True)
    began = time.monotonic()
    ends = began + SECONDS
    compared = seen = 0
    while time.monotonic() < ends or compared < FEWEST or seen < FEWEST_MEMBERS:
        assert time.monotonic() < began + LONGEST, "there was no storm"
        if compared == FEWEST // 2:
            written = said.with_name("group.written")  # it must not be read before it is complete
            written.write_text(str(main.pid), encoding="ascii")
            written.rename(said)
            until(said.with_name("group.joined").exists, "the older one has joined the group")
        before = full.table()
        now = quick.reaching(quick.sketch(), main)
        after = full.table()
        stable = members(main, before) & members(main, after)
        strangers = {
            info.proc for info in before.by_pid.values() if after.by_pid.get(info.proc.pid, info).proc == info.proc
        } - (members(main, before) | members(main, after))
        found = members(main, now)
        assert not stable - found, [before.by_pid[one.pid] for one in stable - found]
        assert not found & strangers, [now.by_pid[one.pid] for one in found & strangers]
        assert now.since <= main.ticks
        assert all(outline.start < main.ticks for outline in now.older.values())
        if compared > FEWEST // 2:
            assert joiner in {one.pid for one in found}
        compared += 1
        seen = max(seen, len(found))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_g1_outlines_are_of_the_processes_that_have_the_pids_now(real: Real) -> None:
    """A look that knows a process from before does not tell it of another one that has its pid since."""
    older = [real.popen("sleep", "600") for _ in range(10)]
    quick = Processes(procfs=True)
    random.shuffle(older)
    first = quick.sketch()
    assert all(isinstance(first.find(one.pid), Outline) for one in older)
    gone = older[:5]
    for one in gone:
        one.kill()
        one.wait()
    second = quick.sketch()
    assert not [one.pid for one in gone if second.find(one.pid) is not None]
    assert all(second.find(one.pid) == first.find(one.pid) for one in older[5:])
    whole = quick.reaching(second, None)
    assert whole.since == 0
    assert not whole.older
    assert all(isinstance(whole.find(one.pid), ProcessInfo) for one in older[5:])
