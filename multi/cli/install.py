"""``install`` and ``uninstall``: say what is to be put into place, and what was done."""

from __future__ import annotations

import shlex

from multi import api
from multi.cli.order import CRON, DRY_RUN, JSON, NOW, QUIET, SYSTEMD, SYSV, USER
from multi.errors import UsageError
from multi.install import Asked, Keep, Remove, Run, Undo, Write
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multi.cli.order import Order
    from multi.install import Plan, Starter, Step

_STARTERS: dict[str, Starter] = {SYSTEMD.name: "systemd", CRON.name: "cron", SYSV.name: "sysv"}


def install(order: Order, selection: api.Selection) -> int:
    """Put the nodes into the hands of what starts this machine."""
    said = [flag for flag in _STARTERS if flag in order.given]
    if len(said) > 1:
        raise UsageError(
            " ".join(said), "contradict each other", "give one of them: with two, each starts what the other stopped"
        )
    obstacles = api.check(selection, machine=order.machine)
    if not order.has(QUIET):
        order.screen.remark(*(f"warning: {each}" for each in obstacles))
    return _carry_out(order, selection, _asked(order, selection, _STARTERS[said[0]] if said else None))


def uninstall(order: Order, selection: api.Selection) -> int:
    """Take back what `install` did."""
    return _carry_out(order, selection, _asked(order, selection, None))


def _asked(order: Order, selection: api.Selection, starter: Starter | None) -> Asked:
    names = tuple(node.short for node in selection.nodes) if selection.spec.names else ()
    views = api.look(selection, machine=order.machine)
    # What a `multi run` holds may well be the unit that is there already.
    held = {view.node.name for view in views if view.record is not None and view.record.runner is not None}
    running = tuple(view.node.short for view in views if view.uptime is not None and view.node.name not in held)
    return Asked(
        starter=starter,
        user=order.has(USER),
        now=order.has(NOW),
        names=names,
        running=running,
        shown=order.has(DRY_RUN),
    )


def _carry_out(order: Order, selection: api.Selection, asked: Asked) -> int:
    name = order.command.name
    plan = api.installation(name, selection, asked, machine=order.machine)
    if order.has(DRY_RUN):
        _say(order, plan.steps, dry=True)
        if plan.unmet is not None:
            raise plan.unmet
        if not plan.steps:
            _conclude(order, plan)
        return 0
    for step in api.installed(name, selection, asked, machine=order.machine):
        _say(order, [step])
    _conclude(order, plan)
    return 0


def _conclude(order: Order, plan: Plan) -> None:
    if not (order.has(QUIET) or order.has(JSON)):
        order.screen.say(*plan.says)


def _say(order: Order, steps: Iterable[Step], *, dry: bool = False) -> None:
    lines = (line for step in steps for line in (_foreseen(step) if dry else _line(step)))
    order.say((_json(step) for step in steps if not isinstance(step, Undo)), lines, quiet=order.has(QUIET) and not dry)


def _line(step: Step) -> list[str]:
    match step:
        case Write(path):
            return [f"wrote {path}"]
        case Remove(path):
            return [f"removed {path}"]
        case Keep(path, why):
            return [f"left {path}: it {why}"]
        case Run(words):
            return [f"ran {shlex.join(words)}"]
        case Undo():
            return []


def _foreseen(step: Step) -> list[str]:
    match step:
        case Write(path, text, mode, old):
            return [f"# ---- {path} ({'new' if old is None else 'changed'}, mode {mode:04o})", text.rstrip("\n"), ""]
        case Remove(path):
            return [f"+ rm {shlex.quote(path)}"]
        case Keep(path, why):
            return [f"# ---- {path}: {why}"]
        case Run(words, None):
            return [f"+ {shlex.join(words)}"]
        case Run(words, data):
            return [f"+ {shlex.join(words)} <<'END'", (data or "").rstrip("\n"), "END"]
        case Undo():
            return []


def _json(step: Step) -> dict[str, object]:
    match step:
        case Write(path, text, mode):
            return {"step": "write", "path": path, "mode": f"{mode:04o}", "text": text}
        case Remove(path):
            return {"step": "remove", "path": path}
        case Keep(path, why):
            return {"step": "keep", "path": path, "why": why}
        case Run(words, data):
            return {"step": "run", "command": list(words), "input": data}
        case Undo():
            return {}
