"""``import``: the configuration of another supervisor as a multi.toml; nothing is started or stopped."""

from __future__ import annotations

import posixpath

from multi import api
from multi.cli.order import FROM, OUTPUT_FILE
from multi.errors import UsageError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.cli.order import Order


def carry_out(order: Order) -> int:
    """Print the text, or write it into a new file."""
    words = [word for word in order.words if word != "--"]
    wrong = next((word for word in words if word.startswith("-") and word != "-"), None)
    if wrong is not None:
        from multi.text import nearest

        raise UsageError(wrong, "is no option of import", nearest(wrong, [OUTPUT_FILE.name, FROM.name]))
    if not words:
        raise UsageError("import", "needs a file", order.command.traits.example)
    text = api.import_files(words, order.given.get(FROM.name))
    path = order.given.get(OUTPUT_FILE.name)
    if path is None:
        order.screen.say(text.removesuffix("\n"))
        return 0
    mode = 0o600 if "\nenv = " in text else 0o644  # a variable may be a secret
    (made,) = api.save({posixpath.basename(path): text}, posixpath.dirname(path) or ".", mode, make=False)
    return order.say([[made]], [made])
