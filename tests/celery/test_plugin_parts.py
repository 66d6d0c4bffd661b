"""The parts of the plug-in by themselves: Celery's books, the files and the socket, under bad luck and bad company."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.worker import state

from celery_stage import ask
from multi.celery_plugin import control, heartbeat, notify
from multi.celery_plugin.control import Answer, Control
from multi.celery_plugin.heartbeat import Heartbeat
from multi.celery_plugin.tasks import Tasks


class Request:
    """A request as Celery's books hold it."""

    def __init__(self, name: str, ago: float, limits: tuple[object, ...] = (None, None), **task: object) -> None:
        """It began so many seconds ago, by the clock of the wall."""
        self.name, self.id, self.time_limits = name, f"{name}-{id(self)}", limits
        self.time_start = time.time() - ago
        own = {"time_limit": None, "soft_time_limit": None, "acks_late": False}
        self.task = SimpleNamespace(**{**own, **task})


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What is active."""
    requests: list[Request] = []
    for name in ("active_requests", "reserved_requests", "scheduled_requests"):
        monkeypatch.setattr(state, name, SimpleNamespace(data=set()), raising=False)
    monkeypatch.setattr(state, "active_requests", SimpleNamespace(data=References(requests)))
    monkeypatch.setattr(state, "reserved_requests", SimpleNamespace(data=References(requests)))
    return requests


class References:
    """The inside of a WeakSet: something that is copied, and holds references."""

    def __init__(self, requests: list[Request]) -> None:
        """Refer to what is in the list when asked."""
        self.requests = requests

    def copy(self) -> list[weakref.ref[Request]]:
        """A reference each."""
        return [weakref.ref(each) for each in self.requests]


def test_tasks_are_named_the_longest_first(books: list[Request]) -> None:
    """Name, short id, seconds and whether it is redelivered; ten are named and all are counted."""
    books += [Request(f"t{ago}", ago, acks_late=ago == 11) for ago in range(12)]
    facts = Tasks().look().facts()
    active = facts["active"]
    assert isinstance(active, list)
    assert (facts["count"], facts["reserved"], facts["eta"]) == (12, 0, 0)
    assert [each["name"] for each in active] == [f"t{ago}" for ago in range(11, 1, -1)]
    assert active[0] == {
        "name": "t11",
        "id": "t11-" + books[11].id[4:8],
        "seconds": 11.0,
        "limit": None,
        "acks_late": True,
    }


@pytest.mark.parametrize(
    ("limits", "task", "worker", "limit"),
    [
        ((30, 20), {"time_limit": 300}, {}, 30),
        ((None, 20), {"time_limit": 300}, {}, 300),
        ((None, None), {"soft_time_limit": 60}, {"time_limit": 90}, 90),
        ((None, None), {"soft_time_limit": 60}, {"soft_time_limit": 50}, 60),
        ((None, None), {}, {"soft_time_limit": 50}, 50),
        ((), {"time_limit": "soon"}, {}, None),
        ((0, 0), {"time_limit": 0}, {}, None),
    ],
)
def test_a_limit_is_of_the_message_the_task_or_the_worker(
    limits: tuple[object, ...],
    task: dict[str, object],
    worker: dict[str, object],
    limit: float | None,
    books: list[Request],
) -> None:
    """The hard one counts before the soft one."""
    books.append(Request("t", 1, limits, **task))
    tasks = Tasks()
    tasks.controller = SimpleNamespace(**worker)
    (found,) = tasks.look().active
    assert found.limit == limit


@pytest.mark.parametrize("jump", [-86400.0, -5.0, 5.0, 86400.0])
def test_a_clock_that_jumps_changes_no_age(jump: float, books: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    """The age of a task known before goes on; one that began since the last look is not older than that."""
    tasks = Tasks()
    books.append(Request("old", 100))
    tasks.look()
    wall = time.time
    books.append(Request("new", 0))
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    (old, new) = sorted(tasks.look().active, key=lambda task: task.name, reverse=True)
    assert time.monotonic() - old.begun == pytest.approx(100, abs=1)
    assert 0 <= time.monotonic() - new.begun < 1


def test_a_look_while_tasks_come_and_go() -> None:
    """Celery's sets change in other threads; a look never fails and is never torn."""
    ends = threading.Event()

    def churn() -> None:
        while not ends.is_set():
            requests = [Request(f"t{number}", 1) for number in range(200)]
            for request in requests:
                state.active_requests.add(request)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        tasks = Tasks()
        for _ in range(50):
            assert json.loads(tasks.look().json())["count"] >= 0
    finally:
        ends.set()
        for thread in threads:
            thread.join()
        state.active_requests.clear()


def test_long_names_stay_in_one_datagram(books: list[Request]) -> None:
    """Whatever names tasks have, an answer is one line that a datagram holds."""
    books += [Request("\n\udc80é" * 500, number) for number in range(30)]
    work = Tasks().look()
    assert "\n" not in work.json()
    assert len(work.json().encode()) < 3500
    assert json.loads(work.json())["count"] == 30
    assert len(str(work)) < 3500


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory, named in the environment."""
    monkeypatch.setenv("MULTI_INSTANCE", "sesame")
    monkeypatch.setenv("MULTI_INSTANCE_PIDFILE", str(tmp_path / "w.x.pid"))
    return tmp_path


def beats(place: Path) -> tuple[Heartbeat, Path]:
    """A heartbeat of no worker, and its file."""
    return Heartbeat(Tasks(), lambda: None), place / "w.x.heartbeat"


def test_a_full_disk_does_not_stop_the_heart(
    place: Path, monkeypatch: pytest.MonkeyPatch, books: list[Request]
) -> None:
    """Where no second file has room, the first is written over; nothing is left beside it."""
    heart, path = beats(place)
    books.append(Request("a-long-name" * 9, 5))
    heart.write()
    books.clear()
    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if str(Path(f"/proc/self/fd/{fd}").readlink()).endswith(".new"):
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    heart.enter(heartbeat.CONSUMING)
    heart.write()
    assert "STATE=consuming\n" in path.read_text()
    assert "ACTIVE=0\n" in path.read_text()
    assert "OLDEST" not in path.read_text()
    assert [each.name for each in place.iterdir()] == ["w.x.heartbeat"]


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_is_no_error(error: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose files cannot be written goes on."""
    heart, path = beats(place)

    def refuse(*_: object) -> int:
        raise OSError(error, "no")

    monkeypatch.setattr(os, "open", refuse)
    heart.write()
    monkeypatch.undo()
    assert not path.exists()


def test_g8_no_link_is_followed(place: Path) -> None:
    """G8: links that others have made beside the pidfile are replaced, and what they show is not touched."""
    target = place / "target"
    target.write_text("precious")
    for name in ("w.x.heartbeat", "w.x.heartbeat.new", "w.x.sock", "w.x.sock.new"):
        (place / name).symlink_to(target)
    heart, path = beats(place)
    assert not heart.was_drained()
    heart.write()
    listens = Control(lambda _: lambda _: {})
    listens.open()
    assert path.lstat().st_mode == stat.S_IFREG | 0o600
    assert (place / "w.x.sock").lstat().st_mode == stat.S_IFSOCK | 0o600
    assert target.read_text() == "precious"
    listens.close()


def test_g8_a_full_disk_writes_over_no_file_of_somebody_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G8: a link, a hard link and a named pipe in the place of the heartbeat are left alone on a full disk."""
    target, path = place / "target", place / "w.x.heartbeat"
    target.write_text("precious")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", full)
    heart, _ = beats(place)
    for make in (path.symlink_to, path.hardlink_to):
        make(target)
        heart.write()
        assert target.read_text() == "precious"
        path.unlink()
    os.mkfifo(path)
    heart.write()


@pytest.mark.parametrize(
    ("text", "drained"),
    [
        ("MULTI_INSTANCE=sesame\nSTATE=draining\nDRAINED=1\n", True),
        ("MULTI_INSTANCE=sesame\nSTATE=consuming\nDRAINED=0\n", False),
        ("MULTI_INSTANCE=another\nDRAINED=1\n", False),
        ("STATE=draining\nMULTI_INSTANCE=sesame\nDRAINED=1\n", False),
        ("", False),
        ("\udcff\0\n" * 999, False),
    ],
)
def test_a_worker_that_restarts_in_place_believes_its_own_word_only(text: str, drained: bool, place: Path) -> None:
    """The token of the start decides whether the file is about this one."""
    heart, path = beats(place)
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert heart.was_drained() is drained


class Served:
    """A control socket with a thread that serves it, as the plug-in's thread does."""

    def __init__(self, answer: Callable[[str], Callable[[bool], Answer | None]]) -> None:
        """Begin."""
        self.control, self.ends = Control(answer), False
        self.control.open()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        """Take turns until the end."""
        while not self.ends:
            listener = self.control.listener
            assert listener is not None
            ready = select.select([listener.fileno(), *self.control.peers], [], [], 0.02)[0]
            for number in ready:
                if number == listener.fileno():
                    while self.control.accept() is not None:
                        pass
                elif self.control.peers[number].answer is None:
                    self.control.serve(number)
            self.control.answer()

    def close(self) -> None:
        """End."""
        self.ends = True
        self.thread.join()
        self.control.close()


@pytest.fixture
def served(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a socket where ``tasks`` is answered at once, and ``later`` only at the end of patience."""
    monkeypatch.setattr(control, "PATIENCE", 0.3)
    answers: dict[str, Callable[[bool], Answer | None]] = {
        "tasks": lambda _: {"count": 0},
        "later": lambda last: {"done": False} if last else None,
    }
    serves = Served(lambda request: answers.get(request, lambda _: {"error": "no such request"}))
    yield place / "w.x.sock"
    serves.close()


def test_a_request_is_a_line_and_so_is_its_answer(served: Path) -> None:
    """An answer comes at once, or at the end of patience, and says that a request is not known."""
    assert ask(served, "tasks") == {"count": 0}
    assert ask(served, "later") == {"done": False}
    assert ask(served, "tasks ; rm -rf /") == {"error": "no such request"}


@pytest.mark.parametrize(
    "said",
    [b"", b"tas", b"\xff" * 4096, b"\0" * 63, b"x" * (1 << 20), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["nothing", "half", "bytes", "zeros", "endless", "http"],
)
def test_a_peer_that_says_garbage_is_dropped(said: bytes, served: Path) -> None:
    """Whatever comes, or nothing: the connection ends soon, and the next peer is served."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(f"/proc/self/fd/{os.open(served.parent, os.O_RDONLY)}/{served.name}")
        try:
            peer.sendall(said)
            while peer.recv(4096):
                pass
        except OSError:
            pass
    assert ask(served, "tasks") == {"count": 0}


def test_many_silent_peers_keep_nobody_out(served: Path) -> None:
    """Of more than a few peers the oldest are dropped, so one that asks is answered while others say nothing."""
    directory = os.open(served.parent, os.O_RDONLY)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for each in silent:
        each.settimeout(5)
        each.connect(f"/proc/self/fd/{directory}/{served.name}")
    assert ask(served, "tasks") == {"count": 0}
    for each in silent:
        each.close()
    os.close(directory)


def test_g8_another_user_is_not_served(served: Path) -> None:
    """G8: the mode keeps others out; and were it wider, the kernel says who has connected."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    served.chmod(0o666)
    for directory in (served.parent, *served.parent.parents[:-1]):
        directory.chmod(directory.stat().st_mode | 0o011)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            os._exit(1 if ask(served, "tasks") else 2)
        except OSError:
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {2, 3}
    assert ask(served, "tasks") == {"count": 0}


@pytest.mark.parametrize("length", [20, 104, 105, 108, 300])
def test_a_long_path_is_bound_all_the_same(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes 107 bytes of a path; the directory may be deeper."""
    directory = tmp_path
    while len(str(directory)) < length:
        directory /= "d" * min(100, length)
    directory.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("MULTI_INSTANCE_PIDFILE", str(directory / "w.pid"))
    serves = Served(lambda _: lambda _: {"count": 1})
    try:
        assert ask(directory / "w.sock", "tasks") == {"count": 1}
    finally:
        serves.close()


def test_a_name_that_no_socket_can_have_is_an_error_of_the_part(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file name of more than the kernel takes: the worker goes on without a socket, and nothing is left."""
    monkeypatch.setenv("MULTI_INSTANCE_PIDFILE", str(place / ("w" * 120 + ".pid")))
    with pytest.raises(OSError, match="too long"):
        Control(lambda _: lambda _: {}).open()
    assert list(place.iterdir()) == []


def test_a_path_beside_the_pidfile() -> None:
    """The same stem as `Node.stem` has."""
    from multi.testing.world import node_of

    for pidfile in ("/run/x/w1.pid", "/run/x/w1", "/run/x/.pid", "/run/x/w.1.pid", "/run/x.y/w", "/w.", "/w..pid"):
        node = node_of(pidfile=pidfile)
        os.environ["MULTI_INSTANCE_PIDFILE"] = pidfile
        try:
            assert notify.beside(".heartbeat") == node.heartbeatfile
            assert notify.beside(".sock") == node.socketfile
            assert notify.beside(".notify") == node.notifyfile
        finally:
            del os.environ["MULTI_INSTANCE_PIDFILE"]
