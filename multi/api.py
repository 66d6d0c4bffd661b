"""The public Python API, and the one place where the real machine is made.

    from multi import api

    selection = api.select("start", ["w1", "w2", "-A", "proj", "-c:w2", "4"])
    for event in api.run("start", selection):
        print(event)

Every function takes the machine as an argument; without one it uses the real one. `select` makes nodes of words,
`look` observes them, `plan` also decides, and `run` acts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

from multi.asked import tasks_of
from multi.model.node import Node
from multi.model.request import Difference, RunOptions, Task, traits
from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.views import View, log_moments
from multi.words.spec import Collect, Selection

if TYPE_CHECKING:
    import re
    from contextlib import AbstractContextManager

    from multi.check import Obstacle
    from multi.export import Wanted
    from multi.install import Asked, Plan, Step
    from multi.logs import LogLine, Query, Unseen
    from multi.machine import LocalHost, Machine
    from multi.model.event import Event
    from multi.model.past import Past
    from multi.model.state import State
    from multi.model.step import Route
    from multi.system.local import Local
    from multi.tasks import Glance
    from multi.watch import Frame

__all__ = [
    "Difference",
    "RunOptions",
    "Selection",
    "View",
    "await_line",
    "check",
    "diff",
    "export",
    "glance",
    "history",
    "import_files",
    "installation",
    "installed",
    "logs",
    "look",
    "plan",
    "presets",
    "publish",
    "run",
    "save",
    "select",
    "tasks",
    "unreadable_logs",
    "watch",
]


def _opened(machine: Machine | None, signals: tuple[int, ...] = ()) -> AbstractContextManager[Machine]:
    """The machine that was handed in, or else the real one."""
    if machine is not None:
        from contextlib import nullcontext

        return nullcontext(machine)
    from multi.system import System

    return System(signals=signals)


def _interrupting() -> tuple[int, ...]:
    import signal

    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _local() -> Local:
    from multi.system.local import Local

    return Local()


def select(  # noqa: PLR0913 -- what a command line is read with
    command: str,
    words: Sequence[str],
    *,
    foreground: bool = False,
    collect: Collect = "never",
    flags: Mapping[str, Sequence[str]] | None = None,
    machine: Machine | None = None,
) -> Selection:
    """Words -> nodes. Raises `MultiError` for what the user must put right.

    Commands about nodes that were started before take what their records say: the schedule to stop by, the command to
    start again. In the `foreground` a log that nobody named is where our own output goes, or a file that `run` shows if
    it is to `collect`. Of `flags`, those of the command line with the commands that take them, no word may be a miss.
    """
    from multi import selection

    if traits(command).nodes_from == "words":
        return selection.of_words(command, words, machine or _local(), foreground=foreground, flags=flags or {})
    with _opened(machine) as opened:
        return selection.of_records(command, words, opened, foreground=foreground, collect=collect, flags=flags or {})


def presets(*, machine: Machine | None = None) -> tuple[str, ...]:
    """The names of the presets of the user, of the system, and of those that come with `multi`."""
    from multi.settings import config
    from multi.settings.presets import available

    here = (machine or _local()).surroundings()
    return available(config.preset_directories(here.environ, here.home))


def look(
    selection: Selection, *, others: bool = False, everywhere: bool = False, machine: Machine | None = None
) -> tuple[View, ...]:
    """Observe the nodes; reads only.

    With `others` those that nobody asked about follow, where nobody said which are meant: what else is on record in the
    default run directories or runs. With `everywhere` all follow that this user may see. Their `found` says where.
    """
    from multi import views
    from multi.selection import found_by

    with _opened(machine) as opened:
        processes = opened.processes() if others or everywhere else opened.sketch()
        beside = found_by(selection, processes, opened, everywhere=everywhere) if others or everywhere else ()
        seen = views.look((*selection.nodes, *(each.node for each in beside)), processes, opened)
    found = (each.shown(view) for each, view in zip(beside, seen[len(selection.nodes) :], strict=True))
    return (*seen[: len(selection.nodes)], *(view for view in found if view is not None))


def watch(
    select: Callable[[], Selection], *, everywhere: bool = False, wide: bool = False, machine: Machine | None = None
) -> Generator[Frame, bool | None, None]:
    """Observe, with what is used meanwhile, each time that a frame is asked for, see `multi.watch`; reads only.

    With `everywhere` all nodes are watched that this user may see.
    """
    from multi.watch import Watch

    with _opened(machine) as opened:
        yield from Watch(select, opened, everywhere=everywhere).frames(wide=wide)


def _states(tasks: Sequence[Task], machine: Machine) -> list[State]:
    from multi import views

    processes = machine.sketch()
    return [views.observed(task.node, processes, machine).state for task in tasks]


def plan(
    command: str, selection: Selection, *, options: RunOptions | None = None, machine: Machine | None = None
) -> tuple[Route, ...]:
    """Observe and decide; reads only. What `--dry-run` shows, in the order in which it would be done with a width."""
    from multi.decide import reconcile, route

    options = options or RunOptions()
    with _opened(machine) as opened:
        tasks = tasks_of(command, selection, options, opened)
        if traits(command).unattended:
            from multi import act

            tasks = [*act.foreseen(tasks, selection.groups, opened)]
        states = reconcile.at_their_turn(tasks, _states(tasks, opened))
        routes = [route(task.request, state, task.node) for task, state in zip(tasks, states, strict=True)]
        routes = [_foreseen(each, task, tasks, opened) for each, task in zip(routes, tasks, strict=True)]
        if options.width is None:
            return tuple(routes)
        from multi.decide.rollout import turns

        return tuple(replace(routes[index], turn=turn) for index, turn in turns(tasks, routes, options).items())


def _foreseen(route: Route, task: Task, tasks: Sequence[Task], machine: Machine) -> Route:
    """The route that is walked, and what for: a node that runs is not stopped for a start that must fail."""
    from multi.check import obstacles, refusal
    from multi.decide.order import waits
    from multi.model.step import Refuse, Spawn, Stop

    both = {Stop, Spawn} <= {type(step) for step in route.steps}
    found = tuple(obstacles(_with_values(route.node, machine), machine)) if both else ()
    return replace(route, steps=(Refuse(refusal(found)),)) if found else replace(route, waits=waits(route, task, tasks))


def diff(
    selection: Selection, *, options: RunOptions | None = None, machine: Machine | None = None
) -> tuple[Difference, ...]:
    """What the machine has otherwise than the configuration; empty when they agree. Reads only."""
    from multi.decide import reconcile

    options = options or RunOptions()
    with _opened(machine) as opened:
        tasks = tasks_of("diff", selection, options, opened)
        return reconcile.differences(tasks, _states(tasks, opened), options)


def check(selection: Selection, *, machine: Machine | None = None) -> tuple[Obstacle, ...]:
    """What a start of these nodes would fail of, and what will fail later. Reads only."""
    from multi.check import faults

    with _opened(machine) as opened:
        nodes = [_with_values(node, opened) for node in selection.nodes]
        return tuple(obstacle for node in nodes for obstacle in faults(node, opened))


def _with_values(node: Node, local: LocalHost) -> Node:
    """The node with what its env files hold now."""
    if not node.env_files:
        return node
    from multi.settings import envfile

    values = envfile.read_env_files(node.env_files, local.load)
    return envfile.with_values(envfile.with_digests(node, values), values)


def tasks(selection: Selection, *, machine: Machine | None = None) -> tuple[Glance, ...]:
    """What each worker has in hand, told by the plug-in in it; all are asked at once. Reads only."""
    from multi import tasks as works

    with _opened(machine) as opened:
        return works.ask(selection.nodes, opened)


def glance(selection: Selection, *, machine: Machine | None = None) -> tuple[Glance, ...]:
    """The nodes as a few files show them, for the probes of containers. Reads only."""
    from multi import tasks as works

    with _opened(machine) as opened:
        return works.glance(selection.nodes, opened)


def logs(selection: Selection, query: Query, *, machine: Machine | None = None) -> Iterator[LogLine | Unseen]:
    """The lines of the nodes' logs that the query asks for, merged; those that follow until SIGINT. Reads only.

    What it cannot be asked of comes as `Unseen`.
    """
    from multi.logs import read

    with _opened(machine, _interrupting() if query.follow else ()) as opened:
        moments, unknown = log_moments(selection.nodes, query, opened)
        yield from unknown
        yield from read(selection.nodes, query, opened, moments)


def await_line(
    selection: Selection,
    pattern: re.Pattern[str],
    *,
    timeout: float | None = None,
    since_start: bool = False,
    machine: Machine | None = None,
) -> Iterator[LogLine | Unseen]:
    """Wait until each node has printed a line in which the pattern is found; see `multi.logs.wait`. Reads only."""
    from multi.logs import Query, wait

    with _opened(machine, _interrupting()) as opened:
        moments, _ = log_moments(selection.nodes, Query(since_start=since_start), opened)
        yield from wait.wait(selection.nodes, pattern, opened, timeout, moments)


def history(
    selection: Selection, *, since: float = 0.0, age: float | None = None, machine: Machine | None = None
) -> Mapping[str, Sequence[Past]]:
    """What happened to the nodes, by full name, the oldest event first; reads only.

    `since` are seconds of the epoch, `age` are seconds before now. Raises `MachineError` for what may not be read.
    """
    from multi import history as histories

    with _opened(machine) as opened:
        first = since if age is None else opened.wall() - age
        found = {node.name: histories.read(node, opened) for node in selection.nodes}
    return {name: [one for one in past if one.at >= first] for name, past in found.items()}


def unreadable_logs(selection: Selection, *, machine: Machine | None = None) -> tuple[Unseen, ...]:
    """The nodes of whose logs nothing will be seen, or not yet, each with the reason. Reads only."""
    from multi.logs import unreadable

    with _opened(machine) as opened:
        return unreadable(selection.nodes, opened)


def import_files(paths: Sequence[str], form: str | None = None) -> str:
    """The configurations of other supervisors as the text of one multi.toml, see `multi.importing`.

    Raises `MultiError` for what cannot be read, or is in no known form.
    """
    from multi.importing.files import read

    return read(paths, form, _local())


def export(form: str, selection: Selection, wanted: Wanted | None = None) -> Mapping[str, str]:
    """The nodes for another supervisor: files by relative path, see `multi.export`. Raises `UsageError`.

    For a supervisor of this machine they have user, directory and program as if they were started here and now.
    """
    from multi import export as forms

    local, chosen = _local(), forms.find(form)
    here, nodes = local.surroundings(), [_with_values(node, local) for node in selection.nodes]
    texts = {path: local.load(path) for node in nodes for path in node.env_files}
    program = (here.python, "-m", "multi")
    order = forms.Order(nodes=nodes, program=program, env_texts=texts, groups=selection.groups)
    if chosen.containers:
        return chosen.files(forms.of_containers(order, here, wanted))
    if chosen.here:
        from multi.install import by_configuration
        from multi.selection.fallbacks import as_from_here, missing_plugin

        with _opened(None) as machine:
            fallbacks = missing_plugin(selection, machine)
            nodes = as_from_here(nodes, fallbacks, local, local.program)
            order = replace(order, nodes=nodes, remarks={name: each.note for name, each in fallbacks.items()})
            order = by_configuration(order, selection, machine) if chosen.delegates else order
    return chosen.files(order)


def save(files: Mapping[str, str], directory: str, mode: int, *, make: bool = True) -> Iterator[str]:
    """Write files into a directory, which is made if we are to `make` it; yields their paths.

    All or none: raises `UsageError` for one that is there and differs, and `MachineError` for what cannot be written.
    """
    from multi.saving import save as write

    return write(files, directory, mode, _local(), make=make)


def publish(path: str, text: str) -> None:
    """Replace a file that other programs read at any moment, atomically; all may read it. Raises `MachineError`."""
    from multi.saving import publish as write

    write(path, text, _local())


def installation(command: str, selection: Selection, asked: Asked, *, machine: Machine | None = None) -> Plan:
    """What ``install`` or ``uninstall`` would write and run. Reads only. Raises `MultiError`."""
    from multi import install

    with _opened(machine) as opened:
        return install.plan(traits(command), selection, asked, opened)


def installed(command: str, selection: Selection, asked: Asked, *, machine: Machine | None = None) -> Iterator[Step]:
    """Do it, all or nothing, with the lock of the run directories; yields what is done. Raises also `MachineError`."""
    from multi import act, install

    with _opened(machine) as opened:

        def walk(_: bool) -> Iterator[Step]:  # noqa: FBT001 -- a callback with one fact
            return install.carry_out(install.plan(traits(command), selection, asked, opened), opened)

        steps = act.hold_rundirs(selection.nodes, walk, traits(command), RunOptions(), opened)
        yield from (step for step in steps if isinstance(step, install.STEPS))


def run(
    command: str,
    selection: Selection,
    *,
    options: RunOptions | None = None,
    again: Callable[[], Selection] | None = None,
    machine: Machine | None = None,
) -> Iterator[Event]:
    """Act: one stream of events of all nodes. `options` says how, see `RunOptions`.

    Close the iterator to end the run early: nodes that stand at the gate are sent away, those that run live on.

    ``apply`` and ``ensure`` hold the lock of the run directories meanwhile. `again` makes the selection anew where
    somebody else had it: configuration and records may be others by then. Raises `BusyError`.
    """
    from multi import act

    options = replace(options or RunOptions(), fallbacks=selection.fallbacks, groups=selection.groups)
    caught: tuple[int, ...] = ()
    if options.signals:
        from signal import SIGQUIT

        caught = (*_interrupting(), SIGQUIT) if traits(command).stays else _interrupting()
    with _opened(machine, caught) as opened:
        if traits(command).stays:
            yield from _kept(command, act.stay(selection.nodes, options, opened), selection.nodes, opened)
            return
        if traits(command).extends_timeout:
            opened.extend_timeout()

        def walk(waited: bool) -> Iterator[Event]:  # noqa: FBT001 -- a callback with one fact
            chosen = again() if waited and again is not None else selection
            tasks = tasks_of(command, chosen, options, opened)
            how = replace(options, fallbacks=chosen.fallbacks)
            if traits(command).unattended:
                events = act.ensure(tasks, chosen.groups, how, opened)
            else:
                events = act.walk(tasks, how, opened)
            return _kept(command, events, [task.node for task in tasks], opened)

        if options.lock_held or not traits(command).locks_rundirs:
            yield from walk(False)  # noqa: FBT003 -- as above
        else:
            nodes = (*selection.nodes, *selection.removed)
            yield from act.hold_rundirs(nodes, walk, traits(command), options, opened)


def _kept(
    command: str, events: Generator[Event, None, None], nodes: Iterable[Node], machine: Machine
) -> Iterator[Event]:
    """The events, which go into the histories of the nodes, too."""
    if traits(command).without_lock:  # it only waits
        return events
    from multi import history

    nodes = list(nodes)
    kept = history.kept(events, nodes, machine)
    if not traits(command).spawns or not any(node.hooks for node in nodes):
        return kept
    from multi import act

    def note(node: Node, event: str) -> Callable[[str, tuple[str, ...]], None]:
        return history.note_hook(node, event, machine)

    return act.hooked(kept, nodes, traits(command), note, machine)
