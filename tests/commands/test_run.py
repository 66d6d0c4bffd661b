"""`multi run`: nodes in the foreground, on real processes, as systemd, a container and a terminal use it."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.system.processes import Processes
from real import Begun, Real, alive, descriptors, environ_of, stat, status, stays, until

ALL = (signal.SIGINT, signal.SIGTERM)


def begin(real: Real, *words: str, cmd: str, **env: str) -> Begun:
    """``multi run`` in the background; pidfiles below `run`, output on our own standard streams."""
    return real.begin(
        "run", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", f"--cmd={cmd}", *words, env=env
    )


def up(real: Real, *names: str) -> dict[str, int]:
    """Wait until all run, are seen to, and hear signals; their pids."""
    until(lambda: all(real.pidfile(name).exists() for name in names), f"{names} have pidfiles")
    until(lambda: set(real.state(*names).values()) == {"running"}, f"{names} run")
    real.settle()
    return {name: real.pid(name) for name in names}


@contextlib.contextmanager
def listener(real: Real) -> Iterator[socket.socket]:
    """The socket that systemd would give to a service with Type=notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(real.base / "notify"))
        heard.settimeout(20)
        yield heard


# --- signals --------------------------------------------------------------------------------------------


def test_systemd_waits_for_a_stop_that_another_command_does(real: Real) -> None:
    """`stopwait` and `restart` as ExecStop= and ExecReload= say at once that they may take longer."""
    real.start("a").ok()
    real.env["NOTIFY_SOCKET"] = str(real.base / "notify")
    with listener(real) as heard:
        for command in ("restart", "stopwait"):
            real.multi(command, "a").ok()
            assert heard.recv(1000) == b"EXTEND_TIMEOUT_USEC=60000000"


@pytest.mark.parametrize("signum", ALL)
def test_term_and_int_stop_the_nodes_by_their_schedule(real: Real, signum: int) -> None:
    """The nodes get their first signal and the time that they need; exit 0, and nothing is left."""
    touch = f"{real.base}/%n.up"  # only then does it know what TERM means
    begun = begin(real, "a", "b", cmd=real.worker("--finish", "0.4", "--print", "hello", "--touch", touch))
    pids = up(real, "a", "b")
    until(lambda: all((real.base / f"{name}.up").exists() for name in "ab"), "both are set up")
    begun.process.send_signal(signum)
    done = begun.done().ok()
    assert not any(map(alive, pids.values()))
    assert "hello\n" in done.err
    assert "sent TERM to pid" in done.out
    assert "KILL" not in done.out
    assert not list(real.run.glob("*.pid"))


def test_quit_begins_with_quit(real: Real) -> None:
    """QUIT asks for the cold shutdown, as Celery and others know it."""
    begun = begin(real, "a", cmd=real.worker())
    up(real, "a")
    begun.process.send_signal(signal.SIGQUIT)
    done = begun.done().ok()
    assert "sent QUIT to pid" in done.out
    assert "TERM" not in done.out


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_second_signal_kills(real: Real, first: int) -> None:
    """Who is asked twice does not wait for the schedule."""
    deaf = real.worker("--ignore", "TERM", "--ignore", "QUIT", "--child", "session", "--touch", f"{real.base}/%n.up")
    begun = begin(real, "a", f"--ready=file:{real.base}/%n.up", cmd=deaf)
    pids = up(real, "a")
    begun.process.send_signal(first)
    until(lambda: real.state("a") == {"a": "stopping"}, "it is asked to stop")
    begun.process.send_signal(signal.SIGINT)
    done = begun.done()
    assert done.seconds < 80, "TERM has 90"
    assert "KILL" in done.out
    assert not alive(pids["a"])
    assert real.family() == []


def test_hup_reloads(real: Real) -> None:
    """HUP goes on as the reload signal of each node that has one; the others say that they have none."""
    tally = real.base / "tally"
    worker = real.worker("--tally", str(tally), "--touch", f"{real.base}/%n.up")
    begun = begin(real, "a", "b", "--reload-signal:a=USR1", f"--ready=file:{real.base}/%n.up", cmd=worker)
    pids = up(real, "a", "b")
    begun.process.send_signal(signal.SIGHUP)
    until(lambda: tally.exists() and tally.read_text(encoding="ascii"), "the signal arrives")
    assert tally.read_text(encoding="ascii") == f"{pids['a']} USR1\n"
    stays(lambda: real.state("a", "b") == {"a": "running", "b": "running"}, "both run on")
    begun.process.send_signal(signal.SIGTERM)
    until(lambda: "TERM" in tally.read_text(encoding="ascii"), "it is asked to stop")
    begun.process.send_signal(signal.SIGTERM)
    assert "has no reload signal" in begun.done().out


def test_hup_while_it_stops_changes_nothing(real: Real) -> None:
    """A reload that comes too late neither kills nor begins anew."""
    begun = begin(real, "a", cmd=real.worker("--finish", "1", "--touch", f"{real.base}/a.up"))
    up(real, "a")
    until((real.base / "a.up").exists, "it is set up")
    begun.process.send_signal(signal.SIGTERM)
    until(lambda: real.state("a") == {"a": "stopping"}, "it is asked to stop")
    begun.process.send_signal(signal.SIGHUP)
    done = begun.done().ok()
    assert done.out.count("sent ") == 1


def test_a_terminal_that_is_gone_ends_it(real: Real) -> None:
    """Who closes the window wants the nodes to end: HUP is then no reload."""
    words = ["run", f"--pidfile={real.run}/%n.pid", "--preset=exec", f"--logfile={real.log}/%n.log"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(real.base)
        command = [sys.executable, "-m", "multi", *words, "--cmd=sleep 600", "a"]
        os.execve(sys.executable, command, real.env)  # noqa: S606 -- a real process is the point
    pids = up(real, "a")
    os.close(terminal)
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "multi has ended")
    assert not alive(pids["a"])


@pytest.mark.parametrize("signum", ALL)
def test_a_signal_while_it_starts(real: Real, signum: int) -> None:
    """What was started by then is stopped; nothing runs on."""
    begun = begin(real, "a", "b", "--ready=notify", "--ready-timeout=60", cmd=real.worker())
    until(lambda: len(real.processes("a") + real.processes("b")) == 2, "both run")
    begun.process.send_signal(signum)
    done = begun.done().ok()
    assert real.family() == []
    assert "Traceback" not in done.err


# --- who started us -------------------------------------------------------------------------------------


def test_systemd_hears_ready_and_stopping(real: Real) -> None:
    """READY=1 only when every node is ready, STOPPING=1 when the stop begins; nothing of it reaches the nodes."""
    with listener(real) as heard:
        go = real.base / "go"
        code = (
            "import os, socket, time\n"
            f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
            "where = os.environ['NOTIFY_SOCKET']\n"
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', '\\0' + where[1:])\n"
            "time.sleep(600)"
        )
        words = ("a", "b", "--ready=notify")
        begun = begin(real, *words, cmd=real.shell_words(code), NOTIFY_SOCKET=str(real.base / "notify"))
        until(lambda: len(real.processes("a") + real.processes("b")) == 2, "both run")
        assert environ_of(real.processes("a")[0])["NOTIFY_SOCKET"] != str(real.base / "notify")
        heard.settimeout(0.5)
        with pytest.raises(TimeoutError):
            heard.recv(1000)
        heard.settimeout(20)
        go.touch()
        assert heard.recv(1000) == b"READY=1\nSTATUS=2 nodes running"
        begun.process.send_signal(signal.SIGTERM)
        assert heard.recv(1000) == b"STOPPING=1\nSTATUS=stopping the nodes"
        begun.done().ok()


def test_systemd_hears_that_it_reloads(real: Real) -> None:
    """HUP: RELOADING=1 with the time, then READY=1, also where no node has anything to reload; not before it is up."""
    with listener(real) as heard:
        heard.settimeout(20)
        go = real.base / "go"
        begun = begin(real, "a", f"--ready=file:{go}", cmd="sleep 600", NOTIFY_SOCKET=str(real.base / "notify"))
        until(lambda: real.processes("a"), "it starts")
        begun.process.send_signal(signal.SIGHUP)
        stays(lambda: real.processes("a"), "it is left alone", 0.3)
        go.touch()
        assert heard.recv(1000) == b"READY=1\nSTATUS=1 node running"
        asked = time.monotonic()
        begun.process.send_signal(signal.SIGHUP)
        first, second = heard.recv(1000).decode().split("\n")
        name, _, moment = second.partition("=")
        assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
        assert asked * 1e6 <= int(moment) <= time.monotonic() * 1e6
        assert heard.recv(1000) == b"READY=1"
        begun.process.send_signal(signal.SIGTERM)
        begun.done().ok()


def test_systemd_is_asked_to_wait_while_a_schedule_runs(real: Real) -> None:
    """From the stop on, and never before, EXTEND_TIMEOUT_USEC says that it takes longer."""
    with listener(real) as heard:
        heard.settimeout(20)
        worker = real.worker("--finish", "600", "--touch", f"{real.base}/a.up")
        begun = begin(real, "a", cmd=worker, NOTIFY_SOCKET=str(real.base / "notify"))
        assert heard.recv(1000).startswith(b"READY=1")
        until((real.base / "a.up").exists, "it is set up")
        begun.process.send_signal(signal.SIGTERM)
        assert heard.recv(1000).startswith(b"STOPPING=1")
        assert heard.recv(1000) == b"EXTEND_TIMEOUT_USEC=60000000"
        begun.process.send_signal(signal.SIGTERM)
        begun.done()


def test_systemd_does_not_hear_ready_of_a_failed_start(real: Real) -> None:
    """One that fails takes the others with it: exit 1, and never READY=1."""
    with listener(real) as heard:
        begun = begin(
            real, "a", "b", "--startsecs=0.3", "--cmd:b=false", cmd="sleep 600", NOTIFY_SOCKET=str(real.base / "notify")
        )
        done = begun.done().exits(1)
        assert heard.recv(1000).startswith(b"STOPPING=1")
    assert "b@" in done.err
    assert "exited with status 1" in done.err
    assert real.family() == []


def test_a_health_check_names_its_nodes(real: Real) -> None:
    """docs/howto/health-checks.md: `status w1` is 0 if w1 runs, `status` is 3 if the file names more nodes."""
    (real.base / "multi.toml").write_text(
        f"[defaults]\npreset = 'exec'\ncmd = 'sleep 600'\npidfile = '{real.run}/%n.pid'\n[nodes.w1]\n[nodes.w2]\n",
        encoding="utf-8",
    )
    config = f"--multi-config={real.base}/multi.toml"
    begun = real.begin("run", "w1", config, "--startsecs=0")
    up(real, "w1")
    real.raw("status", "w1", config).ok()
    real.raw("status", config).exits(3)
    begun.process.send_signal(signal.SIGTERM)
    begun.done().ok()


class Heartbeats:
    """What systemd would hear of a service with WatchdogSec, apart from all else."""

    def __init__(self, heard: socket.socket) -> None:
        """What is heard was bound by `listener`."""
        self._heard = heard

    def next(self, seconds: float) -> bool:
        """Whether one comes within that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._heard.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if self._heard.recv(1000) == b"WATCHDOG=1":
                    return True
        return False

    def forget(self) -> None:
        """Everything that was said so far."""
        self._heard.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self._heard.recv(1000):
                continue


def test_systemd_s_watchdog_is_answered_as_long_as_the_loop_turns(real: Real) -> None:
    """While nodes start, stay and stop it hears WATCHDOG=1; from a `multi` that hangs nothing; a node hears of none."""
    with listener(real) as heard:
        beats = Heartbeats(heard)
        told = {"NOTIFY_SOCKET": str(real.base / "notify"), "WATCHDOG_USEC": "600000"}
        go = real.base / "go"
        worker = real.worker("--finish", "600", "--touch", f"{real.base}/a.up")
        begun = begin(real, "a", f"--ready=file:{go}", "--env=MINE=1", cmd=worker, **told)
        until(lambda: real.processes("a"), "it starts")
        beats.forget()
        assert all(beats.next(20) for _ in range(3)), "it starts"
        go.touch()
        until(lambda: real.state("a") == {"a": "running"}, "it is ready")
        assert all(beats.next(20) for _ in range(3)), "it runs"
        assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & set(environ_of(real.pid("a")))
        os.kill(begun.process.pid, signal.SIGSTOP)
        until(lambda: status(begun.process.pid)["State"][0] == "T", "it hangs")
        beats.forget()
        assert not beats.next(1.2), "it hangs"
        os.kill(begun.process.pid, signal.SIGCONT)
        until((real.base / "a.up").exists, "it is set up")
        begun.process.send_signal(signal.SIGTERM)
        until(lambda: real.state("a") == {"a": "stopping"}, "it is asked to stop")
        beats.forget()
        assert all(beats.next(20) for _ in range(3)), "it stops"
        begun.process.send_signal(signal.SIGTERM)
        begun.done()


@pytest.mark.parametrize(
    "told", [{"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {}]
)
def test_a_watchdog_that_is_not_ours_is_not_answered(real: Real, told: dict[str, str]) -> None:
    """sd_watchdog_enabled(3): it is another process's, or there is none; then nothing wakes us either."""
    with listener(real) as heard:
        begun = begin(real, "a", cmd="sleep 600", NOTIFY_SOCKET=str(real.base / "notify"), **told)
        up(real, "a")

        def sleeps() -> bool:
            before = status(begun.process.pid)["voluntary_ctxt_switches"]
            beats = Heartbeats(heard).next(0.5)
            return not beats and status(begun.process.pid)["voluntary_ctxt_switches"] == before

        until(sleeps, "it says nothing, and nothing wakes it once it has begun")
        begun.process.send_signal(signal.SIGTERM)
        begun.done().ok()


# --- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("import time, sys; time.sleep(0.8); sys.exit(7)", "it exited with status 7"),
        ("import time; time.sleep(0.8)", "it exited with status 0"),
        ("import os, time; time.sleep(0.8); os.abort()", "it was killed by signal 6 (ABRT)"),
    ],
)
def test_g4_a_node_that_ends_by_itself_ends_the_others(real: Real, end: str, said: str) -> None:
    """It is named with its status, the others are stopped, and exit 1 lets the restart policy try again."""
    begun = begin(
        real, "a", "b", "--rlimit=CORE=0", f"--cmd:b={real.shell_words(end)}", cmd=real.worker("--finish", "0.2")
    )
    done = begun.done().exits(1)
    assert f"failed: {said}" in done.err
    assert real.family() == []
    assert not list(real.run.glob("*.pid"))


def test_g4_the_last_lines_of_a_node_that_ends_by_itself(real: Real) -> None:
    """G4: a node that ends while `run` stays with it is shown with what it printed in this life, and no other."""
    real.logfile("a").parent.mkdir(parents=True, exist_ok=True)
    real.logfile("a").write_text("from yesterday\n")
    words = real.start_words("a", cmd="sh -c 'echo working; sleep 0.3; echo last words; exit 5'", startsecs=0.1)
    done = real.multi("run", *words[1:]).exits(5)
    assert "failed: it exited with status 5" in done.err
    assert "    | working\n    | last words\n" in done.err
    assert "from yesterday" not in done.err
    assert "printed nothing" not in done.err


def test_a_node_that_is_killed_by_hand(real: Real) -> None:
    """The signal that ended it is named; of a single node the exit code says so too."""
    begun = begin(real, "a", cmd="sleep 600")
    os.kill(up(real, "a")["a"], signal.SIGKILL)
    assert "it was killed by signal 9 (KILL)" in begun.done().exits(128 + 9).err


def test_nodes_that_run_already_are_left_alone(real: Real) -> None:
    """They are somebody else's: named, not touched; those that were started here are stopped again; exit 1."""
    real.start("a").ok()
    before = real.pid("a")
    done = begin(real, "a", "b", cmd="sleep 600").done().exits(1)
    assert "already running; 'multi stopwait a@" in done.err
    assert real.pid("a") == before
    assert alive(before)
    assert real.state("a", "b") == {"a": "running", "b": "stopped"}


def test_a_lost_node_is_somebody_else_s_too(real: Real) -> None:
    """One whose pidfile was deleted is given it back, and is not run twice."""
    real.start("a").ok()
    before = real.pid("a")
    real.pidfile("a").unlink()
    done = begin(real, "a", cmd="sleep 600").done().exits(1)
    assert "already running" in done.err
    assert real.pid("a") == before
    assert alive(before)


def test_interrupted_beside_nodes_that_run_already(real: Real) -> None:
    """A signal during the start stops what this command started, and nothing else."""
    real.start("a").ok()
    before = real.pid("a")
    begun = begin(real, "a", "b", "--ready:b=notify", cmd="sleep 600")
    until(lambda: real.processes("b"), "b runs")
    begun.process.send_signal(signal.SIGTERM)
    begun.done().exits(1)
    assert alive(before)
    assert real.processes("b") == []


def test_g3_killed_itself_it_leaves_nothing_in_doubt(real: Real) -> None:
    """After KILL of `run` its nodes live on, are seen, and can be stopped."""
    begun = begin(real, "a", cmd="sleep 600")
    pid = up(real, "a")["a"]
    begun.process.kill()
    begun.process.wait(20)
    assert real.state("a") == {"a": "running"}
    real.multi("stopwait", "a").ok()
    assert not alive(pid)


# --- output ---------------------------------------------------------------------------------------------


def test_output_stays_that_of_run_after_a_restart_from_another_shell(real: Real) -> None:
    """What a node prints goes where `multi run` prints, also when it was restarted twice by another command."""
    worker = real.worker("--print", "hello", "--touch", f"{real.base}/%n.up")
    begun = begin(real, "a", "b", "--logfile:a=/dev/stdout", cmd=worker)
    pids = up(real, "a", "b")
    for _ in range(2):
        for name in ("a", "b"):
            (real.base / f"{name}.up").unlink(missing_ok=True)
        done = real.multi("restart", "a", "b").ok()
        assert "hello" not in done.out + done.err
        until(lambda: all((real.base / f"{name}.up").exists() for name in "ab"), "both are set up")
        again = {name: real.pid(name) for name in ("a", "b")}
        assert not set(pids.values()) & set(again.values())
        pids = again
        ends = {name: descriptors(begun.process.pid)[fd] for name, fd in (("a", 1), ("b", 2))}
        assert {name: descriptors(pids[name])[1] for name in ends} == ends
        assert {name: descriptors(pids[name])[2] for name in ends} == ends
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().ok()
    assert done.out.count("hello\n") >= 1
    assert done.err.count("hello\n") >= 1


def test_output_when_run_is_gone_is_that_of_who_starts(real: Real) -> None:
    """Where no `multi run` lives, or its pid is another process's, a standard stream is that of the command at hand."""
    worker = real.worker("--print", "hello", "--touch", f"{real.base}/%n.up")
    begun = begin(real, "a", cmd=worker)
    up(real, "a")
    begun.process.kill()
    begun.process.wait(20)
    record = real.run / "a.json"
    text = record.read_text(encoding="ascii")
    stranger = real.popen("sleep", "600")
    assert f'"runner_pid": {begun.process.pid},' in text
    record.write_text(text.replace(f'"runner_pid": {begun.process.pid},', f'"runner_pid": {stranger.pid},'))
    restart = real.begin("restart", "a", f"--pidfile={real.run}/%n.pid")
    until(lambda: restart.process.poll() is not None, "it is restarted")
    assert descriptors(real.pid("a"))[2] != descriptors(stranger.pid)[2]
    real.multi("stopwait", "a").ok()
    assert "hello\n" in restart.done().ok().err


def test_output_to_a_plain_file_that_others_would_write_over(real: Real) -> None:
    """Without O_APPEND each writer has its own place in a file, so it is not opened a second time; with it, it is."""
    worker = real.worker("--touch", f"{real.base}/%n.up")
    for flags, same in ((os.O_APPEND, True), (0, False)):
        (real.base / "a.up").unlink(missing_ok=True)
        fd = os.open(real.base / "output", os.O_WRONLY | os.O_CREAT | flags, 0o600)
        words = ["run", "a", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0", f"--cmd={worker}"]
        process = real.popen(sys.executable, "-m", "multi", *words, output=fd)
        os.close(fd)
        up(real, "a")
        restart = real.begin("restart", "a", f"--pidfile={real.run}/%n.pid")
        until(lambda restart=restart: restart.process.poll() is not None, "it is restarted")  # type: ignore[misc] # a lambda that keeps this turn's value
        assert (descriptors(real.pid("a"))[2] == str(real.base / "output")) == same
        real.settle()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        restart.done().ok()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize(("who", "same"), [((), True), (("--uid=nobody",), False)])
def test_g8_a_record_opens_nothing_that_the_node_s_user_may_not(real: Real, who: tuple[str, ...], same: bool) -> None:
    """G8: what the record names as the output is opened as the node's user: root's is for nodes of root's alone."""
    secret = real.base / "secret"
    fd = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    roots = real.popen("sleep", "600", output=fd)
    os.close(fd)
    words = ("a", f"--pidfile={real.run}/%n.pid", *who)
    begun = real.begin("start", *words, "--preset=exec", "--cmd=sleep 600", "--startsecs=0", "--logfile=/dev/stderr")
    until(lambda: begun.process.poll() is not None, "it is started")
    record = real.run / "a.json"
    start_id = Processes(procfs=True).start_id(roots.pid)
    text = record.read_text(encoding="ascii")
    for key, value in (("runner_pid", roots.pid), ("runner_start_id", f'"{start_id}"')):
        assert f'"{key}": null' in text
        text = text.replace(f'"{key}": null', f'"{key}": {value}')
    record.write_text(text, encoding="ascii")
    again = real.begin("restart", *words)
    until(lambda: again.process.poll() is not None, "it is restarted")
    assert (descriptors(real.pid("a"))[2] == str(secret)) == same
    real.multi("stopwait", *words).ok()
    begun.done().ok()
    again.done().ok()


# --- another shell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill"])
def test_a_node_may_be_stopped_from_another_shell(real: Real, command: str) -> None:
    """The others run on; when the last one is stopped, `run` ends with 0."""
    begun = begin(real, "a", "b", cmd=real.worker("--finish", "0.2"))
    up(real, "a", "b")
    real.multi(command, "a").ok()
    until(lambda: not real.processes("a"), "a is gone")
    stays(lambda: begun.process.poll() is None and real.processes("b"), "the other runs on", 0.6)
    real.multi(command, "b").ok()
    begun.done().ok()


def test_a_node_may_be_restarted_from_another_shell(real: Real) -> None:
    """`run` goes on with the new process: stays while it lives, ends it when told, and notices its death."""
    begun = begin(real, "a", "b", f"--logfile={real.log}/%n.log", cmd=real.worker("--finish", "0.2"))
    old = up(real, "a", "b")
    for _ in range(2):
        real.multi("restart", "a").ok()
        stays(lambda: begun.process.poll() is None, "it stays", 0.4)
    new = real.pid("a")
    assert new != old["a"]
    assert alive(old["b"])
    os.kill(new, signal.SIGKILL)
    done = begun.done().exits(1)
    assert "a@" in done.err
    assert "failed" in done.err
    assert real.family() == []


def test_a_restart_that_fails_in_another_shell_is_no_silent_death(real: Real) -> None:
    """The node is down and nobody stopped it on purpose: `run` says why, stops the others, exits 1."""
    release = real.base / "release"
    release.write_text("good", encoding="ascii")
    code = f"import sys, time; open({str(release)!r}).read() == 'good' or sys.exit(5); time.sleep(600)"
    begun = begin(real, "a", "b", f"--logfile={real.log}/%n.log", "--startsecs=0.2", cmd=real.shell_words(code))
    up(real, "a", "b")
    release.write_text("bad", encoding="ascii")
    real.multi("restart", "a").exits(1)
    done = begun.done().exits(1)
    assert "it exited with status 5" in done.err
    assert real.family() == []


def test_g3_a_restart_that_is_cut_off_is_finished_by_run(real: Real) -> None:
    """Another shell's `restart` is killed between the stop and the start: `run` starts the node again."""
    begun = begin(real, "a", f"--logfile={real.log}/%n.log", cmd=real.worker("--finish", "1"))
    old = up(real, "a")["a"]
    other = real.begin("restart", f"--pidfile={real.run}/%n.pid", "a")
    until(lambda: real.record("a")["signalled"], "it is asked to stop")
    other.process.kill()
    other.process.wait(20)
    until(lambda: not alive(old), "the old one has ended")
    new = up(real, "a")["a"]
    assert new != old
    stays(lambda: begun.process.poll() is None, "it stays", 0.5)
    begun.process.send_signal(signal.SIGTERM)
    begun.done().ok()
    assert real.family() == []


@pytest.mark.root
def test_files_that_cannot_be_believed_are_no_stop(real: Real) -> None:
    """G4: where nobody can tell whether the node was stopped or restarted, it says so, exit 1."""
    begun = begin(real, "a", cmd=real.worker("--ignore", "TERM"))
    (pid,) = up(real, "a").values()
    slow = real.begin("restart", f"--pidfile={real.run}/%n.pid", "a", "--stop-schedule=TERM/60/KILL/5")
    until(lambda: real.state("a") == {"a": "stopping"}, "the restart is under way")
    real.pidfile("a").chmod(0o666)
    slow.process.kill()
    slow.done()
    os.kill(pid, signal.SIGKILL)
    assert f"{real.pidfile('a')} can be written by others (mode 0666)" in begun.done().exits(1).err


def test_a_pidfile_that_vanishes_does_not_end_it(real: Real) -> None:
    """Lost files are no death; the node is still stopped in the end."""
    begun = begin(real, "a", cmd="sleep 600")
    pid = up(real, "a")["a"]
    real.pidfile("a").unlink()
    stays(lambda: begun.process.poll() is None and alive(pid), "both stay", 0.5)
    begun.process.send_signal(signal.SIGTERM)
    begun.done().ok()
    assert not alive(pid)


# --- as PID 1 ------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_as_pid_1_it_reaps_orphans(real: Real) -> None:
    """In a container: children that nobody waits for do not stay as zombies, and TERM ends all of it."""
    worker = real.worker("--finish", "0.1")
    orphans = (
        "import os, time\nfor _ in range(20):\n if not os.fork():\n  os.fork() or time.sleep(0.1)\n  os._exit(0)\n"
    )
    code = orphans + " os.wait()\nopen('made', 'w')\ntime.sleep(600)"
    inner = [
        sys.executable, "-m", "multi", "run", f"--pidfile={real.run}/%n.pid", "--preset=exec", "--startsecs=0",
        f"--cmd={worker}", f"--cmd:b={real.shell_words(code)}", "a", "b",
    ]  # fmt: skip
    process = real.popen("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inner)
    first = until(lambda: _first_of(process.pid), "PID 1 runs")
    until((real.base / "made").exists, "the orphans are made")
    until(lambda: not _zombies(first), "the orphans are reaped")
    os.kill(first, signal.SIGTERM)
    assert process.wait(20) == 0
    assert real.family() == []


def _children(parent: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]
    except OSError:
        return []


def _first_of(parent: int) -> int | None:
    """The child of `unshare`, which is PID 1 of its namespace."""
    return next(iter(_children(parent)), None)


def _zombies(parent: int) -> list[int]:
    return [pid for pid in _children(parent) if (found := stat(pid)) is not None and found.state == "Z"]


# --- words ------------------------------------------------------------------------------------------------


def test_c_fakefork_runs_in_the_foreground(real: Real) -> None:
    """Celery's word for "do not detach, I want to see it" means `run`."""
    begun = real.begin(
        "start", f"--pidfile={real.run}/%n.pid", "--preset=exec", f"--cmd={real.worker('--print', 'here')}", "a",
        env={"C_FAKEFORK": "1"},
    )  # fmt: skip
    up(real, "a")
    begun.process.send_signal(signal.SIGINT)
    assert "here\n" in begun.done().ok().err


def test_output_goes_where_it_is_told(real: Real) -> None:
    """With ``--logfile`` there is a file, without it our own standard error."""
    begun = begin(real, "a", "b", f"--logfile:a={real.log}/a.log", cmd=real.worker("--print", "%n speaks"))
    up(real, "a", "b")
    until(lambda: real.logfile("a").read_bytes() == b"a speaks\n", "a has its log")
    begun.process.send_signal(signal.SIGTERM)
    done = begun.done().ok()
    assert "b speaks\n" in done.err
    assert "a speaks" not in done.err


def test_g9_no_nodes(real: Real) -> None:
    """Nothing named: a usage error, nothing started."""
    done = real.raw("run", "--preset=exec", f"--cmd={shlex.quote('sleep 600')}")
    assert "no nodes" in done.exits(2).err
