"""docs/howto/watch.md shows what a real terminal shows: its screens are those of these nodes, but for the numbers."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from real import until
from terminal import Emulator

if TYPE_CHECKING:
    from real import Real

ROOT = Path(__file__).parents[2]
PEER = ROOT / "tests" / "kit" / "plugin_peer.py"
PAGE = ROOT / "docs" / "howto" / "watch.md"
CONFIG = """
[defaults]
preset = "exec"
ready = "notify"
stop_schedule = "TERM/90/QUIT/10/KILL/5"
pidfile = "{base}/run/%n.pid"
logfile = "{base}/log/%n.log"
cmd = "{peer} --tasks 1"
[nodes."orders-1@web7"]
[nodes."orders-2@web7"]
[nodes."mail@web7"]
cmd = "{peer} --tasks 2"
[nodes."beat@web7"]
ready = "alive"
startsecs = 0
cmd = "sleep 600"
[nodes."import@web7"]
ready = "alive"
startsecs = 0.5
cmd = "sh -c 'sleep 0.7; exit 3'"
"""


def same(screen: str) -> list[list[str]]:
    """What does not change from time to time: words and columns, without numbers and how far apart they stand."""
    text = re.sub(r"\d+d \d+h|\d+h \d+m|\d+m \d+s", "0s", screen)
    text = re.sub(r"(?<![\w-])\d+(\.\d+)?[BKMG]?", "0", text)
    text = re.sub(r"QUIT in 0s;.*", "QUIT in 0s;", text)  # where it is cut depends on the number
    return [line.split() for line in text.splitlines()]


def screens() -> list[str]:
    """Those of the page."""
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block.rstrip("\n") for block in blocks]


def test_the_screens_of_the_page(real: Real) -> None:
    """At 80 columns and at 160, wide, each word and column of the page is on the screen, and nothing else."""
    config = real.base / "multi.toml"
    peer = shlex.join([sys.executable, "-I", "-S", str(PEER), "--seconds", "600", "--beats", "3"])
    config.write_text(CONFIG.format(base=real.base, peer=peer), encoding="utf-8")
    there = f"--multi-config={config}", f"--pidfile={real.run}/%n.pid"
    real.raw("start", *there).ok()
    stopping = real.begin("stopwait", "mail", *there)
    until(lambda: "QUIT in" in real.raw("status", "mail", *there).out, "the stop tells what comes next")
    until(lambda: "dead" in real.raw("status", "import", *there).out, "one is dead")
    with Emulator([sys.executable, "-m", "multi", "status", "--watch", *there], real.env, 80, 8) as terminal:
        narrow = terminal.until(lambda text: "CPU 0" in text and "QUIT in" in text, "two looks")
        terminal.resize(160, 8)
        terminal.type("w")
        held = re.compile(r"\d[KMG] +\d+\.\d[KMG] .*B/s")  # proportional memory, which is asked for in turns, and rates
        wide = terminal.until(lambda text: len(held.findall(text)) >= 4, "two looks at what they hold")
        terminal.type("q")
        assert terminal.end() == 0
    os.kill(real.pid("mail"), signal.SIGKILL)  # `kill` waits for the stop that holds the node
    stopping.done()
    real.raw("kill", *there).ok()
    shown = [screen.rstrip("\n") for screen in (narrow, wide)]
    assert [same(screen) for screen in shown] == [same(screen) for screen in screens()], "\n\n".join(shown)
