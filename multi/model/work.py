"""What a worker has in hand, as its plug-in says it, and its heartbeat: bytes of somebody else to bounded values.

Nothing here is believed further than it is shown: names are cut, lists are short, and what is not as agreed is None.
Who does not cut is the reader of the file or socket, which has a limit of its own.
"""

from __future__ import annotations

from math import isfinite

from multi.model.record import MOST_DIGITS, said
from multi.model.schedule import signal_name
from multi.text import duration, plural, printable, seconds_in, seconds_text
from multi.typed import TYPE_CHECKING
from multi.value import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORK_LIMIT = 1 << 14  # bytes: ten tasks with long names
_MOST_TASKS, _MOST_LETTERS, _MOST_ID = 10, 200, 8
_LAST_NUMBER = 10**9
_LAST_SECOND = 1e9  # thirty years
_SHORT_ID = 4  # letters, where that tells the tasks of a node apart
_MINUTES = 600  # seconds; below, a person wants them
_AHEAD = 1.0  # seconds that a beat may lie in the future: it is written while it is read


@dataclass(frozen=True, slots=True)
class ActiveTask:
    """A task under way: `seconds` so far, and its time limit, None for none. With `acks_late` it is redelivered."""

    name: str
    id: str
    seconds: float
    limit: float | None = None
    acks_late: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has in hand: `count` tasks under way, of which `active` are those that take longest.

    `reserved` tasks wait in the worker for a free slot, `eta` tasks for their time; a broker has them again when the
    worker ends.
    """

    count: int
    active: tuple[ActiveTask, ...] = ()
    reserved: int = 0
    eta: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is lost or delayed if it ends now; an ETA task goes back to its broker."""
        return not self.count and not self.reserved

    def aged(self, seconds: float) -> Work:
        """The same so many seconds later, as far as can be told."""
        return replace(
            self, active=tuple(replace(task, seconds=task.seconds + max(0.0, seconds)) for task in self.active)
        )


def decode_work(text: str) -> Work | None:
    """The JSON object that the plug-in says -> what it means; None for anything else."""
    import json

    if len(text) > WORK_LIMIT:
        return None
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return work_of(raw)


def work_of(raw: object) -> Work | None:
    """The same of an object that was JSON."""
    if not isinstance(raw, dict) or (count := _count(raw.get("count"))) is None:
        return None
    listed = raw.get("active", [])
    tasks = [_task(each) for each in listed[:_MOST_TASKS]] if isinstance(listed, list) else []
    active = sorted((task for task in tasks if task is not None), key=lambda task: -task.seconds)
    return Work(max(count, len(active)), tuple(active), _count(raw.get("reserved")) or 0, _count(raw.get("eta")) or 0)


def encode_work(work: Work) -> str:
    """The inverse: what the plug-in would say."""
    import json

    active = [{name: getattr(task, name) for name in ActiveTask.__match_args__} for task in work.active]
    return json.dumps({"count": work.count, "active": active, "reserved": work.reserved, "eta": work.eta})


def _task(raw: object) -> ActiveTask | None:
    if not isinstance(raw, dict):
        return None
    name, ident, seconds = raw.get("name"), raw.get("id"), _seconds(raw.get("seconds"))
    if not isinstance(name, str) or not isinstance(ident, str) or seconds is None:
        return None
    late = raw.get("acks_late") is True
    return ActiveTask(name[:_MOST_LETTERS], ident[:_MOST_ID], seconds, _seconds(raw.get("limit")), late)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LAST_NUMBER else None


def _seconds(value: object) -> float | None:
    if type(value) not in {int, float}:
        return None
    assert isinstance(value, (int, float))  # noqa: S101 -- for the type checker
    return float(value) if 0 <= value <= _LAST_SECOND and isfinite(value) else None


def task_text(task: ActiveTask, letters: int = _SHORT_ID) -> str:
    """``orders.export 3f2a 41s (limit 300s)``."""
    limit = "" if task.limit is None else f" (limit {seconds_text(task.limit)}s)"
    return f"{printable(task.name)} {printable(task.id[:letters])} {seconds_so_far(task.seconds)}{limit}"


def len_id(tasks: Sequence[ActiveTask]) -> int:
    """How many letters of their ids tell the tasks apart."""
    longest = max((len(task.id) for task in tasks), default=_SHORT_ID)
    lengths = range(_SHORT_ID, longest)
    return next((length for length in lengths if len({task.id[:length] for task in tasks}) == len(tasks)), longest)


def seconds_so_far(seconds: float) -> str:
    """``41s``, and from ten minutes on as people say it."""
    return f"{int(seconds)}s" if seconds < _MINUTES else duration(seconds)


def fate(task: ActiveTask) -> str:
    """What becomes of a task that was cut off."""
    return "redelivered" if task.acks_late else "lost"


def cut_text(signum: int, count: int, tasks: Sequence[ActiveTask]) -> str:
    """``QUIT cut off 2 tasks: orders.export 3f2a 90s (lost), mail.send 9c01 51s (redelivered)``."""
    letters = len_id(tasks)
    named = [
        f"{printable(task.name)} {printable(task.id[:letters])} {seconds_so_far(task.seconds)} ({fate(task)})"
        for task in tasks
    ]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f"{signal_name(signum)} cut off {plural(count, 'task')}: {', '.join(named)}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The file in which a worker says what its loop does. Times are the machine's own clock.

    The loop turned at `at`, the file is of `written`. `state` is ``consuming``, ``waiting`` (for its broker),
    ``draining`` or ``stopping``, since `since` and because of `why`. `active` tasks are under way, `oldest` is the one
    that runs longest. With `blocks` a task can keep the loop of this `pool` from turning. A `drained` worker takes
    no new task. `stopped_by` is who asked for
    this stop by other ways than a signal.
    """

    at: float
    written: float
    state: str
    since: float
    why: str = ""
    pool: str = ""
    blocks: bool = False
    drained: bool = False
    active: int = 0
    oldest: ActiveTask | None = None
    reserved: int = 0
    eta: int = 0
    stopped_by: str = ""

    def work(self, now: float) -> Work:
        """What the worker has in hand, as far as the file says: of the tasks under way the oldest."""
        known = () if self.oldest is None or not self.active else (self.oldest,)
        return Work(self.active, known, self.reserved, self.eta).aged(now - self.written)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat means now: the verdict, since how many seconds and why; the loop turned `age` seconds ago.

    ``consumes``; ``waits`` for its broker, ``draining`` and ``stopping``; ``busy``, a task blocks the loop; ``wedged``,
    nothing explains that the loop does not turn; ``none``, there is no heartbeat.
    """

    word: str
    age: float | None = None
    since: float | None = None
    why: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing speaks against the worker. One without a heartbeat may be one without the plug-in."""
        return self.word != "wedged"


NO_PULSE = Pulse("none")
SILENCE = 30.0  # seconds without a beat that mean something, where nobody says how many
_WORDS = {"consuming": "consumes", "waiting": "waits", "draining": "draining", "stopping": "stopping"}


def decode_heartbeat(data: bytes, token: str) -> Heartbeat | None:
    """The bytes of the file -> what it says; None when they are cut off, of another start, or no heartbeat."""
    fields = said(data, token)
    at, state = (None, "") if fields is None else (_usec(fields, "MONOTONIC_USEC"), fields.get("STATE", ""))
    if fields is None or at is None or state not in _WORDS:
        return None
    written, since, begun = (_usec(fields, f"{name}_USEC") for name in ("WRITTEN", "SINCE", "OLDEST"))
    active, reserved, eta = (_number(fields.get(name, "")) for name in ("ACTIVE", "RESERVED", "ETA"))
    written = at if written is None else max(at, written)
    oldest = None
    if begun is not None:
        name, ident = fields.get("OLDEST_NAME", "")[:_MOST_LETTERS], fields.get("OLDEST_ID", "")[:_MOST_ID]
        oldest = ActiveTask(name, ident, max(0.0, written - begun), seconds_in(fields.get("OLDEST_LIMIT", "")))
    asked = fields.get("X_MULTI_STOP") == "asked"
    return Heartbeat(
        at=at,
        written=written,
        state=state,
        since=at if since is None else since,
        why=fields.get("WHY", "")[:_MOST_LETTERS],
        pool=fields.get("POOL", "")[:_MOST_LETTERS],
        blocks=fields.get("BLOCKS") == "1",
        drained=fields.get("DRAINED") == "1" or state == "draining",
        active=active,
        oldest=oldest,
        reserved=reserved,
        eta=eta,
        stopped_by=(fields.get("X_MULTI_STOP_BY", "")[:_MOST_LETTERS] or "remote control") if asked else "",
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(_LAST_NUMBER)) else 0


def _usec(fields: Mapping[str, str], name: str) -> float | None:
    text = fields.get(name, "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def pulse(beat: Heartbeat | None, now: float, silence: float = SILENCE) -> Pulse:
    """The verdict on a heartbeat of a worker that lives, whose loop is to turn each `silence` seconds at least.

    A broker that is down makes no worker unhealthy. A loop that a task blocks is busy until that task's time limit,
    and for ever where it has none. A beat in the future, by the clock of another boot, says nothing.
    """
    if beat is None or beat.at > now + _AHEAD:
        return NO_PULSE
    age = max(0.0, now - beat.at)
    word = _WORDS[beat.state]
    if age <= silence or word in {"waits", "stopping"}:
        return Pulse(word, age, max(0.0, now - beat.since), beat.why)
    silent = now - beat.written > silence  # it runs no Python at all: a task may hold the interpreter's lock
    task = beat.oldest
    if beat.active and task is not None and (beat.pool != "prefork" if silent else beat.blocks):
        ran = task.seconds + max(0.0, now - beat.written)
        if task.limit is None or ran <= task.limit:
            return Pulse("busy", age, age, task_text(replace(task, seconds=ran)))
        return Pulse("wedged", age, age, f"{task_text(replace(task, seconds=ran))} runs beyond its limit")
    return Pulse("wedged", age, age, "the process runs no Python" if silent else "its loop does not turn")
