"""Where a sandbox refuses a system call, multi does with what is left, and says which node it hits."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from real import Real, alive, run, until
from sandbox import PIDFD_OPEN, PIDFD_SEND_SIGNAL, refusing

_KILL_CALL = {"x86_64": 62, "aarch64": 129}.get(os.uname().machine, 37)  # kill(2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp(2), which is Linux's")
@pytest.mark.parametrize("call", [PIDFD_OPEN, PIDFD_SEND_SIGNAL])
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_g9_half_of_the_pidfds(real: Real, call: int, error: int) -> None:
    """Where one of the two calls for pidfds is refused, nodes are stopped without them (G9, G5)."""
    real.start("a", "b", cmd=real.worker("--child", "session")).ok()
    family = real.family()
    words = [sys.executable, "-m", "multi", "stopwait", f"--pidfile={real.run}/%n.pid", "a", "b"]
    done = run(refusing(call, error, *words), real.env)
    assert (done.returncode, done.stderr) == (0, b""), done
    until(lambda: not any(map(alive, family)), "both trees are gone")
    assert real.state("a", "b") == {"a": "stopped", "b": "stopped"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp(2), which is Linux's")
def test_g9_no_signal_can_be_sent_at_all(real: Real) -> None:
    """Where no call is left that signals, each node is named with the reason, and runs on as before (G9)."""
    real.start("a", "b").ok()
    words = [sys.executable, "-m", "multi", "stopwait", f"--pidfile={real.run}/%n.pid", "a", "b"]
    done = run(refusing(PIDFD_SEND_SIGNAL, errno.ENOSYS, *refusing(_KILL_CALL, errno.ENOSYS, *words)), real.env)
    text = done.stderr.decode()
    assert done.returncode == 1, done
    for name in ("a", "b"):
        assert f"{name}@" in text
        assert f"cannot signal process {real.pid(name)}: Function not implemented; see whether a sandbox" in text
    assert real.state("a", "b") == {"a": "running", "b": "running"}
