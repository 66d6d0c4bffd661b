"""The same nodes for another supervisor: files as data, path -> text. Pure; whoever asked writes them.

What another supervisor cannot say becomes a comment in its file. Words that its file cannot hold are an error: they
would reach the worker as something else. To add a form, add a module with `FORMS`: nothing else names a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from multi.errors import UsageError
from multi.export.form import Form, Order
from multi.text import nearest

__all__ = ["FORMS", "Form", "Order", "find"]


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
