"""A tiny worker for the tests: it lives, and misbehaves as it is told.

    python -I -S worker_child.py [OPTIONS]

    --print TEXT          say TEXT on stdout, at once; may be repeated
    --words FILE          write the words after a lone ``--`` to FILE as they came, each with a NUL behind it
    --touch FILE          make FILE when everything else is set up
    --notify TEXT         send TEXT to $NOTIFY_SOCKET when everything else is set up (sd_notify(3))
    --title TEXT          show TEXT in place of these words, as setproctitle does
    --ignore SIG          ignore a signal; may be repeated
    --tally FILE          append a line ``PID SIG`` to FILE for each TERM, QUIT, HUP, USR1 and USR2, and go on
    --finish SECONDS      take so long to end after TERM (then exit 0)
    --end-after SECONDS   end by itself
    --exit STATUS         with this status instead of 0; alone: at once
    --child KIND          have a child; may be repeated. KIND is ``plain`` (same group and session), ``group`` (its own
                          group), ``session`` (its own session), ``orphan`` (its own session, its parent gone: the
                          classic double fork), ``bare`` (an empty environment), ``lost`` (both: nothing but a cgroup
                          still says whose it is), ``zombie`` (exited, never waited for) or ``forker`` (again and again
                          a new child in a new session, then it ends itself)
    --mark WORD           means nothing; the tests find the process by it

All children but the zombie ignore TERM, so that only KILL ends them, and end by themselves after ten minutes.
What is set up is set up before ``--touch`` and ``--notify``: who waits for these sees the whole family. A file named
after the pid, in the directory that $MULTI_TEST_UP names, says the same; see `real.Real`.
"""

import os
import signal
import socket
import sys
import time

LIFE = 600.0  # seconds; nothing of the tests outlives this
HEARD = ("TERM", "QUIT", "HUP", "USR1", "USR2")


def main(words: list[str]) -> int:  # noqa: C901 -- one branch an option
    """Live as told; the exit status."""
    end = words.index("--") if "--" in words else len(words)
    told, rest = words[:end], words[end + 1 :]
    options = list(zip(told[::2], told[1::2], strict=True))
    given = dict(options)
    status = int(given.get("--exit", "0"))
    wake, waker = os.pipe()

    def on_signal(signum: int, _frame: object) -> None:
        if "--tally" in given:
            with open(given["--tally"], "a", encoding="ascii") as file:  # noqa: PTH123 -- pathlib costs start-up time
                file.write(f"{os.getpid()} {signal.Signals(signum).name.removeprefix('SIG')}\n")
        else:
            os.write(waker, b"t")

    for name in HEARD if "--tally" in given else ("TERM",) if "--finish" in given else ():
        signal.signal(getattr(signal, f"SIG{name}"), on_signal)
    for name, value in options:
        if name == "--ignore":
            signal.signal(getattr(signal, f"SIG{value}"), signal.SIG_IGN)
        elif name == "--print":
            os.write(1, os.fsencode(value) + b"\n")
        elif name == "--words":
            write(value, b"".join(os.fsencode(word) + b"\0" for word in rest))
        elif name == "--title":
            show(value)
        elif name == "--child":
            have_child(value, given.get("--mark", ""))
    say_up()
    if "--touch" in given:
        write(given["--touch"], b"%d\n" % os.getpid())
    if "--notify" in given:
        notify(given["--notify"])
    if "--exit" in given and "--end-after" not in given and "--finish" not in given:
        return status
    wait(wake, float(given.get("--end-after", LIFE)))
    time.sleep(float(given.get("--finish", "0")))
    return status


def wait(wake: int, seconds: float) -> None:
    """Sleep so long, or until TERM.

    Python runs its handlers between two of its own steps, so one whose signal arrives right before the sleep would wait
    for its end. The byte that the C handler writes ends the sleep.
    """
    import select

    heard, hears = os.pipe()
    os.set_blocking(hears, False)
    signal.set_wakeup_fd(hears, warn_on_full_buffer=False)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        ready, _, _ = select.select([wake, heard], [], [], max(0.0, ends - time.monotonic()))
        if wake in ready:
            return
        if heard in ready:
            os.read(heard, 512)


def write(path: str, data: bytes) -> None:
    """Replace a file at one stroke: who sees it sees all of it."""
    with open(path + ".part", "wb") as file:  # noqa: PTH123 -- as above
        file.write(data)
    os.rename(path + ".part", path)  # noqa: PTH104 -- as above


def show(title: str) -> None:
    """Write it over the words that the kernel shows, proc_pid_cmdline(5), filled up with NULs."""
    import ctypes

    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 -- as above
        fields = file.read().rpartition(b")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = os.fsencode(title)[: end - begin - 1]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, text, len(text))


def say_up() -> None:
    """Say to the tests that signals are heard from now on."""
    up = os.environ.get("MULTI_TEST_UP")
    if up and os.path.isdir(up):  # noqa: PTH112 -- as above
        write(f"{up}/{os.getpid()}", b"")


def notify(text: str) -> None:
    """Say it to whoever waits for us."""
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(os.fsencode(text), "\0" + address[1:] if address.startswith("@") else address)


def have_child(kind: str, mark: str) -> None:
    """Fork one; back when it is what it is to be."""
    done, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.read(done, 1)  # end-of-file when the last of the family has closed it
        os.close(done)
        if kind in {"orphan", "lost"}:
            os.waitpid(pid, 0)
        return
    os.close(done)
    if kind == "zombie":
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "group":
        os.setpgid(0, 0)
    if kind in {"session", "orphan", "lost"}:
        os.setsid()
    if kind in {"orphan", "lost"} and os.fork():
        os._exit(0)
    if kind in {"bare", "lost"}:
        os.set_inheritable(tell, False)  # noqa: FBT003 -- its own signature
        words = [sys.executable, "-I", "-S", __file__, "--ignore", "TERM", "--mark", mark]
        os.execve(sys.executable, words, {})  # noqa: S606 -- a real process is the point
    os.close(tell)
    if kind == "forker":
        fork_on()
    time.sleep(LIFE)
    os._exit(0)


def fork_on() -> None:
    """A family that never stands still: a new session every 10 ms, its maker gone."""
    end = time.monotonic() + LIFE
    while time.monotonic() < end:
        time.sleep(0.01)
        if os.fork():
            os._exit(0)
        os.setsid()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
