"""A Procfile with its .env, as foreman and honcho read them. Pure."""

from __future__ import annotations

from multi.errors import ConfigError
from multi.importing.form import Imported, Source, Table, over, plain_words, settings_of
from multi.importing.worker_command import as_worker
from multi.settings.envfile import parse_env_file
from multi.settings.procfile import BUILTIN, command_lines, script
from multi.typed import TYPE_CHECKING
from multi.words.template import literal_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_PORT, _PORTS_APART = 5000, 100


def imported(source: Source) -> Imported:
    """A line is a node. PORT is the base of .env, or 5000, and a hundred more for each line."""
    dotenv = source.beside(".env")
    variables = {} if dotenv is None else dict(parse_env_file(dotenv, f"{source.home}/.env"))
    base = int(variables["PORT"]) if variables.get("PORT", "").isdigit() else _FIRST_PORT
    tables: list[Table] = []
    for index, (name, (_, command)) in enumerate(command_lines(source.text, source.path)):
        settings = _settings(command)
        port = str(base + _PORTS_APART * index)
        said = {"PORT": port} if dotenv is not None or not _says_all(settings) else {}
        env = over(said, settings, "env")
        tables.append(Table(name, {**settings, "env": env}))
    if not tables:
        raise ConfigError(source.path, "has no line NAME: COMMAND", "write one, like web: python app.py")
    defaults: dict[str, object] = {"preset": "exec"}
    if not all(_says_all(table.settings) for table in tables):
        defaults |= {"workdir": literal_path(source.home)}
    if dotenv is not None:
        defaults["env_file"] = [literal_path(f"{source.home}/.env")]
    others = [line for line in source.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    passed = [line for line in others if not any(command_lines(line, ""))]
    remarks = (
        *(f"no line NAME: COMMAND, and passed over as foreman and honcho do: {line.strip()}" for line in passed),
        "as foreman and honcho do, a log has what a node prints; here it is a file of each node (logfile)",
    )
    return Imported(tables=tuple(tables), defaults=defaults, remarks=remarks)


def _says_all(settings: Mapping[str, object]) -> bool:
    """Whether it says where it runs, as what `multi export procfile` writes."""
    return "workdir" in settings


def _settings(command: str) -> dict[str, object]:
    """What ``cd DIR && umask 022 && exec COMMAND`` does is said by settings; any other line stays one for a shell."""
    found: dict[str, object] = {}
    rest = command
    for word, name in (("cd", "workdir"), ("umask", "umask")):
        first, joined, after = rest.partition(" && ")
        words = plain_words(first) if joined and first.startswith(f"{word} ") else None
        if words is not None and len(words) == 2:  # noqa: PLR2004 -- cd DIR
            found[name], rest = (literal_path(words[1]) if word == "cd" else words[1]), after
    words = plain_words(rest)
    whole = str(found.get("workdir", "/")).startswith("/")  # a relative one is below the folder of the file
    if words and (words[0] == "exec" or words[0] not in BUILTIN) and whole:
        return as_worker({**found, **settings_of(words)})[0]
    return {"cmd": ["/bin/sh", "-c", script(command)]}
