"""The client of the plug-in's socket: who is asked, how long, and what is believed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multi.machine import Question
from multi.model.happening import Answered
from multi.model.process import Proc
from multi.system import System

US = Proc(os.getpid(), "here")
Peer = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(path: Path, peer: Peer, backlog: int = 8) -> Iterator[Path]:
    """A socket at that path, however long, at which this process listens; `peer` is called for each connection."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)
    server.listen(backlog)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                one, _ = server.accept()
                with one:
                    peer(one)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def says(*parts: bytes) -> Peer:
    """A peer that reads the request and answers so."""

    def peer(one: socket.socket) -> None:
        request = one.recv(100)
        for part in parts:
            one.sendall(part.replace(b"REQUEST", request.strip()))
            time.sleep(0.001)

    return peer


def ask(path: Path, word: str = "tasks", *, seconds: float = 5.0, proc: Proc = US, uid: int | None = None) -> Answered:
    """The answer to one question."""
    with System() as machine:
        machine.ask("w1", Question(str(path), word, proc, os.getuid() if uid is None else uid, seconds))
        (answered,) = machine.wait(time.monotonic() + 20)
        assert isinstance(answered, Answered)
        assert answered.key == "w1"
        return answered


def test_an_answer(tmp_path: Path) -> None:
    """One word goes, one line comes back, in however many parts."""
    with listening(tmp_path / "w1.sock", says(b'{"REQUEST"', b": 1}\nmore")) as path:
        assert ask(path) == Answered("w1", '{"tasks": 1}')
        assert ask(path, "drain") == Answered("w1", '{"drain": 1}')


def test_a_long_path(tmp_path: Path) -> None:
    """A path that is too long for an address is connected to all the same."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with listening(deep / "w1.sock", says(b"{}\n")) as path:
        assert ask(path) == Answered("w1", "{}")


def test_no_socket(tmp_path: Path) -> None:
    """Nothing there, no directory, a file, and a socket that nobody listens on are told at once."""
    file = tmp_path / "file"
    file.touch()
    left = tmp_path / "left.sock"
    with listening(left, says()):
        pass
    assert ask(tmp_path / "w1.sock").why == "it has no socket"
    assert ask(tmp_path / "none" / "w1.sock").why == "it has no socket"
    assert ask(file).why == f"{file} is no socket"
    assert ask(left).why == "nobody listens on its socket"


def test_g8_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody planted leads nowhere (G8)."""
    asked: list[bytes] = []
    with listening(tmp_path / "other.sock", lambda one: asked.append(one.recv(10))) as path:
        link = tmp_path / "w1.sock"
        link.symlink_to(path)
        assert ask(link).why == f"{link} is no socket"
    assert asked == []


def test_g8_another_process_listens(tmp_path: Path) -> None:
    """A process that is not the node's is asked nothing, whoever it belongs to (G8)."""
    asked: list[bytes] = []
    with listening(tmp_path / "w1.sock", lambda one: asked.append(one.recv(10))) as path:
        other = Proc(os.getppid(), "there")
        why = f"{path} is listened on by pid {os.getpid()}, not by the node's main process"
        assert ask(path, proc=other).why == why
    assert asked in ([], [b""])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_g8_anothers_socket(tmp_path: Path) -> None:
    """Root asks no socket that belongs to another user than the node's (G8)."""
    with listening(tmp_path / "w1.sock", says(b"{}\n")) as path:
        os.chown(path, 65534, 65534)
        assert ask(path, uid=1000).why == f"{path} belongs to uid 65534, not to this node's user"
        assert ask(path, uid=65534).text == "{}"


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (says(), "it closed its socket without an answer"),
        (says(b"x" * 9000, b"y" * 9000), "its answer is too long"),
        (lambda _: time.sleep(0.5), "it does not answer within 0.2s"),
    ],
)
def test_a_peer_that_does_not_play_along(tmp_path: Path, peer: Peer, why: str) -> None:
    """Silence, a flood and a peer that hangs up end within the time limit."""
    with listening(tmp_path / "w1.sock", peer) as path:
        assert ask(path, seconds=0.2).why == why


def test_a_queue_of_others(tmp_path: Path) -> None:
    """A worker that cannot accept is asked again until the time is over."""
    with listening(tmp_path / "w1.sock", lambda _: time.sleep(0.3), backlog=0) as path:
        before = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in before:
            one.setblocking(False)  # noqa: FBT003 -- the standard library's own signature
            one.connect_ex(str(path))
        assert ask(path, seconds=0.2).why == "it does not answer within 0.2s"
        for one in before:
            one.close()


def test_many_at_once(tmp_path: Path) -> None:
    """A hundred workers are asked at the same time, and a silent one delays no other."""
    with (
        listening(tmp_path / "slow.sock", lambda _: time.sleep(0.5)),
        listening(tmp_path / "w1.sock", says(b"{}\n"), 200) as path,
        System() as machine,
    ):
        machine.ask("slow", Question(str(tmp_path / "slow.sock"), "tasks", US, os.getuid(), 0.3))
        for number in range(100):
            machine.ask(f"w{number}", Question(str(path), "tasks", US, os.getuid(), 5.0))
        heard: list[str] = []
        while len(heard) < 101:
            heard += [each.key for each in machine.wait(time.monotonic() + 10) if isinstance(each, Answered)]
        assert sorted(heard) == sorted(["slow", *(f"w{number}" for number in range(100))])
