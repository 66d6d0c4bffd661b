"""A host gets another name under running nodes: a pidfile still names one process, and nobody starts a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from real import Real


def test_g2_a_new_host_name_starts_no_second_process(real: Real) -> None:
    """G2: `start` refuses a pidfile that belongs to a node of another host name, and says how to go on."""
    real.start("a", "--hostname=old").ok()
    pid = real.pid("a")
    done = real.start("a", "--hostname=new").exits(1)
    assert "belongs to a@old, which runs as pid" in done.err
    assert "--hostname=old" in done.err
    assert real.pid("a") == pid


def test_commands_after_the_start_find_the_node_by_its_pidfile(real: Real) -> None:
    """`status`, `restart` and `stopwait` mean the recorded node, whatever the host is called by now."""
    real.start("a", "--hostname=old").ok()
    assert real.state("a", "--hostname=new") == {"a": "running"}
    real.multi("restart", "a", "--hostname=new").ok()
    assert "a@old" in real.multi("stopwait", "a", "--hostname=new").ok().out


def test_a_lost_node_of_another_host_name_is_refused(real: Real) -> None:
    """G2: without a record the environment still says whose process it is."""
    real.start("a", "--hostname=old").ok()
    real.recordfile("a").unlink()
    assert "belongs to a@old" in real.start("a", "--hostname=new").exits(1).err
    real.multi("stopwait", "a", "--hostname=old").ok()


def test_nodes_of_several_hosts_in_one_directory(real: Real) -> None:
    """What is on record in a run directory is found without names, however the pidfiles are named."""
    words = ("--pidfile=%h.pid", f"--workdir={real.run}", "--preset=exec", "--cmd=sleep 600", "--startsecs=0")
    real.raw("start", "a@x", "a@y", *words, f"--logfile={real.log}/%h.log").ok()
    assert "a@x" in (shown := real.raw("status", f"--pidfile={real.run}/%n.pid").ok().out)
    assert "a@y" in shown
    real.raw("stopwait", f"--pidfile={real.run}/%n.pid").ok()
