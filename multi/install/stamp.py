"""The line by which `multi` knows the files that it has installed: for whom, and a digest of all the rest. Pure.

It is the first line, or in a script the one behind ``#!``. A file whose digest is another one was changed by hand.
"""

from __future__ import annotations

import re
from hashlib import sha256

from multi.text import printable
from multi.value import dataclass

_LINE = re.compile(
    r"# Written by 'multi install' for (?P<origin>.*); (?:leave it to multi|yours to change) "
    r"\(sha256 (?P<digest>[0-9a-f]{64})\)"
)
_BEGIN = re.compile(r"# BEGIN multi install for (?P<origin>.*); leave it to multi \(sha256 (?P<digest>[0-9a-f]{64})\)")


@dataclass(frozen=True, slots=True)
class Stamp:
    """For whom a file was written (see `Site.origin`), whether it still is as it was written, and all but its stamp."""

    origin: str
    intact: bool
    rest: str


def stamped(text: str, origin: str, whose: str = "leave it to multi") -> str:
    """The text with its stamp."""
    head, rest = _split(text)
    digest = _digest(head + rest, origin)
    return f"{head}# Written by 'multi install' for {printable(origin)}; {whose} (sha256 {digest})\n{rest}"


def read(text: str) -> Stamp | None:
    """The stamp of a file; None for one that is not of ours."""
    head, rest = _split(text)
    line, _, rest = rest.partition("\n")
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return Stamp(found["origin"], found["digest"] == _digest(head + rest, found["origin"]), head + rest)


def _split(text: str) -> tuple[str, str]:
    if not text.startswith("#!"):
        return "", text
    head, _, rest = text.partition("\n")
    return head + "\n", rest


def _digest(text: str, origin: str) -> str:
    return sha256(f"{printable(origin)}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()


def _part(table: str, origin: str) -> re.Match[str] | None:
    """Our part of a crontab; `whole` is None where its end is gone."""
    who = re.escape(printable(origin))
    begin = rf"(?m)^# BEGIN multi install for {who}; leave it to multi \(sha256 (?P<digest>[0-9a-f]{{64}})\)(?:\n|\Z)"
    return re.search(rf"{begin}(?P<whole>(?P<body>(?:.*\n)*?)# END multi install for {who}(?:\n|\Z))?", table)


def in_table(table: str, origin: str) -> Stamp | None:
    """The part of a crontab that is ours; its `rest` are the lines of it. One without its end was changed by hand."""
    part = _part(table, origin)
    if part is None:
        return None
    body = part["body"] or ""
    intact = part["whole"] is not None and part["digest"] == _digest(body, origin)
    return Stamp(printable(origin), intact, body)


def origins(table: str) -> tuple[str, ...]:
    """For whom a crontab has parts of ours."""
    return tuple(found["origin"] for line in table.splitlines() if (found := _BEGIN.fullmatch(line)))


def with_part(table: str, body: str, origin: str) -> str:
    """The crontab with `body` as our part, in the place of an intact one; without our part where `body` is empty."""
    begin = f"# BEGIN multi install for {printable(origin)}; leave it to multi (sha256 {_digest(body, origin)})\n"
    new = f"{begin}{body}# END multi install for {printable(origin)}\n" if body else ""
    old = _part(table, origin)
    if old is None:
        return (table if not table or table.endswith("\n") else f"{table}\n") + new
    return table[: old.start()] + new + table[old.end() :]
