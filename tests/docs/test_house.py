"""Only `decide` chooses: nobody else goes by a command's name, or reads what was observed of a node."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import multi
from multi import decide
from multi.cli import commands
from multi.model import request
from multi.model.state import State

PACKAGE = Path(multi.__file__).parent
COMMANDS = frozenset({*request._TRAITS, *request._ALIASES, "wait", "dump", "status"})  # noqa: SLF001 -- the table itself
STATES = frozenset(each.__name__ for each in get_args(State))
# What is still to go, with how often; a number that is not exact any more is to be made smaller.
NAMES_LEFT = {"cli/__init__.py": 1, "cli/completion.py": 1}


def modules(*without: str) -> list[Path]:
    """The modules of `multi` but those in these places."""
    paths = (path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))
    return [path for path in paths if not path.as_posix().startswith(without)]


def tree(path: Path) -> ast.Module:
    """A module of the package, parsed."""
    return ast.parse((PACKAGE / path).read_text(), str(path))


def is_name(node: ast.expr | None) -> bool:
    """Whether an expression is a command's name, or a collection of nothing else."""
    match node:
        case ast.Constant(value=str(text)):
            return text in COMMANDS
        case ast.Set(elts) | ast.Tuple(elts) | ast.List(elts):
            return bool(elts) and all(map(is_name, elts))
        case ast.Dict(keys):
            return bool(keys) and all(map(is_name, keys))
        case _:
            return False


def about_a_command(node: ast.AST) -> bool:
    """Whether an expression that is compared with a name is a command, as code here says it."""
    return "command" in ast.unparse(node) or "request" in ast.unparse(node)


def by_name(node: ast.AST) -> bool:
    """Whether something is chosen by a command's name: compared with it, or looked up in a set or table of names."""
    match node:
        case ast.Compare(left, _, comparators):
            return any(map(is_name, (left, *comparators))) and about_a_command(node)
        case ast.Match(subject, cases):
            values = (each.pattern for each in cases)
            named = [isinstance(each, ast.MatchValue) and is_name(each.value) for each in values]
            return about_a_command(subject) and any(named)
        case ast.Set(elts) | ast.Tuple(elts):
            return len(elts) > 1 and is_name(node)
        case ast.Dict(keys):
            return len(keys) > 1 and is_name(node)
        case _:
            return False


def by_state(node: ast.AST) -> bool:
    """Whether an observed state is read: told from others by `isinstance`, or matched."""
    match node:
        case ast.Call(ast.Name("isinstance"), [_, kinds]):
            return any(isinstance(each, ast.Name) and each.id in STATES for each in ast.walk(kinds))
        case ast.MatchClass(ast.Name(name)):
            return name in STATES
        case _:
            return False


def found(paths: list[Path], is_one: Callable[[ast.AST], bool]) -> dict[str, int]:
    """Module -> how often."""
    return dict(Counter(path.as_posix() for path in paths for node in ast.walk(tree(path)) if is_one(node)))


def test_nobody_goes_by_the_name_of_a_command() -> None:
    """Outside the table of traits and `decide` no name of a command is compared, and no set of names is made."""
    assert found(modules("model/request.py", "decide/"), by_name) == NAMES_LEFT


def test_nobody_reads_what_was_observed() -> None:
    """Outside `observe`, `decide` and `report` nobody asks what state a node is in."""
    assert found(modules("observe/", "decide/", "report/", "model/"), by_state) == {}


def test_each_command_has_its_traits() -> None:
    """No command that acts is without a row in the table, where everybody would take it for one that only looks."""
    looks = {"status", "completion", "help"}
    named = set(request._TRAITS)  # noqa: SLF001 -- the table itself
    assert {request.canonical(row.name) for row in commands.COMMANDS} - named == looks
    assert decide.COMMANDS - named == {"dump"}
