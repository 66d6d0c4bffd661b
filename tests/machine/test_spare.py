"""The private directory that takes the place of run and log directories where the usual ones cannot be made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from multi.machine import MachineError
from multi.system import files, spare

UID = os.geteuid()
NAME = f"multi-{UID}"
OPEN = 0o755 if UID == 0 else 0o700  # what root makes may be read by all


@pytest.fixture
def parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two directories in the place of /tmp and /dev/shm."""
    made = tmp_path / "tmp", tmp_path / "shm"
    for path in made:
        path.mkdir()
        path.chmod(0o1777)
    monkeypatch.setattr(spare, "PARENTS", tuple(map(str, made)))
    return made


def test_the_first_place_is_made_private(parents: tuple[Path, Path]) -> None:
    """Making a directory in it makes it, for its user alone; from then on it is found."""
    place = parents[0] / NAME
    assert spare.choice(UID) == (str(place), "")
    assert spare.made(UID) == ()
    assert not place.exists()
    files.make_directory(f"{place}/run", None)
    assert place.stat().st_mode & 0o7777 == OPEN
    assert spare.made(UID) == (str(place),)


def test_the_one_that_is_there_counts(parents: tuple[Path, Path]) -> None:
    """What was begun in the second place is found there, also when the first one can be written again."""
    second = parents[1] / NAME
    second.mkdir(mode=0o700)
    assert spare.choice(UID) == (str(second), "")


def _a_link(place: Path) -> None:
    place.parent.joinpath("other").mkdir(mode=0o700)
    place.symlink_to("other")


def _a_file(place: Path) -> None:
    place.touch(mode=0o600)


def _open_to_others(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def _not_sticky(place: Path) -> None:
    place.mkdir(mode=0o700)
    place.parent.chmod(0o777)


def _of_another_user(place: Path) -> None:
    if UID != 0:
        pytest.skip("needs root")
    place.mkdir(mode=0o700)
    os.chown(place, 5551, 5551)


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (_a_link, "is no directory, so another user may have put it there"),
        (_a_file, "is no directory, so another user may have put it there"),
        (_open_to_others, "is open to others (mode 0777)"),
        (_not_sticky, "is not sticky"),
        (_of_another_user, "belongs to uid 5551"),
    ],
)
def test_g8_what_another_user_may_have_planted_is_passed_over(
    parents: tuple[Path, Path], plant: Callable[[Path], None], why: str
) -> None:
    """G8: it is not looked into, nothing is made in it, and the next place is taken."""
    place = parents[0] / NAME
    plant(place)
    chosen, said = spare.choice(UID)
    assert chosen == str(parents[1] / NAME)
    assert why in said
    assert spare.made(UID) == ()
    with pytest.raises(MachineError, match=r"multi-\d+"):
        files.make_directory(f"{place}/run", None)
    assert not any(place.iterdir() if place.is_dir() else ())


def test_g8_where_all_are_planted_there_is_none(parents: tuple[Path, Path]) -> None:
    """Nothing is guessed."""
    for parent in parents:
        _a_link(parent / NAME)
    assert spare.choice(UID)[0] == ""


def test_a_parent_that_is_not_there_is_passed_over(parents: tuple[Path, Path]) -> None:
    """It is never made."""
    parents[0].rmdir()
    assert spare.choice(UID)[0] == str(parents[1] / NAME)
    assert not parents[0].exists()
