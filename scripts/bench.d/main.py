"""Measures `multi` beside its peers and beside the floor, in one run. Started by ``scripts/bench``; see ``--help``.

Rounds are interleaved: in each, every contestant starts, looks at, restarts and stops the same number of processes, and
the order changes from round to round. So what else the machine does meanwhile hits all alike. After every step the
processes are counted: a start that did not start all, a restart that left an old one, or a stop that left any makes the
round of that contestant invalid, and the table says so. Only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import busy
import celery_nodes
import staying
import table
from contestants import Contestant, FloorOnDisk, MultiOnDisk, present
from measure import InvalidError, expect, living, memory, seconds, summary

MANY = 1000  # nodes, of which there are half as many rounds
WORKS = ("start", "status", "restart", "stopwait")
LOOKING = {  # what costs nothing but the imports
    "Python alone": ["{python}", "-c", "pass"],
    "multi --version": ["{bin}/multi", "--version"],
    "multi names 10": ["{bin}/multi", "names", "10"],
    "celery multi names 10": ["{bin}/celery", "multi", "names", "10"],
}


@dataclass
class Results:
    """All measurements, by size, work and contestant."""

    seconds: dict[int, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    memory: dict[int, dict[str, int]] = field(default_factory=dict)
    resident: dict[int, dict[str, int]] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    looking: dict[str, list[float]] = field(default_factory=dict)
    celery: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    staying: dict[str, dict[str, float]] = field(default_factory=dict)
    busy: busy.Spent = field(default_factory=dict)

    def note(self, size: int, work: str, who: str, taken: float) -> None:
        """Add one measurement."""
        self.seconds.setdefault(size, {}).setdefault(work, {}).setdefault(who, []).append(taken)


def main() -> int:
    """Measure and print; return 1 if a bar is missed and ``--check`` was given, else 0."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))  # by way of everything that clears up
    words = _words()
    began = time.monotonic()
    print(f"bench: {words.rounds} rounds, {', '.join(map(str, words.sizes))} nodes", file=sys.stderr)
    results = Results()
    with _places() as (fast, disk):
        for number in range(words.looks):
            _look(results, number)
        for size in words.sizes:
            rounds = words.rounds if size < MANY else max(1, words.rounds // 2)
            _play(results, size, rounds, (fast, disk), words.only)
        if words.staying:
            results.staying, invalid = staying.measure(fast, _say)
            results.invalid += invalid
        if words.others:
            mark = str(random.randrange(10**8, 10**9))  # noqa: S311 -- as in `_play`
            results.busy = busy.measure(fast, words.others, words.rounds, mark, _say)
        if words.celery:
            results.celery, invalid = celery_nodes.measure(disk, words.celery, _say, rolling=not words.quick)
            results.invalid += invalid
    summed = _summed(results)
    bars, tables = table.markdown(summed, _machine(fast, disk))
    print(bars, tables, sep="\n\n")
    if words.json:
        words.json.write_text(json.dumps(summed, indent=1) + "\n", encoding="utf-8")
    if words.docs:
        table.insert(words.docs, bars, tables)
    print(f"bench: took {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    missed = [bar.name for bar in table.bars(summed) if bar.met is False]
    return 1 if words.check and missed else 0


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="two rounds with 100 nodes, one with Celery workers; under two minutes"
    )
    parser.add_argument("--sizes", type=lambda text: [int(one) for one in text.split(",")], help="numbers of nodes")
    parser.add_argument("--rounds", type=int, help="rounds for each number of nodes; half as many from 1000 on")
    parser.add_argument("--celery", type=int, help="rounds with ten Celery workers; 0 for none")
    parser.add_argument("--no-staying", dest="staying", action="store_false", help="without what stays and watches")
    parser.add_argument(
        "--others", type=lambda text: [int(one) for one in text.split(",") if one], help="numbers of other processes"
    )
    parser.add_argument("--only", default="", help="contestants whose name contains this, and the floors")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--docs", type=Path, help="put the tables into this page, between its two marks")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    words = parser.parse_args()
    quick = words.quick
    words.sizes = words.sizes or ([100] if quick else [1, 10, 100, 1000])
    words.rounds = words.rounds or (2 if quick else 7)
    words.celery = (1 if quick else 3) if words.celery is None else words.celery
    if words.others is None:
        words.others = [0, 2000] if quick else [0, 500, 2000, 5000]
    words.looks = 5 if quick else 15
    return words


@contextmanager
def _places() -> Iterator[tuple[Path, Path]]:
    """A directory in memory, as /run is, and one on a disk; both are removed again."""
    memory = Path("/dev/shm")  # noqa: S108 -- a directory of our own is made in it
    fast = Path(tempfile.mkdtemp(prefix="multi-bench.", dir=memory if os.access(memory, os.W_OK) else None))
    disk = Path(tempfile.mkdtemp(prefix="multi-bench."))
    try:
        yield fast, disk
    finally:
        shutil.rmtree(fast, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


def _look(results: Results, number: int) -> None:
    names = list(LOOKING)
    for name in names[number % len(names) :] + names[: number % len(names)]:
        command = [word.format(python=sys.executable, bin=Path(sys.executable).parent) for word in LOOKING[name]]
        results.looking.setdefault(name, []).append(seconds([command], os.environ, Path("/")))


def _play(results: Results, size: int, rounds: int, places: tuple[Path, Path], only: str) -> None:
    """All rounds with that many nodes. Daemons stay up through all; a contestant that fails takes no further part."""
    stage: list[Contestant] = []
    try:
        for kind in present():
            if size > kind.most or not (only in kind.name or "floor" in kind.name):
                continue
            place = places[kind in {FloorOnDisk, MultiOnDisk}]
            mark = str(random.randrange(10**8, 10**9))  # noqa: S311 -- seconds to sleep; nobody else has the same
            contestant = kind(place / f"{kind.__name__}-{size}", size, mark)
            stage.append(contestant)
            try:
                contestant.prepare()
            except InvalidError as error:
                _out(results, stage, contestant, f"does not come up: {error}")
        for number in range(rounds + 1):
            turn = number % len(stage)
            for contestant in stage[turn:] + stage[:turn]:
                try:
                    _round(results, contestant, timed=number > 0)
                except InvalidError as error:  # noqa: PERF203 -- it costs nothing until it raises
                    _out(results, stage, contestant, f"round {number}: {error}")
    finally:
        for contestant in stage:
            _clear(contestant)


def _out(results: Results, stage: list[Contestant], contestant: Contestant, why: str) -> None:
    """End a contestant and all that it runs."""
    stage.remove(contestant)
    _clear(contestant)
    results.invalid.append(f"{contestant.count} nodes, {contestant.name}, {why}")
    _say(results.invalid[-1])


def _clear(contestant: Contestant) -> None:
    contestant.finish()
    for _ in range(10):
        left = living(contestant.mark)
        if not left:
            return
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


def _round(results: Results, contestant: Contestant, *, timed: bool) -> None:
    """One contestant does all works once. Raises `InvalidError` if a claim of a command is false.

    The first round is not timed. It warms up what the others find warm, and shows how much memory it takes.
    """
    size, who = contestant.count, contestant.name
    before: frozenset[tuple[int, int]] = frozenset()
    told: dict[str, float] = {}
    for work in WORKS:
        what = (contestant.commands(work), contestant.env, contestant.directory)
        taken = 0.0
        if timed:
            taken = seconds(*what)
        else:
            peaks = results.memory.setdefault(size, {})
            peaks[who] = max(peaks.get(who, 0), memory(*what))
        left = 0 if work == "stopwait" else size
        try:
            before, late = expect(contestant.mark, left, none_of=before if work == "restart" else frozenset())
        except InvalidError as error:
            raise InvalidError(f"{work}: {error}") from error
        told[work] = taken + late
        if work == "start" and not timed:
            results.resident.setdefault(size, {})[who] = contestant.resident()
    if timed:
        for work, total in told.items():
            results.note(size, work, who, total)
    _say(
        f"{size} nodes, {who}: " + (", ".join(f"{work} {one:.3f}s" for work, one in told.items()) if timed else "warm")
    )


def _summed(results: Results) -> Mapping[str, object]:
    """Medians, least and most, as plain values."""

    def of(values: Sequence[float]) -> dict[str, float]:
        one = summary(values)
        return {"median": one.median, "min": one.least, "max": one.most, "rounds": one.count}

    return {
        "nodes": {
            str(size): {work: {who: of(taken) for who, taken in by_who.items()} for work, by_who in works.items()}
            for size, works in results.seconds.items()
        },
        "memory": {str(size): peaks for size, peaks in results.memory.items()},
        "resident": {str(size): sizes for size, sizes in results.resident.items()},
        "looking": {name: of(values) for name, values in results.looking.items()},
        "celery": {
            work: {who: of(values) for who, values in by_who.items()} for work, by_who in results.celery.items()
        },
        "staying": results.staying,
        "busy": {
            str(number): {work: of(taken) for work, taken in works.items()} for number, works in results.busy.items()
        },
        "invalid": results.invalid,
    }


def _machine(fast: Path, disk: Path) -> list[str]:
    """Describe the machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    kinds = [_file_system(place) for place in (fast, disk)]
    kernel = ".".join(platform.release().split(".")[:2])  # what follows names who has built it
    return [
        f"{os.cpu_count()} x {model}, {memory / 2**20:.0f} GiB, {platform.system()} {kernel}",
        f"Python {platform.python_version()}, files in memory on {kinds[0]}, on a disk on {kinds[1]}",
        f"run as {'root' if os.geteuid() == 0 else 'a user'} on {time.strftime('%Y-%m-%d')}; load average before: "
        + " ".join(f"{one:.1f}" for one in os.getloadavg()),
        "peers: " + ", ".join(_versions()),
    ]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _file_system(place: Path) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", str(place.parent)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"


def _versions() -> list[str]:
    pips = [sys.executable, *([f"{peers}/python"] if (peers := os.environ.get("BENCH_PEERS")) else [])]
    wanted = {"celery", "supervisor", "circus"}
    found: dict[str, str] = {}
    for pip in pips:
        done = subprocess.run([pip, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=False)
        for each in json.loads(done.stdout or "[]"):
            if each["name"] in wanted:
                found[each["name"]] = each["version"]
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", "s6", "runit", "dpkg"]
    if shutil.which("dpkg-query"):
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            name, _, version = line.partition(" ")
            found[name] = version
    for name in ("dinit", "nitro"):
        if shutil.which(name):
            found[name] = "(built, or found on PATH)"
    if shutil.which("dinit"):
        done = subprocess.run(["dinit", "--version"], capture_output=True, text=True, check=False)
        found["dinit"] = next((word.rstrip(".") for word in done.stdout.split() if word[:1].isdigit()), "?")
    return [f"{name} {version}" for name, version in found.items()]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
