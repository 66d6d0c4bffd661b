"""What scripts install is held to constraints.txt."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).resolve().parents[2]


def test_every_requirement_is_held_to_one_release_that_it_allows() -> None:
    """What pyproject.toml and the bench name is in constraints.txt; 'scripts/lock' writes it again."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [Requirement(text) for text in metadata.requires("multi-supervisor") or ()]
    wanted += [Requirement(text) for text in (*project["build-system"]["requires"], "supervisor", "circus")]
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    held = [Requirement(line) for line in lines if not line.startswith("#")]
    names = {canonicalize_name(one.name) for one in held}
    assert {one.name for one in wanted if canonicalize_name(one.name) not in names} <= {"multi-supervisor"}
    here = [one for one in held if one.marker is None or one.marker.evaluate()]
    releases = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in here}
    assert len(releases) == len(here), "two releases of one package for this Python"
    for one in wanted:
        if release := releases.get(canonicalize_name(one.name)):
            assert one.specifier.contains(release), f"{one}: {release}"
