"""What comes before what: tables for the order of tasks and for circles, and what the words of `after` mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar_tools import ROOT, expand_words
from multi.decide.turns import held_up, ordered, out_of_order
from multi.errors import ConfigError, UsageError
from multi.model.order import cycle, without_cycles
from multi.model.request import Request, Task
from multi.model.step import Skip, Spawn
from multi.settings.config import EMPTY, Config, parse_config
from multi.testing.world import node_of
from multi.value import replace


def tasks(command: str, **after: str) -> list[Task]:
    """A task for each node, in this order; each comes after the others that its text names by their letters."""
    nodes = [replace(node_of(name), after=tuple(f"{one}@host" for one in text)) for name, text in after.items()]
    return [Task(node, Request(command)) for node in nodes]


def said(ordered: object) -> dict[str, str]:
    """The tasks as `tasks` is told them."""
    assert isinstance(ordered, (list, tuple))
    return {task.node.short: "".join(ordered[one].node.short for one in task.after) for task in ordered}


@pytest.mark.parametrize("command", ["start", "restart", "apply", "ensure", "run"])
def test_a_start_comes_after_those_before_it(command: str) -> None:
    """Whatever starts goes in order; who is not asked for counts for nothing, and neither does the node itself."""
    assert said(ordered(tasks(command, a="bcx", b="cb", c=""))) == {"a": "bc", "b": "c", "c": ""}


@pytest.mark.parametrize("command", ["stopwait", "remove"])
def test_a_stop_goes_the_other_way(command: str) -> None:
    """What comes after others is stopped before them."""
    assert said(ordered(tasks(command, a="bcx", b="cb", c=""))) == {"a": "", "b": "a", "c": "ab"}


@pytest.mark.parametrize("command", ["stop", "kill", "signal", "up", "down", "forget"])
def test_the_rest_has_no_order(command: str) -> None:
    """Who does not wait for a start or an end does not wait for others."""
    assert said(ordered(tasks(command, a="b", b=""))) == {"a": "", "b": ""}


def test_without_any_order_nothing_is_made() -> None:
    """The same tasks come back."""
    given = tasks("start", a="", b="")
    assert ordered(given) is given


def test_a_stop_that_something_waits_for_stays_before_it() -> None:
    """What `apply` wants stopped before a start, for its pidfile, is joined by the order."""
    a, b = tasks("apply", a="b", b="")
    old = Task(a.node, Request("remove"))
    assert [task.after for task in ordered([replace(a, after=(2,)), b, old])] == [(2, 1), (), ()]


@pytest.mark.parametrize("command", ["start", "stopwait"])
def test_a_circle_on_record_is_cut(command: str) -> None:
    """Records of different times can say what no configuration could: all are walked, in some order."""
    made = {index: task.after for index, task in enumerate(ordered(tasks(command, a="b", b="c", c="a", d="ab")))}
    assert cycle(made) == ()
    assert sum(map(len, made.values())) == 4


@pytest.mark.parametrize(
    ("graph", "circle"),
    [
        ({}, ""),
        ({"a": "b", "b": "c"}, ""),
        ({"a": "bcd", "b": "d", "c": "d", "d": ""}, ""),
        ({"a": "a"}, "aa"),
        ({"a": "b", "b": "a"}, "aba"),
        ({"x": "a", "a": "b", "b": "cx", "c": "a"}, "abca"),
        ({"x": "y", "y": "", "a": "yb", "b": "xa"}, "aba"),
    ],
)
def test_a_circle_is_shown(graph: dict[str, str], circle: str) -> None:
    """From one node over those that it comes after back to itself, and nothing of the way to it."""
    assert "".join(cycle(graph)) == circle


@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=4), max_size=8))
def test_no_circle_is_left(graph: dict[int, list[int]]) -> None:
    """Whatever the graph; and one without a circle is as it was."""
    cut = without_cycles(graph)
    assert cycle(cut) == ()
    assert cut == graph or cycle(graph)
    assert without_cycles(cut) == cut


def test_what_a_failure_before_it_means() -> None:
    """A node that is not ready holds up a start; one that was to be stopped only who needs its name or pidfile."""
    (a, b), (old,) = tasks("start", a="b", b=""), tasks("stopwait", b="")
    assert out_of_order((b,), (Spawn(),)) == (Skip("skipped: b@host is not ready", met=False),)
    assert out_of_order((old,), (Spawn(),)) == (Spawn(),)
    assert held_up(a, (b, old)) == ""
    assert held_up(b, (old,)) == f"skipped: b@host still runs with {b.node.pidfile}"
    assert held_up(replace(a, node=replace(a.node, pidfile=b.node.pidfile)), (old,)) != ""


# --- words ----------------------------------------------------------------------------------------------

HERE = replace(ROOT, hostname="h")
FLEET = """
[defaults]
after = ["redis"]
[groups.workers]
nodes = ["w1", "w2"]
[groups.late]
count = 2
after = ["workers", "late1"]
[nodes.redis]
[nodes.beat]
after = ["workers", "redis", "beat9@h"]
[nodes."beat9@h"]
after = []
"""


def read(text: str) -> Config:
    """What a file says."""
    return parse_config(text, "multi.toml", {}, lambda _: b"")


def after(words: str, config: Config = EMPTY, *, strict: bool = False) -> dict[str, str]:
    """The short names that each node comes after."""
    found = expand_words(words, config=config, here=HERE, strict=strict).nodes
    assert all(re.fullmatch(r"[a-z0-9]+@h", name) for node in found for name in node.after)
    return {node.short: " ".join(name.partition("@")[0] for name in node.after) for node in found}


def test_words_become_full_names() -> None:
    """A node, a group, with its host or without; what is inherited is never about the node itself."""
    assert after("", read(FLEET)) == {
        "w1": "redis",
        "w2": "redis",
        "late1": "w1 w2",
        "late2": "w1 w2 late1",
        "redis": "",
        "beat": "w1 w2 redis beat9",
        "beat9": "",
    }
    assert after("beat", read(FLEET)) == {"beat": "w1 w2 redis beat9"}
    assert after("beat --after=w1", read(FLEET)) == {"beat": "w1"}


def test_words_without_a_configuration() -> None:
    """Any name may be a node's; of those that are asked for the short one will do, and scopes work."""
    assert after("w1 w2 --after:w2=w1,w9") == {"w1": "", "w2": "w1 w9"}
    assert after("w1 w2 --after=w1") == {"w1": "", "w2": "w1"}
    assert after("w1@h w2 --after:w2=w1", strict=True) == {"w1": "", "w2": "w1"}
    with pytest.raises(UsageError, match="'w9' is neither a node nor a group"):
        after("w1 w2 --after:w2=w9", strict=True)


STRANGE = "after (multi.toml [{}]): {!r} is neither a node nor a group; {}"
CIRCLE = "multi.toml: after: goes in a circle: {}, each after the next; take one of them out"
A, B = '[nodes.a]\nafter = "b"\n', '[nodes.b]\nafter = "a"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[nodes.a]\nafter = "redsi"', STRANGE.format("nodes.a", "redsi", "did you mean 'redis'?")),
        ('[defaults]\nafter = ["redis", "x@other"]', STRANGE.format("defaults", "x@other", "")),
        ('[nodes.a]\nafter = "a"', CIRCLE.format("a -> a")),
        (A + B, CIRCLE.format("a -> b -> a")),
        ('[groups.g]\nnodes = ["a", "b"]\nafter = ["g"]', CIRCLE.format("a -> b -> a")),
        (A.replace("b", "x") + B + '[groups.x]\nnodes = ["y", "b"]', CIRCLE.format("b -> a -> b")),
    ],
)
def test_words_that_make_no_order(text: str, message: str) -> None:
    """The word and the nearest, or the circle, also where only one of its nodes is asked for."""
    config = read(f"{text}\n[nodes.redis]\n")
    for words in ("", "a") if "[nodes.a]" in text else ("",):
        with pytest.raises((UsageError, ConfigError)) as caught:
            expand_words(words, config=config, here=HERE)
        assert str(caught.value).startswith(message)
