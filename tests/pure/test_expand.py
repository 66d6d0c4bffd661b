"""Spec + configuration + host -> nodes: who is meant, which value counts, what the worker's command is."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar_tools import NO_VARIABLES, PRESETS, ROOT, expand_words, read
from multi.errors import ConfigError, MultiError, UsageError
from multi.machine import Surroundings
from multi.model import schedule
from multi.model.node import Node, Ready, Unknown
from multi.settings import envfile
from multi.settings.config import EMPTY, Config, Group, Layer
from multi.value import replace
from multi.words import expand
from multi.words.spec import Selection

HOST = ROOT.hostname
USER = replace(ROOT, uid=1000, home="/home/u")
FLEET = Config(
    path="/srv/multi.toml",
    defaults=Layer("multi.toml [defaults]", {"options": ("-A", "proj", "-c", "1"), "umask": 0o22, "nice": 1}),
    groups=(
        Group("web", ("w1", "w2"), Layer("multi.toml [groups.web]", {"nice": 2, "options": ("-Q", "web", "-c", "2")})),
        Group("mail", ("m1", "w2"), Layer("multi.toml [groups.mail]", {"nice": 3})),
    ),
    nodes=(
        ("w1", Layer("multi.toml [nodes.w1]", {"nice": 4, "options": ("--concurrency=4",)})),
        ("beat", Layer("multi.toml [nodes.beat]", {"preset": "celery-beat", "options": ("--max-interval", "5")})),
        ("far@example.com", Layer("multi.toml [nodes.far@example.com]")),
    ),
)


def node(words: str | list[str], word: str = "w1", config: Config = EMPTY) -> Node:
    """The one node of these words that is called so."""
    found = expand.find(expand_words(words, config=config).nodes, word)
    assert found is not None
    return found


def full(words: str | list[str], config: Config = EMPTY) -> list[str]:
    """The full names."""
    return [one.name for one in expand_words(words, config=config).nodes]


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("w1 w2", [f"w1@{HOST}", f"w2@{HOST}"]),
        ("w1@example.com w2@%h", ["w1@example.com", f"w2@{HOST}"]),
        ("3", [f"celery1@{HOST}", f"celery2@{HOST}", f"celery3@{HOST}"]),
        ("1", [f"celery1@{HOST}"]),
        ("007 --range-prefix=x", [f"x{number}@{HOST}" for number in range(1, 8)]),
        ("2 --prefix=P", [f"celery1@{HOST}", f"celery2@{HOST}"]),
        ("1 2 3", [f"1@{HOST}", f"2@{HOST}", f"3@{HOST}"]),
        ("3 w", [f"3@{HOST}", f"w@{HOST}"]),
        ("3x", [f"3x@{HOST}"]),
        ("a-b --prefix=P", [f"Pa-b@{HOST}"]),
        ("a@h b --prefix=P --suffix=s", ["a@h", "Pb@s"]),
        ("a --hostname=h --suffix=s", ["a@s"]),
        ("a --hostname=h --suffix=", ["a@h"]),
        ("a -n h", ["a@h"]),
        ("2 -n h", ["celery1@h", "celery2@h"]),
        (["a", "--suffix=''"], ["a@"]),
        (["a", '--suffix=""'], ["a@"]),
        ("a --hostname=", ["a@"]),
        ("- a", [f"-@{HOST}", f"a@{HOST}"]),
        ("50% a", [f"50%@{HOST}", f"a@{HOST}"]),
    ],
)
def test_names(words: str | list[str], names: list[str]) -> None:
    """As in celery multi."""
    assert full(words) == names


def test_no_names_and_no_configuration_are_no_nodes() -> None:
    """Who is meant is then on record, not in the words; a scope cannot be judged yet."""
    expansion = expand_words("-c:w1 4 --pidfile=/x/%n.pid")
    assert expansion == Selection()


def test_no_names_are_all_nodes_of_the_configuration() -> None:
    """Groups first, in the order written; a node of two groups once."""
    assert full([], FLEET) == [f"w1@{HOST}", f"w2@{HOST}", f"m1@{HOST}", f"beat@{HOST}", "far@example.com"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("w2 w1", ["w2", "w1"]),
        ("web", ["w1", "w2"]),
        ("mail web", ["m1", "w2", "w1"]),
        ("w2 web", ["w2", "w1"]),
        ("web w2", ["w1", "w2"]),
        ("far", ["far"]),
        ("far@example.com other", ["far", "other"]),
        ("2", ["celery1", "celery2"]),
        (f"w1@{HOST}", ["w1"]),
        ("w1@%h", ["w1"]),
    ],
)
def test_names_of_the_configuration(words: str, names: list[str]) -> None:
    """A node by short or full name, a group by its name, and any other name as without a configuration."""
    assert [one.short for one in expand_words(words, config=FLEET).nodes] == names


def test_which_nodes_are_configured() -> None:
    """A name that the configuration does not have gets the defaults only."""
    expansion = expand_words("w1 other", config=FLEET)
    assert expansion.configured == {f"w1@{HOST}"}
    assert expand.find(expansion.nodes, "other").nice == 1  # type: ignore[union-attr]


def test_a_node_goes_before_a_group_and_a_count() -> None:
    """Where a word is both."""
    config = Config(
        None,
        Layer("d"),
        (Group("a", ("b",), Layer("g")), Group("3", ("c",), Layer("g"))),
        (("a", Layer("n", {"nice": 7})), ("5", Layer("n", {"nice": 8}))),
    )
    assert node("a", "a", config).nice == 7
    assert full("5", config) == [f"5@{HOST}"]
    assert full("3", config) == [f"c@{HOST}"]


def test_a_counted_node_may_be_configured() -> None:
    """It has the same full name, so it is the same node."""
    config = Config(None, Layer("d"), (), (("celery2", Layer("n", {"nice": 7})),))
    assert [one.nice for one in expand_words("2", config=config).nodes] == [None, 7]


def test_one_node_twice_in_the_configuration_is_an_error() -> None:
    """By short and by full name."""
    config = Config("/m.toml", Layer("d"), (), (("a", Layer("n")), (f"a@{HOST}", Layer("n"))))
    with pytest.raises(ConfigError) as caught:
        expand_words([], config=config)
    assert str(caught.value) == f"/m.toml: 'a' and 'a@{HOST}' are one node; write it once"


def test_a_group_is_a_scope_too() -> None:
    """Where no node has that name."""
    expansion = expand_words("-c:web 9 --nice:mail=9", config=FLEET)
    assert expansion.warnings == ()
    assert [one.short for one in expansion.nodes if "9" in one.words] == ["w1", "w2"]
    assert [one.short for one in expansion.nodes if one.nice == 9] == ["w2", "m1"]


# --- which value counts ------------------------------------------------------------------------------------


def test_precedence_of_a_setting() -> None:
    """Scoped > command line > environment > node > group > defaults > preset > built in; each says where it is from."""
    environment = Layer("environment", {"nice": 5}, {"nice": "MULTI_NICE"})

    def value(words: str, config: Config = FLEET, variables: Layer = NO_VARIABLES) -> tuple[object, str]:
        expansion = expand_words(words, config=config, environment=variables)
        name = expansion.nodes[0].name
        assert expansion.settings[name]["nice"] == expansion.nodes[0].nice
        return expansion.nodes[0].nice, expansion.sources[name]["nice"]

    assert value("w1 --nice=6 --nice:w1=7", variables=environment) == (7, "command line --nice:w1")
    assert value("w1 --nice:w1=7 --nice=6", variables=environment) == (7, "command line --nice:w1")
    assert value("w1 --nice=6", variables=environment) == (6, "command line")
    assert value("w1", variables=environment) == (5, "MULTI_NICE")
    assert value("w1") == (4, "multi.toml [nodes.w1]")
    assert value("m1") == (3, "multi.toml [groups.mail]")
    assert value("w2") == (3, "multi.toml [groups.mail]")  # of two groups the later
    assert value("beat") == (1, "multi.toml [defaults]")
    assert value("w1", EMPTY) == (None, "built in")


def test_every_setting_has_a_value_and_a_source() -> None:
    """That is what `check` shows; what only the preset says is from the preset."""
    expansion = expand_words("w1")
    name = expansion.nodes[0].name
    assert set(expansion.sources[name]) == set(expansion.settings[name])
    assert expansion.sources[name]["stop_schedule"] == "preset celery"
    assert expansion.sources[name]["cmd"] == "preset celery"
    assert expansion.sources[name]["lock_timeout"] == "built in"
    assert str(expansion.nodes[0].stop) == "TERM/90/QUIT/10/KILL/5"


def test_what_adds_up_names_all_its_sources() -> None:
    """Key by key, from the preset to the command line."""
    config = Config(None, Layer("m [defaults]", {"env": (("A", "1"), ("B", "1"))}))
    expansion = expand_words("w1 --env B=2 --env:w1 C-", config=config)
    assert expansion.nodes[0].env == (("SPT_NOENV", "1"), ("A", "1"), ("B", "2"), ("C", None))
    assert expansion.sources[f"w1@{HOST}"]["env"] == (
        "preset celery, m [defaults], command line, command line --env:w1"
    )


def test_precedence_of_options() -> None:
    """Option by option, in whichever spelling; what nobody overrides stays."""
    assert node("w1", config=FLEET).words[3:7] == ("-A", "proj", "worker", "-Q")
    assert node("w1", config=FLEET).words[6:9] == ("-Q", "web", "--concurrency=4")
    assert node("w2", "w2", FLEET).words[3:10] == ("-A", "proj", "worker", "-Q", "web", "-c", "2")
    assert node("m1", "m1", FLEET).words[5:8] == ("worker", "-c", "1")
    words = node("w1 --app=other -c 9 -E", config=FLEET).words
    assert words[3:11] == ("--app=other", "worker", "-Q", "web", "-c", "9", "-E", "-n")
    assert node("w1 w2 -c 9 -c:w1 8", config=FLEET).words[6:10] == ("-Q", "web", "-c", "8")


def test_a_node_may_have_another_preset() -> None:
    """From the configuration or by scope; its options are then read by it."""
    beat = node("w1 beat", "beat", FLEET)
    assert beat.preset == "celery-beat"
    assert beat.words[:6] == ("/usr/bin/python3", "-m", "celery", "-A", "proj", "beat")
    mixed = expand_words(["a", "b", "--preset:b=exec", "--cmd:b=sleep 9", "-E:a"])
    assert [one.preset for one in mixed.nodes] == ["celery", "exec"]
    assert mixed.nodes[1].words == ("sleep", "9")
    assert mixed.nodes[1].stop == schedule.parse("TERM/90/KILL/5")
    assert mixed.nodes[1].pidfile == "/var/run/multi/b.pid"


def test_options_for_workers_of_another_type() -> None:
    """A wider layer's options reach a node of another preset as far as that preset knows them."""
    defaults = Layer("m [defaults]", {"options": ("-A", "proj", "-c", "4", "-E")})
    nodes = (
        ("w1", Layer("m [nodes.w1]", {})),
        ("beat", Layer("m [nodes.beat]", {"preset": "celery-beat"})),
        ("x", Layer("m [nodes.x]", {"preset": "exec", "cmd": ("sleep", "9")})),
    )
    config = Config("m", defaults, nodes=nodes)
    assert node("w1", "w1", config).words[3:9] == ("-A", "proj", "worker", "-c", "4", "-E")
    assert node("beat", "beat", config).words[3:6] == ("-A", "proj", "beat")
    assert "-c" not in node("beat", "beat", config).words
    assert node("x", "x", config).words == ("sleep", "9")


def test_a_short_flag_of_the_worker_goes_before_ours() -> None:
    """``-p`` is the pidfile in celery multi, and the number of processes of dramatiq."""
    assert "-p" in node("w1 --preset=dramatiq -p 4 -- mod").words
    assert node("w1 -p /x/m.pid").pidfile == "/x/m.pid"


def test_an_option_of_the_configuration_that_is_none() -> None:
    """The error names the table."""
    config = Config("m.toml", Layer("m.toml [defaults]", {"options": ("-c",)}))
    with pytest.raises(ConfigError) as caught:
        expand_words("w1", config=config)
    assert str(caught.value).startswith("m.toml [defaults]: -c: needs a value")


# --- the command and the files ------------------------------------------------------------------------------


def test_what_people_really_write() -> None:
    """One line with everything that init scripts and units hold."""
    one = node("-A proj w1 -c4 -Ofair:w1 -D -B --opt --logfile=/proc/self/fd/2 --pidfile=/x/m.pid -b redis://h:6379/0")
    assert one.words == (
        "/usr/bin/python3", "-m", "celery", "-A", "proj", "-b", "redis://h:6379/0", "worker",
        "-c4", "-Ofair", "-B", "--opt", "-n", f"w1@{HOST}",
    )  # fmt: skip
    assert (one.pidfile, one.logfile) == ("/x/m.pid", "/proc/self/fd/2")
    assert node("w1 --pidfile=/run/%%n.pid --logfile=/log/%%n%%I.log").pidfile == "/run/w1.pid"
    assert node("w1 --pidfile=/run/%%n.pid --logfile=/log/%%n%%I.log").logfile == "/log/w1.log"


def test_a_mistake_that_works_says_so() -> None:
    """`worker` becomes a node, as in celery multi."""
    expansion = expand_words("w1 -A proj worker")
    assert [one.short for one in expansion.nodes] == ["w1", "worker"]
    assert len(expansion.warnings) == 1
    assert "'worker' was taken as the name of a node" in expansion.warnings[0]


def test_a_bare_command() -> None:
    """Nothing is added to it but what was said."""
    nodes = expand_words(
        ["a", "b", "--preset", "exec", "--cmd", "python worker.py --name %n 'x y'", "-v:b", "--", "z"]
    ).nodes
    assert nodes[0].words == ("python", "worker.py", "--name", "a", "x y", "z")
    assert nodes[1].words == ("python", "worker.py", "--name", "b", "x y", "-v", "z")
    assert nodes[0].preset == "exec"


def test_a_command_is_needed_only_for_starting() -> None:
    """A node can be stopped by its pidfile."""
    with pytest.raises(UsageError) as caught:
        expand_words("a --preset exec")
    assert str(caught.value) == (
        f"--cmd: preset exec has no command of its own, and none was given for a@{HOST}; write --cmd='PROGRAM WORDS...'"
    )
    assert expand_words("a --preset exec", command="stop").nodes[0].command == Unknown("nobody said what command it is")


def test_a_preset_with_options_for_name_and_log() -> None:
    """A long one is joined; what the user says himself is not said again; codes are all filled in."""
    assert node("w1 --preset gunicorn").words[3:] == ("-n", f"w1@{HOST}")
    assert node("c%n --preset gunicorn", "c%n").words[4] == f"c%n@{HOST}"  # only Celery's worker fills in its name
    beat = node("b --preset celery-beat --logfile=/l%%/%n%I.log", "b")
    assert (beat.words[-1], beat.logfile) == ("--logfile=/l%/b.log", "/l%/b.log")
    other = replace(PRESETS["gunicorn"], name="other", cmd=("other", "worker"), log_option="--log")
    made = expand_words("c --logfile=/l/%n%I.log", preset=lambda _: other)
    assert made.nodes[0].words[-1] == "--log=/l/c.log"
    filling = replace(other, fills_codes=True)
    made = expand_words("c --logfile=/l%%/%n%I.log", preset=lambda _: filling)
    assert made.nodes[0].words[-1] == "--log=/l%%/c%I.log"
    preset = replace(
        PRESETS["exec"], name="logs", cmd=("prog",), name_option="--name", log_option="-L", valued=frozenset()
    )
    words = read("w1 --name=mine --logfile=/l/%n-%i%I.log --cmd=prog")

    def argv_of(option: str, spec: str = "w1") -> tuple[str, ...]:
        kind = replace(preset, log_option=option)
        made = expand_words(replace(words, names=(spec,)), preset=lambda _: kind)
        return made.nodes[0].words

    assert argv_of("-L") == ("prog", "--name=mine", "-L", "/l/w1-0.log")
    assert argv_of("--log") == ("prog", "--name=mine", "--log=/l/w1-0.log")


def test_paths_and_other_texts_are_filled_in() -> None:
    """Each node has its own of everything that a code can stand in."""
    one = node(
        [
            "w1",
            "--workdir=/srv/%n",
            "--executable=bin/%d/python",
            "--append=%n 'a %h'",
            "--ready=file:run/%n.ok",
            "-Q",
            "%n",
        ]
    )
    assert one.workdir == "/srv/w1"
    assert one.words[0] == f"/srv/w1/bin/{HOST}/python"
    assert one.words[-2:] == ("w1", f"a w1@{HOST}")
    assert one.ready == Ready("file", "/srv/w1/run/w1.ok")
    assert one.words[4:6] == ("-Q", "w1")
    assert node(["w1", "--ready=log:%n is up"]).ready == Ready("log", "w1 is up")
    assert node(["w1", "--ready=exec:test -e %n"]).ready == Ready("exec", "test -e w1")
    assert node(["w1", "--env", "X=100%z"]).env[-1] == ("X", "100%z")  # a value is data


@pytest.mark.parametrize(
    ("said", "words", "proof"),
    [
        ((), ["-m", "multi.plugins.rq", "worker"], "notify"),
        (("--executable=/venv/python",), ["-m", "rq.cli", "worker"], "log"),
        (("--cmd=-m rq.cli worker",), ["-m", "rq.cli", "worker"], "log"),
        (("--ready=alive",), ["-m", "multi.plugins.rq", "worker"], "alive"),
    ],
)
def test_a_worker_in_the_python_of_multi_runs_its_hooks(said: tuple[str, ...], words: list[str], proof: str) -> None:
    """The table with_multi of its preset holds unless another command or another Python is named."""
    one = node(["w1", "--preset=rq", *said])
    assert list(one.words[1:]) == words
    assert one.ready.kind == proof


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("run//./w.pid", "/cwd/run/w.pid"),
        ("./w.pid", "/cwd/w.pid"),
        ("//w.pid", "/w.pid"),
        ("../w.pid", "/cwd/../w.pid"),  # not /w.pid: /cwd may be a link
        ("~/w.pid", "/root/w.pid"),
        ("~celery/w.pid", "/home/celery/w.pid"),
        ("a~/w.pid", "/cwd/a~/w.pid"),
    ],
)
def test_paths_are_absolute(path: str, expected: str) -> None:
    """And tidy, without a look at the disk."""
    assert node(["w1", f"--pidfile={path}"]).pidfile == expected


@pytest.mark.parametrize("log", ["/dev/null", "/dev/stdout", "/proc/12/fd/3"])
def test_devices_stay_as_they_are(log: str) -> None:
    """The null device is a file to the worker, a descriptor is not."""
    one = node(["w1", f"--logfile={log}", "--workdir=/srv"])
    assert one.logfile == log
    assert (f"--logfile={log}" in one.words) is (log == "/dev/null")


def test_env_files_are_read_once_and_only_where_asked_for() -> None:
    """What they say goes before the preset's variables and after `env`."""
    asked: list[str] = []

    def load(path: str) -> bytes:
        asked.append(path)
        return b"A=file\nB=file\n"

    words = "w1 w2 --env-file=a.env --env-file=/b.env --env B=said --workdir=/srv"
    made = expand_words(words, load=load)
    assert asked == ["/srv/a.env", "/b.env"]
    assert dict(made.nodes[1].env) == {"B": "said", "SPT_NOENV": "1"}
    assert [name for name, _ in made.nodes[1].env_read] == ["A"]
    assert "'file'" not in repr(made.nodes)
    started = envfile.with_values(made.nodes[1], [("A", "file"), ("B", "file")])
    assert dict(started.env) == {"A": "file", "B": "said", "SPT_NOENV": "1"}
    made = expand_words(words, command="stop", load=load)
    assert len(asked) == 2
    assert dict(made.nodes[0].env) == {"B": "said", "SPT_NOENV": "1"}
    with pytest.raises(ConfigError, match="env_file /cwd/x: cannot be read"):
        expand_words("w1 --env-file=x")


def test_the_settings_of_a_node() -> None:
    """Each arrives where it belongs."""
    one = node(
        "w1 --uid=u --gid=g --umask=27 --nice=5 --rlimit NOFILE=9 --stop-schedule=INT/1 --kill-mode=process "
        "--ready=tcp:80 --ready-timeout=2 --startsecs=3 --lock-timeout=4 --reload-signal=USR2"
    )
    assert (one.uid, one.gid, one.umask, one.nice, one.rlimits) == ("u", "g", 0o27, 5, (("NOFILE", 9, 9),))
    assert (str(one.stop), one.kill_mode, one.ready) == ("INT/1", "process", Ready("tcp", "127.0.0.1:80"))
    assert (one.ready_timeout, one.startsecs, one.lock_timeout) == (2.0, 3.0, 4.0)
    assert (one.reload_signal, one.dump_signal) == (12, 10)


def test_recorded_nodes_have_their_files_elsewhere() -> None:
    """So what is said now of pidfiles need not keep them apart."""
    made = expand_words("w1@a w1@b", recorded=True)
    assert [one.name for one in made.nodes] == ["w1@a", "w1@b"]
    with pytest.raises(UsageError, match="would be the pidfile of both"):
        expand_words("w1@a w1@b")


# --- the run directory ---------------------------------------------------------------------------------------


def rundir(words: str, config: Config = EMPTY, here: Surroundings = ROOT) -> str:
    """Where the nodes of a command without names are looked for."""
    return expand.unnamed(read(words), config, here, PRESETS.__getitem__, NO_VARIABLES).rundir


def test_where_recorded_nodes_are() -> None:
    """The directory of the pidfile, by the same rules as a node's."""
    assert rundir("") == "/var/run/celery"
    assert rundir("--preset exec") == "/var/run/multi"
    assert rundir("", here=USER) == rundir("--preset exec", here=USER) == "/home/u/.local/state/multi/run"
    assert rundir("--pidfile=/x/y/%n-%h.pid") == "/x/y"
    assert rundir("--pidfile=%n.pid") == "/cwd"
    assert rundir("--pidfile=run/%n.pid --workdir=/srv") == "/srv/run"
    assert rundir("--pidfile=/%n.pid") == "/"
    assert rundir("--pidfile=/x/%n.pid --pidfile:1=/y/%n.pid") == "/x"
    assert rundir("", Config(None, Layer("d", {"pidfile": "/z/%n.pid"}))) == "/z"
    assert rundir("--cmd=x -c 4 --env-file=none") == "/var/run/celery"


@pytest.mark.parametrize("words", ["--pidfile=/x/%n/pid", "--pidfile=/x/%%n/pid", "--pidfile=p --workdir=/srv/%d"])
def test_a_directory_for_each_node_cannot_be_looked_in(words: str) -> None:
    """The nodes have to be named then."""
    with pytest.raises(UsageError) as caught:
        rundir(words)
    assert "gives each node a directory of its own" in caught.value.why
    assert "name the nodes" in caught.value.hint


# --- properties ------------------------------------------------------------------------------------------------

ANY_WORD = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["-c", "4", "-c:1", "-c:w1", "-c:1-9", "-E", "--pidfile=%n", "--pidfile=/x", "--logfile", "--cmd=",
                     "--prefix=%h", "--", "3", "w1", "w1@%h", "--workdir=~x", "--env", "A=1", "--preset=exec", "%n"]),
)  # fmt: skip


@given(st.lists(ANY_WORD, max_size=10))
def test_any_words_give_nodes_or_one_line(words: list[str]) -> None:
    """Never another exception (G9); what comes out are absolute paths and words that execve takes."""
    if words.count("--preset=exec") and len(words) % 2:
        words = [*words, "--cmd=true"]
    try:
        nodes = expand_words([word for word in words if "--preset" not in word or word == "--preset=exec"]).nodes
    except MultiError as error:
        assert str(error).isprintable()  # noqa: PT017 -- the property is about both outcomes
        return
    files = [path for one in nodes for path in (one.pidfile, one.recordfile, one.lockfile)]
    assert len(files) == len(set(files))
    for one in nodes:
        assert one.pidfile.startswith("/")
        assert one.logfile.startswith("/")
        assert one.words
        assert "\0" not in "".join((*one.words, one.pidfile, one.logfile))


@given(st.text(st.characters(exclude_characters="\0%"), max_size=30))
def test_any_value_reaches_argv_exactly(value: str) -> None:
    """Joined, as a word of its own, scoped, after the dashes, from the configuration; `show` can be run (G11)."""
    config = Config(None, Layer("d", {"options": (f"--conf={value}",)}))
    spaced = ["-Q", value] if not value.startswith("-") else []
    one = node(["w1", f"--opt={value}", f"--own:w1={value}", *spaced, "--", value], config=config)
    assert one.words[4:-3] == (f"--conf={value}", f"--opt={value}", f"--own={value}", *spaced, "-n")
    assert one.words[-1] == value
    assert tuple(shlex.split(expand.command_line(one))) == one.words


@given(st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_any_percent_sign_can_be_written(value: str) -> None:
    """Doubled, as the messages say."""
    assert node(["w1", f"--opt={value.replace('%', '%%')}"]).words[4] == f"--opt={value}"
