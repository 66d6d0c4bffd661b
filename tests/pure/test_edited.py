"""Which edited files are a reason to restart a node, and how."""

from __future__ import annotations

import pytest

from multi.decide import edited
from multi.model.process import Proc
from multi.model.schedule import parse
from multi.testing.world import node_of

PLACE = "/srv/app"
NODE = node_of(
    "web", workdir=PLACE, env_files=(f"{PLACE}/.env",), pidfile=f"{PLACE}/web.pid", logfile=f"{PLACE}/web.log"
)
OTHER = node_of("db", logfile="/dev/stderr")


@pytest.mark.parametrize(
    ("path", "sources", "anything"),
    [
        ("/srv/app/app.py", True, True),
        ("/srv/app/.env", True, True),
        ("/srv/app/page.html", False, True),
        ("/srv/app/data.sqlite", False, True),
        ("/srv/app/web.log", False, False),
        ("/srv/app/web.log.1", False, False),
        ("/srv/app/web.output", False, False),
        ("/srv/app/web.json", False, False),
    ],
)
def test_what_counts(path: str, sources: bool, anything: bool) -> None:
    """Without paths Python files and env files; with paths everything, but never what nodes and `multi` write there."""
    assert edited.counts(path, NODE, (NODE, OTHER), anything=False) == sources
    assert edited.counts(path, NODE, (NODE, OTHER), anything=True) == anything


def test_the_restart_names_the_files_and_hurries() -> None:
    """It is no failure, and the first stage of the schedule takes five seconds at most."""
    due = edited.due(Proc(7, "x"), ["/a/one.py", "/a/two.py", "/b/three.py", "/b/four.py"])
    assert due.why == "one.py, two.py, three.py and 1 more changed"
    assert due.planned
    assert due.first is not None
    assert str(parse("TERM/90/QUIT/10/KILL/5").within(due.first)) == "TERM/5/QUIT/10/KILL/5"
    assert str(parse("TERM/2/KILL/5").within(due.first)) == "TERM/2/KILL/5"
    assert str(parse("TERM/forever").within(due.first)) == "TERM/5"


def test_why_a_node_is_left_as_it_is() -> None:
    """The first file with an error is named, and how many others there are."""
    faults = {"/a/one.py": "line 3: invalid syntax", "/a/two.py": "line 1: x"}
    assert edited.kept(faults, 7) == "runs on as it was (one.py, line 3: invalid syntax, and 1 more)"
    assert (
        edited.kept({"/a/one.py": "line 3: invalid syntax"}, None) == "is not started (one.py, line 3: invalid syntax)"
    )
