"""What others rely on: the modules of docs/explanation/design.md, the Python API and the JSON of docs/reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from multi import api, report
from multi.api import View
from multi.model.event import (
    Adopted,
    Awaits,
    Cleared,
    CutOff,
    Drained,
    Ending,
    Event,
    Exited,
    Failed,
    Forgotten,
    GaveUp,
    Gone,
    Halted,
    Hooked,
    Interrupted,
    Output,
    Readied,
    Recovered,
    Recycling,
    Refused,
    Resumed,
    Retrying,
    RolledBack,
    Settled,
    Signalled,
    Skipped,
    Spawned,
    Survived,
    Unhealthy,
    Updated,
    Waiting,
)
from multi.model.process import Proc
from multi.model.state import Up
from multi.model.work import ActiveTask
from multi.report import json as report_json
from multi.report import status
from multi.report.json import event_json, view_json
from multi.testing.world import node_of
from real import Real

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVENTS: tuple[Event, ...] = (
    Spawned("w1@h", 1, ("sleep",)),
    Readied("w1@h", 1, 1.0, "alive"),
    Signalled("w1@h", 1, 15, 0.0),
    Gone("w1@h", 1, 1.0),
    Survived("w1@h", 1, 1.0, (1,)),
    Cleared("w1@h", ""),
    Forgotten("w1@h"),
    Adopted("w1@h", 1, "why"),
    CutOff("w1@h", 1, 3, 1, (ActiveTask("a.b", "3f2a", 1.0),)),
    Drained("w1@h", 1),
    Resumed("w1@h", 1),
    Settled("w1@h", 1, 1.0),
    RolledBack("w1@h", 1, "why"),
    Awaits("w1@h", "tcp:80", "why"),
    Retrying("w1@h", 1, "why", 1.0),
    GaveUp("w1@h", 1, "why"),
    Exited("w1@h", 1, 0),
    Unhealthy("w1@h", 1, "why"),
    Recovered("w1@h", 1, "why"),
    Recycling("w1@h", 1, "why"),
    Hooked("w1@h", "failed", "why"),
    Ending(2, ("w1@h",)),
    Updated("w1@h", 1),
    Skipped("w1@h", 1, "why"),
    Failed("w1@h", 1, "why"),
    Refused("w1@h", "why"),
    Interrupted(2),
    Halted((), (), (), ()),
)


def test_all_events_are_here() -> None:
    """The list above has each event but `Waiting`, which is no fact, and `Output`, which is an object a line."""
    assert {type(event) for event in EVENTS} | {Waiting, Output} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_page_has_each_event_with_its_keys(event: Event) -> None:
    """docs/reference/json.md has a row for each event, with exactly the keys that it has."""
    fact = event_json(event)
    assert fact is not None
    page = (DOCS / "reference" / "json.md").read_text()
    info = re.search(rf"^\| `{fact['event']}` \| .* \| (.*) \|$", page, re.MULTILINE)
    assert info is not None
    keys = re.sub(r"\([^)]*\)", "", info.group(1))
    assert re.findall(r"`(\w+)`", keys) == [key for key in fact if key not in {"event", "node", "pid"}]


def test_the_page_has_the_keys_of_status() -> None:
    """docs/reference/json.md names each key of `status --json`, and no other."""
    view = view_json(View(node=node_of(), state=Up(Proc(2, "b:1"))))
    page = (DOCS / "reference" / "json.md").read_text()
    paragraph = re.search(r"`status --json` has .*?\n\n", page, re.DOTALL)
    assert paragraph is not None
    without_remarks = re.sub(r"\([^)]*\)", "", paragraph.group()).replace("`status --json`", "")
    assert re.findall(r"`(\w+)`", without_remarks) == list(view)


def test_the_page_has_every_state() -> None:
    """The states that the page names are those that there are."""
    page = (DOCS / "reference" / "json.md").read_text()
    states = re.search(r"`state` \(([^)]*)\)", page)
    assert states is not None
    assert set(re.findall(r"`(\w+)`", states.group(1))) == set(status.STATES)


def test_the_design_has_every_module() -> None:
    """docs/explanation/design.md has a row for each module and package of `multi`."""
    package = Path(api.__file__).parent
    names = [
        f"{path.name}/" if path.is_dir() else path.name for path in package.iterdir() if not path.name.startswith("_")
    ]
    page = (DOCS / "explanation" / "design.md").read_text()
    assert [name for name in names if f"`{name}`" not in page and name != "py.typed"] == []


def test_the_example_with_another_machine(real: Real) -> None:
    """The page's machine that sends no signal is one: the node lives on, and the stop is a failure."""
    real.start("w1").ok()
    page = (DOCS / "reference" / "python-api.md").read_text()
    (block,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Hesitant" in text)
    told: list[object] = []
    words = ["w1", f"--pidfile={real.run}/%n.pid"]
    code = block.replace('["w1"]', repr(words))
    names: dict[str, object] = {"print": told.append}
    exec(compile(code, "python-api.md", "exec"), names)  # noqa: S102 -- the page's own example
    events = names["events"]
    assert isinstance(events, list)
    assert report.exit_code(events) == 77
    assert told == [f"would send 15 to {real.pid('w1')}"]
    assert real.state("w1") == {"w1": "running"}
    for module, name in (
        (report, "exit_code"),
        (report, "event_lines"),
        (report, "state_word"),
        (report_json, "event_json"),
    ):
        assert f"`{name}(" in page
        assert callable(getattr(module, name))
