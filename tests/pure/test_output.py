"""What nodes print, as `run` shows it: names, colours, times, bytes."""

from __future__ import annotations

import json
import signal

import pytest

from multi.model.event import Ending, Output
from multi.model.node import Node
from multi.report import event_lines
from multi.report.json import to_json
from multi.report.output import Frame, frame, output_json
from multi.testing.world import node_of

AT = 1_700_000_000.25


def shown(*lines: str, nodes: tuple[Node, ...] = (), colour: bool = False, **how: bool) -> list[str]:
    """The lines of the first node, as they are shown."""
    nodes = nodes or (node_of("web"), node_of("worker"))
    made = frame(nodes, prefix=how.pop("prefix", True), colour=colour, timestamps=how.pop("timestamps", False))
    return list(made.lines(Output(nodes[0].name, lines, AT)))


def test_lines_stand_behind_names_of_one_width() -> None:
    """The names are filled up to the longest; an empty line has no blank at its end."""
    assert shown("one", "", "  two") == ["web    | one", "web    |", "web    |   two"]


def test_one_node_alone_has_no_name() -> None:
    """It is as it is, bytes that are no UTF-8 and control characters included."""
    assert shown("a\x1b[31mb\udcff", nodes=(node_of("web"),)) == ["a\x1b[31mb\udcff"]
    assert shown("a", prefix=False) == ["a"]


def test_names_of_two_hosts_are_full() -> None:
    """Two nodes of one short name can be told apart, and those that share a log are named together."""
    one, other = node_of("w", name="w@a", host="a"), node_of("w", name="w@b", host="b", logfile="/log/other.log")
    assert shown("x", nodes=(one, other)) == ["w@a | x"]
    one, other = node_of("a", logfile="/log/all"), node_of("b", logfile="/log/all")
    made = frame((one, other), prefix=True, colour=False, timestamps=False)
    assert list(made.lines(Output("a@host,b@host", ("x",), AT))) == ["a,b | x"]


def test_each_name_has_a_colour_of_its_own() -> None:
    """Eighteen nodes have eighteen colours, and none of them is that of failures."""
    nodes = tuple(node_of(f"w{number}") for number in range(18))
    made = frame(nodes, prefix=True, colour=True, timestamps=False)
    heads = {next(iter(made.lines(Output(node.name, ("x",), AT)))).partition("w")[0] for node in nodes}
    assert len(heads) == 18
    assert "\x1b[31m" not in heads


@pytest.mark.parametrize(
    ("line", "plain", "coloured"),
    [
        ("50%\r100%\r", "100%", "100%"),
        ("a\tb", "a\tb", "a\tb"),
        ("\x1b[32mok\x1b[0m", "ok", "\x1b[32mok\x1b[0m\x1b[0m"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07", "\\x1b[2Jgone\\x07"),
        ("\udcff\x00é", "\ufffd\\x00é", "\ufffd\\x00é"),
    ],
)
def test_what_a_node_prints_does_no_harm_to_the_lines_of_others(line: str, plain: str, coloured: str) -> None:
    """Colours stay, and end with the line; what moves the cursor or is no text is shown in letters."""
    assert shown(line) == [f"web    | {plain}"]
    assert shown(line, colour=True) == [f"\x1b[36mweb    |\x1b[0m {coloured}"]


def test_timestamps_stand_first() -> None:
    """Local time, to the millisecond, with and without a name."""
    line = shown("x", timestamps=True)[0]
    moment, _, rest = line.partition(" ")
    assert moment.endswith(".250")
    assert rest == "web    | x"
    assert list(Frame({}, timestamps=True).lines(Output("web@host", ("x",), AT))) == [f"{moment} x"]


def test_a_line_is_an_object_of_json() -> None:
    """Each has the keys of every event, and is ASCII."""
    said = [to_json(each) for each in output_json(Output("web@host", ("a", "\udcff"), AT))]
    assert [json.loads(each) for each in said] == [
        {"event": "output", "node": "web@host", "pid": None, "at": AT, "text": text} for text in ("a", "\ufffd")
    ]


def test_what_a_second_signal_does_is_said_at_the_first() -> None:
    """It kills; the schedule of the first is in the JSON."""
    ending = Ending(signal.SIGINT, ("a@h", "b@h"), "TERM/90/KILL/5")
    assert event_lines(ending) == ("multi: INT: stopping 2 nodes; Ctrl-C again kills them",)
    assert event_lines(Ending(signal.SIGTERM, ("a@h",))) == ("multi: TERM: stopping 1 node; a second signal kills it",)
    assert event_lines(Ending(signal.SIGINT, ("a@h",), kills=True)) == ("multi: INT again: killing 1 node",)
    assert json.loads(to_json(ending)) == {
        "event": "ending",
        "node": None,
        "pid": None,
        "signal": "INT",
        "nodes": ["a@h", "b@h"],
        "schedule": "TERM/90/KILL/5",
        "kills": False,
    }
