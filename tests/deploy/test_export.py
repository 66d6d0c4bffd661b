"""`multi export`: each form is read by the tool that it is for, and the worker gets the exact words."""

from __future__ import annotations

import contextlib
import itertools
import os
import plistlib
import re
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from awkward import KNOTS, UNICODE, VALUES, WORDS, exact
from launchd import faults
from multi import api as pipeline
from multi.errors import MultiError, UsageError
from multi.export import FORMS
from multi.export.sysv import settings, words
from multi.machine import MachineError
from multi.model.node import Node
from private_machine import BIN, USER, USER_ID, machine, need
from real import WORKER, Real, alive, as_argv, descriptors, environ_of, run, status, until, words_of

yaml: Any = pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("at_home")

LINES = [word for word in UNICODE if not set("\n\r") & set(word)]
NO_XML = re.compile("[\x00-\x08\x0b-\x1f]")  # in a property list there are none of these


def nodes(*said: str) -> tuple[Node, ...]:
    """The nodes of a command line."""
    return pipeline.select("export", said).nodes


def exported(form: str, *said: str) -> Mapping[str, str]:
    """The files of a form."""
    return pipeline.export(form, pipeline.select("export", said, foreground=FORMS[form].foreground))


def only(form: str, *said: str) -> str:
    """The one file of a form."""
    (text,) = exported(form, *said).values()
    return text


def save(real: Real, form: str, *said: str) -> list[Path]:
    """The files of a form, written by the command."""
    done = real.raw("export", form, f"--output={real.base}/exported", *said).ok()
    return [real.base / path for path in done.out.splitlines()]


def said_words(path: Path) -> list[bytes]:
    """The words that the worker was executed with, as it wrote them down itself."""
    until(path.exists, "the worker has written its words")
    return as_argv(path.read_bytes())


# --- all forms ------------------------------------------------------------------------------------------


EXOTIC = (
    *("a", "b", "--preset=exec", "--cmd=sleep 600", "--uid:a=nobody", "--gid:a=nogroup", "--umask:a=027", "--nice:a=5"),
    *("--rlimit:a=NOFILE=64:128", "--rlimit:a=CORE=0", "--env:a=A=it's 100%", "--env:a=GONE-", "--ready:a=log:^up$"),
    *(
        "--stop-schedule:a=INT/7/TERM/3/KILL/2",
        "--kill-mode:a=process",
        "--reload-signal:a=HUP",
        "--logfile:a=/var/log/x",
    ),
)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_form_cannot_say_is_said_in_a_comment(form: str) -> None:
    """Every setting of a node is in what is exported, as a word of the form or by its name in a remark."""
    said = [word.replace("nobody", "65534").replace("nogroup", "65533") for word in EXOTIC]  # Kubernetes has no names
    text = "\n".join(exported(form, *said).values())
    remarks = re.findall(r"^ *(?:[#;] |<!-- )(.*)", text, re.MULTILINE)
    everywhere = {  # each by its value, or by its name in a remark
        "uid": r"65534|\buid\b", "gid": r"65533|\bgid\b", "umask": r"027|23|(?i:umask)", "nice": r"(?i)nice",
        "rlimit": r"128|rlimit", "env": r"it.{1,5}s 100\\?%", "env-": "GONE", "stop": r"INT",
        "kill_mode": r"(?i)process|kill_mode|killasgroup=f",
        "reload": r"HUP|reload_signal", "log": r"/var/log/x|logfile", "ready": r"log:\^up\$",
    }  # fmt: skip
    for setting, pattern in everywhere.items():
        assert re.search(pattern, text), (setting, text)
    if not FORMS[form].delegates:  # where multi does the work itself nothing is lost, nor where it runs in a container
        assert any("INT/7/TERM/3/KILL/2" in remark for remark in remarks), text
        if not form.startswith("systemd"):  # whose units wait for it
            assert any("log:^up$" in remark for remark in remarks), text


RARE = "--exit-ok=0,3 --restart=on-failure --restart-delay=7 --restart-limit=3/60s --max-memory=512M --max-age=12h "
RARE += "--alive=tcp:80 --hook=failed=true --startsecs=42 --gid=65533"


@pytest.mark.parametrize(
    ("form", "lost", "lines"),
    [
        ("supervisord", "alive gid hooks max_age max_memory restart_delay restart_limit",
         "exitcodes=0,3 autorestart=unexpected startsecs=42"),
        ("launchd", "alive exit_ok hooks max_age max_memory restart_delay restart_limit startsecs", ""),
        ("procfile", "alive exit_ok gid hooks max_age max_memory restart restart_delay restart_limit startsecs", ""),
        ("systemd", "alive hooks max_memory", "RestartSec=7 RuntimeMaxSec=43200 Restart=on-failure"),
        ("compose", "gid restart_delay restart_limit", "restart:\\ on-failure"),
        ("kubernetes", "gid restart_delay restart_limit",
         "'# restart = on-failure: Kubernetes starts it again whichever way it ended'"),
        ("quadlet", "gid", "RestartSec=7 Restart=on-failure"),
    ],
)  # fmt: skip
def test_a_form_says_every_setting_or_names_it(form: str, lost: str, lines: str) -> None:
    """A form names what it holds; whatever else is not as usual is in the one remark."""
    text = only(form, "a", "--preset=exec", "--cmd=sleep 600", *RARE.split())
    (said,) = re.findall(
        r"not exported, because there is no word for it here: ([^>\n]*?)(?: -->)?$", text, re.MULTILINE
    )
    assert said.split(", ") == lost.split()
    assert set(shlex.split(lines)) <= {line.strip() for line in text.splitlines()}


def test_what_restarts_always_does_so_elsewhere() -> None:
    """To supervisord no end by a signal is expected, so of exit_ok its statuses are not exported."""
    said = ("a", "--preset=exec", "--cmd=sleep 600", "--restart=always", "--exit-ok=0,143")
    text = only("supervisord", *said)
    assert "autorestart=true" in text
    assert "no word for it here: exit_ok 143 of a signal\n" in text
    assert plistlib.loads(only("launchd", *said).encode())["KeepAlive"] is True


def test_groups_are_groups_of_supervisord(tmp_path: Path) -> None:
    """It starts a group by its own priority; a group with the name of another program has one of its own."""
    text = """
        [defaults]
        preset = "exec"
        cmd = "sleep 600"
        [groups.workers]
        nodes = ["w1", "w2"]
        after = ["db"]
        [groups.o]
        nodes = ["p"]
        [nodes.db]
        [nodes.o]
    """
    config = tmp_path / "multi.toml"
    config.write_text(textwrap.dedent(text))
    assert only("supervisord", f"--multi-config={config}").partition("[group:")[1:] == (
        "[group:",
        "workers]\nprograms=w1,w2\npriority=1000\n\n[group:o-group]\nprograms=p\n",
    )


def test_launchd_is_said_to_want_a_name() -> None:
    """Its `UserName` is a name; a number may be nobody's."""
    remark = "<!-- launchd looks for users by name: put that of 65534 here -->"
    for user in ("65534", "nobody"):
        assert (remark in only("launchd", "a", "--preset=exec", "--cmd=sleep 600", f"--uid={user}")) == user.isdigit()


@pytest.mark.parametrize("form", FORMS)
def test_what_an_env_file_holds_is_read_again_or_said_to_be_old(form: str, tmp_path: Path) -> None:
    """Where `multi` does the work it reads the file at each start; elsewhere a remark says whose values these are."""
    file = tmp_path / "secrets.env"
    file.write_text("TOKEN=hunter2\n", encoding="utf-8")
    text = only(form, "a", "--preset=exec", "--cmd=sleep 600", f"--env-file={file}")
    if FORMS[form].delegates or form.startswith("systemd"):
        assert str(file) in text
        assert "hunter2" not in text
    else:
        assert f"TOKEN: as {file} had it when this was made" in text
        assert "hunter2" in text


def test_g14_a_node_on_record_is_exported_as_it_runs(real: Real) -> None:
    """G14: where nobody says the command the record does, with its settings, and with what its env files hold now."""
    file = real.base / "vars.env"
    file.write_text("TOKEN=hunter2\n", encoding="utf-8")
    real.start("a", "--umask=027", f"--env-file={file}", "--stop-schedule=INT/7/KILL/2", cmd="sleep 1000").ok()
    pidfile = f"--pidfile={real.run}/%n.pid"
    for form in FORMS:
        for preset in ((), ("--preset=exec",)):
            text = real.raw("export", form, "a", pidfile, *preset).ok().out
            assert "1000" in text, form
            assert "celery" not in text.replace("multi.celery", ""), form
            refers = FORMS[form].delegates or form.startswith("systemd")
            assert (str(file) if refers else "hunter2") in text, form
            if form in {"sysv", "cron", "systemd"}:
                assert "INT" in text, form
        other = real.raw("export", form, "a", pidfile, "--preset=exec", "--cmd=sleep 1001").ok().out
        assert "1001" in other, form
        assert "1000" not in other, form


def test_g9_a_command_that_nobody_says_is_not_exported(real: Real) -> None:
    """G9: without words, configuration and record there is nothing to export: one line, exit 2."""
    real.start("a", cmd="sleep 1000").ok()
    said = (("b",), ("b", "--preset=exec"), ("a", "--preset=exec", "--append=x"))
    for form, rest in itertools.product(FORMS, said):
        done = real.raw("export", form, *rest, f"--pidfile={real.run}/%n.pid").exits(2)
        assert done.err.endswith(
            ": cannot be exported: neither the words nor a configuration nor a record say what command it is; "
            "give the worker's options or --cmd as for 'multi start', or --pidfile where it is on record\n"
        )
        assert done.out == ""


@pytest.mark.parametrize("form", FORMS)
def test_plain_nodes_need_no_remark(form: str) -> None:
    """A node without anything special is exported without an excuse."""
    text = "\n".join(exported(form, "a", "--preset=exec", "--cmd=sleep 600", "--logfile=/dev/stderr").values())
    assert "not exported" not in text
    assert "only the first signal" not in text


@pytest.mark.parametrize("form", [form for form, made in FORMS.items() if not made.delegates])
def test_names_that_a_form_cannot_tell_apart(form: str) -> None:
    """G9: two nodes that would get one name are refused."""
    with pytest.raises(UsageError, match="would both be called"):
        exported(form, "a+b", "a~b", "--preset=exec", "--cmd=sleep 600")


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ("cron", "a\nb"), ("cron", "x" * 1000), ("procfile", "a\nb"), ("procfile", "a\x0cb"),
        ("supervisord", "a\nb"), ("supervisord", "a\rb"), ("supervisord", "\udcff"), ("systemd", "\udcff"),
        ("kubernetes", "\udcff"), ("compose", "\udcff"), ("launchd", "\x01"), ("launchd", "\udcff"),
        ("launchd", "a\rb"), ("launchd", "a\r\nb"), ("launchd", "\ufffe"),
    ],
)  # fmt: skip
def test_g11_what_a_form_cannot_hold_is_refused(form: str, word: str) -> None:
    """G11: rather nothing than a worker with other words; the message names the node and another form."""
    with pytest.raises(UsageError) as error:
        exported(form, "a", "--preset=exec", "--cmd=sleep 600", "--", word)
    assert str(error.value).startswith("a@")
    assert error.value.hint


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("systemd", "--workdir=/srv/a\nb"), ("supervisord", "--workdir=/srv/a\nb"),
        ("launchd", "--workdir=/srv/a\rb"), ("launchd", "--env=A=a\rb"), ("launchd", "--logfile=/var/log/a\rb"),
    ],
)  # fmt: skip
def test_g11_settings_that_a_form_cannot_hold(form: str, said: str) -> None:
    """G11: so are directories, and values of variables; a property list would hold LF in the place of CR."""
    with pytest.raises(UsageError, match="in its settings"):
        exported(form, "a", "--preset=exec", "--cmd=sleep 600", said)


def test_g9_a_form_that_is_none(real: Real) -> None:
    """One line with what there is; exit 2."""
    done = real.raw("export", "upstart", "a", "--preset=exec", "--cmd=sleep 600").exits(2)
    assert done.err == f"multi: upstart: is not a form that nodes can be exported to; it can be {', '.join(FORMS)}\n"


def test_output_overwrites_nothing(real: Real) -> None:
    """What was exported may have been changed by hand since: it is not replaced; exit 2."""
    said = ("a", "--preset=exec", "--cmd=sleep 600")
    (path,) = save(real, "systemd", *said)
    path.write_text("changed\n", encoding="utf-8")
    done = real.raw("export", "systemd", *said, f"--output={path.parent}").exits(2)
    assert "is there already" in done.err
    assert path.read_text(encoding="utf-8") == "changed\n"


@pytest.mark.parametrize("there", [(), ("b",)])
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, there: tuple[str, ...]) -> None:
    """A full disk: no half of a file is left, which would stop the second try, nor any file made before it."""
    files = {"a": "1\n", "b": "2\n", "c": "3" * 5000}
    for name in there:
        (tmp_path / name).write_text(files[name], encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(MachineError, match=f"cannot write {tmp_path}/c: "):
            list(pipeline.save(files, str(tmp_path), 0o644))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == list(there)
    assert len(list(pipeline.save(files, str(tmp_path), 0o644))) == len(files)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["nowhere", "command line", "file"])
def test_g8_who_may_read_what_is_exported(real: Real, form: str, where: str) -> None:
    """G8: a file with values of variables is for its owner alone, the others are as such files are; scripts can run."""
    file = real.base / "secrets.env"
    file.write_text("TOKEN=hunter2\n", encoding="utf-8")
    said = {"nowhere": (), "command line": ("--env=TOKEN=hunter2",), "file": (f"--env-file={file}",)}[where]
    before = os.umask(0o022)
    try:
        paths = save(real, form, "a", "-A", "proj", f"--executable={sys.executable}", *said)
    finally:
        os.umask(before)
    secret = any("hunter2" in path.read_text(encoding="utf-8") for path in paths)
    copied = where == "file" and not FORMS[form].delegates
    assert secret == (where == "command line" or (copied and not form.startswith("systemd")))
    rights = FORMS[form].mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {rights & 0o700 if secret or copied else rights}


@pytest.mark.parametrize("form", [form for form, made in FORMS.items() if made.here])
def test_who_where_and_what_are_as_here(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """G8: what somebody exports for this machine runs as that user, in this directory, with the program found here."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    text = only(form, "a", "--preset=exec", "--cmd=sleep 600")
    assert "nobody" in text
    assert str(tmp_path) in text
    assert str(shutil.which("sleep")) in text


@pytest.mark.parametrize("form", ["kubernetes", "compose"])
def test_nothing_of_this_machine_is_put_into_a_container(form: str, tmp_path: Path) -> None:
    """There the image says who and where, and the log is what the worker prints."""
    text = only(form, "a", "-A", "proj", "--executable=python3")
    assert str(tmp_path) not in text
    assert "--logfile" not in text


def test_a_worker_that_cannot_say_ready_is_not_waited_for(tmp_path: Path) -> None:
    """G4: without the plug-in in its Python, systemd would wait for a word that never comes; a remark says it."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    python.chmod(0o755)
    told = only("systemd", "w1", "-A", "proj")
    assert "\nType=notify\n" in told
    assert "\nEnvironment=MULTI_INSTANCE=systemd\n" in told
    assert "MULTI_INSTANCE" in only("systemd", "w1", "--preset=exec", "--cmd=sleep 600", "--ready=notify")
    assert "MULTI_INSTANCE" not in only("systemd", "w1", "--preset=exec", "--cmd=sleep 600")
    silent = only("systemd", "w1", "-A", "proj", f"--executable={python}")
    assert "\nType=exec\n" in silent
    assert "stay" in silent
    assert "--ready=alive" in only("sysv", "w1", "-A", "proj", f"--executable={python}")


# --- sysv and cron: multi goes on doing the work ------------------------------------------------------------

READY = ["alive", "notify", "log:100% ^up$", "tcp:[::1]:80", "file:/x/100%%%%/%n", "exec:test -e '%n 100%%'"]


@pytest.mark.parametrize("ready", READY)
def test_g11_words_make_the_same_nodes(ready: str, tmp_path: Path) -> None:
    """G11: what sysv and cron hand to `multi start` comes to the same nodes, whatever stands in their settings."""
    file = tmp_path / "100% vars.env"
    file.write_text("FROM_FILE='$HOME %n'\nOVER=x\n", encoding="utf-8")
    said = [
        *("a", "b", "c@example.com", "--preset=exec", "--cmd=sleep 600 '100%% %%n' \"it's\"", "--reload-signal:b=USR2"),
        *(f"--pidfile={tmp_path}/100%%%% run/%n.pid", f"--logfile={tmp_path}/100%%%%n/%n%I.log", "--umask:a=027"),
        *("--env:a=A=100% %n", "--env:a=B=", "--env:b=GONE-", "--env-file:b=100%%%% vars.env", "--env:b=OVER=said"),
        *("--workdir:c=/", "--nice:c=-5", "--rlimit:a=NOFILE=1:unlimited", "--rlimit:a=CORE=0", f"--ready:a={ready}"),
        *("--uid:c=nobody", "--gid:c=nogroup", "--stop-schedule:a=INT/0.5/KILL/3", "--kill-mode:b=process"),
        *("--ready-timeout:a=7.5", "--startsecs:b=0", "--lock-timeout:c=3", "--ready-timeout:b=1234567"),
        *("--lock-timeout:a=1000000000", "--startsecs:c=0.000000000015", "--", *WORDS, *KNOTS),
    ]
    made = nodes(*said)
    again = pipeline.select("show", words(made, settings)).nodes
    assert again == made
    assert words(again, settings) == words(made, settings)


def test_g11_names_with_an_equals_sign(tmp_path: Path) -> None:
    """G11: a node's name is no part of a flag's value."""
    made = nodes("a=b", "c", "--preset=exec", "--cmd=sleep 600", f"--pidfile={tmp_path}/%n.pid", "--umask:1=027")
    assert pipeline.select("show", words(made, settings)).nodes == made


@pytest.fixture
def script(real: Real) -> Path:
    """Give an init script of two tiny workers that differ in everything that is said of them."""
    common = ("--preset=exec", f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log", "--startsecs=0.1")
    tell = f"--tally {real.base}/tally-%n --touch {real.base}/up-%n --words {real.base}/words-%n"
    own = ("--umask:a=027", "--env:a=A=100% $HOME", "--env:b=PATH=/nowhere", "--reload-signal=HUP")
    worker = real.worker(*shlex.split(tell), "--")
    schedule = "--stop-schedule=KILL/5"
    (made,) = save(real, "sysv", "a", "b", *common, f"--cmd={worker}", *own, schedule, "--", *WORDS, *KNOTS)
    assert os.access(made, os.X_OK)
    return made


def service(real: Real, script: Path, word: str, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    """Call an init script as init does: from somewhere, with next to no environment."""
    words = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", shell, str(script), word]
    return run(words, {**real.env, "HOME": "/tmp"})


def test_sysv_is_a_clean_script(script: Path) -> None:
    """Every shell can read it, and shellcheck finds nothing."""
    for shell in ("sh", "dash", "bash"):
        subprocess.run([shell, "-n", str(script)], check=True)
    need("shellcheck", root=False)
    told = ["shellcheck", "--shell=sh", "--exclude=SC1003,SC2016", str(script)]  # the quotes are meant as they are
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shell", ["sh", *(pytest.param(name, marks=pytest.mark.engine) for name in ("dash", "bash"))])
def test_g11_an_init_script_starts_and_stops(real: Real, script: Path, shell: str) -> None:
    """G11: start, status, reload, restart, try-restart and stop do as the LSB has it, with the exact words."""
    assert service(real, script, "status", shell).returncode == 3
    assert service(real, script, "try-restart", shell).returncode == 0
    assert real.family() == []
    done = service(real, script, "start", shell)
    assert done.returncode == 0, done
    for name in ("a", "b"):
        assert said_words(real.base / f"words-{name}") == exact([*WORDS, *KNOTS])
        until((real.base / f"up-{name}").exists, f"{name} is up")
    first = {name: real.pid(name) for name in ("a", "b")}
    assert environ_of(first["a"])["A"] == "100% $HOME"
    assert environ_of(first["b"])["PATH"] == "/nowhere"
    assert status(first["a"])["Umask"] == "0027"
    assert service(real, script, "start", shell).returncode == 0
    assert service(real, script, "status", shell).returncode == 0
    assert service(real, script, "reload", shell).returncode == 0
    for name, pid in first.items():
        tally, heard = real.base / f"tally-{name}", f"{pid} HUP\n"
        until(lambda tally=tally, heard=heard: tally.exists() and tally.read_text() == heard, f"{name} hears it")  # type: ignore[misc] # a lambda that keeps this turn's values
    assert service(real, script, "restart", shell).returncode == 0
    second = {name: real.pid(name) for name in ("a", "b")}
    assert not set(first.values()) & set(second.values())
    assert service(real, script, "try-restart", shell).returncode == 0
    assert not set(second.values()) & {real.pid(name) for name in ("a", "b")}
    assert service(real, script, "stop", shell).returncode == 0
    assert real.family() == []
    assert service(real, script, "stop", shell).returncode == 0
    assert service(real, script, "nonsense", shell).returncode == 2


def test_an_init_script_says_dead_before_stopped(real: Real, script: Path) -> None:
    """`status` of several is the worst of them, as of `multi` itself."""
    assert service(real, script, "start").returncode == 0
    os.kill(real.pid("a"), signal.SIGKILL)
    real.multi("stopwait", "b").ok()
    until(lambda: service(real, script, "status").returncode == 1, "a is dead with a pidfile, b is stopped")


def test_try_restart_with_a_dead_one_among_four(real: Real) -> None:
    """As long as one of the nodes runs, `try-restart` restarts them; a dead one is no reason to leave them alone."""
    names = ("a", "b", "c", "d")
    files = (f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log")
    (script,) = save(real, "sysv", *names, "--preset=exec", "--cmd=sleep 600", *files, "--startsecs=0.1")
    assert service(real, script, "start").returncode == 0
    first = {name: real.pid(name) for name in names}
    os.kill(first["b"], signal.SIGKILL)
    until(lambda: service(real, script, "status").returncode == 1, "b is dead with a pidfile")
    done = service(real, script, "try-restart")
    assert done.returncode == 0, done
    second = {name: real.pid(name) for name in names}
    assert not set(first.values()) & set(second.values())
    for pid in second.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, second.values())), "all are dead")
    assert service(real, script, "try-restart").returncode == 0
    assert real.family() == []


def test_reload_of_a_set_with_one_that_cannot(real: Real) -> None:
    """Nodes that know a reload get it, one that does not is named; where none does it is not implemented, exit 3."""
    files = (f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log")
    worker = real.worker("--tally", f"{real.base}/tally-%n", "--touch", f"{real.base}/up-%n")
    said = ("--preset=exec", f"--cmd={worker}", *files, "--startsecs=0.1", "--stop-schedule=KILL/5")
    (script,) = save(real, "sysv", "w1", "beat", *said, "--reload-signal:w1=HUP")
    assert service(real, script, "start").returncode == 0
    for name in ("w1", "beat"):
        until((real.base / f"up-{name}").exists, f"{name} is up")
    done = service(real, script, "reload")
    assert done.returncode == 0, done
    assert done.stderr.startswith(b"left as it is, because it has no reload signal: beat@")
    assert b"preset" not in done.stderr
    heard = f"{real.pid('w1')} HUP\n"
    tally = real.base / "tally-w1"
    until(lambda: tally.exists() and tally.read_text() == heard, "w1 hears it")
    assert not (real.base / "tally-beat").exists()
    service(real, script, "stop")
    script.unlink()
    (script,) = save(real, "sysv", "beat", *said)
    done = service(real, script, "reload")
    assert done.returncode == 3, done
    assert b"no reload signal; use restart" in done.stderr


def test_status_after_stop_names_the_log_that_was_written(real: Real, script: Path) -> None:
    """The script says where the logs are, so the table is the same whether a node is on record or not."""
    assert service(real, script, "start").returncode == 0
    assert service(real, script, "stop").returncode == 0
    done = service(real, script, "status")
    assert done.returncode == 3
    for name in ("a", "b"):
        assert f"{real.log}/{name}.log".encode() in done.stdout, done


def test_g8_an_init_script_runs_nothing_of_the_directory_it_is_called_in(real: Real, script: Path) -> None:
    """G8: `python -m multi` would take a multi.py that lies where root happens to be."""
    (real.base / "home" / "multi.py").write_text("raise SystemExit(99)\n", encoding="ascii")
    words = ["env", "-i", "PATH=/usr/bin:/bin", "sh", str(script), "status"]
    assert run(words, real.env).returncode == 3


@pytest.mark.engine
@pytest.mark.root
def test_g11_a_crontab_starts_and_keeps() -> None:
    """G11: a real cron starts the node as its user, with the exact words, and again when it has died."""
    need("cron", "faketime", "unshare", "nsenter", "setpriv")
    told = ["", "two  words", "50%", "%n", *KNOTS[:7], "it's", '"', "$HOME", "`id`", "caf\u00e9", "\\"]
    with machine() as host:
        for other in host.path("/etc/cron.d").iterdir():
            other.unlink()
        host.write("/etc/crontab", "")
        host.shell(f"install -d -o {USER} /srv/out").ok()
        command = f"{sys.executable} -I -S {WORKER} --words /srv/out/words --"
        files = ("--pidfile=/run/multi/%n.pid", "--logfile=/var/log/multi/%n.log", "--output=/etc/cron.d")
        said = ("a", "--preset=exec", f"--cmd={command}", "--workdir=/srv", "--startsecs=0.1", f"--uid={USER}", *files)
        host.run(str(BIN / "multi"), "export", "cron", *said, "--", *told).ok()
        with host.daemon("faketime", "-f", "@2026-01-05 12:00:30 x20", "cron", "-f"):
            until(lambda: host.exists("/srv/out/words"), "cron has started the node", 60)
            assert as_argv(host.path("/srv/out/words").read_bytes()) == exact(told)
            until(lambda: host.exists("/run/multi/a.pid"), "it is on record")
            first = host.pid("/run/multi/a.pid")
            assert host.status(first)["Uid"].split() == [str(USER_ID)] * 4
            host.run("kill", "-KILL", str(first)).ok()
            until(lambda: _other(host.read("/run/multi/a.pid"), first), "ensure has started it again", 60)


def _other(text: str, first: int) -> bool:
    return text.strip().isdigit() and int(text) != first


def test_cron_and_sysv_name_the_configuration(tmp_path: Path) -> None:
    """What a configuration says stays there, where it says all of the nodes; by that they are what they are here."""
    config = tmp_path / "multi.toml"
    config.write_text('[defaults]\nworkdir = "/"\n[nodes.a]\npreset = "exec"\ncmd = "sleep 600"\n[nodes.b]\n', "ascii")
    for form, said in (("cron", ()), ("cron", ("a",)), ("sysv", ())):
        text = only(form, *said)
        assert f"--multi-config={config}" in text
        assert "sleep" not in text
        assert "python" not in re.sub(r"\S*/multi\b", "", text)  # it would look for multi in the current directory
        line = next(line for line in text.splitlines() if " start " in line) if form == "cron" else ""
        told = shlex.split(line.replace("\\%", "%"))
        if told:
            assert (
                pipeline.select("start", told[told.index("start") + 1 :]).nodes == pipeline.select("start", said).nodes
            )
    for more in (("--umask=027",), ("-c", "4")):
        assert "--multi-config" not in only("cron", "b", *more)


def test_g11_one_line_a_node_where_one_for_all_is_too_long() -> None:
    """Cron takes 998 characters: many nodes have a line each, and none is cut."""
    said = ("--preset=exec", "--cmd=sleep 600", "--logfile=/l/%n", "--pidfile=/p/%n.pid", "--workdir=/")
    names = [f"node{number}" for number in range(30)]
    lines = [line for line in only("cron", *names, *said).splitlines() if line[0] in "@*"]
    assert len([line for line in lines if line.startswith("@reboot")]) == 30
    assert all(len(line) < 1010 for line in lines)
    assert len([line for line in only("cron", "a", "b", *said).splitlines() if line[0] in "@*"]) == 2


# --- systemd ------------------------------------------------------------------------------------------------
# That a real systemd runs them, with the exact words, is in test_systemd.


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """systemd-analyze verify is silent about units of every kind, and not about a bad copy."""
    need("systemd-analyze", root=False)
    kinds: tuple[tuple[str, ...], ...] = (
        tuple(word.replace("nobody", "daemon") for word in EXOTIC if word != "b"),  # systemd warns of nobody
        ("b", "--preset=exec", "--cmd=sleep 600", "--stop-schedule=TERM/forever", "--logfile=/dev/null"),
        ("c", "--preset=exec", "--cmd=sleep 600", "--stop-schedule=KILL/5", "--", *UNICODE, *KNOTS),
        ("d", "--preset=exec", "--cmd=sleep 600", "--stop-schedule=TERM/3", "--ready=notify", "--logfile=/var/log/d"),
        ("e", "-A", "proj", f"--executable={sys.executable}"),
    )

    def verify(name: str, text: str) -> subprocess.CompletedProcess[str]:
        unit = tmp_path / name
        unit.write_text(text, encoding="utf-8")
        told = ["systemd-analyze", "verify", "--man=no", str(unit)]
        return subprocess.run(told, capture_output=True, text=True, check=False)

    for said in kinds:
        ((name, text),) = exported("systemd", *said).items()
        done = verify(name, text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), text
    done = verify("bad.service", only("systemd", *kinds[0]).replace("KillMode=", "KilMode="))
    assert "KilMode" in done.stderr


@pytest.mark.parametrize(
    ("schedule", "lines"),
    [
        ("TERM/90/QUIT/10/KILL/5", ["KillSignal=SIGTERM", "TimeoutStopSec=100"]),
        ("INT/0.5/KILL/5", ["KillSignal=SIGINT", "TimeoutStopSec=1"]),
        ("TERM/forever", ["KillSignal=SIGTERM", "TimeoutStopSec=infinity"]),
        ("TERM/30", ["KillSignal=SIGTERM", "TimeoutStopSec=30", "SendSIGKILL=no"]),
        ("KILL/5", ["KillSignal=SIGKILL", "TimeoutStopSec=1"]),
    ],
)
def test_g6_systemd_gives_the_first_stage_whole(schedule: str, lines: list[str]) -> None:
    """G6: the time until KILL is that of the schedule; 0, which means for ever to systemd, is never said."""
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", f"--stop-schedule={schedule}")
    found = [line for line in text.splitlines() if line.startswith(("KillSignal", "TimeoutStop", "SendSIG"))]
    assert sorted(found) == sorted(lines)


def test_systemd_reads_how_long_a_start_may_take() -> None:
    """A ready_timeout of many days is written in plain digits: systemd knows no exponents, and would take its own."""
    said = ("a", "--preset=exec", "--cmd=sleep 600", "--ready=notify", "--ready-timeout=1234567")
    assert "TimeoutStartSec=1234567" in only("systemd", *said).splitlines()


SHIPPED = Path(__file__).resolve().parents[2] / "config"


def test_g3_systemd_never_gives_a_node_up() -> None:
    """An exported unit tries again for ever, and outlives a child that ran out of memory, as the shipped ones do."""
    settings = ("StartLimitIntervalSec=", "Restart=", "RestartSec=", "OOMPolicy=")

    def found(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line.startswith(settings))

    ours = found(only("systemd", "w1", "-A", "proj", f"--executable={sys.executable}"))
    assert len(ours) == len(settings)
    for unit in ("multi@.service", "multi-run@.service"):
        assert found((SHIPPED / "systemd" / unit).read_text(encoding="utf-8")) == ours, unit


# --- supervisord --------------------------------------------------------------------------------------------


def supervisor(real: Real, section: Path) -> Path:
    """The configuration of a supervisord of our own."""
    config = real.base / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={real.base}/d.log\npidfile={real.base}/d.pid\n"
        f"childlogdir={real.base}\n[unix_http_server]\nfile={real.base}/d.sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl=unix://{real.base}/d.sock\n[include]\nfiles={section}\n",
        encoding="utf-8",
    )
    return config


@pytest.mark.engine
def test_g4_supervisord_gives_up_what_never_works(real: Real) -> None:
    """G4: a worker that fails while it starts, as with a broken application, ends as FATAL and never seems to run."""
    need("supervisord", "supervisorctl", root=False)
    said = ("--preset=exec", "--ready=notify", "--startsecs=0", "--cmd=sh -c 'sleep 1.5; exit 1'")
    (section,) = save(real, "supervisord", "w1", *said)
    text = section.read_text(encoding="utf-8")
    assert "\nstartretries=10\n" in text
    section.write_text(text.replace("startretries=10", "startretries=2"), encoding="utf-8")  # each takes longer to come
    config = supervisor(real, section)
    environment = {"PYTHONWARNINGS": "ignore"}
    daemon = real.popen("supervisord", "-n", "-c", str(config), env=environment)
    log = real.base / "d.log"

    def fatal() -> bool:
        assert daemon.poll() is None
        return log.exists() and "gave up: w1 entered FATAL state" in log.read_text(encoding="utf-8")

    until(fatal, "supervisord has given it up", 120)
    assert "RUNNING state" not in log.read_text(encoding="utf-8")
    done = run(["supervisorctl", "-c", str(config), "status"], {**real.env, **environment})
    assert done.stdout.split()[1] == b"FATAL"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [((), 1), (("--startsecs=0",), 0), (("--startsecs=0.2",), 1), (("--startsecs=2.5",), 3), (("--ready=notify",), 10),
     (("--ready=tcp:80", "--startsecs=0"), 10), (("--ready=tcp:80", "--startsecs=12"), 12)],
)  # fmt: skip
def test_supervisord_believes_no_start_at_once(said: tuple[str, ...], seconds: int) -> None:
    """G4: a start counts after `startsecs`, at once only where that was said; later where there is a better proof."""
    text = only("supervisord", "a", "--preset=exec", "--cmd=sleep 600", *said)
    assert f"\nstartsecs={seconds}\n" in text


def test_supervisord_tries_as_often_as_the_shipped_one() -> None:
    """What is exported gives up as late as the shipped configuration."""
    (shipped,) = re.findall("^startretries=.*$", (SHIPPED / "supervisord/multi.conf").read_text(), re.MULTILINE)
    assert shipped in only("supervisord", "a", "--preset=exec", "--cmd=sleep 600").splitlines()


def test_supervisord_is_not_told_of_dev_null() -> None:
    """`supervisorctl clear` removes what is named as a log, and a supervisord of root's may do so to a device."""
    text = only("supervisord", "a", "--preset=exec", "--cmd=sleep 600", "--logfile=/dev/null")
    assert "stdout_logfile=NONE\n" in text
    assert "/dev/null" not in text


@pytest.mark.engine
def test_g11_supervisord_runs_it_with_the_exact_words(real: Real) -> None:
    """G11: from a real supervisord's parser to the worker: words, variables, umask and directory are exact."""
    need("supervisord", "supervisorctl", root=False)
    told = [*LINES, *KNOTS]
    values = {name: value for name, value in VALUES.items() if not set("\n\r") & set(value)}
    worker = real.worker("--words", f"{real.base}/words", "--touch", f"{real.base}/touched", "--print", "hello", "--")
    said = [f"--env={name}={value}" for name, value in values.items()]
    said += [f"--workdir={real.base}", "--umask=027", "--env=GONE-", f"--logfile={real.base}/x.log"]
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    said += ["--nice=2", "--rlimit=NOFILE=64:128", "--rlimit=CORE=0"]
    (section,) = save(real, "supervisord", "a", "--preset=exec", f"--cmd={worker}", *said, "--", *told)
    config = supervisor(real, section)
    environment = {"GONE": "here", "PYTHONWARNINGS": "ignore"}
    daemon = real.popen("supervisord", "-n", "-c", str(config), env=environment)
    until(lambda: (real.base / "touched").exists() or daemon.poll() is not None, "supervisord has started the node", 60)
    assert said_words(real.base / "words") == exact(told)
    pid = int((real.base / "touched").read_text(encoding="ascii"))
    env = environ_of(pid)
    assert {name: env.get(name) for name in values} == values
    assert "GONE" not in env
    assert status(pid)["Umask"] == "0027"
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == str(real.base)
    assert os.getpriority(os.PRIO_PROCESS, pid) == nice + 2
    assert (resource.prlimit(pid, resource.RLIMIT_NOFILE), resource.prlimit(pid, resource.RLIMIT_CORE)) == (
        (64, 128),
        (0, 0),
    )
    until((real.base / "x.log").exists, "its log is where it was")
    run(["supervisorctl", "-c", str(config), "stop", "a"], {**real.env, **environment})
    until(lambda: not alive(pid), "it is stopped")
    assert (real.base / "x.log").read_text(encoding="utf-8") == "hello\n"


def test_supervisord_keeps_the_order() -> None:
    """`priority` is the order of `after`, and a comment says that nobody is waited for; without order there is none."""
    said = ("--preset=exec", "--cmd=sleep 600")
    text = only("supervisord", "c", "b", "a", *said, "--after:b=a", "--after:c=a,b")
    assert re.findall(r"^(?:\[program:(.)\]|priority=(\d+))$", text, re.MULTILINE) == [
        ("c", ""), ("", "1001"), ("b", ""), ("", "1000"), ("a", ""),
    ]  # fmt: skip
    assert "; does not wait here for a and b\n" in text
    assert "priority" not in only("supervisord", "a", "b", *said)


def test_g8_what_a_user_may_not_is_said_in_a_comment() -> None:
    """G8: supervisord has become the user before nice and prlimit run."""
    said = ("a", "--preset=exec", "--cmd=sleep 600", "--rlimit=NOFILE=64:unlimited", "--nice=-5")
    assert "\ncommand=nice -n -5 prlimit --nofile=64:unlimited /" in only("supervisord", *said)
    text = only("supervisord", *said, "--uid=daemon")
    assert "no word for it here: nice\n" in text
    assert "; prlimit runs as daemon, who cannot raise a hard limit\ncommand=prlimit " in text


# --- systemd's order ----------------------------------------------------------------------------------------


def test_systemd_keeps_the_order() -> None:
    """`After=` names the exported units of what a node comes after; the rest is said in comments."""
    said = ("b", "--preset=exec", "--cmd=sleep 600", "--after=a,x", "--needs=tcp:redis:6379")
    units = exported("systemd", "a", *said)
    assert "\nAfter=network.target\n" in units["multi-a.service"]
    assert "\nAfter=network.target multi-a.service\nWants=multi-a.service\n" in units["multi-b.service"]
    assert "Requires=" not in units["multi-b.service"]  # it would restart b with a, and give b up when a fails once
    assert " needs=tcp:redis:6379 " in units["multi-b.service"]


def test_systemd_has_a_target_for_all() -> None:
    """Of several nodes a target is exported that names none of them, so another export can add its own nodes."""
    said = ("--preset=exec", "--cmd=sleep 600")
    first, second = exported("systemd", "a", "b", *said), exported("systemd", "c", "d", *said)
    assert list(first) == ["multi-a.service", "multi-b.service", "multi.target"]
    assert first["multi.target"] == second["multi.target"]
    for unit in (first["multi-a.service"], second["multi-d.service"]):
        assert "\nPartOf=multi.target\n" in unit
        assert unit.endswith("\n[Install]\nWantedBy=multi-user.target multi.target\n")
    assert "multi.target" not in only("systemd", "a", *said)


def test_two_exports_share_a_target(real: Real) -> None:
    """A file that is there already and says the same is no file that was changed by hand."""
    said = ("--preset=exec", "--cmd=sleep 600")
    save(real, "systemd", "a", "b", *said)
    assert [path.name for path in save(real, "systemd", "c", "d", *said)] == [
        *("multi-c.service", "multi-d.service", "multi.target")
    ]


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ("", "StartLimitIntervalSec=0 Restart=on-failure RestartSec=10"),
        ("--restart=no", "Restart=on-failure"),  # as `multi ensure` takes it
        ("--restart=always --restart-delay=0.5", "Restart=always RestartSec=0.5"),
        ("--restart-limit=none", "StartLimitIntervalSec=0"),
        ("--restart-limit=5/60s", "StartLimitIntervalSec=60 StartLimitBurst=6 RestartSec=6"),  # starts, not restarts
        ("--restart-limit=5/60s --restart-delay=2", "StartLimitBurst=6 RestartSec=2"),
        ("--restart-limit=10/1h", "StartLimitIntervalSec=3600 StartLimitBurst=11 RestartSec=10"),
        ("--max-age=1h", "RuntimeMaxSec=3600 RuntimeRandomizedExtraSec=360"),
        ("--startsecs=0", "-ExecStartPost"),
        ("", "ExecStartPost=/bin/sleep\\ 1 -TimeoutStartSec"),
        ("--startsecs=120", "ExecStartPost=/bin/sleep\\ 120 TimeoutStartSec=180"),
        ("--ready=notify", "-ExecStartPost TimeoutStartSec=60"),
        ("--ready=notify --startsecs=5", "ExecStartPost=/bin/sleep\\ 5 TimeoutStartSec=65"),
        ("--alive=watchdog:20", "Type=exec NotifyAccess=all WatchdogSec=20 WatchdogSignal=SIGTERM"),
        ("--alive=tcp:80", "-Watchdog -NotifyAccess"),
    ],
)
def test_systemd_restarts_and_waits_as_the_settings_say(said: str, lines: str) -> None:
    """Policy, pause, limit, what is no failure, age and the time to live have the words that systemd has for them."""
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", *said.split()).splitlines()
    for line in shlex.split(lines):
        if line.startswith("-"):
            assert not [each for each in text if each.startswith(line[1:])]
        else:
            assert line in text


@pytest.mark.parametrize(
    ("said", "success", "again"),
    [
        ("", "143 SIGTERM", "129 SIGHUP 130 SIGINT 141 SIGPIPE 143 SIGTERM"),
        ("--exit-ok=3,130,143", "3 130 SIGINT 143 SIGTERM", "0 129 SIGHUP 141 SIGPIPE"),
        ("--exit-ok=0,200 --stop-schedule=QUIT/9/KILL/5", "131 SIGQUIT 200",
         "129 SIGHUP 130 SIGINT 131 SIGQUIT 141 SIGPIPE 143 SIGTERM"),
        ("--restart=always", "143 SIGTERM", ""),
    ],
)  # fmt: skip
def test_systemd_has_the_same_ends_for_success(said: str, success: str, again: str) -> None:
    """What `exit_ok` has, and the signal of a stop, which is started again where nobody asked for a stop."""
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", *said.split())
    found = dict(re.findall("^(SuccessExitStatus|RestartForceExitStatus)=(.*)$", text, re.MULTILINE))
    assert (found["SuccessExitStatus"], found.get("RestartForceExitStatus", "")) == (success, again)


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [
        ((), "", "/bin/sleep 1"),
        (("--ready=notify",), "", ""),
        (("--ready=tcp:8000",), "before ready=tcp:127.0.0.1:8000", "after ready=tcp:127.0.0.1:8000"),
        (("--ready=tcp:8000", "--startsecs=2"), "before ready=tcp:127.0.0.1:8000", "startsecs=2"),
        (("--ready=exec:test -e '/x y%%'",), "before", "after ready=exec:test -e '/x y%'"),
        (("--ready=log:^up$", "--logfile=/var/log/x/a.log"), "before", "after ready=log:^up$ logfile=/var/log/x/a.log"),
        (("--ready=log:^up$", "--logfile=/dev/stderr"), "", "/bin/sleep 5"),  # the journal is no file, as a remark says
        (("--needs=tcp:redis:6379 file:/x",), "before needs=tcp:redis:6379 needs=file:/x", "/bin/sleep 1"),
        (("--ready=notify", "--needs=file:/x"), "before needs=file:/x", ""),
    ],
)
def test_systemd_waits_for_every_proof(said: tuple[str, ...], before: str, after: str) -> None:
    """G4: what a node needs is asked for before it, its proof behind it; what cannot be read is said in a comment."""
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", *said)
    for setting, wanted in (("ExecStartPre", before), ("ExecStartPost", after)):
        found = [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{setting}=")]
        assert len(found) == (1 if wanted else 0)
        for line in found:
            words = shlex.split(line.replace("$$", "$").replace("%%", "%"))
            assert set(shlex.split(wanted) if wanted.startswith("/") else _pairs(wanted)) <= set(words), words
    assert "is not waited for here" not in text
    assert ("cannot be read again" in text) == ("--logfile=/dev/stderr" in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TOKEN=hunter2\n", ()),
        ("# a comment\n\nTOKEN='hunter2 $x #;'\nB=\"a $b\"\nC=\nD=a b=c;d$e%\nTOKEN=hunter2", ()),
        ("TOKEN=hunter2\n", ("--env=B=2",)),
        ("export TOKEN=hunter2\n", None),
        ("TOKEN=hunter2 # why\n", None),
        ("TOKEN=hunter2\nB=a\\\\b\n", None),
        ("TOKEN='hunter2\n'\n", None),
        ("TOKEN='hun'\"'\"\n", None),
        ("\ufeffTOKEN=hunter2\n", None),
        ("TOKEN=hunter2\r\n", None),
        ("TOKEN =hunter2\n", None),
        ("TOKEN=hunter2\nB=1\n", ("--env=B=2",)),  # systemd would let the file win
        ("TOKEN=hunter2\nB=1\n", ("--env=B-",)),
    ],
)
def test_g11_systemd_reads_env_files_that_it_understands(
    text: str, said: tuple[str, ...] | None, tmp_path: Path
) -> None:
    """G11: where systemd would give the worker other variables than `multi`, the unit has the values of today."""
    file = tmp_path / "vars.env"
    file.write_bytes(text.encode())
    try:
        unit = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", f"--env-file={file}", *(said or ()))
    except MultiError:
        assert said is None
        return
    ours = said is not None and ("B=1" not in text)
    assert (f"\nEnvironmentFile={file}\n" in unit) == ours
    assert ("hunter2" in unit) != ours
    assert ("'systemctl show' tells them to every user\n" in unit) != ours
    assert ("Environment=B=2" in unit) == ("--env=B=2" in (said or ()))


def test_systemd_units_say_what_their_odd_lines_are_for() -> None:
    """What multi adds to a unit beside the node's own settings has a comment above it."""
    said = ("--preset=exec", "--cmd=sleep 600", "--ready:a=tcp:8000", "--needs=file:/x")
    for text in exported("systemd", "a", "b", *said).values():
        lines = text.splitlines()
        for above, line in itertools.pairwise(lines):
            assert above.startswith("# ") or not line.startswith(("ExecStartPre=", "ExecStartPost=")), line


def _pairs(text: str) -> list[str]:
    """``before a=b c=d e`` -> its words; what has no ``=`` belongs to the one before, but for the first."""
    return re.split(r" (?=[a-z_]+=)", text)


def test_systemd_says_which_limits_it_has_no_word_for() -> None:
    """`MemoryMax=` would kill a worker with its tasks, so a node that recycles itself is said not to."""
    said = ("--max-memory=512M", "--alive=tcp:8000", "--hook=failed=true")
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", *said)
    assert "# not exported, because there is no word for it here: alive, hooks, max_memory\n" in text
    assert "Memory" not in text


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (("a", "--uid=nobody", "--logfile=/var/log/multi/%n.log"), "LogsDirectory=multi"),
        (("a", "--uid=nobody", "--logfile=/var/log/nobody/%n.log"), "LogsDirectory=nobody"),
        (("a", "b", "--uid=nobody", "--logfile=/var/log/multi/y/%n.log"), "LogsDirectory=multi/y"),
        (("a", "b", "--uid=nobody", "--uid:b=daemon", "--logfile=/var/log/multi/%n.log"), ""),  # whose would it be
        (("a", "--logfile=/var/log/multi/%n.log"), ""),  # it may be that of a user
        (("a", "--uid=root", "--logfile=/var/log/multi/%n.log"), ""),
        (("a", "--uid=nobody", "--logfile=/var/log/nginx/%n.log"), ""),  # it may be another program's
        (("a", "--uid=nobody", "--logfile=/srv/multi/%n.log"), ""),
        (("a", "--uid=nobody", "--logfile=/var/log/multi/../nginx/%n.log"), ""),
        (("a", "--uid=nobody", "--logfile=/var/log/%n.log"), ""),
        (("a", "--uid=nobody", "--logfile=/srv/x/%n.log"), ""),
        (("a", "--uid=nobody", "--logfile=/var/log/../../etc/%n.log"), ""),
        (
            ("a", "--uid=nobody", "--preset=celery", "-A", "proj", "--logfile=/var/log/celery/%n.log"),
            "LogsDirectory=celery",
        ),
    ],
)
def test_g8_systemd_makes_a_log_directory_where_nobody_loses_it(said: tuple[str, ...], line: str) -> None:
    """G8: systemd hands such a directory over with all that is in it, and follows links when it opens a log as root."""
    command = () if "-A" in said else ("--preset=exec", "--cmd=sleep 600")
    text = exported("systemd", *said, *command)["multi-a.service"]
    assert [each for each in text.splitlines() if each.startswith("LogsDirectory=")] == ([line] if line else [])
    assert ("StandardOutput=append:" in text) == (not line and "-A" not in said)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (("--workdir=/srv",), ""),
        (("--workdir=/usr/local/my app",), 'ReadWritePaths="-/usr/local/my app"'),
        (("--workdir=/etc", "--logfile=/usr/x.log"), "ReadWritePaths=-/etc -/usr"),
        (("--workdir=/usrlocal",), ""),
    ],
)
def test_systemd_leaves_a_worker_its_own_directories(said: tuple[str, ...], line: str) -> None:
    """A unit takes /usr and /etc away, but not where the node itself is told to work or to log."""
    text = only("systemd", "a", "--preset=exec", "--cmd=sleep 600", *said)
    assert "\nProtectSystem=full\n" in text
    assert [each for each in text.splitlines() if each.startswith("ReadWritePaths=")] == ([line] if line else [])


def test_systemd_user_units_are_for_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager of a user takes no `User=`, knows no multi-user.target and has no privileges to give up."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    text = only("systemd-user", "a", "--preset=exec", "--cmd=sleep 600")
    assert "\nConditionUser=nobody\n" in text
    assert text.endswith("\nWantedBy=default.target\n")
    assert not re.search(r"^(User|Group|Protect\w+|CapabilityBoundingSet|LogsDirectory)=", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("said", "most"),
    [
        (("--uid=daemon",), 5.0),
        (("--uid=daemon", "--ready=notify"), 5.0),
        (("--uid=daemon", "--logfile=/var/log/celery/x/%n.log", "--workdir=/usr", "--alive=watchdog:20"), 5.0),
        (("--uid=daemon", "--ready=tcp:8000", "--needs=http:80/ file:/x 'exec:test -e \"/x y\"'"), 5.0),
        (("--uid=daemon", "--restart=always", "--restart-limit=3/1m", "--max-age=12h", "--exit-ok=3,143"), 5.0),
        (("--uid=daemon", "--env-file=vars.env", "--env=A=1"), 5.0),
        ((), 7.0),  # root keeps what it was made root for
    ],
)
def test_systemd_finds_no_fault_in_a_unit(said: tuple[str, ...], most: float, tmp_path: Path) -> None:
    """The tools of systemd verify what is exported, and rate how much of the machine a worker is exposed to."""
    need("systemd-analyze", root=False)
    (tmp_path / "vars.env").write_text("B=2\n", encoding="ascii")
    nodes = ("a", "b", "--preset=exec", "--cmd=sleep 600", "--after:b=a", *said)
    for name, text in exported("systemd-user", *nodes).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    users = ["systemd-analyze", "--user", "verify", "--man=no", str(tmp_path / "multi-b.service")]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(users, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name, text in exported("systemd", *nodes).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    units = [str(tmp_path / name) for name in ("multi-a.service", "multi-b.service", "multi.target")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}", "--no-pager", units[0]]
    rated = subprocess.run(words, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout


# --- launchd ------------------------------------------------------------------------------------------------


def test_g11_launchd_has_the_exact_words(real: Real) -> None:
    """G11: read as a property list, words and variables are what was typed."""
    told = [
        word
        for word in [*WORDS, *KNOTS]
        if (word in UNICODE or word in KNOTS) and not re.search("[\x00-\x08\x0b-\x1f]", word)
    ]
    values = {name: value for name, value in VALUES.items() if not re.search("[\x00-\x08\x0b-\x1f]", value)}
    said = [f"--env={name}={value}" for name, value in values.items()]
    said += ["--workdir=/srv/x", "--umask=027", "--nice=3", "--rlimit=NOFILE=64:unlimited", "--logfile=/var/log/%n.log"]
    (path,) = save(real, "launchd", "a", "--preset=exec", "--cmd=/bin/sleep 600", *said, "--", *told)
    found = plistlib.loads(path.read_bytes())
    assert path.name == f"{found['Label']}.plist"
    assert found["ProgramArguments"] == ["/bin/sleep", "600", *told]
    assert found["EnvironmentVariables"] == values
    assert (found["WorkingDirectory"], found["Umask"], found["Nice"]) == ("/srv/x", 0o027, 3)
    assert found["SoftResourceLimits"] == {"NumberOfFiles": 64}
    assert "HardResourceLimits" not in found
    assert found["StandardOutPath"] == found["StandardErrorPath"] == "/var/log/a.log"
    assert found["ExitTimeOut"] == 90
    assert "rlimit NOFILE" in path.read_text(encoding="utf-8")
    if sys.platform == "darwin":
        subprocess.run(["plutil", "-lint", str(path)], check=True)


@pytest.mark.parametrize(
    "said",
    [
        "",
        f"{RARE} --uid=www --umask=027 --nice=-3 --kill-mode=process --env=A=1 --logfile=/dev/null --workdir=/srv",
        "--rlimit=CORE=0:0 --rlimit=NOFILE=64:128 --rlimit=CPU=9:9 --rlimit=AS=1:1 --rlimit=STACK=8:unlimited",
        "--restart=always --stop-schedule=TERM/forever",
        "--stop-schedule=KILL/5",
        "--stop-schedule=TERM/0.1/KILL/5",
    ],
)
def test_launchd_knows_every_key_and_its_type(said: str) -> None:
    """As launchd.plist(5) has them; a stop that begins with KILL waits for no infinite time."""
    job = plistlib.loads(only("launchd", "a", "--preset=exec", "--cmd=sleep 600", *said.split()).encode())
    assert faults(job) == []
    for wrong in ({"Umsk": 18}, {"RunAtLoad": 1}, {"KeepAlive": {"SuccesfulExit": False}}, {"ExitTimeOut": 0},
                  {"ProgramArguments": ["a", 1]}, {"EnvironmentVariables": {"A": 1}}, {"Nice": 21}):  # fmt: skip
        assert len(faults(job | wrong)) == 1


# --- Procfile -----------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_g11_honcho_runs_a_procfile_with_the_exact_words(real: Real) -> None:
    """G11: honcho, from its own parser to the worker: words, variables, umask, priority and directory are exact."""
    pytest.importorskip("honcho")
    told = [*LINES, *KNOTS]
    values = {name: value for name, value in VALUES.items() if not set("\n\r") & set(value)}
    worker = real.worker("--words", f"{real.base}/words", "--touch", f"{real.base}/touched", "--")
    said = [f"--env={name}={value}" for name, value in values.items()]
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 2
    said += ["--env=GONE-", f"--workdir={real.base}", "--umask=027", f"--nice={nice}"]
    (path,) = save(real, "procfile", "my.node", "--preset=exec", f"--cmd={worker}", *said, "--", *told)
    assert path.name == "Procfile"
    checked = run([sys.executable, "-m", "honcho", "-f", str(path), "check"], real.env)
    assert b"my-node" in checked.stdout + checked.stderr, checked
    real.popen(
        sys.executable, "-m", "honcho", "-f", str(path), "start", env={"GONE": "here", "PYTHONWARNINGS": "ignore"}
    )
    assert said_words(real.base / "words") == exact(told)
    until((real.base / "touched").exists, "the worker is up")
    pid = int((real.base / "touched").read_text(encoding="ascii"))
    env = environ_of(pid)
    assert {name: env.get(name) for name in values} == values
    assert "GONE" not in env
    assert status(pid)["Umask"] == "0027"
    assert os.getpriority(os.PRIO_PROCESS, pid) == nice
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == str(real.base)
    assert words_of(pid)[0] == sys.executable
    with contextlib.suppress(FileNotFoundError):
        assert descriptors(pid)[0] is not None
