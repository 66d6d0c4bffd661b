"""Nodes that run on the made-up machine, and the heartbeats of their workers."""

from __future__ import annotations

import json

from multi.act import walk
from multi.model.node import Node
from multi.model.request import Request, RunOptions, Task
from multi.testing.world import Body, Entry, Nature, World, node_of


def running(world: World, short: str = "w1", *, ready: str = "alive", **nature: object) -> Body:
    """A node that runs, with a plug-in that answers if it has one."""
    node = node_of(short, ready=ready, startsecs=0.0, ready_timeout=1.0)
    world.natures[node.name] = Nature(**nature)  # type: ignore[arg-type]  # fields by name
    fake = world.fake()
    list(walk([Task(node, Request("start"))], RunOptions(keep_unready=True), fake))
    fake.close()
    (body,) = world.mains(node.pidfile)
    return body


def beats(world: World, node: Node, ago: float = 0.0, written: float = 0.0, **said: str) -> None:
    """The heartbeat file of a node."""
    token = json.loads(world.files[node.recordfile].data)["token"]
    lines = {
        "MULTI_INSTANCE": token,
        "MONOTONIC_USEC": str(int((world.time - ago) * 1e6)),
        "WRITTEN_USEC": str(int((world.time - written) * 1e6)),
        "STATE": "consuming",
        "SINCE_USEC": str(int((world.time - 50) * 1e6)),
        **said,
    }
    world.files[node.heartbeatfile] = Entry("".join(f"{name}={text}\n" for name, text in lines.items()).encode())
