"""What each starter needs to start the nodes at boot: files, and programs that tell the system of them. Pure."""

from __future__ import annotations

import re

from multi import export
from multi.errors import MultiError, UsageError
from multi.install import orders
from multi.install.plan import USUAL_PATH, Asked, NotInstalledError, Run, Wanted
from multi.text import listed
from multi.typed import TYPE_CHECKING, TypeAlias
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multi.export import Order
    from multi.install.plan import Site, Starter
    from multi.model.node import Node
    from multi.words.spec import Selection

_Files: TypeAlias = "dict[str, tuple[str, int]]"

UNITS = "/etc/systemd/system"
TMPFILES, LOGROTATE = "/etc/tmpfiles.d", "/etc/logrotate.d"
CRONTABS, SCRIPTS, DEFAULTS = "/etc/cron.d", "/etc/init.d", "/etc/default"
DIRECTORIES = (UNITS, CRONTABS, SCRIPTS, DEFAULTS, TMPFILES, LOGROTATE)  # of root
USER_UNITS = ".config/systemd/user"  # below the home
_NO_SYSTEMD = "systemd does not run this machine"


def choose(asked: Asked, site: Site) -> tuple[Asked, MultiError | None]:
    """The starter that is asked for, or the one that this machine has. Raises `MultiError` where there is none.

    Units that are only shown may be for another machine: then the error comes back.
    """
    if asked.starter is None and not asked.user:
        if site.systemd and (site.uid == 0 or site.manager):
            return replace(asked, starter="systemd", user=site.uid != 0), None
        why = _NO_SYSTEMD if not site.systemd else f"{site.user} has no running systemd manager"
        raise NotInstalledError("", f"{why}, so say what starts the nodes at boot", f"give {_others(site)}")
    if asked.user and asked.starter not in {None, "systemd"}:
        raise UsageError(
            f"--user --{asked.starter}", "contradict each other", "--user is systemd's manager of this user"
        )
    if asked.starter == "cron":
        if site.uid and "crontab" not in site.tools:
            hint = "install cron, or give --systemd or --sysv"
            raise NotInstalledError("--cron", "there is no crontab(1) on PATH", hint)
    elif asked.starter == "sysv":
        _need_sysv(site)
    else:
        asked = replace(asked, starter="systemd")
        try:
            _need_systemd(asked, site)
        except NotInstalledError as error:
            if not asked.shown:
                raise
            return asked, error
    return asked, None


def _others(site: Site) -> str:
    """What starts nodes without systemd, for whoever asks."""
    return "--cron" if site.uid else "--cron or --sysv"


def _need_systemd(asked: Asked, site: Site) -> None:
    if not site.systemd:
        word, hint = ("--user", f"{_others(site)} instead") if asked.user else ("--systemd", _others(site))
        raise NotInstalledError(word, _NO_SYSTEMD, f"give {hint}")
    if asked.user and not site.manager:
        hint = "log in (su is no login), or let root say 'loginctl enable-linger'; then do it again"
        raise NotInstalledError("--user", f"{site.user or 'root'} has no running systemd manager", hint)
    if not asked.user:
        _need_root(site, "--systemd", "run it as root, or add --user for a manager of your own")


def _need_sysv(site: Site) -> None:
    _need_root(site, "--sysv", "run it as root, or give --cron")
    if not any(tool in site.tools for tool in _LINKERS):
        hint = "give --systemd or --cron; 'multi export sysv' prints a script"
        raise NotInstalledError("--sysv", f"there is none of {', '.join(_LINKERS)} on PATH", hint)


def _need_root(site: Site, word: str, hint: str) -> None:
    if site.uid:
        from multi.errors import NotPermittedError

        raise NotPermittedError(word, "changes what belongs to root", hint)


def wanted(asked: Asked, selection: Selection, site: Site) -> Wanted:
    """The files and programs of the starter that is asked for."""
    if site.uid == 0:
        orders.refuse_shared(selection)
    if site.uid == 0 and asked.starter != "systemd" and "runuser" not in site.tools:
        for node in selection.nodes:
            if node.uid:
                raise NotInstalledError(
                    "runuser", f"is not on PATH, and {node.name} runs as {node.uid}", "install util-linux"
                )
    starters: Mapping[Starter | None, Callable[[Asked, Selection, Site], Wanted]] = {
        "systemd": _systemd,
        "cron": _cron if site.uid == 0 else _own_crontab,
        "sysv": _sysv,
    }
    return starters[asked.starter](asked, selection, site)


# --- systemd ----------------------------------------------------------------------------------------------


def systemctl(site: Site, *words: str, user: bool) -> tuple[str, ...]:
    """A call of systemctl."""
    return (*_bus(site, user=user), site.tools.get("systemctl", "systemctl"), *(("--user",) if user else ()), *words)


def _bus(site: Site, *, user: bool) -> tuple[str, ...]:
    """The user's manager is found by a variable that only a login sets."""
    return ("env", f"XDG_RUNTIME_DIR={site.manager}") if user and site.manager else ()


def units_directory(site: Site, *, user: bool) -> str:
    """Where units of the administrator, or of a user, are."""
    return f"{site.home}/{USER_UNITS}" if user else UNITS


def _systemd(asked: Asked, selection: Selection, site: Site) -> Wanted:
    order = orders.kept(selection, site)
    user = asked.user
    if user:
        order = replace(order, nodes=[replace(node, uid=None, gid=None) for node in order.nodes])
    made = export.find("systemd-user" if user else "systemd").files(order)
    mode = 0o600 if any(node.env and not orders.is_configured(selection) for node in selection.nodes) else 0o644
    directory = units_directory(site, user=user)
    files = {f"{directory}/{name}": (text, mode) for name, text in made.items()}
    enabled = sorted(name for name, text in made.items() if "\n[Install]\n" in text)
    reload = Run(systemctl(site, "daemon-reload", user=user))
    runs = [
        reload,
        Run(systemctl(site, "enable", *enabled, user=user), undo=Run(systemctl(site, "disable", *enabled, user=user))),
    ]
    if not user:
        tmpfiles, create = _tmpfiles(selection.nodes, asked, site)
        files |= {**tmpfiles, **_rotation(selection.nodes, asked, site)}
        runs = [*create, *_log_directories(selection.nodes, site), *runs]
    elif site.uid and not site.lingers:
        runs.append(Run((*_bus(site, user=True), site.tools.get("loginctl", "loginctl"), "enable-linger")))
    here = {f"multi-{export.ascii_name(name)}.service" for name in asked.running}
    services = sorted(name for name in made if name.endswith(".service") and name not in here)
    start = systemctl(site, "start", *services, user=user)
    if asked.now and services:
        runs.append(Run(start, late=True))
    shown = " ".join(("systemctl", *(("--user",) if user else ()), "start"))
    says = _says(asked, selection, " ".join((shown, *services))) if services else _says(asked, selection, "")
    if here:
        over = f"multi stopwait {' '.join(asked.running)} && {shown} {' '.join(sorted(here))}"
        says += (
            f"{listed(asked.running)}: running, and not under systemd until the next boot; to hand over now: {over}",
        )
    return Wanted(files=files, runs=runs, undo=reload, says=says)


def _says(asked: Asked, selection: Selection, start: str) -> tuple[str, ...]:
    names = listed([node.short for node in selection.nodes])
    verb, them = ("starts", "it") if len(selection.nodes) == 1 else ("start", "them")
    return (f"{names} {verb} at every boot" + ("" if asked.now or not start else f"; to start {them} now: {start}"),)


def _per_file(nodes: Sequence[Node], asked: Asked, site: Site, directory: str) -> list[tuple[str, Sequence[Node]]]:
    """The files for nodes that need one, by name: one for all, or for nodes that are named one each.

    A file for all that is there already has them, too.
    """
    if not asked.names:
        return [(site.name, nodes)]
    if directory in site.whole:
        return []
    return [(f"{site.name}-{export.ascii_name(node.short)}", (node,)) for node in nodes]


def _tmpfiles(nodes: Sequence[Node], asked: Asked, site: Site) -> tuple[_Files, list[Run]]:
    """What systemd-tmpfiles makes at boot: the directories for pidfiles that the nodes' user cannot make."""
    files: _Files = {}
    for name, those in _per_file(nodes, asked, site, TMPFILES):
        lines: dict[str, None] = {}
        for (user, group), theirs in orders.by_user(those).items():
            for path in orders.run_directories(theirs) if user else ():
                at = path.removeprefix("/var") if path.startswith("/var/run/") else path  # as systemd calls it
                lines[f"d {at} 0755 {user} {group or site.groups.get(user, user)} -\n"] = None
        if lines:
            files[f"{TMPFILES}/{name}.conf"] = "".join(lines), 0o644
    tool = site.tools.get("systemd-tmpfiles", "systemd-tmpfiles")
    return files, [Run((tool, "--create", *files))] if files else []


def _log_directories(logging: Sequence[Node], site: Site) -> list[Run]:
    """What makes the directories of logs that are not there yet; those that are stay whose they are."""
    runs = []
    for (user, group), nodes in orders.by_user(logging).items():
        missing = [path for path in orders.log_directories(nodes) if path in site.missing] if user else []
        if missing:
            who = ("-o", user, "-g", group or site.groups.get(user, user))
            runs.append(Run(("install", "-d", "-m", "755", *who, *missing), undo=Run(("rmdir", *missing))))
    return runs


def _rotation(logging: Sequence[Node], asked: Asked, site: Site) -> _Files:
    """How the logs are rotated: the shipped file, with a block for those of each user; only root has logrotate."""
    if not site.logrotate:
        return {}
    texts = {name: _logrotate(nodes, site) for name, nodes in _per_file(logging, asked, site, LOGROTATE)}
    return {f"{LOGROTATE}/{name}": (text, 0o644) for name, text in texts.items() if text}


def _logrotate(logging: Sequence[Node], site: Site) -> str:
    head, brace, rest = site.logrotate.partition("{\n")
    comment = "".join(
        line for line in head.splitlines(keepends=True) if line.startswith("#") and "Install as" not in line
    ).removeprefix("#\n")
    blocks = []
    for (user, group), nodes in orders.by_user(logging).items():
        paths = dict.fromkeys(path for node in nodes if node.logs_to_file for path in _log_patterns(node))
        if not paths:
            continue
        own = rf"\1    su {site.users.get(user, user)} {group or site.groups.get(user, user)}\n" if user else ""
        body = re.sub(r"((?: *#.*\n)*) *su .*\n", own, rest)
        blocks.append("".join(f"{path}\n" for path in paths) + brace + body)
    return comment + "\n".join(blocks) if blocks else ""


def _log_patterns(node: Node) -> list[str]:
    """The logs of a worker, and of its pool, which may have one more for each process (``%I``)."""
    stem, dot, suffix = node.logfile.rpartition(".")
    pool = [f"{stem}-*{dot}{suffix}"] if dot and any("%I" in word for word in node.words) else []
    return [f'"{path}"' if re.search(r"[\s{}]", path) else path for path in (node.logfile, *pool)]


# --- cron -------------------------------------------------------------------------------------------------


def _cron(asked: Asked, selection: Selection, site: Site) -> Wanted:
    made = orders.detached(selection, site, become=False)
    text = _joined([next(iter(export.find("cron").files(order).values())) for _, order in made])
    secret = any(node.env for node in selection.nodes) and not orders.is_configured(selection)
    files = {f"{CRONTABS}/{site.name}": (text, 0o600 if secret else 0o644)}
    starts = [_start(order) for _, order in made]
    runs = [Run(("/bin/sh", "-c", start), late=True) for start in starts] if asked.now else []
    return Wanted(
        files={**files, **_rotation(selection.nodes, replace(asked, names=()), site)},
        runs=runs,
        says=_says(asked, selection, _again(asked)),
    )


def _again(asked: Asked) -> str:
    return f"'multi install --{asked.starter} --now', or 'multi start'"


def _joined(texts: Sequence[str]) -> str:
    """Tables of several users, with their variables said once."""
    first, *others = texts
    lines = set(first.splitlines())
    return first + "".join(f"{line}\n" for text in others for line in text.splitlines() if line not in lines)


def _start(order: Order) -> str:
    """What a boot does, as a line of sh."""
    (text,) = export.find("cron").files(replace(order, user=None)).values()
    line = next(line for line in text.splitlines() if line.startswith("@reboot "))
    return line.removeprefix("@reboot ").replace("\\%", "%")


def _own_crontab(asked: Asked, selection: Selection, site: Site) -> Wanted:
    own = replace(selection, nodes=tuple(replace(node, uid=None, gid=None) for node in selection.nodes))
    ((_, order),) = orders.detached(own, site, become=False)
    (text,) = export.find("cron").files(replace(order, user=None)).values()
    runs = [Run((site.tools["crontab"], "-"), data=text)]
    if asked.now:
        runs.append(Run(("/bin/sh", "-c", _start(order)), late=True))
    return Wanted(files={}, runs=runs, says=_says(asked, selection, _again(asked)))


# --- init scripts -----------------------------------------------------------------------------------------

_LINKERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "update-rc.d": (("{name}", "defaults"), ("-f", "{name}", "remove")),
    "chkconfig": (("--add", "{name}"), ("--del", "{name}")),
    "insserv": (("{name}",), ("-r", "{name}")),
}


def _linked(site: Site, name: str) -> Run:
    """The program that makes the links of the run levels."""
    tool = next(tool for tool in _LINKERS if tool in site.tools)
    add, take = (tuple(word.format(name=name) for word in words) for words in _LINKERS[tool])
    return Run((site.tools[tool], *add), undo=Run((site.tools[tool], *take)))


def unlinked(site: Site, name: str) -> list[Run]:
    """What takes the links away; nothing where there is no such program any more."""
    if not any(tool in site.tools for tool in _LINKERS):
        return []
    there = _linked(site, name)
    return [] if there.undo is None else [Run(there.undo.words, undo=Run(there.words))]


def _sysv(asked: Asked, selection: Selection, site: Site) -> Wanted:
    files: _Files = {}
    runs: list[Run] = []
    own: set[str] = set()
    secret = any(node.env for node in selection.nodes) and not orders.is_configured(selection)
    made = orders.detached(selection, site, become=True)
    for _, order in made:
        for name, text in export.find("sysv").files(order).items():
            files[f"{SCRIPTS}/{name}"] = text, 0o700 if secret else 0o755
            files[f"{DEFAULTS}/{name}"] = (_DEFAULTS_TEXT.format(name=name, path=site.path or USUAL_PATH), 0o644)
            own.add(f"{DEFAULTS}/{name}")
            runs.append(_linked(site, name))
    scripts = [f"{SCRIPTS}/{order.title}" for _, order in made]
    if asked.now:
        runs += [Run((script, "start"), late=True) for script in scripts]
    says = _says(asked, selection, ", ".join(f"{script} start" for script in scripts))
    return Wanted(
        files={**files, **_rotation(selection.nodes, replace(asked, names=()), site)},
        runs=runs,
        own=frozenset(own),
        says=says,
    )


_DEFAULTS_TEXT = """\
# What /etc/init.d/{name} adds to the environment of multi and of the nodes; it is shell.
# Each MULTI_* variable is a setting: MULTI_STOP_SCHEDULE=TERM/600/KILL/5
# PATH: the usual one, and where programs of the nodes were found. Add what these call by name.
PATH={path}
"""
