"""Only `decide` chooses: nobody else goes by a command's name, by what was observed, or by the kind of a proof.

Each part of the package is small.
"""

from __future__ import annotations

import ast
import pkgutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import multi
from multi import decide
from multi.cli import commands
from multi.model import proof, request
from multi.model.state import State
from multi.system import probes

PACKAGE = Path(multi.__file__).parent
COMMANDS = frozenset({*request.TRAITS, *request.ALIASES})
STATES = frozenset(each.__name__ for each in get_args(State))
GENERATED = "settings/shipped.py"  # a table that scripts/schema makes of the presets
# Lines, with docstrings and blank ones. A package that got smaller gets a smaller number.
PACKAGE_LINES, FILE_LINES, CLASS_LINES, FUNCTION_LINES = 38_220, 450, 250, 60  # 1,545 are the made-up machine


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
    """Outside the table of traits and `decide` no name of a command is compared, and no set of names is made.

    The words that a worker is told are no commands.
    """
    assert found(modules("model/request.py", "decide/", "celery_plugin/"), by_name) == {}


def test_nobody_reads_what_was_observed() -> None:
    """Outside `observe`, `decide` and `report` nobody asks what state a node is in."""
    assert found(modules("observe/", "decide/", "report/", "model/"), by_state) == {}


def test_each_command_has_its_traits() -> None:
    """Every command that acts is in the table, and so is every one that the command line has a function for."""
    assert set(request.TRAITS) >= decide.COMMANDS
    assert {row.name for row in commands.COMMANDS} >= set(commands._FUNCTIONS)  # noqa: SLF001 -- the functions that differ


def is_table(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is one `match` with a case for each member of a union, and nothing else."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return len(body) == 1 and isinstance(body[0], ast.Match)


def long_parts(source: str) -> list[str]:
    """The classes and functions of a module that are too long, with their lines."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            most = CLASS_LINES
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_table(node):
            most = FUNCTION_LINES
        else:
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        if lines > most:
            found.append(f"{node.name}: {lines} lines, at most {most}")
    return found


def test_the_package_is_small() -> None:
    """A file has at most 450 lines, a class 250, a function that is no table 60; all files together have a limit."""
    lines = {path.as_posix(): len((PACKAGE / path).read_text().splitlines()) for path in modules(GENERATED)}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}
    long = {path.as_posix(): long_parts((PACKAGE / path).read_text()) for path in modules()}
    assert {path: parts for path, parts in long.items() if parts} == {}
    assert sum(lines.values()) <= PACKAGE_LINES


def test_what_is_long() -> None:
    """A long function and a long class are found wherever they stand; a function that is one match may be long."""
    body = "\n        x = 1" * FUNCTION_LINES
    assert long_parts(f"class A:\n    def f(self):{body}\n") == [f"f: {FUNCTION_LINES + 1} lines, at most 60"]
    assert long_parts(f"class A:\n    def f(self):{body * 5}\n")[0].startswith("A: ")
    cases = "".join(f"\n        case {number}:\n            return 1" for number in range(FUNCTION_LINES))
    assert long_parts(f"def f(x):\n    '''Table.'''\n    match x:{cases}\n") == []
    assert long_parts(f"def f(x):\n    y = x\n    match y:{cases}\n") != []


def by_kind(node: ast.AST) -> bool:
    """Whether something is chosen by the kind of a proof."""
    match node:
        case ast.Compare():
            return "ready.kind" in ast.unparse(node)
        case ast.Match(subject, _):
            return ast.unparse(subject).endswith("ready.kind")
        case _:
            return False


def test_nobody_goes_by_the_kind_of_a_proof() -> None:
    """A kind is a row, and what is special about it is a column, which others go by."""
    assert not [path for path in modules() if any(map(by_kind, ast.walk(tree(path))))]


def test_each_kind_of_probe_is_a_module() -> None:
    """An answer is asked for by the module of the kind's name, and no module is without its row."""
    asked = {name for name, kind in proof.KINDS.items() if kind.sign == "answer"}
    assert {module.name for module in pkgutil.iter_modules(probes.__path__)} == asked


def test_each_kind_of_proof_is_documented() -> None:
    """The reference says what each one proves."""
    page = (PACKAGE.parent / "docs" / "reference" / "readiness.md").read_text()
    notations = {notation for purpose in proof.PURPOSES for notation in proof.notations(purpose)}
    assert not [notation for notation in notations if f"| `{notation}` |" not in page]
