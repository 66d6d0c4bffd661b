"""A command that is a worker or the scheduler of Celery: as a node that multi can drain and stop by its tasks. Pure."""

from __future__ import annotations

import re

from multi.errors import MultiError
from multi.importing.form import ONE_LOG
from multi.settings.presets import load
from multi.typed import TYPE_CHECKING
from multi.words.grammar import Grammar, parse_options
from multi.words.template import literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multi.importing.form import Source

_PRESETS = {"worker": "celery", "beat": "celery-beat"}
_OURS = {
    "-n": "--hostname", "--hostname": "--hostname", "-f": "--logfile", "--logfile": "--logfile",
    "--pidfile": "--pidfile", "-D": "--detach", "--detach": "--detach",
}  # fmt: skip


def as_worker(settings: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """The settings with the preset of Celery and the worker's options, and remarks; as they are for another command.

    multi gives the node its name, its log and its pidfile.
    """
    words = settings.get("cmd")
    assert isinstance(words, list)  # noqa: S101 -- for the type checker
    program = _length_of_program(words)
    kind = next((word for word in words[program:] if word in _PRESETS), "") if program else ""
    if not kind:
        return dict(settings), ()
    at = words.index(kind, program)
    grammar = Grammar(load(_PRESETS[kind]))
    own, rest = _taken([*words[program:at], *words[at + 1 :]])
    try:
        given = parse_options(rest, grammar, "")
    except MultiError:
        given = ()
    if (rest and not given) or any(not one.name.startswith("-") for one in given):
        return dict(settings), (f"a {kind} of Celery whose words are not known; preset = {_PRESETS[kind]!r} would fit",)
    found: dict[str, object] = {"preset": _PRESETS[kind], "cmd": [*words[:program], kind], "options": rest}
    found |= {name: value for name, value in settings.items() if name != "cmd"}
    remarks: list[str] = []
    if own.get("--pidfile"):
        remarks.append(f"--pidfile = {own['--pidfile']}: multi has a pidfile of its own (pidfile)")
    if own.get("--logfile"):
        found["logfile"] = log = own["--logfile"].replace("%%", "%")
        if settings.get("logfile") not in {None, log, "/dev/null"}:
            remarks.append(f"logfile = {settings['logfile']}: {ONE_LOG}, that of --logfile")
    if own.get("--hostname"):
        remarks.append(f"it was called {own['--hostname'].replace('%%', '%')}; now it has the name of the node")
    return found, tuple(remarks)


def _taken(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What multi says itself, by its long name, and the words that are left."""
    own: dict[str, str] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if name in _OURS:
            long = _OURS[name]
            own[long] = "" if long == "--detach" else value if equals else pending.pop(0) if pending else ""
        else:
            rest.append(word)
    return own, rest


def _length_of_program(words: Sequence[str]) -> int:
    """``celery``, ``/srv/venv/bin/celery`` or ``python -m celery``; 0 for another program."""
    if words[:1] and words[0].rpartition("/")[2] == "celery":
        return 1
    python = words[:1] and words[0].rpartition("/")[2].startswith("python")
    return 3 if python and list(words[1:3]) == ["-m", "celery"] else 0


def by_its_python(words: Sequence[str], kind: str, source: Source) -> dict[str, object]:
    """What `words` start that run celery multi: a worker by ``-m celery``, with the current directory on its path.

    The Python is that of the first line of the script celery, or else the one beside it.
    """
    *before, celery = words or ["celery"]
    if celery != "celery" and not celery.endswith("/celery"):
        return {"cmd": [*map(literal, words), kind]}
    if "/" in celery and not before:
        try:
            first = re.match(r"#! *(/\S*/python[\d.]*)\s", source.beside(celery) or "")
        except MultiError:  # whoever imports need not be the worker's user
            first = None
        return {"executable": literal(first[1] if first else celery.removesuffix("celery") + "python3")}
    if "run" in before and before[-1] != "-m":  # of pipenv, poetry, uv
        before += ["python", "-m"]
    return {"cmd": [*map(literal, (*before, celery)), kind]} if before else {}
