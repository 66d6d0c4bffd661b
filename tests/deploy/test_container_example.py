"""examples/container, built and run by the words of its README, with podman and podman-compose for docker.

Neither a registry of images nor a package index is asked: the base image is made of this machine's Python and redis,
and pip takes wheels out of a directory, by the very configuration that the README hands it as a secret.
"""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import pytest

from checkout import copy_sources
from podman_machine import PYTHON, Image, podman_machine
from private_machine import BIN, CHECKOUT, SYSTEM_PATH, Done, Host
from real import until

yaml = pytest.importorskip("yaml")
pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.timeout(500)]

EXAMPLE = CHECKOUT / "examples/container"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
NETWORK = ("/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns", "iptables")
PLACE = "/srv/example/container"
UID = "471147"
SECONDS = 150.0  # a deadline: a worker takes 30 to start on a machine with ten times its load
HOME = "/srv/home"
ENVIRONMENT = {
    "HOME": HOME,
    "PATH": f"/srv/bin:{BIN}:{SYSTEM_PATH}",
    "TMPDIR": "/srv",
    "CELERY_BROKER_URL": "redis://localhost:6379/0",
}
# docker, as the README has it. It knows wheels that are no part of the image.
_DOCKER = """\
#!/bin/sh
case $1 in
    compose) shift; exec podman-compose "$@" ;;
    build) shift; exec podman build --format=docker --volume=/srv/wheels:/srv/wheels:ro "$@" ;;
    *) exec podman "$@" ;;
esac
"""
# As the official image has it; Debian's would let in nobody but its own host.
_REDIS = '#!/bin/sh\nexec /lib/redis/redis-server "$@" --protected-mode no\n'
_PIP = "from pip._internal.cli.main import main\nsys.exit(main())\n"


def said(start: str) -> str:
    """The one command of the README that begins so."""
    (line,) = re.findall(rf"^    ({re.escape(start)}.*)$", README, re.MULTILINE)
    return str(line)


@final
class Site:
    """A machine with the image of the example, without a network but its own."""

    def __init__(self, host: Host) -> None:
        """Only this machine's commands; nothing is done."""
        self.host = host

    def sh(self, line: str) -> Done:
        """A line of sh, in the example's directory."""
        return self.host.shell(f"cd {PLACE} && {line}", env=ENVIRONMENT)

    def told(self, line: str) -> str:
        """All that a line prints."""
        done = self.sh(line)
        return done.out + done.err

    def wait(self, what: str, *containers: str) -> None:
        """Wait until the engine's log of one of them holds it; the file is read, because each start of podman costs."""
        where = "podman inspect --format={{.HostConfig.LogConfig.Path}}"
        files = self.sh(f"{where} {' '.join(containers)}").ok().out.split()
        sought = re.compile(what)
        until(lambda: any(sought.search(self.host.read(file)) for file in files), f"{containers}: {what}", SECONDS)

    def healthy(self, container: str, check: str = "") -> None:
        """By the check that the image or compose has, or by another."""
        self.sh(f"podman exec {container} {check}" if check else f"podman healthcheck run {container}").ok()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Build the image; its `multi` is a wheel of this checkout."""
    with podman_machine("dash", "redis-server", "redis-cli", *NETWORK, driver="overlay") as host:
        _wheels(tmp_path)
        _machine(host, tmp_path)
        made = Site(host)
        change = f"--change 'ENV PATH={PYTHON.parent}:/bin'"
        made.sh(f"podman import -q {change} /srv/image.tar docker.io/library/python:3.13-slim").ok()
        made.sh("podman tag python:3.13-slim docker.io/library/redis:7-alpine").ok()
        tried = made.sh("podman run --rm --network=bridge redis:7-alpine redis-cli --version")
        if tried.code:
            pytest.skip(f"podman runs nothing on this machine: {tried}")
        made.sh(said("docker build --secret")).ok()
        yield made


def _wheels(base: Path) -> None:
    """Put the checkout's wheel in the place of PyPI's, by the words of the README; fetch what it depends on."""
    example = base / "checkout/examples/container"
    shutil.copytree(EXAMPLE, example)
    copy_sources(base / "checkout")
    fetch = f"pip download -q -d {base}/wheels -c {CHECKOUT}/constraints.txt -r requirements.txt"
    _here(example, said("pip wheel"), said("printf"), fetch)


def _here(directory: Path, *lines: str) -> None:
    words = ["env", f"PATH={BIN}:{SYSTEM_PATH}", "sh", "-euxc", "\n".join(lines)]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _machine(host: Host, base: Path) -> None:
    """The example, its wheels, docker as the README has it, and the files of the base image."""
    shutil.copytree(base / "checkout/examples/container", host.path(PLACE))
    shutil.copytree(base / "wheels", host.path("/srv/wheels"))
    host.write(f"{HOME}/.config/pip/pip.conf", "[global]\nno-index = true\nfind-links = /srv/wheels\n")
    host.write("/srv/bin/docker", _DOCKER, mode=0o755)
    host.write("/etc/containers/registries.conf", 'unqualified-search-registries = ["docker.io"]\n')
    host.path(f"{PLACE}/tasks.py").chmod(0o600)
    with Image(host.path("/srv/image.tar"), ("pip",), "/lib/pip") as image:
        image.link(f"{PYTHON.parent}/python", PYTHON.name)
        image.text("/etc/group", "root:x:0:\n")
        image.file("/usr/share/zoneinfo/UTC")  # Celery asks for it
        image.script("pip", _PIP)
        image.program("dash", "/bin/sh")
        image.program("redis-server", "/lib/redis/redis-server")
        image.program("redis-cli", "/bin/redis-cli")
        image.text("/bin/redis-server", _REDIS, 0o755)


def test_the_example_runs_by_the_words_of_its_readme(site: Site) -> None:
    """G2, G6, G11: alone with any uid, in compose, and as pods; one test, as all need the image."""
    site.sh('podman run -d --name=redis redis:7-alpine redis-server --save ""').ok()
    _alone(site)
    site.sh("podman rm --force --time=0 redis").ok()
    _compose(site)
    _manifests(site)


def top(site: Site, container: str) -> Sequence[Sequence[str]]:
    """User and state of each process of a container."""
    return [line.split() for line in site.sh(f"podman top {container} user state").ok().out.splitlines()[1:]]


def _alone(site: Site) -> None:
    """Healthy by name, not root, its log is the engine's, orphans are reaped, a running task ends, exit 0."""
    site.sh(said("docker run")).ok()
    site.wait("worker@.*: started", "worker")
    site.healthy("worker")
    assert "running" in site.sh(said("docker exec")).ok().out
    assert {user for user, _ in top(site, "worker")} == {UID}
    assert "warning" not in site.told("podman logs worker").lower()

    site.sh('podman exec worker python -c "import os, time; os.fork() and os._exit(0); time.sleep(0.1)"').ok()
    before = len(top(site, "worker"))
    until(lambda: len(top(site, "worker")) <= before, "the orphan has ended")
    until(lambda: not [state for _, state in top(site, "worker") if state == "Z"], "and was reaped")

    site.sh("podman exec worker celery -A tasks call tasks.work --args='[2]'").ok()
    site.wait("work.* received", "worker")
    site.sh(said("docker stop")).ok()
    assert re.search(r"work.* succeeded in 2\.", site.told("podman logs worker"))
    assert site.sh("podman inspect --format={{.State.ExitCode}} worker").ok().out == "0\n"


def _compose(site: Site) -> None:
    """Two replicas have two names, and a running task ends before its worker stops."""
    site.sh(said("docker compose up")).ok()
    workers = ("container_worker_1", "container_worker_2")
    for name in (*workers, "container_beat_1"):
        site.wait(r"\w+@\w+: started", name)
        site.healthy(name)
    assert len(set(re.findall(r"worker@\w+(?=: started)", site.told(said("docker compose logs"))))) == 2
    site.sh(said("docker compose exec")).ok()
    site.wait("work.* received", *workers)
    site.sh(said("docker compose stop")).ok()
    log = site.told(said("docker compose logs"))
    assert re.search(r"work.* succeeded in 5\.", log), log
    site.sh(said("docker compose down")).ok()
    assert site.sh("podman ps --all --quiet --filter=name=container_").ok().out == ""


def _pods(manifest: Any) -> Iterator[Any]:  # noqa: ANN401 -- YAML
    """The pods of a workload. podman knows no StatefulSet, and volumes of one name are one to it."""
    template = manifest["spec"]["template"]
    for number in range(manifest["spec"]["replicas"]):
        name = f"{manifest['metadata']['name']}-{number}"
        spec = copy.deepcopy(template["spec"])
        for volume in (*spec["volumes"], *spec["containers"][0]["volumeMounts"]):
            volume["name"] = f"{name}-{volume['name']}"
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}, "spec": spec}


def _manifests(site: Site) -> None:
    """The pods of each workload get ready by their own probes, and a task is worked on."""
    folder = site.host.path(f"{PLACE}/kubernetes")
    files = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    found = [each for name in files for each in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))]
    pods = [pod for manifest in found if "template" in manifest.get("spec", ()) for pod in _pods(manifest)]
    variables = [manifest for manifest in found if manifest["kind"] == "ConfigMap"]
    site.host.write("/etc/hosts", "10.90.0.1 redis\n")  # the Service: the port is the machine's, too
    site.host.write("/srv/all.yaml", yaml.safe_dump_all([*variables, *pods]))
    site.sh("podman network create --subnet=10.90.0.0/24 pods && podman kube play --network=pods /srv/all.yaml").ok()
    asked = {pod["metadata"]["name"]: pod["spec"]["containers"][0] for pod in pods}
    assert set(asked) == {"worker-0", "worker-1", "beat-0", "redis-0"}
    for name in ("worker-0", "worker-1", "beat-0"):
        container = f"{name}-{asked[name]['name']}"
        site.wait(rf"{asked[name]['name']}@{name}: started", container)
        site.healthy(container, shlex.join(asked[name]["readinessProbe"]["exec"]["command"]))
    site.sh("podman exec worker-1-worker celery -A tasks call tasks.work --args='[0]'").ok()
    site.wait(r"work.* succeeded in 0\.", "worker-0-worker", "worker-1-worker")
