"""What one `multi` starts on a made-up machine, and whose end it hears of."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import partial

from multi.machine import INSTANCE, INSTANCE_NODE, INSTANCE_PIDFILE, Launch, MachineError
from multi.model.happening import Ended, Executed, LaunchFailed, Prepared
from multi.model.process import Instance, Proc
from multi.testing.world.bodies import INIT, Body, Nature, variable
from multi.testing.world.files import Entry
from multi.testing.world.local import Local
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.world import World

_NOT_EXECUTED = 127  # what a process that leaves the gate without executing exits with


@dataclass(slots=True, eq=False)
class Launched:
    """A process that this `multi` asked for. `key` is empty while nobody asks for it."""

    key: str
    body: Body
    launch: Launch
    prepared: bool = False
    opened: bool = False
    shut: bool = False
    status: int | None = None  # what it exited with, once it has
    watched: bool = False  # by somebody beside who started it


class Launches(Local):
    """New processes, signals, and ends."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        super().__init__(world, uid, body)
        self._launcher: Body | None = None
        self._launched: list[Launched] = []
        self._watched: dict[tuple[str, Proc], None] = {}

    def may_launch(self, launch: Launch) -> None:
        if self.uid not in {0, self._owner(launch.uid)}:
            hint = "run multi as root, or leave --uid and --gid out"
            why = "only root can start a node as another user"
            raise MachineError(f"cannot start as {launch.uid}", why, hint, errno.EPERM)

    def expect_launches(self) -> None:
        """Nothing has to come up here."""

    def launch(self, key: str, launch: Launch) -> None:
        self._call("launch", key)
        uid = self._owner(launch.uid)
        if self.uid not in {0, uid}:
            why = f"cannot start as {launch.uid}: only root can start a node as another user"
            self.heard.append(LaunchFailed(key, why, "run multi as root, or leave --uid and --gid out", errno.EPERM))
            return
        if self._launcher is None:
            self._launcher = self.world.add(argv=self.body.argv, uid=self.uid, ppid=self.body.pid)
        world = self.world
        nature = world.natures.get(variable(launch, INSTANCE_NODE), world.nature)
        body = world.add(argv=launch.argv, uid=uid, ppid=self._launcher.pid, session=self._launcher.session)
        launched = Launched(key, body, launch)
        self._launched.append(launched)
        if nature.setup_takes is not None:
            world.after(nature.setup_takes, partial(self._set_up, world, launched, nature))

    def _set_up(self, world: World, launched: Launched, nature: Nature) -> None:
        body = launched.body
        if launched.shut or body.gone:
            world.end(body, _NOT_EXECUTED)
        elif nature.setup_fails is not None:
            self.heard.append(LaunchFailed(launched.key, *nature.setup_fails))
            world.end(body, _NOT_EXECUTED)
        else:
            if launched.launch.logfile.startswith("/") and not launched.launch.logfile.startswith(("/dev/", "/proc/")):
                world.files.setdefault(launched.launch.logfile, Entry(uid=body.uid, mode=0o640))
            launched.prepared = True
            if launched.launch.cgroup:
                body.cgroup = launched.launch.cgroup
                world.cgroups.setdefault(body.cgroup, len(world.cgroups) + 2)
            body.nature = nature
            self.heard.append(Prepared(launched.key, body.proc))

    def _child(self, key: str) -> Launched | None:
        return next((launched for launched in reversed(self._launched) if launched.key == key), None)

    def open_gate(self, key: str) -> None:
        self._call("open_gate", key)
        launched = self._child(key)
        if launched is not None and launched.prepared and not launched.opened and not launched.shut:
            launched.opened = True
            self.world.after(0.0, partial(self._execute, self.world, launched))

    def _execute(self, world: World, launched: Launched) -> None:
        body, launch = launched.body, launched.launch
        if body.gone:
            return
        if body.nature.exec_fails is not None:
            if launched.key:
                self.heard.append(LaunchFailed(launched.key, *body.nature.exec_fails))
            world.end(body, _NOT_EXECUTED)
            return
        token, name = variable(launch, INSTANCE), variable(launch, INSTANCE_NODE)
        body.instance = Instance(token, body.pid, name, variable(launch, INSTANCE_PIDFILE)) if token else None
        body.launch = launch
        if launched.key:
            self.heard.append(Executed(launched.key))
        world.run(body)

    def shut_gate(self, key: str) -> None:
        self._call("shut_gate", key)
        launched = self._child(key)
        if launched is not None and not launched.opened:
            launched.shut = True
            if launched.prepared:
                self.world.end(launched.body, _NOT_EXECUTED)

    def _forget(self, launched: Launched) -> None:
        """Nobody asks for it any more. Its gate is shut by that; one that is past it runs on, and its end is kept."""
        launched.key = ""
        if not launched.opened:
            launched.shut = True
            if launched.prepared:
                self.world.end(launched.body, _NOT_EXECUTED)
        if not launched.prepared or (launched.status is not None and launched.watched):
            self._launched.remove(launched)

    def signal(self, proc: Proc, signum: int) -> str:
        self._call("signal", str(proc.pid), str(signum))
        if proc.pid in {0, INIT, self.body.pid}:
            return "denied"
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            return "gone"
        if self.uid not in {0, body.uid}:
            return "denied"
        self.world.signal(body, signum)
        return "sent"

    def watch(self, key: str, proc: Proc) -> None:
        self._call("watch", str(proc.pid))
        for launched in self._launched:
            if launched.body.proc == proc:
                launched.key, launched.watched = key, True
                if launched.status is not None:
                    self.heard.append(Ended(key, proc, launched.status))
                return
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            self.heard.append(Ended(key, proc, None))
        else:
            self._watched[key, proc] = None

    def ended(self, proc: Proc, status: int) -> None:
        """From the world: a process has ended."""
        for launched in self._launched:
            if launched.body.proc == proc and launched.prepared:
                launched.status = status
                if launched.key:
                    self.heard.append(Ended(launched.key, proc, status))
        for key, watched in list(self._watched):
            if watched == proc:
                del self._watched[key, watched]
                self.heard.append(Ended(key, proc, None))
