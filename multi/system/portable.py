"""What psutil says of processes: macOS, the BSDs, and in the tests Linux.

The identity is the start time that the kernel keeps. On macOS and the BSDs it is written once, when the
process starts, so it does not move with the clock. (psutil computes it on Linux, where it does move:
there this module serves the tests only.)
"""

from __future__ import annotations

import os
import time

import psutil

from multi.model.process import Instance, Outline, Proc, ProcessInfo
from multi.system.linux import LISTINGS, instance_of, without_title
from multi.value import replace

_NO_PROCESS = psutil.Error, ValueError, OverflowError  # the latter two for numbers that no pid can be


def look(pid: int) -> ProcessInfo | None:
    """One process, or None when there is none."""
    try:
        return _info(psutil.Process(pid))
    except _NO_PROCESS:
        return None


def _info(process: psutil.Process) -> ProcessInfo:
    with process.oneshot():
        created = process.create_time()
        status = process.status()
        gone = status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
        pid = process.pid
        try:
            group, session = os.getpgid(pid), os.getsid(pid)
        except OSError:
            group, session = 0, 0
        info = ProcessInfo(
            proc=Proc(pid, f"psutil:{created:.6f}"),
            ppid=process.ppid(),
            pgrp=group,
            session=session,
            uid=process.uids().effective,
            gone=gone,
            age=max(0.0, time.time() - created),
            suspended=status == psutil.STATUS_STOPPED,
            instance=None if gone else _instance(process),
        )
        try:
            times = process.cpu_times()
            rss, threads = int(process.memory_info().rss), process.num_threads()
            return replace(info, cpu=times.user + times.system, rss=rss, threads=threads)
        except psutil.Error:
            return info


def _instance(process: psutil.Process) -> Instance | None:
    try:
        env = process.environ()
    except (psutil.Error, OSError):
        return None
    return instance_of({os.fsencode(name): os.fsencode(value) for name, value in env.items()})


def table(*_known: object, **_how: object) -> tuple[dict[int, ProcessInfo], dict[int, Outline], bool]:
    """Every process that can be seen, and whether the table is settled. It is listed again as in `linux.table`."""
    found: dict[int, ProcessInfo] = {}
    for _ in range(LISTINGS):
        ended = False
        for pid in sorted(set(psutil.pids()) - found.keys()):
            try:
                found[pid] = _info(psutil.Process(pid))
                ended = ended or found[pid].gone
            except psutil.NoSuchProcess:
                ended = True
            except psutil.Error:
                continue  # it is there, and not for us to see
        if not ended:
            return found, {}, True
    return found, {}, False


def cmdline(pid: int) -> tuple[str, ...]:
    """Its words, empty when unreadable."""
    try:
        return tuple(psutil.Process(pid).cmdline())
    except _NO_PROCESS:
        return ()


def executed(pid: int) -> tuple[str, ...]:
    """Its words if they are those of its execve(2), empty for a title and when nobody can tell."""
    try:
        process = psutil.Process(pid)
        path = process.environ().get("PATH") or os.environ.get("PATH", os.defpath)
        return without_title(cmdline(pid), process.exe(), process.cwd(), path)
    except _NO_PROCESS:
        return ()
