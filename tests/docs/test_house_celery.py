"""No general module knows Celery or another library: what is special about its workers is preset data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

MULTI = Path(__file__).resolve().parents[2] / "multi"

# Each file that may say its name, and why.
ALLOWED = {
    "celery_plugin/__init__.py": "the plug-in, which runs in Celery's worker",
    "celery_plugin/ready.py": "as its package",
    "celery_plugin/tasks.py": "as its package",
    "celery_plugin/heartbeat.py": "as its package",
    "celery_plugin/worker.py": "as its package",
    "celery_plugin/stack.py": "as its package",
    "celery_plugin/thread.py": "as its package",
    "celery_plugin/control.py": "as its package",
    "system/plugin.py": "whether the plug-in is installed in the worker's Python",
    "settings/shipped.py": "made of the presets that come with multi, which are data",
    "settings/table.py": "the default preset, and its rows for the reference",
    "words/names.py": "the default prefix of counted nodes",
    "importing/__init__.py": "the names of forms that are imported, and the signs of them",
    "importing/celery_multi.py": "the line that it reads",
    "importing/celeryd.py": "the variables that it reads",
    "importing/worker_command.py": "which command is which preset",
    "plugins/dramatiq.py": "the hooks that run in Dramatiq's workers",
    "plugins/huey.py": "the hooks that run in huey's consumer",
}
LIBRARIES = ("celery", "dramatiq", "huey", "gunicorn")


def said(source: str) -> Iterator[str]:
    """Names and texts of a module with the name of a library; docstrings are for its readers, and do not count."""
    tree = ast.parse(source)
    prose = set[int]()
    for node in ast.walk(tree):
        match node:
            case ast.Module(body=body) | ast.ClassDef(body=body) | ast.FunctionDef(body=body):
                match body:
                    case [ast.Expr(value=ast.Constant() as text), *_]:
                        prose.add(id(text))
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            words = value if isinstance(value, list) else [value]
            found = (
                word for word in words if isinstance(word, str) and any(name in word.lower() for name in LIBRARIES)
            )
            yield from () if id(node) in prose else found


def test_only_plugins_presets_and_documented_rows_name_a_library() -> None:
    """A worker type is a preset, so a module that would need the name of one needs a key of presets instead."""
    found = {
        str(path.relative_to(MULTI)): sorted(set(said(path.read_text(encoding="utf-8"))))
        for path in sorted(MULTI.rglob("*.py"))
    }
    named = {path: words for path, words in found.items() if words}
    assert {path: words for path, words in named.items() if path not in ALLOWED} == {}
    assert set(ALLOWED) <= set(named), "a file that no longer names it is no longer allowed to"


def test_what_counts() -> None:
    """Identifiers, attributes, imports and texts count; docstrings and comments do not."""
    source = '"""Of celery."""\nimport celery.app\ndef is_celery(x): return x.celery, "a celery worker"  # celery\n'
    assert sorted(said(source)) == ["a celery worker", "celery", "celery.app", "is_celery"]
