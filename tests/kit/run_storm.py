"""A storm against `multi run`: 12 nodes with policies, order, limits and hooks that hang, all of it killed at random.

    python tests/kit/run_storm.py --seconds 600 --seed 7

Beside what `stress` counts, two nodes that no command is told of keep an account of their own lives: one may be started
again three times in an hour, the other may not be started again after it has exited with 0. More lives than that are
**restarts against the policy**. In the end every node that is wanted must run, though only `run` is left to do it.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from real import Real, place, stat, until
from stress import _NODE, Account, Storm

_COMMANDS = ("start", "start", "stopwait", "restart", "restart", "stop", "kill", "ensure", "ensure", "apply", "status")
_COUNTED = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with open(sys.argv[1], "a") as file:
    file.write("x")
while True:
    time.sleep(60)
"""
_LIMIT = 3
_CONFIG = """
[defaults]
preset = "exec"
cmd = {cmd}
pidfile = "{run}/%n.pid"
logfile = "{log}/%n.log"
startsecs = 0
stop_schedule = "TERM/2/KILL/10"
lock_timeout = 60
restart = "always"
restart_delay = 0
restart_limit = "none"
env = {{ GENERATION = "{generation}" }}
hooks = {{ failed = "sleep {hang}", recovered = "false", gave_up = "cat" }}

[groups.base]
nodes = ["n0", "n1"]

[groups.rest]
nodes = ["n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]
after = ["base"]

[nodes.n9]
restart = "on-failure"
max_memory = "1G"
alive = "exec:true"
alive_every = 0.5

[nodes.limited]
cmd = {limited}
restart_limit = "{limit}/3600s"

[nodes.done]
cmd = {done}
restart = "on-failure"
"""


class RunStorm(Storm):
    """One run of it."""

    def __init__(self, real: Real, seed: int) -> None:
        """Start nothing yet."""
        super().__init__(real, seed, nodes=10)
        self.words = ()  # the configuration says them
        self.runs = 0
        self.against_policy = 0
        self.generation = 0
        self.hang = 600  # seconds of a hook
        self.resident: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self) -> None:
        """The configuration of the next `apply`."""
        real = self.real
        own = real.shell_words(_NODE, f"{real.base}/%n.own", str(self.doubles))
        text = _CONFIG.format(
            cmd=_toml(own), run=real.run, log=real.log, generation=self.generation, hang=self.hang, limit=_LIMIT,
            limited=_toml(real.shell_words(_COUNTED, str(self.lives("limited")))),
            done=_toml(real.shell_words(_COUNTED, str(self.lives("done")))),
        )  # fmt: skip
        new = real.base / "multi.toml.new"
        new.write_text(text, encoding="utf-8")
        new.replace(real.base / "multi.toml")

    def lives(self, name: str) -> Path:
        """Where a node that is counted writes a letter for each of its lives."""
        return self.real.base / f"{name}.lives"

    def blow(self) -> None:
        """One gust, with a `run` that is there again after it was killed."""
        if self.resident is None or self.resident.poll() is not None:
            self.begin()
        chance = self.random.random()
        if chance < 0.01:
            self.kill_the_run()
        elif chance < 0.03:
            self.kill_a_child()
        elif chance < 0.04:
            self.end(self.random.choice(("limited", "done")))
        elif chance < 0.05:
            self.generation += 1
            self.configure()
        else:
            super().blow()

    def begin(self) -> None:
        """A `run` of all nodes, whatever the last one has left."""
        with (self.real.base / "run.err").open("ab") as err:
            self.resident = subprocess.Popen(
                [sys.executable, "-m", "multi", "run"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=self.real.env,
                cwd=self.real.base,
            )
        self.real.known.append(self.resident)
        self.runs += 1

    def kill_the_run(self) -> None:
        """As the kernel does when memory is short."""
        assert self.resident is not None
        self.resident.kill()
        self.resident.wait()
        self.account.commands_killed += 1

    def kill_a_child(self) -> None:
        """A child of a node, which is for the node to mind."""
        for pid in self.real.processes(self.random.choice(self.names))[1:2]:
            self.real.kill(pid)

    def end(self, name: str) -> None:
        """`limited` is killed, `done` ends by itself with 0."""
        for pid in self.real.processes(name)[:1]:
            self.real.kill(pid, signal.SIGKILL if name == "limited" else signal.SIGTERM)

    def command(self) -> None:
        """A random command from another shell; `apply` and `ensure` take no names but those that are meant."""
        some = self.random.sample(self.names, self.random.randint(1, len(self.names)))
        name = self.random.choice(_COMMANDS)
        process = subprocess.Popen(
            [sys.executable, "-m", "multi", name, *some],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.real.env,
            cwd=self.real.base,
        )
        self.real.known.append(process)
        dies = time.monotonic() + self.random.uniform(0.05, 0.8) if self.random.random() < 0.3 else float("inf")
        self.running.append((process, dies))
        self.account.commands += 1

    def settle(self) -> None:
        """Only `run` is left: what is wanted must come up by itself. Then count.

        A node that another command has started while no `run` lived is refused by the next one, so all are stopped
        before the last `run` begins.
        """
        if self.resident is not None:
            self.resident.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.resident.wait(30)
        self.real.raw("stopwait", *self.names)
        if self.resident is not None and self.resident.poll() is None:
            self.account.remarks.append("run stays in spite of TERM")
            self.resident.kill()
        self.hang = 1  # those that hang since the storm are ended by their limit, which nobody waits for twice
        self.configure()
        self.begin()
        assert self.resident is not None
        with contextlib.suppress(AssertionError):
            until(lambda: all(len(self.mains(name)) == 1 for name in self.names), "run starts all", 90)
        for name in self.names:
            for pid in self.real.processes(name)[:1]:
                self.real.kill(pid)
        with contextlib.suppress(AssertionError):
            until(lambda: all(len(self.mains(name)) == 1 for name in self.names), "run brings all up again", 90)
        for name in self.names:
            if len(self.mains(name)) != 1:
                self.account.lost_nodes += 1
                status = self.real.raw("status", name)
                self.account.remarks.append(f"{name} has {self.mains(name)} after a KILL under run:\n{status}")
        for name, most in (("limited", (_LIMIT + 1) * self.runs), ("done", self.runs)):
            with contextlib.suppress(FileNotFoundError), self.lives(name).open(encoding="ascii") as file:
                lives = len(file.read())
                self.against_policy += max(0, lives - most)
        self.real.raw("stopwait", *self.names, "limited", "done")
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.resident.wait(30)
        if self.resident.poll() is None:
            self.account.remarks.append("run stays though nothing is left to stay with")
            self.resident.kill()
        if b"Traceback" in (self.real.base / "run.err").read_bytes():
            self.account.remarks.append((self.real.base / "run.err").read_text(encoding="utf-8")[-3000:])
        super().settle()
        self.real.raw("stopwait")

    def mains(self, name: str) -> list[int]:
        """The main processes of a node that work."""
        return [
            pid for pid in self.real.processes(name)
            if (seen := stat(pid)) is not None and seen.state not in {"Z", "T"}
        ]  # fmt: skip

    def lines(self) -> list[str]:
        """For a person."""
        return [*self.account.lines(), f"stress: {self.runs} runs, restarts against the policy {self.against_policy}"]


def _toml(text: str) -> str:
    import json

    return json.dumps(text)


def main() -> int:
    """Blow for a while and print the account."""
    parser = argparse.ArgumentParser(description="multi run, its nodes and other commands, killed at random")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    asked = parser.parse_args()
    sys.stdout.write(f"stress: seed {asked.seed}, {asked.seconds:g} seconds\n")
    sys.stdout.flush()
    with place() as real:
        storm = RunStorm(real, asked.seed)
        account: Account = storm.run(asked.seconds)
        sys.stdout.write("\n".join(storm.lines()) + "\n")
    return 0 if account.clean and not account.remarks and not storm.against_policy else 1


if __name__ == "__main__":
    sys.exit(main())
