"""What a tree uses over an interval: counters move from a child to the parent that waits for it."""

from __future__ import annotations

import pytest

from multi.model.process import Proc, ProcessInfo
from multi.model.usage import UNTOLD, Holdings, Snapshot, Usage, snapshot, usage
from multi.value import replace


def info(pid: int, cpu: float, *, ppid: int = 1, age: float = 100.0, gone: bool = False) -> ProcessInfo:
    """A process of 1,000 bytes and two threads."""
    return ProcessInfo(
        proc=Proc(pid, f"boot:{pid}"), ppid=ppid, pgrp=10, session=1, uid=0, gone=gone, age=age, cpu=cpu, rss=1000,
        threads=2,
    )  # fmt: skip


MAIN, CHILD = info(10, 5.0), info(11, 3.0, ppid=10)
BEFORE = Snapshot(100.0, (MAIN, CHILD))

CPU = [
    ("both work", (info(10, 5.5), info(11, 3.5, ppid=10)), 50),
    ("neither works", (MAIN, CHILD), 0),
    ("a child ends, and the parent has waited for it", (info(10, 5.0 + 3.2),), 10),
    ("a child has ended, and nobody has waited for it yet", (info(10, 5.5), info(11, 3.5, ppid=10, gone=True)), 50),
    ("another process waits for the child", (info(10, 5.5),), 0),
    ("a child begins", (MAIN, CHILD, info(12, 0.4, ppid=10, age=1.5)), 20),
    ("one that ran before is seen for the first time", (MAIN, CHILD, info(12, 70.0, age=900.0)), 0),
    ("a pid is used again", (MAIN, replace(info(11, 0.2, ppid=10, age=0.5), proc=Proc(11, "boot:77"))), 0),
]


@pytest.mark.parametrize(("infos", "percent"), [row[1:] for row in CPU], ids=[row[0] for row in CPU])
def test_cpu_of_the_interval(infos: tuple[ProcessInfo, ...], percent: float) -> None:
    """Two seconds later, the tree has used that much of one core, and never less than nothing."""
    assert usage(Snapshot(102.0, infos), BEFORE).cpu_percent == pytest.approx(percent)


def test_counters_on_their_way_to_a_parent() -> None:
    """A parent that is read before it waits for a child that has ended has not used all that at once."""
    one = snapshot(102.0, (info(10, 5.0),), baseline=BEFORE)
    assert usage(one, BEFORE).cpu_percent == 0
    assert usage(one).memory == 1000
    two = snapshot(104.0, (info(10, 5.0 + 3.4),), baseline=one)
    assert usage(two, one).cpu_percent == pytest.approx(20)
    assert usage(snapshot(106.0, (info(10, 8.6),), baseline=two), two).cpu_percent == pytest.approx(10)


def test_counters_that_never_come() -> None:
    """A parent that need not wait for its children never has their counters."""
    one = snapshot(102.0, (info(10, 5.5),), baseline=BEFORE)
    two = snapshot(104.0, (info(10, 6.0),), baseline=one)
    three = snapshot(106.0, (info(10, 6.5),), baseline=two)
    shown = [usage(now, then).cpu_percent for now, then in ((one, BEFORE), (two, one), (three, two))]
    assert shown == [pytest.approx(25), 0.0, pytest.approx(25)]


def test_orphan() -> None:
    """A child whose parent is no part of the tree takes its counters elsewhere, so nothing is taken off."""
    before = Snapshot(100.0, (MAIN, info(11, 3.0, ppid=1)))
    assert usage(Snapshot(101.0, (info(10, 5.5),)), before).cpu_percent == pytest.approx(50)


def test_first_look() -> None:
    """At the first look no interval has passed: memory and threads are known, what needs two looks is not."""
    assert usage(BEFORE) == Usage(memory=2000, threads=4)
    assert usage(BEFORE, BEFORE).cpu_percent is None
    assert usage(Snapshot(1.0, (MAIN, info(11, 1.0, gone=True)))).memory == 1000


def test_what_one_process_hides_is_unknown_of_the_tree() -> None:
    """A sum without one of its parts would be wrong, so it is unknown; each figure for itself."""
    one, other = Holdings(files=3, read=100, written=0, pss=700), Holdings(files=4, read=50, written=10, pss=300)
    before = replace(BEFORE, holdings={10: one, 11: other})
    later = replace(before, at=102.0, holdings={10: replace(one, read=300), 11: other})
    whole = usage(later, before)
    assert (whole.files, whole.read_rate, whole.write_rate, whole.proportional) == (7, 100.0, 0.0, 1000)
    partly = usage(replace(later, holdings={10: one, 11: replace(other, read=None, pss=None)}), before)
    assert (partly.files, partly.read_rate, partly.write_rate, partly.proportional) == (7, None, 0.0, None)
    assert usage(replace(later, holdings={10: one, 11: UNTOLD}), before).files is None
