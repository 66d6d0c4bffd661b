"""The contestants: `multi`, the floor, and the peers. Each gives its commands for one piece of work.

A peer with a daemon of its own has it up, with all services known to it, before anything is measured. All get the same
process, the same number of them, a file for what each prints, TERM to end them with, and no seconds to prove
themselves in. Where a peer has one command for many services it is used; else its commands run one after the other,
as a script of its users would.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Commands, InvalidError, expect, seconds

EACH = ["sh", "-c", 'command=$1; shift; for one; do eval "$command" || exit; done', "sh"]  # a command, then what for
HERE = Path(__file__).resolve().parent
UP_WITHIN = 60.0  # seconds for a daemon to come up, or to go


class Contestant(ABC):
    """One way to run `count` processes ``sleep MARK``. Its files are below `directory`."""

    name = ""
    most = 1000  # nodes

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """Make nothing yet; `prepare` does."""
        self.directory = directory
        self.count = count
        self.mark = mark
        self.env: Mapping[str, str] = os.environ
        self.names = [f"n{number}" for number in range(1, count + 1)]

    def prepare(self) -> None:
        """Make everything that exists before a user types the first command."""
        self.directory.mkdir(parents=True)

    @abstractmethod
    def commands(self, work: str) -> Commands:
        """What to run for ``start``, ``status``, ``restart`` or ``stopwait``."""

    def finish(self) -> None:  # noqa: B027 -- most have put up nothing
        """Undo `prepare`."""

    def resident(self) -> int:
        """Bytes of memory that it holds while the processes run."""
        return 0


class Multi(Contestant):
    """The subject of the benchmark."""

    name = "multi"

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """Set the places of its files, and `alive` as the proof of readiness."""
        super().__init__(directory, count, mark)
        self.env = {
            **os.environ,
            "MULTI_PIDFILE": f"{directory}/%n.pid",
            "MULTI_LOGFILE": f"{directory}/%n.log",
            "MULTI_STARTSECS": "0",
            "MULTI_FORCE_ROOT": "1",
        }

    def commands(self, work: str) -> Commands:
        """One command for all nodes."""
        command = [f"{Path(sys.executable).parent}/multi", work, *self.names]
        if work == "start":
            command += ["--preset", "exec", "--cmd", f"sleep {self.mark}"]
        return [command]


class MultiOnDisk(Multi):
    """The same, with its files on a disk."""

    name = "multi, on a disk"


class Floor(Contestant):
    """A bare script, see ``floor.py``."""

    name = "floor"
    flush: tuple[str, ...] = ()

    def commands(self, work: str) -> Commands:
        """One run of the script."""
        words = {"start": [str(self.count), self.mark, *self.flush], "restart": [self.mark, *self.flush]}
        return [[sys.executable, "-I", "-S", str(HERE / "floor.py"), work, str(self.directory), *words.get(work, [])]]


class FloorOnDisk(Floor):
    """The same, with its files on a disk that it waits for."""

    name = "floor, on a disk"
    flush = ("flush",)


class Daemon(Contestant):
    """A contestant with a daemon."""

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """No daemon yet."""
        super().__init__(directory, count, mark)
        self.daemon: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def configure(self) -> Sequence[str]:
        """Write its configuration; return the command of the daemon."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it knows all services."""

    def prepare(self) -> None:
        """Start the daemon and wait until it knows all services."""
        super().prepare()
        with (self.directory / "daemon.log").open("wb") as log:
            self.daemon = subprocess.Popen(
                self.configure(),
                env=dict(self.env),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + UP_WITHIN
        while not self.is_up():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / "daemon.log").read_text(errors="replace").strip().splitlines()[-2:]
                raise InvalidError(f"the daemon of {self.name} did not come up: {' / '.join(said)}")
            time.sleep(0.1)

    def finish(self) -> None:
        """End the daemon and the rest of its session."""
        if self.daemon is None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(UP_WITHIN)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        try:
            os.killpg(self.daemon.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def resident(self) -> int:
        """Memory of the daemon and its helpers, without the processes that it runs."""
        if self.daemon is None:
            return 0
        total = 0
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    stat = Path(f"/proc/{entry.name}/stat").read_text(errors="replace").rpartition(")")[2].split()
                    words = Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if int(stat[3]) == self.daemon.pid and words[-2:-1] != [self.mark.encode()]:
                    total += int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def asks(self, *words: str) -> str | None:
        """The output of a command, None if it fails."""
        done = subprocess.run(
            words, env=dict(self.env), cwd=self.directory, capture_output=True, text=True, check=False
        )
        return done.stdout if done.returncode == 0 else None


class Supervisor(Daemon):
    """supervisord and supervisorctl."""

    name = "supervisorctl"
    most = 100

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """Look in the environment of the peers."""
        super().__init__(directory, count, mark)
        self.tools = os.environ["BENCH_PEERS"]
        self.configuration = str(directory / "supervisord.conf")

    def configure(self) -> Sequence[str]:
        """One program for each node, without autostart."""
        socket = self.directory / "socket"
        factory = "supervisor.rpcinterface:make_main_rpcinterface"
        parts = [
            f"[supervisord]\nnodaemon=true\nlogfile={self.directory}/supervisord.log",
            f"pidfile={self.directory}/supervisord.pid\nminfds={self.count * 4 + 200}",
            f"[unix_http_server]\nfile={socket}",
            f"[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = {factory}",
            f"[supervisorctl]\nserverurl=unix://{socket}",
        ]
        parts += [
            f"[program:{name}]\ncommand=sleep {self.mark}\nautostart=false\nautorestart=false\nstartsecs=0\n"
            f"redirect_stderr=true\nstdout_logfile={self.directory}/{name}.log\n"
            for name in self.names
        ]
        Path(self.configuration).write_text("\n".join(parts), encoding="ascii")
        return [f"{self.tools}/supervisord", "-c", self.configuration]

    def is_up(self) -> bool:
        """Whether it answers."""
        return self.asks(f"{self.tools}/supervisorctl", "-c", self.configuration, "pid") is not None

    def commands(self, work: str) -> Commands:
        """One command for all."""
        tool = [f"{self.tools}/supervisorctl", "-c", self.configuration]
        if work == "status":
            return [[*tool, "status"]]
        return [[*tool, {"stopwait": "stop"}.get(work, work), "all"]]


class Circus(Daemon):
    """circusd and circusctl."""

    name = "circusctl"
    most = 100

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """Look in the environment of the peers."""
        super().__init__(directory, count, mark)
        self.tools = os.environ["BENCH_PEERS"]
        self.endpoint = f"ipc://{directory}/endpoint"

    def configure(self) -> Sequence[str]:
        """One watcher for each node. Its `start` skips watchers without autostart."""
        parts = [
            f"[circus]\nendpoint = {self.endpoint}\npubsub_endpoint = ipc://{self.directory}/pubsub",
            "check_delay = 5\nwarmup_delay = 0",
        ]
        parts += [
            f"[watcher:{name}]\ncmd = sleep {self.mark}\nnumprocesses = 1\nwarmup_delay = 0\n"
            f"copy_env = True\nstdout_stream.class = FileStream\nstdout_stream.filename = {self.directory}/{name}.log\n"
            for name in self.names
        ]
        path = self.directory / "circus.ini"
        path.write_text("\n".join(parts), encoding="ascii")
        return [f"{self.tools}/circusd", str(path)]

    def is_up(self) -> bool:
        """Whether it has all watchers."""
        said = self.asks(f"{self.tools}/circusctl", "--endpoint", self.endpoint, "numwatchers")
        return said is not None and said.strip() == str(self.count)

    def prepare(self) -> None:
        """Stop the processes that come up with the daemon."""
        super().prepare()
        expect(self.mark, self.count)
        seconds(self.commands("stopwait"), self.env, self.directory)
        expect(self.mark, 0)

    def commands(self, work: str) -> Commands:
        """One command for all."""
        tool = [f"{self.tools}/circusctl", "--endpoint", self.endpoint, "--timeout", "60"]
        if work == "status":
            return [[*tool, "status"]]
        return [[*tool, {"stopwait": "stop"}.get(work, work), "--waiting"]]


class S6(Daemon):
    """s6-svscan, and one s6-svc for each node."""

    name = "s6"
    most = 100  # with a thousand its svscan is not up within two minutes

    def configure(self) -> Sequence[str]:
        """One service directory for each node, all of them down."""
        for name in self.names:
            service = self.directory / "services" / name
            service.mkdir(parents=True)
            run = service / "run"
            run.write_text(f"#!/bin/sh\nexec sleep {self.mark} >>{self.directory}/{name}.log 2>&1\n", encoding="ascii")
            run.chmod(0o755)
            (service / "down").touch()
        return ["s6-svscan", "-c", str(self.count + 10), str(self.directory / "services")]

    def is_up(self) -> bool:
        """Whether all are supervised."""
        return all((self.directory / "services" / name / "supervise" / "control").exists() for name in self.names)

    def commands(self, work: str) -> Commands:
        """Signal each, then wait for all."""
        services = [str(self.directory / "services" / name) for name in self.names]
        match work:
            case "status":
                return [[*EACH, 's6-svstat "$one"', *services]]
            case "restart":  # a block of words for execline: each begins with a blank, an empty one ends it
                block = [*(f" {service}" for service in services), ""]
                return [["s6-svlisten", "-r", "-a", *block, *EACH, 's6-svc -r "$one"', *services]]
            case _:
                to = "u" if work == "start" else "d"
                return [[*EACH, f's6-svc -{to} "$one"', *services], ["s6-svwait", f"-{to}", "-a", *services]]


class Runit(S6):
    """runsvdir and sv; the service directories are the same."""

    name = "runit"
    most = 1000

    def configure(self) -> Sequence[str]:
        """As for s6."""
        super().configure()
        return ["runsvdir", str(self.directory / "services")]

    def commands(self, work: str) -> Commands:
        """One command for all; sv waits up to seven seconds for each."""
        services = [str(self.directory / "services" / name) for name in self.names]
        return [["sv", "-w", "60", {"stopwait": "stop"}.get(work, work), *services]]

    def is_up(self) -> bool:
        """Whether all are supervised."""
        return all((self.directory / "services" / name / "supervise" / "ok").exists() for name in self.names)

    def finish(self) -> None:
        """On HUP, runsvdir ends the services too (runsvdir(8)); its supervisors have sessions of their own."""
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGHUP)
            self.daemon.wait(UP_WITHIN)


class Dinit(Daemon):
    """dinit and dinitctl; a service that depends on all others starts and stops them with one command."""

    name = "dinit"

    def configure(self) -> Sequence[str]:
        """A file for each node, one for all of them, and the one that dinit brings up by itself."""
        services = self.directory / "services"
        services.mkdir()
        for name in self.names:
            said = f"type = process\ncommand = sleep {self.mark}\nlogfile = {self.directory}/{name}.log\n"
            (services / name).write_text(said, encoding="ascii")
        everything = "".join(f"depends-on: {name}\n" for name in self.names)
        (services / "all").write_text(f"type = internal\n{everything}", encoding="ascii")
        (services / "boot").write_text("type = internal\n", encoding="ascii")
        return ["dinit", "--user", "--services-dir", str(services), "--socket-path", str(self.directory / "socket")]

    def is_up(self) -> bool:
        """Whether it answers."""
        return self.asks(*self._tool, "list") is not None

    @property
    def _tool(self) -> list[str]:
        return ["dinitctl", "--socket-path", str(self.directory / "socket")]

    def commands(self, work: str) -> Commands:
        """One command for all; there is none that restarts what a service depends on."""
        match work:
            case "status":
                return [[*self._tool, "list"]]
            case "restart":
                return [*self.commands("stopwait"), *self.commands("start")]
            case _:
                return [[*self._tool, {"stopwait": "stop"}.get(work, work), "all"]]


class Nitro(S6):
    """nitro and nitroctl; the service directories are those of s6."""

    name = "nitro"
    most = 100  # it has room for 500

    def __init__(self, directory: Path, count: int, mark: str) -> None:
        """Have a socket of its own."""
        super().__init__(directory, count, mark)
        self.env = {**os.environ, "NITRO_SOCK": str(directory / "socket")}

    def configure(self) -> Sequence[str]:
        """As for s6."""
        super().configure()
        return ["nitro", str(self.directory / "services")]

    def is_up(self) -> bool:
        """Whether it knows all services."""
        said = self.asks("nitroctl", "list")
        return said is not None and len(said.splitlines()) >= self.count

    def commands(self, work: str) -> Commands:
        """Ask for each, then wait for the end of each; it counts one as up after two seconds, so not for that."""
        match work:
            case "status":
                return [["nitroctl", "list"]]
            case "start":
                return [[*EACH, 'nitroctl up "$one"', *self.names]]
            case "restart":
                return [*self.commands("stopwait"), *self.commands("start")]
            case _:
                return [[*EACH, f'nitroctl {word} "$one"', *self.names] for word in ("down", "stop")]


class StartStopDaemon(Contestant):
    """start-stop-daemon, once for each node."""

    name = "start-stop-daemon"
    most = 100

    def commands(self, work: str) -> Commands:
        """One command for each."""
        if work == "restart":
            return [*self.commands("stopwait"), *self.commands("start")]
        words = {
            "start": f"--start --background --make-pidfile --exec {shutil.which('sleep')} -- {self.mark}",
            "status": "--status",
            "stopwait": "--stop --retry TERM/5/KILL/5 --remove-pidfile",
        }[work]
        return [[*EACH, f'start-stop-daemon --pidfile "{self.directory}/$one.pid" {words}', *self.names]]


def present() -> list[type[Contestant]]:
    """The contestants that can run here, in the order of the table."""
    found: list[type[Contestant]] = [Floor, Multi]
    if os.environ.get("BENCH_PEERS"):
        found += [Supervisor, Circus]
    needs = (
        (S6, "s6-svscan"),
        (Runit, "runsvdir"),
        (Dinit, "dinit"),
        (Nitro, "nitro"),
        (StartStopDaemon, "start-stop-daemon"),
    )
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found += [contestant for contestant, tool in needs if shutil.which(tool, path=path)]
    return [*found, FloorOnDisk, MultiOnDisk]
