"""`multi export kubernetes` and `compose`: what is exported keeps to the published schemas, and loses no word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from awkward import KNOTS, UNICODE, VALUES
from multi import api as pipeline
from multi.cli.commands import flags
from multi.errors import UsageError
from multi.export import FORMS, Wanted
from multi.export.run import TAKEN
from multi.model.node import Node
from private_machine import need
from real import Real, current_directory

yaml: Any = pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("at_home")
SLEEP = ("--preset=exec", "--cmd=sleep 600")
CELERY = ("-A", "proj", "-c", "4")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/container"


def exported(form: str, *said: str, **wanted: Any) -> Mapping[str, str]:  # noqa: ANN401 -- fields of `Wanted`
    """The files of a form."""
    selection = pipeline.select("export", said, foreground=FORMS[form].foreground)
    return pipeline.export(form, selection, Wanted(**wanted))


def kubernetes(*said: str, **wanted: Any) -> dict[str, Any]:  # noqa: ANN401 -- as above
    """The manifests by file, each held against the schema of Kubernetes."""
    schemas = pytest.importorskip("kubernetes_validate")
    found: dict[str, Any] = {}
    for path, text in exported("kubernetes", *said, **wanted).items():
        found[path] = yaml.safe_load(text)
        schemas.validate(found[path], schemas.latest_version(), strict=True)
    return found


def container(manifest: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- YAML
    """The one container of a workload."""
    (found,) = manifest["spec"]["template"]["spec"]["containers"]
    return found


def compose(*said: str, **wanted: Any) -> dict[str, Any]:  # noqa: ANN401 -- as above
    """The services."""
    found: dict[str, Any] = yaml.safe_load(exported("compose", *said, **wanted)["compose.yaml"])["services"]
    return found


def node_of(command: Sequence[str]) -> Node:
    """The node that ``multi run`` makes of these words."""
    assert command[:2] == ["multi", "run"]
    (node,) = pipeline.select("run", command[2:], foreground=True).nodes
    return node


def kubernetes_says(text: str) -> str:
    """What a container gets for a word: ``$$`` is ``$``, and ``$(...)`` a variable.

    After any other ``$`` the kubelet takes one byte for a character (its package expansion does), so of a longer one it
    makes something else.
    """

    def fill(found: re.Match[bytes]) -> bytes:
        after = found[1]
        if after == b"$":
            return b"$"
        return b"<variable>" if after.startswith(b"(") and after != b"(" else b"$" + after.decode("latin-1").encode()

    return re.sub(rb"\$(\([^)]*\)|.)", fill, text.encode(), flags=re.DOTALL).decode()


def compose_says(text: str) -> str:
    """The same of compose: ``$$`` is ``$``, ``$NAME`` and ``${NAME}`` are variables, any other ``$`` is an error."""

    def fill(found: re.Match[str]) -> str:
        assert found[0] != "$", f"a lone $ in {text!r}"
        return "$" if found[0] == "$$" else f"<{found[0]}>"

    return re.sub(r"\$\$|\$\w+|\$\{[^}]*\}|\$", fill, text)


# --- words ------------------------------------------------------------------------------------------------


def test_g11_kubernetes_has_the_exact_words() -> None:
    """G11: read as YAML and expanded as Kubernetes does, words and variables are what was typed."""
    told = [*UNICODE, *KNOTS]
    values = [f"--env={name}={value}" for name, value in VALUES.items()]
    said = ("My_Node", *SLEEP, "--uid=1000", "--gid=1001", "--workdir=/srv/x y", *values)
    files = kubernetes(*said, "--ready=tcp:8000", "--stop-schedule=TERM/30/KILL/5", "--", *told)
    assert list(files) == ["my-node.yaml", "my-node-env.yaml"]
    found = files["my-node.yaml"]
    one = container(found)
    node = node_of([kubernetes_says(word) for word in one["command"]])
    assert list(node.words) == ["sleep", "600", *told]
    assert str(node.stop) == "TERM/30/KILL/5"
    assert files["my-node-env.yaml"]["data"] == VALUES
    assert one["envFrom"] == [{"configMapRef": {"name": "my-node-env"}}]
    assert one["workingDir"] == "/srv/x y"
    assert one["readinessProbe"] == {"tcpSocket": {"port": 8000}, "timeoutSeconds": 10}
    pod = found["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": True}
    assert pod["terminationGracePeriodSeconds"] == 40
    assert found["spec"]["selector"]["matchLabels"].items() <= found["spec"]["template"]["metadata"]["labels"].items()


def test_g11_compose_has_the_exact_words() -> None:
    """G11: read as YAML and interpolated as compose does, words and variables are what was typed."""
    told = [*UNICODE, *KNOTS]
    values = [f"--env={name}={value}" for name, value in VALUES.items()]
    said = ("a", "b", *SLEEP, "--uid=www", "--gid=web", "--rlimit=NOFILE=64:128", *values)
    services = compose(*said, "--workdir=/srv/$x", "--stop-schedule=INT/2.5/KILL/5", "--", *told)
    assert set(services) == {"a", "b"}
    one = services["a"]
    node = node_of([compose_says(word) for word in one["command"]])
    assert list(node.words) == ["sleep", "600", *told]
    assert str(node.stop) == "INT/2.5/KILL/5"
    assert {name: compose_says(value) for name, value in one["environment"].items()} == VALUES
    assert compose_says(one["working_dir"]) == "/srv/$x"
    assert (one["user"], one["stop_signal"], one["stop_grace_period"]) == ("www:web", "SIGTERM", "13s")
    assert one["ulimits"] == {"nofile": {"soft": 64, "hard": 128}}
    assert one["image"].startswith("${MULTI_IMAGE:?")


@pytest.mark.engine
def test_g11_composes_own_config_has_the_exact_words(tmp_path: Path) -> None:
    """G11: Compose knows all that is exported, finds no fault in it, and reads the same words."""
    need("docker-compose", root=False)
    told = [*UNICODE, *KNOTS]
    values = [f"--env={name}={value}" for name, value in VALUES.items()]
    secrets = tmp_path / "secrets.env"
    secrets.write_text("TOKEN=hunter2\n", encoding="ascii")
    said = ("w1", "w2", *CELERY, "--after:w2=w1", "--uid=1000", "--gid=1001", "--rlimit=NOFILE=64:128", *values)
    more = (f"--env-file={secrets}", "--restart=always", "--workdir=/srv/$x", "--", *told)
    asked = {"image": "app:1", "replicas": 2, "cpu": 500, "memory": 512 << 20}
    for name, text in (
        ("exported", exported("compose", *said, *more, **asked)["compose.yaml"]),
        ("example", (EXAMPLE / "compose.yaml").read_text(encoding="utf-8")),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        words = ["docker-compose", "-f", str(tmp_path / name), "config"]
        done = subprocess.run(words, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True, check=False)
        assert done.returncode == 0, done
        found = yaml.safe_load(done.stdout)["services"]
        made = yaml.safe_load(text)["services"]
        assert set(found) == set(made)
        for service, body in made.items():
            assert found[service]["command"] == body["command"]
            assert found[service].get("environment", {}).items() >= body.get("environment", {}).items()
        if name == "exported":
            assert found["w1"]["environment"]["TOKEN"] == "hunter2"  # noqa: S105 -- made up
            assert found["w2"]["depends_on"]["w1"]["condition"] == "service_healthy"
            assert [compose_says(word) for word in found["w1"]["command"]][-len(told) :] == told


DOLLARS = (
    *("$", "$$", "$$$", "a$", "$a", "${A}", "$\n", "$\u00e9", "$$\u00e9"),
    *("$(A)", "$$(A)", "$$$(A)", "$(", "$(A", "$$("),
)


def test_g11_a_dollar_sign_that_means_nothing_stays_as_it_is() -> None:
    """G11: only what the kubelet would expand is escaped, because not all that play such files expand."""
    word = "$HOME costs 5$ a$b ${A} $"
    (manifest,) = kubernetes("a", *SLEEP, "--", word).values()
    assert container(manifest)["command"][-1] == word
    for each in DOLLARS:
        (manifest,) = kubernetes("a", *SLEEP, "--", each).values()
        assert kubernetes_says(container(manifest)["command"][-1]) == each


@pytest.mark.parametrize("form", ["kubernetes", "compose"])
def test_all_of_a_node_is_said(form: str) -> None:
    """What the engine has no word for `multi run` does: of a node with all settings none is lost."""
    said = (
        *("a", "-A", "proj", "--umask=027", "--nice=5", "--env=GONE-", "--ready=exec:true", "--alive=tcp:8001"),
        *("--stop-schedule=INT/7/TERM/3/KILL/2", "--kill-mode=process", "--reload-signal=USR2", "--max-memory=1G"),
        *("--needs=tcp:redis:6379", "--alive-every=7", "--alive-failures=2", "--startsecs=3", "--ready-timeout=11"),
    )
    command = (
        container(kubernetes(*said)["a.yaml"])["command"] if form == "kubernetes" else compose(*said)["a"]["command"]
    )
    assert "--max-memory=1G" in command
    (asked,) = pipeline.select("run", said, foreground=True).nodes
    node = node_of(command)
    names: tuple[str, ...] = type(asked).__match_args__
    for name in names:
        if name not in {"preset", "dump_signal", "hup_ends", "env", "pidfile"}:
            assert getattr(node, name) == getattr(asked, name), name
    assert ("GONE", None) in node.env


# --- the worker's own words -------------------------------------------------------------------------------

OWN = [
    (CELERY, ("-A", "proj", "-c", "4")),
    (("-A", "proj", "-c4", "-EB", "-l", "info"), ("-A", "proj", "-c4", "-E", "-B", "-l", "info")),
    (("-A", "proj", "-b", "amqp://100%%/%n"), ("-A", "proj", "-b", "amqp://100%%/w1")),
    (("-A", "proj", "--stop-schedule=TERM/9/KILL/1"), ("-A", "proj", "--stop-schedule=TERM/9/KILL/1")),
    (("-A", "proj", "--ready=notify", "--reload-signal=HUP", "--restart=always"), ("-A", "proj")),
    (("-A", "proj", "--env=SPT_NOENV-", "--startsecs=2"), ("-A", "proj", "--startsecs=2", "--env=SPT_NOENV-")),
    (("-A", "proj", "--executable=/opt/venv/bin/python"), ("--executable=/opt/venv/bin/python", "-A", "proj")),
    (("-A", "proj", "--cmd=proj-celery worker"), ("--cmd=proj-celery worker", "-A", "proj")),
    (("-A", "proj", "--append=%h x", "--", "y"), ("-A", "proj", "--append=%h x", "--", "y")),
    (("-A", "proj", "--", "--tag=it's 5%n"), ("-A", "proj", "--", "--tag=it's 5%n")),
    (("--preset=celery-beat", "-A", "proj"), ("--preset=celery-beat", "-A", "proj", "-s", "/tmp/celerybeat-schedule")),
    (("--preset=dramatiq", "-p", "2", "--", "tasks"), ("--preset=dramatiq", "-p", "2", "--", "tasks")),
    (("--preset=gunicorn", "-w", "2", "--", "a:b"), ("--preset=gunicorn", "-w", "2", "--", "a:b")),
    (("--preset=huey", "--", "-n", "a.b"), ("--preset=huey", "--", "-n", "a.b")),
    (("--preset=rq", "--", "high", "low"), ("--preset=rq", "--", "high", "low")),
    (("--preset=flower", "-A", "proj"), ("--preset=flower", "-A", "proj")),
    (("--preset=hypercorn", "--", "a:b"), ("--preset=hypercorn", "--", "a:b")),
    (("--preset=taskiq", "--", "a:b"), ("--preset=taskiq", "--", "a:b")),
    (("--preset=uvicorn", "--port=80", "--", "a:b"), ("--preset=uvicorn", "--port=80", "--", "a:b")),
]


@pytest.mark.parametrize(("said", "told"), OWN, ids=[" ".join(said) for said, _ in OWN])
def test_g11_a_container_is_told_the_workers_own_words(
    said: tuple[str, ...], told: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G11: its preset and its options, and of the settings what differs; that makes the same node on another host."""
    command = compose("w1", *said)["w1"]["command"]
    *head, config = [compose_says(word) for word in (command[: command.index("--")] if "--" in command else command)]
    tail = command[command.index("--") :] if "--" in command else []
    assert (head[:3], (*head[3:], *tail), config) == (["multi", "run", "w1"], told, "--multi-config=none")
    (asked,) = pipeline.select("run", ("w1", *said), foreground=True).nodes
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "w1-7f9c", "6", "1", "x86_64")))
    node = node_of([compose_says(word) for word in command])
    words = [word.replace(asked.name, node.name) for word in asked.words]
    assert list(node.words) == [*words, *(["-s", "/tmp/celerybeat-schedule"] if "celery-beat" in said[0] else [])]
    for name in ("preset", "stop", "ready", "ready_timeout", "startsecs", "reload_signal", "hup_ends", "dump_signal"):
        assert getattr(node, name) == getattr(asked, name), name
    assert node.env == asked.env


@pytest.mark.parametrize(
    ("cmd", "told"),
    [
        ("sleep 5", ("--cmd=sleep 5",)),
        ("x -q 'y z' 5", ("--cmd=x -q", "--multi-config=none", "--", "y z", "5")),
        ("x 'y z' %h", ("--cmd=x 'y z' %h",)),
    ],
)
def test_a_bare_command_is_told_as_one_word_as_far_as_that_needs_no_quotes(cmd: str, told: tuple[str, ...]) -> None:
    """Behind -- come the words from the first one that needs quotes, if none of them has the node's name."""
    command = compose("w1", "--preset=exec", f"--cmd={cmd}")["w1"]["command"]
    assert command[4 : 4 + len(told)] == list(told)
    node = node_of(command)
    assert list(node.words) == [word.replace("%h", node.name) for word in shlex.split(cmd)]


@pytest.mark.parametrize(
    "said",
    [
        ("--preset=mine", "-x", "1"),  # the image has no such preset
        ("--preset=celery-beat", "--cmd=-m celery", "-A", "proj"),  # not the words of its preset
        ("-A", "proj", "--my-option=3"),  # `multi run` may take it for its own, if it is none of the preset
        ("-A", "proj", "--quiet", "--env=SPT_NOENV=0"),
    ],
)
def test_g11_what_the_image_would_read_in_another_way_is_a_bare_command(said: tuple[str, ...], tmp_path: Path) -> None:
    """G11: all words and variables are told, where the preset in the image would make others."""
    directory = tmp_path / ".config/multi/presets"
    directory.mkdir(parents=True)
    preset = 'cmd = "-m worker"\nname_option = "--name"\n[options]\nvalued = ["-x"]\n'
    (directory / "mine.toml").write_text(preset, encoding="ascii")
    (asked,) = pipeline.select("run", ("w1", *said), foreground=True).nodes
    service = compose("w1", *said)["w1"]
    node = node_of(service["command"])
    assert (node.preset, node.words[: len(asked.words)], node.stop) == ("exec", asked.words, asked.stop)
    assert service.get("environment", {}) == {name: value for name, value in asked.env if value is not None}


def test_a_preset_of_the_users_that_has_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    """The image has the shipped one, so what the user's says otherwise is told."""
    directory = tmp_path / ".config/multi/presets"
    directory.mkdir(parents=True)
    text = 'extends = "celery"\n[defaults]\nstop_schedule = "TERM/600/KILL/5"\nenv = { A = "1" }\n'
    (directory / "celery.toml").write_text(text, encoding="ascii")
    service = compose("w1", *CELERY)["w1"]
    told = ["multi", "run", "w1", *CELERY, "--stop-schedule=TERM/600/KILL/5", "--multi-config=none"]
    assert (service["command"], service["environment"]) == (told, {"A": "1"})


def test_what_multi_run_takes_for_itself_is_not_told_as_the_workers() -> None:
    """What `export` knows of the flags of `run` is what its command line has."""
    assert {flag for flag, takers in flags("run").items() if "run" in takers} == TAKEN


def test_a_name_that_is_a_number_names_one_node() -> None:
    """`multi run 2` would be two nodes."""
    found = compose("1", "2", "-A", "proj", "-c:1", "3")
    assert [node_of(found[name]["command"]).short for name in "12"] == ["1", "2"]


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["kubernetes", "compose"])
def test_the_host_is_the_containers_own(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: two replicas have two names, nothing of this machine is in the file, and the worker writes no log file."""
    said = ("w1", *CELERY, f"--logfile={tmp_path}/%n.log")
    command = (
        container(kubernetes(*said)["w1.yaml"])["command"] if form == "kubernetes" else compose(*said)["w1"]["command"]
    )
    text = "\n".join(exported(form, "w1", *CELERY).values())
    assert str(tmp_path) not in text
    assert os.uname().nodename not in re.findall(r"[\w.-]+", text)
    assert "--logfile" not in " ".join(command)
    with monkeypatch.context() as other:
        other.setattr(os, "uname", lambda: os.uname_result(("Linux", "w1-7f9c", "6", "1", "x86_64")))
        node = node_of(command)
    assert node.name == "w1@w1-7f9c"
    assert node.words[1:] == ("-m", "celery", *CELERY[:2], "worker", *CELERY[2:], "-n", "w1@w1-7f9c")
    assert node.logfile == "/dev/stderr"


def test_a_host_that_was_asked_for_stays() -> None:
    """A node with a host of its own keeps it."""
    assert node_of(compose("w1@example.com", *CELERY)["w1"]["command"]).name == "w1@example.com"


def test_counted_nodes_are_replicas() -> None:
    """Three nodes that differ in their number alone are a StatefulSet with its Service, or three replicas."""
    files = kubernetes("3", *CELERY)
    assert {path: found["kind"] for path, found in files.items()} == {
        "celery.yaml": "StatefulSet", "celery-service.yaml": "Service",
    }  # fmt: skip
    spec = files["celery.yaml"]["spec"]
    assert (spec["replicas"], spec["serviceName"]) == (3, "celery")
    assert files["celery-service.yaml"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert files["celery-service.yaml"]["spec"]["clusterIP"] == "None"
    assert compose("3", *CELERY)["celery"]["deploy"] == {"replicas": 3}
    assert set(compose("3", "-A", "proj", "-c", "4", "-c:1", "2")) == {"celery1", "celery2", "celery3"}


def test_beat_is_one() -> None:
    """A rolling update would have two of it for a moment, so its old pod goes first; more than one are refused."""
    said = ("beat", "--preset=celery-beat", "-A", "proj")
    manifest = kubernetes(*said)["beat.yaml"]
    assert manifest["spec"]["strategy"] == {"type": "Recreate"}
    assert container(manifest)["command"][-3:-1] == ["-s", "/tmp/celerybeat-schedule"]
    assert "/srv/state" in container(kubernetes(*said, "-s", "/srv/state")["beat.yaml"])["command"]
    assert kubernetes("w1", *CELERY)["w1.yaml"]["spec"]["strategy"]["type"] == "RollingUpdate"
    for form in ("kubernetes", "compose"):
        with pytest.raises(UsageError, match="one alone in a project"):
            exported(form, *said, replicas=2)


def test_kubernetes_refuses_a_name_that_is_too_long() -> None:
    """G9: RFC 1123 has 63 characters."""
    assert kubernetes("x" * 63, *SLEEP)
    with pytest.raises(UsageError, match="63 characters"):
        exported("kubernetes", "x" * 64, *SLEEP)
    with pytest.raises(UsageError, match="would both be called a"):
        exported("kubernetes", "a", "A", *SLEEP)


# --- what an expert would write -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ((), None),
        (("--uid=1000",), {"runAsUser": 1000, "runAsNonRoot": True}),
        (("--uid=1000", "--gid=0"), {"runAsUser": 1000, "runAsGroup": 0, "runAsNonRoot": True}),
        (("--uid=0",), {"runAsUser": 0, "runAsNonRoot": False}),
        (("--uid=root", "--gid=root"), {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}),
    ],
)
def test_g8_kubernetes_runs_it_as_the_user_that_was_asked_for(
    said: tuple[str, ...], context: Mapping[str, object] | None
) -> None:
    """G8: and not as root, where it was not asked to; the rest is what the standard "restricted" wants."""
    manifest = kubernetes("a", *SLEEP, *said)["a.yaml"]
    assert manifest["spec"]["template"]["spec"].get("securityContext") == context
    assert container(manifest)["securityContext"] == {
        **({} if context else {"runAsNonRoot": True}),
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize(("said", "what"), [("--uid=daemon", "user 'daemon'"), ("--gid=daemon", "group 'daemon'")])
def test_g8_kubernetes_takes_no_names(real: Real, said: str, what: str) -> None:
    """G8: what number a name has is the image's business, and a worker must not run as root for want of one; exit 2."""
    words = ("a", *SLEEP, *(() if "uid" in said else ("--uid=1000",)), said)
    done = real.raw("export", "kubernetes", *words).exits(2)
    assert f"has the {what}, and Kubernetes takes numbers alone; say the number that it has in the image" in done.err
    assert done.out == ""


def test_a_group_without_a_user_is_said_in_a_comment() -> None:
    """Container engines take a group beside a user only."""
    (text,) = exported("kubernetes", "a", *SLEEP, "--gid=daemon").values()
    assert "runAsGroup" not in text
    assert "there is no word for it here: gid\n" in text


def test_probes_ask_multi_by_name() -> None:
    """What cannot be asked over the network is one look at files, with the time that Python needs to start."""
    one = container(kubernetes("w1", *CELERY, "--ready-timeout=60")["w1.yaml"])
    health = {"exec": {"command": ["multi", "status", "w1", "--health", "--multi-config=none"]}, "timeoutSeconds": 10}
    assert one["startupProbe"] == {**health, "periodSeconds": 5, "failureThreshold": 12}
    assert one["readinessProbe"] == health
    assert one["livenessProbe"] == {**health, "periodSeconds": 30, "failureThreshold": 3}
    check = compose("w1", *CELERY)["w1"]["healthcheck"]
    assert check["test"] == ["CMD", "multi", "status", "w1", "--health", "--multi-config=none"]


def test_kubernetes_asks_a_page() -> None:
    """The page and the port that `multi` asks are what the kubelet asks, for ready and for alive."""
    said = ("a", *SLEEP, "--ready=http:8000/up?deep=1", "--alive=tcp:8001", "--alive-every=7", "--alive-failures=2")
    one = container(kubernetes(*said)["a.yaml"])
    assert one["readinessProbe"] == {"httpGet": {"path": "/up?deep=1", "port": 8000}, "timeoutSeconds": 10}
    asked = {"tcpSocket": {"port": 8001}, "timeoutSeconds": 10}
    assert one["livenessProbe"] == {**asked, "periodSeconds": 7, "failureThreshold": 2}


def test_g8_env_files_are_named_and_not_copied(tmp_path: Path) -> None:
    """G8: their values are in no file: a Secret and `env_file` bring them."""
    file = tmp_path / "secrets.env"
    file.write_text("TOKEN=hunter2\n", encoding="utf-8")
    said = ("a", *SLEEP, f"--env-file={file}", "--env=A=1")
    one = container(kubernetes(*said)["a.yaml"])
    assert one["envFrom"] == [{"secretRef": {"name": "a-secret"}}, {"configMapRef": {"name": "a-env"}}]
    service = compose(*said)["a"]
    assert (service["env_file"], service["environment"]) == ([str(file)], {"A": "1"})
    texts = [text for form in ("kubernetes", "compose") for text in exported(form, *said).values()]
    assert not any("hunter2" in text for text in texts)
    assert f"kubectl create secret generic a-secret --from-env-file={shlex.quote(str(file))}" in texts[0]


def test_another_variable_is_another_pod() -> None:
    """A pod does not see that its ConfigMap has changed."""
    digests = {
        kubernetes("a", *SLEEP, f"--env=A={value}")["a.yaml"]["spec"]["template"]["metadata"]["annotations"][
            "multi/env-digest"
        ]
        for value in "12"
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("said", "restart"),
    [((), "unless-stopped"), (("--restart=on-failure",), "on-failure"), (("--restart=always",), "always")],
)
def test_compose_starts_a_worker_again_after_docker_itself(said: tuple[str, ...], restart: str) -> None:
    """With on-failure a worker that a reboot stopped in good order stays down: nobody gets that without asking."""
    assert compose("a", *SLEEP, *said)["a"]["restart"] == restart


def test_after_is_depends_on() -> None:
    """A service begins when those that it comes after are healthy; what is not exported is said in a comment."""
    said = ("a", "b", *SLEEP, "--after:b=a,x", "--needs:b=tcp:redis:6379")
    assert compose(*said)["b"]["depends_on"] == {"a": {"condition": "service_healthy"}}
    assert "# does not wait here for x\n" in exported("compose", *said)["compose.yaml"]
    assert "--needs=tcp:redis:6379" in compose(*said)["b"]["command"]


@pytest.mark.parametrize(
    ("form", "wanted", "refused"),
    [
        ("kubernetes", {"namespace": "A B"}, "--namespace=A B"),
        ("kubernetes", {"namespace": "my_jobs"}, "--namespace=my_jobs"),
        ("kubernetes", {"namespace": "x" * 64}, "--namespace=x"),
        ("compose", {"namespace": "A B"}, "--namespace=A B"),
        ("compose", {"namespace": "my_jobs"}, ""),
        ("compose", {"image": "a b"}, "--image=a b"),
        ("kubernetes", {"image": "a b"}, "--image=a b"),
        ("quadlet", {"image": "a b"}, "--image=a b"),
        ("kubernetes", {"image": "reg.example.org:5000/jobs@sha256:0a"}, ""),
    ],
)
def test_names_that_the_engine_would_refuse(form: str, wanted: dict[str, str], refused: str) -> None:
    """They are refused here already, as replicas, processors and memory are."""
    if refused:
        with pytest.raises(UsageError, match=f"^{re.escape(refused)}"):
            exported(form, "a", *SLEEP, **wanted)
    else:
        assert exported(form, "a", *SLEEP, **wanted)


@pytest.mark.parametrize("form", ["kubernetes", "compose", "quadlet"])
def test_what_is_elsewhere_in_a_container_is_said(form: str) -> None:
    """A path of this machine need not be in the image, and what is in /tmp ends with the container."""
    said = ("a", "--preset=exec", "--cmd=/x/bin/celery worker -s=/tmp/x", "--workdir=/x/y")
    text = "\n".join(exported(form, *said).values())
    assert "# paths of this machine, which the image has to have as well: /x/bin/celery /x/y\n" in text
    assert "# in /tmp, and so lost with the container, unless a volume is there: -s=/tmp/x\n" in text
    assert "this machine" not in "\n".join(exported(form, "a", *SLEEP, image="i").values()).replace("node of this", "")


def test_options_of_containers(real: Real) -> None:
    """Image, namespace, number and size are flags; for a form without containers they are refused; exit 2."""
    asked = ("--image=reg.example.com/app:1", "--namespace=prod", "--replicas=2", "--cpu=0.5", "--memory=512M")
    done = real.raw("export", "kubernetes", "w1", *CELERY, "--uid=1000", *asked).ok()
    manifest = yaml.safe_load(done.out)
    assert (manifest["metadata"]["namespace"], manifest["spec"]["replicas"]) == ("prod", 2)
    one = container(manifest)
    assert one["image"] == "reg.example.com/app:1"
    assert one["resources"] == {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}
    found = yaml.safe_load(real.raw("export", "compose", "w1", *CELERY, *asked).ok().out)
    assert found["name"] == "prod"
    limits = {"cpus": "0.5", "memory": "512m"}
    assert found["services"]["w1"]["deploy"] == {"replicas": 2, "resources": {"limits": limits}}
    assert "systemd has none" in real.raw("export", "systemd", "w1", *CELERY, "--image=x").exits(2).err
    assert "is not a size" in real.raw("export", "compose", "w1", *CELERY, "--memory=lots").exits(2).err
    assert "is not a number of proc" in real.raw("export", "compose", "w1", *CELERY, "--cpu=-1").exits(2).err
    assert "did you mean --image?" in real.raw("export", "compose", "w1", *CELERY, "--imge=x").exits(2).err
    real.raw("show", "w1", *SLEEP, "--name=x", "--memory=1").ok()  # elsewhere they are the worker's


# --- a directory ----------------------------------------------------------------------------------------------


def test_a_directory_of_manifests_has_a_kustomization(real: Real) -> None:
    """`kubectl apply -k` finds what belongs together, in the namespace; it is no manifest, so it is not printed."""
    said = ("export", "kubernetes", "w1", "3", "-A", "proj", "--env=A=1", "--namespace=jobs")
    paths = real.raw(*said, f"--output={real.base}/k8s").ok().out.splitlines()
    folder = real.base / "k8s"
    found = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert found.pop("apiVersion") == "kustomize.config.k8s.io/v1beta1"
    assert found.pop("kind") == "Kustomization"
    assert found.pop("namespace") == "jobs"
    resources = found.pop("resources")
    assert not found
    assert {f"{folder}/{name}" for name in resources} == set(paths) - {f"{folder}/kustomization.yaml"}
    assert "w1-env.yaml" in resources
    assert "Kustomization" not in real.raw(*said).ok().out
    done = real.raw("export", "kubernetes", "kustomization", *SLEEP, f"--output={real.base}/other").exits(2)
    assert "give the node another name" in done.err


# --- the example ----------------------------------------------------------------------------------------------


def _index(files: Mapping[str, str]) -> str:
    return FORMS["kubernetes"].index(files, Wanted())["kustomization.yaml"]


def test_the_example_is_what_is_exported() -> None:
    """Its files are those that its README's commands make, and what they need beside them keeps to the schema."""
    schemas = pytest.importorskip("kubernetes_validate")
    with current_directory(EXAMPLE):
        files = exported("kubernetes", image="multi-example", cpu=500, memory=512 << 20)
        composed = compose(image="multi-example")
    found = {path.name: path.read_text(encoding="utf-8") for path in (EXAMPLE / "kubernetes").iterdir()}
    redis = found.pop("redis.yaml")
    index = yaml.safe_load(found.pop("kustomization.yaml"))
    assert found == files
    assert index == {**yaml.safe_load(_index(files)), "resources": [*files, "redis.yaml"]}
    for manifest in (*map(yaml.safe_load, files.values()), *yaml.safe_load_all(redis)):
        schemas.validate(manifest, schemas.latest_version(), strict=True)
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services == composed
    added = yaml.safe_load((EXAMPLE / "compose.override.yaml").read_text(encoding="utf-8"))["services"]
    assert added.pop("redis")["image"] == "redis:7-alpine"
    assert set(added) == set(services)


def test_what_the_page_on_scaling_adds_fits_the_manifests() -> None:
    """Budget and autoscaler keep to the schemas; KEDA's own fields, which have none, are those of its v1alpha1."""
    schemas = pytest.importorskip("kubernetes_validate")
    page = (EXAMPLE.parents[1] / "docs/howto/scale.md").read_text(encoding="utf-8")
    budget, scaled = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    exports = kubernetes("w1", "w2", *CELERY)
    (workload,) = [each for each in exports.values() if each["kind"] == "StatefulSet"]
    schemas.validate(budget, schemas.latest_version(), strict=True)
    assert set(budget["spec"]["selector"]["matchLabels"]) <= set(workload["spec"]["template"]["metadata"]["labels"])
    spec = scaled["spec"]
    assert set(spec) == {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "advanced", "triggers"}
    assert spec["scaleTargetRef"]["kind"] == workload["kind"]
    (trigger,) = spec["triggers"]
    assert set(trigger["metadata"]) == {"address", "listName", "listLength"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())  # a map of texts
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": scaled["metadata"],
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", **spec["scaleTargetRef"]},
            "maxReplicas": spec["maxReplicaCount"],
            **spec["advanced"]["horizontalPodAutoscalerConfig"],
        },
    }
    schemas.validate(autoscaler, schemas.latest_version(), strict=True)


def test_the_image_runs_its_node_by_name() -> None:
    """Its command is `multi run`, its health check asks for the same node, it is not root, and stops by TERM."""
    lines = (EXAMPLE / "Dockerfile").read_text(encoding="utf-8").splitlines()
    said = {line.split()[0]: line for line in lines if line[:1].isupper()}
    (node,) = pipeline.select("run", yaml.safe_load(said["CMD"].removeprefix("CMD "))[2:], foreground=True).nodes
    health = yaml.safe_load(said["HEALTHCHECK"].partition("CMD ")[2])
    assert health == ["multi", "status", node.short, "--health"]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", said["USER"])
    assert said["STOPSIGNAL"] == "STOPSIGNAL SIGTERM"
