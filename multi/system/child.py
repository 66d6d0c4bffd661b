"""The launcher, and each node until it executes its program. It runs in an interpreter of its own.

The launcher leads a session of its own, forks the nodes and reaps them. A process can leave its controlling terminal
for good only by being a member, not the leader, of a session without one (setsid(2), credentials(7)). The launcher is
also the nodes' parent while the command runs, so the exit status of a node that dies is known exactly. It ends when
`multi` does, in whatever way `multi` ends, because the socket between them then reads end-of-file.

The gate is a socket pair, of which each node gets one end. It reads there what it is to be, sets itself up completely,
says so, and waits. Only after `multi` has written pidfile and record does it get the one byte that lets it execute.
When `multi` is killed in between, the node reads end-of-file and leaves. So nothing of the user's ever runs that is not
on record.

Each node is a fork, and what an interpreter has imported makes its forks dearer. So this module imports no more than a
few modules in C, and of `multi` only what does the same. It runs in a single thread, raises nothing out, and ends in
`os._exit`.
"""

from __future__ import annotations

import _socket
import errno
import gc
import marshal
import os
import select
import stat
from itertools import count

from multi.system import trusted_path
from multi.system.program import SetUpError, failed, find_program
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from multi.typed import NoReturn
else:
    import _signal as signal  # without the names that `signal` gives to numbers

LAUNCH = b"l"  # what is sent with each gate; the request follows through the gate
LENGTH = 4  # bytes that tell that of the request
ENDING = 9  # bytes of a message of the launcher
KIND_ENDED, KIND_FORK_FAILED, KIND_GIVEN_UP = b"x", b"f", b"g"
ELSEWHERE = -1  # in the place of an errno: what we fork is born into another pid namespace than multi's
_EXIT_NOT_EXECUTED = 127  # as a shell reports a command it could not run
GO = b"g"
_STDERR = 2
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
_MOST_LINKS = 40  # as many as the kernel follows, path_resolution(7)
_GATES = 64  # that are taken at once
_INT = 4  # bytes of a descriptor in a message, cmsg(3)
# As marshal reads it back: argv, env, the variable that gets the pid, logfile, workdir, (uid, gid, groups) or None,
# umask, nice, rlimits, pid and ticks of the process whose standard streams are meant, or None, and the directory of a
# cgroup, or "". Paths are text in UTF-8, whatever the locale of `multi` is.
Request = tuple[
    "list[bytes]",
    "dict[bytes, bytes]",
    bytes,
    str,
    "str | None",
    "tuple[int, int, list[int]] | None",
    "int | None",
    "int | None",
    "list[tuple[int, int, int]]",
    "tuple[int, int] | None",
    str,
]


def ending(kind: bytes, number: int, status: int) -> bytes:
    """What the launcher says: of which launch, and a status or errno(3)."""
    return kind + number.to_bytes(4, "little") + status.to_bytes(4, "little", signed=True)


def endings(data: bytes) -> list[tuple[bytes, int, int]]:
    """The same, back from what may be several of them."""
    parts = [data[at : at + ENDING] for at in range(0, len(data), ENDING)]
    return [
        (part[:1], int.from_bytes(part[1:5], "little"), int.from_bytes(part[5:], "little", signed=True))
        for part in parts
    ]


def serve(fd: int, first: int, *limits: int) -> NoReturn:
    """Be the launcher until the socket `fd` reads end-of-file. Never returns, never raises.

    Launches are numbered in the order in which they are asked for, from `first` on. `limits` of open files, soft and
    hard, are the nodes' to have, where those of `multi` were raised.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass  # what our caller has closed is nothing else's number
    os.close(null)
    control = _socket.socket(fileno=fd)
    try:
        _serve(control, count(first), limits)
    except OSError as error:
        try:
            control.sendall(ending(KIND_GIVEN_UP, 0, error.errno or 0))
        except OSError:
            pass  # multi is gone: that is why we go, too
    os._exit(0)


def _serve(  # noqa: C901 -- what is set up once, and one branch a source
    control: _socket.socket, numbers: Iterator[int], limits: tuple[int, ...]
) -> None:
    os.setsid()
    if os.getppid() == 0:
        # As after 'unshare --pid' without --fork (pid_namespaces(7)). A node would say a pid that to multi is that of
        # some other process, and would end with us.
        control.sendall(ending(KIND_GIVEN_UP, 0, ELSEWHERE))
        control.shutdown(_socket.SHUT_WR)
        while control.recv(1 << 16):
            pass  # until multi has heard of it, which it does not where its requests are refused
        return
    # The nodes inherit the launcher's signals, so they are put in order once, here.
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        try:
            signal.signal(signum, signal.SIG_IGN)  # what came while we were in the session of multi was not for us
            signal.signal(signum, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # the C library keeps a few real-time signals for itself
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    close_all_but({0, 1, 2, control.fileno(), wake_read, wake_write})
    if limits:
        import resource

        soft, hard = limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    # A collection in a node would write to every object, and so copy all memory that it shares with the launcher.
    gc.disable()
    gc.freeze()
    children: dict[int, int] = {}
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(control, children)
        if control.fileno() in ready:
            data, rights, flags, _ = control.recvmsg(_GATES, _socket.CMSG_LEN(_GATES * _INT))
            gates = [gate for *_, fds in rights for gate in memoryview(fds).cast("i")]
            if flags & _socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, "no descriptor was left for a gate")
            if not data:
                return
            for gate in gates:
                # What recvmsg(2) hands over is inheritable. A node must hold no descriptor of another one: whoever
                # waits for the end of one would wait for both.
                os.set_inheritable(gate, False)  # noqa: FBT003 -- the standard library's own signature
            while gates:
                gate = gates.pop(0)
                _fork(control, next(numbers), gate, children, (control.fileno(), wake_read, wake_write, *gates))


def _fork(control: _socket.socket, number: int, gate: int, children: dict[int, int], ours: tuple[int, ...]) -> None:
    """Fork one node, without the descriptors that are `ours`."""
    try:
        pid = os.fork()
    except OSError as error:
        os.close(gate)
        control.sendall(ending(KIND_FORK_FAILED, number, error.errno or 0))
        return
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            for fd in ours:
                os.close(fd)
            become(gate)
        finally:
            os._exit(_EXIT_NOT_EXECUTED)
    os.close(gate)
    children[pid] = number


def _reap(control: _socket.socket, children: dict[int, int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        number = children.pop(pid, None)
        if number is not None:
            control.sendall(ending(KIND_ENDED, number, os.waitstatus_to_exitcode(status)))


def close_all_but(keep: set[int]) -> None:
    """Close every other descriptor, at a cost that does not depend on RLIMIT_NOFILE."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for fd in {int(name) for name in names} - keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that the listing itself used
        return
    low = 0
    for fd in sorted(keep):
        if low < fd:  # an empty range at 0 would reach the system call as the range of all
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def become(gate: int) -> None:
    """Child: read the request from the gate, set up, wait at the gate, execute. Returns only on failure.

    The gate is a bare descriptor: what Python touches here for the first time the kernel copies for each node.
    """
    try:
        length = int.from_bytes(_received(gate, LENGTH), "little")
        _set_up_and_run(marshal.loads(_received(gate, length)), gate)  # noqa: S302 -- written by multi
    except EOFError:
        return  # multi is gone, or has changed its mind
    except Exception as error:  # noqa: BLE001 -- whatever it is, it must be told, and must not run the caller's code
        name = getattr(error, "filename", None)
        what = f"cannot set the process up ({os.fsdecode(name)})" if name else "cannot set the process up"
        told = error if isinstance(error, SetUpError) else failed(what, error, "")
        os.write(gate, marshal.dumps((f"{told.what}: {told.why}", told.hint, told.errno)))


def _received(gate: int, length: int) -> bytes:
    """So many bytes of what comes through the gate. Raises `EOFError`."""
    data = b""
    while len(data) < length:
        more = os.read(gate, length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _set_up_and_run(request: Request, gate: int) -> None:
    path, argv, env = _prepare(request)
    os.write(gate, marshal.dumps(os.getpid()))
    if os.read(gate, 1) != GO:
        return
    try:  # what the launcher does at SIGCHLD ends here, execve(2)
        os.execve(path, argv, env)
    except OSError as error:
        shown = os.fsdecode(path)
        hint = "a script needs a first line such as #!/bin/sh" if error.errno == errno.ENOEXEC else "check --cmd"
        raise failed(f"cannot execute {shown}", error, hint) from error


def _prepare(request: Request) -> tuple[bytes, list[bytes], dict[bytes, bytes]]:
    argv, env, pid_variable, logfile, workdir, identity, umask, nice, rlimits, output, cgroup = request
    os.setpgid(0, 0)
    if cgroup:
        _enter(cgroup)
    for number, *limit in rlimits:
        import resource

        hint = "only root may raise a hard limit; lower it in rlimit"
        _step("cannot set a resource limit", hint, resource.setrlimit, number, limit)
    if nice is not None:
        hint = "only root may go below the current value"
        _step(f"cannot set niceness {nice}", hint, os.setpriority, os.PRIO_PROCESS, 0, nice)
    if identity is not None:
        what = f"cannot become uid {identity[0]}, gid {identity[1]}"
        _step(what, "only root can start a node as another user", _drop_privileges, *identity)
    if umask is not None:
        os.umask(umask)
    if workdir is not None:
        _step(f"cannot change to the directory {workdir}", "check --workdir", os.chdir, workdir)
    program = find_program(argv[0], env)
    # The log, whose path is absolute, comes last: a start that fails of anything else leaves no empty file.
    theirs = None if output is None else _open_output(logfile, *output)
    log = open_log(logfile) if theirs is None else theirs
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, _STDERR)
    for fd in {null, log} - {0, 1, _STDERR}:
        os.close(fd)
    env[pid_variable] = b"%d" % os.getpid()
    return program, argv, env


def _enter(cgroup: str) -> None:
    """Make the cgroup and move there (cgroups(7)); whoever launched us sees in /proc whether that worked.

    Another `multi` removes what is empty, so it may have to be made once more. What root makes in the cgroup of a user
    is that user's.
    """
    for _ in range(3):
        try:
            if not os.path.isdir(cgroup):
                os.mkdir(cgroup, 0o755)
                above = os.stat(os.path.dirname(cgroup))
                if above.st_uid != os.geteuid():
                    for name in ("", *os.listdir(cgroup)):
                        os.chown(f"{cgroup}/{name}", above.st_uid, above.st_gid)
            with open(f"{cgroup}/cgroup.procs", "wb", buffering=0) as procs:
                procs.write(b"0")
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENODEV, errno.EEXIST}:
                continue
        return


def _open_output(path: str, pid: int, start: int) -> int | None:
    """The standard stream of a living process that `path` means; None where it means none, or it cannot be opened.

    As the user that we are by now, so the kernel decides what that one may have (G8). A socket cannot be opened anew.
    """
    own = own_descriptor(path)
    if own not in {1, _STDERR}:
        return None
    try:
        if not _adds(pid, own):
            return None
        fd = os.open(f"/proc/{pid}/fd/{own}", _APPEND & ~os.O_CREAT)
    except OSError:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # opened first, verified after: until here the pid was its own
            found = int(file.read().rpartition(b")")[2].split()[19])
        if found == start:
            os.set_blocking(fd, True)
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _adds(pid: int, fd: int) -> bool:
    """Whether what is written there comes after what others write: in a plain file only O_APPEND sees to that."""
    if not stat.S_ISREG(os.stat(f"/proc/{pid}/fd/{fd}").st_mode):
        return True
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    return bool(flags & os.O_APPEND)


def _step(what: str, hint: str, act: Callable[..., object], *args: object) -> None:
    try:
        act(*args)
    except OSError as error:
        raise failed(what, error, hint) from error
    except ValueError as error:  # the module resource makes one of the EPERM of setrlimit(2)
        raise failed(what, OSError(errno.EPERM, str(error)), hint) from error


def _drop_privileges(uid: int, gid: int, groups: list[int]) -> None:
    """Become another user for good, and prove it (credentials(7), setresuid(2)). Raises `OSError`."""
    if os.geteuid() == 0:
        os.setgroups(groups)
    if hasattr(os, "setresuid"):
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    else:  # as root these set all three ids
        os.setgid(gid)
        os.setuid(uid)
    if os.geteuid() != 0 and sorted(os.getgroups()) != sorted({*groups}):
        raise OSError(errno.EPERM, f"the groups did not become {groups}")
    if hasattr(os, "getresuid") and (os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3):
        raise OSError(errno.EPERM, "the ids did not change")
    if uid != 0:
        try:
            os.setuid(0)
        except OSError:
            return
        raise OSError(errno.EPERM, "root can be regained, so check the capabilities of this process")


def own_descriptor(path: str) -> int | None:
    """Which of our own descriptors a log path means: ``/dev/stderr`` -> 2; None for other paths."""
    directory, _, name = path.rpartition("/")
    if directory in {"/proc/self/fd", "/dev/fd"} and name.isascii() and name.isdigit():
        return int(name)
    return {"/dev/stdout": 1, "/dev/stderr": _STDERR}.get(path)


def open_log(path: str, links: int = 0) -> int:
    """Open a log for appending; raises `SetUpError`.

    A link is followed only when root or the user we are made it. A FIFO without a reader is an error
    rather than a hang. One of our own descriptors is duplicated, since a socket, as under systemd,
    cannot be opened by its name. `links` is how many were followed to get here.
    """
    hint = "check --logfile and who may write there"
    own = own_descriptor(path)
    try:
        if own is not None:
            if own > _STDERR:
                raise OSError(errno.EBADF, "only descriptors 0 to 2 are passed on")  # noqa: TRY301 -- one way out
            return os.dup(own)
        fd = _open_as_root(path, links) if os.geteuid() == 0 else _open_as_user(path)
    except trusted_path.UnsafeError as error:
        raise failed(f"cannot log to {path}", error, error.hint) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            error = OSError(errno.ENXIO, "it is a socket, or a FIFO that nobody reads")
        raise failed(f"cannot open the log {path}", error, hint) from error
    os.set_blocking(fd, True)
    return fd


def _open_as_user(path: str) -> int:
    try:
        return os.open(path, _APPEND | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EMLINK}:
            raise
    if os.lstat(path).st_uid not in {0, os.geteuid()}:
        raise trusted_path.UnsafeError("it is a link that another user made", "remove the link, or give --logfile")
    return os.open(path, _APPEND, 0o640)


def _open_as_root(path: str, links: int) -> int:
    """Take a path that nobody else can have bent, and write into no file that somebody else put there."""
    directory, _, base = path.rpartition("/")
    with trusted_path.open_directory(directory or "/", ()) as at:
        try:
            fd = os.open(base, _APPEND | os.O_NOFOLLOW, 0o640, dir_fd=at.fd)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.EMLINK} or links == _MOST_LINKS:
                raise
            if not at.guarded:
                hint = "remove the link, or give --logfile"
                raise trusted_path.UnsafeError("it is a link that another user could have made", hint) from error
            if directory.startswith("/proc/"):  # its links are doors of the kernel, not paths (proc(5))
                return os.open(base, _APPEND, dir_fd=at.fd)
            return open_log(os.path.join(directory or "/", os.readlink(base, dir_fd=at.fd)), links + 1)
        found = os.fstat(fd)
        if not at.guarded and (found.st_uid != 0 or found.st_nlink > 1):
            os.close(fd)
            hint = "remove it, or give --logfile elsewhere"
            raise trusted_path.UnsafeError("another user could have put it there", hint)
        return fd
