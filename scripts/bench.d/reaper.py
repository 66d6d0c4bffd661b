"""Runs a program as PID 1 would: what is orphaned below it becomes a child of this process, and is reaped at once.

Where PID 1 is slow to reap, or never does, a tool that waits until a pid cannot be found any more would be measured by
how slow it is (prctl(2), PR_SET_CHILD_SUBREAPER; Linux only, elsewhere the program just runs).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
program = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the program cleans up; this only waits for that
    signal.signal(signum, lambda number, _: os.kill(program, number))
while True:
    pid, status = os.wait()
    if pid == program:
        sys.exit(os.waitstatus_to_exitcode(status))
