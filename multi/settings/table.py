"""Everything that can be set for a node, one row a setting; no value is read or checked here.

Everything else that depends on which settings there are is made from the rows: the reading of words, files and
variables, a node's fields, what is put on record, what `apply` compares, help and completion,
docs/reference/settings.md and config/multi.schema.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from multi.model import schedule
from multi.model.node import Ready
from multi.model.proof import notations
from multi.value import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set.

    `flags` are its spellings on the command line; messages use the first. `kind` says how its value is read (see
    `multi.settings.values`), `metavar` how it is shown in help, `example` is a value as TOML writes it. `default` is
    the built-in typed value, None when there is none; a preset's overrides it. A `repeatable` setting adds up: key by
    key, or word by word. `field` is the attribute of `Node` that holds the value, empty when the value only goes into
    others. With `restarts` a running process keeps the value that it was started with.
    """

    name: str
    flags: tuple[str, ...]
    kind: str
    metavar: str
    example: str
    help: str
    default: object = None
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    field: str = ""
    restarts: bool = False


EVENTS_WITH_HOOKS = ("failed", "recovered", "gave_up", "unhealthy")


# fmt: off
SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.name: setting for setting in (
    Setting("preset", ("--preset",), "text", "NAME", '"exec"', default="celery",
            help="worker type: one that comes with `multi` (docs/reference/presets.md), one of your own, or `exec` for "
                 "a bare command"),
    Setting("cmd", ("--cmd",), "words", "COMMAND", '["python", "worker.py"]',
            help="the worker's command: a shell-quoted string or an array; a program, or `-m MODULE` for the Python of"
                 " `executable`; of the preset when not given"),
    Setting("executable", ("--executable",), "path", "PATH", '"/srv/proj/venv/bin/python"',
            help="the Python that runs `-m` commands; the one that runs `multi` when not given"),
    Setting("append", ("--append",), "words", "WORDS", '["proj.wsgi:app"]', default=(),
            help="words at the very end of the command: a shell-quoted string or an array"),
    Setting("pidfile", ("--pidfile", "-p"), "path", "PATH", '"/run/proj/%n.pid"',
            help="holds the main process's pid; record and lock lie beside it; root: `/var/run/celery/%n.pid` (`multi`"
                 " instead of `celery` for other presets), others: below the user's state directory"),
    Setting("logfile", ("--logfile", "-f"), "path", "PATH", '"/var/log/proj/%n%I.log"', field="logfile",
            restarts=True,
            help="gets stdout and stderr, and the worker's own log where it writes one; root: "
                 "`/var/log/celery/%n%I.log` (`multi` instead of `celery` for other presets), others: below the user's"
                 " state directory"),
    Setting("workdir", ("--workdir",), "path", "PATH", '"/srv/proj"', field="workdir", restarts=True,
            help="directory that the node starts in; relative paths of other settings are below it; the caller's when "
                 "not given"),
    Setting("uid", ("--uid",), "user", "USER", '"worker"', field="uid", restarts=True,
            help="user, by name or number, that the node runs as; needs root; the caller when not given"),
    Setting("gid", ("--gid",), "user", "GROUP", '"worker"', field="gid", restarts=True,
            help="group, by name or number, that the node runs as; needs root; the login group of `uid` when not "
                 "given"),
    Setting("umask", ("--umask",), "mode", "OCTAL", '"027"', field="umask", restarts=True,
            help="permissions that the node's new files do not get, in octal; in TOML a string or `0o022`; the "
                 "caller's when not given"),
    Setting("nice", ("--nice",), "nice", "NUMBER", "5", field="nice", restarts=True,
            help="scheduling priority from -20 (most) to 19 (least); below the caller's needs root; the caller's when "
                 "not given"),
    Setting("env", ("--env",), "env", "KEY=VALUE", '{ DJANGO_SETTINGS_MODULE = "proj.settings", DEBUG = false }',
            default=(), repeatable=True, field="env", restarts=True,
            help="adds to the caller's environment; `KEY-` (`KEY = false` in TOML) takes a variable away; adds up key "
                 "by key"),
    Setting("env_file", ("--env-file",), "paths", "PATH", '["proj.env", "secrets.env"]', default=(), repeatable=True,
            field="env_files",
            help="reads variables from a file of `KEY=VALUE` lines (dotenv); `env` overrides it; a later file "
                 "overrides an earlier one"),
    Setting("rlimit", ("--rlimit",), "limits", "NAME=SOFT[:HARD]", '{ NOFILE = "1024:4096", CORE = 0 }', default=(),
            repeatable=True, field="rlimits", restarts=True,
            help="resource limits by their name in getrlimit(2); a number or `unlimited`, or, where bytes are meant, a "
                 "size like `2G`; one number is both; adds up name by name"),
    Setting("stop_schedule", ("--stop-schedule", "--retry"), "schedule", "SIGNAL/SECONDS/...",
            '"TERM/90/QUIT/10/KILL/5"', default=schedule.parse("TERM/90/KILL/5"), field="stop",
            help="which signal to stop with, how many seconds until the next, and so on; `TERM/forever` waits without "
                 "end; a lone number N is `TERM/N/KILL/N`"),
    Setting("kill_mode", ("--kill-mode",), "choice", "MODE", '"mixed"', default="mixed", choices=("mixed", "process"),
            field="kill_mode",
            help="`mixed`: the main process is stopped by the schedule, then what is left of its tree is killed; "
                 "`process`: the main process only"),
    Setting("ready", ("--ready",), "ready", "PROOF", '"tcp:8000"', default=Ready(), field="ready",
            help=f"how a started node proves that it works: {', '.join(f'`{each}`' for each in notations())}"),
    Setting("ready_timeout", ("--ready-timeout",), "seconds", "SECONDS", "60", default=60.0, field="ready_timeout",
            help="how long a started node may take to prove it"),
    Setting("startsecs", ("--startsecs",), "seconds", "SECONDS", "1", default=1.0, field="startsecs",
            help="how long a started node must stay alive to count as started: from the moment it is ready where this "
                 "is said, else from its start"),
    Setting("restart", ("--restart",), "choice", "POLICY", '"on-failure"', default="no",
            choices=("no", "on-failure", "always"), field="restart",
            help="what `run` does when the node ends: `no` ends `run`, `on-failure` starts it again unless its exit "
                 "status is in `exit_ok`, `always` starts it again; `ensure` treats `no` as `on-failure`"),
    Setting("exit_ok", ("--exit-ok",), "statuses", "STATUS,...", "[0, 143]", default=(0,), field="exit_ok",
            help="exit statuses that are no failure, 128+N for an end by signal N; an array, or numbers with commas"),
    Setting("restart_delay", ("--restart-delay",), "seconds", "SECONDS", "1", default=1.0, field="restart_delay",
            help="how long to wait before a node that ended is started again; doubles with each end in a row, to 300 "
                 "at most, and is spread by a tenth; a node that stays up for ten minutes begins anew"),
    Setting("restart_limit", ("--restart-limit",), "rate", "COUNT/SECONDS", '"5/60s"', field="restart_limit",
            help="how many restarts in how many seconds (`5/60s`, `10/1h`), or `none`; with the next end the node is "
                 "given up: it is left alone until somebody starts it; 5/60s in `run`, none for `ensure` when not "
                 "given"),
    Setting("alive", ("--alive",), "probe", "PROBE", '"tcp:8000"', field="alive",
            help="how a running node proves, again and again, that it still works; `run` and `ensure` restart a node "
                 "that fails it; begins once the node is ready"),
    Setting("alive_every", ("--alive-every",), "interval", "SECONDS", "30", default=30.0, field="alive_every",
            help="seconds between two such proofs in `run`; `ensure` asks once each time that it runs"),
    Setting("alive_failures", ("--alive-failures",), "count", "NUMBER", "3", default=3, field="alive_failures",
            help="how many proofs in a row must fail before the node counts as unhealthy"),
    Setting("max_memory", ("--max-memory",), "size", "SIZE", '"512M"', field="max_memory",
            help="recycle the node when its tree has more resident memory than this, or its cgroup more without the "
                 "page cache: bytes, or a size like `512M`; no limit when not given"),
    Setting("max_age", ("--max-age",), "age", "TIME", '"12h"', field="max_age",
            help="recycle the node when it has run for this long, spread by a tenth: seconds, or like `90m`, `12h`, "
                 "`7d`; no limit when not given"),
    Setting("after", ("--after",), "names", "NAMES", '["db", "web"]', default=(), field="after",
            help="nodes or groups that must be ready before this one is started, and that are stopped after it; an "
                 "array, or names with commas"),
    Setting("needs", ("--needs",), "probes", "PROBES", '["tcp:redis:6379"]', default=(), field="needs",
            help="probes that must hold before the node is started, asked for `ready_timeout` at most: a shell-quoted "
                 f"string or an array of {', '.join(f'`{each}`' for each in notations('needs'))}"),
    Setting("hooks", ("--hooks", "--hook"), "hooks", "EVENT=COMMAND", '{ gave_up = "notify-oncall --channel workers" }',
            default=(), choices=EVENTS_WITH_HOOKS, repeatable=True, field="hooks",
            help=f"commands that get an event as JSON on their standard input, as the node's user; the events are "
                 f"{', '.join(f'`{each}`' for each in EVENTS_WITH_HOOKS)}; adds up event by event"),
    Setting("lock_timeout", ("--lock-timeout",), "seconds", "SECONDS", "120", default=120.0, field="lock_timeout",
            help="how long to wait for another `multi` that is at work on the same node (`apply`: in the same run "
                 "directory); then exit 75"),
    Setting("root", ("--root",), "choice", "POLICY", '"deny"', default="warn", choices=("allow", "warn", "deny"),
            help="what to do when a node would run as root: `allow`, `warn` or `deny`; MULTI_FORCE_ROOT or "
                 "C_FORCE_ROOT in the environment mean `allow`"),
    Setting("reload_signal", ("--reload-signal",), "signal", "SIGNAL", '"HUP"', field="reload_signal",
            help="what `reload` sends to the main process; of the preset when not given"),
)})
# fmt: on

BY_FLAG: Mapping[str, Setting] = MappingProxyType(
    {flag: setting for setting in SETTINGS.values() for flag in setting.flags}
)
# The settings that a node holds the value of, by its name there.
BY_FIELD: Mapping[str, Setting] = MappingProxyType(
    {setting.field: setting for setting in SETTINGS.values() if setting.field}
)
