"""`python -m multi.unit`: what units of systemd run before their node and behind it."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from real import Real, run


def unit(real: Real, what: str, *said: str, main: int | None = None) -> tuple[int, str, str]:
    """One run of it, as systemd would do it: exit code, what it says, what it complains of."""
    env = {**real.env, "RUNTIME_DIRECTORY": f"{real.base}:/nonexistent"}
    words = [sys.executable, "-E", "-m", "multi.unit", what, "a@b", *said]
    done = run(words, env if main is None else {**env, "MAINPID": str(main)})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("sign", ["file", "log"])
def test_g4_what_was_there_before_proves_nothing(real: Real, sign: str) -> None:
    """G4: a file and a line count once the node has made them anew, by what was there before it ran."""
    path, process = real.base / "sign", real.popen("sleep", "600")
    path.write_text("up\n", encoding="ascii")
    said = (f"ready={'file' if sign == 'file' else 'log'}:{path if sign == 'file' else '^up$'}", f"logfile={path}")
    assert unit(real, "before", *said) == (0, "", "")
    code, _, err = unit(real, "after", *said, "ready_timeout=0.3", main=process.pid)
    assert code == 1
    assert err.startswith("a@b: failed: not ready after 0.3s")
    with path.open("a", encoding="ascii") as file:
        file.write("up\n")
    code, out, _ = unit(real, "after", *said, "ready_timeout=20", "startsecs=0.1", main=process.pid)
    assert (code, out.split(",")[0]) == (0, "a@b: started")


def test_g4_a_port_is_the_node_s_own(real: Real) -> None:
    """G4: a port that somebody else listens on is no proof, one of the node's process is."""
    process = real.popen("sleep", "600")
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        said = (f"ready=tcp:127.0.0.1:{port}", "ready_timeout=0.5")
        assert unit(real, "before", *said)[0] == 0
        status, _, err = unit(real, "after", *said, main=process.pid)
        assert status == 1
        assert "somebody else listens there" in err
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    node = real.popen(sys.executable, "-I", "-S", "-c", code)
    assert unit(real, "before", *said)[0] == 0
    assert unit(real, "after", said[0], "ready_timeout=20", main=node.pid)[0] == 0


def test_needs_are_waited_for(real: Real) -> None:
    """What does not hold in time is named, with exit code 1; what holds says nothing."""
    path = real.base / "need"
    said = (f"needs=file:{path}", "needs=exec:true", "ready_timeout=0.3")
    code, _, err = unit(real, "before", *said)
    assert code == 1
    assert f"it needs file:{path}, which did not hold within 0.3s" in err
    path.touch()
    assert unit(real, "before", *said) == (0, "", "")


def test_an_end_is_not_waited_for(real: Real) -> None:
    """A node that has ended, or ends meanwhile, is not ready, and that is told at once."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert unit(real, "after", "ready=exec:false", main=ended.pid)[0] == 1
    ends = real.popen("sleep", "0.5")
    code, _, err = unit(real, "after", "ready=exec:false", main=ends.pid)
    assert code == 1
    assert "ended" in err or "exited" in err, err
