"""/etc/default/celeryd and celerybeat, and /etc/conf.d/celery of the systemd units. Pure."""

from __future__ import annotations

from multi.errors import ConfigError
from multi.importing.celery_multi import tables
from multi.importing.form import Imported, Source, Table, plain_words, split
from multi.importing.shell import Assigned, assigned
from multi.importing.worker_command import by_its_python
from multi.typed import TYPE_CHECKING
from multi.words.template import literal_path

if TYPE_CHECKING:
    from collections.abc import Sequence

_KNOWN_WORDS = """
    CELERY_BIN CELERY_APP CELERYD_NODES CELERYD_OPTS CELERYD_CHDIR CELERYD_PID_FILE CELERYD_LOG_FILE
    CELERYD_LOG_LEVEL CELERYD_USER CELERYD_GROUP CELERYD_UMASK CELERYBEAT_CHDIR CELERYBEAT_OPTS
    CELERYBEAT_PID_FILE CELERYBEAT_LOG_FILE CELERYBEAT_LOG_LEVEL CELERYBEAT_USER CELERYBEAT_GROUP
    CELERYBEAT_UMASK CELERY_CREATE_DIRS CELERY_CREATE_RUNDIR CELERY_CREATE_LOGDIR CELERYD_CREATE_DIRS
    CELERYD_MULTI CELERYBEAT_MULTI CELERYBEAT CELERYCTL CELERYD_SU CELERYD_SU_ARGS CELERY_SU
"""
_KNOWN = frozenset(_KNOWN_WORDS.split())


def imported(source: Source) -> Imported:
    """The nodes of CELERYD_NODES are a group; beat is a node of its own where the file says anything of it."""
    if "### BEGIN INIT INFO" in source.text:
        raise ConfigError(source.path, "is the init script", "name the file that it reads, like /etc/default/celeryd")
    found = assigned(source.text, source.path)
    remarks = [f"not a variable, and not imported: {line}" for line in found.others]
    env = {name: value for name, value in found.values.items() if name not in _KNOWN}
    unexported = [name for name in env if name not in found.exported and "/conf.d/" not in source.path]
    if unexported:
        remarks.append(
            f"not exported there, so a worker did not see it unless the shell exports all: {' '.join(unexported)}"
        )
        env = {name: value for name, value in env.items() if name not in unexported}
    for name, last in (("CELERYD_MULTI", "multi"), ("CELERYBEAT", "beat")):
        if (called := found.values.get(name, last)).rpartition(" ")[2] != last:
            remarks.append(f"{name} = {called}: write cmd for what another program starts")
    said: dict[str, object] = {"env": env} if env else {}
    beat = [name for name in found.values if name.startswith("CELERYBEAT_")]
    of_beat = "beat" in source.path.rpartition("/")[2]  # which reads the variables of the workers, too
    workers = not of_beat and (not beat or any(name.startswith("CELERYD_") for name in found.values))
    if not any(found.values.get(name) for name in ("CELERYD_USER", "CELERYBEAT_USER")):
        remarks.append("uid: the file names no user, and Celery's init script and units run as celery")
    some = [
        *(_workers(found, source, said) if workers else []),
        *([_beat(found, source, said)] if beat or of_beat else []),
    ]
    if any(name.endswith(("CREATE_DIRS", "CREATE_RUNDIR", "CREATE_LOGDIR")) for name in found.values):
        remarks.append("multi makes the directories of pidfile and logfile anyway")
    return Imported(tables=tuple(some), remarks=tuple(remarks))


def _workers(found: Assigned, source: Source, said: dict[str, object]) -> Sequence[Table]:
    nodes = split(found.values.get("CELERYD_NODES") or "celery", f"{source.path}: CELERYD_NODES")
    settings = {
        **by_its_python(_program(found), "worker", source),
        **_common(found, "CELERYD", "/var/run/celery/%n.pid", "/var/log/celery/%n%I.log"),
        **said,
    }
    return tables([*nodes, *_options(found, "CELERYD", source)], settings, source.path)


def _beat(found: Assigned, source: Source, said: dict[str, object]) -> Table:
    settings = {
        "preset": "celery-beat",
        **by_its_python(_program(found), "beat", source),
        **_common(found, "CELERYBEAT", "/var/run/celery/beat.pid", "/var/log/celery/beat.log"),
        **said,
        "options": _options(found, "CELERYBEAT", source),
    }
    return Table("beat", settings)


def _options(found: Assigned, prefix: str, source: Source) -> list[str]:
    values = found.values
    app = ["-A", values["CELERY_APP"]] if values.get("CELERY_APP") else []
    level = values.get(f"{prefix}_LOG_LEVEL") or values.get("CELERYD_LOG_LEVEL") or "INFO"
    return [*app, f"--loglevel={level}", *split(values.get(f"{prefix}_OPTS", ""), f"{source.path}: {prefix}_OPTS")]


def _program(found: Assigned) -> list[str]:
    """Where the file says which celery it is."""
    said = found.values.get("CELERY_BIN", "")
    words = plain_words(said)
    if words is None or "&&" in words:
        raise ConfigError("CELERY_BIN", f"{said!r} is a line for a shell", "write the path of celery there first")
    return words[:-1] if words[-1:] == ["multi"] else words


def _common(found: Assigned, prefix: str, pidfile: str, logfile: str) -> dict[str, object]:
    """The paths are templates there, too."""
    values = found.values

    def one(name: str) -> str | None:
        return values.get(f"{prefix}_{name}") or values.get(f"CELERYD_{name}") or None

    return {
        "workdir": literal_path(one("CHDIR") or "") or None,
        "pidfile": values.get(f"{prefix}_PID_FILE") or pidfile,
        "logfile": values.get(f"{prefix}_LOG_FILE") or logfile,
        "uid": one("USER") or "celery",
        "gid": one("GROUP"),
        "umask": one("UMASK"),
    }
