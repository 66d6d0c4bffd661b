"""What the processes of a node use: at one moment, and over an interval. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from multi.typed import TYPE_CHECKING
from multi.value import dataclass, field, replace

if TYPE_CHECKING:
    from multi.model.process import Proc, ProcessInfo

_JOINED = 1.0  # seconds that a process may be older than an interval, and still count as begun in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What one process holds, beside what the process table tells of it; None is what nobody may tell us.

    `files` are open descriptors, `read` and `written` bytes from and to storage so far, those of reaped children
    included. `pss` is the proportional set size in bytes: of memory that several processes share, each has its share.
    """

    files: int | None = None
    read: int | None = None
    written: int | None = None
    pss: int | None = None


UNTOLD = Holdings()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The processes of a tree at one moment, `at` the machine's `now`, with the `holdings` of those asked, by pid.

    Those that have ended are among them until their parent has their counters; of the `ended` it was not seen yet.
    """

    at: float
    infos: tuple[ProcessInfo, ...]
    holdings: Mapping[int, Holdings] = field(default_factory=dict)
    ended: frozenset[Proc] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tree uses; None is unknown.

    `cpu_percent` (of one core), `read_rate` and `write_rate` (bytes a second) are those of the last `seconds`; at the
    first look there are none. `memory` is the resident set and `proportional` the proportional one, in bytes.
    """

    seconds: float | None = None
    cpu_percent: float | None = None
    memory: int | None = None
    proportional: int | None = None
    threads: int | None = None
    files: int | None = None
    read_rate: float | None = None
    write_rate: float | None = None


def snapshot(
    at: float,
    infos: Sequence[ProcessInfo],
    holdings: Mapping[int, Holdings] | None = None,
    baseline: Snapshot | None = None,
) -> Snapshot:
    """What was read one after the other, parents first, as of one moment; `holdings` by pid.

    A parent may have been read before it waited for a child that was not there any more. It has the child's counters in
    the next snapshot, so the child counts as it was until then.
    """
    held = dict(holdings or {})
    if baseline is None:
        return Snapshot(at, tuple(infos), held)
    there = {info.proc.pid: info for info in infos}
    known = {info.proc.pid: info for info in baseline.infos}
    ended: list[ProcessInfo] = []
    for pid, info in known.items():
        if pid in there and there[pid].proc == info.proc:
            continue
        parent, earlier = there.get(info.ppid), known.get(info.ppid)
        took = None if parent is None or earlier is None or parent.proc != earlier.proc else parent.cpu - earlier.cpu
        if took is not None and took < info.cpu and info.proc not in baseline.ended and pid not in there:
            ended.append(replace(info, gone=True))
    for info in (*infos, *ended):
        if info.gone and holdings and info.proc.pid in baseline.holdings:
            held[info.proc.pid] = baseline.holdings[info.proc.pid]
    return Snapshot(at, (*infos, *ended), held, frozenset(info.proc for info in ended))


def usage(now: Snapshot, baseline: Snapshot | None = None) -> Usage:
    """What a tree uses now, and has used since the `baseline`. What one of its processes hides is unknown."""
    infos = [info for info in now.infos if not info.gone]
    held = [now.holdings.get(info.proc.pid, UNTOLD) for info in infos] if now.holdings else []
    found = Usage(
        memory=sum([info.rss for info in infos]),
        proportional=_sum([each.pss for each in held]),
        threads=sum([info.threads for info in infos]),
        files=_sum([each.files for each in held]),
    )
    if baseline is None or now.at <= baseline.at:
        return found
    seconds = now.at - baseline.at
    cpu = _spent(now, baseline, _cpu)
    read = _spent(now, baseline, _read) if held and baseline.holdings else None
    written = _spent(now, baseline, _written) if held and baseline.holdings else None
    return replace(
        found,
        seconds=seconds,
        cpu_percent=None if cpu is None else 100 * cpu / seconds,
        read_rate=None if read is None else read / seconds,
        write_rate=None if written is None else written / seconds,
    )


def _cpu(_: Snapshot, info: ProcessInfo) -> float | None:
    return info.cpu


def _read(of: Snapshot, info: ProcessInfo) -> float | None:
    return of.holdings.get(info.proc.pid, UNTOLD).read


def _written(of: Snapshot, info: ProcessInfo) -> float | None:
    return of.holdings.get(info.proc.pid, UNTOLD).written


def _spent(now: Snapshot, baseline: Snapshot, counter: Callable[[Snapshot, ProcessInfo], float | None]) -> float | None:
    """By how much a counter of a tree has grown. A parent that waits for a child takes over the child's counters."""
    left = {info.proc.pid: info for info in baseline.infos}
    parents = {info.proc.pid for info in now.infos}
    total, seconds = 0.0, now.at - baseline.at
    for info in now.infos:
        count, earlier = counter(now, info), left.get(info.proc.pid)
        if earlier is not None and earlier.proc == info.proc:
            del left[info.proc.pid]
            was = counter(baseline, earlier)
        else:
            was = 0.0 if info.age <= seconds + _JOINED else count
        if count is None or was is None:
            return None
        total += count - was
    total -= sum([counter(baseline, info) or 0.0 for info in left.values() if info.ppid in parents])
    return max(0.0, total)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
