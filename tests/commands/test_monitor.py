"""`status` as programs that watch machines ask for it: a file of metrics, and a plugin of Nagios."""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from multi.cli.commands import BY_NAME
from multi.cli.order import FORMAT, take
from multi.report.openmetrics import _DIFFERS, _FAMILIES, _STATE
from private_machine import find, need
from real import NOBODY, Real, until

METRICS = "--format=openmetrics"


def read(text: str) -> dict[tuple[str, ...], float]:
    """The samples: by metric, short name of the node, and its state."""
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return {
        (one.name, one.labels["node"].partition("@")[0], *filter(None, [one.labels.get("state")])): one.value
        for one in samples
    }


def test_metrics_of_real_nodes(real: Real) -> None:
    """One that runs, one that was stopped and one that was killed; the exit code says that all this was told."""
    real.start("up", "down", "dead").ok()
    real.multi("stopwait", "down").ok()
    os.kill(real.pid("dead"), 9)
    until(lambda: real.multi("status", "dead").code == 1, "it is dead")
    told = read(real.multi("status", METRICS).ok().out)
    running = {name: told["multi_node_state", name, "running"] for name in ("up", "down", "dead")}
    assert running == {"up": 1, "down": 0, "dead": 0}
    assert told["multi_node_state", "down", "stopped"] == told["multi_node_state", "dead", "dead"] == 1
    assert told["multi_node_memory_bytes", "up"] > 0
    assert told["multi_node_cpu_seconds_total", "up"] >= 0
    assert ("multi_node_memory_bytes", "down") not in told
    started = told["multi_node_start_time_seconds", "up"]
    assert read(real.multi("status", METRICS).ok().out)["multi_node_start_time_seconds", "up"] == started


def test_a_node_that_is_not_as_configured(real: Real) -> None:
    """1 for what `apply` would restart, 0 for the rest; nothing where the configuration cannot be read."""
    config = real.base / "multi.toml"
    text = f"""
[defaults]
preset = "exec"
cmd = "sleep 500"
startsecs = 0
pidfile = "{real.run}/%n.pid"
logfile = "{real.log}/%n.log"
[nodes.a]
[nodes.b]
"""
    config.write_text(text)
    where = f"--multi-config={config}"
    real.raw("start", where).ok()
    config.write_text(text + 'cmd = "sleep 501"\n')
    metric = "multi_node_configuration_differs"
    told = read(real.raw("status", where, METRICS).ok().out)
    assert (told[metric, "a"], told[metric, "b"]) == (0, 1)
    config.write_text("no TOML")
    told = read(real.raw("status", where, f"--pidfile={real.run}/%n.pid", METRICS).ok().out)
    assert (metric, "a") not in told
    assert told["multi_node_state", "a", "running"] == 1


def test_the_file_is_replaced_whole(real: Real) -> None:
    """All may read it, nothing else is left beside it, and who has it open reads what was there."""
    real.start("a").ok()
    file = real.base / "metrics" / "multi.prom"
    file.parent.mkdir()
    for _ in range(2):
        assert real.multi("status", METRICS, f"--output={file}").ok().out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with file.open(encoding="utf-8") as before:
        real.multi("stopwait", "a").ok()
        real.multi("status", METRICS, f"--output={file}").ok()
        assert read(before.read())["multi_node_state", "a", "running"] == 1
    assert read(file.read_text())["multi_node_state", "a", "running"] == 0
    assert [each.name for each in file.parent.iterdir()] == ["multi.prom"]


def test_g8_a_file_that_must_stay(real: Real) -> None:
    """G8: a device, a directory or a link in its place is refused, and so is a directory that is not there."""
    real.start("a").ok()
    link, target = real.base / "link.prom", real.base / "target"
    target.write_text("as it was")
    link.symlink_to(target)
    for path in ("/dev/null", str(real.base), str(link)):
        done = real.multi("status", METRICS, f"--output={path}").exits(4)
        assert f"cannot write {path}: it is there and is no regular file; give another --output" in done.err
    assert target.read_text() == "as it was"
    assert "No such file" in real.multi("status", METRICS, f"--output={real.base}/no/x.prom").exits(4).err


@pytest.mark.root
def test_g8_root_writes_where_nobody_else_leads(real: Real) -> None:
    """G8: root does not write into a directory of another user, nor through a link that one has made."""
    real.start("a").ok()
    theirs, mine = real.base / "theirs", real.base / "mine"
    theirs.mkdir()
    mine.mkdir()
    (theirs / "way").symlink_to(mine)
    os.chown(theirs, NOBODY, NOBODY)
    for path in (theirs / "x.prom", theirs / "way" / "x.prom"):
        assert f"cannot write {path}" in real.multi("status", METRICS, f"--output={path}").exits(4).err
    assert list(mine.iterdir()) == []


def test_a_plugin_of_nagios(real: Real) -> None:
    """Its line and its code; a threshold decides in place of the states, and a mistake is unknown."""
    real.start("a", "b").ok()
    done = real.multi("status", "--format=nagios").ok()
    assert done.out.startswith("MULTI OK: 2 of 2 nodes running | running=2;;;0;2 dead=0;;;0;2 ")
    real.multi("stopwait", "b").ok()
    assert "MULTI WARNING: 1 of 2 nodes running; b stopped" in real.multi("status", "--format=nagios").exits(1).out
    assert real.multi("status", "--format=nagios", "--warning=1:").ok().out.startswith("MULTI OK")
    done = real.multi("status", "--format=nagios", "--warning=2:", "--critical=2:").exits(2)
    assert "running=1;2:;2:;0;2" in done.out
    for words in (["--critical=x"], ["--critcal=2:"], ["--output=x"], ["--json"]):
        done = real.multi("status", "--format=nagios", *words).exits(3)
        assert done.out.startswith("MULTI UNKNOWN: ")
        assert done.out.count("\n") == 1


def test_g13_a_format_that_is_none(real: Real) -> None:
    """G13: a near miss names the format that is meant; an option of another format is refused."""
    real.start("a").ok()
    assert "did you mean 'openmetrics'?" in real.multi("status", "--format=openmetric").exits(4).err
    assert "is no format of status; it can be text, json" in real.multi("status", "--format=").exits(4).err
    assert "did you mean --format?" in real.multi("status", "--fromat=json").exits(4).err
    assert "--output: belongs to --format=openmetrics" in real.multi("status", "--output=x").exits(4).err
    assert "--warning: belongs to --format=nagios" in real.multi("status", "--warning=2:").exits(4).err
    assert "contradict each other" in real.multi("status", "--health", "--format=openmetrics").exits(4).err
    assert real.multi("status", "--format=json").ok().out.startswith("[{")
    assert real.multi("status", "--health", "--format=json").ok().out.startswith("[{")


@pytest.mark.engine
def test_node_exporter_takes_the_file(real: Real) -> None:
    """Debian's node_exporter reads it without an error, and shows each sample as it was written."""
    need("prometheus-node-exporter", root=False)
    program = find("prometheus-node-exporter")
    assert program is not None
    directory = real.base / "textfile"
    directory.mkdir()
    real.start("a", "b").ok()
    real.multi("stopwait", "b").ok()
    real.multi("status", METRICS, f"--output={directory}/multi.prom").ok()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    exporter = real.popen(
        program,
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={directory}",
        f"--web.listen-address={address}",
    )

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    text = until(page, "it serves its page")
    exporter.terminate()
    exporter.wait(20)
    lines = text.splitlines()
    assert "node_textfile_scrape_error 0" in lines
    written = [each for each in (directory / "multi.prom").read_text().splitlines() if not each.startswith("#")]
    shown = {sample(line) for line in lines if line.startswith("multi_")}
    assert {sample(line) for line in written} == shown
    assert "# TYPE multi_node_state gauge" in lines


def sample(line: str) -> tuple[str, float]:
    """A series and its value, which Go writes in another way."""
    series, _, value = line.rpartition(" ")
    return series, float(value)


def test_the_page_for_those_who_monitor() -> None:
    """docs/howto/monitor.md names each metric, and what it lets one paste are orders that mean something."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "monitor.md").read_text(encoding="utf-8")
    for family in _FAMILIES:
        assert f"`multi_node_{family.name}{'_total' if family.kind == 'counter' else ''}`" in page
    orders = re.findall(r"multi (status [^\n`]*--format[^\n`]*)", page)
    assert len(orders) >= 4
    for words in orders:
        given = take(shlex.split(words)[1:], BY_NAME["status"].options)
        assert given[1][FORMAT.name] in {"openmetrics", "nagios"}, words
    assert set(re.findall(r"multi_node_\w+", page)) <= {
        f"multi_node_{family.name}{end}" for family in (*_FAMILIES, _STATE, _DIFFERS) for end in ("", "_total")
    }
