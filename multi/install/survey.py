"""What this machine has that matters for installing, and what was installed before. Reads only."""

from __future__ import annotations

import os
import posixpath
import re

from multi.export import ascii_name
from multi.install import orders, stamp, starters
from multi.install.plan import LIMIT, RECORD, USUAL_PATH, NotInstalledError, Site
from multi.machine import File, MachineError, Unreadable
from multi.model.node import Known
from multi.settings.presets import read_file
from multi.typed import TYPE_CHECKING
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.install.stamp import Stamp
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.words.spec import Selection

SHIPPED = os.path.join(os.path.dirname(__file__), "..", "shipped")  # noqa: PTH118, PTH120 -- as in multi.settings.presets
_TOOLS = ("systemctl", "loginctl", "systemd-tmpfiles", "crontab", "runuser", "update-rc.d", "chkconfig", "insserv")
_PROGRAM = re.compile(r"(?<![\w/.+-])[A-Za-z_][\w.+-]*")  # what may be one, in words and in lines of shell
_ETC = "/etc/multi"


def survey(selection: Selection, machine: Machine) -> Site:
    """What matters of this machine and of whoever asks."""
    here = machine.surroundings()
    user = machine.user_name(here.uid) if here.uid else ""
    config = posixpath.normpath(posixpath.join(here.cwd, selection.config)) if selection.config else ""
    beside = not config or posixpath.dirname(config) == here.cwd
    runtime = here.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{here.uid}"
    runs = machine.kind(f"{runtime}/systemd/private") or machine.kind(f"{runtime}/systemd/notify")
    path = _needed(here.environ.get("PATH", ""), selection.nodes, machine)
    name = _name(config)
    extras = {starters.TMPFILES: f"{starters.TMPFILES}/{name}.conf", starters.LOGROTATE: f"{starters.LOGROTATE}/{name}"}
    users = {node.uid for node in selection.nodes if node.uid}
    return Site(
        origin=config or RECORD,
        name=name,
        program=machine.ourselves(),
        directory=here.cwd or "/" if beside else here.home if here.uid else "/",
        path=path if path != USUAL_PATH else "",
        host=here.hostname,
        uid=here.uid,
        user=user,
        home=here.home,
        tools={tool: found for tool in _TOOLS if (found := machine.which(tool))},
        systemd=machine.kind("/run/systemd/system") == "directory",
        manager=runtime if runs else "",
        lingers=bool(machine.kind(f"/var/lib/systemd/linger/{user}")) if user else True,
        logrotate=_logrotate(machine) if here.uid == 0 else "",
        whole=frozenset(directory for directory, file in extras.items() if machine.kind(file)),
        missing=frozenset(path for node in selection.nodes if not machine.kind(path := orders.log_directory(node))),
        groups={user: machine.login_group(user) for user in users},
        users={user: machine.user_name(int(user)) for user in users if user.isdigit()},
    )


def _logrotate(machine: Machine) -> str:
    if machine.kind(starters.LOGROTATE) != "directory":
        return ""
    return read_file(f"{SHIPPED}/logrotate.d/multi").decode("utf-8")


def _needed(path: str, nodes: Sequence[Node], machine: Machine) -> str:
    """The usual PATH, and of the caller's where a word of the nodes is a program: the same from whichever shell."""
    texts = {text for node in nodes if isinstance(node.command, Known) for text in node.words}
    texts |= {text for node in nodes for text in (*dict(node.hooks).values(), *map(str, node.needs))}
    texts |= {str(probe) for node in nodes for probe in (node.ready, node.alive)}
    programs = {word for text in texts for word in _PROGRAM.findall(text)}
    usual = USUAL_PATH.split(":")
    kept = {*usual, *(posixpath.dirname(machine.which(word)) for word in programs)}
    return ":".join(dict.fromkeys((*(part for part in path.split(":") if part[:1] == "/" and part in kept), *usual)))


def _name(config: str) -> str:
    """What files for all nodes of a configuration are called; cron takes letters, digits and dashes alone."""
    directory, _, file = config.rpartition("/")
    if not config:
        return "multi-nodes"
    where = "" if directory == _ETC else directory
    stem = "" if file in {"multi.toml", "pyproject.toml"} else file.rpartition(".")[0] or file
    return "-".join(("multi", *ascii_name(f"{where}/{stem}", "-").strip("-").split("-"))).rstrip("-")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of ours that is there, with its text and permissions."""

    path: str
    stamp: Stamp
    text: str
    mode: int


def found(site: Site, machine: Machine) -> Sequence[Found]:
    """All files of ours that are where this user's are."""
    directories = (*(starters.DIRECTORIES if site.uid == 0 else ()), starters.units_directory(site, user=True))
    paths = (path for directory in directories for path in machine.listing(directory, ""))
    seen = (there(path, machine) for path in paths if path.rpartition("/")[2].startswith("multi"))
    return tuple(each for each in seen if each is not None)


def there(path: str, machine: Machine) -> Found | None:
    """What is at a path, if it is of ours; None where there is nothing, or something else."""
    file = machine.read(path, LIMIT)
    if not isinstance(file, File):
        return None
    text = file.data.decode("utf-8", "surrogateescape")
    stamped = stamp.read(text)
    return None if stamped is None else Found(path, stamped, text, file.mode)


def previous(path: str, machine: Machine) -> Found | None:
    """The same; raises `NotInstalledError` for what is somebody else's."""
    file = machine.read(path, LIMIT)
    if isinstance(file, Unreadable):
        raise NotInstalledError(path, file.why, file.hint)
    known = there(path, machine)
    if file is not None and known is None:
        raise NotInstalledError(path, "is there, and multi did not write it", "move it away, or remove it")
    return known


def crontab(site: Site, machine: Machine) -> str:
    """The user's crontab, empty where there is none. Raises `MultiError`."""
    done = machine.run((site.tools["crontab"], "-l"))
    if done.status == 0:
        return done.out
    said = " ".join(done.err.split())
    if "no crontab" in said:
        return ""
    if "not allowed" in said or "denied" in said:
        from multi.errors import NotPermittedError

        raise NotPermittedError("--cron", said or "crontab is refused", "let root allow it, see crontab(1)")
    raise MachineError("cannot read the crontab", said or f"crontab -l exits {done.status}", "see crontab(1)")


def readable(selection: Selection, site: Site, machine: Machine) -> None:
    """Raise `NotInstalledError` where the nodes' user could not read the configuration, or run `multi`."""
    needed: Mapping[str, str] = {
        site.program[0]: "install multi where that user can run it, as in /opt",
        **({site.origin: f"chmod o+r it, or move it to {_ETC}"} if site.origin != RECORD else {}),
    }
    for user in dict.fromkeys(node.uid for node in selection.nodes if node.uid):
        for path, hint in needed.items():
            try:
                machine.load_as(path, machine.uid_of(user))
            except OSError as error:  # noqa: PERF203 -- a user or two
                why = f"{user}, who is to run multi, cannot read it: {error.strerror or error}"
                raise NotInstalledError(path, why, hint) from error
