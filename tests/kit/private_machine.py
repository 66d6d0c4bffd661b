r"""A machine of one's own for tests that need users, /etc, daemons and root: namespaces of this one.

    with machine() as host:
        host.write("/etc/default/celeryd", "CELERY_APP=tasks\n")
        host.run("/etc/init.d/celeryd", "start").ok()

Inside, /root, /run, /srv, /var/log, /var/spool and /dev/shm are empty, and /etc holds only what programs need to run at
all: no user, service or setting of the machine that runs the tests. Besides root there are `USER`, who runs workers,
and `STRANGER`. The interpreter of the tests, its environment and the checkout lie where they are outside, and every
user may read them, also when they lie below a directory that is closed to others outside. Nothing outside changes, and
every process is gone when the block is left: the kernel ends a process namespace as a whole (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import psutil
import pytest

from real import alive, until

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
USER, USER_ID = "celery", 5550
STRANGER, STRANGER_ID = "mallory", 5551
PATIENCE = 180.0  # seconds; a deadline, not a wait
PROJECT = "/srv/proj"  # where the example app lies, inside
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The first process inherits all orphans. It ignores SIGCHLD, so the kernel reaps them, wait(2).
_INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); [signal.pause() for _ in iter(int, 1)]"
_EMPTY = {"/root": 755, "/run": 755, "/srv": 755, "/var/log": 755, "/var/spool": 755, "/dev/shm": 1777}

# Of /etc: where libraries, alternatives and certificates are, the local time, and what su asks for.
_ETC = (
    *("alternatives", "debian_version", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "login.defs"),
    *("os-release", "pam.conf", "pam.d", "security", "ssl", "terminfo"),
)
# A machine may set limits for the very user who runs workers; pam_limits wants a file.
NO_LIMITS = "rm -rf {etc}/security/limits.d; mkdir -p {etc}/security; : >{etc}/security/limits.conf"
_USERS = {"root": 0, "daemon": 1, "messagebus": 104, "nobody": 65534, USER: USER_ID, STRANGER: STRANGER_ID}
_GROUPS = {**_USERS, "tty": 5, "crontab": 105, "nogroup": 65534}


def need(*tools: str, root: bool = True) -> None:
    """Skip the test, and say what is missing. With MULTI_TEST_ALL in the environment, as in CI, fail instead."""
    lacks = [f"the program {tool} ('scripts/system-packages' installs it)" for tool in tools if not find(tool)]
    if root and os.geteuid() != 0:
        lacks.insert(0, "root")
    if sys.platform != "linux":
        lacks.insert(0, "Linux")
    if lacks:
        reason = f"needs {', '.join(lacks)}"
        if os.environ.get("MULTI_TEST_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)


def find(tool: str) -> str | None:
    """The path of a program; administrators' programs are not on every PATH."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


@dataclass(frozen=True, slots=True)
class Done:
    """One program that has ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def ok(self) -> Done:
        """Fail unless it exited with 0."""
        return self.exits(0)

    def exits(self, code: int) -> Done:
        """Fail unless it exited with `code`."""
        assert self.code == code, self
        return self

    def __str__(self) -> str:
        """All of it, for a failing assertion."""
        return f"$ {shlex.join(self.words)}\n{self.out}{self.err}exit code {self.code}"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Host:
    """The machine. `init` is the pid of its first process, as seen from outside; `spaces` are what is its own."""

    init: int
    spaces: tuple[str, ...] = ("--mount", "--pid")

    def path(self, inside: str) -> Path:
        """A path of the machine, as seen from outside."""
        return Path(f"/proc/{self.init}/root{inside}")

    def write(self, inside: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
        """A file, and the directories above it, which belong to root."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.chown(path, owner, owner)
        path.chmod(mode)

    def read(self, inside: str) -> str:
        """A file's text; empty when it is not there, or is about a process that ends while it is read."""
        try:
            return self.path(inside).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def exists(self, inside: str) -> bool:
        """Whether the path exists inside; links are not followed."""
        return os.path.lexists(self.path(inside))

    def copy(self, outside: str) -> None:
        """A file or directory of the machine that runs the tests, at the same place inside."""
        source = Path(outside)
        if source.is_dir():
            shutil.copytree(source, self.path(outside), symlinks=True, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, self.path(outside))

    def install(self, source: str, inside: str, mode: int = 0o755) -> None:
        """A file of the checkout."""
        self.write(inside, (CHECKOUT / source).read_text(encoding="utf-8"), mode=mode)

    def run(
        self, *words: str, user: str | None = None, env: Mapping[str, str] | None = None, seconds: float = PATIENCE
    ) -> Done:
        """Run a program inside, to its end, with an empty environment but PATH. `user` is somebody else than root."""
        return self.begin(*words, user=user, env=env).done(seconds)

    def shell(self, text: str, *, user: str | None = None, env: Mapping[str, str] | None = None) -> Done:
        """Run a line of sh inside."""
        return self.run("sh", "-c", text, user=user, env=env)

    def begin(self, *words: str, user: str | None = None, env: Mapping[str, str] | None = None) -> Begun:
        """Run a program inside, in the background; used as a block, it is ended where the block is left."""
        return Begun(words, self._popen(words, user, env, subprocess.PIPE))

    @contextlib.contextmanager
    def daemon(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
        """A program of root's that runs inside until the block is left. What it prints is lost."""
        with Begun(words, self._popen(words, None, env, subprocess.DEVNULL)) as begun:
            yield
            code = begun.process.poll()
            assert code is None, f"{shlex.join(words)} has ended, exit code {code}"

    def _popen(
        self, words: Sequence[str], user: str | None, env: Mapping[str, str] | None, output: int
    ) -> subprocess.Popen[bytes]:
        become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return subprocess.Popen(
            ["nsenter", f"--target={self.init}", *self.spaces, "--", *become, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TERM": "dumb", **(env or {})},
            cwd="/",
        )

    def pid(self, pidfile: str) -> int:
        """The pid in a pidfile, as seen from inside."""
        return int(self.path(pidfile).read_text(encoding="ascii"))

    def status(self, pid: int) -> dict[str, str]:
        """/proc/PID/status of a process, by its pid inside; empty when it is gone or a zombie."""
        text = self.read(f"/proc/{pid}/status")
        found = {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
        return {} if found.get("State", "Z")[0] in "ZX" else found

    def alive(self, pid: int) -> bool:
        """Whether a process runs, by its pid inside; a zombie does not."""
        return bool(self.status(pid))

    def processes(self, *, user: int = USER_ID) -> list[list[str]]:
        """The words of every process of a user."""
        found: list[list[str]] = []
        for process in self.path("/proc").glob("[1-9]*"):
            with contextlib.suppress(OSError):
                if self.status(int(process.name)).get("Uid", "").split(maxsplit=1)[:1] == [str(user)]:
                    raw = (process / "cmdline").read_bytes()
                    found.append([os.fsdecode(word) for word in raw.split(b"\0") if word])
        return found

    def app(self, inside: str = PROJECT, *, owner: int = USER_ID) -> None:
        """The example app, for the user who runs workers."""
        target = self.path(inside)
        shutil.copytree(
            CHECKOUT / "examples/celery_app", target, ignore=shutil.ignore_patterns("data", "run", "log", "__pycache__")
        )
        for path in (target, *target.rglob("*")):
            os.chown(path, owner, owner)


@final
@dataclass(frozen=True, slots=True)
class Begun:
    """A program that runs inside."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]

    def done(self, seconds: float = PATIENCE) -> Done:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{shlex.join(self.words)} hangs: {late.stdout!r} {late.stderr!r}") from None
        finally:
            self.end()
        return Done(self.words, self.process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def end(self) -> None:
        """KILL it, if it still runs."""
        if self.process.poll() is None:  # else its pid may be somebody else's by now
            for forked in psutil.Process(self.process.pid).children():  # nsenter is not the program itself
                with contextlib.suppress(psutil.NoSuchProcess):
                    forked.kill()
            self.process.kill()
            self.process.wait(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()  # not read to its end, which a child that lives on may never let it have

    def __enter__(self) -> Begun:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, also when an assertion has failed."""
        self.end()


@contextlib.contextmanager
def machine() -> Iterator[Host]:
    """Make a machine; it is gone, with all its processes, when the block is left."""
    base = Path(tempfile.mkdtemp(prefix="multi-machine-"))
    script = base / "setup"
    script.write_text("\n".join([*setup_lines(base), "echo up", f"exec {sys.executable} -I -S -c '{_INIT}'", ""]))
    with (base / "stderr").open("wb") as complaints:
        outer = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-eu", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd="/",
        )
    try:
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"up\n", (
            f"the private machine does not come up: {(base / 'stderr').read_text()}"
        )
        outer.stdout.close()
        (first,) = psutil.Process(outer.pid).children()
        host = Host(first.pid)
        write_users(host.path("/etc"))
        yield host
    finally:
        for process in psutil.Process(outer.pid).children() if outer.poll() is None else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                until(lambda pid=process.pid: not alive(pid), "the private machine is gone")  # type: ignore[misc] # a lambda that keeps this turn's value
        outer.kill()
        outer.wait(PATIENCE)
        shutil.rmtree(base)


def setup_lines(base: Path) -> list[str]:
    """The lines of sh that make the machine out of a fresh mount namespace. `base` is an empty directory."""
    etc = f"{base}/etc"
    own = (
        f"mkdir {etc}",
        f"mount -t tmpfs -o mode=755 tmpfs {etc}",
        f"for name in {' '.join(_ETC)}; do [ ! -e /etc/$name ] || cp -a /etc/$name {etc}; done",
        f"mkdir {etc}/cron.d {etc}/default {etc}/init.d",
        NO_LIMITS.format(etc=etc),
        f"mount --move {etc} /etc",
    )
    return ["mount --make-rprivate /", *cover_lines(base), *own]


def write_users(etc: Path) -> None:
    """Make the users and groups: those of this module, whoever else there is on the machine that runs the tests."""
    homes = {
        name: ("/root", "/bin/sh") if uid == 0 else ("/nonexistent", "/usr/sbin/nologin")
        for name, uid in _USERS.items()
    }
    lines = {
        "passwd": [f"{name}:x:{uid}:{uid}::{':'.join(homes[name])}" for name, uid in _USERS.items()],
        "group": [f"{name}:x:{gid}:" for name, gid in _GROUPS.items()],
        "shadow": [f"{name}:*:20000:0:99999:7:::" for name in _USERS],
        "nsswitch.conf": ["passwd: files", "group: files", "shadow: files", "hosts: files dns"],
        "hosts": [f"127.0.0.1 localhost {os.uname().nodename}"],
    }
    for name, content in lines.items():
        (etc / name).write_text("".join(f"{line}\n" for line in content), encoding="ascii")


def cover_lines(base: Path) -> list[str]:
    """Lines of sh that empty some places, and open the ways to what the tests need to every user.

    That is the interpreter, its environment and the checkout. A directory on the way that is closed to others is
    covered by an empty one, too, which holds nothing but what is needed.
    """
    places = (Path(sys.base_prefix), Path(sys.prefix), CHECKOUT)
    covers: dict[Path, list[Path]] = {Path(place): [] for place in _EMPTY}
    for path in sorted({*places, *(path.resolve() for path in places)}):
        for above in reversed((path, *path.parents)):
            if above in covers or not above.stat().st_mode & 0o001:
                covers.setdefault(above, []).append(path)
                break
    lines: list[str] = []
    for number, (cover, needed) in enumerate(covers.items()):
        kept = [path for path in needed if not any(other in path.parents for other in needed)]
        holds = [f"{base}/kept-{number}-{at}" for at in range(len(kept))]
        for path, hold in zip(kept, holds, strict=True):
            lines.append(f"mkdir {hold}; mount --bind {shlex.quote(str(path))} {hold}")
        lines.append(f"mount -t tmpfs -o mode={_EMPTY.get(str(cover), 755)} tmpfs {shlex.quote(str(cover))}")
        for path, hold in zip(kept, holds, strict=True):
            if path != cover:
                lines.append(f"mkdir -p -m 755 {shlex.quote(str(path))}")
            lines.append(f"mount --move {hold} {shlex.quote(str(path))}")
    return lines
