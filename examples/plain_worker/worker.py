"""A worker without any framework, with the life cycle that multi expects of one.

    TERM, INT   warm: finish the current job, begin no other, exit 0
    QUIT        cold: drop the current job, exit 1
    HUP         finish the current job, then start again in place: new code, same pid
    USR1        print where every thread is; go on

It says READY=1 to $NOTIFY_SOCKET when it works (sd_notify(3)), and logs each step of its life to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

# What the worker listens to. Blocked from the decision to start again until the handlers are back, so that a signal in
# between waits instead of killing: an exec resets handlers and keeps the mask (execve(2)).
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)


class ColdShutdown(Exception):  # noqa: N818 -- an order, not an error
    """Drop the job at hand."""


@dataclass(slots=True)
class Worker:
    """One worker and its options. `request` is empty, ``stop`` or ``restart``."""

    name: str
    job: int = 0
    request: str = ""
    wake: tuple[int, int] = field(default_factory=os.pipe)

    def say(self, text: str) -> None:
        """Write one line at once; handlers use it too, so it takes no lock and has no buffer."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        os.write(1, f"{stamp} {self.name}[{os.getpid()}] {text}\n".encode())

    def listen(self) -> None:
        """Install the handlers, then let in what came while there were none."""
        signal.signal(signal.SIGTERM, self.on_warm)
        signal.signal(signal.SIGINT, self.on_warm)
        signal.signal(signal.SIGQUIT, self.on_cold)
        signal.signal(signal.SIGHUP, self.on_restart)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        os.set_blocking(self.wake[1], False)
        signal.set_wakeup_fd(self.wake[1])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def on_warm(self, signum: int, _: FrameType | None) -> None:
        """Finish the current job and begin no other."""
        again = "still " if self.request == "stop" else ""
        self.request = "stop"
        notify("STOPPING=1")
        self.say(f"{signal.Signals(signum).name}: warm shutdown, {again}{self.doing()}")

    def on_cold(self, signum: int, _: FrameType | None) -> None:
        """Drop the current job; once is enough."""
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        self.request = "stop"
        self.say(f"{signal.Signals(signum).name}: cold shutdown")
        raise ColdShutdown

    def on_restart(self, signum: int, _: FrameType | None) -> None:
        """Finish the current job, then start again; a requested stop comes first."""
        self.request = self.request or "restart"
        self.say(f"{signal.Signals(signum).name}: {self.request}, {self.doing()}")

    def doing(self) -> str:
        """Return what the worker is at."""
        return f"finishing job {self.job}" if self.job else "idle"

    def work(self, number: int, seconds: float) -> None:
        """Do one job: it takes `seconds`, whatever signals arrive."""
        self.job = number
        self.say(f"job {number} begins")
        time.sleep(seconds)
        self.say(f"job {number} done")
        self.job = 0

    def rest(self, seconds: float) -> None:
        """Wait for the next job, or for a signal."""
        if not self.request and select.select([self.wake[0]], [], [], seconds)[0]:
            os.read(self.wake[0], 4096)


def notify(text: str) -> None:
    """Report to the caller; a worker does not fail because nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)


def parse(words: list[str]) -> argparse.Namespace:
    """Words -> how to work."""
    parser = argparse.ArgumentParser(description="A worker that logs its life.")
    parser.add_argument("--name", default="worker")
    parser.add_argument("--start-seconds", type=float, default=0, help="time from start to ready")
    parser.add_argument("--job-seconds", type=float, default=1, help="time that a job takes")
    parser.add_argument("--rest-seconds", type=float, default=0.1, help="time between two jobs")
    parser.add_argument("--jobs", type=int, default=0, help="end after so many jobs; 0 goes on for ever")
    parser.add_argument("--exit-status", type=int, default=0, help="exit status after --jobs, to see a failure")
    return parser.parse_args(words)


def run(worker: Worker, order: argparse.Namespace) -> int:
    """Work until a request to stop; return the exit status."""
    worker.say("starting")
    time.sleep(order.start_seconds)
    number = 0
    if not worker.request:
        worker.say("ready")
        notify(f"READY=1\nSTATUS={worker.name} takes jobs")
    while not worker.request:
        number += 1
        worker.work(number, order.job_seconds)
        if number == order.jobs:
            worker.say(f"{number} jobs done, exiting with status {order.exit_status}")
            return int(order.exit_status)
        worker.rest(order.rest_seconds)
    return 0


def main(words: list[str]) -> int:
    """Live one life, or several in one process."""
    order = parse(words)
    worker = Worker(order.name)
    try:
        worker.listen()
        status = run(worker, order)
        # From here on a signal waits: for the next life, or for ever, so that a late one does not change how this one
        # ends. Earlier signals are handled by now, so the request is final.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    except ColdShutdown:
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        worker.say(f"job {worker.job} dropped" if worker.job else "no job to drop")
        status = 1
    if worker.request == "restart":
        worker.say("starting again in place")
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 -- the words are our own
    if worker.request == "stop":
        worker.say("stopped")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
