"""Real processes for tests: a private place, tiny workers, and an account of every process at the end.

    def test_it(real: Real) -> None:
        real.start("a", "b", cmd=real.worker("--ignore", "TERM")).ok()
        pid = real.pid("a")
        real.multi("stopwait", "a", "--stop-schedule=TERM/0.2/KILL/5").ok()
        until(lambda: not alive(pid), "a is gone")

`Real` gives a directory of its own (readable by every user, see `Real.base`), an environment without any setting of
the machine, and ways to run `multi`: `Real.multi` as a process of its own, `Real.inside` within this one (faster, and
coverage and debuggers see it), `Real.begin` in the background. All of them add ``--pidfile`` so that every file lies
below `Real.run`; `Real.start` adds the rest of what a bare ``start`` needs.

A command that starts nodes is done for `Real.raw`, `Real.multi`, `Real.start` and `Real.inside` when those of them that
are tiny workers are set up: Python takes a while until it hears a signal, and a test that sends one before that tests
nothing. `Real.begin` does not wait; `Real.settle` does so for it.

At the end of a test each process that came of it is found by a mark in its environment or words, and KILLed. Nodes that
are on record, and their children, may be left for that. Anything else that is still there is an orphan or a part of
`multi`, and fails the test, unless the test said `Real.expect_left`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from unittest import mock

from commands import Command

PATIENCE = 60.0  # seconds that a condition may take on a busy machine; a deadline, never a wait
COMMAND_PATIENCE = 180.0  # seconds that one command may take
WORKER = str(Path(__file__).with_name("worker_child.py"))
NOBODY = 65534
_MARK = "MULTI_TEST_MARK"
_EXEC_SECONDS = 0.3  # that execve(2) of a test's program takes at most
_UP = "MULTI_TEST_UP"
STARTING = frozenset({"start", "restart", "ensure", "apply", "stop_verify"})
CLEARED = ("MULTI_", "CELERY", "C_FORCE", "XDG_", "NOTIFY_", "NO_COLOR", "HOSTNAME")
T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """Poll until `condition` is true, and return what it returned. Fails, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)


def stays(condition: Callable[[], object], what: str, seconds: float = 0.3) -> None:
    """Fail, naming `what`, when `condition` is not true, or does not stay so for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay so for {seconds:g} s: {what}"
        time.sleep(0.02)


# --- what /proc says, independent of the program under test ---------------------------------------


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat (proc_pid_stat(5)) that tests ask for."""

    pid: int
    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int
    start_id: int


def stat(pid: int) -> Stat | None:
    """What the kernel says of a process; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    ppid, pgrp, session, tty = map(int, fields[1:5])
    return Stat(pid, fields[0], ppid, pgrp, session, tty, int(fields[19]))


def standing(pid: int) -> Stat | None:
    """What the kernel says of a process, but for whether it runs or sleeps at this moment, which proves no touch."""
    found = stat(pid)
    return replace(found, state="S") if found is not None and found.state in "RD" else found


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status as a mapping (proc_pid_status(5)); empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def descriptors(pid: int) -> dict[int, str]:
    """Number and target of each open descriptor."""
    found: dict[int, str] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def words_of(pid: int) -> list[str]:
    """The words of a process; none when it is gone or a zombie."""
    raw = _slurp(f"/proc/{pid}/cmdline")
    return [os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0")] if raw else []


def environ_of(pid: int) -> dict[str, str]:
    """The environment a process was executed with."""
    raw = _slurp(f"/proc/{pid}/environ")
    pairs = (os.fsdecode(word).partition("=") for word in raw.split(b"\0") if word)
    return {name: value for name, _, value in pairs}


def _slurp(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def pids() -> list[int]:
    """Every process of the machine."""
    return [pid for pid, _ in processes_with_inodes()]


def processes_with_inodes() -> set[tuple[int, int]]:
    """Every process of the machine, with the inode of its directory: that of another process under its pid differs."""
    with os.scandir("/proc") as entries:
        return {(int(entry.name), entry.inode()) for entry in entries if entry.name.isdigit()}


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Each file and directory: inode, mode, time of change, content."""
    found: dict[str, tuple[int, int, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        what = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (what.st_ino, what.st_mode, what.st_mtime_ns, data)
    return found


# --- what a command did ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """One command that has ended. `out` and `err` are text; bytes that are no UTF-8 are surrogates in it."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def ok(self) -> Done:
        """Fail unless it exited with 0."""
        return self.exits(0)

    def exits(self, code: int) -> Done:
        """Fail unless it exited with `code`; never with a traceback."""
        assert "Traceback" not in self.err, self
        assert self.code == code, self
        return self

    @property
    def events(self) -> list[dict[str, object]]:
        """What it said with ``--json``, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self) -> str:
        """All of it, for a failing assertion."""
        return f"$ multi {shlex.join(self.words)}\n{self.out}{self.err}exit code {self.code}, {self.seconds:.2f} s"

    __repr__ = __str__


@dataclass(slots=True)
class Begun:
    """One command that is under way."""

    words: tuple[str, ...]
    process: Command
    began: float

    def done(self, seconds: float = COMMAND_PATIENCE) -> Done:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = b"", b""
            with contextlib.suppress(subprocess.TimeoutExpired):  # its nodes may hold the pipes
                out, err = self.process.communicate(timeout=5)
            raise AssertionError(f"multi {shlex.join(self.words)} hangs: {out!r} {err!r}") from None
        took = time.monotonic() - self.began
        text = (out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"))
        return Done(self.words, self.process.returncode, *text, took)


# --- the fixture's value ---------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Real:
    """A private place on the real machine. Made by the fixture `real` in `conftest`.

    `base` is a directory of its own that every user may enter; below it `run` (pidfiles, records, locks), `log`, `home`
    and `state` are given to `multi`, the rest is the test's. `env` is the environment of every command.
    """

    base: Path
    mark: str
    env: dict[str, str]
    known: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)
    _children_before: frozenset[int] = frozenset()
    _there_before: frozenset[tuple[int, int]] = frozenset()

    @property
    def run(self) -> Path:
        """Where pidfiles, records and locks lie."""
        return self.base / "run"

    @property
    def up(self) -> Path:
        """Where tiny workers say that they are set up."""
        return self.base / "up"

    @property
    def log(self) -> Path:
        """Where the logs lie."""
        return self.base / "log"

    # -- commands ------------------------------------------------------------------------------------

    def worker(self, *options: str, words: Iterable[str] = ()) -> str:
        """The command of a tiny worker (see `worker_child`), quoted for ``--cmd``; it ends by KILL at the latest."""
        rest = list(words)
        return shlex.join(
            [sys.executable, "-I", "-S", WORKER, "--mark", self.mark, *options, *(["--", *rest] if rest else [])]
        )

    def shell_words(self, code: str, *words: str) -> str:
        """The command of a few lines of Python, quoted for ``--cmd``; found again at the end by its environment."""
        return shlex.join([sys.executable, "-I", "-S", "-c", code, *words])

    def start_words(self, *words: str, cmd: str = "sleep 600", startsecs: float = 0) -> tuple[str, ...]:
        """The words of a ``start`` of nodes of the preset ``exec``."""
        return (
            "start",
            f"--pidfile={self.run}/%n.pid",
            f"--logfile={self.log}/%n.log",
            "--preset=exec",
            f"--startsecs={startsecs}",
            f"--cmd={cmd}",
            *words,
        )

    def start(self, *words: str, cmd: str = "sleep 600", startsecs: float = 0) -> Done:
        """``multi start`` of nodes of the preset ``exec``; pidfiles below `run`, logs below `log`."""
        return self.raw(*self.start_words(*words, cmd=cmd, startsecs=startsecs))

    def multi(self, command: str, *words: str, stdin: bytes = b"", user: int | None = None) -> Done:
        """``multi COMMAND --pidfile=RUN/%n.pid WORDS`` as a process of its own."""
        return self._settled(self.begin(command, self._pidfile, *words, stdin=stdin, user=user).done())

    def raw(
        self, *words: str, stdin: bytes = b"", user: int | None = None, env: Mapping[str, str] | None = None
    ) -> Done:
        """``multi WORDS``, nothing added, as a process of its own."""
        return self._settled(self.begin(*words, stdin=stdin, user=user, env=env).done())

    def begin(
        self, *words: str, stdin: bytes = b"", user: int | None = None, env: Mapping[str, str] | None = None
    ) -> Begun:
        """``multi WORDS`` in the background, nothing added. `user` is a uid; only root can ask for one."""
        began = time.monotonic()
        process = Command(
            words,
            {**self.env, **(env or {})},
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.base,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self.known.append(process)
        if process.stdin is not None:
            with process.stdin:
                process.stdin.write(stdin)
            process.stdin = None
        return Begun(words, process, began)

    def inside(self, command: str, *words: str) -> Done:
        """``multi COMMAND --pidfile=RUN/%n.pid WORDS`` within this process."""
        return self.inside_raw(command, self._pidfile, *words)

    def inside_raw(self, *words: str) -> Done:
        """``multi WORDS`` within this process, nothing added."""
        from multi.cli import main

        out, err = io.StringIO(), io.StringIO()
        began = time.monotonic()
        with (
            mock.patch.dict(os.environ, self.env, clear=True),
            current_directory(self.base),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(words)
        return self._settled(Done(words, code, out.getvalue(), err.getvalue(), time.monotonic() - began))

    def _settled(self, done: Done) -> Done:
        if not STARTING.isdisjoint(done.words):
            self.settle()
        return done

    def settle(self) -> None:
        """Wait until all on record can be found, and tiny workers hear signals; or are gone. Also those of `begin`."""
        for pid in self._recorded_pids():
            until(lambda pid=pid: not alive(pid) or words_of(pid), f"{pid} has executed")  # type: ignore[misc]
            # In the middle of execve(2) a process shows its words for a moment before its environment, in which its
            # mark is: until then `family` and `processes` would miss it. Some have none for good.
            latest = time.monotonic() + _EXEC_SECONDS
            until(
                lambda pid=pid, latest=latest: (  # type: ignore[misc]
                    not alive(pid) or environ_of(pid) or time.monotonic() > latest
                ),
                f"{pid} shows its environment",
            )
            if WORKER in words_of(pid) and environ_of(pid).get(_UP) == str(self.up):
                until(lambda pid=pid: not alive(pid) or (self.up / str(pid)).exists(), f"{pid} is set up")  # type: ignore[misc]

    @property
    def _pidfile(self) -> str:
        return f"--pidfile={self.run}/%n.pid"

    # -- what is there -------------------------------------------------------------------------------

    def pidfile(self, name: str) -> Path:
        """The pidfile of a node, by its short name."""
        return self.run / f"{name}.pid"

    def recordfile(self, name: str) -> Path:
        """The record of a node."""
        return self.run / f"{name}.json"

    def logfile(self, name: str) -> Path:
        """The log of a node."""
        return self.log / f"{name}.log"

    def pid(self, name: str) -> int:
        """The pid in the pidfile, exactly as it must be written."""
        text = self.pidfile(name).read_text(encoding="ascii")
        assert text == f"{int(text)}\n"
        return int(text)

    def record(self, name: str) -> dict[str, object]:
        """The record of a node, as JSON has it."""
        found = json.loads(self.recordfile(name).read_bytes())
        assert isinstance(found, dict)
        return found

    def state(self, *words: str) -> dict[str, str]:
        """Short name -> state, as ``multi status --json`` has it."""
        done = self.inside("status", "--json", *words)
        return {view["name"]: view["state"] for view in json.loads(done.out)}

    def family(self) -> list[int]:
        """Every living process that came of this test, commands under way excluded."""
        ours = {process.pid for process in self.known}
        return [pid for pid in self._marked() if pid not in ours and alive(pid)]

    def launchers(self) -> list[int]:
        """Processes that `inside` left behind; there must be none after a command."""
        return [pid for pid in children_of_ours() - self._children_before if alive(pid) and pid not in self._known()]

    def processes(self, name: str) -> list[int]:
        """The main processes of a node that live, by what their environment says; at most one, if all is well."""
        found: list[int] = []
        for pid in self._marked():
            env = environ_of(pid)
            if (
                env.get("MULTI_INSTANCE_PID") == str(pid)
                and env.get("MULTI_INSTANCE_PIDFILE") == str(self.pidfile(name))
                and alive(pid)
            ):
                found.append(pid)
        return found

    # -- other processes of the test -----------------------------------------------------------------

    def popen(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        output: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """A process of the test's own, not started by `multi`; ended with the test. `output` is a descriptor."""
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**self.env, **(env or {})},
            cwd=self.base,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self.known.append(process)
        return process

    def own_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """A tiny worker that `multi` knows nothing of; it is set up when this returns."""
        touched = self.base / f"touched-{len(self.known)}"
        process = self.popen(*shlex.split(self.worker(*options, "--touch", str(touched))))
        until(touched.exists, "the worker is set up")
        return process

    def expect_left(self, *which: int) -> None:
        """These processes may be left at the end of the test, although they are on no record; they are ended then."""
        self._expected.update(which)

    # -- the end -------------------------------------------------------------------------------------

    def finish(self) -> list[str]:
        """KILL everything that is left; what should not have been left, as lines for a person."""
        recorded = self._recorded_tokens()
        wrong: list[str] = []
        for pid in self._marked():
            if pid in self._expected or pid in self._known() or not alive(pid):
                continue
            env = environ_of(pid)
            if env.get("MULTI_INSTANCE") in recorded or self._descends(pid):
                continue
            found, words = stat(pid), words_of(pid)
            if words:  # what has none any more has given its memory back, and is about to be gone
                wrong.append(f"pid {pid} ({found.ppid if found else '?'} is its parent): {shlex.join(words)}")
        wrong += [f"pid {pid}, a child of the tests: a launcher" for pid in self.launchers()]
        self.reap()
        return wrong

    def reap(self) -> None:
        """KILL until nothing is left that came of this test, and wait for our own children."""
        for process in self.known:
            if process.poll() is None:
                process.kill()
        deadline = time.monotonic() + PATIENCE
        while left := [pid for pid in {*self._marked(), *self.launchers()} if alive(pid)]:
            for pid in left:
                self.kill(pid)
            assert time.monotonic() < deadline, f"cannot end {left}"
        for process in self.known:
            process.wait(PATIENCE)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def kill(self, pid: int, number: int = signal.SIGKILL) -> bool:
        """Signal a process of this test, and never another one that has got its pid since; whether it was there."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            found = self._is_marked(pid) or pid in self.launchers()
            if found:
                signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return found

    def _known(self) -> set[int]:
        return {process.pid for process in self.known}

    def _marked(self) -> list[int]:
        # To read the environment of everybody, several times in each test, would take most of the time of many.
        return [pid for pid, _ in processes_with_inodes() - self._there_before if self._is_marked(pid)]

    def _is_marked(self, pid: int) -> bool:
        mark = self.mark.encode()
        return mark in _slurp(f"/proc/{pid}/environ") or mark in _slurp(f"/proc/{pid}/cmdline")

    def _recorded(self, key: str) -> list[object]:
        """What all records say under a key. Tests plant other things at these paths: what is no file is not opened."""
        found: list[object] = []
        for path in self.base.rglob("*.json"):
            if path.is_file():
                with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
                    found.append(json.loads(path.read_bytes()).get(key))
        return found

    def _recorded_pids(self) -> list[int]:
        return [pid for pid in self._recorded("pid") if isinstance(pid, int) and pid > 1]

    def _recorded_tokens(self) -> set[str]:
        return {token for token in self._recorded("token") if isinstance(token, str)} - {""}

    def _descends(self, pid: int) -> bool:
        """Whether it is a descendant of a process that is accounted for: a recorded node or one of the test's own."""
        recorded, known = self._recorded_tokens(), self._known() | self._expected
        found = stat(pid)
        while found is not None and found.ppid > 1 and found.ppid != os.getpid():
            if found.ppid in known or environ_of(found.ppid).get("MULTI_INSTANCE") in recorded:
                return True
            found = stat(found.ppid)
        return False


def children_of_ours() -> set[int]:
    """The children of this process's main thread, in which tests run; one look may miss some while others end."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")  # proc_pid_task(5)
    except FileNotFoundError:  # not Linux
        return set()
    return set(map(int, text.split()))


def environment() -> dict[str, str]:
    """What the environments of all places have in common."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    env.update(
        {
            "MULTI_FORCE_ROOT": "1",
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "PYTHONWARNINGS": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )
    return env


@contextlib.contextmanager
def place() -> Iterator[Real]:
    """A private place; everything in it is ended and removed. Fails for what should not have been left."""
    base = Path(tempfile.mkdtemp(prefix="multi-test-"))
    base.chmod(0o755)
    mark = secrets.token_hex(12)
    env = environment()
    env.update(
        {
            _MARK: mark,
            _UP: str(base / "up"),
            "HOME": str(base / "home"),
            "XDG_STATE_HOME": str(base / "state"),
            "XDG_CONFIG_HOME": str(base / "config"),
        }
    )
    (base / "home").mkdir()
    (base / "up").mkdir()
    (base / "up").chmod(0o1777)
    real = Real(base, mark, env)
    real._children_before = frozenset(children_of_ours())  # noqa: SLF001 -- the maker of the value sets it up
    real._there_before = frozenset(processes_with_inodes())  # noqa: SLF001 -- as above
    try:
        yield real
        wrong = real.finish()
        assert not wrong, "left behind:\n" + "\n".join(wrong)
    finally:
        real.reap()
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def current_directory(path: Path) -> Iterator[None]:
    """Be there for a while: what lies where the tests are started from is no part of a test."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def as_argv(raw: bytes) -> list[bytes]:
    """What `worker_child` wrote with ``--words`` -> the words."""
    return raw.split(b"\0")[:-1]


def run(
    words: Sequence[str], env: Mapping[str, str], *, seconds: float = COMMAND_PATIENCE
) -> subprocess.CompletedProcess[bytes]:
    """Run any program to its end, in the home directory of that environment."""
    return subprocess.run(
        words,
        env=dict(env),
        cwd=env.get("HOME", "/"),
        capture_output=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
