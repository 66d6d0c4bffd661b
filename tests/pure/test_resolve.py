"""What is said and what is on record to the node that runs, and a configuration to tasks: pure, case by case."""

from __future__ import annotations

import pytest

from multi.decide import reconcile
from multi.decide.resolve import Said, resolve
from multi.model.node import Known, Unknown
from multi.model.request import Request, Task, traits
from multi.model.state import Down, Unsure
from multi.testing.world import node_of
from multi.value import replace

RECORDED = replace(node_of(), command=Known(("old",)), umask=0o27)
BARE = replace(node_of(), command=Unknown("nobody said it"), umask=0o77)
FULL = replace(BARE, command=Known(("new",)))


@pytest.mark.parametrize(
    ("command", "said", "again"),
    [
        ("start", Said(FULL, frozenset(), configured=False, command=False, words=False), True),
        ("start", Said(FULL, frozenset(), configured=True, command=False, words=False), False),
        ("start", Said(FULL, frozenset(), configured=False, command=True, words=False), False),
        ("show", Said(FULL, frozenset(), configured=False, command=False, words=False), True),
        ("run", Said(FULL, frozenset(), configured=False, command=False, words=False), False),
        ("stop", Said(BARE, frozenset(), configured=False, command=False, words=False), True),
        ("stop", Said(FULL, frozenset(), configured=True, command=False, words=False), False),
        ("stop", Said(FULL, frozenset(), configured=False, command=True, words=True), True),
        ("restart", Said(FULL, frozenset(), configured=False, command=False, words=False), True),
        ("restart", Said(FULL, frozenset(), configured=False, command=True, words=False), False),
        ("restart", Said(BARE, frozenset(), configured=False, command=True, words=True), False),
        ("restart", Said(BARE, frozenset(), configured=False, command=True, words=False), True),
        ("restart", Said(replace(BARE, preset="rq"), frozenset(), configured=False, command=True, words=False), False),
        ("ensure", Said(BARE, frozenset(), configured=True, command=False, words=False), True),
        ("export", Said(FULL, frozenset(), configured=False, command=False, words=False), False),
        ("export", Said(BARE, frozenset(), configured=False, command=False, words=False), True),
    ],
)
def test_which_of_the_two_counts(command: str, said: Said, again: bool) -> None:
    """The record counts until the words or the configuration say how the node runs."""
    assert resolve(traits(command), said, RECORDED) == (RECORDED if again else None)
    assert resolve(traits(command), said, None) is None


def test_what_is_said_of_a_recorded_node_is_added() -> None:
    """Only the fields that somebody said now take the place of the recorded ones."""
    said = Said(BARE, frozenset({"umask"}), configured=False, command=False, words=False)
    assert resolve(traits("restart"), said, RECORDED) == replace(RECORDED, umask=0o77)


def test_a_pidfile_is_freed_before_another_node_takes_it() -> None:
    """A node starts after it has left its old pidfiles, and after another node has left its new one."""
    a, b, c = (replace(node_of(name), pidfile=f"/run/{name}.pid") for name in ("a", "b", "c"))
    moved, old, older = replace(b, pidfile=a.pidfile), replace(c, pidfile="/old/c.pid"), replace(c, pidfile="/c.pid")
    tasks = reconcile.tasks([(moved, None), (c, None)], [a, b, old, older])
    assert tasks == [
        Task(moved, Request("apply", former=b), (2, 3)),
        Task(c, Request("apply", former=older), (4, 5)),
        Task(a, Request("remove")),
        Task(b, Request("remove")),
        Task(old, Request("remove")),
        Task(older, Request("remove"), (4,)),
    ]
    unsure = [Unsure("it is another's")] * len(tasks)
    assert reconcile.at_their_turn(tasks, unsure) == [Down(), *unsure[1:]]
