"""What a Celery worker tells multi: real workers on files, the datagrams caught by the test's own socket."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_stage import EXAMPLE, PATIENCE, Ear, Stage, needs_library
from multi.celery_plugin import notify as plugin_notify
from private_machine import need
from real import until

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "SO_PASSCRED"), reason="the sender of a datagram shows on Linux only"
)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_g4_a_worker_says_ready_once_and_then_works(pool: str, stage: Stage, ear: Ear) -> None:
    """With each pool, at log level ERROR: READY=1 from the main process, and a task sent then comes back."""
    worker = stage.worker("-P", pool, "-c", "2", "-Q", "celery,long", ear=ear)
    pid, fields, before = ear.hear_until("READY")
    assert (pid, fields, before) == (worker.pid, {"READY": "1", "STATUS": "consuming celery, long"}, [])
    assert "= 5" in stage.result_of_add()
    worker.send_signal(signal.SIGTERM)
    pid, fields, before = ear.hear_until("STOPPING")
    assert (pid, fields, before) == (worker.pid, {"STOPPING": "1", "STATUS": "warm shutdown"}, [])
    assert worker.wait(PATIENCE) == 0
    assert ear.hear(0) is None


@pytest.mark.parametrize("pool", [pytest.param("prefork", marks=pytest.mark.engine), "threads", "solo"])
def test_a_worker_that_gets_hup_restarts_in_place(pool: str, stage: Stage, ear: Ear) -> None:
    """HUP: the same pid says READY=1 a second time, and works."""
    worker = stage.worker("-P", pool, "-c", "1", ear=ear)
    ear.hear_until("READY")
    worker.send_signal(signal.SIGHUP)
    pid, fields, _ = ear.hear_until("READY")
    assert (pid, fields["STATUS"]) == (worker.pid, "consuming celery")
    assert "= 5" in stage.result_of_add()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0


def test_g6_a_stop_while_a_worker_restarts_in_place_is_a_stop(stage: Stage, ear: Ear) -> None:
    """G6: TERM after HUP ends the worker when its task is done; Celery alone would forget it and start again."""
    worker = stage.worker("-P", "threads", "-c", "1", ear=ear)
    ear.hear_until("READY")
    stage.begin_to_sleep(3)
    worker.send_signal(signal.SIGHUP)
    until(lambda: "Restarting celery worker" in stage.log(), "the worker is about to restart")
    worker.send_signal(signal.SIGTERM)
    ear.hear_until("STOPPING")
    assert worker.wait(PATIENCE) == 0
    while heard := ear.hear(0):
        assert list(heard[1]) == ["STATUS", "X_MULTI_TASKS"], "what it waited for"
    assert stage.log().count("[queues]") == 1, "it has not started again"


def test_an_idle_worker_of_the_example_stops_quickly(stage: Stage, ear: Ear) -> None:
    """An idle worker on the file broker ends within two seconds of TERM, once in three times at least."""
    took: list[float] = []
    for _ in range(3):
        worker = stage.worker("-P", "solo", ear=ear)
        ear.hear_until("READY")
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
        took.append(time.monotonic() - began)
        ear.hear_until("STOPPING")
        if took[-1] < 2:
            break
    assert min(took) < 2, took


def test_a_cold_shutdown_says_so(stage: Stage, ear: Ear) -> None:
    """QUIT: STOPPING=1 with the word cold."""
    worker = stage.worker("-P", "solo", ear=ear)
    ear.hear_until("READY")
    worker.send_signal(signal.SIGQUIT)
    _, fields, _ = ear.hear_until("STOPPING")
    assert fields["STATUS"] == "cold shutdown"


def test_g4_a_broker_that_is_down_is_the_status_and_nobody_is_ready(stage: Stage, ear: Ear) -> None:
    """While the broker refuses: STATUS= carries address and reason, without the password, and never READY=1."""
    app = stage.app("plain", "from celery import Celery\napp = Celery('plain')\n")
    with socket.socket() as closed:  # bound and not listening: a connection to it is refused
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        broker = f"amqp://user:secret@127.0.0.1:{port}//"
        worker = stage.worker("-P", "solo", ear=ear, app=app, before=("-b", broker), where=stage.directory)
        heard = [ear.hear(), ear.hear()]  # the second is a try of its own, some seconds later
    assert all(heard)
    for pid, fields in filter(None, heard):
        assert pid == worker.pid
        assert list(fields) == ["STATUS", "X_MULTI_WAITS"]
        assert f"127.0.0.1:{port}" in fields["STATUS"]
        assert "refused" in fields["STATUS"]
        assert "secret" not in fields["STATUS"]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.engine)])
def broker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the apps of this module a broker: the first has no event loop, so it has another kind of prefork pool."""
    if request.param == "memory":
        yield
        return
    need("redis-server", root=False)
    path = f"/tmp/multi-{secrets.token_hex(8)}.socket"  # the path of a socket must be short
    monkeypatch.setenv("BROKER", f"redis+socket://{path}")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: Path(path).exists(), "redis listens")
        yield
    finally:
        server.kill()
        server.wait(PATIENCE)
        Path(path).unlink(missing_ok=True)


_DIES = """
import os, signal
from celery import Celery, signals
app = Celery("dies", broker=os.environ.get("BROKER", "memory://"))
@signals.worker_ready.connect
def die(**_):
    {}
"""


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(7)",
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", marks=pytest.mark.engine),
        pytest.param("raise SystemExit(7)", marks=pytest.mark.engine),
    ],
)
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_g4_a_worker_that_dies_as_it_gets_ready_was_never_ready(pool: str, end: str, stage: Stage, ear: Ear) -> None:
    """G4: a worker that an app's own `worker_ready` handler ends has not said READY=1 before."""
    needs_library(pool)
    app = stage.app("dies", _DIES.format(end))
    worker = stage.worker("-P", pool, "-c", "1", ear=ear, app=app, where=stage.directory)
    assert worker.wait(PATIENCE) in {7, -signal.SIGSEGV}
    assert ear.hear(0) is None


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_g4_a_worker_that_is_stopped_before_its_loop_turns_is_never_ready(pool: str, stage: Stage, ear: Ear) -> None:
    """G4: TERM while an app's `worker_ready` handler runs: STOPPING=1, and no READY=1 on the way out."""
    app = stage.app("dies", _DIES.format("os.kill(os.getpid(), signal.SIGTERM)"))
    worker = stage.worker("-P", pool, "-c", "1", ear=ear, app=app, where=stage.directory)
    _, _, before = ear.hear_until("STOPPING")
    assert before == []
    assert worker.wait(PATIENCE) == 0
    assert ear.hear(0) is None


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_g4_a_green_worker_says_ready(pool: str, stage: Stage, ear: Ear) -> None:
    """G4: with pools of green threads, too, the first turn of the loop says READY=1."""
    needs_library(pool)
    worker = stage.worker("-P", pool, "-c", "2", ear=ear)
    pid, fields, before = ear.hear_until("READY")
    assert (pid, fields["STATUS"], before) == (worker.pid, "consuming celery", [])


_CHILDREN = """
import os, pathlib, time
from celery import Celery, signals
app = Celery("children", broker=os.environ.get("BROKER", "memory://"))
@signals.worker_process_init.connect
def begin(**_):
    {}
"""


@pytest.mark.usefixtures("broker")
def test_g4_a_prefork_pool_is_ready_when_its_processes_are(stage: Stage, ear: Ear) -> None:
    """G4: READY=1 waits for every process of the pool, and says what is missing when that takes long."""
    app = stage.app("children", _CHILDREN.format("time.sleep(2.5); pathlib.Path(f'up-{os.getpid()}').touch()"))
    worker = stage.worker("-P", "prefork", "-c", "2", ear=ear, app=app, where=stage.directory)
    pid, _, before = ear.hear_until("READY")
    assert pid == worker.pid
    assert len(list(stage.directory.glob("up-*"))) == 2
    assert before[0]["STATUS"] in {f"{number} of 2 pool processes have come up" for number in (0, 1)}, "the first word"


@pytest.mark.usefixtures("broker")
def test_g4_a_prefork_pool_whose_processes_cannot_start_is_never_ready(stage: Stage, ear: Ear) -> None:
    """G4: a worker whose children die as they start says so, if it lives, and never READY=1."""
    app = stage.app("children", _CHILDREN.format("os._exit(3)"))
    worker = stage.worker("-P", "prefork", "-c", "2", ear=ear, app=app, where=stage.directory)
    until(lambda: worker.poll() is not None or stage.log().count("exitcode 3") > 8, "its children die", PATIENCE)
    while heard := ear.hear(0):
        assert heard[1] == {"STATUS": "0 of 2 pool processes have come up"}


def test_g4_what_is_said_to_nobody_is_left_beside_the_pidfile(stage: Stage) -> None:
    """G4: with no listener, the worker's word is in a file of its user, with the token, for nobody else to read."""
    (stage.directory / "w.notify").symlink_to(stage.directory / "elsewhere")
    words = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-l", "ERROR", "-n", "w@test"]
    env = stage.environment(None, MULTI_INSTANCE="sesame", NOTIFY_SOCKET="@multi-nobody")
    env["MULTI_INSTANCE_PIDFILE"] = str(stage.directory / "w.pid")
    path = stage.directory / "w.notify"
    with (stage.directory / "log").open("ab") as log:
        stage.processes.append(
            subprocess.Popen(words, cwd=EXAMPLE, env=env, stdout=log, stderr=log, start_new_session=True)
        )
    until(lambda: path.exists() and "READY=1" in path.read_text(encoding="utf-8"), "it is ready", PATIENCE)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "MULTI_INSTANCE=sesame"
    assert 0 <= time.monotonic() - int(lines[1].removeprefix("MONOTONIC_USEC=")) / 1e6 < PATIENCE
    assert lines[2:] == ["READY=1", "STATUS=consuming celery"]
    assert path.lstat().st_mode == stat.S_IFREG | 0o600
    assert not (stage.directory / "elsewhere").exists(), "no link was followed"
    assert not (stage.directory / "w.notify.new").exists()


@pytest.mark.parametrize("pidfile", ["", "relative.pid", "/nonexistent/w.pid", "/proc/w.pid", "w\0.pid"])
def test_a_word_that_cannot_be_left_is_no_error(pidfile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose run directory it may not write to goes on."""
    monkeypatch.setattr(os, "environ", {"MULTI_INSTANCE": "x", "MULTI_INSTANCE_PIDFILE": pidfile})
    plugin_notify.report(READY="1")


def test_g4_an_app_that_dies_in_worker_init_is_never_ready(stage: Stage, ear: Ear) -> None:
    """An app that exits in `worker_init` says nothing; its exit status is what counts."""
    app = stage.app(
        "dies",
        """
        import sys
        from celery import Celery, signals
        app = Celery("dies", broker="memory://")
        @signals.worker_init.connect
        def die(**_):
            sys.exit(3)
        """,
    )
    worker = stage.worker("-P", "solo", ear=ear, app=app, where=stage.directory)
    assert worker.wait(PATIENCE) == 3
    assert ear.hear(0) is None


def test_an_app_with_logging_of_its_own_reports_as_well(stage: Stage, ear: Ear) -> None:
    """An app that takes over logging, and logs nothing at all: READY=1 nevertheless."""
    app = stage.app(
        "silent",
        """
        import logging
        from celery import Celery, signals
        app = Celery("silent", broker="memory://")
        @signals.setup_logging.connect
        def quiet(**_):
            logging.disable(logging.CRITICAL)
        """,
    )
    worker = stage.worker("-P", "solo", ear=ear, app=app, where=stage.directory)
    pid, _, _ = ear.hear_until("READY")
    assert pid == worker.pid


def test_beat_is_ready_when_it_begins_to_tick(stage: Stage, ear: Ear) -> None:
    """A scheduler says READY=1, and sends its first task."""
    beat = stage.celery("-A", "tasks", "beat", "-l", "ERROR", ear=ear)
    pid, fields, before = ear.hear_until("READY")
    assert (pid, fields, before) == (beat.pid, {"READY": "1", "STATUS": "scheduling"}, [])
    messages = stage.directory / "data" / "messages"
    end = time.monotonic() + PATIENCE
    while not list(messages.glob("*.celery.msg")):
        assert time.monotonic() < end, stage.log()
        time.sleep(0.05)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_beat_inside_a_worker_is_not_the_node(pool: str, stage: Stage, ear: Ear) -> None:
    """A worker with -B says READY=1 as a worker only, whether its beat is a child or a thread."""
    worker = stage.worker("-B", "-P", pool, "-c", "1", ear=ear)
    pid, fields, before = ear.hear_until("READY")
    assert (pid, fields["STATUS"], before) == (worker.pid, "consuming celery", [])
    assert "= 5" in stage.result_of_add()
    worker.send_signal(signal.SIGTERM)
    _, _, before = ear.hear_until("STOPPING")
    assert before == []


_RECEIVERS = """
import importlib, os, sys
os.environ.pop("MULTI_INSTANCE", None), os.environ.pop("NOTIFY_SOCKET", None)
import celery.bin.celery
from celery import signals
assert "multi.celery_plugin" in sys.modules, "the entry point is not installed"
plugin = sys.modules["multi.celery_plugin"]
named = ("celeryd_init", "celeryd_after_setup", "worker_ready", "worker_shutting_down", "beat_init")
def tell():
    print(*(len(getattr(signals, name).receivers) for name in named), "multi.celery_plugin.worker" in sys.modules)
tell()
for words in sys.argv[1:]:
    os.environ.pop("MULTI_INSTANCE", None), os.environ.pop("NOTIFY_SOCKET", None)
    os.environ.update(word.split("=") for word in words.split())
    importlib.reload(plugin)
    tell()
"""


def test_outside_multi_nothing_is_connected() -> None:
    """Celery's command line loads the plug-in always; it acts only in an environment made by multi."""
    nowhere = ("MULTI_INSTANCE=test", "NOTIFY_SOCKET=/run/systemd/notify", "MULTI_INSTANCE= NOTIFY_SOCKET=")
    done = subprocess.run(
        [sys.executable, "-c", _RECEIVERS, *nowhere, "MULTI_INSTANCE=test NOTIFY_SOCKET=@nobody"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 0 0 0 0 False\n" * 4 + "1 1 1 1 1 False\n", "")


def test_a_path_is_an_address_when_it_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A datagram goes to a socket in the file system, whatever the current directory is."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("s")
        for where, sent in ((f"{tmp_path}/s", True), ("s", False)):
            monkeypatch.setenv("NOTIFY_SOCKET", where)
            assert plugin_notify.notify(READY="1") is sent
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "text", ["", "x", "@", "vsock:2:1234", "@nobody-listens", "/nonexistent/notify", "/", "/dev/null", "/" + "x" * 200]
)
def test_a_socket_that_cannot_be_reached_is_no_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever NOTIFY_SOCKET holds, a worker that reports goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", text)
    assert plugin_notify.notify(READY="1") is False


def test_a_listener_that_does_not_read_blocks_nobody(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the socket's queue is full, the datagram is dropped at once."""
    monkeypatch.setenv("NOTIFY_SOCKET", ear.name)
    sent = 0
    while plugin_notify.notify(STATUS="full?"):
        sent += 1
        assert sent < 100_000
    assert sent > 0
    began = time.monotonic()
    assert plugin_notify.notify(READY="1") is False
    assert time.monotonic() - began < 1


def test_a_status_is_one_line_of_bounded_length(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line breaks in a text cannot forge a field, half characters cannot stop one, and nothing is endless."""
    monkeypatch.setenv("NOTIFY_SOCKET", ear.name)
    assert plugin_notify.notify(STATUS="down\nREADY=1\r\n" + "\udc80" + "x" * 10_000)
    heard = ear.hear(0)
    assert heard is not None
    assert list(heard[1]) == ["STATUS"]
    assert heard[1]["STATUS"].startswith("down READY=1 ?xxx")
    assert len(heard[1]["STATUS"]) == 400


def test_the_command_is_hidden(stage: Stage, ear: Ear) -> None:
    """Celery wants a command of the plug-in; it is not in Celery's help, does nothing and sends nothing."""
    done = [
        subprocess.run(
            [sys.executable, "-m", "celery", word],
            env=stage.environment(ear),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        for word in ("--help", "multi-ready")
    ]
    assert "multi-ready" not in done[0].stdout
    assert (done[1].stdout, done[1].stderr) == ("", "")
    assert ear.hear(0) is None
