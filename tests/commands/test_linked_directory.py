"""A run directory that has two names, as /var/run and /run are one directory: nodes are found by both."""

from __future__ import annotations

import os
import signal

import pytest

from real import Done, Real, alive, until


def by(real: Real, name: str, command: str, *words: str) -> Done:
    """``multi COMMAND WORDS`` about the nodes of the run directory of that name."""
    return real.inside_raw(command, *words, f"--pidfile={real.base / name}/%n.pid", "--multi-config=none")


def begin(real: Real, name: str) -> int:
    """Start a node in the directory by that name; its pid."""
    real.run.mkdir(exist_ok=True)
    (real.base / "link").symlink_to(real.run)
    words = ("--preset=exec", "--startsecs=0", "--cmd=sleep 600", f"--logfile={real.log}/%n.log")
    by(real, name, "start", "a", *words).ok()
    return real.pid("a")


@pytest.mark.parametrize(("started", "asked"), [("link", "run"), ("run", "link")])
def test_g2_a_node_is_one_by_both_names(real: Real, started: str, asked: str) -> None:
    """G2: `status` shows it without a warning, `start` does not start it again, `stopwait` stops it."""
    pid = begin(real, started)
    for names in ((), ("a",)):
        shown = by(real, asked, "status", *names).ok()
        assert "running" in shown.out
        assert shown.err == ""
    begun = by(real, asked, "start", "a", "--preset=exec", "--startsecs=0", "--cmd=sleep 600")
    assert f"already running, pid {pid}" in begun.ok().out
    assert f"stopped, pid {pid} gone" in by(real, asked, "stopwait", "a").ok().out
    assert not alive(pid)
    assert not (real.run / "a.pid").exists()


@pytest.mark.parametrize(("started", "asked"), [("link", "run"), ("run", "link")])
def test_g14_ensure_by_the_other_name_starts_what_is_dead(real: Real, started: str, asked: str) -> None:
    """G14: a pidfile that the record writes otherwise is no other tool's."""
    pid = begin(real, started)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it is dead")
    assert "started" in by(real, asked, "ensure").ok().out
    assert alive(real.pid("a"))


def test_g8_a_record_of_another_directory_lends_no_name(real: Real) -> None:
    """G8: a record that was copied from elsewhere, or that lies about its directory, counts for nothing."""
    pid = begin(real, "run")
    other = real.base / "other"
    other.mkdir()
    (other / "a.json").write_bytes((real.run / "a.json").read_bytes())
    assert "not running" in by(real, "other", "stopwait", "b", "--preset=exec").ok().out
    assert by(real, "other", "stopwait", "a").code != 0
    assert alive(pid)
