"""What is exported for containers runs in one: podman plays the manifests, with a read-only root and any uid."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from awkward import KNOTS, UNICODE
from private_machine import CHECKOUT, Done, Host, machine, need
from real import until

pytestmark = [pytest.mark.engine, pytest.mark.root]

UID = 471147
IMAGE = "localhost/multi-test:1"
VALUES = {"MY_A": "a b$c", "MY_B": "it's\n100%"}
# podman is no kubelet: it expands no $(NAME), leaves $$ as it is, and takes a word of one newline for an empty one.
WORDS = [word for word in (*UNICODE, *KNOTS) if not re.search(r"\$[$(]", word) and word != "\n"]
_LEFT_OUT = frozenset(["test", "tests", "site-packages", "idlelib", "tkinter", "ensurepip", "__pycache__", "lib2to3"])
_WORKER = """
import json, os, signal, sys, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
mine = {name: value for name, value in os.environ.items() if name.startswith("MY_")}
print("WORKER", json.dumps([sys.argv[1:], mine, os.getuid()]), flush=True)
while not ended:
    time.sleep(0.05)
time.sleep(1)  # its task
print("FINISHED", flush=True)
"""
# A machine that lets nobody raise a limit wants soft and hard ones that are equal.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "/srv/storage"\nrunroot = "/run/storage"\n'


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A machine of its own with podman, and an image of Python and `multi` alone."""
    need("podman", "crun", "catatonit", "unshare", "nsenter")
    with machine() as made:
        made.shell("umount /sys/fs/cgroup/unified 2>/dev/null || true")
        made.write("/etc/containers/containers.conf", _CONTAINERS)
        made.write("/etc/containers/storage.conf", _STORAGE)
        made.write("/etc/containers/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
        _image(made.path("/srv/image.tar"))
        podman(made, "import", "--change", "ENV PATH=/bin", "/srv/image.tar", IMAGE).ok()
        tried = podman(made, "run", "--rm", IMAGE, "multi", "--version")
        if tried.code:
            pytest.skip(f"podman runs nothing on this machine: {tried}")
        yield made
        podman(made, "pod", "rm", "--all", "--force", "--time=0")
        made.shell("rmdir /sys/fs/cgroup/*/libpod_parent /sys/fs/cgroup/libpod_parent 2>/dev/null || true")


def podman(host: Host, *words: str) -> Done:
    """A command of podman."""
    return host.run("podman", *words, env={"HOME": "/root"})


def _image(path: Path) -> None:
    """The interpreter of the tests, its libraries, and the packages that `multi run` imports."""
    python, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    libraries: set[str] = set()
    for binary in (python, *library.glob("lib-dynload/*.so")):
        found = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
        libraries.update(word for word in found.split() if word.startswith("/"))

    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if _LEFT_OUT & set(Path(info.name).parts) or info.name.endswith(".a") else info

    with tarfile.open(path, "w") as tar:
        tar.add(python)
        tar.add(library, filter=kept)
        for name in libraries:
            tar.add(os.path.realpath(name), arcname=name)
        tar.add(CHECKOUT / "multi", arcname="/app/multi", filter=kept)
        for name in ("psutil", "filelock"):
            spec = find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            tar.add(Path(spec.origin).parent, arcname=f"/app/{name}", filter=kept)
        start = "import sys\nsys.path.insert(0, '/app')\nfrom multi.__main__ import main\nsys.exit(main())\n"
        for name, text in (("multi", start), ("worker", _WORKER)):
            data = f"#!{python} -I\n{text}".encode()
            info = tarfile.TarInfo(f"/bin/{name}")
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, mode in (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("etc", 0o755)):
            info = tarfile.TarInfo(f"/{name}")
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)


def test_podman_plays_what_is_exported(host: Host) -> None:
    """G11, G6: exact words and variables, not root, the log is the engine's, a running task ends, exit 0."""
    values = [f"--env={name}={value}" for name, value in VALUES.items()]
    said = ("w1", "--preset=exec", "--cmd=worker", *values, f"--uid={UID}", "--stop-schedule=TERM/60/KILL/5")
    program = (sys.executable, "-m", "multi", "export", "kubernetes")
    asked = (f"--image={IMAGE}", "--output=/srv/kube")
    host.run(*program, *said, *asked, "--", *WORDS, env={"LC_ALL": "C.UTF-8"}).ok()
    host.shell("cat /srv/kube/w1-env.yaml /srv/kube/w1.yaml >/srv/all.yaml").ok()
    podman(host, "kube", "play", "/srv/all.yaml").ok()
    (name,) = [each for each in podman(host, "ps", "--format={{.Names}}").ok().out.split() if each.endswith("-w1")]
    until(lambda: "started" in _log(host, name), "the node runs")
    words, variables, uid = json.loads(re.findall("^WORKER (.*)$", _log(host, name), re.MULTILINE)[0])
    assert words == WORDS
    assert variables == VALUES
    assert uid == UID
    pod = name.removesuffix("-w1")
    assert f"w1@{pod}: started" in _log(host, name)  # two replicas have two names
    health = podman(host, "exec", name, "multi", "status", "w1", "--health").ok()
    assert health.out == f"w1@{pod}: healthy: running\n"
    assert f"Read-only file system, so /tmp/multi-{UID} takes its place" in _log(host, name)
    podman(host, "stop", "--time=60", name).ok()
    assert "FINISHED\n" in _log(host, name)
    assert podman(host, "inspect", "--format={{.State.ExitCode}}", name).ok().out == "0\n"


def _log(host: Host, name: str) -> str:
    done = podman(host, "logs", name)
    return done.out + done.err
