"""G12: which modules each command imports is pinned. A new one is taken on purpose, by a new line in these tables.

What a command imports is most of what a short one costs (`docs/explanation/performance.md`), and grows unseen.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from multi.system import launcher
from real import Real

ROOT = Path(__file__).resolve().parents[2]

# Of the standard library and of what we depend on, whatever takes more than half a millisecond, or brings such a one.
COSTLY_NAMES = """
    argparse asyncio celery click concurrent contextvars copy csv ctypes dataclasses datetime difflib email enum
    filelock fractions getopt getpass glob gzip hashlib heapq html http importlib.metadata importlib.resources
    inspect json locale logging multiprocessing optparse pathlib pickle platform pprint psutil queue random re
    resource select selectors shlex shutil signal socket sqlite3 ssl statistics subprocess tempfile textwrap
    threading tomli tomllib traceback typing unittest urllib uuid xml zipfile
"""
PARSING_NAMES = """
    api asked constructor errors machine model model.node model.process model.proof model.request
    model.schedule model.state selection selection.words settings settings.config settings.presets settings.scalars
    settings.shipped settings.table settings.toml settings.values text value views words words.expand words.grammar
    words.merge words.names words.spec words.template
"""
COSTLY = frozenset(COSTLY_NAMES.split())
WITH_SOCKET = frozenset({"selectors"} if sys.version_info < (3, 14) else ())  # what socket imports by itself
COMMAND_LINE = frozenset({"constructor", "cli", "cli.order", "cli.screen", "errors", "text", "typed", "value"})
DOOR_NAMES = "system system.files system.local system.parts system.program system.spare system.trusted_path"
DOOR = frozenset(DOOR_NAMES.split())
WORDS = COMMAND_LINE | DOOR | frozenset({"cli.commands", *PARSING_NAMES.split()})
LOOKING = WORDS | {
    "codec",
    "decide",
    "decide.resolve",
    "model.record",
    "observe",
    "observe.evidence",
    "observe.judge",
    "observe.look",
    "observe.tree",
    "selection.finder",
    "selection.records",
    "system.linux",
    "system.processes",
    "system.users",
}
SHOWING = LOOKING
LOOKING |= {"report", "report.status"}
ACTING_NAMES = """
    act act.cgroups act.journal act.lock act.loop act.ready act.start act.stop act.waits act.walk
    decide decide.restart decide.rollout decide.table decide.turns model.event model.step report.codes report.lines
"""
ACTING = LOOKING | {"cli.follow", "cli.options"} | frozenset(ACTING_NAMES.split())
ACTING |= {"model.happening", "system.limits", "system.locks", "system.poll", "system.watch"}
REMEMBERING = {"history", "model.caller", "model.past", "system.append", "system.caller"}  # where anything was done
STARTING = ACTING | {"system.child", "system.launcher", "system.cgroup", "model.cgroup", "decide.delegation"}
QUOTING = frozenset({"enum", "re", "shlex"})
WRITING = QUOTING | {"json"}  # of records, for which reading has no need

SCRIPT = """
import sys
before = set(sys.modules)
from multi.cli import main
code = main()
sys.stdout.flush()
print("IMPORTED", *sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


def imported(real: Real, *words: str) -> tuple[frozenset[str], frozenset[str]]:
    """The modules of `multi` without its name, and the costly ones, that a command imports in a fresh Python.

    Without `site`, which may import anything that an environment asks for.
    """
    path = f"{ROOT}:{sysconfig.get_path('purelib')}:{sysconfig.get_path('platlib')}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT, *words],
        env={**real.env, "PYTHONPATH": path},
        cwd=real.base,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said, _, names = done.stderr.partition("IMPORTED ")
    assert names, said
    modules = names.split()
    ours = frozenset(name.removeprefix("multi.") for name in modules if name.startswith("multi."))
    return ours, frozenset(name for name in modules if name in COSTLY)


NAMES = ("n1", "n2")
PURE = [
    (("--version",), COMMAND_LINE, frozenset[str]()),
    (("names", "10"), WORDS, frozenset[str]()),
    (("expand", "%n", *NAMES), WORDS, frozenset[str]()),
    (("get", "n1", *NAMES), SHOWING, QUOTING),
    (("show", *NAMES), SHOWING, QUOTING),
]


@pytest.mark.parametrize(("words", "ours", "others"), PURE, ids=[words[0] for words, _, _ in PURE])
def test_commands_that_touch_nothing(
    real: Real, words: tuple[str, ...], ours: frozenset[str], others: frozenset[str]
) -> None:
    """They import what makes nodes of words."""
    assert imported(real, *words) == (ours, others)


def test_commands_that_look(real: Real) -> None:
    """A status imports what reads /proc and records beside that, but nothing that acts."""
    real.start(*NAMES).ok()
    look = ("status", f"--pidfile={real.run}/%n.pid", *NAMES)
    assert imported(real, *look) == (LOOKING | {"cli.glance", "report.table"}, frozenset())


def test_commands_that_act(real: Real) -> None:
    """Only a start imports what makes processes."""
    ours, others = imported(real, *real.start_words(*NAMES))
    assert (ours - REMEMBERING, others) == (
        STARTING,
        WRITING | {"heapq", "json", "resource", "select", "signal", "socket"} | WITH_SOCKET,
    )
    for command in ("stop", "stopwait"):
        ours, others = imported(real, command, f"--pidfile={real.run}/%n.pid", *NAMES)
        assert (ours - REMEMBERING, others) == (ACTING, WRITING | {"heapq", "json", "resource", "select", "signal"})


def test_the_launcher_imports_next_to_nothing() -> None:
    """Each node is a fork of it, so what it imports is paid by each: of multi five modules, of Python no `typing`."""
    code = launcher.CODE.replace("child.serve(*map(int, sys.argv[2:]))", "print(*sys.modules)")
    assert code != launcher.CODE
    command = [sys.executable, "-I", "-S", "-E", "-c", code, str(ROOT / "multi")]
    modules = set(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.split())
    ours = {name.removeprefix("multi.") for name in modules if name.startswith("multi.")}
    assert ours == {"constructor", "system", "system.child", "system.program", "system.trusted_path", "typed", "value"}
    assert modules & COSTLY == {"select"}
    assert not modules & {"collections", "enum", "functools", "re", "types", "typing"}


def test_filelock_is_for_those_who_take_its_lock(real: Real) -> None:
    """`apply` and `ensure` import it, beside what a start needs; nobody else finds it in the tables above."""
    real.start(*NAMES).ok()
    pidfile = f"--pidfile={real.run}/%n.pid"
    assert "filelock" in imported(real, "ensure", pidfile)[1]
    assert "filelock" not in imported(real, "ensure", pidfile, "--dry-run")[1]
    assert "filelock" not in imported(real, "restart", pidfile)[1]


@pytest.mark.parametrize("words", [("help",), ("help", "start"), ("completion", "bash")])
def test_click_is_for_help_and_completion(real: Real, words: tuple[str, ...]) -> None:
    """Nobody else finds it in the tables above."""
    assert "click" in imported(real, *words)[1]
