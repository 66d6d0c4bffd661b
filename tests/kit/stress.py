"""Crowds of commands, killed at random, on nodes that are killed at random; and an account of what went wrong.

    python tests/stress.py --seconds 60 --seed 7

What is counted is told by the processes themselves, not by `multi`:

- a node holds a lock of its own (flock(2)) for its whole life, so the kernel says when two of one node live at
  the same time: **double instances**;
- bystanders write down every signal they get, some of them on the pids of nodes that have died: **wrong signals**;
- when all is over, each node must be found and stopped by its name. A process that is left is an **orphan**, a
  node that no command brings up again, or that stands still although it was started, is **lost**.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bystander import LAST_PID, next_pid, reaping
from real import Real, environ_of, place, stat, until

_LONGER = 60.0  # seconds
COMMANDS = ("start", "start", "stopwait", "restart", "restart", "stop", "kill", "ensure", "status")
_NODE = """
import fcntl, os, signal, sys, time
lock, doubles = sys.argv[1:3]
fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    with open(doubles, "a") as file:
        file.write(f"{lock} {os.getpid()}\\n")
if os.fork() == 0 and os.getpid() % 4:
    os.setsid()  # a child that a stop must end too; most leave the group, which would keep its leader's pid from others
while True:
    time.sleep(60)
"""
_BYSTANDER = """
import os, signal, sys, time
def heard(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()} got {number}\\n")
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    try:
        signal.signal(number, heard)
    except (OSError, ValueError):
        pass
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True:
    time.sleep(60)
"""


@dataclass(slots=True)
class Account:
    """What happened, and what must not have."""

    commands: int = 0
    commands_killed: int = 0
    nodes_killed: int = 0
    nodes_stopped: int = 0
    files_removed: int = 0
    pids_taken: int = 0
    wrong_signals: int = 0
    double_instances: int = 0
    orphans: int = 0
    lost_nodes: int = 0
    remarks: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield (
            f"stress: {self.commands} commands, {self.commands_killed} of them killed; "
            f"{self.nodes_killed} nodes killed, {self.nodes_stopped} stopped, {self.files_removed} files removed, "
            f"{self.pids_taken} pids of dead nodes taken by bystanders"
        )
        yield (
            f"stress: wrong signals {self.wrong_signals}, double instances {self.double_instances}, "
            f"orphans {self.orphans}, lost nodes {self.lost_nodes}"
        )
        yield from self.remarks

    @property
    def clean(self) -> bool:
        """Whether every count that must be zero is."""
        return not (self.wrong_signals or self.double_instances or self.orphans or self.lost_nodes)


class Storm:
    """One run. `real` is the place where it happens."""

    def __init__(self, real: Real, seed: int, nodes: int = 5) -> None:
        """Do nothing yet."""
        self.real = real
        self.random = random.Random(seed)
        self.names = [f"n{number}" for number in range(nodes)]
        self.account = Account()
        self.doubles = real.base / "doubles"
        self.tally = real.base / "tally"
        self.bystanders: dict[int, subprocess.Popen[bytes]] = {}
        self.running: list[tuple[subprocess.Popen[bytes], float]] = []
        command = real.shell_words(_NODE, f"{real.base}/%n.own", str(self.doubles))
        self.words: tuple[str, ...] = (
            f"--pidfile={real.run}/%n.pid",
            f"--logfile={real.log}/%n.log",
            "--preset=exec",
            "--startsecs=0",
            f"--cmd={command}",
            "--stop-schedule=TERM/2/KILL/10",
            "--lock-timeout=60",
        )

    def run(self, seconds: float) -> Account:
        """Let it blow for so long, and on a busy machine until both kinds were killed, then see what is left."""
        ends = time.monotonic() + seconds
        self.more_bystanders(3)
        with reaping():
            while (late := time.monotonic() - ends) < 0 or (not self.killed_both and late < _LONGER):
                self.blow()
            for process, _ in self.running:
                self.finished(process)
            self.settle()
        return self.account

    @property
    def killed_both(self) -> bool:
        """Whether a command and a node were killed."""
        return bool(self.account.commands_killed and self.account.nodes_killed)

    # -- the storm -----------------------------------------------------------------------------------

    def blow(self) -> None:
        """One gust: a command, and perhaps a death or two."""
        chance = self.random.random()
        if chance < 0.6 and len(self.running) < 6:
            self.command()
        elif chance < 0.7:
            self.kill_a_node()
        elif chance < 0.75:
            self.remove_a_file()
        elif chance < 0.8:
            self.stop_a_node()
        now = time.monotonic()
        for process, dies in list(self.running):
            if process.poll() is None and now >= dies:
                process.kill()
                self.account.commands_killed += 1
            if process.poll() is not None:
                self.finished(process)
                self.running.remove((process, dies))
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.running:
                self.running[0][0].wait(0.02)

    def command(self) -> None:
        """A random command on random nodes; every other one is to be killed in its course."""
        some = self.random.sample(self.names, self.random.randint(1, len(self.names)))
        process = subprocess.Popen(
            [sys.executable, "-m", "multi", self.random.choice(COMMANDS), *some, *self.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.real.env,
            cwd=self.real.base,
        )
        self.real.known.append(process)
        dies = time.monotonic() + self.random.uniform(0.05, 0.8) if self.random.random() < 0.5 else float("inf")
        self.running.append((process, dies))
        self.account.commands += 1

    def finished(self, process: subprocess.Popen[bytes]) -> None:
        """A command is over; it must have ended by itself or by our hand, in bounded time."""
        try:
            code = process.wait(90)
        except subprocess.TimeoutExpired:
            self.account.remarks.append(f"a command hangs: {shlex.join(map(str, process.args))[:200]}")  # type: ignore[arg-type]  # a list of words
            process.kill()
            code = process.wait()
        if code not in {0, 1, 3, 4, 75, -signal.SIGKILL}:
            self.account.remarks.append(f"a command exited with {code}: {shlex.join(map(str, process.args))[:200]}")  # type: ignore[arg-type]  # a list of words

    def kill_a_node(self) -> None:
        """Behind everybody's back; as root, somebody else gets its pid."""
        living = self.real.processes(self.random.choice(self.names))
        if not living:
            return
        if self.real.kill(living[0]):
            self.account.nodes_killed += 1
            self.take_pid(living[0])

    def stop_a_node(self) -> None:
        """As somebody does who debugs it, and forgets it."""
        for pid in self.real.processes(self.random.choice(self.names))[:1]:
            self.account.nodes_stopped += self.real.kill(pid, signal.SIGSTOP)

    def take_pid(self, pid: int) -> None:
        """Make a bystander that has the pid of a dead node, where the kernel lets us."""
        if os.geteuid() != 0 or not LAST_PID.exists() or len(self.bystanders) > 60:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # we are the reaper here
        with contextlib.suppress(AssertionError):
            until(lambda: stat(pid) is None, "the pid is free", 2.0)
            for _ in range(3):  # another process may be faster
                with next_pid(pid):
                    got = self.more_bystanders(1)
                if got == pid:
                    self.account.pids_taken += 1
                    break

    def more_bystanders(self, count: int) -> int:
        """So many more processes that nobody may touch; the last one's pid."""
        pid = 0
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BYSTANDER, str(self.tally)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=self.real.env,
            )
            self.real.known.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdout.close()
            self.bystanders[process.pid] = process
            pid = process.pid
        return pid

    def remove_a_file(self) -> None:
        """As an over-eager clean-up does; the lock is not among what may be removed in mid-flight."""
        name = self.random.choice(self.names)
        path = self.random.choice((self.real.pidfile(name), self.real.recordfile(name)))
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            self.account.files_removed += 1

    # -- the reckoning ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring everything up, down again, and count."""
        account = self.account
        up = self.real.raw("start", *self.names, *self.words)
        for name in self.names:
            living = self.real.processes(name)
            if len(living) != 1:
                account.lost_nodes += not living
                account.double_instances += len(living) > 1
                account.remarks.append(f"{name} has the processes {living} after the last start:\n{up}")
            suspended = [pid for pid in living if (seen := stat(pid)) is not None and seen.state == "T"]
            if suspended:
                account.lost_nodes += 1
                account.remarks.append(f"{name} stands still after the last start: {suspended}\n{up}")
        down = self.real.raw("stopwait", *self.names, *self.words)
        if down.code:
            account.remarks.append(f"the last stopwait failed:\n{down}")
        with contextlib.suppress(AssertionError):
            until(lambda: not self.strays(), "nothing is left")
        for pid in self.strays():
            account.orphans += 1
            account.remarks.append(f"pid {pid} is left: {stat(pid)} {sorted(environ_of(pid).items())}"[:2000])
        if self.doubles.exists():
            account.double_instances += len(self.doubles.read_text(encoding="ascii").splitlines())
        if self.tally.exists():
            account.wrong_signals += len(self.tally.read_text(encoding="ascii").splitlines())
        account.wrong_signals += sum(process.poll() is not None for process in self.bystanders.values())

    def strays(self) -> list[int]:
        """What is left of any node."""
        return [pid for pid in self.real.family() if pid not in self.bystanders]


def main() -> int:
    """Blow for a while and print the account."""
    parser = argparse.ArgumentParser(description="commands and nodes killed at random; counts what went wrong")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    asked = parser.parse_args()
    sys.stdout.write(f"stress: seed {asked.seed}, {asked.seconds:g} seconds\n")
    with place() as real:
        account = Storm(real, asked.seed).run(asked.seconds)
        sys.stdout.write("\n".join(account.lines()) + "\n")
        sys.stdout.flush()
    return 0 if account.clean and not account.remarks else 1


if __name__ == "__main__":
    sys.exit(main())
