"""Put nodes into the hands of what starts a machine, and take them back: plans, and carrying them out.

A plan is made of what the machine has and of what was installed before, and says each file and each program. Files are
those of `multi.export`, each with a stamp (`multi.install.stamp`): one that was changed by hand, or that somebody else
wrote, is never written over or removed.
"""

from __future__ import annotations

import errno

from multi.errors import MultiError, NotPermittedError
from multi.install import orders, stamp, starters
from multi.install.carry import carry_out
from multi.install.plan import (
    LIMIT,
    Asked,
    Keep,
    NotInstalledError,
    Plan,
    Remove,
    Run,
    Starter,
    Step,
    Undo,
    Write,
    changed_by_hand,
)
from multi.install.survey import Found, crontab, found, previous, readable, survey
from multi.machine import MachineError
from multi.text import listed, printable
from multi.typed import TYPE_CHECKING
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multi.export import Order
    from multi.install.plan import Site, Wanted
    from multi.machine import Machine
    from multi.model.request import Traits
    from multi.words.spec import Selection

__all__ = ["STEPS", "Asked", "Keep", "Plan", "Remove", "Run", "Starter", "Step", "Undo", "Write", "by_configuration",
           "carry_out", "plan"]  # fmt: skip

STEPS = (Keep, Remove, Run, Undo, Write)
_SHARED, _EVERYBODY = "multi.target", "all configurations"  # a unit that is the same for each, and its origin


def by_configuration(order: Order, selection: Selection, machine: Machine) -> Order:
    """The same, told by the name of the configuration, where that says all of these nodes and their user reads it."""
    if not orders.is_configured(selection):
        return order
    site = survey(selection, machine)
    others = {node.uid for node in order.nodes} - {site.user}
    if (site.user and others) or len(site.program) > 1:
        return order  # root believes no file of another user, and `python -m multi` not what lies in that directory
    told = orders.told(selection, order.nodes, site, named=bool(selection.spec.names), kept=False)
    place = replace(order, program=site.program, directory=site.directory, path=site.path)
    return replace(place, told=told, user=site.user or "root")


def plan(of: Traits, selection: Selection, asked: Asked, machine: Machine) -> Plan:
    """What the command with these traits does: the one that makes nodes of words, or the one that takes back."""
    return install(selection, asked, machine) if of.default_command else uninstall(selection, asked, machine)


def install(selection: Selection, asked: Asked, machine: Machine) -> Plan:
    """What is written and run so that the nodes start at boot. Reads only. Raises `MultiError`, and nothing is done."""
    orders.refuse_unsaid(selection)
    site = survey(selection, machine)
    asked, unmet = starters.choose(asked, site)
    readable(selection, site, machine)
    _refuse_another(asked, site, machine)
    wanted = starters.wanted(asked, selection, site)
    steps: list[Step] = [Undo(wanted.undo)] if wanted.undo is not None else []
    for path, (text, mode) in wanted.files.items():
        kept = path in wanted.own and machine.kind(path)
        steps.append(Keep(path, "is yours") if kept else _put(path, text, mode, site, machine))
    if not asked.names:
        steps += _stale(asked, wanted, site, machine)
    fresh = {step.path.rpartition("/")[2] for step in steps if isinstance(step, Write) and step.old is None}
    steps += [_as_it_was(run, fresh, site, machine) for run in wanted.runs]
    return Plan(steps=steps, says=wanted.says, unmet=unmet)


def _refuse_another(asked: Asked, site: Site, machine: Machine) -> None:
    """Raise `NotInstalledError` where another starter has these nodes: each would start what the other stopped."""
    by_directory: dict[str, Starter] = {
        starters.UNITS: "systemd",
        starters.units_directory(site, user=True): "systemd",
        starters.CRONTABS: "cron",
        starters.SCRIPTS: "sysv",
    }
    there = {each.path: by_directory.get(_kind_of(each.path)) for each in found(site, machine) if _is_of(each, site)}
    if stamp.in_table(_table(site, machine), site.origin) is not None:
        there["crontab"] = "cron"
    for path, starter in there.items():
        if starter not in {None, asked.starter}:
            why = f"has these nodes already, and so would {asked.starter}"
            raise NotInstalledError(path, why, "'multi uninstall' takes it back")


def _is_of(each: Found, site: Site) -> bool:
    return each.stamp.origin == printable(site.origin)


def _put(path: str, text: str, mode: int, site: Site, machine: Machine) -> Write | Keep:
    shared = path.endswith(f"/{_SHARED}")
    if shared and getattr(machine.read(path, LIMIT), "data", b"") == text.encode():
        return Keep(path, "is so already")  # put there by hand
    old = previous(path, machine)
    whose = ("yours to change",) if path.startswith(starters.DEFAULTS) else ()
    made = stamp.stamped(text, _EVERYBODY if shared else site.origin, *whose)
    if old is None:
        why, code = machine.cannot_create(path)
        if not why:
            return Write(path, made, mode)
        kind = NotPermittedError if code in {errno.EPERM, errno.EACCES} else NotInstalledError
        raise kind(path, why, "run it as root" if site.uid else "")
    if not old.stamp.intact:
        raise changed_by_hand(path)
    if not shared and old.stamp.origin != printable(site.origin):
        hint = f"rename the node, or 'multi uninstall' what is of {old.stamp.origin}"
        raise NotInstalledError(path, f"is there already, for {old.stamp.origin}", hint)
    if old.text == made and old.mode == mode:
        return Keep(path, "is so already")
    return Write(path, made, mode, (old.text, old.mode))


def _stale(asked: Asked, wanted: Wanted, site: Site, machine: Machine) -> list[Step]:
    """Units and files of nodes that this configuration has no more."""
    kinds = {_kind_of(path) for path in wanted.files} | {starters.TMPFILES, starters.LOGROTATE}
    old = [
        each
        for each in found(site, machine)
        if _is_of(each, site) and each.path not in wanted.files and _kind_of(each.path) in kinds
    ]
    return _taken(old, asked, site)


def _kind_of(path: str) -> str:
    return path.rpartition("/")[0]


def _as_it_was(run: Run, fresh: set[str], site: Site, machine: Machine) -> Run:
    """What undoes a program leaves alone what was so before: units that were enabled, and the crontab."""
    if run.words[-1:] == ("-",) and run.data is not None:
        table = crontab(site, machine)
        part = stamp.in_table(table, site.origin)
        if part is not None and not part.intact:
            raise NotInstalledError(
                "crontab",
                f"the part for {site.origin} was changed by hand",
                "move your lines out of it with 'crontab -e', then do this again",
            )
        undo = Run(run.words, table)
        return Run(run.words, stamp.with_part(table, run.data, site.origin), undo)
    if run.undo is None:
        return run
    units = [word for word in run.undo.words if word.endswith((".service", ".target"))]
    if not units:
        return run
    words = tuple(word for word in run.undo.words if word not in units or word in fresh)
    return Run(run.words, run.data, Run(words) if fresh.intersection(units) else None)


def uninstall(selection: Selection, asked: Asked, machine: Machine) -> Plan:
    """What takes back all that was installed for the nodes, in whichever starter. Reads only. Raises `MultiError`."""
    site = survey(selection, machine)
    every = found(site, machine)
    mine = [each for each in every if _is_meant(each, asked, selection, site)]
    units = [each for each in every if each.path.endswith(".service") and each not in mine]
    if mine and not units:
        mine += [each for each in every if each.path.endswith(f"/{_SHARED}")]
    if mine and not any(each.stamp.origin == mine[0].stamp.origin for each in units):  # these were the last of them
        rest = [each for each in every if each.stamp.origin == mine[0].stamp.origin and each not in mine]
        mine += [each for each in rest if _kind_of(each.path) in {starters.TMPFILES, starters.LOGROTATE}]
    for each in mine:
        if not each.stamp.intact and not each.path.startswith(starters.DEFAULTS):
            raise changed_by_hand(each.path, removes=True)
    steps = _taken(mine, asked, site)
    if not asked.names:
        steps += _untabled(site, machine)
    if steps:
        return Plan(steps=steps)
    tables = stamp.origins(_table(site, machine))
    others = sorted({*tables, *(each.stamp.origin for each in every if each.stamp.origin != _EVERYBODY)})
    more = (
        f"; there is something of {listed(others)}: name its nodes, or the file with --multi-config" if others else ""
    )
    return Plan(steps=(), says=(f"nothing of {site.origin} is installed{more}",))


def _is_meant(each: Found, asked: Asked, selection: Selection, site: Site) -> bool:
    if asked.names:
        base = each.path.rpartition("/")[2].removesuffix(".conf")
        whose = selection.config is None or _is_of(each, site)
        called = {form for name in asked.names for form in (f"multi-{name}.service", f"{site.name}-{name}")}
        return whose and base in called
    return _is_of(each, site)


def _table(site: Site, machine: Machine) -> str:
    """The user's crontab; one that cannot be read is empty, because nothing was written there."""
    try:
        return crontab(site, machine) if site.uid and "crontab" in site.tools else ""
    except (MultiError, MachineError):
        return ""


def _untabled(site: Site, machine: Machine) -> list[Step]:
    table = _table(site, machine)
    part = stamp.in_table(table, site.origin)
    if part is None:
        return []
    if not part.intact:
        raise NotInstalledError(
            "crontab", f"the part for {site.origin} was changed by hand", "remove it with 'crontab -e'"
        )
    rest = stamp.with_part(table, "", site.origin)
    program = site.tools["crontab"]
    return [Run((program, "-") if rest else (program, "-r"), rest or None, undo=Run((program, "-"), table))]


def _taken(gone: Iterable[Found], asked: Asked, site: Site) -> list[Step]:
    """The steps that take files away, with what they made the system do before."""
    gone = list(gone)
    user = starters.units_directory(site, user=True)
    steps: list[Step] = []
    for directory, own in ((starters.UNITS, False), (user, True)):
        units = sorted(each.path.rpartition("/")[2] for each in gone if each.path.rpartition("/")[0] == directory)
        if not units:
            continue
        reload = Run(starters.systemctl(site, "daemon-reload", user=own))
        services = [unit for unit in units if unit.endswith(".service")]
        if asked.now and services and site.systemd:
            steps.append(Run(starters.systemctl(site, "stop", *services, user=own)))
        disable, enable = (starters.systemctl(site, word, *units, user=own) for word in ("disable", "enable"))
        steps += [
            *([Undo(reload)] if site.systemd else []),
            *([Run(disable, undo=Run(enable))] if "systemctl" in site.tools else []),
            *_removed(each for each in gone if each.path.rpartition("/")[0] == directory),
            *([reload] if site.systemd else []),
        ]
    scripts = [each.path for each in gone if _kind_of(each.path) == starters.SCRIPTS]
    steps += [Run((path, "stop")) for path in scripts if asked.now]
    steps += [run for path in scripts for run in starters.unlinked(site, path.rpartition("/")[2])]
    steps += _removed(each for each in gone if each.path.rpartition("/")[0] not in {starters.UNITS, user})
    return steps


def _removed(gone: Iterable[Found]) -> Sequence[Step]:
    return [
        Remove(each.path, (each.text, each.mode))
        if each.stamp.intact
        else Keep(each.path, "was changed by hand, and stays")
        for each in gone
    ]
