"""The words of the code are the field's: no name in `multi` is one of those that a newcomer would have to learn."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MULTI = ROOT / "multi"

# What stands for a word that a name must not hold, not even as a part (`_ground`, `make_room`).
PARTS = {
    **dict.fromkeys(("ride", "room"), "run, pipeline, module"),
    "errand": "task",
    "wish": "request",
    "manner": "options",
    "sighting": "state",
    "census": "process table",
    **dict.fromkeys(("carrier", "stranger"), "token holder, foreign process"),
    "remnant": "leftover",
    "birth": "start id",
    **dict.fromkeys(("ground", "place"), "host, local"),
    **dict.fromkeys(("still", "wake"), "suspended, resume"),
    "way": "trusted path",
    "weaker": "fallback",
    **dict.fromkeys(("patience", "fallen", "asking"), "backoff, failed, requested"),
    **dict.fromkeys(("draft", "page"), "file write"),
    "mark": "fingerprint",
}
# Whole names only: in a longer one (`text_line`, `next_look`) the word is plain English.
WHOLE = {"seen": "state", "row": "process info", "before": "baseline", "pause": "a wait of act.waits"}
# Those that plain English does not need either; the rest (`still`, `way`, `line`) may be plain words in a sentence.
TERMS = re.compile(r"\b(ride|errand|wish(e)?|sighting|census|carrier|stranger|remnant)s?\b", re.IGNORECASE)
CLASSES = {"Line": "pipeline", "Look": "a wait of act.waits", "Save": "a wait of act.waits"}

# Names in which the word is the field's own, or plain English.
PLAIN = {
    *("_wake", "_wake_pipe", "on_wake", "wake_fd"),  # a wake pipe is what a poller is woken by
    "make_room",  # for descriptors, below the limit
    *("row", "_row"),  # of a table that is printed
    *("page", "_put_in_place", "_place_of_leading"),  # a page of the manual; where something is put
}


def names(path: Path) -> Iterator[tuple[str, bool]]:
    """Names of the module, its classes, functions, fields and parameters, and whether each is that of a class."""
    yield path.stem, False
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name, body=body):
                yield name, True
                yield from ((field.target.id, False) for field in body if _is_field(field))  # type: ignore[attr-defined]  # _is_field
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, False
            case ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, False


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def instead(name: str, *, is_class: bool = False) -> str:
    """What to say instead of a name, empty when it is good."""
    bare = name.lstrip("_")
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", bare)}
    bad = parts & ({*PARTS} | {f"{part}s" for part in PARTS})
    if bad:
        word = min(bad)
        return PARTS.get(word) or PARTS[word.removesuffix("s")]
    return WHOLE.get(bare.lower(), "") or (CLASSES.get(bare, "") if is_class else "")


def test_no_name_is_one_of_the_old_words() -> None:
    """Also in the folders that are still being rebuilt nothing new is called so."""
    wrong = {
        f"{path.relative_to(MULTI)}: {name}": f"say {instead(name, is_class=is_class)}"
        for path in sorted(MULTI.rglob("*.py"))
        for name, is_class in names(path)
        if instead(name, is_class=is_class) and name not in PLAIN
    }
    assert wrong == {}


def test_what_counts() -> None:
    """Parts at underscores and capitals, in both numbers, and whole names; nothing inside of another word."""
    for name in ("Wish", "by_another_way", "TokenCarriers", "_ground", "birth", "seen", "Before", "_row", "pages"):
        assert instead(name), name
    for name in ("always", "upward", "display_row", "underground", "marker", "drafted", "before_it", "line", "Lines"):
        assert not instead(name), name
    assert instead("Line", is_class=True)


def test_no_sentence_uses_the_old_words() -> None:
    """Neither pages nor docstrings, comments and messages of the package; names of tests that a page cites may."""
    paths = [*MULTI.rglob("*.py"), *MULTI.rglob("*.toml"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    wrong = {
        f"{path.relative_to(ROOT)}:{number}": line
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if TERMS.search(re.sub(r"tests/\S+", "", line))
    }
    assert wrong == {}
