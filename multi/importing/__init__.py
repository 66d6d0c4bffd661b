"""Configurations of other supervisors to a multi.toml. Pure: texts come in, a text goes out; nothing is stopped.

A form is a module; who imports one form pays for no other.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module

from multi.errors import MultiError, UsageError
from multi.importing.form import Imported, Source, Table, refuse_noncharacters, shown, text_of
from multi.text import nearest
from multi.typed import TYPE_CHECKING, cast
from multi.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FORMS", "Imported", "Source", "Table", "form_of", "toml_of"]

FORMS = ("supervisord", "circus", "procfile", "pm2", "celeryd", "celery-multi")
_ONE = "supervisord"  # a group in one file has programs of another
_STILL = (
    "the processes may still run there: {} before 'multi apply', and keep them from the next boot; else both run them"
)
_FOUND = "workers that run are found by their pidfiles: 'multi status' shows them, and 'multi restart' takes them over"
_KEPT = "what ends, and all of them at the next boot, is started again after 'multi install', or by 'multi run'"
_NEXT = {
    "supervisord": _STILL.format("'supervisorctl stop all'"),
    "circus": _STILL.format("'circusctl stop'"),
    "procfile": _STILL.format("end foreman or honcho"),
    "pm2": _STILL.format("'pm2 delete all' and 'pm2 save'"),
    "celeryd": _FOUND,
    "celery-multi": _FOUND,
}
# The first that is found in a text says its form.
_SIGNS = (
    ("supervisord", re.compile(r"^\[(?:program|group|supervisord|include)[:\]]", re.MULTILINE)),
    ("circus", re.compile(r"^\[(?:watcher:|circus\])", re.MULTILINE)),
    ("pm2", re.compile(r"\A\s*(?:\{|\[\s*\{)|^module\.exports|^export default|^apps:\s*$", re.MULTILINE)),
    ("celeryd", re.compile(r"^\s*(?:export\s+)?(?:CELERYD?_|CELERYBEAT_)\w+=", re.MULTILINE)),
    ("celery-multi", re.compile(r"\bmulti\s+(?:start|restart)\b")),
    ("procfile", re.compile(r"^[\w-]+:[ \t]+\S", re.MULTILINE | re.ASCII)),
)


def form_of(source: Source, said: str | None = None) -> str:
    """The form of a file, by what is in it. Raises `UsageError`."""
    if said is not None:
        if said not in FORMS:
            raise UsageError(f"--from={said}", "is no form that is imported", nearest(said, FORMS))
        return said
    for form, sign in _SIGNS:
        if sign.search(source.text):
            return form
    raise UsageError(source.path, "is in no form that is known", f"say which with --from: {', '.join(FORMS)}")


def _together(found: Sequence[tuple[str, Source]]) -> list[tuple[str, Source]]:
    """The files of a form whose files are one configuration as one."""
    one = [source for form, source in found if form == _ONE]
    rest = [(form, source) for form, source in found if form != _ONE]
    return [(_ONE, replace(one[0], others=tuple(one[1:]))), *rest] if one else rest


def toml_of(sources: Sequence[Source], said: str | None = None, host: str = "") -> str:
    """The text of one multi.toml for all, made on `host`. Raises `MultiError` for what cannot be read or said."""
    for source in sources:
        refuse_noncharacters(source.text, source.path)
        if re.search(r"^\s*\{%-?\s", source.text, re.MULTILINE):
            raise UsageError(source.path, "is a template, with lines like {% if ... %}", "import the file made of it")
    files: list[Imported] = []
    forms = [(form_of(source, said), source) for source in sources]
    together = _together(forms)
    for form, source in together:
        module = import_module(f"multi.importing.{form.replace('-', '_')}")
        read = cast("Callable[[Source], Imported]", module.imported)
        try:
            files.append(read(source))
        except MultiError as error:
            raise type(error)(shown(error.word), shown(error.why), shown(error.hint)) from None
    same = all(file.defaults == files[0].defaults for file in files)
    groups: list[Table] = []
    nodes: list[Table] = []
    for file in files:
        own = {} if same else file.defaults  # else each node says them for itself
        grouped = {name for table in file.tables for name in table.nodes or ()}
        told = [
            one if one.name in grouped and one.nodes is None else replace(one, settings={**own, **one.settings})
            for one in file.tables
        ]
        groups += [table for table in told if table.nodes is not None]
        nodes += [table for table in told if table.nodes is None]
    for some in (groups, nodes):
        names = Counter(table.name for table in some)
        twice = next((name for name, number in names.items() if number > 1), None)
        if twice is not None:
            read_in = zip(together, files, strict=True)
            where = [one for (_, one), file in read_in if twice in {each.name for each in file.tables}]
            paths = [", ".join(each.path for each in (one, *one.others)) for one in where]
            if len(paths) > 1:
                hint = "import the files one by one, and give one another name in its multi.toml"
                raise UsageError(twice, f"is in {' and in '.join(paths)}", hint)
            raise UsageError(twice, f"is there twice in {paths[0]}", "rename one there")
    remarks = (*(_NEXT[form] for form, _ in forms), _KEPT, *(remark for file in files for remark in file.remarks))
    whole = Imported(tables=(*groups, *nodes), defaults=files[0].defaults if same else {}, remarks=remarks)
    return text_of(whole, ", ".join(source.path for source in sources), host)
