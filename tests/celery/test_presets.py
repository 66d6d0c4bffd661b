"""Presets: what they say of a worker's command line is what the worker itself says."""

from __future__ import annotations

import importlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from celery.bin.beat import beat as beat_command
from celery.bin.celery import celery as celery_command
from celery.bin.worker import worker as worker_command
from hypothesis import given
from hypothesis import strategies as st

from multi.errors import ConfigError
from multi.model.node import Ready
from multi.model.proof import suggestion
from multi.model.schedule import Schedule
from multi.settings import presets
from multi.settings.presets import Preset
from multi.settings.table import BY_FLAG
from workers import redis_server, started, text, wait_for, wanted

SHIPPED = tuple(sorted(path.stem for path in Path(presets.SHIPPED).glob("*.toml")))


def infos(parameters: list[click.Parameter]) -> tuple[set[str], set[str], set[frozenset[str]]]:
    """Flags, options with a value, and groups of spellings of a click command; without ``--help``."""
    flags: set[str] = set()
    valued: set[str] = set()
    groups: set[frozenset[str]] = set()
    for parameter in parameters:
        if not isinstance(parameter, click.Option):
            continue
        (flags if parameter.is_flag else valued).update(parameter.opts, parameter.secondary_opts)
        groups.update(frozenset(spellings) for spellings in (parameter.opts, parameter.secondary_opts) if spellings)
    return flags, valued, groups


def known(preset: Preset) -> tuple[set[str], set[str], set[frozenset[str]]]:
    """What a preset says, in the form of `rows`."""
    return set(preset.flags), set(preset.valued), groups_of(preset)


def groups_of(preset: Preset) -> set[frozenset[str]]:
    """All options of a preset as groups of spellings, those with one spelling as well."""
    grouped = {word for group in preset.spellings for word in group}
    singles = {frozenset({word}) for word in (preset.flags | preset.valued) - grouped}
    return {frozenset(group) for group in preset.spellings} | singles


# --- celery -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "command"), [("celery", worker_command), ("celery-beat", beat_command)])
def test_options_are_exactly_those_of_the_installed_celery(name: str, command: click.Command) -> None:
    """Every option of the command and of celery itself is known; daemon options are settings of multi."""
    preset = presets.load(name)
    app_flags, app_valued, app_groups = infos(celery_command.params)
    own_flags, own_valued, own_groups = infos(command.params)
    daemon = set(BY_FLAG) - {"--workdir"}
    own_valued -= daemon
    own_groups = {group for group in own_groups if not group & daemon}
    app_flags.remove("--version")  # prints and exits: it is never a node's option
    app_groups.remove(frozenset({"--version"}))
    assert preset.leading == app_flags | app_valued
    assert preset.flags == app_flags | own_flags
    assert preset.valued == app_valued | own_valued
    assert groups_of(preset) == app_groups | own_groups


def test_celery_stops_and_reloads_as_its_documentation_says() -> None:
    """TERM is the warm shutdown, QUIT the cold one, HUP restarts, USR1 dumps stacks."""
    preset = presets.load("celery")
    assert preset.cmd == ("-m", "celery", "worker")
    assert (preset.name_option, preset.log_option, preset.dirname) == ("-n", "--logfile", "celery")
    assert str(preset.defaults["stop_schedule"]) == "TERM/90/QUIT/10/KILL/5"
    assert preset.defaults["reload_signal"] == signal.SIGHUP
    assert preset.defaults["ready"] == Ready("notify")
    assert preset.defaults["env"] == (("SPT_NOENV", "1"),)
    assert preset.dump_signal == signal.SIGUSR1
    assert preset.fills_codes
    assert preset.hup_ends == ("-m celery", "[celeryd: ")
    assert preset.dropped == {"-D", "--detach"}
    assert preset.ready_fallback == Ready("alive")
    assert preset.ready_fallback_note


def test_beat_writes_no_pidfile_of_its_own(tmp_path: Path) -> None:
    """Beat's only pidfile is multi's, it never reads HUP or USR1, and TERM ends it with success."""
    preset = presets.load("celery-beat")
    assert preset.dump_signal is None
    assert "reload_signal" not in preset.defaults
    assert preset.name_option == ""
    (tmp_path / "proj.py").write_text("from celery import Celery\napp = Celery(broker='memory://')\n")
    words = [sys.executable, "-m", "celery", "-A", "proj", "beat", "--logfile=beat.log", "-l", "INFO"]
    with started(words, tmp_path) as process:
        wait_for(lambda: "beat: Starting" in text(tmp_path / "beat.log"), process)
        time.sleep(0.2)
        assert stopped(preset, process) == 0
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".pid"]


def test_exec_is_a_bare_command() -> None:
    """Exec knows no option, so every word is the worker's own."""
    preset = presets.load("exec")
    assert preset.cmd == ()
    assert not preset.flags | preset.valued | preset.leading | preset.dropped
    assert str(preset.defaults["stop_schedule"]) == "TERM/90/KILL/5"
    assert preset.defaults["ready"] == Ready("alive")
    assert preset.dirname == "multi"


# --- the other workers: their own parsers are the oracle ------------------------------------------------


def test_options_are_exactly_those_of_the_installed_rq() -> None:
    """Every option of ``rq worker`` is known."""
    wanted("rq")
    command = importlib.import_module("rq.cli").main.commands["worker"]
    preset = presets.load("rq")
    flags, valued, groups = infos(command.params)
    assert known(preset) == (flags, valued, groups)


def argparse_rows(parser: object) -> tuple[set[str], set[str], set[frozenset[str]]]:
    """Flags, options with a value, and spellings of an argparse parser; without ``--help``."""
    flags: set[str] = set()
    valued: set[str] = set()
    groups: set[frozenset[str]] = set()
    for action in getattr(parser, "_actions"):  # noqa: B009 -- argparse has no public list of its options
        if action.option_strings and action.dest != "help":
            # An optional value can only be joined with "=", so the word itself is a flag.
            (flags if action.nargs in {0, "?"} else valued).update(action.option_strings)
            groups.add(frozenset(action.option_strings))
    return flags, valued, groups


def test_options_are_exactly_those_of_the_installed_dramatiq() -> None:
    """Every option of ``dramatiq`` is known."""
    wanted("dramatiq")
    parser = importlib.import_module("dramatiq.cli").make_argument_parser()
    preset = presets.load("dramatiq")
    assert known(preset) == argparse_rows(parser)


def test_options_are_exactly_those_of_the_installed_gunicorn() -> None:
    """Every option of ``gunicorn`` is known."""
    wanted("gunicorn")
    parser = importlib.import_module("gunicorn.config").Config(prog="gunicorn").parser()
    preset = presets.load("gunicorn")
    assert known(preset) == argparse_rows(parser)
    assert preset.dropped == {"-D", "--daemon"}


def test_options_are_exactly_those_of_the_installed_huey() -> None:
    """Every option of ``huey_consumer`` is known."""
    wanted("huey")
    parser = importlib.import_module("huey.consumer_options").OptionParserHandler().get_option_parser()
    preset = presets.load("huey")
    flags: set[str] = set()
    valued: set[str] = set()
    groups: set[frozenset[str]] = set()
    for group in parser.option_groups:
        for option in group.option_list:
            words = {str(word) for word in (*option._short_opts, *option._long_opts)}  # noqa: SLF001 -- no public name
            (valued if option.takes_value() else flags).update(words)
            groups.add(frozenset(words))
    assert known(preset) == (flags, valued, groups)


def test_options_are_exactly_those_of_the_installed_uvicorn() -> None:
    """Every option of ``uvicorn`` is known but the one that prints and exits."""
    wanted("uvicorn")
    flags, valued, groups = infos(importlib.import_module("uvicorn.main").main.params)
    assert known(presets.load("uvicorn")) == (flags - {"--version"}, valued, groups - {frozenset({"--version"})})


class _ParserError(Exception):
    """Carries the parser of a command that keeps it to itself."""


def parser_of(monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]) -> object:
    """The parser that a command makes."""

    def parse(self: object, *_: object, **__: object) -> None:
        raise _ParserError(self)

    monkeypatch.setattr("argparse.ArgumentParser.parse_args", parse)
    with pytest.raises(_ParserError) as caught:
        command()
    return caught.value.args[0]


def test_options_are_exactly_those_of_the_installed_hypercorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option of ``hypercorn`` is known."""
    wanted("hypercorn")
    main = importlib.import_module("hypercorn.__main__").main
    preset = presets.load("hypercorn")
    assert known(preset) == argparse_rows(parser_of(monkeypatch, lambda: main(["app:app"])))
    assert preset.dropped == {"-D", "--daemon"}


def test_options_are_exactly_those_of_the_installed_taskiq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option of ``taskiq worker`` is known."""
    wanted("taskiq")
    arguments = importlib.import_module("taskiq.cli.worker.args").WorkerArgs
    parser = parser_of(monkeypatch, lambda: arguments.from_cli(["app:broker"]))
    assert known(presets.load("taskiq")) == argparse_rows(parser)


def test_options_are_exactly_those_of_the_installed_granian() -> None:
    """Every option of ``granian`` is known but the one that prints and exits."""
    wanted("granian")
    flags, valued, groups = infos(importlib.import_module("granian.cli").cli.params)
    assert known(presets.load("granian")) == (flags - {"--version"}, valued, groups - {frozenset({"--version"})})


def test_options_are_exactly_those_of_the_installed_procrastinate() -> None:
    """Every option of ``procrastinate worker`` is known, and those that stand before it; ``-a`` is the app's alone."""
    wanted("procrastinate")
    cli = importlib.import_module("procrastinate.cli")
    parser = cli.create_parser()
    cli.add_cli_features(cli.add_arguments(parser))
    (commands,) = (action.choices for action in parser._actions if "worker" in (action.choices or ()))  # noqa: SLF001 -- as above
    flags, valued, groups = argparse_rows(commands["worker"])
    app_flags, app_valued, app_groups = argparse_rows(parser)
    app_flags -= {"-V", "--version"}
    preset = presets.load("procrastinate")
    assert preset.leading == app_flags | app_valued
    assert known(preset)[:2] == (flags | app_flags, valued | app_valued)
    assert groups_of(preset) == (
        (groups | app_groups | {frozenset({"--abort-job-polling-interval"})})
        - {frozenset({"-a", "--abort-job-polling-interval"}), frozenset({"-V", "--version"})}
    )


def test_options_are_exactly_those_of_the_installed_flower() -> None:
    """Every option of ``celery flower`` and of celery itself is known; its own take a value only after ``=``."""
    wanted("flower")
    importlib.import_module("flower.options")
    options = importlib.import_module("tornado.options").options
    names = {f"--{name}" for name in options if name != "help"}
    dashed = {name: f"--{name[2:].replace('_', '-')}" for name in names}
    app_flags, app_valued, app_groups = infos(celery_command.params)
    preset = presets.load("flower")
    assert preset.leading == (app_flags - {"--version"}) | app_valued
    assert preset.flags == (app_flags - {"--version"}) | names | set(dashed.values())
    assert preset.valued == app_valued
    own = {frozenset(pair) for pair in dashed.items()}
    assert groups_of(preset) == (app_groups - {frozenset({"--version"})}) | own


# --- the other workers, alive ---------------------------------------------------------------------------


def stopped(preset: Preset, process: subprocess.Popen[bytes]) -> int:
    """Send the first signal of the preset's schedule to the main process alone, and wait for its exit."""
    schedule = preset.defaults["stop_schedule"]
    assert isinstance(schedule, Schedule)
    process.send_signal(schedule.first)
    return process.wait(30)


def pattern(preset: Preset) -> re.Pattern[str]:
    """The regular expression of a preset whose readiness is a line of the log."""
    ready = preset.defaults["ready"]
    assert isinstance(ready, Ready)
    assert ready.kind == "log"
    return re.compile(ready.what)


@pytest.fixture
def redis() -> Iterator[str]:
    """URL of a Redis that lives as long as the test."""
    with redis_server() as url:
        yield url


def test_rq_says_when_it_listens_and_stops_on_term(tmp_path: Path, redis: str) -> None:
    """The log line that means ready is printed, and the first signal of the schedule is a clean end."""
    wanted("rq")
    preset = presets.load("rq")
    words = [sys.executable, *preset.cmd, "--url", redis, "high", "low"]
    with started(words, tmp_path) as process:
        wait_for(lambda: bool(pattern(preset).search(text(tmp_path / "out"))), process)
        assert stopped(preset, process) == 0
    assert "warm shut down requested" in text(tmp_path / "out")


def test_rq_refuses_the_name_of_a_killed_worker(tmp_path: Path, redis: str) -> None:
    """The reason why the preset gives no name: a killed worker could not be started again."""
    wanted("rq")
    preset = presets.load("rq")
    assert preset.name_option == ""
    words = [sys.executable, *preset.cmd, "--url", redis, "--name", "w1", "high"]
    with started(words, tmp_path) as process:
        wait_for(lambda: bool(pattern(preset).search(text(tmp_path / "out"))), process)
        process.kill()
    with started(words, tmp_path) as process:
        assert process.wait(30) == 1
    assert "There exists an active worker named 'w1' already" in text(tmp_path / "out")


def test_huey_says_when_it_started_and_stops_on_int(tmp_path: Path) -> None:
    """Ready, a reload that keeps the pid, and a clean end."""
    wanted("huey")
    preset = presets.load("huey")
    (tmp_path / "proj.py").write_text("from huey import SqliteHuey\nqueue = SqliteHuey(filename='queue.db')\n")
    log = tmp_path / "out"
    words = [sys.executable, *preset.cmd, "proj.queue"]
    with started(words, tmp_path) as process:
        wait_for(lambda: len(pattern(preset).findall(text(log))) == 1, process)
        time.sleep(0.3)
        reload_signal = preset.defaults["reload_signal"]
        assert isinstance(reload_signal, int)
        process.send_signal(reload_signal)
        wait_for(lambda: len(pattern(preset).findall(text(log))) == 2, process)
        time.sleep(0.3)
        assert stopped(preset, process) == 0
    assert text(log).count(f"PID {process.pid}") == 2
    assert "All workers have stopped." in text(log)


def test_dramatiq_says_when_it_works_and_stops_on_term(tmp_path: Path) -> None:
    """The log line that means ready is printed, and the first signal of the schedule is a clean end."""
    wanted("dramatiq")
    preset = presets.load("dramatiq")
    (tmp_path / "proj.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n"
    )
    log = tmp_path / "out"
    words = [sys.executable, *preset.cmd, "--processes", "1", "--threads", "1", "proj"]
    with started(words, tmp_path) as process:
        wait_for(lambda: bool(pattern(preset).search(text(log))), process)
        time.sleep(0.3)
        assert stopped(preset, process) == 0
    assert "Worker has been shut down." in text(log)


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="only in a virtual environment")
def test_dramatiq_as_a_module_dies_of_a_reload(tmp_path: Path) -> None:
    """The reason why the preset has no reload signal: HUP starts the `python` of PATH."""
    wanted("dramatiq")
    preset = presets.load("dramatiq")
    assert "reload_signal" not in preset.defaults
    assert preset.cmd == ("-m", "dramatiq")
    (tmp_path / "proj.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    words = [sys.executable, *preset.cmd, "--processes", "1", "--threads", "1", "proj"]
    with started(words, tmp_path, PATH=str(tmp_path / "bin")) as process:
        wait_for(lambda: bool(pattern(preset).search(text(tmp_path / "out"))), process)
        time.sleep(0.3)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 1
    assert "No module named dramatiq" in text(tmp_path / "out")


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    """A bound notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as address:
        address.bind(str(tmp_path / "notify"))
        address.settimeout(30)
        yield address


WSGI = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


def test_gunicorn_notifies_and_keeps_its_environment(tmp_path: Path, notified: socket.socket) -> None:
    """READY=1 comes, its process title does not write over the instance token, TERM is a clean end."""
    wanted("gunicorn")
    preset = presets.load("gunicorn")
    (tmp_path / "proj.py").write_text(WSGI)
    words = [sys.executable, *preset.cmd, preset.name_option, "w1@host"]
    words += ["--bind", f"unix:{tmp_path / 'http'}", "--no-control-socket", "proj:app"]
    env = preset.defaults["env"]
    assert isinstance(env, tuple)
    with started(
        words, tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), MULTI_INSTANCE="token", **dict(env)
    ) as process:
        assert b"READY=1" in notified.recv(4096)
        time.sleep(0.3)
        if sys.platform == "linux":
            assert "MULTI_INSTANCE=token" in Path(f"/proc/{process.pid}/environ").read_text().split("\0")
        assert stopped(preset, process) == 0
    assert "Shutting down: Master" in text(tmp_path / "out")


def test_gunicorn_dies_within_startsecs_when_its_application_is_broken(tmp_path: Path, notified: socket.socket) -> None:
    """It says READY=1 before it imports the application, so `startsecs` is what catches a broken one."""
    wanted("gunicorn")
    preset = presets.load("gunicorn")
    words = [sys.executable, *preset.cmd, "--bind", f"unix:{tmp_path / 'http'}", "--no-control-socket", "missing:app"]
    with started(words, tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
        assert b"READY=1" in notified.recv(4096)
        startsecs = preset.defaults["startsecs"]
        assert isinstance(startsecs, float)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process.wait(60) == 3
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # processor time: others make it late, not long
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < startsecs


# --- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_hold_together(name: str) -> None:
    """No option is both, what is dropped or leads is known, and each says what it is."""
    preset = presets.load(name)
    assert preset.name == name
    assert preset.summary
    assert not preset.flags & preset.valued
    assert preset.dropped <= preset.flags
    assert preset.leading <= preset.flags | preset.valued
    grouped = [word for group in preset.spellings for word in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= preset.flags | preset.valued
    assert isinstance(preset.defaults["stop_schedule"], Schedule)
    assert preset.defaults["stop_schedule"].timeline[-1].signum == signal.SIGKILL
    assert isinstance(preset.defaults["ready"], Ready)


def test_available_names_every_preset_once(tmp_path: Path) -> None:
    """The user's and the shipped ones, sorted; a directory that does not exist has none."""
    assert presets.available() == SHIPPED
    (tmp_path / "celery.toml").touch()
    (tmp_path / "worker.toml").touch()
    (tmp_path / "README").touch()
    assert presets.available([str(tmp_path), "/nonexistent"]) == tuple(sorted({*SHIPPED, "worker"}))


def test_the_directories_of_shipped_presets_are_what_they_say() -> None:
    """They are found without reading whole files, and are the same; no preset that comes with `multi` extends one."""
    assert set(presets.dirnames()) == {presets.load(name).dirname for name in SHIPPED}


def test_an_unknown_preset_names_the_nearest_and_all() -> None:
    """A typo is answered with what was meant."""
    everything = f"there are {', '.join(SHIPPED)}"
    assert message("celry") == f"preset 'celry': does not exist; did you mean 'celery'? {everything}"
    assert message("zzz") == f"preset 'zzz': does not exist; {everything}"
    assert message("../presets/celery") == f"preset '../presets/celery': does not exist; {everything}"
    assert message("") == f"preset '': does not exist; {everything}"


def message(name: str, *directories: Path) -> str:
    """The error that loading a preset ends with."""
    with pytest.raises(ConfigError) as caught:
        presets.load(name, [str(directory) for directory in directories])
    return str(caught.value)


def test_what_comes_with_multi_is_not_read_by_the_given_reader() -> None:
    """The reader judges what users wrote; the package's own files are as trustworthy as its code."""

    def read(path: str) -> bytes:
        assert not path.startswith(presets.SHIPPED)
        raise FileNotFoundError(path)

    assert presets.load("celery", ["/x"], read) == presets.load("celery")


def test_the_first_directory_wins(tmp_path: Path) -> None:
    """A preset of the user hides the shipped one of the same name."""
    first, second = tmp_path / "a", tmp_path / "b"
    for directory, summary in ((first, "first"), (second, "second")):
        directory.mkdir()
        (directory / "celery.toml").write_text(f'summary = "{summary}"\ncmd = "x"\n')
    assert presets.load("celery", [str(first), str(second)]).summary == "first"
    assert presets.load("celery", ["/nonexistent", str(second)]).summary == "second"
    assert presets.load("celery", [str(first)]).valued == frozenset()


def test_extends_adds_to_another_preset(tmp_path: Path) -> None:
    """Keys replace, options and repeatable settings add up, and an option may change its kind."""
    (tmp_path / "celery.toml").write_text(
        """
        extends = "celery"
        log_option = ""
        dump_signal = "USR2"
        [options]
        flags = ["-c"]
        valued = ["--tenant -T"]
        [defaults]
        startsecs = 3
        env = { TENANT = "a" }
        """
    )
    base, preset = presets.load("celery"), presets.load("celery", [str(tmp_path)])
    assert preset.cmd == base.cmd
    assert (preset.log_option, preset.dump_signal) == ("", signal.SIGUSR2)
    assert preset.valued == (base.valued - {"-c"}) | {"--tenant", "-T"}
    assert preset.flags == base.flags | {"-c"}
    assert ("--tenant", "-T") in preset.spellings
    assert ("-c", "--concurrency") not in preset.spellings
    assert preset.defaults == {**base.defaults, "startsecs": 3.0, "env": (("SPT_NOENV", "1"), ("TENANT", "a"))}


def test_what_extends_a_preset_holds_with_multi_too(tmp_path: Path) -> None:
    """What the other preset says for a Python with `multi` gives way to a setting, and all of it to a command."""
    base = presets.load("rq")
    assert set(base.with_multi) == {"cmd", "ready"}
    (tmp_path / "rq.toml").write_text('extends = "rq"\n[defaults]\nready = "alive"\n')
    assert presets.load("rq", [str(tmp_path)]).with_multi == {"cmd": base.with_multi["cmd"]}
    (tmp_path / "rq.toml").write_text('extends = "rq"\ncmd = "ours"\n')
    assert presets.load("rq", [str(tmp_path)]).with_multi == {}
    (tmp_path / "rq.toml").write_text('extends = "rq"\n[with_multi]\nready = "alive"\n')
    assert presets.load("rq", [str(tmp_path)]).with_multi == {**base.with_multi, "ready": Ready("alive")}
    (tmp_path / "wrong.toml").write_text("[with_multi]\npreset = 'rq'\n")
    assert message("wrong", tmp_path).startswith(
        f"{tmp_path}/wrong.toml:2: with_multi.preset: 'preset' is not a setting"
    )


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    """Two presets that extend each other, and one that extends only itself."""
    for name, parent in (("a", "b"), ("b", "a"), ("c", "c")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{parent}"\n')
    why = "extends itself in a circle; take one 'extends' out"
    assert message("a", tmp_path) == f"{tmp_path}/b.toml:1: extends: preset 'a' {why}"
    assert message("c", tmp_path) == f"{tmp_path}/c.toml:1: extends: preset 'c' {why}"


WRONG = [
    ("sumary = 'x'", "1: sumary: 'sumary' is not a key of a preset; did you mean 'summary'?"),
    ("summary = 3", "1: summary: is not a string; put it in quotes"),
    (
        "cmd = 3",
        ('1: cmd: is an integer, not a command; write a shell-quoted string, or an array like ["python", "worker.py"]'),
    ),
    ("cmd = 'a \"b'", "1: cmd: 'a \"b' has a quote that is not closed; close it, or put a backslash before it"),
    ("dirname = 'a/b'", "1: dirname: is not the name of a directory; write one word, like 'multi'"),
    ("dump_signal = 'FOO'", "1: dump_signal: 'FOO' is not a signal of this system; write it like HUP or 1"),
    (
        "ready_fallback = 'x'",
        f"1: ready_fallback: 'x' is not a proof of readiness; {suggestion()}",
    ),
    ("fills_codes = 'yes'", "1: fills_codes: is not true or false; write it without quotes"),
    ("hup_ends = '-m x'", '1: hup_ends: is not an array of strings; write it like ["-m worker"]'),
    ("options = 3", "1: options: is not a table; write it under a line [options]"),
    ("\n[options]\nflag = []", "3: options.flag: 'flag' is not a kind of option; did you mean 'flags'?"),
    ("[options]\nflags = '-c'", '2: options.flags: is not an array of strings; write it like ["-c --concurrency"]'),
    ("[options]\nflags = ['c']", "2: options.flags: 'c' is not an option; write it like [\"-c --concurrency\"]"),
    (
        "[defaults]\n\nstartsec = 3",
        "3: defaults.startsec: 'startsec' is not a setting that a preset can have; did you mean 'startsecs'?",
    ),
    (
        "[defaults]\npreset = 'x'",
        "2: defaults.preset: 'preset' is not a setting that a preset can have; did you mean 'restart'?",
    ),
    (
        "[defaults.rlimit]\nCORE = -1",
        "2: defaults.rlimit.CORE: CORE: '-1' is not a size; write a size like 512M, or unlimited",
    ),
    ("extends = 3", "1: extends: is not a string; put it in quotes"),
    (
        "extends = 'celry'",
        (
            "1: extends: preset 'celry' does not exist; did you mean 'celery'? "
            f"there are {', '.join(sorted((*SHIPPED, 'mine')))}"
        ),
    ),
]


@pytest.mark.parametrize(("toml", "expected"), WRONG)
def test_a_wrong_preset_is_named_with_file_line_and_key(tmp_path: Path, toml: str, expected: str) -> None:
    """Each mistake is one line that says where, why and what to try."""
    path = tmp_path / "mine.toml"
    path.write_text(toml)
    assert message("mine", tmp_path) == f"{path}:{expected}"


def test_an_unreadable_preset_is_an_error_and_not_skipped() -> None:
    """Going on with the shipped one would run something else than what is configured."""

    def read(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(ConfigError) as caught:
        presets.load("celery", ["/x"], read)
    assert str(caught.value) == ("/x/celery.toml: cannot be read: Permission denied; make it readable, or move it away")


@pytest.mark.root
def test_a_preset_below_a_home_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is there is not known, so nothing else is taken for it; the cure is said."""
    from multi.system.local import Local

    home = tmp_path / "home"
    home.mkdir(0o700)
    monkeypatch.setenv("HOME", str(home))
    directory = f"{home}/.config/multi/presets"
    with pytest.raises(ConfigError) as caught:
        presets.load("celery", [directory], lambda path: Local().load_as(path, 65534))
    why = f"cannot be read: HOME={home} may not be entered by this user; set HOME to a directory of this user"
    assert str(caught.value) == f"{directory}/celery.toml: {why}"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_a_preset_or_a_config_error(data: bytes) -> None:
    """Never another exception."""
    text = ""
    try:
        presets.load("mine", ["/x"], lambda _: data)
    except ConfigError as error:
        text = str(error)
    assert "\n" not in text
