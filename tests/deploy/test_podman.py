"""What is exported for containers runs in one: podman plays the manifests, with a read-only root and any uid."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from awkward import KNOTS, UNICODE
from podman_machine import Image, podman, podman_machine
from private_machine import Host
from quadlet import Unit
from real import until

yaml: Any = pytest.importorskip("yaml")
pytestmark = [pytest.mark.engine, pytest.mark.root]

UID = 471147
IMAGE = "localhost/multi-test:1"
VALUES = {"MY_A": "a b$c", "MY_B": "it's\n100%"}
# podman is no kubelet: it expands no $(NAME), leaves $$ as it is, and takes a word of one newline for an empty one.
WORDS = [word for word in (*UNICODE, *KNOTS) if not re.search(r"\$[$(]", word) and word != "\n"]
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


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A machine of its own with podman, and an image of Python and `multi` alone."""
    with podman_machine(driver="overlay") as made:
        with Image(made.path("/srv/image.tar"), ("multi", "psutil", "filelock"), "/app") as image:
            image.script("multi", "from multi.__main__ import main\nsys.exit(main())\n")
            image.script("worker", _WORKER)
            image.text("/app/celery.py", _WORKER)
        podman(made, "import", "--change", "ENV PATH=/bin", "/srv/image.tar", IMAGE).ok()
        tried = podman(made, "run", "--rm", IMAGE, "multi", "--version")
        if tried.code:
            pytest.skip(f"podman runs nothing on this machine: {tried}")
        yield made


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
    assert _dumped(host, name) == [WORDS, VALUES, UID]
    pod = name.removesuffix("-w1")
    assert f"w1@{pod}: started" in _log(host, name)  # two replicas have two names
    health = podman(host, "exec", name, "multi", "status", "w1", "--health").ok()
    assert health.out == f"w1@{pod}: healthy: running\n"
    assert f"Read-only file system, so /tmp/multi-{UID} takes its place" in _log(host, name)
    podman(host, "stop", "--time=60", name).ok()
    assert "FINISHED\n" in _log(host, name)
    assert podman(host, "inspect", "--format={{.State.ExitCode}}", name).ok().out == "0\n"


def test_g2_two_replicas_have_two_names(host: Host) -> None:
    """G2, G11: two containers of one command are two nodes; each worker has its own words, with its own name."""
    said = (sys.executable, "-m", "multi", "export", "compose", "2", "-A", "tasks", "-c", "4", f"--uid={UID}")
    text = host.run(*said, f"--image={IMAGE}", env={"LC_ALL": "C.UTF-8"}).ok().out
    service = yaml.safe_load(text)["services"]["celery"]
    assert service["deploy"] == {"replicas": 2}
    run = ("run", "--detach", "--network=none", "--read-only", "--tmpfs=/tmp", "--workdir=/app")
    rest = (f"--user={service['user']}", IMAGE, *service["command"])
    made = [podman(host, *run, *rest).ok().out.strip() for _ in range(2)]
    for name in made:
        until(lambda name=name: "started" in _log(host, name), "the node runs")  # type: ignore[misc] # a lambda that keeps this turn's value
        node = f"celery@{name[:12]}"
        assert _dumped(host, name) == [["-A", "tasks", "worker", "-c", "4", "-n", node], {}, UID]
        assert f"{node}: started" in _log(host, name)
    podman(host, "stop", "--time=60", *made).ok()
    for name in made:
        assert podman(host, "inspect", "--format={{.State.ExitCode}}", name).ok().out == "0\n"


_LISTENER = """
import socket
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind("/srv/notify.sock")
while True:
    with open("/srv/heard", "ab") as file:
        file.write(heard.recv(4096) + b"\\n")
"""


def test_g4_g11_podman_runs_a_unit_of_quadlet(host: Host) -> None:
    """G4, G11: the exact words; systemd hears of it when the node is ready; its health is asked; its stop is whole.

    What `tests/kit/quadlet.py` reads stands for Podman's generator, see test_quadlet.
    """
    values = [f"--env={name}={value}" for name, value in VALUES.items()]
    words = [word for word in (*UNICODE, *KNOTS) if word]
    said = ("w1", "--preset=exec", "--cmd=worker", *values, f"--uid={UID}", "--stop-schedule=TERM/60/KILL/5")
    program = (sys.executable, "-m", "multi", "export", "quadlet", *said, "--ready=log:^WORKER", f"--image={IMAGE}")
    unit = Unit(host.run(*program, "--", *words, env={"LC_ALL": "C.UTF-8"}).ok().out)
    with host.daemon(sys.executable, "-c", _LISTENER):
        until(lambda: host.exists("/srv/notify.sock"), "systemd's part listens")
        run = ("podman", "run", "--detach", "--network=none", "--name=unit", *unit.podman())
        host.run(*run, env={"HOME": "/root", "NOTIFY_SOCKET": "/srv/notify.sock"}).ok()
        until(lambda: "READY=1" in host.read("/srv/heard"), "systemd is told")
    assert "w1@this: started" in _log(host, "unit")
    assert _dumped(host, "unit") == [words, VALUES, UID]
    podman(host, "healthcheck", "run", "unit").ok()
    podman(host, "stop", "unit").ok()  # with the time that the unit gives it
    assert "FINISHED\n" in _log(host, "unit")
    assert podman(host, "inspect", "--format={{.State.ExitCode}}", "unit").ok().out == "0\n"


def _dumped(host: Host, name: str) -> object:
    """The words, variables and user of the worker in a container, as it wrote them itself."""
    return json.loads(re.findall("^WORKER (.*)$", _log(host, name), re.MULTILINE)[0])


def _log(host: Host, name: str) -> str:
    done = podman(host, "logs", name)
    return done.out + done.err
