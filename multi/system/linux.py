"""What /proc says of processes (proc(5)); Linux only."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache

from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PID, INSTANCE_PIDFILE, INSTANCE_PROBE, MachineError
from multi.model.process import Instance, Outline, Proc, ProcessInfo
from multi.system.program import candidates
from multi.value import replace

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STAT_BYTES = 4096
_ENVIRON_BYTES = 1 << 16  # more than most have
_MOST_ENVIRON = 6 << 20  # no environment is longer: fs/exec.c takes three quarters of _STK_LIM
LISTINGS = 8  # of the process table for one table; on a busy machine some process ends all the time
_EXEC_SECONDS, _EXEC_PAUSE = 0.5, 0.0005  # for all who are in execve(2) in one table; one may hang on a slow disk
_ENDED = frozenset({b"Z", b"X", b"x"})
_EXIT_CODE = 49  # field 52 of proc_pid_stat(5), as wait(2) has it
_EXITING = 0x4  # PF_EXITING in field 9 of proc_pid_stat(5), include/linux/sched.h
_NO_WORDS_YET = b"0"  # the end of its environment, field 51, until execve(2) has put one there
_NO_INODE = 1  # what proc_fill_cache() says where it has none, fs/proc/base.c
_CAP_SYS_PTRACE = 19  # capabilities(7)
_PATH_MAX = 4096  # no path of ours is longer
_READING = os.O_RDONLY | os.O_CLOEXEC
# What was read of a process: the inode number that the listing had, which no other process gets; start; session; stat.
Known = tuple[int, int, int, bytes]
_PREFIX = INSTANCE.encode()  # of the names of all that we give a process to carry
_TOKEN = _PREFIX + b"="
_CARRIED = [f"\0{name}=".encode() for name in (INSTANCE, INSTANCE_PID, INSTANCE_NODE, INSTANCE_PIDFILE)]


@cache
def boot_id() -> str:
    """The random id of this boot (random(4)); start ticks of two boots must never be compared."""
    try:
        return _slurp("/proc/sys/kernel/random/boot_id", 64).decode("ascii").strip()
    except OSError:
        return "boot"  # hidden, as by ProcSubset=pid of systemd: ticks alone still tell the processes of one boot apart


def _tells_nothing(error: OSError) -> bool:
    """Whether a process that could not be looked at may well be there: it is we who have run out of something."""
    return error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def _slurp(path: str, limit: int, buffer: bytearray | None = None) -> bytes:
    """Read a file at once; into `buffer`, of `limit` bytes, where that is cheaper than a large one for each file."""
    fd = os.open(path, _READING)
    try:
        return os.read(fd, limit) if buffer is None else bytes(memoryview(buffer)[: os.readv(fd, (buffer,))])
    finally:
        os.close(fd)


def look(pid: int) -> ProcessInfo | None:
    """One process but for what it carries, or None when there is none. May raise `OSError`."""
    try:
        return _info(pid, _stat(pid), time.clock_gettime(time.CLOCK_BOOTTIME))
    except OSError as error:
        if _tells_nothing(error):
            raise
        return None


def _info(pid: int, fields: list[bytes], boottime: float) -> ProcessInfo:
    """What `_stat` says of a process, and whose it is. Raises `OSError`."""
    start = int(fields[19])
    gone = _is_gone(fields)
    uid = os.stat(f"/proc/{pid}").st_uid
    return ProcessInfo(
        proc=Proc(pid, f"{boot_id()}:{start}"),
        ppid=int(fields[1]),
        pgrp=int(fields[2]),
        session=int(fields[3]),
        uid=uid,
        gone=gone,
        age=max(0.0, boottime - start / _TICKS),
        suspended=fields[0] == b"T",
        cpu=(int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / _TICKS,
        rss=int(fields[21]) * _PAGE,
        threads=int(fields[17]),
        # to all others it is zero
        status=_exit_status(int(fields[_EXIT_CODE])) if gone and os.geteuid() in {0, uid} else None,
    )


def _is_gone(fields: list[bytes]) -> bool:
    """A leader that has ended while its threads go on shows as a zombie with more than one thread."""
    return fields[0] in _ENDED and int(fields[17]) <= 1


def _carrying(info: ProcessInfo, fields: list[bytes], buffer: bytearray) -> tuple[ProcessInfo, bool, bool]:
    """The process with what it carries, and whether it is on its way out or in the middle of execve(2).

    Raises `OSError`.
    """
    pid = info.proc.pid
    has_memory = fields[20] != b"0"  # a kernel thread has none of its own, nor has a process that is about to be gone
    ended = fields[0] in _ENDED
    if info.gone or not (has_memory or ended):
        return info, bool(int(fields[6]) & _EXITING), False
    instance, in_exec = None, False
    if info.uid == os.geteuid() or _reads_all():
        environ = _environ_of_a_thread(pid) if ended else _environ(pid, buffer)
        if environ == b"":
            # In the middle of execve(2) a process has neither words nor environment, and while it ends no memory.
            fields = _stat(pid)
            in_exec = fields[20] != b"0" and fields[48:49] == [_NO_WORDS_YET] and not cmdline(pid)
            environ = _environ(pid, buffer)
        if environ and _TOKEN in environ:
            words = [word for word in environ.split(b"\0") if word.startswith(_PREFIX)]
            instance = instance_of(dict(word.partition(b"=")[::2] for word in words))
    if info.uid == 0 and has_memory and (instance is not None or os.geteuid() != 0):
        # The kernel gives the directory of a process that may not be dumped to root (proc(5)): one between a change of
        # user and its execve(2), as at our gate, or one whose program has file capabilities.
        info = replace(info, uid=_status(pid, "Uid", 2) or 0, instance=instance)
    elif instance is not None:
        info = replace(info, instance=instance)
    return info, bool(int(fields[6]) & _EXITING), in_exec


@cache
def _reads_all() -> bool:
    """Whether the kernel lets us read what processes of other users carry (ptrace(2), PTRACE_MODE_READ_FSCREDS)."""
    try:
        raw = _slurp("/proc/self/status", _STAT_BYTES)
        return os.geteuid() == 0 or bool(int(raw.partition(b"CapEff:")[2].split()[0], 16) >> _CAP_SYS_PTRACE & 1)
    except (OSError, ValueError, IndexError):
        return True  # then each is tried


def _exit_status(code: int) -> int:
    return -(code & 0x7F) if code & 0x7F else code >> 8


def _stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from the third one on. Raises `OSError`."""
    return _stat_text(pid).split()


def _stat_text(pid: int) -> bytes:
    fd = os.open(f"/proc/{pid}/stat", _READING)  # no call of `_slurp`: this is done for each process of the machine
    try:
        raw = os.read(fd, _STAT_BYTES)
    finally:
        os.close(fd)
    # The second field is the name in brackets and may hold anything, so count from the last bracket.
    return raw[raw.rindex(b")") + 2 :]


def _status(pid: int, name: str, index: int) -> int | None:
    """A number of a line of proc_pid_status(5); None when it cannot be had."""
    try:
        raw = _slurp(f"/proc/{pid}/status", _STAT_BYTES)
        return int(raw[raw.index(f"\n{name}:".encode()) + 1 :].partition(b"\n")[0].split()[index])
    except (OSError, ValueError, IndexError):
        return None


def is_thread(pid: int) -> bool:
    """Whether the number belongs to a thread of some other process. It can be had from /proc, but is no pid."""
    return _status(pid, "Tgid", 1) not in {None, pid}


def _environ(pid: int | str, buffer: bytearray | None = None) -> bytes | None:
    """The environment it was executed with, empty also while it has none; None when we may not read it.

    Of a large one the beginning is enough where ours stand there. A shell hands them on in an order of its own.
    """
    path = f"/proc/{pid}/environ"
    try:
        raw = _slurp(path, _ENVIRON_BYTES, buffer)
        if len(raw) < _ENVIRON_BYTES:
            return raw
        whole = b"\0" + raw[: raw.rfind(b"\0") + 1]
        # In one read(2), so that no execve(2) comes between two halves.
        return raw if all(name in whole for name in _CARRIED) else _slurp(path, _MOST_ENVIRON)
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except OSError:
        return None


def _environ_of_a_thread(pid: int) -> bytes | None:
    """The same of a process whose first thread has ended: it lives on in the others, and only they have it."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    return next(filter(None, (_environ(f"{pid}/task/{thread}") for thread in threads)), None)


def _put_in_file_id(infos: dict[int, ProcessInfo]) -> None:
    """Translate what token holders say of themselves to this container. Children of a main process are where it is."""
    holders = [(pid, info, info.instance) for pid, info in infos.items() if info.instance is not None]
    for pid, info, instance in holders:
        if instance.pid == pid:
            infos[pid] = _seen_from_here(pid, info, instance)
    for pid, info, instance in holders:
        main = infos.get(instance.pid) if instance.pid != pid else info
        if main is None or main.instance is None or main.instance.token != instance.token:
            infos[pid] = _seen_from_here(pid, info, instance)
        elif instance.pid != pid and main.instance.pidfile != instance.pidfile:
            infos[pid] = replace(info, instance=replace(instance, pidfile=main.instance.pidfile))


def _seen_from_here(pid: int, info: ProcessInfo, instance: Instance) -> ProcessInfo:
    if not _means_ours(pid, instance.pidfile):
        return replace(info, instance=replace(instance, pidfile=f"/proc/{pid}/root{instance.pidfile}"))
    namespace = _link(f"/proc/{pid}/ns/pid")
    if namespace not in {"", _own_namespace("pid")} and _status(pid, "NSpid", -1) == instance.pid:
        return replace(info, instance=replace(instance, elsewhere=True))
    return info


def _means_ours(pid: int, path: str) -> bool:
    """Whether the path of a file means to that process what it means to us: in a container it is another file.

    Where roots or mounts differ, the directories tell: the file itself may be gone.
    """
    mounts, root = _link(f"/proc/{pid}/ns/mnt"), _file_id(f"/proc/{pid}/root")
    if mounts in {"", _own_namespace("mnt")} and root in {None, _file_id("/")}:
        return True
    at = path
    while at not in {"", "/"} and len(at) < _PATH_MAX:
        at = os.path.dirname(at)
        ours, theirs = _file_id(at), _file_id(f"/proc/{pid}/root{at}")
        if ours is not None or theirs is not None:
            return ours == theirs
    return False


def _file_id(path: str) -> tuple[int, int] | None:
    """What tells a file from all others; None where there is nothing that we may see."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _link(path: str) -> str:
    """The number of a namespace, in words; empty where we may not see it."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


@cache
def _own_namespace(kind: str) -> str:
    """That of ourselves, which stays the same: only we could change it."""
    return _link(f"/proc/self/ns/{kind}")


def instance_of(env: dict[bytes, bytes]) -> Instance | None:
    """The instance that an environment describes; None when it is not complete."""
    token = env.get(INSTANCE.encode(), b"")
    pid = env.get(INSTANCE_PID.encode(), b"")
    if not token or not pid.isdigit() or len(pid) > 10:  # noqa: PLR2004 -- no pid has more digits
        return None
    return Instance(
        token=os.fsdecode(token),
        pid=int(pid),
        node=os.fsdecode(env.get(INSTANCE_NODE.encode(), b"")),
        pidfile=os.fsdecode(env.get(INSTANCE_PIDFILE.encode(), b"")),
        probe=bool(env.get(INSTANCE_PROBE.encode())),
    )


def table(
    since: int = 0,
    sessions: AbstractSet[int] = frozenset(),
    known: dict[int, Known] | None = None,
    *,
    again: bool = False,
) -> tuple[dict[int, ProcessInfo], Mapping[int, Outline], bool]:
    """Every process that can be seen, what is only outlined, and whether it is settled: see `ProcessTable`.

    Only outlined is what started before `since` (ticks) in none of the `sessions`. `known` is what earlier looks read:
    nothing is read again of a process that is only outlined. With `again` this look goes on with the last one, which
    told too little: it reads what that one did not.
    """
    _prove_procfs()
    read = _Reading(since, sessions, {} if known is None else known, again=again)
    for _ in range(LISTINGS):
        if read.settle():
            break
    _put_in_file_id(read.found)
    return read.found, read.older, read.settled


class _Older(Mapping[int, Outline]):
    """What is only outlined, as its `stat`: most of it is never asked for."""

    def __init__(self) -> None:
        self.stats: dict[int, bytes] = {}

    def __getitem__(self, pid: int) -> Outline:
        fields = self.stats[pid].split(None, 20)
        gone = fields[0] in _ENDED and _is_gone(fields)
        return Outline(int(fields[19]), int(fields[1]), int(fields[2]), int(fields[3]), gone)

    def __iter__(self) -> Iterator[int]:
        return iter(self.stats)

    def __len__(self) -> int:
        return len(self.stats)


class _Reading:
    """One look at the process table.

    A process that ends between the listing and the look at it may have forked before, and its child may be in no
    listing yet: a tree that forks all the time would not be seen at all. So while any process has ended, or is about
    to, list again and look at the new ones. When all were there, whatever is missing has a parent in the table. A
    process in the middle of execve(2) is looked at again afterwards: until then nothing tells whose it is.
    """

    def __init__(self, since: int, sessions: AbstractSet[int], known: dict[int, Known], *, again: bool) -> None:
        self.found: dict[int, ProcessInfo] = {}
        self.older = _Older()
        self.settled = False
        self._since = since
        self._sessions = sessions
        self._known = known
        self._again = again
        self._boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._deadline = time.monotonic() + _EXEC_SECONDS
        self._buffer = bytearray(_ENVIRON_BYTES)

    def settle(self) -> bool:
        """List, and look at those that are new; whether none has ended meanwhile."""
        new = self._new()
        self.settled = True
        while new:
            in_exec = {pid: inode for pid, inode in new.items() if self._look(pid, inode)}
            if not in_exec or time.monotonic() >= self._deadline:
                break
            time.sleep(_EXEC_PAUSE)
            new = in_exec
        self._again = False
        return self.settled

    def _new(self) -> dict[int, int]:
        """Those that are to be looked at, with their inode numbers."""
        known, older = self._known, self.older.stats
        listed = {pid: one[0] for pid, one in known.items()} if self._again else _listed()
        if not self._again:
            for pid in [pid for pid, one in known.items() if one[0] != listed.get(pid) or one[0] <= _NO_INODE]:
                del known[pid]
        since, sessions = self._since, self._sessions
        older.update({pid: one[3] for pid, one in known.items() if one[1] < since and one[2] not in sessions})
        return {pid: inode for pid, inode in listed.items() if pid not in older and pid not in self.found}

    def _look(self, pid: int, inode: int) -> bool:
        """Look at a process; True while it is in the middle of execve(2). Raises `OSError` if we are short of it."""
        try:
            if self._again:
                stat = self._known[pid][3]
            else:
                stat = _stat_text(pid)
                head = stat.split(None, 20)  # most are only outlined, and need no more
                session, start = int(head[3]), int(head[19])
                self._known[pid] = inode, start, session, stat
                if start < self._since and session not in self._sessions:
                    self.older.stats[pid] = stat
                    return False
            fields = stat.split()
            info = _info(pid, fields, self._boottime)
            self.found[pid], ending, in_exec = _carrying(info, fields, self._buffer)
        except PermissionError:  # as by hidepid=1, proc(5): it is there, and not for us to see
            return False
        except OSError as error:
            if _tells_nothing(error):
                raise
            self.found.pop(pid, None)
            self._known.pop(pid, None)
            ending, in_exec = True, False
        self.settled = self.settled and not ending
        return in_exec


def _listed() -> dict[int, int]:
    """The pids that /proc lists, each with its inode number, which no other process gets as long as this one lives."""
    with os.scandir("/proc") as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}


def _prove_procfs() -> None:
    """Raise `MachineError` where /proc does not show the processes whose pids are ours to use (pid_namespaces(7)).

    To one that shows none, each node would be gone; in one of another namespace, a pid is another process.
    """
    ours = _link("/proc/self")
    if ours != str(os.getpid()):
        why = "it shows those of another pid namespace" if ours else "it is not mounted"
        raise MachineError("cannot look at processes in /proc", why, "try 'mount -t proc proc /proc'")


def cmdline(pid: int) -> tuple[str, ...]:
    """Its words, empty when unreadable."""
    try:
        raw = _slurp(f"/proc/{pid}/cmdline", _ENVIRON_BYTES)
        if len(raw) == _ENVIRON_BYTES:
            raw = _slurp(f"/proc/{pid}/cmdline", 1 << 20)
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def executed(pid: int) -> tuple[str, ...]:
    """Its words if they are those of its execve(2), empty for a title (setproctitle) and when nobody can tell."""
    try:
        program, base = os.readlink(f"/proc/{pid}/exe"), os.readlink(f"/proc/{pid}/cwd")
        variables = dict(each.partition(b"=")[::2] for each in (_environ(pid) or b"").split(b"\0"))
    except OSError:
        return ()
    path = os.fsdecode(variables.get(b"PATH", b"")) or os.environ.get("PATH", os.defpath)
    return without_title(cmdline(pid), program.removesuffix(" (deleted)"), base, path)


def without_title(words: tuple[str, ...], program: str, base: str, path: str) -> tuple[str, ...]:
    """The words, or none unless the first means the program that runs, and the last is more than padding.

    A title is written over the words, and filled up with NULs to their length: to the kernel these are empty words.
    """
    if not words or not words[-1]:
        return ()
    files = map(os.path.realpath, candidates(words[0], path, base))
    return words if os.path.realpath(program) in files else ()
