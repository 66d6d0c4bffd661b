"""G4, OK means running: every proof of readiness, on real workers and from the command line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from real import NOBODY, Done, Real, alive, environ_of, stays, until

SOON = 90.0  # seconds in which what is to happen at once has happened on a busy machine
LONG = "--ready-timeout=600"  # what must not be waited for


SAY = """
import os, socket, sys, time
def say(text):
    where = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text if isinstance(text, bytes) else text.encode(), "\\0" + where[1:] if "@" in where else where)
"""
STAY = "\ntime.sleep(600)\n"


def event(done: Done, kind: str) -> dict[str, object]:
    """The one event of a kind that a command reported with ``--json``."""
    (found,) = [one for one in done.events if one["event"] == kind]
    return found


def note(real: Real, name: str) -> str:
    """What `status` shows beside a node: the reason of its state, or what it said of itself."""
    (view,) = json.loads(real.inside("status", "--json", name).out)
    return str(view["why"] or view["status_text"])


# --- alive ----------------------------------------------------------------------------------------


def test_g4_alive_is_alive_for_startsecs(real: Real) -> None:
    """`startsecs` is waited for, not less; what lives so long is ready."""
    ready = event(real.start("a", "--json", startsecs=0.7).ok(), "ready")
    assert ready["how"] == "alive"
    assert float(str(ready["after"])) >= 0.7


def test_g4_who_dies_within_startsecs_was_never_up(real: Real) -> None:
    """A worker that lives for a moment only is a failed node, with its status and its last words."""
    worker = real.worker("--print", "one moment", "--end-after", "0.3", "--exit", "9")
    done = real.start("a", cmd=worker, startsecs=600).exits(1)
    assert "a@" in done.err
    assert "it exited with status 9" in done.err
    assert "| one moment" in done.err
    assert done.seconds < SOON
    assert real.state("a") == {"a": "dead"}
    assert not real.pidfile("a").exists()


# --- the end of the wait by the node's own end ------------------------------------------------------


@pytest.mark.parametrize("ready", ["alive", "notify", "log:never", "tcp:1", "file:/nonexistent/file", "exec:false"])
@pytest.mark.parametrize(
    ("end", "said", "status"),
    [("sys.exit(3)", "it exited with status 3", 3), ("os.abort()", "it was killed by signal 6 (ABRT)", -6)],
)
def test_g4_a_death_is_told_at_once(real: Real, ready: str, end: str, said: str, status: int) -> None:
    """Whatever is waited for: the end of the node ends the wait, and its status or signal is named."""
    code = f"import os, sys, time; print('my last words', flush=True); time.sleep(0.2); {end}"
    done = real.start(
        "a", f"--ready={ready}", LONG, "--rlimit=CORE=0", "--json", cmd=real.shell_words(code), startsecs=600
    )
    failed = event(done.exits(1), "failed")
    assert said in str(failed["why"])
    assert failed["exit_status"] == status
    assert failed["log_tail"] == ["my last words"]
    assert done.seconds < SOON


def test_g4_the_reason_comes_with_the_death(real: Real) -> None:
    """STATUS and ERRNO that the node sent before it died are shown with its exit status."""
    code = SAY + "say('STATUS=opening the vault\\nERRNO=13'); sys.exit(4)"
    done = real.start("a", "--ready=notify", LONG, cmd=real.shell_words(code)).exits(1)
    assert "it exited with status 4 (opening the vault (Permission denied))" in done.err


# --- notify ---------------------------------------------------------------------------------------


def test_g4_notify(real: Real) -> None:
    """READY=1 is the proof, at once; its STATUS is told by `start` and by `status`."""
    code = SAY + "time.sleep(0.3); say('READY=1\\nSTATUS=serving 7 tenants')" + STAY
    done = real.start("a", "--ready=notify", LONG, cmd=real.shell_words(code)).ok()
    assert "serving 7 tenants" in done.out
    assert done.seconds < SOON
    assert note(real, "a") == "serving 7 tenants"
    assert "serving 7 tenants" in real.inside("status", "a").out


def test_what_a_node_said_of_itself_is_true_of_that_process_only(real: Real) -> None:
    """Another tool has started the node since; that process has said nothing."""
    code = SAY + "'NOTIFY_SOCKET' in os.environ and say('READY=1\\nSTATUS=serving 7 tenants')" + STAY
    cmd = real.shell_words(code)
    real.start("a", "--ready=notify", LONG, cmd=cmd).ok()
    os.kill(real.pid("a"), signal.SIGKILL)
    until(lambda: not alive(real.pid("a")), "a is gone")
    other = real.popen(*shlex.split(cmd))
    real.pidfile("a").write_text(f"{other.pid}\n", encoding="ascii")
    (view,) = json.loads(real.inside("status", "--json", "a").out)
    assert (view["state"], view["pid"], view["status_text"]) == ("running", other.pid, None)


def test_g4_nobody_said_ready(real: Real) -> None:
    """Not ready in time: failed with what was said last, and stopped again."""
    code = SAY + "print('still on it', flush=True); say('STATUS=asking the oracle\\nERRNO=111')" + STAY
    done = real.start("a", "--ready=notify", "--ready-timeout=1", cmd=real.shell_words(code)).exits(1)
    assert "not ready after 1s (ready = notify): it last said: asking the oracle (Connection refused)" in done.err
    assert "| still on it" in done.err
    assert real.family() == []
    assert real.state("a") == {"a": "dead"}
    assert "asking the oracle" in note(real, "a")


def test_g4_a_silent_node_is_told_so(real: Real) -> None:
    """A worker that knows nothing of notifications is named as what it is."""
    done = real.start("a", "--ready=notify", "--ready-timeout=0.5").exits(1)
    assert "it sent nothing to NOTIFY_SOCKET" in done.err


def test_g4_extended_timeout(real: Real) -> None:
    """EXTEND_TIMEOUT_USEC gives a slow start the time that it asks for, and not for ever."""
    code = SAY + "[(say('EXTEND_TIMEOUT_USEC=30000000'), time.sleep(0.5)) for _ in range(5)]; say('READY=1')" + STAY
    real.start("a", "--ready=notify", "--ready-timeout=2", cmd=real.shell_words(code)).ok()
    code = SAY + "say('EXTEND_TIMEOUT_USEC=2500000')" + STAY
    done = real.start("b", "--ready=notify", "--ready-timeout=2", cmd=real.shell_words(code)).exits(1)
    found = re.search(r"not ready after ([\d.]+)s", done.err)
    assert found is not None, done
    assert float(found[1]) > 2.1


def test_g9_strange_datagrams_are_no_harm(real: Real) -> None:
    """Whatever a node sends: no traceback, and it is still heard when it says READY=1."""
    strange = [
        "ERRNO=²", "ERRNO=-1", "ERRNO=" + "9" * 400, "EXTEND_TIMEOUT_USEC=²", "EXTEND_TIMEOUT_USEC=" + "9" * 400,
        "EXTEND_TIMEOUT_USEC=-5", "=", "", "READY", "READY=0", "STATUS=\udcff\x1b[2J", "\0" * 100,
    ]  # fmt: skip
    raw = [datagram.encode("utf-8", "surrogateescape") for datagram in strange]
    code = SAY + f"[say(one) for one in {raw!r}]; say('READY=1')" + STAY
    done = real.start("a", "--ready=notify", LONG, cmd=real.shell_words(code)).ok()
    assert "\x1b" not in done.out


def test_g4_the_node_may_let_a_child_speak(real: Real) -> None:
    """A shell that calls a program to say READY=1 is heard."""
    program = real.base / "say.py"
    program.write_text(SAY + "say('READY=1')\n", encoding="utf-8")
    script = f"{shlex.quote(sys.executable)} -I -S {program}; exec sleep 600"
    real.start("a", "--ready=notify", LONG, cmd=shlex.join(["sh", "-c", script])).ok()


@pytest.mark.root
def test_g4_a_process_below_a_child_may_speak_too(real: Real) -> None:
    """A worker process of another user is heard whose parent is a fork server, which is a child of the main process."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("needs a Python that every user may run")
    says = shlex.join([python, "-I", "-S", "-c", SAY + "say('READY=1')" + STAY])
    script = f"sh -c {shlex.quote(says + ' & wait')} & wait"
    real.start("a", "--ready=notify", LONG, f"--uid={NOBODY}", cmd=shlex.join(["sh", "-c", script])).ok()


def test_g4_systemd_notify_is_not_kept_waiting(real: Real) -> None:
    """The tool systemd-notify sends a barrier and waits until the receiver has closed it."""
    tool = shutil.which("systemd-notify")
    if tool is None:
        pytest.skip("systemd-notify is not installed")
    touched = real.base / "done"
    script = f"{tool} --ready --status=fine && touch {touched}; exec sleep 600"
    done = real.start("a", "--ready=notify", LONG, cmd=shlex.join(["sh", "-c", script])).ok()
    assert "fine" in done.out
    until(touched.exists, "systemd-notify has ended well", 4)


@pytest.mark.root
def test_g8_a_stranger_is_not_heard(real: Real) -> None:
    """Another user who knows the address cannot say READY=1 for a node."""
    begun = real.begin(*real.start_words("a", "--ready=notify", "--ready-timeout=3"))
    address = until(lambda: _address_of(real, "a"), "the node runs")
    stranger = os.fork()
    if stranger == 0:
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            os._exit(0 if sender.sendto(b"READY=1", address) == 7 else 1)
    assert os.waitpid(stranger, 0)[1] == 0
    assert "it sent nothing to NOTIFY_SOCKET" in begun.done().exits(1).err


def _address_of(real: Real, name: str) -> str:
    found = [environ_of(pid).get("NOTIFY_SOCKET", "") for pid in real.processes(name)]
    return "\0" + found[0][1:] if found and found[0] else ""


def test_a_notify_socket_of_ours_is_not_the_node_s(real: Real) -> None:
    """What systemd gave to `multi` is not passed on: a READY of the node would be taken for ours."""
    real.env["NOTIFY_SOCKET"] = "/run/systemd/notify"
    real.start("a").ok()
    assert "NOTIFY_SOCKET" not in environ_of(real.pid("a"))


# --- log ------------------------------------------------------------------------------------------


def put_log(real: Real, name: str, text: str) -> Path:
    """Write a log as an earlier start left it."""
    real.log.mkdir(exist_ok=True)
    real.logfile(name).write_text(text, encoding="utf-8")
    return real.logfile(name)


def test_g4_log(real: Real) -> None:
    """A line that matches is the proof."""
    code = "import time; time.sleep(0.3); print('booted in 0.3s', flush=True)" + STAY
    done = real.start("a", "--ready=log:^booted in [0-9.]+s$", LONG, "--json", cmd=real.shell_words(code)).ok()
    assert event(done, "ready")["how"] == "log:^booted in [0-9.]+s$"


def test_g4_a_line_of_an_earlier_start_proves_nothing(real: Real) -> None:
    """Only what this start wrote counts, however the log ended before."""
    put_log(real, "a", "ready\nrea")
    code = "import time; print('dy or not', flush=True)" + STAY
    done = real.start("a", "--ready=log:ready", "--ready-timeout=1", cmd=real.shell_words(code)).exits(1)
    assert "no line that it wrote to its log matches" in done.err
    assert "| dy or not" in done.err


@pytest.mark.parametrize("how", ["renamed", "renamed and made anew", "removed", "truncated", "truncated and longer"])
def test_g4_a_log_that_is_rotated_meanwhile(real: Real, how: str) -> None:
    """Rotation between the start and the line: the line counts, old ones do not come back."""
    log = put_log(real, "a", "ready once\n" * 3)
    go = real.base / "go"
    code = (
        "import os, sys, time; print('begun', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('ready twice', flush=True)" + STAY
    )
    begun = real.begin(
        *real.start_words("a", "--ready=log:^ready", "--ready-timeout=10", "--json", cmd=real.shell_words(code))
    )
    until(lambda: log.read_bytes().endswith(b"begun\n"), "the node has begun")
    if how.startswith("renamed"):
        log.rename(f"{log}.1")
        if "anew" in how:
            log.touch()
    elif how == "removed":
        log.unlink()
    else:
        with log.open("r+b") as file:
            file.truncate()
        if "longer" in how:
            with log.open("ab") as file:
                file.write(b"somebody else's line\n" * 100)
    stays(lambda: begun.process.poll() is None, "nobody is ready yet", 0.6)
    go.touch()
    assert event(begun.done().ok(), "ready")["how"] == "log:^ready"


def test_g4_a_flood_hides_no_line(real: Real) -> None:
    """The line is found although megabytes follow it within a moment."""
    code = "import sys, time; sys.stdout.write('up\\n' + 'noise and more noise\\n' * 200000); sys.stdout.flush()" + STAY
    real.start("a", "--ready=log:^up$", LONG, cmd=real.shell_words(code)).ok()


def test_g4_half_a_line_is_no_line(real: Real) -> None:
    """``$`` waits for the end of the line; a line that stays without one counts as well."""
    code = (
        "import sys, time\n"
        "for part in ('ready', ' in a', ' minute\\n'): sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.005)\n"
    )
    done = real.start("a", "--ready=log:^ready$", "--ready-timeout=1.5", cmd=real.shell_words(code + STAY)).exits(1)
    assert "matches" in done.err
    code = "import sys, time; sys.stdout.write('ready'); sys.stdout.flush()" + STAY
    real.start("b", "--ready=log:^ready$", LONG, cmd=real.shell_words(code)).ok()


def test_g4_two_nodes_with_one_log_are_both_ready(real: Real) -> None:
    """Each reads the log for itself."""
    worker = real.worker("--print", "ready")
    log = f"--logfile={real.log}/both.log"
    real.start("a", "b", "--ready=log:ready", LONG, log, cmd=worker).ok()
    assert real.state("a", "b") == {"a": "running", "b": "running"}


def test_g4_a_log_that_cannot_be_read_is_no_silent_wait(real: Real) -> None:
    """With its output on our own stderr, a node can only prove that it stays alive, and `start` says so."""
    said = real.base / "said"
    words = real.start_words("a", "--ready=log:ready", "--logfile=/dev/stderr", cmd=real.worker("--print", "ready"))
    with said.open("wb") as file:  # not a pipe: the node keeps it open
        process = subprocess.Popen(
            [sys.executable, "-m", "multi", *words], env=real.env, cwd=real.base, stdout=file, stderr=file
        )
    real.known.append(process)
    assert process.wait(SOON) == 0
    assert "its log is /dev/stderr, which cannot be read again" in said.read_text(encoding="utf-8")
    assert "ready\n" in said.read_text(encoding="utf-8")


# --- tcp ------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_g4_tcp(real: Real, host: str) -> None:
    """Ready when the port accepts, not before."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError as error:
            pytest.skip(f"no {host} here: {error}")
        port = server.getsockname()[1]
    code = (
        "import socket, sys, time; time.sleep(0.4)\n"
        f"s = socket.socket(socket.{family.name}); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        f"s.bind(({host!r}, {port})); s.listen()" + STAY
    )
    where = f"[{host}]:{port}" if ":" in host else str(port)
    done = real.start("a", f"--ready=tcp:{where}", LONG, "--json", cmd=real.shell_words(code)).ok()
    assert float(str(event(done, "ready")["after"])) >= 0.4


def test_g4_tcp_refused(real: Real) -> None:
    """Nobody listens: the address and the reason are shown."""
    port = free_port()
    done = real.start("a", f"--ready=tcp:{port}", "--ready-timeout=0.6").exits(1)
    assert f"not ready after 0.6s (ready = tcp:127.0.0.1:{port}): 127.0.0.1:{port}: Connection refused" in done.err


def test_g4_a_port_of_somebody_else_is_not_enough(real: Real) -> None:
    """The port answers before the node has it, and the node dies of that within startsecs: failed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = f"import socket, time; time.sleep(0.3); socket.create_server(('127.0.0.1', {port}), reuse_port=False)"
        done = real.start(
            "a", f"--ready=tcp:{port}", LONG, "--json", cmd=real.shell_words(code + STAY), startsecs=600
        ).exits(1)
    assert "Address already in use" in str(event(done, "failed")["log_tail"])
    assert done.seconds < SOON


def test_g4_a_port_of_a_stranger_proves_nothing(real: Real) -> None:
    """The port that accepts is somebody else's: the node is not ready, and that is the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = real.start("a", f"--ready=tcp:{port}", "--ready-timeout=0.8").exits(1)
    assert f"127.0.0.1:{port}: somebody else listens there ('ss -ltnp' says who), not this node" in done.err
    assert real.family() == []


def test_g4_http(real: Real) -> None:
    """Ready when the page is well, not when the port accepts; a stranger's page proves nothing."""
    port = free_port()
    code = (
        "import socket, time; began = time.monotonic()\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    client = s.accept()[0]; client.recv(4096)\n"
        "    client.sendall(b'HTTP/1.1 200 OK\\n' if time.monotonic() > began + 0.4 else b'HTTP/1.1 503 Hm\\n')\n"
        "    client.close()"
    )
    done = real.start("a", f"--ready=http:{port}/up", LONG, "--json", cmd=real.shell_words(code)).ok()
    assert float(str(event(done, "ready")["after"])) >= 0.4
    done = real.start("b", f"--ready=http:{port}/up", "--ready-timeout=0.8").exits(1)
    assert f"127.0.0.1:{port}/up: somebody else listens there ('ss -ltnp' says who), not this node" in done.err


@pytest.mark.parametrize("who", ["a child in another session", "a sharer of the port"])
def test_g4_a_port_that_is_the_node_s_own(real: Real, who: str) -> None:
    """A child of the node may have it, and a stranger may have it as well."""
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", 0))
        if "sharer" in who:
            shared.listen()
        port = shared.getsockname()[1]
        code = (
            "import os, socket, time\n"
            + ("if os.fork(): time.sleep(600)\nos.setsid()\n" if "child" in who else "")
            + "time.sleep(0.4); s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
            + f"s.bind(('127.0.0.1', {port})); s.listen()"
        )
        done = real.start("a", f"--ready=tcp:{port}", LONG, "--json", cmd=real.shell_words(code + STAY)).ok()
    assert float(str(event(done, "ready")["after"])) >= 0.4


@pytest.mark.root
def test_g4_a_port_of_a_node_that_is_another_user(real: Real) -> None:
    """Root sees whose port it is, whomever the node runs as."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("needs a Python that every user may run")
    port = free_port()
    code = f"import socket, time; s = socket.create_server(('', {port}))" + STAY
    cmd = shlex.join([python, "-I", "-S", "-c", code])
    real.start("a", f"--ready=tcp:{port}", LONG, f"--uid={NOBODY}", cmd=cmd).ok()


# --- file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "empty file", "directory", "socket"])
def test_g4_file(real: Real, kind: str) -> None:
    """Ready when it is made, whatever it is; %n is the node's name."""
    path = real.base / "a.ready"
    make = {
        "file": "open(path, 'w').write('x' * 100000)",
        "empty file": "open(path, 'w')",
        "directory": "os.mkdir(path)",
        "socket": "s = socket.socket(socket.AF_UNIX); s.bind(path)",
    }[kind]
    code = f"import os, socket, time; path = {str(path)!r}; time.sleep(0.3); {make}" + STAY
    done = real.start("a", f"--ready=file:{real.base}/%n.ready", LONG, "--json", cmd=real.shell_words(code)).ok()
    assert event(done, "ready")["how"] == f"file:{path}"


def test_g4_a_file_of_an_earlier_start_proves_nothing(real: Real) -> None:
    """A ready file that a killed predecessor left behind does not count until it is made or written again."""
    path = real.base / "ready"
    path.write_text("old", encoding="utf-8")
    done = real.start("a", f"--ready=file:{path}", "--ready-timeout=0.6").exits(1)
    assert "nothing was made or written there since it started" in done.err
    real.start("b", f"--ready=file:{path}", LONG, cmd=real.worker("--touch", str(path))).ok()


# --- exec -----------------------------------------------------------------------------------------


def test_g4_exec(real: Real) -> None:
    """Ready when the command exits with 0: in the node's directory, with its environment, its words as typed."""
    (real.base / "work").mkdir()
    probe = real.base / "work" / "probe"
    probe.write_text('#!/bin/sh\n[ "$1" = "a  b" ] && [ "$COLOUR" = blue ] && [ -e go ]\n', encoding="utf-8")
    probe.chmod(0o755)
    code = "import time; time.sleep(0.4); open('go', 'w')" + STAY
    options = (f"--workdir={real.base}/work", "--env=COLOUR=blue", LONG, "--json")
    done = real.start("a", "--ready=exec:./probe 'a  b'", *options, cmd=real.shell_words(code)).ok()
    assert float(str(event(done, "ready")["after"])) >= 0.4


def test_g4_exec_says_no(real: Real) -> None:
    """The command, and what became of it, are the reason."""
    probes = ("--ready:a=exec:sh -c 'exit 7'", "--ready:b=exec:/nonexistent/probe")
    done = real.start("a", "b", *probes, "--ready-timeout=2").exits(1)
    assert "sh -c 'exit 7': exit status 7" in done.err
    assert "No such file or directory" in done.err


def test_g4_exec_says_why(real: Real) -> None:
    """The last line that the command printed is in the reason, and nowhere else."""
    probe = "sh -c 'echo first; echo no such table >&2; exit 7'"
    done = real.start("a", "b", f"--ready:a=exec:{probe}", "--ready:b=exec:false", "--ready-timeout=2").exits(1)
    assert "exit 7': exit status 7: no such table (pid " in done.err
    assert "table" not in done.out
    assert "table" not in real.logfile("a").read_text(encoding="utf-8")
    assert "false: exit status 1 (pid " in done.err


def test_g4_exec_is_late_and_says_why(real: Real) -> None:
    """The last line of a command that is still at it when the time is over is in the reason."""
    probe = "sh -c 'echo waiting for the database; exec sleep 599'"
    done = real.start("a", f"--ready=exec:{probe}", "--ready-timeout=2").exits(1)
    assert "its probe did not end; it last said: waiting for the database (pid " in done.err
    assert real.family() == []


def test_g5_a_probe_that_hangs_goes_with_its_children(real: Real) -> None:
    """A command that never ends is no reason to wait longer, and nothing of it is left."""
    done = real.start("a", "--ready=exec:sh -c 'sleep 599; true'", "--ready-timeout=0.6").exits(1)
    assert "not ready after 0.6s" in done.err
    assert "its probe did not end" in done.err
    assert real.family() == []


@pytest.mark.root
def test_g8_a_probe_runs_as_the_node_s_user(real: Real) -> None:
    """Root asks with the rights of the node, so a probe that the node's user can write does not run as root."""
    seen = real.base / "seen"
    seen.mkdir(mode=0o777)
    seen.chmod(0o777)
    probe = f"sh -c 'id -u > {seen}/u.new; id -G > {seen}/g; mv {seen}/u.new {seen}/u'"
    real.start("a", f"--uid={NOBODY}", f"--gid={NOBODY}", f"--ready=exec:{probe}", LONG).ok()
    assert (seen / "u").read_text(encoding="ascii") == f"{NOBODY}\n"
    assert (seen / "g").read_text(encoding="ascii") == f"{NOBODY}\n"


# --- what becomes of who is not ready -----------------------------------------------------------------


def test_g4_not_ready_is_stopped_by_the_schedule(real: Real) -> None:
    """The node gets its first signal and the time to end well; its whole tree is gone afterwards."""
    tally = real.base / "tally"
    code = (
        "import os, signal, sys, time\n"
        f"def bye(*_): open({str(tally)!r}, 'a').write('TERM '); time.sleep(0.3); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "if not os.fork(): signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)\n"
        "print('waiting', flush=True)" + STAY
    )
    done = real.start("a", "--ready=notify", "--ready-timeout=1", "--json", cmd=real.shell_words(code)).exits(1)
    kinds = [one["event"] for one in done.events]
    assert kinds == ["spawned", "failed", "signalled", "signalled", "gone"]
    assert [one["signal"] for one in done.events if one["event"] == "signalled"] == ["TERM", "KILL"]
    assert tally.read_text(encoding="ascii") == "TERM "
    assert real.family() == []


def test_what_one_that_is_not_ready_said_is_shown(real: Real) -> None:
    """`status` of a node that was left running has its last word; when it has died since, as its last word."""
    code = SAY + "say('STATUS=asking the oracle')" + STAY
    told = ("a", "--ready=notify", "--ready-timeout=1", "--keep-unready")
    real.start(*told, cmd=real.shell_words(code)).exits(1)
    assert real.state("a") == {"a": "starting"}
    assert real.inside("status", "a").out.splitlines()[1].endswith("  asking the oracle")
    os.kill(real.pid("a"), signal.SIGKILL)
    until(lambda: real.state("a") == {"a": "dead"}, "it is dead")
    assert real.inside("status", "a").out.splitlines()[1].endswith("; it last said: asking the oracle")


def test_last_words_are_told_once(real: Real) -> None:
    """The reason of a start that failed has them already."""
    code = SAY + "say('STATUS=asking the oracle')" + STAY
    real.start("a", "--ready=notify", "--ready-timeout=0.7", cmd=real.shell_words(code)).exits(1)
    assert real.inside("status", "a").out.count("it last said: asking the oracle") == 1


def test_keep_unready(real: Real) -> None:
    """`--keep-unready` leaves it running for a look at it; the command fails all the same, `stopwait` ends it."""
    done = real.start("a", "--ready=notify", "--ready-timeout=0.5", "--keep-unready").exits(1)
    assert "left running, as --keep-unready says" in done.err, real.logfile("a").read_text(encoding="utf-8")
    assert alive(real.pid("a"))
    assert real.state("a") == {"a": "starting"}
    real.multi("stopwait", "a").ok()
    assert real.family() == []


def test_restart_after_a_failed_start_needs_no_words(real: Real) -> None:
    """The command of a node that failed is on record."""
    go = real.base / "go"
    code = SAY + f"os.path.exists({str(go)!r}) or sys.exit(5); say('READY=1')" + STAY
    real.start("a", "--ready=notify", LONG, cmd=real.shell_words(code)).exits(1)
    go.touch()
    real.multi("restart", "a").ok()
    assert real.state("a") == {"a": "running"}


# --- several nodes ----------------------------------------------------------------------------------


def test_g4_all_are_waited_for_together(real: Real) -> None:
    """Eight nodes that take a second each take about a second, and one that fails holds up no other."""
    code = (
        SAY + "time.sleep(1); name = sys.argv[1]; name == 'n5' and sys.exit(2); say('READY=1\\nSTATUS=' + name)" + STAY
    )
    names = [f"n{number}" for number in range(1, 9)]
    done = real.start(*names, "--ready=notify", LONG, "--json", cmd=real.shell_words(code, "%n")).exits(1)
    assert [str(one["node"]).partition("@")[0] for one in done.events if one["event"] == "failed"] == ["n5"]
    assert len([one for one in done.events if one["event"] == "ready"]) == 7
    assert done.seconds < 6
    assert set(real.state(*names).values()) == {"running", "dead"}


def test_who_is_not_ready_yet_is_said(real: Real) -> None:
    """On a terminal: one line, drawn again and again, that names who is waited for and what it says of itself."""
    go = real.base / "go"
    code = (
        SAY
        + f"say('STATUS=warming up')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)\nsay('READY=1')"
        + STAY
    )
    said = re.compile(r"waiting for 2 nodes to be ready: a b \| \d+s \| [ab]: warming up")
    words = real.start_words("a", "b", "--ready=notify", LONG, cmd=real.shell_words(code))
    seen = on_a_terminal(real, *words, heard=lambda text: go.touch() if said.search(text) else None)
    assert said.search(seen), seen
    assert "started" in seen


def on_a_terminal(real: Real, *words: str, heard: Callable[[str], object] = len) -> str:
    """Run ``multi WORDS`` to its end on a terminal of its own; what was written; `heard` gets it on the way."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "multi", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**real.env, "TERM": "xterm"},
        start_new_session=True,
    )
    real.known.append(process)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while data := os.read(ours, 4096):
            seen += data
            heard(seen.decode(errors="replace"))
    os.close(ours)
    assert process.wait(SOON) == 0, seen
    return seen.decode()


# --- a start that was cut off ---------------------------------------------------------------------------


def begin_and_kill(real: Real, *words: str, cmd: str) -> int:
    """Start a node, and KILL `multi` while it waits; the node's pid."""
    begun = real.begin(*real.start_words("a", LONG, *words, cmd=cmd))
    until(lambda: real.pidfile("a").exists() and real.processes("a"), "the node runs")
    begun.process.send_signal(signal.SIGKILL)
    begun.process.wait(SOON)
    assert real.state("a") == {"a": "starting"}
    return real.pid("a")


@pytest.mark.parametrize("kind", ["log", "file", pytest.param("notify", marks=pytest.mark.engine)])
def test_g4_a_start_that_was_cut_off_is_no_proof(real: Real, kind: str) -> None:
    """The next `start` waits for the proof that the first one waited for; what was there before is still none."""
    put_log(real, "a", "ready once\n")
    path, go = real.base / "ready", real.base / "go"
    path.touch()
    code = SAY + (
        "def hush(text):\n"
        "    try: say(text)\n"
        "    except (KeyError, OSError): pass\n"  # nobody listens while no command waits, or at all
        f"while not os.path.exists({str(go)!r}): hush('STATUS=not yet'); time.sleep(0.02)\n"
        f"print('ready twice', flush=True); os.utime({str(path)!r}); hush('READY=1')"
    )
    ready = {"log": "log:^ready", "file": f"file:{path}", "notify": "notify"}[kind]
    pid = begin_and_kill(real, f"--ready={ready}", cmd=real.shell_words(code + STAY))
    begun = real.begin(*real.start_words("a", f"--ready={ready}", LONG, "--json", cmd=real.shell_words(code + STAY)))
    stays(lambda: begun.process.poll() is None, "it is waited for", 6 if kind == "notify" else 1)
    go.touch()
    done = begun.done().ok()
    assert event(done, "ready")["how"] == ready
    assert event(done, "ready")["pid"] == pid
    assert real.state("a") == {"a": "running"}


@pytest.mark.engine
def test_g4_what_was_said_to_nobody(real: Real) -> None:
    """A node that said READY=1 after its start was cut off counts when it lives on, and it is said why."""
    go = real.base / "go"
    code = SAY + f"\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n" + STAY
    begin_and_kill(real, "--ready=notify", cmd=real.shell_words(code))
    go.touch()
    began = time.monotonic()
    done = real.start("a", "--ready=notify", LONG, cmd=real.shell_words(code)).ok()
    assert time.monotonic() - began >= 5
    assert "its start had been cut off" in done.out


# --- a Celery worker that gets ready when nobody listens ------------------------------------------------


_SLOW = """
import os, time
from celery import Celery, signals
app = Celery("slow", broker="memory://")
@signals.worker_ready.connect
def wait(**_):
    while not os.path.exists("go"):
        time.sleep(0.02)
"""


def start_worker(real: Real, *words: str, app: str = _SLOW) -> None:
    """A Celery worker `a` that does not get ready in time, and is left running."""
    (real.base / "slow.py").write_text(app, encoding="utf-8")
    where = (f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", f"--workdir={real.base}")
    how = ("-A", "slow", "-P", "solo", "--keep-unready", "--env=C_FORCE_ROOT=1", "--env=PYTHONWARNINGS=default", *words)
    done = real.raw("start", "a", *where, *how).exits(1)
    assert "left running, as --keep-unready says" in done.err
    assert real.state("a") == {"a": "starting"}


def ends(real: Real) -> None:
    """It is stopped, and nothing of what it said is left."""
    real.multi("stopwait", "a", "--retry=QUIT/20/KILL/5").ok()
    assert {path.name for path in real.run.iterdir()} <= {".multi.lock", "a.history", "a.json", "a.lock"}
    assert real.record("a")["extra"] == {}


def test_g4_a_worker_that_gets_ready_later_is_found_out(real: Real) -> None:
    """G4: left running by --keep-unready, it is `running` when it consumes: for status, wait, ensure and start."""
    start_worker(real, "--ready-timeout=3")
    pid = real.pid("a")
    real.multi("wait", "--up", "--timeout=0.2", "a").exits(1)
    (real.base / "go").touch()
    real.multi("wait", "--up", "--timeout=30", "a").ok()
    assert real.state("a") == {"a": "running"}
    assert "consuming celery" in real.inside("status", "a").out
    done = real.multi("ensure").ok()
    assert (done.out, done.err) == ("", "")
    assert "already running" in real.multi("start", "a", "--preset=celery").ok().out
    assert real.pid("a") == pid
    ends(real)


@pytest.mark.engine
def test_ensure_leaves_alone_a_worker_that_waits_for_its_broker(real: Real) -> None:
    """It is neither stopped nor started again while the broker refuses, however short its time to get ready is."""
    app = f"from celery import Celery\napp = Celery('slow', broker='amqp://127.0.0.1:{free_port()}//')\n"
    start_worker(real, "--ready-timeout=6", app=app)
    pid = real.pid("a")
    for _ in range(2):
        done = real.multi("ensure").ok()
        assert (done.out, done.err) == ("", "")
    assert real.pid("a") == pid
    assert real.state("a") == {"a": "starting"}
    assert "refused" in real.inside("status", "a").out
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is gone")
    assert "cleared" in real.multi("ensure").ok().out
    assert real.state("a") == {"a": "starting"}, "what was started again runs on, too"
    ends(real)
