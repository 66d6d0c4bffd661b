"""The options of a command that acts, as values: how its nodes are walked."""

from __future__ import annotations

from multi import api
from multi.cli import order as ours
from multi.errors import UsageError
from multi.text import listed, seconds_in
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import re

    from multi.cli.order import Option, Order
    from multi.export import Wanted

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_REDRAW_SECONDS = 1.0  # the redrawn line counts seconds


def run_options(order: Order) -> api.RunOptions:
    """How it is done, of what the user said and of where the progress would be shown."""
    from multi import report

    timeout = number(order, ours.TIMEOUT, "seconds", fraction=True) if order.has(ours.TIMEOUT) else None
    canaries = _count(order, ours.CANARY)
    width = _count(order, ours.ROLLING) or (1 if canaries else None)
    if order.has(ours.ROLLBACK) and width is None:
        why = "goes back at the first failure, and without --rolling or --canary all nodes are taken at once"
        raise UsageError(ours.ROLLBACK.name, why, f"add {ours.ROLLING.name} or {ours.CANARY.name}")
    if order.has(ours.ROLLBACK) and order.has(ours.KEEP_UNREADY):
        why = "contradict each other: what is not ready is left running, or is stopped for what was before"
        raise UsageError(f"{ours.ROLLBACK.name} {ours.KEEP_UNREADY.name}", why, "give one of them")
    if order.has(ours.KEEP_DRAINED) and not order.has(ours.WHEN_IDLE):
        raise UsageError(
            ours.KEEP_DRAINED.name, "says what an interrupted --when-idle leaves", f"add {ours.WHEN_IDLE.name}"
        )
    edits, shown = None, False
    if order.command.traits.stays:
        from multi.cli import foreground

        edits, shown = foreground.edits(order), foreground.collects(order) != "never"
    watched = not (order.has(ours.QUIET) or order.has(ours.JSON))
    return api.RunOptions(
        width=width,
        canaries=canaries,
        settle=number(order, ours.SETTLE, "seconds", fraction=True) if order.has(ours.SETTLE) else 0.0,
        rollback=order.has(ours.ROLLBACK),
        again=order.has(ours.AGAIN),
        keep_unready=order.has(ours.KEEP_UNREADY),
        progress=(_REDRAW_SECONDS if order.screen.redraws else report.LINE_EVERY) if watched else None,
        timeout=timeout,
        signals=True,
        when_idle=order.has(ours.WHEN_IDLE),
        keep_drained=order.has(ours.KEEP_DRAINED),
        lock_held=order.has(ours.LOCK_HELD),
        one_ends_all=order.has(ours.ONE_ENDS_ALL),
        edits=edits,
        shown=shown,
    )


def _count(order: Order, option: Option) -> int:
    """How many nodes an option says, one where it says no number; 0 where it was not given."""
    if not order.has(option):
        return 0
    return 1 if order.given[option.name] is None else int(number(order, option, "nodes", least=1))


def wanted_of(order: Order, form: str) -> Wanted:
    """What the options say of containers. Raises `UsageError`, also for a form that has none."""
    from multi import export as forms

    if not forms.find(form).containers:
        given = next(option.name for option in ours.CONTAINERS if order.has(option))
        takers = listed([name for name, each in forms.FORMS.items() if each.containers])
        raise UsageError(given, f"is about containers, and {form} has none", f"leave it out, or export to {takers}")
    replicas = int(number(order, ours.REPLICAS, "replicas", least=1)) if order.has(ours.REPLICAS) else None
    image, namespace = (order.given.get(option.name) or "" for option in (ours.IMAGE, ours.NAMESPACE))
    return forms.Wanted(image=image, namespace=namespace, replicas=replicas, cpu=_cpu(order), memory=_memory(order))


def _cpu(order: Order) -> int | None:
    """Thousandths of a processor: ``0.5`` or, as Kubernetes has it, ``500m``."""
    text = order.given.get(ours.CPU.name)
    if text is None:
        return None
    number = seconds_in(text.removesuffix("m"))
    found = 0 if number is None else round(number * (1 if text.endswith("m") else 1000))
    if not found:
        raise UsageError(
            f"{ours.CPU.name}={text}", "is not a number of processors", f"write it like {ours.CPU.name}=0.5"
        )
    return found


def _memory(order: Order) -> int | None:
    """Bytes: ``512M`` or, as Kubernetes has it, ``512Mi``."""
    from multi.settings.scalars import BadValueError, size
    from multi.settings.table import SETTINGS

    text = order.given.get(ours.MEMORY.name)
    try:
        return None if text is None else size(SETTINGS["max_memory"], text.removesuffix("i"))
    except BadValueError:
        raise UsageError(
            f"{ours.MEMORY.name}={text}", "is not a size", f"write it like {ours.MEMORY.name}=512M or 2G"
        ) from None


def number(order: Order, option: Option, of: str, *, least: int = 0, fraction: bool = False) -> float:
    """The number that an option says. Raises `UsageError`."""
    text = order.given[option.name] or ""
    said = seconds_in(text)
    if said is not None and said >= least and (fraction or "." not in text):
        return said
    raise UsageError(
        f"{option.name}={text}", f"is not a number of {of}", f"write it like {option.name}={0.5 if fraction else 2}"
    )


def moment(text: str) -> tuple[float, float | None]:
    """``2h``, ``90s``, ``2026-11-21`` or ``2026-11-21T14:00``: seconds of the epoch, or else before now."""
    number = seconds_in(text[:-1]) if text[-1:] in _UNITS else None
    if number is not None:
        return 0.0, number * _UNITS[text[-1]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp(), None
    except (ValueError, OverflowError):
        why = "is no time and no age"
        raise UsageError(
            f"{ours.SINCE.name}={text}", why, f"write it like {ours.SINCE.name}=2h or 2026-11-21T14:00"
        ) from None


def pattern(order: Order, option: Option) -> re.Pattern[str] | None:
    """The regular expression that an option says; None where it is not given. Raises `UsageError`."""
    if not order.has(option):
        return None
    import re
    import warnings

    text = order.given[option.name] or ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pattern that a later Python may read in another way is valid today
            return re.compile(text)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        why = f"is not a regular expression: {error.msg}{where}"
    except (OverflowError, RecursionError):
        why = "is a regular expression that is too large"
    raise UsageError(f"{option.name}={text}", why, "put a backslash before a special character")
