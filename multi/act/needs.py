"""What must hold before a node is started: its `needs`, and nodes that it comes after and somebody else starts.

What does not hold is waited for without the lock of the node, which nobody else is kept from meanwhile. A node that it
comes after, and that nobody asks for or starts, is named and not waited for, as in systemd.unit(5).
"""

from __future__ import annotations

from multi import observe
from multi.act import surroundings
from multi.act.waits import Wait, process_table
from multi.decide.order import is_starting, ready
from multi.decide.turns import begins, overruled
from multi.model.event import Awaits, Failed, Refused, Skipped
from multi.model.happening import Probed
from multi.model.process import Proc
from multi.model.record import Record
from multi.model.state import runs
from multi.model.step import Stop
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from multi.act.journal import Journal
    from multi.act.waits import Answer, Want
    from multi.machine import Launch, Machine
    from multi.model.node import Node, Ready
    from multi.model.request import Request
    from multi.model.step import Steps
    from multi.typed import TypeAlias

    Decided: TypeAlias = Generator[Want, Answer, Steps | None]  # the steps of a node; None where that ended its walk

_FIRST_PAUSE, _MOST_PAUSE = 0.02, 1.0  # seconds between an answer that is a no and the next question
WAITS = "waits for "
_MOST_NAMES = 5  # as many as still help in one line
_ANSWER_SECONDS, _LEAST_SECONDS = 5.0, 0.5  # for an answer; less where the time for all of them ends before


@dataclass(frozen=True, slots=True)
class Unmet:
    """A need that does not hold, and what its probe met with."""

    need: Ready
    why: str

    def __str__(self) -> str:
        """``tcp:redis:6379 (Connection refused)``."""
        return f"{self.need} ({self.why})" if self.why else str(self.need)


def _unmet(node: Node, setting: Launch, machine: Machine, until: float) -> Generator[Want, Answer, Unmet | None]:
    """Ask all needs of a node, one after the other; the first that does not hold, None where all do."""
    for need in node.needs:
        if need.path:
            why = "" if machine.fingerprint(need.path) else "it is not there"
        else:
            why = yield from _answer(node, need, setting, machine, until)
        if why:
            return Unmet(need, why.removeprefix(f"{need.what}: "))
    return None


def _answer(node: Node, need: Ready, setting: Launch, machine: Machine, until: float) -> Generator[Want, Answer, str]:
    """Why a need does not hold, empty where it does."""
    began = machine.now()
    seconds = max(_LEAST_SECONDS, min(_ANSWER_SECONDS, until - began))
    machine.probe(node.name, need.kind, need.what, setting)
    while True:
        match (yield Wait(began + seconds, "need", 0, began, note=str(need))):
            case Probed(_, ok, why):
                return "" if ok else why or "no"
            case None:
                printed = machine.probe_says(node.name)
                machine.end_probe(node.name)
                return f"no answer within {seconds:g}s" + (f"; it last said: {printed}" if printed else "")


def _await(
    first: Unmet, node: Node, setting: Launch, machine: Machine, overruled: Callable[[], str] = str
) -> Generator[Want, Answer, Unmet | None]:
    """Ask again and again for `ready_timeout`; what does not hold then, None once all do. `first` did not just now.

    It is over, too, once the start is `overruled`.
    """
    began = machine.now()
    until = began + node.ready_timeout
    missing: Unmet | None = first
    told, pause = "", _FIRST_PAUSE
    while missing is not None:
        if told != str(missing.need):
            told, pause = str(missing.need), _FIRST_PAUSE
            yield Awaits(node.name, str(missing.need), missing.why)
        now = machine.now()
        if now >= until or overruled():
            break
        yield Wait(min(until, now + pause), "need", 0, began, note=str(missing))
        pause = min(pause * 1.5, _MOST_PAUSE)
        missing = yield from _unmet(node, setting, machine, until)
    return missing


def _await_others(
    node: Node, others: Sequence[Node], machine: Machine, overruled: Callable[[], str]
) -> Generator[Want, Answer, bool]:
    """Wait for those that nobody asked for and that are on their way, without the lock; whether that took a while."""
    began, pause, told = machine.now(), _FIRST_PAUSE, ""
    while True:
        processes = yield from process_table()
        states = [(other, observe.look_at(other, processes, machine).state) for other in others]
        now = machine.now()
        due = [other for other, state in states if is_starting(state) and now < began + other.ready_timeout]
        if not due or (told and overruled()):
            break
        if not told:
            machine.unlock(node.name)
        if told != due[0].name:
            told = due[0].name
            yield Awaits(node.name, told, "it is not ready")
        until = min(began + other.ready_timeout for other in due)
        yield Wait(min(until, now + pause), "need", 0, began, note=f"{told} is not ready")
        pause = min(pause * 1.5, _MOST_PAUSE)
    down = [other.name for other, state in states if not runs(state)]
    if down and not due:
        more = f" and {len(down) - _MOST_NAMES} more" if len(down) > _MOST_NAMES else ""
        yield Awaits(node.name, " ".join(down[:_MOST_NAMES]) + more, "not running, and not asked for", waited=False)
    return bool(told)


def held(route: Steps, decided: Callable[[], Decided], journal: Journal, request: Request, machine: Machine) -> Decided:
    """The route once all that the node needs holds, `decided` anew if that took a while; None where it never did.

    A node that runs is not stopped for a need that does not hold. A start in vain is put on record as one that failed.
    """
    node = journal.node
    if request.beside and (yield from _await_others(node, request.beside, machine, journal.overruled)):
        again = yield from _again(decided, journal)
        if again is None or not begins(again):
            return again
        route = again
    setting = surroundings.setting(node, machine, Proc(machine.me().pid, ""), machine.token())
    missing = yield from _unmet(node, setting, machine, machine.now() + node.ready_timeout)
    if missing is None:
        return route
    if request.traits.unattended:
        yield Skipped(node.name, None, f"{WAITS}{missing}", met=False)
        return None
    machine.unlock(node.name)
    missing = yield from _await(missing, node, setting, machine, journal.overruled)
    again = yield from _again(decided, journal)
    if missing is None or again is None or not begins(again):
        return again
    yield from _in_vain(missing, again, journal, request)
    return None


def _again(decided: Callable[[], Decided], journal: Journal) -> Decided:
    """The steps after a wait without the lock; None, too, where a stop was asked for meanwhile, which is said."""
    by = journal.overruled()
    route = yield from decided()
    if by and route is not None and begins(route):
        yield overruled(journal.node.name, by)
        return None
    return route


def hold(node: Node, setting: Launch, machine: Machine) -> Generator[Want, Answer, str]:
    """Wait until all that a node needs holds, `ready_timeout` at most; why that was in vain."""
    missing = yield from _unmet(node, setting, machine, machine.now() + node.ready_timeout)
    if missing is not None:
        missing = yield from _await(missing, node, setting, machine)
    return "" if missing is None else _why(missing, node)


def _why(missing: Unmet, node: Node) -> str:
    return f"it needs {missing.need}, which did not hold within {node.ready_timeout:g}s: {missing.why}"


def _in_vain(missing: Unmet, route: Steps, journal: Journal, request: Request) -> Generator[Want, Answer, None]:
    """What becomes of a start that waited for nothing. `run` goes on with its node by the policy."""
    node = journal.node
    why = _why(missing, node)
    if request.traits.stays and node.restart != "no":
        yield Skipped(node.name, None, f"{WAITS}{missing}", met=False)
    elif any(isinstance(step, Stop) for step in route):
        yield Refused(node.name, f"left as it is, because {why}")
    else:
        if journal.found is None:
            yield from journal.save(Record(node=node, proc=None, failure=why))
        else:
            journal.undo(why, journal.found, counts=False, another=request.recorded is None)
        yield Failed(node.name, None, why)


def _others_ready(node: Node, held: dict[str, Node], machine: Machine) -> Generator[Want, Answer, bool]:
    """Wait until all that a node of `run` comes after are ready; False when one of them is `held` by it no more.

    Somebody's write to the record wakes us, as when a start is over or a node is given up.
    """
    wanted = _all_before(node, held)
    armed = ""
    while True:
        processes = yield from process_table()
        late = {
            name: one
            for name, one in wanted.items()
            if name not in held or not ready(observe.look_at(one, processes, machine).state)
        }
        del processes  # a walk that waits long keeps none
        if not late:
            return True
        lost = next((name for name in late if name not in held), "")
        if lost:
            del held[node.name]
            yield Skipped(node.name, None, f"skipped: {lost} is not ready", met=False)
            return False
        # The one that waits for none of the others: something will happen to it.
        first = next((one for one in late.values() if late.keys().isdisjoint(one.after)), next(iter(late.values())))
        if armed == first.name:
            yield Wait(None, "change", 0, machine.now())
        else:  # it may have changed right before
            armed = first.name
            machine.watch_file(node.name, first.recordfile)


def _all_before(node: Node, held: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes of `run` that a node comes after, and those that these come after."""
    found: dict[str, Node] = {}
    pending = [node]
    while pending:
        names = [name for name in pending.pop().after if name in held and name not in found and name != node.name]
        found |= {name: held[name] for name in names}
        pending += [held[name] for name in names]
    return found


def begin_late(
    node: Node,
    held: dict[str, Node],
    late: dict[str, str],
    start: Callable[[], Generator[Want, Answer, str]],
    machine: Machine,
) -> Generator[Want, Answer, None]:
    """The first start of a node of `run`, once those that it comes after are ready and what it needs holds.

    `start` tells why it failed. A node that waited in vain stays among the `late` ones, which are begun again.
    """
    why = ""
    if (yield from _others_ready(node, held, machine)):
        why = yield from start()
    if not why.startswith(WAITS):
        del late[node.name]
