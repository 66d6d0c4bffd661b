"""G1 Never the wrong process: a signal goes only to a process whose identity was proved."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bystander import bystander, end, reaping
from fault import limited
from multi.model.process import Proc, ProcessTable
from multi.system import System
from private_machine import BIN, CHECKOUT, USER, USER_ID, Host, machine, need
from private_machine import Done as HostDone
from real import COMMAND_PATIENCE, PATIENCE, Done, Real, alive, environ_of, pids, stat, until, words_of

ACTING = ("stop", "stopwait", "kill", "restart", "signal", "start")
EXITS = {0, 1, 2, 3, 4, 75, 77}
SCHEDULE = "--stop-schedule=TERM/0.3/KILL/2"
LAST_PID = 1 << 22  # the highest that Linux gives, proc_sys_kernel(5)


@pytest.fixture(params=["pidfd", "portable"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to hold a process: the kernel's, and the one for where it has none."""
    defaults = System.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(System.__init__, "__kwdefaults__", {**defaults, "pidfd": request.param == "pidfd"})
    return str(request.param)


@pytest.fixture
def reaped() -> Iterator[None]:
    """Pids are free at once when their process ends."""
    with reaping():
        yield


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Let something happen right after the first look of a command, before what it decides of it."""
    seen: list[Callable[[], None]] = []
    sketch, reaching = System.sketch, System.reaching

    def outline(system: System) -> ProcessTable:
        processes = sketch(system)
        while seen and processes.since == 0:
            seen.pop()()
        return processes

    def look(system: System, processes: ProcessTable, proc: Proc | None) -> ProcessTable:
        processes = reaching(system, processes, proc)
        while seen:
            seen.pop()()
        return processes

    monkeypatch.setattr(System, "sketch", outline)
    monkeypatch.setattr(System, "reaching", look)
    yield seen.append
    assert not seen, "nobody looked"


def act(real: Real, command: str, *words: str) -> Done:
    """One command on the node ``a``, within this process; it must not take long, and never show a traceback."""
    began = time.monotonic()
    if command == "start":
        done = real.inside_raw(*real.start_words("a", *words))
    else:
        leading = ("-USR1",) if command == "signal" else ()
        done = real.inside(command, *leading, "a", *(() if command in {"status", "signal"} else (SCHEDULE,)), *words)
    assert done.code in EXITS, done
    assert "Traceback" not in done.err, done
    assert time.monotonic() - began < COMMAND_PATIENCE, done
    return done


# --- recycled pids ----------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.usefixtures("path", "reaped")
@pytest.mark.parametrize("command", ACTING)
def test_g1_recycled_pid(real: Real, command: str) -> None:
    """The pid of pidfile and record belongs to another process by now: no command sends that one anything."""
    real.inside_raw(*real.start_words("a")).ok()
    pid = real.pid("a")
    end(pid)
    with bystander(real.base, pid=pid) as other:
        assert real.state("a") == {"a": "dead"}
        done = act(real, command)
        other.untouched()
        assert done.code == (1 if command == "signal" else 0), done
        if command in {"start", "restart"}:
            assert real.pid("a") != pid
            assert real.processes("a") == [real.pid("a")]
        elif command != "signal":
            assert not real.pidfile("a").exists()
    real.inside("kill", "a")


@pytest.mark.root
@pytest.mark.usefixtures("path", "reaped")
@pytest.mark.parametrize("command", ["stop", "stopwait", "kill", "restart", "signal"])
def test_g1_recycled_between_look_and_signal(
    real: Real, command: str, one_look: Callable[[Callable[[], None]], None]
) -> None:
    """A pid that is recycled after the look and before the signal is not hit: the identity is proved at the signal."""
    real.inside_raw(*real.start_words("a")).ok()
    pid = real.pid("a")
    others = []

    def swap() -> None:
        end(pid)
        context = bystander(real.base, pid=pid)
        others.append((context, context.__enter__()))

    one_look(swap)
    try:
        act(real, command)
        ((_, other),) = others
        other.untouched()
    finally:
        for context, _ in others:
            context.__exit__(None, None, None)
    real.inside("kill", "a")


@pytest.mark.root
@pytest.mark.usefixtures("reaped")
def test_g1_a_held_identity_survives_recycling(real: Real, path: str) -> None:
    """A `Proc` stands for one process for ever: signals to it, and the wait for its end, know that it is gone."""
    worker = real.own_worker()
    with System(pidfd=path == "pidfd") as system:
        proc = system.processes().by_pid[worker.pid].proc
        system.watch("watched", proc)
        worker.kill()
        worker.wait()
        with bystander(real.base, pid=proc.pid) as other:
            for signum in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
                assert system.signal(proc, signum) == "gone"
            assert [type(one).__name__ for one in system.wait(system.now() + 5)] == ["Ended"]
            assert system.signal(proc, signal.SIGKILL) == "gone"
            other.untouched()


@pytest.mark.root
@pytest.mark.parametrize("command", ACTING)
def test_g1_recycled_pid_of_a_foreign_pidfile(real: Real, command: str) -> None:
    """A pidfile of another tool, older than the process that has its pid now, is no reason to touch that process."""
    first = real.popen("sleep", "600")
    real.run.mkdir()
    real.pidfile("a").write_text(f"{first.pid}\n", encoding="ascii")
    os.utime(real.pidfile("a"), (time.time() - 60,) * 2)
    first.kill()
    first.wait()
    with bystander(real.base, pid=first.pid) as other:
        assert real.state("a", "--preset=exec", "--cmd=sleep 600") == {"a": "dead"}
        act(real, command, *(() if command == "start" else ("--preset=exec", "--cmd=sleep 600")))
        other.untouched()
    real.inside("kill", "a")


@pytest.mark.usefixtures("reaped")
def test_g1_another_boot(real: Real) -> None:
    """Start ticks mean nothing without the boot they were counted in: after a reboot every record is of the dead."""
    real.inside_raw(*real.start_words("a")).ok()
    pid, record = real.pid("a"), real.record("a")
    boot, _, ticks = str(record["start_id"]).partition(":")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert int(ticks) == getattr(stat(pid), "start_id", None)
    other = real.own_worker()
    born = getattr(stat(other.pid), "start_id", None)
    record |= {"pid": other.pid, "start_id": f"00000000-0000-0000-0000-000000000000:{born}", "token": "f" * 32}
    real.recordfile("a").write_text(json.dumps(record), encoding="utf-8")
    real.pidfile("a").write_text(f"{other.pid}\n", encoding="ascii")
    end(pid)
    assert real.state("a") == {"a": "dead"}
    act(real, "kill")
    assert other.poll() is None


# --- other namespaces -------------------------------------------------------------------------------


PIDS_TOO = ("--pid", "--fork", "--kill-child", "--mount-proc")


def in_a_container(real: Real, enter: str, namespaces: tuple[str, ...] = PIDS_TOO) -> int:
    """Run the node ``a`` as a container would, in namespaces of its own; its pid out here. `enter` is done before."""
    real.run.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "multi", "run", *real.start_words("a")[1:]]
    real.popen("unshare", "--mount", *namespaces, "sh", "-euc", f'{enter}\nexec "$@"', "sh", *words)

    def main() -> int | None:
        found = (pid for pid in pids() if environ_of(pid).get("MULTI_INSTANCE_PIDFILE") == str(real.pidfile("a")))
        return next((pid for pid in found if words_of(pid) == ["sleep", "600"]), None)

    return until(main, "it runs")


@pytest.mark.root
@pytest.mark.parametrize("namespaces", [PIDS_TOO, ()], ids=["mounts and pids", "mounts"])
@pytest.mark.parametrize("command", ["start", "stopwait", "kill", "restart"])
def test_g1_a_container_with_the_same_paths(real: Real, command: str, namespaces: tuple[str, ...]) -> None:
    """A node in a container whose pidfile has the same path is another node: nothing is done to it from outside."""
    inside = in_a_container(real, f"mount -t tmpfs container {real.run}", namespaces)
    assert real.state(*real.start_words("a")[1:]) == {"a": "stopped"}
    if command == "start":
        real.inside_raw(*real.start_words("a")).ok()
        assert real.pid("a") != inside
        real.inside("kill", "a").ok()
    else:
        act(real, command, *real.start_words("a")[1:])
    assert alive(inside)


@pytest.mark.root
@pytest.mark.parametrize("command", [*ACTING, "status"])
def test_g1_a_container_with_the_same_run_directory(real: Real, command: str) -> None:
    """Its pids mean nothing out here: a node that runs there is refused, not killed and not started once more (G2)."""
    inside = in_a_container(real, ":")
    before = real.pidfile("a").read_bytes()
    words = ("-USR1", *real.start_words("a")[1:]) if command == "signal" else real.start_words("a")[1:]
    done = real.begin(command, *words).done().exits(4 if command == "status" else 1)
    assert f"pid {inside} says that it is a@" in done.out + done.err
    assert "in another PID namespace, as of a container" in done.out + done.err
    assert alive(inside)
    assert real.pidfile("a").read_bytes() == before


@pytest.mark.root
def test_g1_children_are_born_into_another_pid_namespace(real: Real) -> None:
    """There, a node says a pid that out here is some other process: it is not started, and nothing is on record."""
    done = subprocess.run(
        ["unshare", "--pid", sys.executable, "-m", "multi", *real.start_words("a", "b")],
        env=real.env,
        cwd=real.base,
        capture_output=True,
        text=True,
        timeout=COMMAND_PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    for name in ("a", "b"):
        assert (
            f"{name}@{os.uname().nodename}: failed: processes that multi starts would be in another pid namespace "
            "than multi is; give --fork to 'unshare --pid', and no --no-fork to nsenter\n"
        ) in done.stderr
        assert not real.pidfile(name).exists()
        assert not real.pidfile(name).with_suffix(".json").exists()


# --- pidfiles of other tools ------------------------------------------------------------------------


def test_g1_foreign_pidfile_of_the_node(real: Real) -> None:
    """A pidfile without a record is believed when process, owner and command fit, as celery multi leaves it."""
    worker = real.popen("sleep", "600")
    real.run.mkdir()
    real.pidfile("a").write_text(f"{worker.pid}\n", encoding="ascii")
    words = ("--preset=exec", "--cmd=sleep 600")
    assert real.state("a", *words) == {"a": "running"}
    assert "already running" in real.inside_raw(*real.start_words("a")).ok().out
    act(real, "stopwait", *words).ok()
    assert worker.wait(PATIENCE) == -signal.SIGTERM
    assert not real.pidfile("a").exists()


@pytest.mark.parametrize("command", [*ACTING, "status"])
def test_g1_foreign_pidfile_of_a_stranger(real: Real, command: str) -> None:
    """A pidfile that names a process of ours which is not the node is refused, and says what the process is."""
    with bystander(real.base) as other:
        real.run.mkdir()
        real.pidfile("a").write_text(f"{other.pid}\n", encoding="ascii")
        words = () if command == "start" else ("--preset=exec", "--cmd=sleep 600")
        done = act(real, command, *words)
        assert done.code == (4 if command == "status" else 1), done
        assert "does not look like a@" in done.out + done.err
        assert real.pid("a") == other.pid
        other.untouched()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A machine with two more users."""
    need("unshare", "nsenter", "setpriv")
    with machine() as made:
        yield made


def multi(host: Host, *words: str, user: str | None = USER) -> HostDone:
    """Run a command inside, by default as the user who runs workers."""
    python = str(BIN / "python")
    return host.run(python, "-m", "multi", *words, user=user, env={"PYTHONPATH": str(CHECKOUT), "C_FORCE_ROOT": "1"})


def on_a(command: str, *words: str) -> tuple[str, ...]:
    """The words of a command on the node ``a`` inside."""
    leading = ("-USR1",) if command == "signal" else ()
    return (command, *leading, "a", "--pidfile=/run/w/%n.pid", "--logfile=/run/w/%n.log", *words)


@pytest.mark.root
@pytest.mark.parametrize("command", [*ACTING, "status"])
def test_g1_eperm_is_alive_and_not_ours(host: Host, command: str) -> None:
    """An unprivileged user's pidfile that names root's process: refused, the pidfile stays, nothing is started."""
    host.shell(f"rm -rf /run/w; mkdir /run/w; chown {USER} /run/w").ok()
    seconds = str(7000 + [*ACTING, "status"].index(command))  # which tells it from what another test has left dying
    with host.begin("sleep", seconds):
        pid = int(until(lambda: host.run("pgrep", "-f", "-x", f"sleep {seconds}").out, "it sleeps"))
        host.write("/run/w/a.pid", f"{pid}\n", owner=USER_ID)
        done = multi(host, *on_a(command, "--preset=exec", "--cmd=sleep 610"))
        assert done.code == (4 if command == "status" else 1), done
        assert f"pid {pid} runs as uid 0" in done.out + done.err or f"names pid {pid}" in done.out + done.err, done
        assert "Traceback" not in done.err
        assert host.pid("/run/w/a.pid") == pid
        assert host.alive(pid)
        assert host.processes() == []


@pytest.mark.root
def test_g1_denied(host: Host) -> None:
    """A node that root started is not another user's to end: it says so in one line, and the node runs on."""
    host.shell("rm -rf /run/w").ok()
    multi(host, *on_a("start", "--preset=exec", "--cmd=sleep 620", "--startsecs=0"), user=None).ok()
    pid = host.pid("/run/w/a.pid")
    for command in ("stop", "stopwait", "kill", "restart", "signal"):
        done = multi(host, *on_a(command))
        assert done.code in {1, 77}, done
        assert "Traceback" not in done.err
        assert len(done.err.splitlines()) == 1, done
    assert host.pid("/run/w/a.pid") == pid
    assert host.alive(pid)
    multi(host, *on_a("kill"), user=None).ok()


_NOT_DUMPABLE = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); open('up', 'w'); time.sleep(600)"


@pytest.mark.root
@pytest.mark.parametrize("hidepid", [1, 2])
def test_g2_a_process_that_proc_hides_from_its_own_user(hidepid: int) -> None:
    """G1, G2: with hidepid a program that forbids to be looked at is not taken for gone: nothing is started or lost."""
    need("unshare", "nsenter", "setpriv")
    with machine() as host:
        host.shell(f"mount -o remount,hidepid={hidepid} /proc; mkdir /run/w; chown {USER} /run/w").ok()
        words = (
            "--preset=exec",
            "--startsecs=0",
            "--workdir=/run/w",
            f'--cmd=/usr/bin/env python3 -c "{_NOT_DUMPABLE}"',
        )
        multi(host, *on_a("start", *words)).ok()
        until(lambda: host.exists("/run/w/up"), "it may not be looked at")
        pid = host.pid("/run/w/a.pid")
        for command in ("start", "ensure", "stopwait", "restart", "status"):
            done = multi(host, *on_a(command, *(words if command == "start" else ())))
            assert done.code == (4 if command == "status" else 1), done
            why = f"/run/w/a.json names pid {pid}, which runs but may not be looked at by this user; run multi as root"
            assert why in done.out + done.err
        assert host.pid("/run/w/a.pid") == pid
        assert host.alive(pid)
        multi(host, *on_a("stopwait", f"--uid={USER}"), user=None).ok()
        assert not host.alive(pid)


# --- hostile contents ---------------------------------------------------------------------------------

CONTENTS = {
    "empty": b"",
    "newline": b"\n",
    "blanks": b"  \t\n",
    "minus one": b"-1\n",
    "zero": b"0\n",
    "one": b"1\n",
    "kthreadd": b"2\n",
    "twenty digits": b"12345678901234567890\n",
    "ten digits": b"9999999999\n",
    "beyond a signed int": b"2147483648\n",
    "no newline": b"%d",
    "us": b"%d\n",
    "us plus 2**32": b"%d\n",
    "hexadecimal": b"0x1\n",
    "two lines": b"1\n1\n",
    "words": b"not a pid\n",
    "plus": b"+1\n",
    "other digits": "\u0661\u0662\u0663\n".encode(),
    "nul": b"\0\0\0\0\n",
    "nul after": b"1\0\n",
    "10 MB": b"1" * 10_000_000 + b"\n",
}


@pytest.mark.usefixtures("reaped")
@pytest.mark.parametrize("content", CONTENTS)
def test_g1_hostile_pidfile(real: Real, content: str) -> None:
    """No content of a pidfile leads to a signal, a hang or a traceback; where it names nothing, it stays to be seen."""
    data = CONTENTS[content]
    if b"%d" in data:
        data %= os.getpid() + ((1 << 32) if "2**32" in content else 0)
    real.run.mkdir()
    heard: list[int] = []
    before = {signum: signal.signal(signum, lambda number, _: heard.append(number)) for signum in (15, 10, 1)}
    try:
        for command in ("status", *ACTING):
            real.pidfile("a").write_bytes(data)
            act(real, command, *(() if command == "start" else ("--preset=exec", "--cmd=sleep 600")))
            for name in real.processes("a"):
                end(name)
            real.recordfile("a").unlink(missing_ok=True)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    assert heard == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket", "link", "dangling", "device", "second name"])
@pytest.mark.parametrize("which", ["pid", "json", "lock"])
def test_g1_what_is_no_file(real: Real, which: str, kind: str) -> None:
    """A pidfile, record or lock that is no plain file of its own is refused with its kind, at once, and left alone."""
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("needs root: it makes a device")
    real.run.mkdir()
    target = real.base / "target"
    target.write_text("1\n", encoding="ascii")
    path = real.run / f"a.{which}"
    listener = socket.socket(socket.AF_UNIX)
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            listener.bind(str(path))
        case "link":
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(real.base / "nowhere")
        case "device":
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
        case _:
            path.hardlink_to(target)
    for command in (*ACTING, "status"):
        done = act(real, command, *(() if command == "start" else ("--preset=exec", "--cmd=sleep 600")))
        if (which, command) != ("lock", "status"):  # looking takes no lock
            assert done.code == (4 if command == "status" else 77 if done.code == 77 else 1), done
            assert str(path) in done.out + done.err
        assert "remove" not in done.err or (which, kind) != ("pid", "device"), "it may be /dev/null"
    listener.close()
    assert target.read_text(encoding="ascii") == "1\n"
    assert os.path.lexists(path)
    assert not (real.base / "nowhere").exists()
    assert real.processes("a") == []
    (path.rmdir if kind == "directory" else path.unlink)()


def test_g1_a_pidfile_that_cannot_be_opened_now_is_not_to_be_removed(real: Real) -> None:
    """Without a descriptor nothing is known of a node: the hint says how to get one, and not to remove its files."""
    import resource

    real.start("a").ok()
    codes: list[int] = []
    while 0 not in codes:
        ended = limited(real.env, resource.RLIMIT_NOFILE, 6 + len(codes), *real.start_words("a"))
        codes.append(ended.code)
        assert "remove it" not in ended.err, ended
    assert 1 < len(codes) < 40


@pytest.mark.parametrize("kind", ["dangling", "fifo"])
def test_g1_a_lock_that_is_no_file_has_a_remedy(real: Real, kind: str) -> None:
    """It is refused in the same words and with the same code, whatever it is."""
    real.run.mkdir()
    path = real.run / "a.lock"
    path.symlink_to("nowhere") if kind == "dangling" else os.mkfifo(path)
    done = real.start("a").exits(77)
    assert done.err.endswith("; look at it, and remove it\n")


@pytest.mark.root
def test_g1_unreadable_files(host: Host) -> None:
    """What may not be read is not taken for what is not there."""
    host.shell(f"rm -rf /run/w; mkdir /run/w; chown {USER} /run/w").ok()
    for which in ("pid", "json"):
        host.write(f"/run/w/a.{which}", "1\n", mode=0o200)
        done = multi(host, *on_a("start", "--preset=exec", "--cmd=sleep 630")).exits(1)
        assert f"/run/w/a.{which} cannot be read: Permission denied" in done.err
        assert host.processes() == []
        host.path(f"/run/w/a.{which}").unlink()


def test_g1_a_thread_is_no_process(real: Real) -> None:
    """A stale pidfile whose number a thread got is of a dead process: kill(2) would know the number."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        tid = thread.native_id
        assert tid is not None
        os.kill(tid, 0)
        real.run.mkdir()
        real.pidfile("a").write_text(f"{tid}\n", encoding="ascii")
        assert real.state("a") == {"a": "dead"}
        act(real, "start").ok()
        assert real.processes("a") == [real.pid("a")]
    finally:
        stop.set()
        thread.join()


def _garbled(rng: random.Random, value: object) -> object:
    """The same JSON with one thing in it replaced by something that has no business there."""
    odd: list[object] = [
        None, True, -1, 0, 1, 2**31, 2**63, 10**40, 1.5, 1e308, "", "\0", "\ud800", "/", "..", "x" * 5000, [], {},
        [[]], {"": ""}, [1, "a", None], os.getpid(), LAST_PID, "TERM/forever", "notify", "USR1",
    ]  # fmt: skip
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _garbled(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], _garbled(rng, value[at]), *value[at + 1 :]]
    return rng.choice(odd)


def _broken(rng: random.Random, data: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            at = rng.randrange(len(data))
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 2:
            return data + data
        case 3:
            return b"[" * 100_000
        case 4:
            return rng.randbytes(rng.randrange(1, 3000))
        case _:
            return data.replace(b":", b":" + b" " * 2_000_000, 1)


@pytest.mark.usefixtures("reaped")
@pytest.mark.parametrize("seed", range(6))
def test_g1_hostile_record(real: Real, seed: int) -> None:
    """Whatever a record holds, no command hangs, shows a traceback, or touches a process that is not the node's."""
    rng = random.Random(seed)
    real.inside_raw(*real.start_words("a")).ok()
    sound = real.record("a")
    end(real.pid("a"))
    with bystander(real.base) as other:
        for _ in range(25):
            garbled: object = {**sound, "pid": rng.choice([other.pid, sound["pid"]])}
            for _ in range(rng.randrange(1, 4)):
                garbled = _garbled(rng, garbled)
            data = json.dumps(garbled).encode()
            if rng.random() < 0.3:
                data = _broken(rng, data)
            real.recordfile("a").write_bytes(data)
            if rng.random() < 0.5:
                real.pidfile("a").write_text(f"{other.pid}\n", encoding="ascii")
            else:
                real.pidfile("a").unlink(missing_ok=True)
            command = rng.choice(["status", "stop", "stopwait", "kill", "signal", "status"])
            act(real, command)
            real.inside("status", "--json")
            other.untouched()


@pytest.mark.usefixtures("reaped")
def test_g1_a_record_names_no_more_than_its_place(real: Real) -> None:
    """A sound record that was copied to another node's place makes nothing happen to either node."""
    real.inside_raw(*real.start_words("a", "b")).ok()
    pids = real.pid("a"), real.pid("b")
    end(pids[1])
    real.recordfile("b").write_bytes(real.recordfile("a").read_bytes())
    real.pidfile("b").write_bytes(real.pidfile("a").read_bytes())
    for command in ("stop", "stopwait", "kill"):
        done = real.inside(command, "b", SCHEDULE, "--preset=exec", "--cmd=sleep 700")
        assert done.code in {0, 1}, done
    assert alive(pids[0])
    assert real.state("a") == {"a": "running"}
    real.inside("kill", "a").ok()


def test_g1_init_and_ourselves_are_never_signalled() -> None:
    """Pids up to 1 and our own are refused at the door itself, whoever asks."""
    with System() as system:
        me = system.processes().by_pid[os.getpid()].proc
        for proc in (me, Proc(1, "x"), Proc(0, "x"), Proc(-1, "x"), Proc(-os.getpid(), "x")):
            assert system.signal(proc, signal.SIGKILL) == "denied"
