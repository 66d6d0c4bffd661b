"""A sandbox as of a container: the kernel refuses one system call to a process and all that it starts (seccomp(2)).

done = Popen(refusing(PIDFD_SEND_SIGNAL, errno.ENOSYS, sys.executable, "-m", "multi", "stop", "a"))
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PIDFD_SEND_SIGNAL, PIDFD_OPEN = 424, 434  # the same on all machines, since Linux has one table for new calls
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06  # classic BPF: BPF_LD+W+ABS, BPF_JMP+JEQ+K, BPF_RET+K
_REFUSE, _ALLOW = 0x00050000, 0x7FFF0000  # SECCOMP_RET_ERRNO with the errno in its lower half, SECCOMP_RET_ALLOW


def refusing(call: int, error: int, *words: str) -> tuple[str, ...]:
    """The words that run `words` where the system call with that number fails with that errno(3)."""
    return sys.executable, __file__, str(call), str(error), *words


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _refuse(call: int, error: int) -> None:
    infos = ((_LOAD, 0, 0, 0), (_EQUALS, 0, 1, call), (_RETURN, 0, 0, _REFUSE | error), (_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *info) for info in infos))
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(infos), ctypes.addressof(code))
    for words in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*words) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    _refuse(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 -- what was asked for, with the filter on
