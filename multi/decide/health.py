"""Whether a running node is healthy, and whether it has reached a limit of its own. Pure.

A node is asked when it is ready, each `alive_every`. `alive_failures` answers in a row that are no make it unhealthy:
then it is restarted. An answer that says nothing, as of a node that cannot be heard, changes no count. Under `ensure`
each run asks once, and two runs within `alive_every` count once.

A node that has reached `max_memory` or `max_age` is recycled: restarted, but not for a failure. Of a group one is
recycled at a time, and only while the others run.
"""

from __future__ import annotations

import zlib

from multi.model.health import Health
from multi.model.state import State, Up
from multi.model.work import pulse
from multi.text import duration, plural, size
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multi.model.node import Node
    from multi.model.process import Proc
    from multi.model.request import Due
    from multi.model.work import Heartbeat

EARLY = 0.1  # of `alive_every`: cron is a little early at times
MEMORY_EVERY = 30.0  # seconds between two looks at nodes that have a limit
_MOST_WITHIN = 30.0  # seconds for one answer
_SPREAD = 0.1  # of `max_age`: nodes that were started together are not recycled together


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking once: `ok`, None when nothing could be learnt; `why` not, or what it is busy with."""

    ok: bool | None
    why: str = ""
    fingerprint: str = ""


def ready(state: State) -> Proc | None:
    """The process of a node that is up and ready, and so is to prove that it works."""
    return state.proc if isinstance(state, Up) and state.ready else None


def can_answer(state: State) -> bool:
    """Whether its answers mean anything: one that is suspended gives none."""
    return isinstance(state, Up) and state.ready and not state.suspended


def answer_within(node: Node) -> float:
    """Seconds that one answer may take; later is no."""
    return min(node.alive_every, _MOST_WITHIN)


def ask_at(node: Node, health: Health | None, began: float) -> float:
    """When to ask next a process that began, or got ready, at `began`."""
    return (began if health is None else health.asked) + node.alive_every


def ask_now(node: Node, health: Health | None, began: float, now: float) -> bool:
    """Whether a command that comes by now and then is to ask; one that comes a little early may."""
    return now >= ask_at(node, health, began) - EARLY * node.alive_every


def asked(health: Health | None, token: str, answer: Answer, now: float) -> Health:
    """What is known after an answer."""
    before = health or Health(token, now)
    if answer.ok is None:
        return replace(before, asked=now, why=answer.why or before.why)
    if answer.ok:
        return Health(token, now, why=answer.why, fingerprint=answer.fingerprint)
    since = before.since if before.failures else now
    return Health(token, now, before.failures + 1, since, answer.why, answer.fingerprint or before.fingerprint)


def unhealthy(node: Node, health: Health | None, now: float) -> str:
    """Why the node has to be restarted; empty while it has not."""
    if health is None or health.failures < node.alive_failures:
        return ""
    return failing(node, health, now)


def failing(node: Node, health: Health, now: float) -> str:
    """What is wrong with it, for people: ``alive = tcp:127.0.0.1:80 failed 3 times in 1m: Connection refused``."""
    times = plural(health.failures, "time")
    within = f" in {duration(now - health.since)}" if health.failures > 1 else ""
    return f"alive = {node.alive} failed {times}{within}: {health.why}"


def written(health: Health | None, fingerprint: str, path: str) -> Answer:
    """``file:PATH``: it must have been made or written to since it was asked before."""
    if not fingerprint:
        return Answer(ok=False, why=f"{path} is not there")
    if health is not None and health.fingerprint == fingerprint:
        return Answer(ok=False, why=f"nothing was written to {path}", fingerprint=fingerprint)
    return Answer(ok=True, fingerprint=fingerprint)


def beaten(beat: Heartbeat | None, now: float, silence: float) -> Answer:
    """``heartbeat:SECONDS``: a worker that waits for its broker, or that a task blocks within its limit, is healthy."""
    found = pulse(beat, now, silence)
    if found.word == "none":
        return Answer(ok=None, why="it has no heartbeat: only a worker with the plug-in of multi has one")
    return Answer(ok=found.healthy, why=found.why if found.word in {"busy", "wedged"} else "")


# -- limits ------------------------------------------------------------------------------------------------


def age_limit(node: Node, token: str) -> float | None:
    """Seconds until this process is to be recycled: up to a tenth less than `max_age`, as its token has it."""
    if node.max_age is None:
        return None
    return node.max_age * (1 - _SPREAD * zlib.crc32(f"{node.name} {token}".encode()) / 2**32)


def next_look(now: float) -> float:
    """When to look at limits: at the same moments for all nodes, so that one look is enough for them."""
    return (now // MEMORY_EVERY + 1) * MEMORY_EVERY


def over(node: Node, token: str, age: float, memory: int) -> str:
    """Which limit a process has reached, for people; empty when none."""
    if node.max_memory is not None and memory > node.max_memory:
        return f"its {size(memory)} of memory are above max_memory = {size(node.max_memory)}"
    limit = age_limit(node, token)
    if limit is not None and age >= limit:
        return f"it has run for {duration(age)}, and max_age is {duration(node.max_age or 0.0)}"
    return ""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a group: whether it works now, the limit that it has reached, its tasks, and its age in seconds."""

    name: str
    group: str
    works: bool
    due: Due | None = None
    tasks: int | None = None
    age: float = 0.0


def turns(members: Iterable[Member]) -> Mapping[str, Due]:
    """Which of those that have reached a limit are recycled now: one of a group, and only while the others work.

    Of several, one without tasks is the first, then the one with the fewest, then the oldest process: one whose limit
    is too small for it must not keep the others from their turn.
    """
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.group, []).append(member)
    chosen: dict[str, Due] = {}
    for group in groups.values():
        waiting = [(each.tasks or 0, -each.age, index) for index, each in enumerate(group) if each.due is not None]
        if not waiting or not all(member.works for member in group):
            continue
        member = group[min(waiting)[2]]
        assert member.due is not None  # noqa: S101 -- as chosen above
        chosen[member.name] = member.due
    return chosen
