"""The same nodes for another supervisor: files as data, path -> text. Pure; whoever asked writes them.

What another supervisor cannot say is said in a comment of its file, never dropped in silence. Words that its file
cannot hold are an error: they would reach the worker as something else. To add a form, write its module and a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.errors import UsageError
from multi.export import containers, launchd, procfile, supervisord, systemd, sysv
from multi.export.form import Form, Order, set_env
from multi.text import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.model.node import Node

__all__ = ["FORMS", "Form", "Order", "export", "find", "mode", "values"]

FORMS: Mapping[str, Form] = {
    "systemd": systemd.FORM,
    "sysv": sysv.SYSV,
    "cron": sysv.CRON,
    "supervisord": supervisord.FORM,
    "kubernetes": containers.KUBERNETES,
    "compose": containers.COMPOSE,
    "launchd": launchd.FORM,
    "procfile": procfile.FORM,
}


def find(form: str) -> Form:
    """The form of that name. Raises `UsageError` that says what is nearest."""
    if form not in FORMS:
        raise UsageError(form or "''", "is not a form that nodes can be exported to", nearest(form, FORMS))
    return FORMS[form]


def export(form: str, order: Order) -> Mapping[str, str]:
    """Files for `form`, by path relative to where they are put.

    Raises `UsageError` for an unknown form, for node names that the form cannot tell apart, and for words that it
    cannot hold.
    """
    return find(form).files(order)


def mode(form: str, *, secret: bool) -> int:
    """The permissions of a file of `form`, which is `secret` when it holds values of variables."""
    return find(form).mode & (0o700 if secret else 0o777)


def values(form: str, node: Node) -> list[tuple[str, str]]:
    """The variables whose values are in the files of `form`; of those from env files a digest stands for the value."""
    return [*set_env(node), *(() if find(form).delegates else node.env_read)]
