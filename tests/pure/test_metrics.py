"""`status` for programs that watch machines: OpenMetrics, the Prometheus text format, and a plugin of Nagios."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from multi.api import View
from multi.errors import UsageError
from multi.model.cgroup import Counted
from multi.model.health import Health
from multi.model.node import Known, Node
from multi.model.process import Proc
from multi.model.record import Record
from multi.model.schedule import parse
from multi.model.state import Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.work import Heartbeat, Pulse
from multi.report.nagios import CRITICAL, OK, UNKNOWN, WARNING, nagios, parse_range, unknown
from multi.report.openmetrics import openmetrics
from multi.value import replace

PROC = Proc(4711, "boot:1")
Samples = Mapping[tuple[str, str, str], float]


def node(name: str = "w1@host", pidfile: str = "") -> Node:
    """A node that is complete."""
    short, _, host = name.partition("@")
    return Node(
        name=name,
        short=short,
        host=host,
        preset="exec",
        command=Known(("sleep", "9")),
        pidfile=pidfile or f"/run/{short}.pid",
        logfile=f"/log/{short}.log",
        stop=parse("TERM/90/KILL/5"),
    )


def view(name: str = "w1@host", state: State = Up(PROC), **more: object) -> View:  # noqa: B008 -- a frozen value
    """A node in that state."""
    return replace(View(node=node(name), state=state), **more)  # type: ignore[arg-type]


BUSY = view(
    "busy@host",
    uptime=12.5,
    cpu_percent=8.0,
    cpu_seconds=1.25,
    memory=4096,
    children=2,
    restarts=3,
    started=1_795_301_233.4,
    record=Record(node=node("busy@host"), proc=PROC, failures=2, exit_status=-9),
    pulse=Pulse("consumes", 0.4, 1.0),
    beat=Heartbeat(at=1.0, written=1.0, state="consuming", since=0.0, active=4, reserved=7),
    health=Health("token", 1.0),
    cgroup=Counted(peak=9000, oom_kills=1),
    unhealthy="",
)


def samples(text: str) -> Samples:
    """What both parsers read, which is the same: by metric, node and the label `state`."""
    found: list[dict[tuple[str, str, str], float]] = []
    for parser in (parse_openmetrics, parse_text):
        each = [one for family in parser(text) for one in family.samples]
        found.append({(one.name, one.labels["node"], one.labels.get("state", "")): one.value for one in each})
        assert len(found[-1]) == len(each), "no series is there twice"
    assert found[0] == found[1]
    return found[0]


def test_metrics_of_a_node_that_tells_all() -> None:
    """Each fact is a sample, with its unit in its name; counters end in _total."""
    told = samples(openmetrics([BUSY], {"busy@host": True}))
    states = {state: value for (name, _, state), value in told.items() if name == "multi_node_state"}
    assert [state for state, value in states.items() if value] == ["running"]
    assert states.keys() == {"running", "starting", "stopping", "lost", "stopped", "dead", "unsure"}
    assert {name: value for (name, _, state), value in told.items() if not state} == {
        "multi_node_start_time_seconds": 1_795_301_233.4,
        "multi_node_cpu_seconds_total": 1.25,
        "multi_node_memory_bytes": 4096,
        "multi_node_memory_peak_bytes": 9000,
        "multi_node_oom_kills_total": 1,
        "multi_node_children": 2,
        "multi_node_restarts_total": 3,
        "multi_node_failures": 2,
        "multi_node_last_exit_status": -9,
        "multi_node_unhealthy": 0,
        "multi_node_tasks": 4,
        "multi_node_tasks_reserved": 7,
        "multi_node_heartbeat_age_seconds": 0.4,
        "multi_node_configuration_differs": 1,
    }


def test_what_is_not_known_has_no_sample() -> None:
    """Unknown is absence, never 0, and a family without a sample is not announced."""
    text = openmetrics([view("w1@host", Down())], {})
    assert {name for name, _, _ in samples(text)} == {"multi_node_state"}
    assert re.findall("# TYPE (.*)", text) == ["multi_node_state gauge"]
    assert openmetrics([], {}) == "# EOF\n"
    two = samples(openmetrics([BUSY, view("w1@host", Down())], {}))
    assert ("multi_node_memory_bytes", "w1@host", "") not in two


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (Up(PROC), "running"),
        (Up(PROC, ready=False), "starting"),
        (Stopping(PROC), "stopping"),
        (Lost(PROC, "why"), "lost"),
        (Down(), "stopped"),
        (Dead("why"), "dead"),
        (Unsure("why"), "unsure"),
    ],
)
def test_a_state_is_one_hot(state: State, word: str) -> None:
    """Of the words for states exactly one is 1."""
    told = samples(openmetrics([view(state=state)], {}))
    assert [state for (_, _, state), value in told.items() if value == 1] == [word]
    assert sum(told.values()) == 1


def test_only_what_the_collector_of_node_exporter_takes() -> None:
    """No type but gauge and counter, no timestamp, one last # EOF: it drops a whole file for less."""
    text = openmetrics([BUSY, view("w2@host", Dead("why"))], {"busy@host": False})
    assert set(re.findall("# TYPE [^ ]+ (.*)", text)) == {"gauge", "counter"}
    assert text.endswith("\n# EOF\n")
    assert text.count("# EOF") == 1
    assert all(len(line.rsplit("}", 1)[1].split()) == 1 for line in text.splitlines() if not line.startswith("#"))


def test_two_nodes_of_one_name_are_two_series() -> None:
    """They have two pidfiles; the same node is there once, however often it was found."""
    there = replace(view(), node=node(pidfile="/srv/run/w1.pid"), found="in /srv/run")
    text = openmetrics([view(), there, view()], {"w1@host": True})
    labels = [one.labels["pidfile"] for family in parse_openmetrics(text) for one in family.samples if one.value]
    assert labels == ["/run/w1.pid", "/srv/run/w1.pid", "/run/w1.pid"]  # the last is configuration_differs


@given(st.text(st.characters(exclude_characters="\0")))
def test_any_path_is_a_label(path: str) -> None:
    """Quotes, backslashes, newlines, and bytes that are no text: both parsers read what was written."""
    text = openmetrics([replace(view(), node=node(pidfile=f"/run/{path}"))], {})
    text.encode("utf-8")
    for parser in (parse_openmetrics, parse_text):
        (family,) = parser(text)
        label = family.samples[0].labels["pidfile"]
        assert label == f"/run/{path}".encode("utf-8", "backslashreplace").decode()


# -- the plugin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "code", "says"),
    [
        ([view()], OK, "MULTI OK: 1 of 1 node running | running=1;;;0;1 dead=0;;;0;1"),
        ([view(), view("w2@host", Dead("it is gone"))], CRITICAL, "1 of 2 nodes running; w2 dead (it is gone) | "),
        ([view("w2@host", Down()), view()], WARNING, "MULTI WARNING: 1 of 2 nodes running; w2 stopped | "),
        ([view(state=Up(PROC, ready=False))], WARNING, "w1 starting"),
        ([view(state=Lost(PROC, "its pidfile is gone"))], WARNING, "w1 lost (its pidfile is gone)"),
        ([view(state=Unsure("unreadable"))], UNKNOWN, "MULTI UNKNOWN: 0 of 1 node running; w1 unsure (unreadable)"),
        ([view(state=Unsure("x")), view(state=Dead("y"))], CRITICAL, "w1 dead (y) and w1 unsure (x)"),
        ([view(unhealthy="tcp:80 failed")], CRITICAL, "w1 unhealthy (tcp:80 failed)"),
        ([view(pulse=Pulse("wedged", 99.0, 99.0, "its loop does not turn"))], CRITICAL, "its loop does not turn"),
        ([view(state=Up(PROC, suspended=True))], CRITICAL, "suspended by SIGSTOP"),
        ([BUSY], OK, "memory=4096B;;;0 restarts=3c;;;0 tasks=4;;;0"),
        ([view(f"w{i}@host", Dead("x")) for i in range(9)], CRITICAL, "w3 dead (x), w4 dead (x) and 4 more | "),
        ([view(state=Dead("a | b\nc"))], CRITICAL, r"w1 dead (a / b\nc) | "),
    ],
)
def test_plugin(views: list[View], code: int, says: str) -> None:
    """The worst node decides; the line names the nodes that are not well, the worst first, and why."""
    found = nagios(views)
    assert found.code == code
    assert says in found.line
    assert found.line.count("|") == 1
    assert found.line.isprintable()


@pytest.mark.parametrize(
    ("warning", "critical", "code"),
    [("3:", "1:", WARNING), ("2:", "1:", OK), (None, "3:", CRITICAL), ("@2:3", None, WARNING), ("~:1", None, WARNING)],
)
def test_thresholds_are_for_how_many_run(warning: str | None, critical: str | None, code: int) -> None:
    """With one, the number of nodes that run decides, not that one of them is dead; they stand in the data."""
    views = [view("a@h"), view("b@h"), view("c@h", Dead("why"))]
    ranges = [None if each is None else parse_range("--x", each) for each in (warning, critical)]
    found = nagios(views, *ranges)
    assert found.code == code
    assert f"running=2;{warning or ''};{critical or ''};0;3" in found.line


@pytest.mark.parametrize("text", ["", "x", "3:1", "1:2:3", "-1:", "@", "~", "1e3", "nan"])
def test_a_range_that_is_none(text: str) -> None:
    """It is a mistake that shows how one is written."""
    with pytest.raises(UsageError, match="is no range of numbers of running nodes; write it like --critical=2:"):
        parse_range("--critical", text)


def test_what_could_not_be_looked_at() -> None:
    """It is unknown, on one line."""
    found = unknown("multi.toml:\nbroken | x")
    assert (found.line, found.code) == (r"MULTI UNKNOWN: multi.toml:\nbroken / x", 3)
