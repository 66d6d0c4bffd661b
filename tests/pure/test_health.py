"""Liveness and limits as rules: when a node is asked, what its answers come to, and which of a group is recycled."""

from __future__ import annotations

import pytest

from multi.decide import health as rules
from multi.decide.health import Answer, Member
from multi.model.health import HEALTH_LIMIT, Health, decode, encode
from multi.model.node import Node
from multi.model.process import Proc
from multi.model.request import Due
from multi.testing.world import node_of

TOKEN = "t" * 32
OK, NO, UNKNOWN = Answer(ok=True), Answer(ok=False, why="refused"), Answer(ok=None, why="cannot be heard")


def node(**settings: object) -> Node:
    """A node that is asked each 30 s, and may fail twice."""
    return node_of(**settings)  # type: ignore[arg-type]  # fields by name


def after(*answers: Answer, every: float = 30.0) -> Health | None:
    """What is known after these answers, the first of them at 100."""
    known: Health | None = None
    for number, answer in enumerate(answers):
        known = rules.asked(known, TOKEN, answer, 100.0 + number * every)
    return known


# --- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "failures", "since"),
    [
        ((), 0, 0.0),
        ((OK,), 0, 0.0),
        ((NO,), 1, 100.0),
        ((OK, NO, NO), 2, 130.0),
        ((NO, NO, NO), 3, 100.0),
        ((NO, NO, OK), 0, 0.0),
        ((NO, OK, NO), 1, 160.0),
        ((NO, UNKNOWN, NO), 2, 100.0),  # nothing was learnt, so nothing is forgotten
        ((UNKNOWN, UNKNOWN), 0, 0.0),
    ],
)
def test_only_failures_in_a_row_count(answers: tuple[Answer, ...], failures: int, since: float) -> None:
    """A yes forgets all, an answer that says nothing changes no count."""
    known = after(*answers)
    assert (0 if known is None else known.failures) == failures
    if failures:
        assert known is not None
        assert known.since == since


@pytest.mark.parametrize(("failures", "sick"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_node_is_unhealthy_from_alive_failures_on(failures: int, sick: bool) -> None:
    """Not before, and what is said then holds the reason of the last failure."""
    from multi.model.node import Ready

    one = node(alive=Ready("tcp", "127.0.0.1:80"))
    why = rules.unhealthy(one, after(*[NO] * failures), 200.0)
    assert bool(why) == sick
    if failures == 3:
        assert why == "alive = tcp:127.0.0.1:80 failed 3 times in 100s: refused"


def test_each_run_of_ensure_asks_once_and_two_at_once_count_once() -> None:
    """The second within `alive_every` does not ask; cron, which is a little early at times, does."""
    one, known = node(alive_every=60.0), after(NO)
    assert not rules.ask_now(one, known, 0.0, 100.0)
    assert not rules.ask_now(one, known, 0.0, 101.0)
    assert rules.ask_now(one, known, 0.0, 159.5)
    assert rules.ask_at(one, known, 0.0) == 160.0
    assert rules.ask_at(one, None, 10.0) == 70.0


@pytest.mark.parametrize(("every", "patience"), [(1.0, 1.0), (30.0, 30.0), (600.0, 30.0)])
def test_an_answer_may_take_as_long_as_the_next_question(every: float, patience: float) -> None:
    """And half a minute at most."""
    assert rules.answer_within(node(alive_every=every)) == patience


@pytest.mark.parametrize(
    ("before", "fingerprint", "ok"),
    [(None, "", False), (None, "1", True), ("1", "1", False), ("1", "2", True), ("1", "", False)],
)
def test_a_file_has_to_be_written_between_two_questions(before: str | None, fingerprint: str, ok: bool) -> None:
    """One that is there is enough the first time."""
    known = None if before is None else Health(TOKEN, 1.0, fingerprint=before)
    assert rules.written(known, fingerprint, "/x").ok is ok


def test_a_file_that_is_written_again_after_a_failure_is_a_yes() -> None:
    """The fingerprint of the last write is kept while nothing is written."""
    first = rules.asked(None, TOKEN, rules.written(None, "1", "/x"), 1.0)
    stale = rules.asked(first, TOKEN, rules.written(first, "1", "/x"), 2.0)
    gone = rules.asked(stale, TOKEN, rules.written(stale, "", "/x"), 3.0)
    assert (stale.failures, gone.failures) == (1, 2)
    assert rules.written(gone, "1", "/x").ok is False
    assert rules.written(gone, "2", "/x").ok is True


# --- beside the record ----------------------------------------------------------------------------------


def test_the_last_whole_line_counts() -> None:
    """A line that was cut off, or of another start, is as if it was not there."""
    one, two = Health(TOKEN, 1.0, 1, 1.0, "é\n", "m"), Health(TOKEN, 2.0)
    data = encode(one) + encode(two)
    assert decode(encode(one), TOKEN) == one
    assert decode(data, TOKEN) == two
    assert decode(data[:-3], TOKEN) == one
    assert decode(data, "other") is None
    assert decode(encode(Health("", 1.0)), "") is None


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"[]", b"{}", b"\xff", b'{"token": "T"}',
     b'{"token":"T","asked":NaN,"failures":0,"since":0.0,"why":"","fingerprint":""}',
     b'{"token":"T","asked":1.0,"failures":-1,"since":0.0,"why":"","fingerprint":""}',
     b'{"token":"T","asked":1e99,"failures":1,"since":0.0,"why":"","fingerprint":""}',
     b'{"token":"T","asked":1.0,"failures":true,"since":0.0,"why":"","fingerprint":""}', b"[" * 10000],
)  # fmt: skip
def test_g9_nonsense_beside_the_record_says_nothing(line: bytes) -> None:
    """Whoever wrote it."""
    assert decode(line + b"\n", "T") is None


def test_a_line_is_short() -> None:
    """However much a probe has printed, the file holds some lines."""
    assert len(encode(Health(TOKEN, 1.0, 1, 1.0, "x" * 10000))) < HEALTH_LIMIT / 8


# --- limits ---------------------------------------------------------------------------------------------


def test_max_age_is_spread_by_a_tenth_and_the_same_for_each_look() -> None:
    """Nodes that were started together are not recycled together; the limit is never exceeded."""
    nodes = [node_of(f"w{number}", max_age=1000.0) for number in range(50)]
    limits = [rules.age_limit(one, TOKEN) for one in nodes]
    assert limits == [rules.age_limit(one, TOKEN) for one in nodes]
    assert all(limit is not None and 900 <= limit <= 1000 for limit in limits)
    assert len({round(limit) for limit in limits if limit is not None}) > 25
    assert rules.age_limit(node(), TOKEN) is None


@pytest.mark.parametrize(
    ("settings", "age", "memory", "said"),
    [
        ({}, 1e6, 1 << 40, ""),
        ({"max_memory": 1 << 20}, 1e6, 1 << 20, ""),
        ({"max_memory": 1 << 20}, 0.0, 2 << 20, "its 2.0M of memory are above max_memory = 1.0M"),
        ({"max_age": 100.0}, 89.0, 1 << 40, ""),
        ({"max_age": 100.0}, 100.0, 0, "it has run for 100s, and max_age is 100s"),
    ],
)
def test_a_limit_is_named_with_what_exceeds_it(settings: dict[str, object], age: float, memory: int, said: str) -> None:
    """Neither limit, or which."""
    assert rules.over(node(**settings), TOKEN, age, memory) == said


DUE = Due(Proc(7, "boot:7"), "it is large", planned=True)


@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        ([Member("a", "", works=True), Member("b", "", works=True)], set()),
        ([Member("a", "", works=True, due=DUE), Member("b", "", works=True, due=DUE)], {"a"}),
        ([Member("a", "g", works=True, due=DUE), Member("b", "h", works=True, due=DUE)], {"a", "b"}),
        ([Member("a", "g", works=True, due=DUE), Member("b", "g", works=False)], set()),
        ([Member("a", "g", works=True, due=DUE), Member("b", "h", works=False)], {"a"}),
        ([Member("a", "", works=True, due=DUE, tasks=2), Member("b", "", works=True, due=DUE, tasks=0)], {"b"}),
        ([Member("a", "", works=True, due=DUE, tasks=2), Member("b", "", works=True, due=DUE, tasks=1)], {"b"}),
        ([Member("a", "", works=True, due=DUE, age=5.0), Member("b", "", works=True, due=DUE, age=9.0)], {"b"}),
        ([Member("a", "", works=False, due=DUE)], set()),
    ],
)
def test_one_of_a_group_is_recycled_and_only_while_the_others_work(members: list[Member], chosen: set[str]) -> None:
    """The one without tasks before those that work."""
    assert set(rules.turns(members)) == chosen
