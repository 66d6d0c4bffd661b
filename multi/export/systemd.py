"""Unit files of systemd."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from multi.export import environment, form, sandbox
from multi.export.form import Form, Order
from multi.model.node import Node
from multi.model.schedule import FOREVER, signal_name
from multi.settings.scalars import limit_text
from multi.settings.table import SETTINGS
from multi.text import printable, seconds_text
from multi.value import dataclass, replace

TARGET = "multi.target"
_TARGET_TEXT = """\
# All nodes of multi that are enabled: systemctl start, stop and restart multi.target

[Unit]
Description=Nodes of multi

[Install]
WantedBy={wanted_by}
"""
_WANTED_BY = {False: "multi-user.target", True: "default.target"}  # of the machine's manager, of a user's


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """What the units of one export share. `units` are their names by node, `logs` what `LogsDirectory` can make."""

    order: Order
    units: Mapping[str, str]
    logs: Mapping[str, str]
    user_manager: bool

    @property
    def targets(self) -> Sequence[str]:
        own = [TARGET] if len(self.units) > 1 or self.order.keeps else []
        return [_WANTED_BY[self.user_manager], *own]


def _systemd(order: Order, *, user_manager: bool = False) -> Mapping[str, str]:
    """A unit a node, and a target for all where there are several."""
    named = list(form.named(order))
    units = {node.name: f"multi-{name}.service" for name, node in named}
    logs = {} if user_manager else _log_directories(order.nodes)
    group = _Group(order=order, units=units, logs=logs, user_manager=user_manager)
    files = {units[node.name]: _unit(group, node) for _, node in named}
    if TARGET in group.targets:
        files[TARGET] = target(user_manager=user_manager)
    return files


def target(*, user_manager: bool) -> str:
    """What starts and stops all nodes. It names none of them: each names it, so several exports have one."""
    return _TARGET_TEXT.format(wanted_by=_WANTED_BY[user_manager])


def _unit(group: _Group, node: Node) -> str:
    notify = node.ready.sign == "word"
    after = [group.units[name] for name in node.after if name in group.units]
    first = [*([] if group.user_manager else ["network.target"]), *after]
    text = [
        "[Unit]",
        f"Description={printable(node.name).replace('%', '%%')}",
        *([f"After={' '.join(first)}"] if first else []),
        *([f"Wants={' '.join(after)}"] if after else []),
        *([f"ConditionUser={_text(node, node.uid)}"] if group.user_manager and node.uid else []),
        *([f"PartOf={TARGET}"] if TARGET in group.targets else []),
        *start_limit(node),
        "",
        "[Service]",
        *(f"# {remark}" for remark in _remarks(group, node, notify=notify)),
        f"Type={'notify' if notify else 'exec'}",
        *_listens(group, node, notify=notify),
        *_start_seconds(node),
        *_start_pre(group, node),
        _exec("ExecStart", *_command(group, node)),
        *_start_post(group, node),
        *([f"WorkingDirectory={_text(node, node.workdir)}"] if node.workdir else []),
        *_user(group, node),
        *([f"UMask={node.umask:04o}"] if node.umask is not None else []),
        *([f"Nice={node.nice}"] if node.nice is not None else []),
        *(f"Limit{name.upper()}={limit_text(*pair).replace('unlimited', 'infinity')}" for name, *pair in node.rlimits),
        *_environment(group, node),
        *(_TELL if notify and not group.order.keeps else ()),
        *(f"UnsetEnvironment={name}" for name in form.unset_env(node)),
        *_log(group, node),
        f"KillSignal=SIG{signal_name(node.stop.first)}",
        f"KillMode={node.kill_mode}",
        *_stop_seconds(node),
        *([f"ExecReload=/bin/kill -{signal_name(node.reload_signal)} $MAINPID"] if node.reload_signal else []),
        *restart(node, itself=not group.order.keeps),
        "OOMPolicy=continue",
        *(["Delegate=yes"] if group.order.keeps else []),
        *_sandbox(group, node),
        "",
        "[Install]",
        f"WantedBy={' '.join(group.targets)}",
    ]
    return "\n".join(text) + "\n"


def _listens(group: _Group, node: Node, *, notify: bool) -> list[str]:
    """Who may speak to systemd, and how long it may be silent: a watchdog's stop begins as the schedule says."""
    watchdog = node.alive is not None and node.alive.sign == "watchdog"
    access = [f"NotifyAccess={'main' if group.order.keeps else 'all'}"] if notify or watchdog else []
    if node.alive is None or not watchdog:
        return access
    return [*access, f"WatchdogSec={node.alive.what}", f"WatchdogSignal=SIG{signal_name(node.stop.first)}"]


# Not max_memory: MemoryMax= would kill a worker in the middle of its task, MemoryHigh= would slow it down for ever.
_HELD = frozenset(
    {"logfile", "uid", "gid", "umask", "nice", "rlimit", "kill_mode", "reload_signal", "startsecs", "max_age"}
    | {"restart", "exit_ok", "restart_delay", "restart_limit"}
)


def _remarks(group: _Group, node: Node, *, notify: bool) -> list[str]:
    held = {*_HELD, *(["alive"] if node.alive is not None and node.alive.sign == "watchdog" else [])}
    held -= {"gid"} if group.user_manager else set()
    read = () if environment.alike(node, group.order.env_texts) else node.env_read
    asked = replace(node, needs=(), env_read=read)  # a unit asks itself, and systemd reads the files
    proved = notify or _is_proved(node)
    return form.comments(group.order, asked, held, proof=proved, by_systemd=True)


def _environment(group: _Group, node: Node) -> list[str]:
    """The variables; those of env files are read by systemd itself where it understands the files as `multi` does."""
    values = form.set_env(node)
    files: list[str] = []
    if environment.alike(node, group.order.env_texts):
        values = {name: value for name, value in values.items() if name not in dict(node.env_read)}
        files = [_ENV_FILES, *(f"EnvironmentFile={_text(node, path)}" for path in node.env_files)]
    elif node.env_read:
        files = [_COPIED]
    return [*files, *(f"Environment={_variable(node, name, value)}" for name, value in values.items())]


_ENV_FILES = "# systemd reads it at each start by rules of its own: NAME=value, without export"

_COPIED = "# values of env files that systemd reads in another way; 'systemctl show' tells them to every user"


def _user(group: _Group, node: Node) -> list[str]:
    """A service manager of a user runs everything as that user: there it is a condition, in the first section."""
    if group.user_manager:
        return []
    user = [f"User={_text(node, node.uid)}"] if node.uid else []
    return [*user, *([f"Group={_text(node, node.gid)}"] if node.gid else [])]


# --- when it is started ----------------------------------------------------------------------------------


def _start_seconds(node: Node) -> list[str]:
    """Time for all that a start waits for, and some more where it is more than systemd itself allows."""
    if node.ready.sign == "word" and not node.needs:
        return [f"TimeoutStartSec={seconds_text(max(node.ready_timeout, 1) + _lived(node))}"]
    waits = (node.ready_timeout if node.needs else 0.0) + (0.0 if node.ready.sign == "life" else node.ready_timeout)
    whole = waits + _lived(node)
    return [f"TimeoutStartSec={seconds_text(whole + _PATIENCE)}"] if whole > _PATIENCE or waits else []


def _lived(node: Node) -> float:
    """Seconds that it must live before its start has succeeded: with a proof of its own only where somebody said so."""
    return node.startsecs if node.startsecs_asked or node.ready.sign == "life" else 0.0


def _is_proved(node: Node) -> bool:
    """Whether the proof is one that `multi.unit` can wait for; a log in the journal cannot be read by it."""
    return node.ready.sign not in {"life", "word"} and (node.ready.sign != "line" or node.logs_to_file)


def _start_pre(group: _Group, node: Node) -> list[str]:
    """What must hold, and what proves nothing because it is there before the node."""
    proved = _is_proved(node)
    if not node.needs and not proved:
        return []
    words = [*([f"ready={node.ready}"] if proved else []), *(f"needs={need}" for need in node.needs)]
    directory = [f"RuntimeDirectory={group.units[node.name].removesuffix('.service')}"] if proved else []
    return [*directory, _ASKED, _beside("ExecStartPre", "before", group, node, words)]


def _start_post(group: _Group, node: Node) -> list[str]:
    seconds = _lived(node)
    if not _is_proved(node):
        return [_SHORT, f"ExecStartPost=/bin/sleep {seconds_text(seconds)}"] if seconds else []
    words = [f"ready={node.ready}", *([f"startsecs={seconds_text(seconds)}"] if node.startsecs_asked else [])]
    return [_PROOF, _beside("ExecStartPost", "after", group, node, words)]


_ASKED = "# multi waits for what the node needs; in / Python finds no modules but its own"
_SHORT = "# what ends before it has lived this long was not started"
_PROOF = "# multi waits until the node is ready"


def _beside(setting: str, what: str, group: _Group, node: Node, words: Sequence[str]) -> str:
    """`multi.unit` asks as the node, but elsewhere: Python would look for modules in the directory that it is in."""
    common = [f"ready_timeout={seconds_text(node.ready_timeout)}", f"workdir={node.workdir or '/'}"]
    log = [f"logfile={node.logfile}"] if node.logs_to_file else []
    python = (group.order.program[0], "-E", "-m", "multi.unit", what, node.name)
    return _exec(setting, "/bin/sh", "-c", 'cd / && exec "$0" "$@"', *python, *words, *common, *log)


def _exec(setting: str, *words: str) -> str:
    return f"{setting}={' '.join(quoted(word, command=True) for word in words)}"


_PATIENCE = 60.0  # seconds; systemd's own limit of a start is 90
_PAUSE = 10.0  # seconds; systemd's pause does not grow with each failure, so it is longer than that of `multi` at first


def start_limit(node: Node) -> list[str]:
    """`multi` counts starts again, systemd counts starts."""
    count, seconds = node.restart_limit or (0, 0.0)
    if not count:
        return ["StartLimitIntervalSec=0"]
    return [f"StartLimitIntervalSec={seconds_text(seconds)}", f"StartLimitBurst={count + 1}"]


def restart(node: Node, *, itself: bool = False) -> list[str]:
    """Its end by itself is the supervisor's business, so `no` is what it is to `multi ensure`: on failure.

    The node `itself` may end by the signal of its stop, which is success; by itself it may not. systemd calls an end by
    some signals clean, `multi` none that `exit_ok` does not have.
    """
    pause = node.restart_delay
    if pause == SETTINGS["restart_delay"].default:
        count, seconds = node.restart_limit or (0, 0.0)
        pause = min(_PAUSE, max(pause, seconds / (2 * count))) if count else _PAUSE  # else no limit would be reached
    asked = {128 + node.stop.first} if itself else set()
    again = {0, *asked, *(_CLEAN if itself else ())} - {*node.exit_ok} if node.restart != "always" else set()
    age = node.max_age
    return [
        f"Restart={'always' if node.restart == 'always' else 'on-failure'}",
        f"RestartSec={seconds_text(pause)}",
        *_statuses("SuccessExitStatus", {*asked, *node.exit_ok} - {0}),
        *_statuses("RestartForceExitStatus", again),
        *([f"RuntimeMaxSec={seconds_text(age)}"] if age else []),
        *([f"RuntimeRandomizedExtraSec={max(1, round(age / 10))}"] if age else []),
    ]


_CLEAN = (129, 130, 141, 143)  # HUP, INT, PIPE, TERM


def _statuses(setting: str, statuses: Collection[int]) -> list[str]:
    """Exit statuses; one beyond 128 stands for an end by a signal, too."""
    words = []
    for status in sorted(statuses):
        name = signal_name(status - 128)
        words += [str(status), *([f"SIG{name}"] if name[:1].isalpha() else [])]
    return [f"{setting}={' '.join(words)}"] if words else []


def _sandbox(group: _Group, node: Node) -> list[str]:
    writes = [path for path in (node.workdir, _directory(node.logfile)) if path and sandbox.is_read_only(path)]
    writable = [f"ReadWritePaths={' '.join(quoted(f'-{path}') for path in dict.fromkeys(writes))}"] if writes else []
    lines = sandbox.lines(root=form.is_root(node), user_manager=group.user_manager, keeps=group.order.keeps)
    return [*lines, *([] if group.user_manager else writable)]


_TELL = ("# a plug-in of multi in the worker says READY=1 only where this is set", "Environment=MULTI_INSTANCE=systemd")


def _command(group: _Group, node: Node) -> Sequence[str]:
    """A program with quotes, backslashes or signs of systemd's own in its name is for a shell: systemd takes none."""
    argv = node.words
    for word in filter(form.undecodable, argv):
        raise form.refusal(node, word, "systemctl cannot show what is not UTF-8")
    if node.name in group.logs and not form.logs_itself(node):
        return ("/bin/sh", "-c", _APPEND, node.logfile, *argv)
    plain = argv[0].isprintable() and not set(argv[0]) & set("\"'\\$") and argv[0][:1] not in "-@:+!|"
    return argv if plain else ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)


# systemd opens a log before it makes the directory, as root, and follows links of whoever owns the directory. So the
# worker's own user opens it; a log that is not the user's to open is left alone.
_APPEND = 'true >>"$0" && exec "$@" >>"$0" 2>&1; exec "$@"'
_LOGS = "/var/log/"


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _log_directories(nodes: Sequence[Node]) -> Mapping[str, str]:
    """The directories below /var/log that systemd can make, by node.

    systemd hands such a directory to the unit's user with all that is in it. So it is none that another node's user
    has, and none that may be another program's: it has the name of a default, of the user or of the node.
    """
    users: dict[str, set[tuple[str | None, str | None]]] = {}
    found = {}
    for node in nodes:
        directory = _directory(node.logfile)
        users.setdefault(directory, set()).add((node.uid, node.gid))
        first, *rest = directory.removeprefix(_LOGS).split("/")
        ours = directory.startswith(_LOGS) and first in {"multi", node.preset.partition("-")[0], node.uid, node.short}
        if ours and not form.is_root(node) and ".." not in (first, *rest):
            found[node.name] = directory
    return {name: path.removeprefix(_LOGS) for name, path in found.items() if len(users[path]) == 1}


def _log(group: _Group, node: Node) -> list[str]:
    if node.logfile == "/dev/null":
        return ["StandardOutput=null", "StandardError=inherit"]
    if not node.logs_to_file:
        return []
    itself = form.logs_itself(node)
    # systemd would open it as root, and a worker of another user could not open it any more.
    besides = ["# the worker opens its log itself; what it prints besides is in the journal"] if itself else []
    if node.name in group.logs:
        return [*besides, f"LogsDirectory={quoted(group.logs[node.name])}"]
    directory = f"# this directory has to be there: {printable(_directory(node.logfile))}"
    if itself:
        return [directory, *besides]
    return [directory, f"StandardOutput=append:{_text(node, node.logfile)}", "StandardError=inherit"]


def _stop_seconds(node: Node) -> list[str]:
    if form.stop_seconds(node) == FOREVER:
        return ["TimeoutStopSec=infinity"]
    lines = [f"TimeoutStopSec={form.whole_stop_seconds(node)}"]
    return lines if form.kills(node) else [*lines, "SendSIGKILL=no"]


def _text(node: Node, text: str) -> str:
    """A value that systemd reads as it is, without specifiers (systemd.unit(5))."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise form.refusal(node, text, "systemd takes no such path")
    return text.replace("%", "%%")


def _variable(node: Node, name: str, value: str) -> str:
    if form.undecodable(value):
        raise form.refusal(node, value, "systemd takes no variable that is not UTF-8")
    return quoted(f"{name}={value}")


def quoted(text: str, *, command: bool = False) -> str:
    """One word in systemd's quoting (systemd.syntax(7)); in a command line also safe from variables."""
    escaped = "".join(_character(char) for char in text).replace("%", "%%")
    if command:
        escaped = escaped.replace("$", "$$")
    plain = text and all(char.isalnum() or char in "_-./=:,@+%" for char in text)
    return escaped if plain else f'"{escaped}"'


def _character(char: str) -> str:
    if char in '\\"':
        return "\\" + char
    # Beyond ASCII by its number: Quadlet takes each byte of \\x for a character.
    return char if char.isprintable() else f"\\x{ord(char):02x}" if char.isascii() else f"\\U{ord(char):08x}"


FORMS = {
    "systemd": Form(files=_systemd, foreground=True, here=True),
    "systemd-user": Form(files=partial(_systemd, user_manager=True), foreground=True, here=True),
}
