"""What is printed for other programs, as files: new ones, or in the place of what they read."""

from __future__ import annotations

from multi.errors import UsageError
from multi.machine import MachineError
from multi.typed import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multi.machine import Surroundings


class Files(Protocol):
    """The part of the machine that it takes."""

    def surroundings(self) -> Surroundings:
        """Where we are."""

    def kind(self, path: str) -> str:
        """See `multi.machine.LocalHost`."""

    def says(self, path: str, data: bytes) -> bool:
        """Whether a regular file is there with this content."""

    def create(self, path: str, data: bytes, mode: int) -> bool:
        """Write a new file, its directory made; False when something else is there already. Raises `OSError`."""

    def remove(self, path: str) -> None:
        """Remove a file; fine when that cannot be done."""

    def replace(self, path: str, data: bytes) -> None:
        """Put a file that all may read in the place of another. Raises `OSError`."""


def save(files: Mapping[str, str], directory: str, mode: int, local: Files, *, make: bool = True) -> Iterator[str]:
    """Write files into a directory, which is made if we are to `make` it; yields their paths.

    All or none: raises `UsageError` for one that is there and differs, and `MachineError` for what cannot be written.
    """
    there = local.kind(directory)
    if there not in {"directory", ""}:
        raise UsageError(directory, "is a file, not a directory", "give another --output")
    if not (there or make):
        raise UsageError(directory, "is no directory", "create it, or give another --output")
    paths = {f"{directory.rstrip('/')}/{name}": text.encode("utf-8", "surrogateescape") for name, text in files.items()}
    for path, data in paths.items():
        if local.kind(path) and not local.says(path, data):
            raise _is_there(path)
    made: list[str] = []
    try:
        for path in [path for path in paths if not local.kind(path)]:
            _create(path, paths[path], mode, local)
            made.append(path)
    except BaseException:
        for path in made:
            local.remove(path)
        raise
    yield from paths


def _create(path: str, data: bytes, mode: int, local: Files) -> None:
    try:
        made = local.create(path, data, mode)
    except OSError as error:
        raise _cannot_write(path, error) from error
    if not made:  # it was put there meanwhile, or is a link that leads nowhere
        raise _is_there(path)


def publish(path: str, text: str, local: Files) -> None:
    """Replace one file, which its readers find whole at any moment."""
    whole = path if path.startswith("/") else f"{local.surroundings().cwd}/{path}"
    try:
        local.replace(whole, text.encode())
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str, error: OSError) -> MachineError:
    hint = getattr(error, "hint", "") or "give another --output"
    return MachineError(f"cannot write {path}", error.strerror or str(error), hint, error.errno or 0)


def _is_there(path: str) -> UsageError:
    return UsageError(
        path, "is there already, and may have been changed by hand", "remove it, or give another --output"
    )
