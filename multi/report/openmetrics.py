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
from multi.typed import cast
from multi.value import dataclass

_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n"}


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric family: what one node has of it, None for what is not known."""

    name: str
    kind: str
    help: str
    value: Callable[[View], float | None] = lambda _: None


def _of(part: str, field: str) -> Callable[[View], float | None]:
    """What a part of the view has, None where the view is without it."""

    def value(view: View) -> float | None:
        found = getattr(view, part)
        return None if found is None else cast("float | None", getattr(found, field))

    return value


def _unhealthy(view: View) -> float | None:
    """Of one whose liveness somebody has asked for."""
    return None if view.health is None else float(bool(view.unhealthy))


_STATE = _Family("state", "gauge", "1 for the state that the node is in, 0 for the others.")
_DIFFERS = _Family("configuration_differs", "gauge", "Whether 'multi apply' would change this node.")
_STARTED = "When its main process started, in seconds of the epoch."
_CPU = "Processor time of its processes since it started, with that of its children that have ended."
_PEAK = "The most memory that its cgroup was ever charged since it started, with the page cache."
_ENDED = "How it ended when nobody had asked it to: its exit status, or minus the number of a signal."
_FAMILIES = (
    _Family("start_time_seconds", "gauge", _STARTED, lambda view: view.started),
    _Family("cpu_seconds", "counter", _CPU, lambda view: view.cpu_seconds),
    _Family("memory_bytes", "gauge", "Resident set of all its processes.", lambda view: view.memory),
    _Family("memory_peak_bytes", "gauge", _PEAK, _of("cgroup", "peak")),
    _Family(
        "oom_kills",
        "counter",
        "Its processes that the kernel killed for want of memory since it started.",
        _of("cgroup", "oom_kills"),
    ),
    _Family("children", "gauge", "Processes that it has beside its main process.", lambda view: view.children),
    _Family("restarts", "counter", "How often it was started again unasked.", lambda view: view.restarts),
    _Family("failures", "gauge", "Ends in a row that nobody asked for.", _of("record", "failures")),
    _Family("last_exit_status", "gauge", _ENDED, _of("record", "exit_status")),
    _Family("unhealthy", "gauge", "Whether its proof of liveness fails.", _unhealthy),
    _Family("tasks", "gauge", "Tasks that it works on.", _of("beat", "active")),
    _Family("tasks_reserved", "gauge", "Tasks that it has fetched and not begun.", _of("beat", "reserved")),
    _Family("heartbeat_age_seconds", "gauge", "Seconds since the loop of the worker turned.", _of("pulse", "age")),
)


def openmetrics(views: Sequence[View], differs: Mapping[str, bool]) -> str:
    """The whole text. `differs` says by full name whether a node of the configuration is not as it says."""
    nodes: dict[str, View] = {}
    for view in views:  # a series must not be there twice
        nodes.setdefault(_labels(view), view)
    lines = _head(_STATE) if nodes else []
    for labels, view in nodes.items():
        word = state_word(view.state)
        lines += [f'multi_node_state{{{labels},state="{state}"}} {int(state == word)}' for state in STATES]
    for family in _FAMILIES:
        samples = [(labels, family.value(view)) for labels, view in nodes.items()]
        lines += _samples(family, samples)
    asked = [(labels, view) for labels, view in nodes.items() if not view.found and view.node.name in differs]
    lines += _samples(_DIFFERS, [(labels, float(differs[view.node.name])) for labels, view in asked])
    return "\n".join((*lines, "# EOF", ""))


def _samples(family: _Family, samples: Sequence[tuple[str, float | None]]) -> list[str]:
    name = f"multi_node_{family.name}{'_total' if family.kind == 'counter' else ''}"
    known = [
        f"{name}{{{labels}}} {_number(value)}" for labels, value in samples if value is not None and isfinite(value)
    ]
    return [*_head(family), *known] if known else []


def _head(family: _Family) -> list[str]:
    name, unit = f"multi_node_{family.name}", family.name.rpartition("_")[2]
    said = [f"# UNIT {name} {unit}"] if unit in {"seconds", "bytes"} else []
    return [f"# TYPE {name} {family.kind}", *said, f"# HELP {name} {family.help}"]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"


def _labels(view: View) -> str:
    """A name may be that of two nodes with two pidfiles."""
    return f'node="{_escaped(view.node.name)}",pidfile="{_escaped(view.node.pidfile)}"'


def _escaped(text: str) -> str:
    """The value of a label, which is UTF-8 whatever bytes a path has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(_ESCAPES)
