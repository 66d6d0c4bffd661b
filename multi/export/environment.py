"""Whether systemd reads an env file as `multi` does (systemd.exec(5), `EnvironmentFile=`)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from multi.model.node import Node

# Lines in which both see the same: comments, and values without quotes inside, backslashes and comments behind them.
LINE = re.compile(
    r"""[ \t]*(?:\#.*)?
    | ([A-Za-z_][A-Za-z0-9_]*)=(?: '[^'"\\]*' | "[^'"\\]*" | (?:[^\s'"\\\#](?:[^'"\\\#]*[^\s'"\\\#])?)? )[ \t]*""",
    re.VERBOSE,
)


def alike(node: Node, texts: Mapping[str, bytes]) -> bool:
    """Whether systemd can read the env files of the node at each start, and the worker gets the same variables.

    What systemd reads overrides `Environment=`, so a variable that the node sets by itself may be in no file.
    """
    read = {name for name, _ in node.env_read}
    for path in node.env_files:
        try:
            lines = texts[path].decode("utf-8").split("\n")
        except (KeyError, UnicodeDecodeError):
            return False
        found = [LINE.fullmatch(line) if line.isprintable() else None for line in lines]
        if not path.isprintable() or path != path.strip() or set(path) & set("*?[\\\"'"):  # a pattern, or quoted
            return False
        if not all(found) or any(match[1] not in read for match in found if match is not None and match[1]):
            return False
    return bool(node.env_files)
