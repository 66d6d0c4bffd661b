"""The commands that take nodes, and the table of all.

The table is that of `multi.model.request`. A command there acts on nodes (`_act`), unless a function here has its name:
it takes an `Order` and returns an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from multi import api
from multi.cli import order as ours
from multi.cli.order import Command, Option, Order, no_nodes
from multi.errors import EXIT_FAILED, EXIT_USAGE, UsageError
from multi.model.node import Known, Unknown
from multi.model.request import ALIASES, TRAITS, Traits, traits
from multi.text import listed, nearest, some
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:  # for the checker alone: `names` pays for no import that it does not use
    from multi.model.node import Node
    from multi.words.spec import Collect

_Function = Callable[[Order], int]
_FUNCTIONS: dict[str, tuple[_Function, tuple[Option, ...]]] = {}


def _command(*options: Option) -> Callable[[_Function], _Function]:
    """The function carries out the command of its name, which has these options."""

    def enter(function: _Function) -> _Function:
        _FUNCTIONS[function.__name__] = function, options
        return function

    return enter


def carry_out(order: Order) -> int:
    """Do what was ordered; the exit code."""
    name = order.command.name
    return _FUNCTIONS[name][0](order) if name in _FUNCTIONS else _act(order, name, _select(order))


@_command(ours.DRY_RUN)
def signal(order: Order) -> int:
    """``signal SIG NODES``: SIG is handed on as ``-SIG``, the way the node grammar has it; ``dump`` is the preset's."""
    from multi.model.schedule import find_signal, parse_signal, signal_name

    first = _first_word(order)
    if first.lower() == ours.DUMP:
        selection = _select(order, order.words[1:])
        if selection.spec.signum is not None:
            typed = f"-{signal_name(selection.spec.signum)}"
            raise UsageError(typed, f"is a second signal beside {ours.DUMP!r}", "give one of them")
        code = _act(order, ours.DUMP, selection)
        if not (code or order.has(ours.DRY_RUN) or order.has(ours.QUIET) or order.has(ours.JSON)):
            shorts = " ".join(node.short for node in selection.nodes)
            order.screen.say(f"the stacks are in the logs: multi logs -n 100 {shorts}")
        return code
    signum = find_signal(first)
    words = order.words if signum is None else (f"-{signum}", *order.words[1:])
    if not any(word.startswith("-") and find_signal(word) is not None for word in words):
        if first.startswith("-"):
            raise UsageError(first, "stands where a signal is needed", order.command.traits.example)
        parse_signal(first)  # says what is wrong with it
    return _act(order, order.command.name, _select(order, words))


@_command(ours.UP, ours.DOWN, ours.TIMEOUT, ours.LOG, ours.SINCE_START)
def wait(order: Order) -> int:
    """``wait``: until every node is up, or down, or has printed a line."""
    if order.has(ours.LOG) or order.has(ours.SINCE_START):
        from multi.cli import logs as shown

        return shown.wait(order, lambda: _some(order, "logs"))
    if order.has(ours.UP) and order.has(ours.DOWN):
        raise UsageError("--up --down", "contradict each other", "give one of them")
    return _act(order, "down" if order.has(ours.DOWN) else "up", _select(order))


@_command(
    ours.ALL, ours.WIDE, ours.HEALTH, ours.WATCH, ours.SORT, ours.FORMAT, ours.OUTPUT_FILE, ours.WARNING, ours.CRITICAL
)
def status(order: Order) -> int:
    """The nodes: those asked about, whose states make the exit code, then those that were found beside them."""
    from multi.cli import glance

    if order.has(ours.WATCH):
        from multi.cli import watch

        return watch.status(order, lambda: _chosen(order), _select(order))
    if order.has(ours.HEALTH):
        return glance.health(order, _some(order, "health"))
    return glance.status(order, lambda: _select(order))


@_command()
def tasks(order: Order) -> int:
    """What each node works on; exit 1 when one that is named cannot tell."""
    from multi.cli import glance

    return glance.tasks(order, _some(order))


@_command()
def names(order: Order) -> int:
    """The full names of the nodes, a line each."""
    found = [node.name for node in _select(order).nodes]
    return order.say([found], found)


@_command()
def expand(order: Order) -> int:
    """A template, filled in for each node."""
    text = _first_word(order)
    from multi.words import template

    filled = [template.expand(text, node.name) for node in _select(order, order.words[1:]).nodes]
    return order.say([filled], filled)


@_command()
def show(order: Order) -> int:
    """The command of each node, as a shell runs it."""
    from multi.words import expand as expansion

    selection = _select(order)
    nodes = _known(order, selection)
    _remark_inherited(order, selection, nodes)
    return order.say([[_shown(node, selection) for node in nodes]], map(expansion.command_line, nodes))


@_command()
def get(order: Order) -> int:
    """The command of one node of several; exit 1 when there is no such node."""
    wanted = _first_word(order)
    from multi.words import expand as expansion

    selection = _select(order, order.words[1:])
    nodes = _known(order, selection)
    node = expansion.find(nodes, wanted)
    if node is not None:
        _remark_inherited(order, selection, (node,))
        return order.say([_shown(node, selection)], [expansion.command_line(node)])
    hint = f"the nodes are: {some([node.short for node in nodes], 20)}" if nodes else "there are no nodes at all"
    order.screen.remark(str(UsageError(wanted or "''", "there is no such node", hint)))
    return EXIT_FAILED


@_command(*ours.ROLLOUT)
def diff(order: Order) -> int:
    """What `apply` would do; exit 1 when there is anything to do."""
    from multi import report
    from multi.cli.options import run_options

    found = api.diff(_select(order), options=run_options(order), machine=order.machine)
    style = report.Style(order.screen.colour)
    if found or order.has(ours.JSON):
        order.say([found], (line for each in found for line in report.difference_lines(each, style)))
    elif not order.has(ours.QUIET):
        order.screen.say("nothing to do: the machine is as the configuration says")
    return EXIT_FAILED if found else 0


@_command()
def check(order: Order) -> int:
    """What is set for each node, and a verdict; what a start would fail of, and exit 2 when there is that."""
    from multi import report

    selection = _select(order)
    obstacles = api.check(selection, machine=order.machine)
    if order.has(ours.JSON):
        from multi.report.json import check_json

        order.say_json(check_json(selection, obstacles))
    elif not order.has(ours.QUIET):
        style = report.Style(order.screen.colour)
        order.screen.say(*report.check_lines(selection, len(obstacles), style, verbose=order.has(ours.VERBOSE)))
    order.screen.remark(*map(str, obstacles))
    return EXIT_USAGE if obstacles else 0


@_command(ours.FOLLOW, ours.LINES, ours.SINCE, ours.SINCE_START, ours.GREP, ours.TIMESTAMPS)
def logs(order: Order) -> int:
    """The nodes' logs, merged; exit 1 when one of them cannot be read, 77 when that is only not permitted."""
    from multi.cli import logs as shown

    return shown.logs(order, lambda: _some(order))


@_command(ours.SINCE, ours.LINES)
def history(order: Order) -> int:
    """What happened to the nodes, in the order in which it happened; exit 1 when there is nothing to tell."""
    from multi.cli import past

    return past.history(order, _some(order))


@_command()
def why(order: Order) -> int:
    """The last stretch of each node in sentences, and what it is now."""
    from multi.cli import past

    return past.why(order, _some(order))


def _some(order: Order, request: str = "") -> api.Selection:
    selection = _select(order, request=request)
    if not selection.nodes:
        raise no_nodes(order, selection)
    return selection


@_command(ours.OUTPUT, *ours.CONTAINERS)
def export(order: Order) -> int:
    """The nodes for another supervisor, on stdout or as files in a directory."""
    form = _first_word(order)
    from multi import export as forms
    from multi.cli.options import wanted_of

    selection = _select(order, order.words[1:], foreground=forms.find(form).foreground)
    wanted = wanted_of(order, form) if any(map(order.has, ours.CONTAINERS)) else forms.Wanted()
    files = api.export(form, selection, wanted)
    if order.has(ours.OUTPUT):
        files = {**files, **forms.find(form).index(files, wanted)}
        paths = api.save(files, order.given[ours.OUTPUT.name] or ".", forms.mode(form, selection))
        if order.has(ours.JSON):
            order.say_json(list(paths))
        else:
            for path in paths:
                order.screen.say(path)
        return 0
    heads = {path: f"# ---- {path}\n" if len(files) > 1 else "" for path in files}
    return order.say([dict(files)], (heads[path] + text.rstrip("\n") for path, text in files.items()))


@_command(ours.SYSTEMD, ours.CRON, ours.SYSV, ours.USER, ours.NOW, ours.DRY_RUN)
def install(order: Order) -> int:
    """The nodes start at every boot."""
    from multi.cli import install as installing

    return installing.install(order, _some(order))


@_command(ours.NOW, ours.DRY_RUN)
def uninstall(order: Order) -> int:
    """They do so no more."""
    from multi.cli import install as installing

    return installing.uninstall(order, _select(order))


def _first_word(order: Order) -> str:
    if order.words:
        return order.words[0]
    command = order.command
    raise UsageError(command.name, f"needs a {command.traits.first_word}", command.traits.example)


def _select(
    order: Order, words: Sequence[str] | None = None, *, foreground: bool = False, request: str = ""
) -> api.Selection:
    """Words -> nodes, and the warnings that come with them. `request` is asked of the nodes if not the command."""
    selection = _chosen(order, words, foreground=foreground, request=request)
    if not order.has(ours.QUIET):
        order.screen.remark(*(f"warning: {warning}" for warning in selection.warnings))
    return selection


def _chosen(
    order: Order, words: Sequence[str] | None = None, *, foreground: bool = False, request: str = ""
) -> api.Selection:
    grammar = (*order.leading, *(order.words if words is None else words))
    name = request or order.command.name
    collect: Collect = "never"
    if order.command.traits.stays:
        from multi.cli.foreground import collects, procfile

        collect, grammar = collects(order), (*procfile(order), *grammar)
    return api.select(name, grammar, foreground=foreground, collect=collect, flags=flags(name), machine=order.machine)


def _known(order: Order, selection: api.Selection) -> tuple[Node, ...]:
    """The nodes whose command is known; the others are named."""
    if not selection.nodes:
        raise no_nodes(order, selection)
    unknown = [(node.short, node.command.why) for node in selection.nodes if isinstance(node.command, Unknown)]
    order.screen.remark(*(f"{short}: {why}" for short, why in unknown))
    return tuple(node for node in selection.nodes if isinstance(node.command, Known))


def _shown(node: Node, selection: api.Selection) -> dict[str, object]:
    recorded, inherits = node.name in selection.recorded, _inherited(node)
    shown = {"node": node.name, "command": list(node.words), "recorded": recorded, "inherits": inherits}
    return {**shown, "waits_for": _waits(node)} if _waits(node) else shown


def _waits(node: Node) -> list[str]:
    """What a start of it waits for."""
    return [*node.after, *map(str, node.needs)]


def _inherited(node: Node) -> list[str]:
    """What a node has from the shell that starts it."""
    said = {"directory": node.workdir, "umask": node.umask, "environment": None}
    return [name for name, value in said.items() if value is None]


def _remark_inherited(order: Order, selection: api.Selection, nodes: Iterable[Node]) -> None:
    """A node on record may have been started in another shell than the one that starts it now; what it waits for."""
    if order.has(ours.JSON) or order.has(ours.QUIET):
        return
    for node in nodes:
        if node.name in selection.recorded:
            inherited = " and ".join(", ".join(_inherited(node)).rsplit(", ", 1))
            order.screen.remark(f"{node.short}: on record; it inherits {inherited} of the shell that starts it")
        if waits := _waits(node):
            order.screen.remark(f"{node.short}: waits for {listed(waits)}")


def _act(order: Order, request: str, selection: api.Selection) -> int:
    """Act on the nodes; `request` is what is asked of them."""
    from multi import report
    from multi.cli.follow import follow
    from multi.cli.options import run_options

    screen, asked = order.screen, traits(request)
    options = run_options(order)
    if not (selection.nodes or selection.removed):
        if not asked.done_without_nodes:
            raise no_nodes(order, selection)
        if not (order.has(ours.QUIET) or asked.unattended):
            screen.remark(str(no_nodes(order, selection)))
        return follow(order, iter(()))
    if order.has(ours.DRY_RUN):
        routes = api.plan(request, selection, options=options, machine=order.machine)
        style = report.Style(screen.colour)
        order.say(routes, (report.route_line(route, style) for route in routes))
        return report.plan_exit_code(routes)
    events = api.run(request, selection, options=options, again=lambda: _select(order), machine=order.machine)
    return follow(order, events, selection.nodes)


def _row(name: str, of: Traits) -> Command:
    options: tuple[Option, ...] = (
        *([ours.DRY_RUN] if of.nodes_from != "nothing" else ()),
        *(ours.ROLLOUT if of.spawns and (of.restarts or of.reconciles) else ()),
        *([ours.WHEN_IDLE, ours.KEEP_DRAINED] if of.drains else ()),
        *([ours.KEEP_UNREADY] if of.spawns and not of.unattended else ()),
        *([ours.LOCK_HELD] if of.locks_rundirs else ()),
        *(ours.FOREGROUND if of.stays else ()),
    )
    if name in _FUNCTIONS:
        options = _FUNCTIONS[name][1]
    if name == "import":
        options = (ours.FROM, ours.OUTPUT_FILE)
    aliases = tuple(alias for alias, meant in ALIASES.items() if meant == name)
    return Command(name=name, aliases=aliases, traits=of, options=options)


COMMANDS = tuple(_row(name, of) for name, of in TRAITS.items() if of.typed)
BY_NAME: Mapping[str, Command] = {name: row for row in COMMANDS for name in (row.name, *row.aliases)}


def flags(command: str = "") -> Mapping[str, Sequence[str]]:
    """Every flag of the command line, each with the commands of nodes that take it.

    What `export` says of containers are words that many a worker has, so only there they are ours.
    """
    takers: dict[str, dict[str, None]] = {flag: {} for flag in ours.VERSION.flags}
    for row in COMMANDS:
        own = [option for option in row.options if option not in ours.CONTAINERS or row.name == command]
        for option in (*ours.GLOBAL, ours.STRICT, ours.DRY_RUN, *own) if row.takes_nodes else ():
            for flag in option.flags:
                takers.setdefault(flag, {})[row.name] = None
    return {flag: tuple(names) for flag, names in takers.items()}


def find(word: str) -> Command:
    """The command of that name. Raises `UsageError` that says what is nearest."""
    if word in BY_NAME:
        return BY_NAME[word]
    from multi.cli.prose import prose

    hint = prose()["foreign"].get(word) or f"{nearest(word, BY_NAME)} ('multi help' tells what each does)"
    raise UsageError(word or "''", "is not a command", hint)
