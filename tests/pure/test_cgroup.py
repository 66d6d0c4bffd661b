"""What the kernel's files say of cgroups, whose cgroup is ours to divide, and who of those in one belongs to a tree."""

from __future__ import annotations

import pytest

from multi.decide.delegation import DELEGATED, NONE, former_home, home
from multi.machine import Me
from multi.model.cgroup import Counted, Folder, counted_in, directory_of, mounts_in, name_of, numbers_in, path_in
from multi.model.process import Instance, Proc, ProcessInfo, ProcessTable
from multi.observe.tree import in_cgroup
from multi.value import replace

HYBRID = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
BELOW = r"50 40 0:26 /lxc/one /mnt/a\040b rw - cgroup2 none rw"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/system.slice/multi.service\n", "/system.slice/multi.service"),
        ("9:name=systemd:/x\n1:cpu:/y\n0::/\n", "/"),
        ("4:memory:/x\n", None),
        ("", None),
        ("0::/../outside\n", None),
        ("0::/gone (deleted)\n", None),
        ("0::relative\n", None),
    ],
)
def test_where_a_process_is(text: str, path: str | None) -> None:
    """Only the line of version 2 counts, and only a path that lies below our own root."""
    assert path_in(text) == path


def test_mounts() -> None:
    """Only mounts of version 2 count; blanks in them are escaped; lines that are cut off are left out."""
    assert mounts_in(HYBRID) == (("/", "/sys/fs/cgroup/unified", 0, 38),)
    assert mounts_in(BELOW) == (("/lxc/one", "/mnt/a b", 0, 26),)
    assert mounts_in("41 31 0:38 - cgroup2 x\n41 31 none / /m rw - cgroup2 x\n\n") == ()


@pytest.mark.parametrize(
    ("path", "mounts", "directory"),
    [
        ("/", HYBRID, "/sys/fs/cgroup/unified"),
        ("/a.slice/b", HYBRID, "/sys/fs/cgroup/unified/a.slice/b"),
        ("/lxc/one", BELOW, "/mnt/a b"),
        ("/lxc/one/x", BELOW, "/mnt/a b/x"),
        ("/lxc/other", BELOW, None),
        ("/lxc/one-more", BELOW, None),
        ("/lxc/other", HYBRID + BELOW, "/sys/fs/cgroup/unified/lxc/other"),
        ("/x", "", None),
    ],
)
def test_the_directory_of_a_cgroup(path: str, mounts: str, directory: str | None) -> None:
    """A mount shows all of the tree, or a part of it, and the last one that shows it counts."""
    assert directory_of(path, mounts_in(mounts)) == directory


@pytest.mark.parametrize(
    ("files", "counted"),
    [
        ({}, Counted()),
        (dict.fromkeys(("memory.current", "memory.peak", "memory.stat", "memory.events", "cpu.stat")), Counted()),
        ({"cpu.stat": b"usage_usec 1500000\nuser_usec 1\n"}, Counted(cpu=1.5)),
        (
            {
                "memory.current": b"1000\n",
                "memory.peak": b"3000\n",
                "memory.stat": b"anon 300\nfile 600\nshmem 100\n",
                "memory.events": b"low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n",
                "cpu.stat": b"usage_usec 0\n",
            },
            Counted(500, 3000, 0.0, 2),
        ),
        (
            {"memory.current": b"10\n", "memory.stat": b"file 50\n"},
            Counted(memory=0),
        ),  # they are not read at one moment
        ({"memory.current": b"max\n", "memory.peak": b"-1", "cpu.stat": b"usage_usec x\n"}, Counted()),
        ({"memory.current": b"\xff", "memory.events": b"oom_kill 1 2\n\n"}, Counted()),
        ({"memory.current": b"9" * 30}, Counted()),
    ],
)
def test_counted(files: dict[str, bytes | None], counted: Counted) -> None:
    """What a controller does not tell is unknown, and not nothing; the page cache is no memory of the node."""
    assert counted_in(files) == counted


def test_numbers() -> None:
    """A line of another form, or nothing at all, is left out."""
    assert numbers_in(b"populated 1\nfrozen 0\nx\n") == {"populated": 1, "frozen": 0}
    assert numbers_in(None) == {}


def test_names() -> None:
    """The name tells node and token, is no name of a file of the kernel's, and is no longer than a name may be."""
    assert name_of("w1@host", "0123456789abcdef") == "node-w1@host-0123456789ab"
    assert name_of("memory.current", "0123").startswith("node-")
    assert len(name_of("ü" * 300, "0" * 32).encode()) < 256


OWN = Folder(path="/c/multi.service", marked=True, ours=True)
LEAF = Folder(path="/c/multi.service/supervisor", ours=True)
USER = Folder(path="/c/user.slice/user-0.slice/session-1.scope", ours=True)


@pytest.mark.parametrize(
    ("own", "above", "said", "where"),
    [
        (None, None, "", ""),
        (None, None, DELEGATED, ""),
        (OWN, None, "", OWN.path),
        (OWN, None, NONE, ""),
        (replace(OWN, others=1), None, "", ""),  # somebody else manages it
        (replace(OWN, others=1), None, DELEGATED, OWN.path),
        (replace(OWN, ours=False), None, "", ""),  # read-only, or another user's
        (replace(OWN, ours=False), None, DELEGATED, ""),
        (USER, None, "", ""),  # root may write everywhere
        (USER, OWN, "", ""),  # below the one of user@.service, which is not ours to divide
        (USER, replace(OWN, taken=True), "", OWN.path),  # as a node that runs multi, or .control of systemd
        (USER, replace(OWN, taken=True), NONE, ""),
        (USER, replace(OWN, taken=True, ours=False), "", ""),
        (LEAF, OWN, "", OWN.path),  # DelegateSubgroup=supervisor
        (LEAF, replace(OWN, others=1), "", ""),
        (replace(LEAF, others=1), OWN, "", ""),
        (replace(LEAF, others=1), replace(OWN, taken=True), "", OWN.path),  # a hook beside its `multi run`
        (USER, None, DELEGATED, USER.path),
    ],
)
def test_whose_cgroup_is_ours(own: Folder | None, above: Folder | None, said: str, where: str) -> None:
    """It has to be delegated by a mark, belong to us, and hold nobody else; or somebody says aloud that it is ours."""
    assert home(own, above, said) == where


@pytest.mark.parametrize(
    ("folder", "owner", "uid", "said", "where"),
    [
        (None, None, 0, "", ""),
        (OWN, None, 0, "", ""),  # no multi has taken it
        (replace(OWN, taken=True), None, 0, "", OWN.path),
        (replace(OWN, taken=True, others=3), 0, 0, "", OWN.path),
        (replace(OWN, taken=True), None, 0, NONE, ""),
        (replace(OWN, taken=True, ours=False), 0, 0, "", ""),
        (replace(OWN, taken=True, uid=1000), 1000, 1000, "", OWN.path),
        (replace(OWN, taken=True, uid=1000, ours=False), 1000, 0, "", OWN.path),  # root, for that user
        (replace(OWN, taken=True), 1000, 0, "", ""),  # a user's record names a cgroup of root
        (replace(OWN, taken=True, uid=1001, ours=False), 1000, 0, "", ""),
        (replace(OWN, taken=True, ours=False), 0, 1000, "", ""),
    ],
)
def test_where_a_node_was(folder: Folder | None, owner: int | None, uid: int, said: str, where: str) -> None:
    """A restart from elsewhere leaves a node where a multi has put it, if the word of the record is enough for that."""
    assert former_home(folder, owner, uid, said) == where


def info(pid: int, token: str = "", *, ppid: int = 1, gone: bool = False) -> ProcessInfo:
    """A process of the table."""
    instance = Instance(token, 10, "w1@host", "/run/w1.pid") if token else None
    return ProcessInfo(
        proc=Proc(pid, f"b:{pid}"), ppid=ppid, pgrp=pid, session=pid, uid=0, gone=gone, age=1.0, instance=instance
    )


@pytest.mark.parametrize(
    ("pids", "own", "alone"),
    [
        ({10, 11}, [10, 11], True),
        ({10, 11, 99}, [10, 11], True),  # born since the table was read
        ({10, 12}, [10], False),  # another node
        ({10, 50}, [10], False),  # this very multi
        ({10, 50, 51}, [10], False),  # and its launcher
        ({10, 51}, [10, 51], True),  # an orphan that the kernel gave to us as process 1
        ({13}, [], True),  # a zombie
        (set(), [], True),
    ],
)
def test_who_is_in_it(pids: set[int], own: list[int], alone: bool) -> None:
    """What carries nothing belongs to the tree; another node, and a multi that the node runs on itself, do not."""
    infos = [info(10, "t"), info(11), info(12, "other"), info(13, gone=True), info(50), info(51, ppid=50)]
    table = ProcessTable(0.0, 0.0, {one.proc.pid: one for one in infos})
    found, only = in_cgroup(pids, "t", table, Me(0, 50))
    assert ([one.proc.pid for one in found], only) == (own, alone)
