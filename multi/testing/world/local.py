"""Where one `multi` of a made-up machine is, and who asks it."""

from __future__ import annotations

import errno
from collections.abc import Callable

from multi.machine import MachineError, Me, Ran, Surroundings
from multi.model.caller import Caller, typed
from multi.model.happening import Happening, Interruption
from multi.testing.world.bodies import Body
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.testing.world.world import World


_MOST_CALLS = 200_000  # of one command; more is a loop that never ends
# What changes the machine, or asks it for something; the rest only looks.
_EFFECT_WORDS = """
    make_directory write amend append remove run lock unlock launch open_gate shut_gate signal watch notify_address
    probe cgroup_take cgroup_kill cgroup_remove
"""
EFFECTS = frozenset(_EFFECT_WORDS.split())


class KilledError(BaseException):
    """KILL hit `multi`: nothing of the program can catch it, or do anything after it."""


class Local:
    """Who one `multi` is and what it has called; the other parts of a `Fake` stand on it."""

    def __init__(self, world: World, uid: int, body: Body) -> None:
        self.world = world
        self.uid = uid
        self.body = body
        self.dead = False
        self._told = False  # that it is dead
        self.calls: list[tuple[str, ...]] = []  # every call, its name and its words; for assertions
        self.trap: Callable[[int, tuple[str, ...]], None] | None = None  # asked with the number and words of each call
        self.heard: list[Happening] = []  # what `wait` will return

    def effects(self, *names: str) -> list[tuple[str, ...]]:
        """The calls so far that changed something, or only those with these names."""
        return [call for call in self.calls if call[0] in (names or EFFECTS)]

    def _call(self, *words: str) -> None:
        """Every method begins here: others may run meanwhile, and what is planned to go wrong goes wrong."""
        if self.world.crowd is not None:
            self.world.crowd.change_over(self)
        if self.dead and not self._told:
            self._told = True
            raise KilledError
        if self.dead:
            return
        self.calls.append(words)
        if len(self.calls) >= _MOST_CALLS:
            raise AssertionError(f"it spins: {self.calls[-10:]}")
        if self.trap is not None:
            self.trap(len(self.calls), words)

    def _owner(self, user: str | None) -> int:
        return self.uid if user is None else self.uid_of(user)

    def surroundings(self) -> Surroundings:
        return Surroundings(
            environ=self.world.environ,
            cwd="/",
            home="/root" if self.uid == 0 else f"/home/{self.user_name(self.uid)}",
            hostname="host",
            python="/usr/bin/python3",
            uid=self.uid,
            home_of={user: f"/home/{user}" for user in self.world.users}.get,
        )

    def user_name(self, uid: int) -> str:
        return next((name for name, number in self.world.users.items() if number == uid), str(uid))

    def now(self) -> float:
        return self.world.time

    def wall(self) -> float:
        return self.world.wall

    def me(self) -> Me:
        return Me(self.uid, self.body.pid)

    def caller(self) -> Caller:
        return Caller(self.user_name(self.uid), self.world.where, typed("multi", self.world.words), self.body.pid)

    def uid_of(self, user: str) -> int:
        if user.isdigit():
            return int(user)
        if user not in self.world.users:
            raise MachineError(f"cannot find the user {user!r}", "there is none", "check --uid and --gid", errno.ENOENT)
        return self.world.users[user]

    def gid_of(self, group: str) -> int:
        """Group name or number -> gid; each user has a group of that name. Raises `MachineError`."""
        if group.isdigit():
            return int(group)
        if group not in self.world.users:
            why = f"cannot find the group {group!r}"
            raise MachineError(why, "there is none", "check --uid and --gid", errno.ENOENT)
        return self.world.users[group]

    def login_group(self, user: str) -> str:
        """Each user has a group of that name."""
        return self.user_name(self.uid_of(user))

    def ourselves(self) -> tuple[str, ...]:
        return ("/usr/bin/multi",)

    def which(self, name: str) -> str:
        found = next((path for path in self.world.programs if path.rpartition("/")[2] == name), "")
        return f"/usr/bin/{name}" if found == name else found

    def run(self, words: tuple[str, ...], data: str | None = None) -> Ran:
        self._call("run", *words)
        name = words[0].rpartition("/")[2]
        if name not in self.world.programs:
            raise MachineError(f"cannot run {words[0]}", "No such file or directory", "", errno.ENOENT)
        return self.world.programs[name](words[1:], data)

    def token(self) -> str:
        """A new word, the same in every run."""
        self.world.tokens += 1
        return f"{self.world.tokens:032x}"

    def terminal_gone(self) -> bool:
        return False

    def tell(self, text: str) -> None:
        self._call("tell", text)

    def answer_watchdog(self) -> None:
        """Nobody here has one."""

    def extend_timeout(self) -> None:
        """Nobody here waits."""

    def interrupt(self, signum: int) -> None:
        """From the world: somebody wants this command to stop."""
        self.heard.append(Interruption(signum))
