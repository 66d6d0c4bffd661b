"""The same nodes for another supervisor: files as data, path -> text. Pure; whoever asked writes them.

What another supervisor cannot say becomes a comment in its file. Words that its file cannot hold are an error: they
would reach the worker as something else. To add a form, add a module with `FORMS`: nothing else names a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pkgutil import iter_modules

from multi.errors import ConfigError, UsageError
from multi.export.form import Form, Order, Wanted, ascii_name
from multi.export.sysv import settings, words
from multi.text import nearest
from multi.typed import TYPE_CHECKING, cast
from multi.value import replace

if TYPE_CHECKING:
    from multi.machine import Surroundings
    from multi.settings.presets import Preset
    from multi.words.spec import Selection

__all__ = ["FORMS", "Form", "Order", "Wanted", "ascii_name", "find", "mode", "of_containers", "settings", "words"]


def _forms() -> Mapping[str, Form]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    forms: list[tuple[str, Form]] = [form for module in modules for form in getattr(module, "FORMS", {}).items()]
    return dict(sorted(forms))


FORMS = _forms()


def find(form: str) -> Form:
    """The form of that name. Raises `UsageError`."""
    if form not in FORMS:
        raise UsageError(form or "''", "is not a form that nodes can be exported to", nearest(form, FORMS))
    return FORMS[form]


def of_containers(order: Order, here: Surroundings, wanted: Wanted | None) -> Order:
    """The order with what only forms for containers need."""
    from multi.settings import config, presets

    directories = config.preset_directories(here.environ, here.home)
    known: dict[str, Preset] = {}
    for name in {node.preset for node in order.nodes}:
        with suppress(ConfigError):  # a node on record may have one that is gone by now
            known[name] = presets.load(name, directories)
    return replace(order, wanted=wanted or Wanted(), hostname=here.hostname, presets=known)


def mode(form: str, selection: Selection) -> int:
    """The permissions of the files: what a preset sets may be read by all, what a user sets may not."""
    from multi.words.merge import nobody_said

    shipped = {
        name: cast("tuple[object, ...]", selection.settings[name]["env"])
        for name, sources in selection.sources.items()
        if nobody_said("env", sources)
    }
    made = find(form)
    secret = any(
        variable not in shipped.get(node.name, ()) for node in selection.nodes for variable in made.values(node)
    )
    return made.mode & (0o700 if secret else 0o777)
