"""The nodes as what is exported for this machine: `multi` goes on looking after them, told where they are configured.

What is said in a configuration stays there, and the files name it. What is on record, or was said on the command line
or by a variable, is told whole.
"""

from __future__ import annotations

import math

from multi.errors import UsageError
from multi.export import Order, settings, words
from multi.model.node import Known, Node, Ready
from multi.model.schedule import FOREVER, parse
from multi.typed import TYPE_CHECKING
from multi.words.merge import COMMAND_LINE, nobody_said
from multi.words.template import literal_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from multi.install.plan import Site
    from multi.words.spec import Selection

_HUP = 1
_SLACK = 15  # seconds that multi itself needs at most beside the node's schedule
_MADE_AT_BOOT = ("/run/", "/var/run/", "/var/log/")  # where root makes directories for others


def refuse_unsaid(selection: Selection) -> None:
    """Raise `UsageError` for a node of which nobody but a preset says what it is: a name that may be misspelt."""
    unsaid = [node.short for node in selection.nodes if node.name in selection.unsaid - set(selection.recorded)]
    bare = [name for name in unsaid if not (selection.spec.options or selection.spec.passthrough)]
    if bare:
        why = "is neither configured nor on record, and no word says its command"
        raise UsageError(bare[0], why, "configure it, or give the worker's options as for 'multi start'")


def refuse_shared(selection: Selection) -> None:
    """Raise `UsageError` where root would have to give one directory to nodes of several users."""
    owners: dict[str, Node] = {}
    for node in selection.nodes:
        for flag, path in (("pidfile", node.rundir), ("logfile", log_directory(node) if node.logs_to_file else "")):
            other = owners.setdefault(path, node)
            if path.startswith(_MADE_AT_BOOT) and (other.uid, other.gid) != (node.uid, node.gid):
                users = [f"{one.uid or 'root'} for {one.short}" for one in (other, node)]
                why = f"cannot belong to {users[0]} and to {users[1]}"
                like = f"{path}-{node.uid or other.uid}/%n{'%I.log' if flag == 'logfile' else '.pid'}"
                raise UsageError(path, why, f"set another {flag} for those of one user, like {like}")


def is_configured(selection: Selection) -> bool:
    """Whether a configuration says all of these nodes: the command line and variables add nothing."""
    spec = selection.spec
    if not selection.config or spec.options or spec.passthrough or not selection.nodes:
        return False
    return all(
        node.name in selection.configured
        and not any(
            source.startswith((COMMAND_LINE, "MULTI_"))
            for sources in selection.sources[node.name].values()
            for source in sources.split(", ")
        )
        for node in selection.nodes
    )


def told(selection: Selection, nodes: Sequence[Node], site: Site, *, named: bool, kept: bool) -> tuple[str, ...]:
    """The words behind a command of `multi` that come to exactly these nodes.

    With `kept` they are those of `run` under systemd, whose unit has the variables and the order. Logs are where they
    are without it, so that `multi logs` finds them, and `diff` nothing to do.
    """
    if not is_configured(selection):
        return words(nodes, lambda node: _whole(node, kept=kept))
    names = tuple(node.name if node.host != site.host else node.short for node in nodes)
    pins: dict[str, list[str]] = {}
    for name, node in zip(names, nodes, strict=True):
        for pin in _files_of(node, selection):
            pins.setdefault(pin, []).append(name)
    pinned = (_scoped(pin, () if len(those) == len(names) else those) for pin, those in pins.items())
    return (*(names if named else ()), f"--multi-config={site.origin}", *pinned)


def _scoped(word: str, names: Sequence[str]) -> str:
    flag, equals, value = word.partition("=")
    return "".join((flag, ":" if names else "", ",".join(names), equals, value))


def _whole(node: Node, *, kept: bool) -> dict[str, tuple[str, ...]]:
    flags = settings(node)
    if kept:
        flags["--env"] = tuple(said for said in flags.get("--env", ()) if said.endswith("-") and "=" not in said)
        flags["--after"] = ()
    return flags


def _nobody_said(node: Node, name: str, selection: Selection) -> bool:
    return node.name not in selection.recorded and nobody_said(name, selection.sources[node.name])


def _files_of(node: Node, selection: Selection) -> list[str]:
    """Where its files are if nobody says it: that goes by the user and by variables, which are others at boot."""
    said: list[str] = []
    if _nobody_said(node, "pidfile", selection):
        said.append(f"--pidfile={literal_path(node.rundir)}/%n.pid")
    if node.logs_to_file and _nobody_said(node, "logfile", selection):
        said.append(f"--logfile={literal_path(log_directory(node))}/%n%I.log")
    return said


def log_directory(node: Node) -> str:
    """The directory of its log."""
    return node.logfile.rpartition("/")[0] or "/"


def by_user(nodes: Iterable[Node]) -> Mapping[tuple[str, str], list[Node]]:
    """The nodes by the user and the group that they run as; empty words for whoever asks."""
    found: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        found.setdefault((node.uid or "", node.gid or ""), []).append(node)
    return found


def run_directories(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The directories for pidfiles that their user cannot make, because they are below root's own."""
    return _below_roots([node.rundir for node in nodes])


def log_directories(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The same for logs in files."""
    return _below_roots([log_directory(node) for node in nodes if node.logs_to_file])


def _below_roots(wanted: Iterable[str]) -> tuple[str, ...]:
    roots = [path for path in wanted if path.startswith(_MADE_AT_BOOT) and path + "/" not in _MADE_AT_BOOT]
    # What lies below one of them is the user's to make: the user could have put a link there, and root does not go.
    tops = (path for path in roots if not any(path.startswith(f"{other}/") for other in roots))
    return tuple(dict.fromkeys(tops))


def kept(selection: Selection, site: Site) -> Order:
    """Each node as its own `multi run`, for systemd: the unit keeps its user, its limits and its place in the order."""
    units = tuple(_as_run(node, selection, site) for node in selection.nodes)
    return Order(nodes=units, program=site.program, keeps=True)


def _as_run(node: Node, selection: Selection, site: Site) -> Node:
    whole = node.stop.total
    grace = "forever" if whole == FOREVER else f"{math.ceil(whole) + _SLACK}/KILL/5"
    waits = node.ready_timeout * (2 if node.needs or node.after else 1)  # for what it needs, and for itself
    start = waits + (0 if whole == FOREVER else whole) + _SLACK
    env = tuple(pair for pair in node.env if not is_configured(selection) and pair[0] not in dict(node.env_read))
    carried = (("PATH", site.path),) if site.path and "PATH" not in dict(env) else ()
    command = (*site.program, "run", *told(selection, (node,), site, named=True, kept=True))
    return Node(
        name=node.name,
        short=node.short,
        host=node.host,
        preset="exec",
        command=Known(command),
        pidfile=node.pidfile,
        logfile="/dev/stderr",
        workdir=workdir(node, selection, site),
        uid=node.uid,
        gid=node.gid,
        nice=node.nice,
        rlimits=node.rlimits,
        env=(*env, *carried),
        stop=parse(f"TERM/{grace}"),
        kill_mode=node.kill_mode,
        reload_signal=_HUP if node.reload_signal is not None else None,
        ready=Ready("notify"),
        ready_timeout=start,
        after=node.after,
    )


def workdir(node: Node, selection: Selection, site: Site) -> str:
    """Where `multi` runs for this node, so that what is relative means what it means here."""
    said = selection.settings.get(node.name, {}).get("workdir")
    relative = isinstance(said, str) and not said.startswith("/")
    return site.directory if relative or node.workdir is None else node.workdir


def detached(selection: Selection, site: Site, *, become: bool) -> list[tuple[str, Order]]:
    """The nodes for cron and init scripts, an `Order` for each user, with what root makes before a start."""
    groups = by_user(selection.nodes)
    made: list[tuple[str, Order]] = []
    for (user, group), nodes in groups.items():
        named = len(groups) > 1 or bool(selection.spec.names)
        paths = (*run_directories(nodes), *log_directories(nodes)) if user else ()
        login = site.users.get(user, user)
        owner = f"{login}:{group}"
        prepare = " && ".join(
            f"[ -d {_quote(path)} ] || {{ mkdir -p -m 755 {_quote(path)} && chown -h {_quote(owner)} {_quote(path)}; }}"
            for path in paths
        )
        become = become or bool(paths)
        for flag, word in (("--uid", login), ("--gid", group if become else "")):
            if word.isdigit():
                why = "is a number without a name, and neither cron nor runuser take one"
                raise UsageError(f"{flag}={word}", why, "give it a name, or use --systemd")
        runuser = (site.tools["runuser"], "-u", login, *(("-g", group) if group else ()), "--") if user else ()
        order = Order(
            nodes=nodes,
            program=site.program,
            told=told(selection, nodes, site, named=named, kept=False),
            title=site.name if len(groups) == 1 else f"{site.name}-{login or 'root'}",
            directory=site.directory,
            user=login or "root",
            become=runuser if become else (),
            prepare=prepare,
            path=site.path,
        )
        made.append((user, order))
    return made


def _quote(text: str) -> str:
    import shlex

    return shlex.quote(text)
