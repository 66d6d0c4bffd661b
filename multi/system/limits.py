"""Resource limits: open files for ourselves, and what only root may grant to a node."""

from __future__ import annotations

import errno
import os

from multi.machine import Launch, MachineError

_FILES_A_NODE = 4  # open files while we work on a node: lock, gate, notification socket or probe, pidfd
_FILES_A_TREE = 64  # the same while we end it with its children, each held by a pidfd; more where the limit allows
_FILES_BESIDE = 160  # what is open besides: what our caller left us, and files being written

_FEWER_FILES = "raise 'ulimit -n', or name fewer nodes at once"
HINTS = {  # what to try when the kernel refuses a process, a thread or a descriptor
    errno.EAGAIN: "the user's limit of processes is reached: raise 'ulimit -u' or pids.max, or start fewer nodes",
    errno.ENOMEM: "the machine is out of memory",
    errno.EMFILE: _FEWER_FILES,
    errno.ENFILE: _FEWER_FILES,
}


def cannot(what: str, error: OSError) -> MachineError:
    """The kernel refused something that has no path."""
    code = error.errno or 0
    return MachineError(what, error.strerror or str(error), HINTS.get(code, ""), code)


class OpenFiles:
    """The soft limit of open files, raised for ourselves. `callers` is the limit that the nodes get back."""

    def __init__(self) -> None:
        self.callers: tuple[int, int] | None = None

    def make_room(self, nodes: int) -> int:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES_BESIDE + nodes * _FILES_A_TREE
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return nodes
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (OSError, ValueError):  # macOS has a lower limit of its own that it does not tell, setrlimit(2)
            limit = soft
        else:
            self.callers = self.callers or (soft, hard)
        return max(1, min(nodes, (limit - _FILES_BESIDE) // _FILES_A_NODE))

    def close(self) -> None:
        if self.callers is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, self.callers)
            self.callers = None


def number(name: str, soft: int, hard: int) -> tuple[int, int, int]:
    """A limit as setrlimit(2) takes it; -1 means no limit. Raises `MachineError`."""
    import resource

    which = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if which is None:
        raise MachineError(
            f"cannot set the limit {name}", "this system does not have it", "see getrlimit(2)", errno.EINVAL
        )
    infinity = resource.RLIM_INFINITY
    return which, infinity if soft < 0 else soft, infinity if hard < 0 else hard


def may_grant(launch: Launch) -> None:
    """Raise `MachineError` for a limit or a niceness that only root could grant; we are not root."""
    import resource

    for name, soft, wanted in launch.rlimits:
        which, _, hard = number(name, soft, wanted)
        most = resource.getrlimit(which)[1]
        if most != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > most):
            why = f"only root can raise the hard limit, which is {most}"
            raise MachineError(f"cannot set the limit {name}", why, "run multi as root, or lower it", errno.EPERM)
    least = os.getpriority(os.PRIO_PROCESS, 0)
    if hasattr(resource, "RLIMIT_NICE"):  # its 1 to 40 are 19 to -20, getrlimit(2)
        granted = resource.getrlimit(resource.RLIMIT_NICE)[0]
        least = min(least, -20 if granted == resource.RLIM_INFINITY else 20 - granted)
    if launch.nice is not None and launch.nice < least:
        why = "only root can go below the current one"
        hint = "run multi as root, or give a higher --nice"
        raise MachineError(f"cannot set the niceness {launch.nice}", why, hint, errno.EPERM)
