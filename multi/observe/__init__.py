"""What is true of each node now: its files and the process table are read, then judged."""

from multi.observe.judge import Observation
from multi.observe.look import (
    cause,
    cgroup_of,
    command_of,
    counted,
    glance,
    health,
    heartbeat,
    look_at,
    members,
    recall,
    record_at,
    recorded_as,
    survey,
    uid_of,
    word,
)
from multi.observe.tree import Leftover, adopted_token, is_probe, kill_order, main_token_holders, tree

__all__ = [
    "Leftover",
    "Observation",
    "adopted_token",
    "cause",
    "cgroup_of",
    "command_of",
    "counted",
    "glance",
    "health",
    "heartbeat",
    "is_probe",
    "kill_order",
    "look_at",
    "main_token_holders",
    "members",
    "recall",
    "record_at",
    "recorded_as",
    "survey",
    "tree",
    "uid_of",
    "word",
]
