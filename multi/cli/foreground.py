"""What `run` shows of what its nodes print."""

from __future__ import annotations

from multi.cli.order import CONFIG, FORMATION, JSON, PROCFILE, RESTART_ON_CHANGE, TIMESTAMPS
from multi.errors import UsageError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.cli.order import Order
    from multi.words.spec import Collect


def collects(order: Order) -> Collect:
    """Whose output is collected, to be shown in whole lines.

    On a terminal that of several nodes: one alone has the terminal to itself. Elsewhere, as in a container or a unit,
    nothing stands between a node and the stream that takes its lines, unless it is asked for.
    """
    if order.has(JSON) or order.has(TIMESTAMPS):
        return "always"
    if order.has(PROCFILE):  # as foreman and honcho, also in a pipe
        return "several"
    return "several" if order.screen.out_is_terminal and order.screen.err_is_terminal else "never"


def procfile(order: Order) -> tuple[str, ...]:
    """The words that name the Procfile in the place of a configuration."""
    if not order.has(PROCFILE):
        if order.has(FORMATION):
            raise UsageError(FORMATION.name, "says how many nodes the lines of a Procfile have", f"add {PROCFILE.name}")
        return ()
    words = (*order.leading, *order.words)
    if any(word.partition("=")[0] == CONFIG.name for word in words[: words.index("--") if "--" in words else None]):
        why = "contradict each other: each says which nodes there are"
        raise UsageError(f"{PROCFILE.name} {CONFIG.name}", why, "give one of them")
    from multi.settings.procfile import word_of

    return (f"{CONFIG.name}={word_of(order.given[PROCFILE.name] or '', order.given.get(FORMATION.name) or '')}",)


def edits(order: Order) -> tuple[str, ...] | None:
    """The paths whose changes restart nodes; none are all sources of each, None is no change. Raises `UsageError`."""
    if not order.has(RESTART_ON_CHANGE):
        return None
    import sys
    from importlib.util import find_spec

    name = RESTART_ON_CHANGE.name
    if find_spec("watchfiles") is None:
        install = f"{sys.executable} -m pip install 'multi-supervisor[watch]'"
        raise UsageError(name, "needs the package watchfiles, which is not installed here", install)
    said = order.given[name]
    paths = tuple(path for path in (said or "").split(",") if path)
    if said is not None and not paths:
        raise UsageError(f"{name}=", "names no path", f"write {name}=src,templates, or {name} alone for all sources")
    return paths
