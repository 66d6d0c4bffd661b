"""`multi run` as the first process of a container: what it waits for, what its exit code says, what TERM does when."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from private_machine import need
from real import Real, stat, until

# Runs multi, and waits in the middle of its imports.
_SLOW = """
import os, runpy, sys, time
def heard(event, args):
    if event == "import" and args[0] == "multi.cli":
        open(sys.argv[0], "w").close()
        while not os.path.exists(sys.argv[0] + ".go"):
            time.sleep(0.01)
sys.addaudithook(heard)
marker, sys.argv[:] = sys.argv[1], ["multi", *sys.argv[2:]]
sys.argv[0] = marker
runpy.run_module("multi", run_name="__main__", alter_sys=False)
"""
# Runs multi and notes each file and directory of /proc that it opens as process 1.
_COUNTING = """
import os, runpy, sys
counts = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def heard(event, args):
    if event in ("open", "os.listdir", "os.scandir") and os.getpid() == 1 and str(args[0]).startswith("/proc"):
        os.write(counts, b".")
sys.addaudithook(heard)
sys.argv[:] = ["multi", *sys.argv[2:]]
runpy.run_module("multi", run_name="__main__")
"""
_MAKES_ORPHANS = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
open("is-up", "w")
signal.sigwait({signal.SIGUSR1})
for _ in range(int(sys.argv[1])):
    if (child := os.fork()) == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
open("made", "w")
time.sleep(600)
"""


@dataclass
class Container:
    """A process namespace whose first process is `multi run`, with a file system that is the test's."""

    real: Real
    outer: subprocess.Popen[bytes]
    output: Path

    @property
    def first(self) -> int:
        """The first process, as seen from outside."""
        return until(lambda: next(iter(_children(self.outer.pid)), None), "process 1 runs")

    def multi(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``multi WORDS`` beside it, as by ``docker exec``."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--"]
        return subprocess.run(
            [*enter, sys.executable, "-m", "multi", *words, f"--pidfile={self.real.run}/%n.pid"],
            env={**os.environ, **self.real.env}, cwd=self.real.base, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def ends(self, *signals: int) -> int:
        """Send the signals, one after the other is heard; its exit code."""
        for signum in signals:
            os.kill(self.first, signum)
        return self.outer.wait(60)

    def said(self) -> str:
        """All that it has printed."""
        return self.output.read_text(encoding="utf-8")


@contextlib.contextmanager
def container(
    real: Real, *words: str, entry: Sequence[str] = ("-m", "multi"), ready: bool = True
) -> Iterator[Container]:
    """A container with ``multi run WORDS``."""
    need("unshare", "nsenter")
    run = ["run", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", *words]
    output = real.base / "output"
    with output.open("ab") as file:
        space = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        outer = real.popen(*space, sys.executable, *entry, *run, output=file.fileno())
    made = Container(real, outer, output)
    if ready:
        until(lambda: "started" in made.said() or outer.poll() is not None, "the nodes run")
    yield made


def _children(parent: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]
    except OSError:
        return []


def _zombies(parent: int) -> list[int]:
    return [pid for pid in _children(parent) if (found := stat(pid)) is not None and found.state == "Z"]


def _held(pid: int) -> set[int]:
    """The processes that this one holds pidfds of."""
    texts = [file.read_text("ascii") for file in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pid:")}


def _cmd(real: Real, code: str, *words: str) -> str:
    return f"--cmd={real.shell_words(code, *words)}"


# --- orphans ----------------------------------------------------------------------------------------------------


@pytest.mark.engine  # 4,000 processes, one after the other
@pytest.mark.root
def test_g12_an_orphan_costs_no_look_at_the_process_table(real: Real) -> None:
    """G12: 2,000 orphans end, are waited for at once, and process 1 opens nothing of /proc for them."""
    counts = real.base / "counts"
    with container(real, _cmd(real, _MAKES_ORPHANS, "2000"), "a", entry=("-c", _COUNTING, str(counts))) as made:
        until((real.base / "is-up").exists, "the node is set up")
        before = counts.stat().st_size
        (worker,) = [pid for pid in _grandchildren(made.first) if _is_parent_of_orphans(pid)]
        os.kill(worker, signal.SIGUSR1)
        until((real.base / "made").exists, "the orphans are made")
        until(lambda: not _zombies(made.first), "all are waited for")
        assert counts.stat().st_size - before <= 10
        assert made.ends(signal.SIGTERM) == 0


def _grandchildren(first: int) -> list[int]:
    return [pid for child in _children(first) for pid in _children(child)]


def _is_parent_of_orphans(pid: int) -> bool:
    return b"os.fork" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.root
def test_orphans_are_waited_for_while_a_child_of_its_own_is_not(real: Real) -> None:
    """A killed launcher comes first among the children: what ends after it leaves no zombie, either."""
    with container(real, _cmd(real, _MAKES_ORPHANS, "20"), "a") as made:
        until((real.base / "is-up").exists, "the node is set up")
        (launcher,) = _children(made.first)
        (worker,) = _children(launcher)
        os.kill(launcher, signal.SIGKILL)
        until(lambda: worker in _children(made.first), "the node is an orphan")
        os.kill(worker, signal.SIGUSR1)
        until((real.base / "made").exists, "the orphans are made")
        until(lambda: set(_zombies(made.first)) <= {launcher}, "all but the launcher are waited for")
        assert made.ends(signal.SIGTERM) == 0


@pytest.mark.root
def test_the_exit_status_of_an_adopted_node_is_known(real: Real) -> None:
    """A node that another command has restarted is an orphan when that has ended: its exit status is `run`'s."""
    code = "import signal, sys, time\nsignal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\nopen(sys.argv[1], 'w')\n"
    with container(real, _cmd(real, f"{code}time.sleep(600)", str(real.base / "is-up")), "a") as made:
        until((real.base / "is-up").exists, "the node is set up")
        (real.base / "is-up").unlink()
        assert made.multi("restart", "a").returncode == 0
        until((real.base / "is-up").exists, "the new one is set up")
        adopted = until(lambda: _children(made.first)[1:], "process 1 is its parent")
        until(lambda: adopted[0] in _held(made.first), "`run` waits for its end")
        os.kill(adopted[0], signal.SIGUSR1)
        assert made.outer.wait(60) == 7, made.said()
        assert "exited with status 7" in made.said()


# --- the exit code ------------------------------------------------------------------------------------------------

_DEAF = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('is-up', 'w')\ntime.sleep(600)\n"


@contextlib.contextmanager
def deaf(real: Real, *words: str, also: str = "") -> Iterator[Container]:
    """A container whose node does not hear TERM."""
    with container(real, _cmd(real, also + _DEAF), *words, "a") as made:
        until((real.base / "is-up").exists, "the node is set up")
        yield made


@pytest.mark.root
def test_term_and_a_node_that_ends_in_time_are_exit_0(real: Real) -> None:
    """What a container engine asked for is done: 0, as from a program that handles TERM."""
    touch = real.base / "is-up"
    with container(real, f"--cmd={real.worker('--finish', '0.3', '--touch', str(touch))}", "a") as made:
        until(touch.exists, "the node is set up")
        assert made.ends(signal.SIGTERM) == 0
        assert "a@" in made.said()
        assert "stopped, pid" in made.said()


@pytest.mark.root
def test_a_schedule_that_ends_in_kill_is_exit_137(real: Real) -> None:
    """G6: a node that had to be killed at the end of its schedule is told from one that finished."""
    with deaf(real, "--stop-schedule=TERM/0.3/KILL/10") as made:
        assert made.ends(signal.SIGTERM) == 137
        assert "killed, pid" in made.said()
        assert "the exit code is 137" in made.said()


@pytest.mark.root
def test_a_second_term_kills_and_is_exit_137(real: Real) -> None:
    """Whoever asks twice does not want to wait."""
    with deaf(real, "--stop-schedule=TERM/60/KILL/10") as made:
        os.kill(made.first, signal.SIGTERM)
        until(lambda: "sent TERM" in made.said(), "the first one is heard")
        assert made.ends(signal.SIGTERM) == 137


@pytest.mark.root
def test_a_child_that_had_to_be_killed_is_no_forced_stop(real: Real) -> None:
    """The main process ended in time, so nothing of its work is lost: what it left running is only swept up."""
    code = "import os, signal, sys, time\nif os.fork():\n    time.sleep(600)\n"
    with deaf(real, "--stop-schedule=TERM/60/KILL/10", also=code) as made:
        assert made.ends(signal.SIGTERM) == 0
        assert "sent KILL" in made.said()


@pytest.mark.root
def test_the_kill_of_an_engine_that_waits_no_longer_leaves_nothing(real: Real) -> None:
    """A grace period shorter than the schedule: KILL for process 1 ends all that it started, and the engine says so."""
    with deaf(real, "--stop-schedule=TERM/60/KILL/10") as made:
        os.kill(made.first, signal.SIGTERM)
        until(lambda: "sent TERM" in made.said(), "it is heard")
        assert made.ends(signal.SIGKILL) != 0
        until(lambda: not real.family(), "the kernel ends the namespace")


@pytest.mark.root
def test_a_term_during_its_imports_is_not_lost(real: Real) -> None:
    """The kernel drops what process 1 has no handler for: TERM is kept until there is one, and nothing stays."""
    marker = real.base / "importing"
    words = ("-c", _SLOW, str(marker))
    with container(real, "--cmd=sleep 600", "a", entry=words, ready=False) as made:
        until(marker.exists, "it imports")
        os.kill(made.first, signal.SIGTERM)
        Path(f"{marker}.go").touch()
        assert made.outer.wait(60) == 0
