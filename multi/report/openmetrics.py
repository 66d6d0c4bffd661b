"""The nodes as metrics: one text for OpenMetrics 1.0 and for the Prometheus text format 0.0.4. Pure.

The second has no `stateset`, `info` or `unknown`, and a collector that meets one drops the whole file. So a state is a
gauge for each word, one of which is 1, and ``# UNIT`` and ``# EOF`` are comments there. What is not known has no
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

from multi.api import View
from multi.report.status import STATES, state_word
from multi.value import dataclass

_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n"}


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric family: what one node has of it, None for what is not known."""

    name: str
    kind: str
    unit: str
    help: str
    value: Callable[[View], float | None]


def _heartbeat_age(view: View) -> float | None:
    return None if view.pulse is None else view.pulse.age


def _failures(view: View) -> float | None:
    return None if view.record is None else view.record.failures


def _exit_status(view: View) -> float | None:
    return None if view.record is None else view.record.exit_status


def _unhealthy(view: View) -> float | None:
    """Of one whose liveness somebody has asked for."""
    return None if view.health is None else float(bool(view.unhealthy))


_STATE = _Family(
    "multi_node_state", "gauge", "", "1 for the state that the node is in, 0 for the others.", lambda _: None
)
_DIFFERS = _Family(
    "multi_node_configuration_differs", "gauge", "", "Whether 'multi apply' would change this node.", lambda _: None
)
_FAMILIES = (
    _Family(
        "multi_node_start_time_seconds",
        "gauge",
        "seconds",
        "When its main process started, in seconds of the epoch.",
        lambda view: view.started,
    ),
    _Family(
        "multi_node_cpu_seconds",
        "counter",
        "seconds",
        "Processor time of its processes since it started, with that of its children that have ended.",
        lambda view: view.cpu_seconds,
    ),
    _Family(
        "multi_node_memory_bytes", "gauge", "bytes", "Resident set of all its processes.", lambda view: view.memory
    ),
    _Family(
        "multi_node_children", "gauge", "", "Processes that it has beside its main process.", lambda view: view.children
    ),
    _Family(
        "multi_node_restarts", "counter", "", "How often it was started again unasked.", lambda view: view.restarts
    ),
    _Family("multi_node_failures", "gauge", "", "Ends in a row that nobody asked for.", _failures),
    _Family(
        "multi_node_last_exit_status",
        "gauge",
        "",
        "How it ended when nobody had asked it to: its exit status, or minus the number of a signal.",
        _exit_status,
    ),
    _Family("multi_node_unhealthy", "gauge", "", "Whether its proof of liveness fails.", _unhealthy),
    _Family(
        "multi_node_tasks",
        "gauge",
        "",
        "Tasks that it works on.",
        lambda view: None if view.beat is None else view.beat.active,
    ),
    _Family(
        "multi_node_tasks_reserved",
        "gauge",
        "",
        "Tasks that it has fetched and not begun.",
        lambda view: None if view.beat is None else view.beat.reserved,
    ),
    _Family(
        "multi_node_heartbeat_age_seconds",
        "gauge",
        "seconds",
        "Seconds since the loop of the worker turned.",
        _heartbeat_age,
    ),
)


def openmetrics(views: Sequence[View], differs: Mapping[str, bool]) -> str:
    """The whole text. `differs` says by full name whether a node of the configuration is not as it says."""
    nodes: dict[str, View] = {}
    for view in views:  # a series must not be there twice
        nodes.setdefault(_labels(view), view)
    lines = _head(_STATE) if nodes else []
    for labels, view in nodes.items():
        word = state_word(view.state)
        lines += [f'{_STATE.name}{{{labels},state="{state}"}} {int(state == word)}' for state in STATES]
    for family in _FAMILIES:
        samples = [(labels, family.value(view)) for labels, view in nodes.items()]
        lines += _samples(family, samples)
    asked = [(labels, view) for labels, view in nodes.items() if not view.found and view.node.name in differs]
    lines += _samples(_DIFFERS, [(labels, float(differs[view.node.name])) for labels, view in asked])
    return "\n".join((*lines, "# EOF", ""))


def _samples(family: _Family, samples: Sequence[tuple[str, float | None]]) -> list[str]:
    suffix = "_total" if family.kind == "counter" else ""
    known = [f"{family.name}{suffix}{{{labels}}} {_number(value)}" for labels, value in samples if _is_known(value)]
    return [*_head(family), *known] if known else []


def _head(family: _Family) -> list[str]:
    unit = [f"# UNIT {family.name} {family.unit}"] if family.unit else []
    return [f"# TYPE {family.name} {family.kind}", *unit, f"# HELP {family.name} {family.help}"]


def _is_known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _number(value: float | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) and not value.is_integer() else str(int(value or 0))


def _labels(view: View) -> str:
    """A name may be that of two nodes with two pidfiles."""
    return f'node="{_escaped(view.node.name)}",pidfile="{_escaped(view.node.pidfile)}"'


def _escaped(text: str) -> str:
    """The value of a label, which is UTF-8 whatever bytes a path has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(_ESCAPES)
