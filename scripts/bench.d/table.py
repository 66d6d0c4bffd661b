"""The measurements as tables, and the bars they are held against. Pure, but for `insert`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery_nodes import ALL_AT_ONCE, OWN_EXIT

MARKS = {"bars": "bench", "tables": "bench tables"}  # each part of the page stands between two of these
MIB = 1024 * 1024
NAMES = ("multi names 10", "celery multi names 10")
Summed = Mapping[str, Any]


@dataclass(frozen=True)
class Bar:
    """One demand: `ratio` must not be above `limit`. None is not measured."""

    name: str
    ratio: float | None
    limit: float

    @property
    def met(self) -> bool | None:
        """Whether it is met; None for one that was not measured."""
        return None if self.ratio is None else self.ratio <= self.limit


def bars(summed: Summed) -> list[Bar]:
    """All demands, with what was measured. Every ratio is `multi` over the other one; less is faster."""
    found = [
        Bar(f"`{work}` of 100 nodes, against {peer}", _ratio(summed, 100, work, peer), 1.0)
        for work in ("start", "stopwait", "status")
        for peer in ("supervisorctl", "circusctl")
    ]
    found += [
        Bar(f"`{work}` of 100 nodes, against the floor", _ratio(summed, 100, work, "floor"), limit)
        for work, limit in (("start", 2.0), ("stopwait", 3.0), ("status", 2.0))
    ]
    found += [
        Bar(f"`{work}` of 1,000 nodes, against 100", _growth(summed, work), 10.0)
        for work in ("start", "status", "restart", "stopwait")
    ]
    found += [
        Bar(f"`{work}` of a node, 2,000 other processes against none", _busier(summed, work), limit)
        for work, limit in (("status", 1.6), ("restart", 2.0))
    ]
    celery = summed["celery"]
    start, stop = celery.get("start", {}), celery.get("stopwait", {})
    found += [
        Bar("10 Celery workers to ready, against a bare script", _of(start, "multi", ALL_AT_ONCE), 1.05),
        Bar(
            "`stopwait` of 10 Celery workers, against the slowest worker's own exit", _of(stop, "multi", OWN_EXIT), 1.05
        ),
        Bar("`names 10`, against `celery multi`", _of(summed["looking"], *NAMES), 0.15),
    ]
    ours = summed["staying"].get("multi run", {})
    for peer in ("supervisord", "circusd"):
        theirs = summed["staying"].get(peer, {})
        for what, text in (
            ("memory", "memory of `run` with 100 nodes"),
            ("replaced", "`run`: a death to its replacement"),
        ):
            ratio = ours[what] / theirs[what] if ours and theirs and theirs[what] else None
            found.append(Bar(f"{text}, against {peer}", ratio, 1.0))
    found.append(Bar("`run`: wake-ups in ten seconds while nothing is due", ours.get("woken"), 0.0))
    return found


def _ratio(summed: Summed, size: int, work: str, other: str) -> float | None:
    by_who = summed["nodes"].get(str(size), {}).get(work, {})
    if "multi" not in by_who or other not in by_who:
        return None
    return float(by_who["multi"]["median"] / by_who[other]["median"])


def _growth(summed: Summed, work: str) -> float | None:
    small, large = (summed["nodes"].get(size, {}).get(work, {}).get("multi") for size in ("100", "1000"))
    return None if small is None or large is None else float(large["median"] / small["median"])


def _busier(summed: Summed, work: str) -> float | None:
    """Processor time is least where nothing else disturbed it."""
    busy = summed["busy"]
    return busy["2000"][work]["min"] / busy["0"][work]["min"] if {"0", "2000"} <= busy.keys() else None


def _of(by_who: Mapping[str, Any], one: str, other: str) -> float | None:
    return None if one not in by_who or other not in by_who else float(by_who[one]["median"] / by_who[other]["median"])


def markdown(summed: Summed, machine: Sequence[str]) -> tuple[str, str]:
    """The bars on one screen, and all tables, one after the other."""
    return "\n".join(_bars(summed, machine)), "\n".join(_tables(summed)).lstrip("\n")


def _bars(summed: Summed, machine: Sequence[str]) -> Iterator[str]:
    yield from ("- " + line for line in machine)
    yield ""
    yield "| bar | measured | demanded | |"
    yield "| --- | ---: | ---: | --- |"
    for bar in bars(summed):
        measured = "not measured" if bar.ratio is None else f"{bar.ratio:.2f}"
        word = {True: "met", False: "**missed**", None: ""}[bar.met]
        yield f"| {bar.name} | {measured} | at most {bar.limit:g} | {word} |"
    yield from _peers(summed["nodes"].get("100", {}))


def _peers(works: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Who is faster than whom with 100 nodes."""
    peers = [who for who in _all(works) if who != "multi" and "floor" not in who and "disk" not in who]
    if not peers or any("multi" not in by_who for by_who in works.values()):
        return
    yield ""
    yield "`multi` with 100 nodes, over each peer: below 1 `multi` is faster. A peer that **wins** stands in bold."
    yield ""
    yield "| against | " + " | ".join(works) + " |"
    yield "| --- |" + " ---: |" * len(works)
    for who in peers:
        ratios = [_of(by_who, "multi", who) for by_who in works.values()]
        cells = ["" if one is None else f"{one:.2f}" if one < 1 else f"**{one:.2f}**" for one in ratios]
        yield f"| {who} | {' | '.join(cells)} |"


def _tables(summed: Summed) -> Iterator[str]:  # noqa: C901 -- a table after the other
    for size, works in summed["nodes"].items():
        yield ""
        yield f"**Nodes: {int(size):,}**. Milliseconds, median (least to most) [over the floor]"
        yield ""
        yield "| | " + " | ".join(works) + " | memory of the command | stays in memory |"
        yield "| --- |" + " ---: |" * (len(works) + 2)
        for who in _all(works):
            cells = [_cell(by_who.get(who), by_who.get(_floor_of(who))) for by_who in works.values()]
            peak, stays = (summed[what].get(size, {}).get(who, 0) for what in ("memory", "resident"))
            yield f"| {who} | {' | '.join(cells)} | {_mib(peak)} | {_mib(stays)} |"
    yield from _among_others(summed["busy"])
    if summed["looking"]:
        yield ""
        yield "**Only the imports**: milliseconds"
        yield ""
        yield "| command | median | least to most |"
        yield "| --- | ---: | ---: |"
        for name, one in summed["looking"].items():
            yield f"| {name} | {_ms(one['median'])} | {_ms(one['min'])} to {_ms(one['max'])} |"
    if summed["staying"]:
        yield ""
        yield "**100 processes that are kept alive**"
        yield ""
        yield "| by | memory (PSS) | wake-ups in 10 quiet seconds | death to replacement, median | slowest |"
        yield "| --- | ---: | ---: | ---: | ---: |"
        for who, one in summed["staying"].items():
            taken = f"{_ms(one['replaced'])} ms | {_ms(one['slowest'])} ms"
            yield f"| {who} | {one['memory'] / MIB:.1f} MiB | {one['woken']:.0f} | {taken} |"
    if summed["celery"]:
        yield ""
        yield "**Ten Celery workers**: seconds"
        yield ""
        yield "| work | by | median | least to most | rounds | against `celery multi` |"
        yield "| --- | --- | ---: | ---: | ---: | ---: |"
        for work, by_who in summed["celery"].items():
            for who, one in by_who.items():
                spread = f"{one['min']:.2f} to {one['max']:.2f}"
                ratio = _of(by_who, who, "celery multi")
                told = "" if ratio is None else f"{ratio:.2f}"
                yield f"| {work} | {who} | {one['median']:.2f} | {spread} | {one['rounds']} | {told} |"
    if summed["invalid"]:
        yield ""
        yield "Rounds that did not count, because what the command claimed was not so:"
        yield ""
        yield from (f"- {line}" for line in summed["invalid"])


def _among_others(busy: Mapping[str, Any]) -> Iterator[str]:
    if not busy:
        return
    yield ""
    yield "**One node among other processes**: milliseconds of processor time, least"
    yield ""
    works = next(iter(busy.values()))
    yield "| other processes | " + " | ".join(works) + " |"
    yield "| ---: |" + " ---: |" * len(works)
    for number, spent in busy.items():
        yield f"| {int(number):,} | " + " | ".join(_ms(one["min"]) for one in spent.values()) + " |"


def _all(works: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(who for by_who in works.values() for who in by_who))


def _floor_of(who: str) -> str:
    return "floor, on a disk" if "disk" in who else "floor"


def _cell(one: Mapping[str, Any] | None, floor: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    text = f"{_ms(one['median'])} ({_ms(one['min'])} to {_ms(one['max'])})"
    if floor is None or floor is one:
        return text
    return f"{text} [{one['median'] / floor['median']:.1f}]"


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size else "0"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


def insert(page: Path, bars: str, tables: str) -> None:
    """Put bars and tables into a page, in the place of those of the last run."""
    whole = page.read_text(encoding="utf-8")
    for part, text in (("bars", bars), ("tables", tables)):
        first, last = (f"<!-- {MARKS[part]}: {end} -->" for end in ("begin", "end"))
        before, begin, rest = whole.partition(first)
        _, end, after = rest.partition(last)
        if not begin or not end:
            raise SystemExit(f"{page} has no lines {first} and {last}")
        whole = f"{before}{first}\n\n{text}\n\n{last}{after}"
    page.write_text(whole, encoding="utf-8")
