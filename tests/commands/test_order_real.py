"""`after` and `needs` on real processes: the order of starts and stops, and what is waited for."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable

import pytest

from real import Real, alive, until

HEAD = """
[defaults]
preset = "exec"
pidfile = "run/%n.pid"
logfile = "log/%n.log"
cmd = "sleep 600"
startsecs = 0
"""
FLEET = """
[groups.workers]
nodes = ["w1", "w2"]
after = ["redis"]
needs = ["tcp:{port}"]
[nodes.beat]
after = ["workers"]
[nodes.redis]
cmd = {redis}
ready = "tcp:{port}"
"""


@pytest.fixture
def port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def fleet(real: Real, port: int) -> None:
    """A store whose port opens late, workers that need it, and a beat after them."""
    code = f"import socket, time; time.sleep(0.5); s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    says(real, FLEET.format(port=port, redis="'''" + real.shell_words(code) + "'''"))


def says(real: Real, text: str) -> None:
    """Write the configuration."""
    (real.base / "multi.toml").write_text(HEAD + text, encoding="utf-8")


def course(events: Iterable[dict[str, object]], *kinds: str) -> list[str]:
    """The events of these kinds, as ``KIND NAME``."""
    return [f"{one['event']} {str(one['node']).partition('@')[0]}" for one in events if one["event"] in kinds]


def in_order(found: list[str], *order: str) -> bool:
    """Whether these are there, in this order."""
    return [one for one in found if one in order] == list(order)


def test_a_fleet_starts_in_order_and_stops_in_reverse(real: Real, port: int) -> None:
    """The workers start when the port is open, the beat after them; the records alone tell the reverse."""
    fleet(real, port)
    planned = real.raw("start", "--dry-run").ok().out
    host = socket.gethostname()
    assert f"w1@{host}: start: sleep 600; waits for redis@{host} and tcp:127.0.0.1:{port}\n" in planned
    found = course(real.raw("start", "--json").ok().events, "spawned", "ready")
    for worker in ("w1", "w2"):
        assert in_order(found, "ready redis", f"spawned {worker}", f"ready {worker}", "spawned beat")
    assert real.raw("start").ok().out.count("already running") == 4
    (real.base / "multi.toml").unlink()
    found = course(real.multi("stopwait", "--json").ok().events, "signalled", "gone")
    for worker in ("w1", "w2"):
        assert in_order(found, "gone beat", f"signalled {worker}", f"gone {worker}", "signalled redis")


def test_a_need_that_never_holds(real: Real, port: int) -> None:
    """Exit 1 after `ready_timeout`, with the need and its answer; the others go on, and nothing runs or is stopped."""
    says(real, f'[nodes.a]\nneeds = "tcp:{port}"\nready_timeout = 0.8\n[nodes.b]\nafter = ["a"]\n[nodes.c]\n')
    done = real.raw("start").exits(1)
    assert f"a@{socket.gethostname()}: waits for tcp:127.0.0.1:{port} (Connection refused)" in done.out
    why = f"it needs tcp:127.0.0.1:{port}, which did not hold within 0.8s: Connection refused"
    assert f"failed: {why}" in done.err
    assert f"b@{socket.gethostname()}: skipped: a@{socket.gethostname()} is not ready" in done.err
    assert real.state() == {"a": "dead", "b": "stopped", "c": "running"}
    assert why in real.raw("status", "a").out
    assert not real.pidfile("a").exists()
    with socket.create_server(("127.0.0.1", port)):
        real.raw("start").ok()
    pid = real.pid("a")
    done = real.raw("restart", "a").exits(1)
    assert f"left as it is, because {why}" in done.err
    assert real.pid("a") == pid
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is dead")
    done = real.raw("ensure").exits(1)
    assert (done.out, done.err) == ("", "")
    skipped = [one["why"] for one in real.raw("ensure", "--json").exits(1).events if not one["met"]]
    assert skipped == [f"waits for tcp:127.0.0.1:{port} (Connection refused)"]
    with socket.create_server(("127.0.0.1", port)):
        real.raw("ensure").ok()
    assert real.state()["a"] == "running"


def test_a_node_alone(real: Real, port: int) -> None:
    """It is started alone, when what it needs holds, and those that it comes after are named."""
    needs = f'needs = ["http://127.0.0.1:{port}/up", "exec:test -e {real.base}/flag"]'
    says(real, f'[nodes.w1]\n[nodes.beat]\nafter = "w1"\n{needs}\n')
    with socket.create_server(("127.0.0.1", port)) as server:
        begun = real.begin("start", "beat", "--json")
        client = server.accept()[0]
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        client.close()
        (real.base / "flag").touch()
        server.settimeout(0.1)
        while begun.process.poll() is None:
            try:
                client = server.accept()[0]
            except TimeoutError:
                continue
            client.recv(4096)
            client.sendall(b"HTTP/1.1 204 OK\r\n\r\n")
            client.close()
    events = begun.done().ok().events
    host = socket.gethostname()
    said = [(one["what"], one["waited"]) for one in events if one["event"] == "awaits"]
    assert said[0] == (f"w1@{host}", False)
    assert {what for what, waited in said if waited} <= {f"exec:test -e {real.base}/flag"}
    assert course(events, "spawned", "ready") == ["spawned beat", "ready beat"]
    assert real.state() == {"w1": "stopped", "beat": "running"}


def test_g3_a_need_that_a_killed_multi_was_asking(real: Real) -> None:
    """G3: the probe of a start that was killed does not outlive the next command on the node."""
    says(real, f"[nodes.a]\nneeds = [\"exec:sh -c 'echo $$$$ > {real.base}/probe; exec sleep 600'\"]\n")
    begun = real.begin("start")
    until(lambda: (real.base / "probe").exists() and (real.base / "probe").read_text().strip(), "the probe runs")
    probe = int((real.base / "probe").read_text())
    begun.process.kill()
    begun.process.wait()
    assert alive(probe)
    says(real, "[nodes.a]\n")
    real.raw("start").ok()
    until(lambda: not alive(probe), "the probe is gone")


def test_run_keeps_the_order(real: Real, port: int) -> None:
    """`run` starts in order, and at TERM it stops in reverse."""
    fleet(real, port)
    begun = real.begin("run", "--json")
    until(lambda: set(real.state().values()) == {"running"}, "all run")
    real.settle()
    begun.process.terminate()
    events = begun.done().ok().events
    found = course(events, "spawned", "ready", "signalled", "gone")
    for worker in ("w1", "w2"):
        assert in_order(found, "ready redis", f"spawned {worker}", "spawned beat", "gone beat", f"signalled {worker}")
        assert in_order(found, f"gone {worker}", "signalled redis")


def test_run_begins_late_what_comes_after_a_node_that_is_tried_again(real: Real, port: int) -> None:
    """A first start that fails, or a need that does not hold, keeps by its policy nobody waiting for ever."""
    code = (
        "import os, sys, time\n"
        f"if not os.path.exists('{real.base}/good'): open('{real.base}/tried', 'w').close(); sys.exit(3)\n"
        "time.sleep(600)"
    )
    says(
        real,
        f"[nodes.a]\ncmd = '''{real.shell_words(code)}'''\nstartsecs = 0.3\n"
        'restart = "on-failure"\nrestart_delay = 0.2\nrestart_limit = "none"\n'
        '[nodes.b]\nafter = "a"\n[nodes.c]\nafter = "b"\n'
        f'[nodes.d]\nneeds = "tcp:{port}"\nready_timeout = 0.3\nrestart = "always"\n',
    )
    begun = real.begin("run", "--json")
    until((real.base / "tried").exists, "its first start fails")
    (real.base / "good").touch()
    until(lambda: real.state("a", "b", "c") == dict.fromkeys("abc", "running"), "all that can run")
    with socket.create_server(("127.0.0.1", port)):
        until(lambda: real.state("d") == {"d": "running"}, "what it needs is there")
    real.settle()
    begun.process.terminate()
    events = begun.done().ok().events
    found = course(events, "awaits", "ready", "gone")
    assert in_order(found, "ready a", "ready b", "ready c", "gone c", "gone b", "gone a")
    assert {"awaits b", "awaits c", "awaits d"} <= set(found)


def test_run_ends_when_all_that_is_left_waits_for_a_node_that_was_given_up(real: Real) -> None:
    """Who comes after it is named; also over another node nobody waits for ever."""
    says(
        real,
        "[nodes.a]\ncmd = \"sh -c 'exit 3'\"\nstartsecs = 0.2\nrestart = 'on-failure'\n"
        "restart_delay = 0.1\nrestart_limit = '1/60s'\n[nodes.b]\nafter = 'a'\n[nodes.c]\nafter = 'b'\n",
    )
    done = real.raw("run", "--json").exits(1)
    skipped = {str(one["node"]).partition("@")[0]: one["why"] for one in done.events if one["event"] == "skipped"}
    assert skipped["b"] == f"skipped: a@{socket.gethostname()} is not ready"
    assert course(done.events, "gave_up") == ["gave_up a"]


@pytest.mark.parametrize("command", ["start", "check", "names"])
def test_a_circle_is_shown(real: Real, command: str) -> None:
    """Nothing is done; what runs can be stopped all the same, by its record."""
    says(real, "[nodes.a]\n[nodes.b]\n")
    real.raw("start").ok()
    says(real, '[nodes.a]\nafter = "b"\n[nodes.b]\nafter = "a"\n')
    done = real.raw(command).exits(2)
    assert "after: goes in a circle: a -> b -> a, each after the next; take one of them out" in done.err
    done = real.raw("stopwait").ok()
    assert "goes in a circle" in done.err
    assert real.family() == []
