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


def in_table(table: str, origin: str) -> Stamp | None:
    """The part of a crontab that is ours; its `rest` are the lines of it. One without its end was changed by hand."""
    lines = table.splitlines(keepends=True)
    for at, line in enumerate(lines):
        found = _BEGIN.fullmatch(line.rstrip("\n"))
        if found is None or found["origin"] != printable(origin):
            continue
        for end in range(at + 1, len(lines)):
            if lines[end].rstrip("\n") == _end(origin):
                body = "".join(lines[at + 1 : end])
                return Stamp(found["origin"], found["digest"] == _digest(body, origin), body)
        return Stamp(found["origin"], intact=False, rest="")
    return None


def origins(table: str) -> tuple[str, ...]:
    """For whom a crontab has parts of ours."""
    return tuple(found["origin"] for line in table.splitlines() if (found := _BEGIN.fullmatch(line)))


def with_part(table: str, body: str, origin: str) -> str:
    """The crontab with `body` as our part, in the place of an intact one; without our part where `body` is empty."""
    begin = f"# BEGIN multi install for {printable(origin)}; leave it to multi (sha256 {_digest(body, origin)})\n"
    new = f"{begin}{body}{_end(origin)}\n" if body else ""
    old = in_table(table, origin)
    if old is None:
        return (table if not table or table.endswith("\n") else f"{table}\n") + new
    lines = table.splitlines(keepends=True)
    at = next(
        at
        for at, line in enumerate(lines)
        if (hit := _BEGIN.fullmatch(line.rstrip("\n"))) and hit["origin"] == old.origin
    )
    end = next(end for end in range(at, len(lines)) if lines[end].rstrip("\n") == _end(origin))
    return "".join((*lines[:at], new, *lines[end + 1 :]))


def _end(origin: str) -> str:
    return f"# END multi install for {printable(origin)}"
