"""The commands: a table, and the functions that carry them out.

To add a command, add its row to `COMMANDS` and its prose to help.toml, and, where no function here does it yet, write
one: it takes an `Order` and a `Session` and returns an exit code. Help and completion are made from the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from multi.cli.options import (
    DOWN,
    DRY_RUN,
    DUMP,
    FOLLOW,
    JSON,
    KEEP_UNREADY,
    LINES,
    OUTPUT,
    QUIET,
    ROLLING,
    TIMEOUT,
    UP,
    VERBOSE,
)
from multi.cli.order import Command, Order, Session
from multi.cli.screen import Screen
from multi.errors import EXIT_FAILED, EXIT_USAGE, UsageError
from multi.text import printable

if TYPE_CHECKING:  # for the checker alone: `names` pays for no import that it does not use
    from multi.api import RunOptions, Selection
    from multi.model.event import Event
    from multi.report import Progress, Style


def act(order: Order, session: Session) -> int:
    """`start run stop stopwait restart kill reload ensure apply`; with ``--dry-run`` only what they would do."""
    return _act(order, session, _select(order, session))


def send_signal(order: Order, session: Session) -> int:
    """``signal SIG NODES``: SIG is handed on as ``-SIG``, the way the node grammar has it; ``dump`` is the preset's."""
    from multi.model.schedule import find_signal, parse_signal, signal_name

    if not order.words:
        raise UsageError("signal", "no signal is named", "try 'multi signal USR1 w1'")
    if order.words[0].lower() == DUMP:
        selection = _select(order, session, order.words[1:])
        if selection.spec.signum is not None:
            typed = f"-{signal_name(selection.spec.signum)}"
            raise UsageError(typed, f"is a second signal beside {DUMP!r}", "give one of them")
        return _act(order, session, selection, DUMP)
    signum = find_signal(order.words[0])
    words = order.words if signum is None else (f"-{signum}", *order.words[1:])
    if not any(word.startswith("-") and find_signal(word) is not None for word in words):
        if order.words[0].startswith("-"):
            raise UsageError(order.words[0], "stands where a signal is needed", "try 'multi signal USR1 w1'")
        parse_signal(order.words[0])  # says what is wrong with it
    return _act(order, session, _select(order, session, words))


def wait(order: Order, session: Session) -> int:
    """``wait``: until every node is up, or down."""
    if order.has(UP) and order.has(DOWN):
        raise UsageError("--up --down", "contradict each other", "give one of them")
    return _act(order, session, _select(order, session), "down" if order.has(DOWN) else "up")


def status(order: Order, session: Session) -> int:
    """A line a node."""
    from multi import report
    from multi.machine import MachineError

    selection = _select(order, session)
    screen = session.screen
    try:
        views = session.pipeline().look(selection) if selection.nodes else ()
    except MachineError as error:
        screen.complain(remark(str(error)))
        return report.STATUS_UNKNOWN
    if order.has(JSON):
        _say_json(screen, views)
    elif not views:
        screen.complain(remark(str(_no_nodes(order, selection))))
    else:
        shown = [view for view in views if not order.has(QUIET) or report.status_code(view.state)]
        if shown:
            screen.say(*report.status_table(shown, report.Style(screen.colour)))
    return report.status_exit_code(views)


def names(order: Order, session: Session) -> int:
    """The full names of the nodes, a line each."""
    _print_list(order, session, [node.name for node in _select(order, session).nodes])
    return 0


def expand(order: Order, session: Session) -> int:
    """A template, filled in for each node."""
    if not order.words:
        raise UsageError("expand", "no template is given", "try 'multi expand /var/log/%n.log w1 w2'")
    from multi.words import expand as expansion

    template, *words = order.words
    nodes = _select(order, session, words).nodes
    _print_list(order, session, [expansion.render(template, node) for node in nodes])
    return 0


def show(order: Order, session: Session) -> int:
    """The command of each node, as a shell runs it."""
    from multi.words import expand as expansion

    nodes = _select(order, session).nodes
    if order.has(JSON):
        commands = [{"node": node.name, "command": list(node.words)} for node in nodes]
        _say_json(session.screen, commands)
    else:
        session.screen.say(*(expansion.command_line(node) for node in nodes))
    return 0


def get(order: Order, session: Session) -> int:
    """The command of one node of several; exit 1 when there is no such node."""
    if not order.words:
        raise UsageError("get", "no node is named", "try 'multi get w1 w1 w2 -A proj'")
    from multi.words import expand as expansion

    wanted, *words = order.words
    nodes = _select(order, session, words).nodes
    node = expansion.find(nodes, wanted)
    if node is None:
        known = " ".join(node.short for node in nodes[:_MOST_NAMES]) + (" ..." if len(nodes) > _MOST_NAMES else "")
        hint = f"the nodes are: {known}" if nodes else "there are no nodes at all"
        session.screen.complain(remark(str(UsageError(wanted or "''", "there is no such node", hint))))
        return EXIT_FAILED
    if order.has(JSON):
        _say_json(session.screen, {"node": node.name, "command": list(node.words)})
    else:
        session.screen.say(expansion.command_line(node))
    return 0


def diff(order: Order, session: Session) -> int:
    """What `apply` would do; exit 1 when there is anything to do."""
    from multi import report

    selection = _select(order, session)
    found = session.pipeline().diff(selection)
    screen = session.screen
    if order.has(JSON):
        _say_json(screen, found)
    else:
        style = report.Style(screen.colour)
        screen.say(*(line for each in found for line in report.difference_lines(each, style)))
        if not found and not order.has(QUIET):
            screen.say("nothing to do: the machine is as the configuration says")
    return EXIT_FAILED if found else 0


def check(order: Order, session: Session) -> int:
    """Each setting of each node and where it is from; what a start would fail of, and exit 2 when there is that."""
    from multi import report

    selection = _select(order, session)
    obstacles = session.pipeline().check(selection)
    screen = session.screen
    if order.has(JSON):
        from multi.report.json import check_json

        _say_json(screen, check_json(selection, obstacles))
    elif not order.has(QUIET):
        screen.say(*report.check_lines(selection, report.Style(screen.colour)))
    screen.complain(*(remark(str(obstacle)) for obstacle in obstacles))
    return EXIT_USAGE if obstacles else 0


def logs(order: Order, session: Session) -> int:
    """The nodes' logs, merged; exit 1 when one of them cannot be read, 77 when that is only not permitted."""
    from multi import report

    selection = _select(order, session)
    screen = session.screen
    if not selection.nodes:
        raise _no_nodes(order, selection)
    count = _lines(order.given[LINES.name] or "") if order.has(LINES) else _LAST_LINES
    unseen = session.pipeline().unreadable_logs(selection)
    screen.complain(*(remark(f"{each.node.name}: {each.why}") for each in unseen))
    style = report.Style(screen.colour)
    colours: dict[str, int] = {}
    for line in session.pipeline().logs(selection, lines=count, follow=order.has(FOLLOW)):
        if order.has(JSON):
            _say_json(screen, {"nodes": line.names.split(","), "text": line.text})
        else:
            screen.say(report.log_line(line, colours.setdefault(line.names, len(colours)), style))
        if screen.deaf:
            break
    return report.worst_code(each.exit_code for each in unseen)


def export(order: Order, session: Session) -> int:
    """The nodes for another supervisor, on stdout or as files in a directory."""
    if not order.words:
        raise UsageError(
            "export", "no form is named", "try 'multi export systemd w1 w2 -A proj', or see 'multi help export'"
        )
    from multi import export as forms

    form, *words = order.words
    selection = _select(order, session, words, foreground=forms.find(form).foreground)
    files = session.pipeline().export(form, selection)
    if order.has(OUTPUT):
        pipeline = session.pipeline()
        paths = pipeline.save(files, order.given[OUTPUT.name] or ".", pipeline.export_mode(form, selection))
        if order.has(JSON):
            _print_list(order, session, list(paths))
        else:
            for path in paths:
                session.screen.say(path)
    elif order.has(JSON):
        _say_json(session.screen, dict(files))
    else:
        for path, text in files.items():
            session.screen.say(*([f"# ---- {path}"] if len(files) > 1 else []), text.rstrip("\n"))
    return 0


def _lines(text: str) -> int:
    """``--lines N`` -> N."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    raise UsageError(f"--lines={text}", "is not a number of lines", "write it like --lines=100")


def show_help(order: Order, session: Session) -> int:
    """``help [COMMAND]``."""
    from multi.cli import manual

    words = [word for word in order.words if word != "--"]
    if len(words) > 1:
        raise UsageError(
            f"help {' '.join(words)}", f"tells about one command, not {len(words)}", f"try 'multi help {words[0]}'"
        )
    session.screen.say(manual.page(find(words[0])) if words else manual.overview())
    return 0


def completion(order: Order, session: Session) -> int:
    """``completion SHELL``: the script that teaches a shell."""
    from multi.cli import completion as shells

    if len(order.words) != 1:
        shells_text = ", ".join(shells.SHELLS)
        raise UsageError("completion", f"needs one shell, not {len(order.words)}", f"it can be {shells_text}")
    session.screen.say(shells.script(order.words[0]))
    return 0


def remark(text: str) -> str:
    """One line on stderr, with who says it: other programs print there too."""
    return f"multi: {printable(text)}"


def _select(
    order: Order, session: Session, words: Sequence[str] | None = None, *, foreground: bool = False
) -> Selection:
    """Words -> nodes, and the warnings that come with them."""
    grammar = order.grammar if words is None else (*order.leading, *words)
    selection = session.pipeline().select(order.command.name, grammar, foreground=foreground)
    if not order.has(QUIET) and selection.warnings:
        session.screen.complain(*(remark(f"warning: {warning}") for warning in selection.warnings))
    return selection


def _say_json(screen: Screen, *values: object) -> None:
    from multi.report.json import to_json

    screen.say(*map(to_json, values))


def _print_list(order: Order, session: Session, texts: list[str]) -> None:
    if order.has(JSON):
        _say_json(session.screen, texts)
    else:
        session.screen.say(*texts)


def _no_nodes(order: Order, selection: Selection) -> UsageError:
    hint = f"name some, as in 'multi {order.command.name} w1 w2'"
    if not selection.rundir:
        return UsageError("", "there are no nodes: none is named, none is configured", hint)
    why = f"there are no nodes: none is named, none is configured, none is recorded in {selection.rundir}"
    return UsageError("", why, f"{hint}, or say with --pidfile where they are")


def _act(order: Order, session: Session, selection: Selection, request: str = "") -> int:
    """Act on the nodes; `request` is what is asked of them, where it is not the command's own name."""
    from multi import report

    screen = session.screen
    options = _options(order, screen)
    if not (selection.nodes or selection.removed):
        if order.command.needs_nodes and not order.has(DOWN):
            raise _no_nodes(order, selection)
        if not (order.has(QUIET) or order.command.terse):
            screen.complain(remark(str(_no_nodes(order, selection))))
        return 0
    if order.has(DRY_RUN):
        routes = session.pipeline().plan(request or order.command.name, selection)
        if order.has(JSON):
            _say_json(screen, *routes)
        else:
            style = report.Style(screen.colour)
            screen.say(*(report.route_line(route, style) for route in routes))
        return report.plan_exit_code(routes)
    return _follow(order, screen, session.pipeline().run(request or order.command.name, selection, options=options))


def _options(order: Order, screen: Screen) -> RunOptions:
    """How it is done, of what the user said and of where the progress would be shown."""
    from multi import report
    from multi.api import RunOptions

    watched = not (order.has(QUIET) or order.has(JSON))
    return RunOptions(
        width=_node_count(order.given[ROLLING.name]) if order.has(ROLLING) else None,
        keep_unready=order.has(KEEP_UNREADY),
        progress=(_REDRAW_SECONDS if screen.redraws else report.LINE_EVERY) if watched else None,
        timeout=_seconds(order.given[TIMEOUT.name] or "") if order.has(TIMEOUT) else None,
        signals=True,
    )


def _node_count(text: str | None) -> int:
    """``--rolling[=N]`` -> how many nodes at a time."""
    if text is None:
        return 1
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text):
        return int(text)
    raise UsageError(f"--rolling={text}", "is not a number of nodes", "write it like --rolling or --rolling=2")


def _seconds(text: str) -> float:
    """``--timeout SECONDS`` -> seconds: plain digits with at most one point."""
    whole, _, fraction = text.partition(".")
    if text.isascii() and len(text) <= _DIGITS and (whole + fraction).isdigit() and not text.endswith("."):
        return float(text)
    raise UsageError(f"--timeout={text}", "is not a number of seconds", "write it like --timeout=30 or --timeout=0.5")


def _follow(order: Order, screen: Screen, events: Iterator[Event]) -> int:
    """Print the events as they come; the exit code that they make."""
    from multi import report
    from multi.model.event import Skipped, Waiting

    codes, progress = set[int](), report.Progress()
    style, error_style = report.Style(screen.colour), report.Style(screen.error_colour)
    quiet, verbose, terse = order.has(QUIET), order.has(VERBOSE), order.command.terse
    for event in events:
        codes.add(report.event_code(event))
        if order.has(JSON):
            if not isinstance(event, Waiting):
                _say_json(screen, event)
            continue
        if terse and isinstance(event, Skipped):
            continue
        progress = progress.after(event)
        if not progress.waits:
            screen.wipe()
        if report.is_failure(event):
            screen.complain(*report.event_lines(event, error_style, verbose=verbose))
        elif not quiet:
            screen.say(*report.event_lines(event, style, verbose=verbose))
        if not quiet and isinstance(event, Waiting):
            progress = _show_progress(screen, style, progress)
    screen.wipe()
    return report.worst_code(codes)


def _show_progress(screen: Screen, style: Style, progress: Progress) -> Progress:
    if screen.wants_redraw():
        screen.redraw(
            style.paint("cyan", progress.line(max(1, screen.width - 1)))
        )  # a full line would wrap on some terminals
    elif not screen.redraws and progress.due:
        screen.say(progress.line())
        return progress.told()
    return progress


# -- the table -----------------------------------------------------------------------------------------------------

_LAST_LINES = 10
_REDRAW_SECONDS = 1.0  # the redrawn line counts seconds
_DIGITS = 12  # more make no number that anybody means
_MOST_NAMES = 20  # as many as still help in one line

COMMANDS: tuple[Command, ...] = (
    Command("start", act, options=(DRY_RUN, KEEP_UNREADY), announced=True, needs_nodes=True),
    Command("run", act, options=(DRY_RUN, KEEP_UNREADY), needs_nodes=True),
    Command("stop", act, options=(DRY_RUN,), announced=True),
    Command("stopwait", act, options=(DRY_RUN,), aliases=("stop_verify",), announced=True),
    Command("restart", act, options=(DRY_RUN, ROLLING, KEEP_UNREADY), announced=True, needs_nodes=True),
    Command("kill", act, options=(DRY_RUN,), announced=True),
    Command("status", status),
    Command("ensure", act, options=(DRY_RUN,), terse=True),
    Command("apply", act, options=(DRY_RUN, ROLLING, KEEP_UNREADY), announced=True),
    Command("diff", diff),
    Command("check", check),
    Command("signal", send_signal, options=(DRY_RUN,), needs_nodes=True),
    Command("reload", act, options=(DRY_RUN,), needs_nodes=True),
    Command("wait", wait, options=(UP, DOWN, TIMEOUT), needs_nodes=True),
    Command("logs", logs, options=(FOLLOW, LINES)),
    Command("names", names),
    Command("expand", expand),
    Command("get", get),
    Command("show", show),
    Command("export", export, options=(OUTPUT,)),
    Command("completion", completion, takes_nodes=False),
    Command("help", show_help, takes_nodes=False),
)

_BY_NAME: Mapping[str, Command] = {name: row for row in COMMANDS for name in (row.name, *row.aliases)}


def is_command(word: str) -> bool:
    """Whether `word` is a command or another name of one."""
    return word in _BY_NAME


def find(word: str) -> Command:
    """The command of that name. Raises `UsageError` that says what is nearest."""
    if word in _BY_NAME:
        return _BY_NAME[word]
    from multi.text import nearest

    hint = f"{nearest(word, _BY_NAME)} ('multi help' tells what each does)"
    raise UsageError(word or "''", "is not a command", hint)
