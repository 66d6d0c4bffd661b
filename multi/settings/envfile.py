"""Env files: dotenv text -> variables, and what a node knows of the variables that its files set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multi.errors import ConfigError
from multi.model.node import Node
from multi.settings.table import SETTINGS
from multi.settings.toml import decoded
from multi.settings.values import from_toml
from multi.text import quoted
from multi.value import replace

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "`": "`", "\n": ""}


def parse_env_file(text: str, where: str) -> tuple[tuple[str, str], ...]:
    r"""Read dotenv text: ``KEY=VALUE`` lines -> variables; of two lines for one name the last counts.

    Blank lines and ``#`` lines are skipped, ``export`` may stand in front. A value without quotes ends
    at the end of its line or before `` #``. Single quotes keep everything as it is; double quotes know
    ``\n \r \t \\ \" \$``. Both may span lines. Nothing is substituted: ``$`` is a dollar sign.
    `where` is the path that errors name. Raises `ConfigError` with the line.
    """
    found: dict[str, str] = {}
    text = text.removeprefix("\ufeff").replace("\r\n", "\n") + "\n"
    at = 0
    while at < len(text):
        number = text.count("\n", 0, at) + 1
        position = f"{where}:{number}"
        end = text.index("\n", at)
        line = text[at:end].strip()
        if not line or line.startswith("#"):
            at = end + 1
            continue
        equals = text.find("=", at, end)
        name = text[at : max(equals, at)].strip()
        if name.startswith(("export ", "export\t")):
            name = name[len("export") :].strip()
        if not name or any(char.isspace() or char in "\"'#" for char in name):
            raise ConfigError(position, f"{quoted(line)} is not KEY=VALUE", "put a # before a comment")
        value, at = _env_value(text, equals + 1, position)
        from_toml(SETTINGS["env"], {name: value}, position)
        found[name] = value
    return tuple(found.items())


def _env_value(text: str, at: int, position: str) -> tuple[str, int]:
    """Read the value that begins at `at`; also where the next line begins."""
    while text[at] in " \t":
        at += 1
    quote = text[at]
    if quote not in "\"'":
        end = text.index("\n", at)
        raw = text[at:end]
        for mark in (" #", "\t#"):
            raw = raw.partition(mark)[0]
        return ("" if raw.startswith("#") else raw.strip()), end + 1
    import re

    found = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL).match(text, at)
    if found is None:
        raise ConfigError(position, "has a quote that is not closed", f"put a {quote} at the end of the value")
    end = text.index("\n", found.end())
    tail = text[found.end() : end].strip()
    if tail and not tail.startswith("#"):
        raise ConfigError(position, f"{quoted(tail)} stands after the closing quote", "put the whole value in quotes")
    if found[2] is None:
        return found[1], end + 1
    return re.sub(r"\\(.)", lambda pair: _ESCAPES.get(pair[1], pair[0]), found[2], flags=re.DOTALL), end + 1


def read_env_files(paths: Sequence[str], read: Callable[[str], bytes]) -> tuple[tuple[str, str], ...]:
    """Read the files of the setting ``env_file``; a later file overrides an earlier one.

    `read` returns a file's bytes and raises `OSError`. Raises `ConfigError`.
    """
    found: dict[str, str] = {}
    for path in paths:
        try:
            data = read(path)
        except (OSError, ValueError) as error:
            why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            raise ConfigError(f"env_file {path}", why, "create it, or take it out of env_file") from None
        found.update(parse_env_file(decoded(data, path), path))
    return tuple(found.items())


def with_values(node: Node, values: Sequence[tuple[str, str]]) -> Node:
    """Add what the node's env files hold to its variables: for a start, and never recorded."""
    said = {name for name, _ in node.env}
    return replace(node, env=(*((name, value) for name, value in values if name not in said), *node.env))


def with_digests(node: Node, values: Sequence[tuple[str, str]]) -> Node:
    """Note which variables the node's env files set, and a digest of each, by which a change is found.

    Node and name are part of it, so equal values elsewhere have other digests.
    """
    from hashlib import blake2b

    said = {name for name, _ in node.env}
    texts = {name: f"{node.name}\0{name}\0{value}" for name, value in values if name not in said}
    digests = {name: blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16) for name, text in texts.items()}
    return replace(node, env_read=tuple((name, digests[name].hexdigest()) for name in sorted(digests)))
