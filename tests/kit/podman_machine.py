"""podman on a machine of one's own, and images made of what this machine has: no registry is asked.

Debian 12's podman runs as root without CAP_SYS_RESOURCE when soft and hard limits are equal, and on a machine with both
kinds of control groups when the second one is not mounted.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import final

import psutil

from private_machine import Done, Host, find, machine, need

CGROUPS = Path("/sys/fs/cgroup")
PYTHON = Path(sys.executable).resolve()
_LEFT_OUT = frozenset(["test", "tests", "site-packages", "idlelib", "tkinter", "ensurepip", "__pycache__", "lib2to3"])
_FOLDERS = (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("etc", 0o755))
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_STORAGE = '[storage]\ndriver = "{}"\ngraphroot = "/srv/storage"\nrunroot = "/run/storage"\n'


@contextlib.contextmanager
def podman_machine(*tools: str, driver: str = "vfs") -> Iterator[Host]:
    """Make a machine with podman and a network of its own, which containers have; nothing is left of them."""
    need("podman", "crun", "catatonit", "unshare", "nsenter", "ip", *tools)
    try:
        with machine() as made:
            made.shell("umount /sys/fs/cgroup/unified 2>/dev/null || true")
            made.write("/etc/containers/containers.conf", _CONTAINERS)
            made.write("/etc/containers/storage.conf", _STORAGE.format(driver))
            made.write("/etc/containers/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
            with made.begin(
                "unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep inf"
            ) as network:
                assert network.process.stdout is not None
                assert network.process.stdout.readline() == b"up\n"
                (inner,) = psutil.Process(network.process.pid).children()
                yield Host(inner.pid, (*made.spaces, "--net"))
    finally:
        for top in (*CGROUPS.glob("libpod_parent"), *CGROUPS.glob("*/libpod_parent")):
            for path in (*sorted(filter(Path.is_dir, top.rglob("*")), reverse=True), top):
                with contextlib.suppress(OSError):  # another machine's containers are in it
                    path.rmdir()


def podman(host: Host, *words: str) -> Done:
    """A command of podman."""
    return host.run("podman", *words, env={"HOME": "/root"})


def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A file, unless a worker needs none of its kind."""
    return None if _LEFT_OUT & set(Path(info.name).parts) or info.name.endswith(".a") else info


@final
class Image:
    """The files of an image, with the interpreter of the tests and the packages that are named; used as a block."""

    def __init__(self, path: Path, packages: Sequence[str], place: str) -> None:
        """Write to `path`, for `podman import`; packages lie below `place`."""
        self._tar = tarfile.open(path, "w")  # noqa: SIM115 -- closed where the block is left
        self._place = place
        self._there: set[str] = set()
        library = Path(sysconfig.get_path("stdlib"))
        self.program(str(PYTHON))
        self._tar.add(library, filter=kept)
        for module in library.glob("lib-dynload/*.so"):
            self._libraries(module)
        for name in packages:
            spec = find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            self._tar.add(Path(spec.origin).parent, arcname=f"{place}/{name}", filter=kept)
        for name, mode in _FOLDERS:
            info = tarfile.TarInfo(f"/{name}")
            info.type, info.mode = tarfile.DIRTYPE, mode
            self._tar.addfile(info)

    def __enter__(self) -> Image:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """The archive is whole."""
        self._tar.close()

    def program(self, name: str, inside: str | None = None) -> None:
        """A program of this machine with its libraries, at the same place or another."""
        path = find(name)
        assert path is not None, name
        self._tar.add(os.path.realpath(path), arcname=inside or path)
        self._libraries(Path(path))

    def _libraries(self, binary: Path) -> None:
        found = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
        for name in {word for word in found.split() if word.startswith("/")} - self._there:
            self._there.add(name)
            self._tar.add(os.path.realpath(name), arcname=name)

    def file(self, path: str) -> None:
        """A file of this machine, at the same place."""
        self._tar.add(os.path.realpath(path), arcname=path)

    def script(self, name: str, text: str) -> None:
        """A program in /bin, in Python."""
        self.text(f"/bin/{name}", f"#!{PYTHON} -I\nimport sys\nsys.path.insert(0, {self._place!r})\n{text}", 0o755)

    def text(self, inside: str, text: str, mode: int = 0o644) -> None:
        """A file."""
        data = text.encode()
        info = tarfile.TarInfo(inside)
        info.size, info.mode = len(data), mode
        self._tar.addfile(info, io.BytesIO(data))

    def link(self, inside: str, target: str) -> None:
        """A symbolic link."""
        info = tarfile.TarInfo(inside)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)
