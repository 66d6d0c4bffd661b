"""A tiny worker that speaks as the plug-in does: READY, a heartbeat, a socket, and at a stop what it has in hand.

    python plugin_peer.py [--tasks N] [--seconds S] [--beats S]

It has N tasks in hand for S seconds, and then takes N more unless it is drained or stops. TERM lets it finish them, and
QUIT ends it at once. It beats once, or while it works each S seconds.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--tasks", type=int, default=0)
options.add_argument("--seconds", type=float, default=600.0)
options.add_argument("--mark", default="")
options.add_argument("--beats", type=float, default=0.0)
given = options.parse_args()
stem = os.environ["MULTI_INSTANCE_PIDFILE"].removesuffix(".pid")
state = {"state": "consuming", "drained": False, "stopping": False}
began = time.monotonic()


def work() -> dict[str, object]:
    """What it has in hand."""
    global began
    ran = time.monotonic() - began
    count = given.tasks
    if ran > given.seconds:
        count = 0
        if not state["drained"] and not state["stopping"]:
            began, ran, count = time.monotonic(), 0.0, given.tasks
    names = ("orders.export", "mail.send")
    active = [  # the second one is redelivered
        {
            "name": names[n % 2],
            "id": f"{n}f2a77aa",
            "seconds": ran,
            "limit": None if n % 2 else 300,
            "acks_late": n % 2 == 1,
        }
        for n in range(count)
    ]
    return {"count": count, "active": active, "reserved": 0, "eta": 0}


def say(**fields: str) -> None:
    """One datagram."""
    where = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto("\n".join(f"{name}={value}" for name, value in fields.items()).encode(), where)
        except OSError:
            return


def beat() -> None:
    """Write the heartbeat."""
    lines = {
        "MULTI_INSTANCE": os.environ["MULTI_INSTANCE"],
        "MONOTONIC_USEC": str(time.monotonic_ns() // 1000),
        "STATE": state["state"],
        "DRAINED": str(int(bool(state["drained"]))),
        "ACTIVE": str(work()["count"]),
    }
    beside = Path(stem + ".heartbeat.new")
    beside.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    beside.replace(stem + ".heartbeat")


def serve() -> None:
    """Answer on the socket."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(stem + ".sock")
    Path(stem + ".sock").chmod(0o600)
    server.listen(8)
    while True:
        peer, _ = server.accept()
        with peer:
            word = peer.recv(64).decode().strip()
            if word in {"drain", "resume"}:
                state["drained"] = word == "drain"
                state["state"] = "draining" if state["drained"] else "consuming"
                beat()
            try:
                peer.sendall(json.dumps({**work(), **state, "done": True}).encode() + b"\n")
            except OSError:
                continue


def warm(*_: object) -> None:
    """Finish the tasks."""
    state["stopping"] = True
    state["state"] = "stopping"


signal.signal(signal.SIGTERM, warm)
signal.signal(signal.SIGQUIT, lambda *_: os._exit(0))
threading.Thread(target=serve, daemon=True).start()
beat()
say(READY="1", STATUS="consuming")
said, beaten = 0.0, time.monotonic()
while not (state["stopping"] and not work()["count"]):
    if state["stopping"] and time.monotonic() > said + 0.5:
        said = time.monotonic()
        say(STOPPING="1", STATUS="warm shutdown", X_MULTI_TASKS=json.dumps(work()))
    if given.beats and not state["stopping"] and time.monotonic() > beaten + given.beats:
        beaten = time.monotonic()
        beat()
    time.sleep(0.02)
sys.exit(0)
