"""The floors: only the system calls that a start, a stop or a status needs. ``scripts/bench`` runs them by name.

    floor.py start DIRECTORY COUNT MARK [flush]   fork and execute `sleep MARK`, write a pidfile and a record for each
    floor.py stopwait DIRECTORY                   signal each process and wait for its end, remove its files
    floor.py status DIRECTORY                     read what /proc says of each process
    floor.py restart DIRECTORY MARK               the first two in turn

It promises nothing: no lock, no proof of who is signalled, no proof that the program runs, and the disk is not waited
for, but with `flush`, which waits for each file as `multi` does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

RECORD = b"x" * 1100  # bytes, as a record of `multi` has them


def start(directory: str, count: int, mark: str, *, flush: bool) -> None:
    """Start the processes one after another, as a script would."""
    null = os.open(os.devnull, os.O_RDONLY)
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                log = os.open(f"{directory}/{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                os.dup2(null, 0)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.execvp("sleep", ["sleep", mark])  # noqa: S606 -- this is the work that is measured
            finally:
                os._exit(127)
        write(f"{directory}/{number}.pid", b"%d\n" % pid, flush=flush)
        write(f"{directory}/{number}.json", RECORD, flush=flush)


def write(path: str, data: bytes, *, flush: bool) -> None:
    """Replace a file."""
    file = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(file, data)
    if flush:
        os.fsync(file)
    os.close(file)
    os.rename(f"{path}.new", path)  # noqa: PTH104 -- as little as can be


def pidfiles(directory: str) -> list[tuple[str, int]]:
    """The pidfiles of a directory, without their suffix, and their pids."""
    names = [name.removesuffix(".pid") for name in os.listdir(directory) if name.endswith(".pid")]  # noqa: PTH208 -- as above
    return [(f"{directory}/{name}", int(Path(f"{directory}/{name}.pid").read_bytes())) for name in names]


def stopwait(directory: str) -> None:
    """Signal all, then wait for all."""
    found = pidfiles(directory)
    poll = select.poll()
    pidfds = set()
    for _, pid in found:
        pidfd = os.pidfd_open(pid)
        pidfds.add(pidfd)
        poll.register(pidfd, select.POLLIN)
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    while pidfds:
        for pidfd, _ in poll.poll():
            poll.unregister(pidfd)
            os.close(pidfd)
            pidfds.remove(pidfd)
    for stem, _ in found:
        os.unlink(f"{stem}.pid")  # noqa: PTH108 -- as above
        os.unlink(f"{stem}.json")  # noqa: PTH108 -- as above


def status(directory: str) -> None:
    """Read the state, the owner and the cost of each process."""
    for stem, pid in pidfiles(directory):
        Path(f"{stem}.json").read_bytes()
        Path(f"/proc/{pid}/stat").read_bytes()
        Path(f"/proc/{pid}/environ").read_bytes()


def main() -> None:
    """Run one floor."""
    match sys.argv[1:]:
        case ["start", directory, count, mark, *flush]:
            start(directory, int(count), mark, flush=bool(flush))
        case ["stopwait", directory]:
            stopwait(directory)
        case ["status", directory]:
            status(directory)
        case ["restart", directory, mark, *flush]:
            there = len(pidfiles(directory))
            stopwait(directory)
            start(directory, there, mark, flush=bool(flush))
        case _:
            sys.exit(__doc__)


main()
