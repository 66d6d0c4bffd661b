"""The probes of readiness that ask a port or a command, on the real machine: whatever they meet, nobody else waits."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from multi.machine import Launch
from multi.model.happening import Probed
from multi.model.process import Proc
from multi.system import System
from real import PATIENCE, Real, alive, until
from systems import SYSTEMS

KEY = "w1@host"
LIKE = Launch(argv=("node",), env=(), logfile="/dev/null")


@pytest.fixture(params=SYSTEMS)
def machine(request: pytest.FixtureRequest) -> Iterator[System]:
    """Give the real machine, with all it has and with less."""
    with SYSTEMS[request.param]() as system:
        yield system


def answer(machine: System) -> Probed:
    """Wait for the answer of the probe."""
    deadline = machine.now() + PATIENCE
    while machine.now() < deadline:
        for happening in machine.wait(deadline):
            assert isinstance(happening, Probed)
            return happening
    raise AssertionError("no answer")


def ask(machine: System, kind: str, what: str) -> Probed:
    """Probe once."""
    machine.probe(KEY, kind, what, LIKE)
    return answer(machine)


def said_by_shell(machine: System, line: str) -> Probed:
    """Probe once with a shell."""
    return ask(machine, "exec", shlex.join(("sh", "-c", line)))


# --- exec -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood", ["yes | head -c 3000000", "yes | head -c 3000000 | tr -d '\\n' >&2"])
def test_g9_a_command_that_prints_much(machine: System, flood: str) -> None:
    """However much it prints it is not held up, and what is shown of it is short."""
    assert said_by_shell(machine, flood).ok
    why = said_by_shell(machine, f"{flood}; exit 3").why
    assert "exit status 3: y" in why
    assert len(why) < 400


def test_g9_a_command_that_prints_for_ever(machine: System) -> None:
    """It is read while it runs, others are heard meanwhile, and it can be ended."""
    machine.probe(KEY, "exec", "yes", LIKE)

    def said() -> bool:
        began = machine.now()
        machine.wait(began)
        return machine.probe_says(KEY) == "y"

    until(said, "what it prints is read")
    machine.probe("w2", "exec", "true", LIKE)
    assert answer(machine) == Probed("w2", ok=True, why="")
    machine.release(KEY)
    assert machine.probe_says(KEY) == ""


@pytest.mark.parametrize("prints", ["sleep 599", "yes"])
def test_g9_a_command_whose_child_has_its_output(machine: System, real: Real, prints: str) -> None:
    """A command that is done is done, whoever it has left behind with its output."""
    left = real.base / "left"
    line = f"{prints} & echo $! > {left}; exit 5"
    assert "exit status 5" in said_by_shell(machine, line).why
    pid = int(left.read_text(encoding="ascii"))
    if prints != "yes":
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "who writes to nobody ends")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("", ""),
        ("\\n \\n", ""),
        ("one\\ntwo\\n \\n\\n", ": two"),
        ("10%%\\r20%%", ": 20%"),
        ("no end", ": no end"),
        ("\\033[31mred\\tbell\\007\\377", ": red    bell\\x07\ufffd"),
        ("ä" * 300, ": " + "ä" * 200 + "..."),
    ],
)
def test_the_last_line_of_a_command(printed: str, shown: str) -> None:
    """The last line that says anything, short and fit for a terminal, is in the reason."""
    with System() as machine:
        line = f"printf '{printed}'; exit 1"
        why = said_by_shell(machine, line).why
        assert why == f"{shlex.join(('sh', '-c', line))}: exit status 1{shown}"


# --- tcp ------------------------------------------------------------------------------------------------


def addresses(*found: tuple[str, int]) -> list[tuple[int, int, int, str, tuple[str | int, ...]]]:
    """What getaddrinfo(3) would say."""
    kinds = ((socket.AF_INET6, (0, 0)) if ":" in host else (socket.AF_INET, ()) for host, _ in found)
    return [
        (family, socket.SOCK_STREAM, 6, "", (*address, *rest))
        for (family, rest), address in zip(kinds, found, strict=True)
    ]


@pytest.fixture
def names() -> Iterator[mock.Mock]:
    """Give what answers for a DNS server; addresses are themselves."""
    real = socket.getaddrinfo
    server = mock.Mock()

    def look_up(host: bytes, port: int, *, type: int, flags: int = 0) -> object:  # noqa: A002 -- the original's own
        return real(host, port, type=type, flags=flags) if flags else server(host, port)

    with mock.patch("socket.getaddrinfo", look_up):
        yield server


@pytest.fixture
def free() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_slow_dns_server_keeps_nobody_waiting(machine: System, names: mock.Mock) -> None:
    """While a name is looked up, other nodes are heard and every wait ends; then the answer comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = server.getsockname()[:2]
        answers = threading.Event()
        names.side_effect = lambda *_: addresses(there) if answers.wait(PATIENCE) else []
        machine.probe(KEY, "tcp", f"db.example:{there[1]}", LIKE)
        assert not machine.wait(machine.now() + 0.05)
        machine.probe("w2", "exec", "true", LIKE)
        assert answer(machine) == Probed("w2", ok=True, why="")
        answers.set()
        assert answer(machine) == Probed(KEY, ok=True, why="", at=there)
    names.assert_called_once_with(b"db.example", there[1])


def test_a_dns_server_that_answers_too_late(names: mock.Mock) -> None:
    """An answer that nobody waits for any more harms nobody, not even when the machine is closed."""
    answers, said = threading.Event(), threading.Event()

    def late(*_: object) -> object:
        answers.wait(PATIENCE)
        said.set()
        return []

    names.side_effect = late
    with System() as machine:
        machine.probe(KEY, "tcp", "db.example:80", LIKE)
        machine.release(KEY)
        machine.probe(KEY, "tcp", "db.example:80", LIKE)
    before = threading.active_count()
    answers.set()
    until(lambda: threading.active_count() <= before - 2, "who asked is done")
    assert said.is_set()


def test_all_addresses_of_a_name_are_tried(machine: System, names: mock.Mock, free: int) -> None:
    """One that refuses, and one that gives no answer, hide none that accepts; else each reason is shown once."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        there, silent = server.getsockname()[:2], full.getsockname()[:2]
        with socket.socket() as first:
            first.connect(silent)  # so the next one has to wait
            names.return_value = addresses(("127.0.0.1", free), ("::1", free), silent, there)
            assert ask(machine, "tcp", "db.example:80") == Probed(KEY, ok=True, why="", at=there)
    names.return_value = addresses(("127.0.0.1", free), ("127.0.0.2", free))
    assert ask(machine, "tcp", "db.example:80").why == "db.example:80: Connection refused"
    names.return_value = []
    assert not ask(machine, "tcp", "db.example:80").ok


LISTENERS = [
    ("127.0.0.1", "127.0.0.1"),
    ("0.0.0.0", "127.0.0.1"),  # noqa: S104 -- a wildcard is the point
    ("0.0.0.0", "127.3.2.1"),  # noqa: S104 -- a wildcard is the point
    ("::", "127.0.0.1"),
    ("::", "::1"),
    ("::1", "::1"),
    ("::ffff:127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "::ffff:127.0.0.1"),
]


def listening(host: str, port: int = 0, kind: int = 0) -> socket.socket:
    """A socket that listens; others of ours may listen there, too."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, kind)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if server.family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((host, port))
        server.listen()
    except OSError as error:
        server.close()
        pytest.skip(f"nobody can listen on {host} here: {error}")
    return server


def mine_and_another(machine: System, real: Real) -> tuple[Proc, Proc]:
    """Give ourselves, and one that listens nowhere."""
    other = real.popen("sleep", "600").pid
    found = machine.processes().by_pid
    return found[os.getpid()].proc, found[other].proc


@pytest.mark.parametrize(("host", "asked"), LISTENERS)
def test_g4_whose_port_it_is(machine: System, real: Real, host: str, asked: str) -> None:
    """Whoever has the socket, also by a wildcard or by the other family of addresses, is told from all others (G4)."""
    me, other = mine_and_another(machine, real)
    with listening(host) as server:
        port = server.getsockname()[1]
        probed = ask(machine, "tcp", f"[{asked}]:{port}" if ":" in asked else f"{asked}:{port}")
        assert probed.ok
        assert probed.at is not None
        assert machine.listens((other, me), probed.at) == "yes"
        assert machine.listens((other,), probed.at) == "no"
        assert machine.taken(f"[{asked}]:{port}" if ":" in asked else f"{asked}:{port}")
    assert not machine.taken(f"[{asked}]:{port}" if ":" in asked else f"{asked}:{port}")
    assert machine.listens((me,), ("192.0.2.1", port)) == "away"
    assert machine.listens((me,), ("2001:db8::1", port)) == "away"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net")
def test_g4_the_socket_that_names_the_address_gets_the_connection(real: Real) -> None:
    """Who listens everywhere does not get what a stranger gets who listens there, and the other way round (G4)."""
    with System() as machine, listening("127.0.0.1") as server:
        port = server.getsockname()[1]
        code = (
            "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
            f"s.bind(('0.0.0.0', {port})); s.listen(); time.sleep(600)"
        )
        other = real.popen(sys.executable, "-I", "-S", "-c", code).pid
        until(lambda: machine.taken(f"127.0.0.2:{port}"), "it listens")
        found = machine.processes().by_pid
        me, another = found[os.getpid()].proc, found[other].proc
        assert [machine.listens((one,), ("127.0.0.1", port)) for one in (me, another)] == ["yes", "no"]
        assert [machine.listens((one,), ("127.0.0.2", port)) for one in (me, another)] == ["no", "yes"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs MPTCP, which is Linux's")
def test_g4_a_listener_of_several_paths(real: Real) -> None:
    """A socket of MPTCP, as Go makes them, belongs to whoever has it (G4)."""
    with System() as machine, listening("127.0.0.1", kind=262) as server:
        me, other = mine_and_another(machine, real)
        where = ("127.0.0.1", server.getsockname()[1])
        assert [machine.listens((one,), where) for one in (me, other)] == ["yes", "no"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_g4_nobody_can_tell_whose_port_it_is(real: Real) -> None:
    """What may not be looked at is not known, and so is a port on which nobody here listens (G4)."""
    with System() as machine, listening("127.0.0.1") as server:
        me, other = mine_and_another(machine, real)
        where = ("127.0.0.1", server.getsockname()[1])
        with mock.patch("os.listdir", side_effect=PermissionError(13, "Permission denied")):
            assert machine.listens((me, other), where) == "unknown"
        server.close()
        assert machine.listens((me, other), where) == "unknown"


def test_localhost(machine: System, free: int) -> None:
    """The name that all machines know."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask(machine, "tcp", f"localhost:{server.getsockname()[1]}").ok
    assert "Connection refused" in ask(machine, "tcp", f"localhost:{free}").why


@pytest.mark.parametrize("name", ["a..b", "x" * 70, "ü" * 70, "b\udcff", "[not:an:address]", "fe80::1%nowhere", " "])
def test_g9_a_name_that_is_none(machine: System, name: str) -> None:
    """It is a reason like any other."""
    probed = ask(machine, "tcp", f"{name}:80")
    assert not probed.ok
    assert probed.why.startswith(f"{name}:80: ")
    assert len(probed.why) > len(f"{name}:80: ")


def test_g9_no_thread_is_left(machine: System) -> None:
    """Where no thread can be made, that is the reason."""
    with mock.patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread")):
        probed = ask(machine, "tcp", "db.example:80")
    assert probed == Probed(KEY, ok=False, why="db.example:80: can't start new thread")


def test_a_kernel_without_ipv6(machine: System) -> None:
    """Such an address is none that can be asked."""
    gone = OSError(97, "Address family not supported by protocol")
    with mock.patch("socket.socket", side_effect=gone):
        probed = ask(machine, "tcp", "[::1]:80")
    assert probed == Probed(KEY, ok=False, why="[::1]:80: Address family not supported by protocol")


# --- http -----------------------------------------------------------------------------------------------


@contextmanager
def page(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve each answer once and close; the address, and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for said in answers:
                with server.accept()[0] as client:
                    asked.append(client.recv(1 << 16))
                    for part in said.split(b"|"):
                        client.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204|\r\n", ""),
        (b"HT|TP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", ""),
        (b"HTTP/1.1 399", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\nx", "it answered 400 Bad"),
        (b"HTTP/1.1 503 \033[31mGone " + b"x" * 5000, "it answered 503 Gone " + "x" * 66),
        (b"SSH-2.0-OpenSSH_9\r\n", "its answer is not HTTP: SSH-2.0-OpenSSH_9"),
        (b"\0\xff", "its answer is not HTTP: \\x00\ufffd"),
        (b"", "it closed the connection without an answer"),
        (b"\n", "it closed the connection without an answer"),
    ],
)
def test_a_page(machine: System, said: bytes, why: str) -> None:
    """A status below 400 is an answer, and a redirect is one; everything else is a reason, short and printable."""
    with page(said) as (where, asked):
        probed = ask(machine, "http", f"{where}/up")
    assert (probed.ok, probed.why) == (not why, why and f"{where}/up: {why}")
    (request,) = asked
    assert request.startswith(b"GET /up HTTP/1.1\r\nHost: %b\r\n" % where.encode())
    assert request.endswith(b"\r\n\r\n")


def test_g9_a_path_with_everything(machine: System) -> None:
    """Nothing in a path can end the line of the request."""
    with page(b"HTTP/1.1 200\n") as (where, asked):
        assert ask(machine, "http", f"{where}/a b?x=1&y=%20\r\nX: \u00fc").ok
    assert asked[0].partition(b"\r\n")[0] == b"GET /a%20b?x=1&y=%20%0D%0AX:%20%C3%BC HTTP/1.1"


def test_g9_a_page_that_never_comes(machine: System) -> None:
    """Who accepts and says nothing is given up after a while, and others are heard meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as server, mock.patch("multi.system.probes.http.SECONDS", 0.2):
        where = f"127.0.0.1:{server.getsockname()[1]}"
        machine.probe(KEY, "http", f"{where}/", LIKE)
        machine.probe("w2", "exec", "true", LIKE)
        assert answer(machine) == Probed("w2", ok=True, why="")
        assert answer(machine) == Probed(KEY, ok=False, why=f"{where}/: no answer within 0.2s")
        machine.probe(KEY, "http", f"{where}/", LIKE)
        machine.release(KEY)
        assert not machine.wait(machine.now() + 0.3)


def test_any_address_with_the_page_will_do(machine: System, names: mock.Mock, free: int) -> None:
    """An address that refuses, or has another page, hides none that is right."""
    with page(b"HTTP/1.1 404 No\r\n\r\n") as (bad, _), page(b"HTTP/1.1 200\r\n\r\n", b"") as (good, _):
        ports = [int(where.partition(":")[2]) for where in (bad, good)]
        names.return_value = addresses(("127.0.0.1", free), *(("127.0.0.1", port) for port in ports))
        assert ask(machine, "http", "web.example:80/").at == ("127.0.0.1", ports[1])
        with socket.socket() as last:
            last.connect(("127.0.0.1", ports[1]))
