"""What runs between fork and exec: a node sets itself up, waits at its gate, executes.

The gate: each node gets one end of a socket pair. It sets itself up completely, says so, and waits.
Only after `multi` has written pidfile and record does it get the one byte that lets it execute. When
`multi` is killed in between, the node reads end-of-file and leaves. So nothing of the user's ever runs
that is not on record.

This code runs in a single thread, raises nothing out, and ends in `os._exit`.
"""

from __future__ import annotations

import errno
import marshal
import os
import signal
import socket
import stat

from multi.machine import INSTANCE, INSTANCE_PID
from multi.system import trusted_path
from multi.system.local import candidates

GO = b"g"
_STDERR = 2
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
_MOST_LINKS = 40  # as many as the kernel follows, path_resolution(7)
# As marshal reads it back: argv, env, logfile, workdir, (uid, gid, groups) or None, umask, nice, rlimits, and pid and
# start id of the process whose standard streams are meant, or None.
Request = tuple[
    "list[bytes]",
    "dict[bytes, bytes]",
    str,
    "str | None",
    "tuple[int, int, list[int]] | None",
    "int | None",
    "int | None",
    "list[tuple[int, int, int]]",
    "tuple[int, str] | None",
]


class StepError(Exception):
    """One step of setting up a node failed: `what`, `why`, `hint`, errno."""

    def __init__(self, what: str, error: OSError | None, hint: str, code: int = 0) -> None:
        super().__init__(what)
        reason = (error.strerror or str(error)) if error is not None else ""
        self.why = f"{what}: {reason}" if reason else what
        self.hint = hint
        self.errno = (error.errno or 0) if error is not None else code


def become(gate_fd: int) -> None:
    """Child: read the request from the gate, set up, wait at the gate, execute. Returns only on failure."""
    with socket.socket(fileno=gate_fd) as gate, gate.makefile("rb") as file:
        try:
            _set_up_and_run(marshal.load(file), gate)  # noqa: S302 -- written by multi, whose copy we are
        except EOFError:
            return  # multi is gone, or has changed its mind
        except StepError as error:
            _say_failed(gate, error)
        except OSError as error:
            where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            _say_failed(gate, StepError(f"cannot set the process up{where}", error, ""))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must be told, and must not run the caller's code
            _say_failed(gate, StepError(f"cannot set the process up: {error}", None, "", errno.EINVAL))


def _set_up_and_run(request: Request, gate: socket.socket) -> None:
    path, argv, env = _prepare(request)
    gate.sendall(marshal.dumps(os.getpid()))
    if gate.recv(1) != GO:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.execve(path, argv, env)
    except OSError as error:
        shown = os.fsdecode(path)
        hint = "a script needs a first line such as #!/bin/sh" if error.errno == errno.ENOEXEC else "check --cmd"
        raise StepError(f"cannot execute {shown}", error, hint) from error


def _say_failed(gate: socket.socket, error: StepError) -> None:
    try:
        gate.sendall(marshal.dumps((error.why, error.hint, error.errno)))
    except OSError:
        return  # multi is gone, so nobody is left to tell


def _prepare(request: Request) -> tuple[bytes, list[bytes], dict[bytes, bytes]]:
    argv, env, logfile, workdir, identity, umask, nice, rlimits, output = request
    os.setpgid(0, 0)
    _limits(rlimits, nice)
    if identity is not None:
        _drop_privileges(*identity)
    if umask is not None:
        os.umask(umask)
    if workdir is not None:
        try:
            os.chdir(workdir)
        except OSError as error:
            raise StepError(f"cannot change to the directory {workdir}", error, "check --workdir") from error
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
    env[INSTANCE_PID.encode()] = b"%d" % os.getpid()
    # What says whose it is comes first: whoever looks at it need not read all of a large environment.
    marks = {name: value for name, value in env.items() if name.startswith(INSTANCE.encode())}
    return program, argv, {**marks, **env}


def _open_output(path: str, pid: int, start_id: str) -> int | None:
    """The standard stream of a living process that `path` means; None where it means none, or it cannot be opened.

    As the user that we are by now, so the kernel decides what that one may have (G8). A socket cannot be opened anew.
    """
    from multi.system import linux

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
        same = linux.start_id(pid) == start_id  # opened first, verified after: until here the pid was that process's
        os.set_blocking(fd, True)
    except OSError:
        same = False
    if same:
        return fd
    os.close(fd)
    return None


def _adds(pid: int, fd: int) -> bool:
    """Whether what is written there comes after what others write: in a plain file only O_APPEND sees to that."""
    if not stat.S_ISREG(os.stat(f"/proc/{pid}/fd/{fd}").st_mode):
        return True
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    return bool(flags & os.O_APPEND)


def _limits(rlimits: list[tuple[int, int, int]], nice: int | None) -> None:
    if rlimits:
        import resource

        for which, soft, hard in rlimits:
            try:
                resource.setrlimit(which, (soft, hard))
            except (OSError, ValueError) as error:
                raise StepError(
                    "cannot set a resource limit",
                    OSError(errno.EPERM, str(error)),
                    "only root may raise a hard limit; lower it in rlimit",
                ) from error
    if nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError as error:
            raise StepError(f"cannot set niceness {nice}", error, "only root may go below the current value") from error


def _drop_privileges(uid: int, gid: int, groups: list[int]) -> None:
    """Become another user for good, and prove it (credentials(7), setresuid(2))."""
    try:
        if os.geteuid() == 0:
            os.setgroups(groups)
        if hasattr(os, "setresuid"):
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        else:  # as root these set all three ids
            os.setgid(gid)
            os.setuid(uid)
    except OSError as error:
        raise StepError(
            f"cannot become uid {uid}, gid {gid}", error, "only root can start a node as another user"
        ) from error
    if os.geteuid() != 0 and sorted(os.getgroups()) != sorted({*groups}):
        raise StepError(f"the groups did not become {groups}", None, "", errno.EPERM)
    if hasattr(os, "getresuid") and (os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3):
        raise StepError(f"the ids did not become uid {uid}, gid {gid}", None, "", errno.EPERM)
    if uid != 0:
        try:
            os.setuid(0)
        except OSError:
            return
        raise StepError(
            "root can be regained after dropping privileges",
            None,
            "check the capabilities of this process",
            errno.EPERM,
        )


def own_descriptor(path: str) -> int | None:
    """Which of our own descriptors a log path means: ``/dev/stderr`` -> 2; None for other paths."""
    if path in {"/dev/stdout", "/dev/stderr"}:
        return 1 if path == "/dev/stdout" else _STDERR
    for directory in ("/proc/self/fd/", "/dev/fd/"):
        tail = path.removeprefix(directory)
        if tail != path and tail.isascii() and tail.isdigit():
            return int(tail)
    return None


def open_log(path: str, links: int = 0) -> int:
    """Open a log for appending; raises `StepError`.

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
        raise StepError(f"cannot log to {path}", error, error.hint) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            error = OSError(errno.ENXIO, "it is a socket, or a FIFO that nobody reads")
        raise StepError(f"cannot open the log {path}", error, hint) from error
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


def find_program(word: bytes, env: dict[bytes, bytes]) -> bytes:
    """The file that `word` means, with the node's own PATH. Raises `StepError` naming what was looked for."""
    name, path = os.fsdecode(word), os.fsdecode(env.get(b"PATH", os.fsencode(os.defpath)))
    files = [file for file in candidates(name, path) if os.path.isfile(file)]
    for file in files:
        if os.access(file, os.X_OK):
            return os.fsencode(file)
    if files:
        raise StepError(
            f"cannot execute {files[0]}",
            OSError(errno.EACCES, "it is not executable for this user"),
            f"chmod +x {files[0]}, or check --uid",
        )
    if "/" in name and os.path.isdir(name):
        raise StepError(
            f"cannot execute {name}", OSError(errno.EISDIR, "it is a directory"), "check --cmd and --executable"
        )
    where = "" if "/" in name else f" in PATH={path}"
    raise StepError(
        f"cannot find the program {name!r}{where}",
        OSError(errno.ENOENT, "no such file"),
        "check --cmd and --executable, or give a full path",
    )
