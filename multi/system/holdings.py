"""What a process holds: open files, input and output, proportional memory; psutil tells it where there is no /proc."""

from __future__ import annotations

import os

from multi.model.usage import UNTOLD, Holdings
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.model.process import Proc

_LIMIT = 1 << 14  # bytes of a file of /proc; the longest of these has 2,000


def of(proc: Proc, *, pss: bool, procfs: bool) -> Holdings:
    """What the process of that pid holds; the caller looks whether it is the same one. `pss` is dear."""
    return _by_proc(proc.pid, pss=pss) if procfs else _by_psutil(proc.pid, pss=pss)


def _by_proc(pid: int, *, pss: bool) -> Holdings:
    moved = _numbers(f"/proc/{pid}/io")
    shares = _numbers(f"/proc/{pid}/smaps_rollup").get(b"Pss") if pss else None
    return Holdings(
        files=_descriptors(pid),
        read=moved.get(b"read_bytes"),
        written=moved.get(b"write_bytes"),
        pss=None if shares is None else shares << 10,
    )


def _descriptors(pid: int) -> int | None:
    """How many are open. Since Linux 6.2 that is the size of the directory, proc_pid_fd(5)."""
    path = f"/proc/{pid}/fd"
    try:
        return os.stat(path).st_size or len(os.listdir(path))
    except OSError:
        return None


def _numbers(path: str) -> dict[bytes, int]:
    """``name: number`` of each line that is one; empty for a file that we may not read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        raw = os.read(fd, _LIMIT)
    except OSError:
        return {}
    finally:
        os.close(fd)
    pairs = (line.partition(b":")[::2] for line in raw.splitlines())
    return {name: int(words[0]) for name, text in pairs if (words := text.split()) and words[0].isdigit()}


def _by_psutil(pid: int, *, pss: bool) -> Holdings:
    import psutil

    def told(ask: str, name: str = "") -> int | None:
        try:
            answer = getattr(process, ask)()
        except (psutil.Error, AttributeError, NotImplementedError, OSError):  # some systems do not tell it at all
            return None
        found: int | None = getattr(answer, name, None) if name else answer
        return found

    try:
        process = psutil.Process(pid)
    except (psutil.Error, ValueError, OverflowError):
        return UNTOLD
    return Holdings(
        files=told("num_fds"),
        read=told("io_counters", "read_bytes"),
        written=told("io_counters", "write_bytes"),
        pss=told("memory_full_info", "pss") if pss else None,
    )
