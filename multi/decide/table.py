"""The table: (command, observed state) -> steps. Nothing else in the program chooses.

    |          | Down    | Up         | Stopping        | Dead       | Lost           | Unsure |
    | start    | Spawn   | Skip       | AwaitEnd, Clear,| Clear,     | Adopt          | Refuse |
    |          |         |            | Spawn           | Spawn      |                |        |
    | run      | Spawn   | Refuse; or | AwaitEnd, Clear,| Clear,     | Adopt, Refuse; | Refuse |
    |          |         | Take; or   | Spawn           | Spawn      | or Take; or as |        |
    |          |         | as restart |                 |            | restart        |        |
    | stop     | Skip    | Signal     | Skip            | Clear      | Adopt, Signal  | Refuse |
    | stopwait | Skip    | Stop,      | Stop, Clear     | Clear      | Adopt, Stop,   | Refuse |
    |          |         | Clear      |                 |            | Clear          |        |
    | restart  | Spawn   | Stop,      | Stop, Clear,    | Clear,     | Adopt, Stop,   | Refuse |
    |          |         | Clear,     | Spawn           | Spawn      | Clear, Spawn   |        |
    |          |         | Spawn      |                 |            |                |        |
    | kill     | Skip    | Kill,      | Kill, Clear     | Clear      | Adopt, Kill,   | Refuse |
    |          |         | Clear      |                 |            | Clear          |        |
    | forget   | Skip;   | Refuse     | Refuse          | Refuse;    | Refuse         | Refuse |
    |          | or      |            |                 | or Clear,  |                |        |
    |          | Forget  |            |                 | Forget     |                |        |
    | remove   | Skip;   | Stop,      | Stop, Clear,    | Clear,     | Adopt, Stop,   | Refuse |
    |          | or      | Clear,     | Forget          | Forget     | Clear, Forget  |        |
    |          | Forget  | Forget     |                 |            |                |        |
    | ensure   | Skip    | Skip; or   | Skip            | Clear,     | Adopt          | Refuse |
    |          |         | as restart |                 | Spawn; or  |                |        |
    |          |         |            |                 | Skip       |                |        |
    | revive   | Skip    | Skip; or   | Skip            | Clear,     | Skip           | Refuse |
    |          |         | as restart |                 | Spawn; or  |                |        |
    |          |         |            |                 | Skip       |                |        |
    | apply    | Spawn   | Skip; or   | Stop, Clear,    | Clear,     | Adopt; or as   | Refuse |
    |          |         | as restart | Spawn           | Spawn      | restart        |        |
    | signal   | Refuse  | Signal     | Signal          | Refuse     | Adopt, Signal  | Refuse |
    | drain    | Refuse  | Drain      | Skip            | Refuse     | Adopt, Drain   | Refuse |
    | resume   | Refuse  | Consume    | Refuse          | Refuse     | Adopt, Consume | Refuse |
    | up       | AwaitUp | Skip       | AwaitUp         | AwaitUp    | Skip           | Refuse |
    | down     | Skip    | AwaitDown  | AwaitDown       | Skip       | AwaitDown      | Refuse |

With `when_idle` a `Drain` until the last task is done comes before a `Stop`; a worker that stops already takes none.

A `Stopping` whose signal was never sent, because whoever asked for the stop was cut off before, gets it from `start`
and `stop` too. An `Up` that nobody has seen ready yet is waited for by `start`, `up`, `ensure` and `apply`; but one
that says that it waits for its broker is left alone by `ensure`. `up` and `down` are the two forms of `wait`, which
touches nothing. `ensure` leaves alone what was stopped on purpose, for a while what keeps failing, and always what a
living `run` holds; it restarts an `Up` that is due for it, being unhealthy or at a limit of its own. `revive` is what
`run` asks of a node that has ended. Both go by `multi.decide.restart`, which may put an end on record (`PutOff`,
`GiveUp`, `Finish`) where the table says Spawn. `run` takes what another `run` has left that is no more. `apply`
restarts an `Up` only when it runs otherwise than is configured now.

`Down` is a node that was never started, or one that was stopped and is on record as that. What was stopped on purpose
is left alone by `restart`, `signal`, `reload` and `up` unless it is named. `forget` takes off the record what was
stopped, and skips the others where none is named; `remove` is what `apply` asks of a node that its configuration does
not have any more.

A suspended process can neither work nor end when it is asked to. A stop that was cut off right before its KILL leaves
it suspended, and so does anybody's STOP. A command that wants it to work or to end begins with `Resume`; `ensure` does
so only after a stop was asked for, and otherwise reports the node as suspended: somebody may hold it on purpose.
"""

from __future__ import annotations

from multi.decide import restart
from multi.decide.resolve import needs_restart
from multi.model.node import Unknown
from multi.model.request import Request
from multi.model.schedule import HUP, end_text
from multi.model.state import STOPPED_BY, SUSPENDED, Dead, Down, Lost, State, Stopping, Unsure, Up
from multi.model.step import (
    Adopt,
    AwaitDown,
    AwaitEnd,
    AwaitReady,
    AwaitUp,
    Clear,
    Consume,
    Drain,
    Finish,
    Forget,
    GiveUp,
    Kill,
    PutOff,
    Refuse,
    Resume,
    Rewrite,
    Route,
    Signal,
    Skip,
    Spawn,
    Step,
    Steps,
    Stop,
    Take,
)
from multi.typed import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from multi.model.node import Node
    from multi.model.schedule import Schedule

    Sure: TypeAlias = Down | Up | Stopping | Dead | Lost

NOT_RUNNING = "not running"
ALREADY_RUNNING = "already running"
ALREADY_STOPPING = "already stopping"
STOPPED_ON_PURPOSE = "stopped on purpose"
ENDS_ON_HUP = "another tool started it, and HUP would end it; 'multi restart' with the worker's options takes it over"
SAY_IT = "give the worker's options, as for 'multi start'"


def route(request: Request, state: State, node: Node) -> Route:
    """The steps from the observed state to what is asked. Raises `KeyError` for an unknown command."""
    row = _ROWS[request.command]
    if isinstance(state, Unsure):
        return Route(node, (Refuse(state.why),))
    if not request.named and _stopped_on_purpose(request, state):
        return Route(node, (Skip(STOPPED_ON_PURPOSE),))
    steps = row(request, state, node)
    if isinstance(node.command, Unknown) and any(isinstance(step, Spawn) for step in steps):
        dead = f"{state.why}, and " if isinstance(state, Dead) else ""
        return Route(node, (Refuse(f"{dead}{node.command.why}; {SAY_IT}"),))
    steps = (*_resume(request, state), *steps)
    if request.held is not None:
        from multi.decide.rejected import saying_why

        steps = saying_why(request.held, request, steps)
    return Route(node, steps)


_NOT_WHAT_IS_STOPPED = frozenset({"restart", "signal", "reload", "dump", "drain", "resume", "up"})


def _stopped_on_purpose(request: Request, state: Sure) -> bool:
    match state:
        case Down(on_record=True) | Dead(on_purpose=True):
            return request.command in _NOT_WHAT_IS_STOPPED
        case Stopping(again=False):
            return request.traits.restarts
        case _:
            return False


def _resume(request: Request, state: Sure) -> Steps:
    match state:
        case Up(proc, suspended=True) | Lost(proc, suspended=True) if request.traits.resumes:
            return (Resume(proc),)
        case Stopping(proc, suspended=True) if request.traits.resumes or request.traits.unattended:
            return (Resume(proc),)
        case _:
            return ()


def _adopt(state: Sure) -> Steps:
    """A process that lost its files has them again before anything else is done to it."""
    return (Adopt(state.proc, state.why),) if isinstance(state, Lost) else ()


def _schedule(request: Request, node: Node) -> Schedule:
    return node.stop if request.signum is None else node.stop.starting_with(request.signum)


def _start(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Down():
            return (Spawn(request.source),)
        case Up(proc, ready):
            return (Skip(ALREADY_RUNNING),) if ready else (AwaitReady(proc),)
        case Stopping(proc, sent):
            schedule = _schedule(request, node)
            end = AwaitEnd(proc, schedule) if sent else Stop(proc, schedule, again=True)
            return end, Clear(keep=True), Spawn(request.source)
        case Dead():
            return _clear(state, keep=True), Spawn(request.source)
        case Lost():
            return _adopt(state)


def _clear(state: Dead, *, keep: bool = False) -> Clear:
    """After a stop that was asked of `multi` there is nothing to explain: the files are the rest of it."""
    if state.asked:
        return Clear(f"{STOPPED_BY}{state.by}", keep=keep)
    return Clear("" if state.on_purpose else state.why, keep=keep)


def _stopped(state: Dead) -> Steps:
    return (Skip(NOT_RUNNING),) if state.on_purpose else ()


def _run(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Up(proc, orphan=True) | Lost(proc, orphan=True):
            if request.recorded is not None and needs_restart(request.recorded, node):
                return _restart(request, state, node)
            ready = () if isinstance(state, Lost) or state.ready else (AwaitReady(proc),)
            return *_adopt(state), Take(proc), *ready
        case Up(ready=True) | Lost():  # somebody else's, and none of ours to stay with and to stop
            return *_adopt(state), Refuse(runs_elsewhere(node.name))
        case _:
            return _start(request, state, node)


def runs_elsewhere(name: str) -> str:
    """Why a node that runs already cannot be run in the foreground."""
    return f"{ALREADY_RUNNING}; 'multi stopwait {name}' stops it, then it can be run here"


def _stop(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Down():
            return (Skip(NOT_RUNNING),)
        case Dead():
            return _clear(state), *_stopped(state)
        case Stopping(sent=True):
            return (Skip(ALREADY_STOPPING),)
        case Up(proc) | Stopping(proc) | Lost(proc):
            return *_adopt(state), Signal(proc, _schedule(request, node).first, stop=True)


def _end(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Down():
            return (Skip(NOT_RUNNING),)
        case Dead():
            return _clear(state), *_stopped(state)
        case Up(proc) | Stopping(proc) | Lost(proc):
            end = Kill(proc) if request.command == "kill" else Stop(proc, _schedule(request, node))
            return *_adopt(state), *_idle(request, state), end, Clear()


def _remove(request: Request, state: Sure, node: Node) -> Steps:
    if isinstance(state, Down):
        return (Forget(),) if state.on_record else (Skip(NOT_RUNNING),)
    if isinstance(state, Dead):
        return _clear(state, keep=True), Forget()
    return *_adopt(state), Stop(state.proc, _schedule(request, node)), Clear(keep=True), Forget()


def _forget(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Down(on_record):
            return (Forget(),) if on_record else (Skip("not on record"),)
        case Dead(on_purpose=True):
            return _clear(state, keep=True), Forget()
        case _ if not request.named:
            return (Skip("not stopped"),)
        case Dead(why):
            return (Refuse(f"it is dead, not stopped: {why}; 'multi stop {node.short}' puts it on record as stopped"),)
        case Up() | Stopping() | Lost():
            return (Refuse(f"it runs; 'multi stopwait {node.short}' stops it"),)


def _restart(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Down() | Dead():
            return _start(request, state, node)
        case Up(proc) | Stopping(proc) | Lost(proc):
            stop = Stop(proc, _schedule(request, node), again=True)
            return *_adopt(state), *_idle(request, state), stop, Clear(keep=True), Spawn()


def _ensure(request: Request, state: Sure, node: Node) -> Steps:  # noqa: PLR0911 -- one return a case
    match state:
        case Down(on_record):
            return (Skip(STOPPED_ON_PURPOSE if on_record else NOT_RUNNING),)
        case Up(suspended=True):
            return (Skip(SUSPENDED, met=False),)
        case Up(proc) if request.due is not None and request.due.proc == proc:
            return Stop(proc, node.stop, again=True, why=request.due.why), Clear(keep=True), Spawn()
        case Up(ready=False, waits=waits) if waits:
            return (Skip(waits_for(waits)),)
        case Stopping():
            return (Skip(ALREADY_STOPPING),)
        case Dead(asked=True):
            return (_clear(state),)
        case Dead(on_purpose=True):
            return (Skip(STOPPED_ON_PURPOSE),)
        case Dead():
            return _after_end(request, state, node, "ensure")
        case Up() | Lost():
            return _start(request, state, node)


def _revive(request: Request, state: Sure, node: Node) -> Steps:
    match state:
        case Up(proc, suspended=False) if request.due is not None and request.due.proc == proc:
            stop = node.stop if request.due.first is None else node.stop.within(request.due.first)
            return Stop(proc, stop, again=True, why=request.due.why), Clear(keep=True), Spawn()
        case Up() | Stopping() | Lost():
            return (Skip(ALREADY_RUNNING),)
        case Dead(on_purpose=False):
            return _after_end(request, state, node, "run")
        case Down() | Dead():
            return (Skip(STOPPED_ON_PURPOSE),)


def _after_end(request: Request, state: Dead, node: Node, by: restart.By) -> Steps:  # noqa: PLR0911 -- one return a case
    """What the rule of restarts says of an end that nobody asked for."""
    end = state.end
    if end is None:
        return _start(request, state, node)
    status = end.status if request.status is None else request.status
    pid = None if end.record.proc is None else end.record.proc.pid
    how = state.why if status is None else end_text(status, state.cause)
    match restart.verdict(end.record, status, end.wall, by):
        case restart.Again(after) if after <= 0:
            return _start(request, state, node)
        case restart.Again(after) if by == "ensure":
            return (Skip(f"{state.why}; left alone for {after:.0f}s more", met=False),)
        case restart.Again(after):
            return _clear(state, keep=True), PutOff(after, pid, how, status)
        case restart.GivenUp(why, new):
            if not new:
                return (Skip(given_up(why, node), met=False),)
            return _clear(state, keep=True), GiveUp(why, pid, how, end.record.exit_status if pid is None else status)
        case restart.Leave(well):
            done = (_clear(state, keep=True), Finish(pid, status or 0))
            return done if well else (Skip(state.why, met=False),)


def given_up(why: str, node: Node) -> str:
    """What is said of a node that is not started again."""
    return f"given up: {why}; 'multi start {node.short}' starts it again"


def waits_for(what: str) -> str:
    """Why one that is not ready is left alone: to stop it, or to start it again, would change nothing."""
    return f"it runs, and waits for its {what}"


def _apply(request: Request, state: Sure, node: Node) -> Steps:
    if isinstance(state, Stopping):
        return _restart(request, state, node)
    if request.recorded is None or not isinstance(state, (Up, Lost)):
        return _start(request, state, node)
    if needs_restart(request.recorded, node):
        return _restart(request, state, node)
    rewrite = (Rewrite(),) if request.recorded != node else ()
    await_ready = (AwaitReady(state.proc),) if isinstance(state, Up) and not state.ready else ()
    return (*_adopt(state), *rewrite, *await_ready) or (Skip("as configured"),)


_NO_SIGNAL = {
    "reload": "the preset {!r} has no reload signal; set reload_signal, or use 'multi signal'",
    "dump": "the preset {!r} has no signal that dumps stacks; name the signal, as in 'multi signal USR1'",
}


def _signal(request: Request, state: Sure, node: Node) -> Steps:
    signum = request.signum
    if signum is None:
        signum = node.dump_signal if request.command == "dump" else node.reload_signal
    if signum is None:
        return (Refuse(_NO_SIGNAL[request.command].format(node.preset)),)
    match state:
        case Down():
            return (Refuse(NOT_RUNNING),)
        case Dead(why):
            return (Refuse(f"{NOT_RUNNING}: {why}"),)
        case Up(ends_on_hup=True) if request.command == "reload" and signum == HUP:
            return (Refuse(ENDS_ON_HUP),)
        case Up(proc) | Stopping(proc) | Lost(proc):
            return *_adopt(state), Signal(proc, signum)


def _drain(request: Request, state: Sure, _node: Node) -> Steps:
    match state:
        case Down() | Dead():
            return (Refuse(NOT_RUNNING),)
        case Stopping():
            return (Skip(ALREADY_STOPPING),) if request.command == "drain" else (Refuse(ALREADY_STOPPING),)
        case Up(proc) | Lost(proc):
            return *_adopt(state), Drain(proc) if request.command == "drain" else Consume(proc)


def _idle(request: Request, state: Sure) -> Steps:
    """What comes before a stop that waits for the last task; one that stops already takes no new one."""
    match state:
        case Up(proc) | Lost(proc) if request.when_idle:
            return (Drain(proc, until_idle=True),)
        case _:
            return ()


def _up(_request: Request, state: Sure, _node: Node) -> Steps:
    match state:
        case Up(_, True) | Lost():
            return (Skip("running"),)
        case Up() | Down() | Dead() | Stopping():
            return (AwaitUp(),)


def _down(_request: Request, state: Sure, _node: Node) -> Steps:
    match state:
        case Down() | Dead():
            return (Skip(NOT_RUNNING),)
        case Up(proc) | Stopping(proc) | Lost(proc):
            return (AwaitDown(proc),)


def spawn_again(state: State) -> Step:
    """The step in place of a `Spawn` whose lock was lost before it: another `multi` may have been faster."""
    match state:
        case Down() | Dead():
            return Spawn()
        case Up() | Stopping() | Lost():
            return Skip("running: another multi was faster, after the lock file was removed")
        case Unsure(why):
            return Refuse(why)


_ROWS = {
    "start": _start,
    "run": _run,
    "stop": _stop,
    "stopwait": _end,
    "restart": _restart,
    "kill": _end,
    "forget": _forget,
    "remove": _remove,
    "ensure": _ensure,
    "revive": _revive,
    "apply": _apply,
    "signal": _signal,
    "reload": _signal,
    "dump": _signal,
    "drain": _drain,
    "resume": _drain,
    "up": _up,
    "down": _down,
}
COMMANDS = frozenset(_ROWS)
