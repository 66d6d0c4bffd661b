"""What a command about one node costs on a machine full of processes that are none of its business.

Processor time is compared, not time: that of the others does not move it. They run in a session of their own and are
older than the node, as most are on a machine that has been up for long.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contestants import Multi
from measure import InvalidError

WORKS = ("start", "status", "restart", "stopwait")
Spent = Mapping[int, Mapping[str, Sequence[float]]]


def measure(place: Path, numbers: Sequence[int], rounds: int, mark: str, say: Callable[[str], None]) -> Spent:
    """Seconds of processor time of each work, by the number of other processes. Raises `InvalidError`."""
    found: dict[int, dict[str, list[float]]] = {}
    for number in numbers:
        # One script sleeps in each of so many children, which end with it: of a closed pipe they read the end.
        script = f"for i in $(seq {number}); do sleep {mark}1 & done; read -r _; kill $(jobs -p); wait"
        others = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, start_new_session=True)
        try:
            _until(number, others.pid)
            multi = Multi(place / f"busy-{number}", 1, mark)
            multi.prepare()
            for count in range(rounds + 1):
                for work in WORKS:
                    taken = _processor_time(multi, work)
                    if count:  # the first round finds nothing warm
                        found.setdefault(number, {}).setdefault(work, []).append(taken)
            least = {work: min(taken) for work, taken in found[number].items()}
            say(f"{number} others: " + ", ".join(f"{work} {one:.3f}s" for work, one in least.items()))
        finally:
            others.communicate()
    return found


def _until(number: int, parent: int) -> None:
    deadline = time.monotonic() + 120
    children = Path(f"/proc/{parent}/task/{parent}/children")
    while len(children.read_text(encoding="ascii").split()) < number:
        if time.monotonic() > deadline:
            raise InvalidError(f"{number} processes do not come up")
        time.sleep(0.05)


def _processor_time(multi: Multi, work: str) -> float:
    (command,) = multi.commands(work)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=dict(multi.env), cwd=multi.directory, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise InvalidError(f"{work}: {done.stderr.decode(errors='replace').strip()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
