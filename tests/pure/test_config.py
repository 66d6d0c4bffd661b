"""Configuration: files, includes, variables and the environment become layers of typed settings."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import normpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multi.errors import ConfigError
from multi.model.node import Ready
from multi.settings import config
from multi.settings import toml as document
from multi.settings.config import Config, Group, Layer
from multi.settings.envfile import parse_env_file, read_env_files
from multi.settings.table import SETTINGS
from multi.settings.toml import substitute

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def nothing(path: str) -> bytes:
    """Read from a machine without files."""
    raise FileNotFoundError(2, "No such file or directory", path)


def parse(text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Config:
    """Read ``/etc/multi/multi.toml`` with `text` on a machine that has `files` beside it."""
    known = {f"/etc/multi/{name}": content.encode() or b"#" for name, content in (files or {}).items()}

    def read(path: str) -> bytes:
        return known.get(normpath(path)) or nothing(path)

    def find(pattern: str) -> Iterable[str]:
        from fnmatch import fnmatch

        return [path for path in reversed(known) if fnmatch(path, pattern)]

    return config.parse_config(text, "/etc/multi/multi.toml", environ or {}, read, find)


def refusal(text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> str:
    """The error that reading ends with."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ, files)
    return str(caught.value)


def foreign_keys(table: str) -> Iterable[str]:
    """The names of other supervisors that an error translates."""
    path = Path(config.__file__).with_name("foreign.toml")
    return tuple(tomllib.loads(path.read_text(encoding="utf-8"))[table])


@pytest.mark.parametrize("key", foreign_keys("settings"))
def test_a_setting_of_another_supervisor_is_translated(key: str) -> None:
    """A setting of supervisord, circus, pm2 or systemd is refused, and what to write instead is a setting, if any."""
    text = refusal(f"[groups.a]\n{key.upper()} = 1")
    assert f"'{key.upper()}' is not a setting; " in text
    hint = text.rpartition("is not a setting; ")[2]
    written = hint.partition("write ")[2].split(" ")[0].rstrip(",:")
    assert hint.startswith(("leave it out: ", "the name of a node is its key")) or written in {
        *SETTINGS, "count", "nodes", "all",
    }  # fmt: skip


def test_no_setting_of_ours_is_taken_for_one_of_another_supervisor() -> None:
    """A name that means something here has no row in foreign.toml."""
    ours = {name.replace("_", "") for name in (*SETTINGS, "options", "nodes", "count", "prefix")}
    assert ours.isdisjoint(foreign_keys("settings"))


# --- what a file says -----------------------------------------------------------------------------


def test_tables_become_layers() -> None:
    """Defaults, groups and nodes keep their order, their typed values, and where they are from."""
    found = parse(
        """
        [defaults]
        preset = "celery"
        options = "-A proj -l INFO"
        umask = 0o027
        env.TZ = "UTC"

        [groups.web]
        nodes = ["a", "b@other"]
        options = ["-A", "my proj", ""]

        [groups.batch]
        count = 2
        ready = "tcp:80"

        [groups.cron]
        count = 1
        prefix = "tick-"

        [nodes.a]
        nice = 5

        [nodes."b@other"]

        [nodes.alone]
        """
    )
    at = "/etc/multi/multi.toml"
    assert found == Config(
        at,
        Layer(
            f"{at} [defaults]",
            {"preset": "celery", "options": ("-A", "proj", "-l", "INFO"), "umask": 0o027, "env": (("TZ", "UTC"),)},
        ),
        (
            Group("web", ("a", "b@other"), Layer(f"{at} [groups.web]", {"options": ("-A", "my proj", "")})),
            Group(
                "batch", ("batch1", "batch2"), Layer(f"{at} [groups.batch]", {"ready": Ready("tcp", "127.0.0.1:80")})
            ),
            Group("cron", ("tick-1",), Layer(f"{at} [groups.cron]")),
        ),
        (
            ("a", Layer(f"{at} [nodes.a]", {"nice": 5})),
            ("b@other", Layer(f'{at} [nodes."b@other"]')),
            ("alone", Layer(f"{at} [nodes.alone]")),
        ),
    )
    assert found.defaults.origin("umask") == f"{at} [defaults]"


def test_an_empty_file_says_nothing() -> None:
    """An empty file is no mistake, and a group may have no nodes."""
    assert parse("") == Config("/etc/multi/multi.toml", Layer("/etc/multi/multi.toml [defaults]"))
    assert parse("[groups.a]\ncount = 0\n[groups.b]\nnodes = []").groups[1].nodes == ()
    assert Config(None, Layer("[defaults]")) == config.EMPTY


def test_pyproject_holds_it_below_tool_multi() -> None:
    """Other tools' tables in the same file are nobody's business here."""
    text = "[tool.ruff]\nline-length = 3\n[tool.multi.defaults]\numask = 0o022\n[tool.multi.groups.a]\ncount = 1\n"
    found = config.parse_config(text, "/p/pyproject.toml", {}, nothing)
    assert found.defaults.values == {"umask": 0o022}
    assert found.defaults.origin("umask") == "/p/pyproject.toml [tool.multi.defaults]"
    assert found.groups[0].nodes == ("a1",)
    with pytest.raises(ConfigError) as caught:
        config.parse_config("[project]\n[tool.multi.defaults]\numsk = 1", "/p/pyproject.toml", {}, nothing)
    assert str(caught.value) == (
        "/p/pyproject.toml:3: tool.multi.defaults.umsk: 'umsk' is not a setting; did you mean 'umask'?"
    )


SECONDS = "write a number from 0, like 60 or 0.5"
COUNT = "is not a number of nodes; write a whole number from 0 to 10000"
NAME = "use letters, digits, - _ and . only"
ONE_GROUP = "a node belongs to one group; take it out of one place"

WRONG = [
    ("[defalts]", "1: defalts: 'defalts' is not a table of multi's configuration; did you mean 'defaults'?"),
    (
        "\n[nodes.w1]\nstop-schedule = 'x'",
        "3: nodes.w1.stop-schedule: 'stop-schedule' is not a setting; did you mean 'stop_schedule'?",
    ),
    (
        "[defaults]\nstopsignal = 'INT'",
        "2: defaults.stopsignal: 'stopsignal' is not a setting; write stop_schedule, as in \"INT/90/KILL/5\"",
    ),
    (
        "[nodes.w1]\nWorkingDirectory = '/'",
        "2: nodes.w1.WorkingDirectory: 'WorkingDirectory' is not a setting; write workdir",
    ),
    (
        "[nodes.w1]\nnumprocs = 3",
        "2: nodes.w1.numprocs: 'numprocs' is not a setting; write count = N under [groups.NAME]",
    ),
    ("[program]", "1: program: 'program' is not a table of multi's configuration; write [nodes.NAME]"),
    ("[groups.a]\nnode = []", "2: groups.a.node: 'node' is not a setting; did you mean 'nodes'?"),
    ("[nodes.w1]\ncount = 3", "2: nodes.w1.count: belongs to a group; write it under a line [groups.NAME]"),
    ("defaults = 3", "1: defaults: is not a table; write it under a line [defaults]"),
    ("[groups]\na = ['w1']", "2: groups.a: is not a table; write it under a line [groups.a]"),
    ("[groups.a]", '1: groups.a: has no nodes; add nodes = ["a", "b"], or count = 3'),
    (
        "[groups.a]\nnodes = ['x']\ncount = 1",
        "3: groups.a.count: stands beside 'nodes'; keep the names or the count, not both",
    ),
    (
        "[groups.a]\nnodes = ['x']\nprefix = 'y'",
        "3: groups.a.prefix: stands without 'count'; it names counted nodes: add count = 3",
    ),
    ("[groups.a]\nnodes = 'x'", '2: groups.a.nodes: is not an array of strings; write it like nodes = ["a", "b"]'),
    ("[groups.a]\nnodes = [3]", '2: groups.a.nodes: is not an array of strings; write it like nodes = ["a", "b"]'),
    ("[groups.a]\nnodes = ['x', 'x']", f"1: groups.a: 'x' is named twice; {ONE_GROUP}"),
    ("[groups.a]\nnodes = ['x']\n[groups.b]\nnodes = ['x']", f"3: groups.b: 'x' is in [groups.a] too; {ONE_GROUP}"),
    ("[groups.a]\ncount = -1", f"2: groups.a.count: {COUNT}"),
    ("[groups.a]\ncount = true", f"2: groups.a.count: {COUNT}"),
    ("[groups.a]\ncount = 10001", f"2: groups.a.count: {COUNT}"),
    ("[groups.a]\ncount = 1\nprefix = 3", "3: groups.a.prefix: is not a string; put it in quotes"),
    ('[groups."a@b"]', f"1: groups.\"a@b\": 'a@b' cannot be the name of a group; {NAME}"),
    ('[nodes."a/b"]', f"1: nodes.\"a/b\": 'a/b' cannot be the name of a node; {NAME}, and @HOST at its end"),
    (
        "[groups.a]\nnodes = ['-c']",
        f"2: groups.a.nodes: '-c' cannot be the name of a node; {NAME}, and @HOST at its end",
    ),
    (
        "[defaults.env]\nA = '1'\nB = 2",
        (
            "3: defaults.env.B: 'B' is an integer, not a string; "
            "put its value in quotes, or write false to take the variable away"
        ),
    ),
    (
        "[defaults]\numask = 22",
        ('2: defaults.umask: is an integer, which would be read as decimal; write it in octal, like "022" or 0o022'),
    ),
    (
        "[nodes.w1]\n\nready_timeout = -1",
        f"3: nodes.w1.ready_timeout: '-1' is not a number of seconds; {SECONDS}",
    ),
    ("include = 'x'", '1: include: is not an array of strings; write it like include = ["a", "b"]'),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_mistake_is_named_with_file_line_and_key(text: str, expected: str) -> None:
    """Unknown keys, wrong types and impossible values: one line that says where, why and what to try."""
    assert refusal(text) == f"/etc/multi/multi.toml:{expected}"


def test_groups_are_bounded_together() -> None:
    """Ten thousand nodes is what a configuration may hold."""
    found = refusal("[groups.a]\ncount = 10000\n[groups.b]\ncount = 1")
    assert found == "/etc/multi/multi.toml: has 10001 nodes in its groups, more than 10000; lower a count"


def test_what_is_not_toml_is_named_with_its_line() -> None:
    """A syntax error, bytes that are not UTF-8, brackets without end."""
    assert refusal("a = 1\nb = \n").startswith("/etc/multi/multi.toml:2: is not TOML: ")
    assert refusal("a = [\n1,\n").startswith("/etc/multi/multi.toml:3: is not TOML: ")
    assert refusal("a = 1\na = 2").startswith("/etc/multi/multi.toml:2: is not TOML: ")
    assert refusal("a = " + "[" * 100_000).startswith("/etc/multi/multi.toml: is nested too deeply")
    with pytest.raises(ConfigError) as caught:
        config.parse_config(b"a = 1\nb = '\xff'", "m.toml", {}, nothing)
    assert str(caught.value) == "m.toml:2: is not UTF-8 text; save the file as UTF-8"


def test_a_byte_order_mark_is_skipped() -> None:
    """Some editors write one."""
    assert config.parse_config(b"\xef\xbb\xbf[defaults]\nnice = 1\n", "m.toml", {}, nothing).defaults.values == {
        "nice": 1
    }


# --- include --------------------------------------------------------------------------------------


def test_a_file_goes_before_what_it_includes() -> None:
    """Included files are the weaker ones, the later the stronger; repeatable settings add up."""
    found = parse(
        """
        include = ["base.toml", "conf.d/*.toml"]
        [defaults]
        umask = "022"
        env = { A = "top" }
        [groups.web]
        count = 3
        """,
        files={
            "base.toml": "[defaults]\numask = '077'\nnice = 1\nenv = { A = 'base', B = 'base' }\n"
            "[groups.web]\nnodes = ['x']\nworkdir = '/srv'",
            "conf.d/10-a.toml": "[defaults]\nnice = 2\nstartsecs = 2",
            "conf.d/20-b.toml": "[defaults]\nnice = 3\n[nodes.web1]\nnice = 4",
        },
    )
    top = "/etc/multi"
    assert found.defaults.values == {
        "umask": 0o022,
        "nice": 3,
        "startsecs": 2.0,
        "env": (("A", "top"), ("B", "base")),
    }
    assert found.defaults.origin("nice") == f"{top}/conf.d/20-b.toml [defaults]"
    assert found.defaults.origin("umask") == f"{top}/multi.toml [defaults]"
    assert found.groups[0].nodes == ("web1", "web2", "web3")
    assert found.groups[0].layer.values == {"workdir": "/srv"}
    assert found.groups[0].layer.origin("workdir") == f"{top}/base.toml [groups.web]"
    assert found.nodes[0][1].origin("nice") == f"{top}/conf.d/20-b.toml [nodes.web1]"


def test_includes_are_relative_to_the_file_that_names_them() -> None:
    """Also those of an included file."""
    found = parse(
        "include = ['a/x.toml']", files={"a/x.toml": "include = ['y.toml']", "a/y.toml": "[defaults]\nnice = 7"}
    )
    assert found.defaults.values == {"nice": 7}


def test_a_directory_with_a_bracket_is_no_pattern(tmp_path: Path) -> None:
    """Only what the user wrote in ``include`` is one."""
    home = tmp_path / "a[b]*"
    home.mkdir()
    (home / "x.toml").write_text("[defaults]\nnice = 7")
    path = str(home / "multi.toml")
    found = config.parse_config("include = ['*.toml']", path, {}, lambda path: Path(path).read_bytes(), glob.glob)
    assert found.defaults.values == {"nice": 7}


def test_include_mistakes_are_errors() -> None:
    """A missing file, an unreadable one, a circle, a chain without end; a pattern that matches nothing is none."""
    at = "/etc/multi/multi.toml:1: include: "
    assert refusal("include = ['no.toml']") == (
        f"{at}/etc/multi/no.toml does not exist; write a pattern like conf.d/*.toml if it may not"
    )
    assert parse("include = ['conf.d/*.toml']") == parse("")
    assert refusal("include = ['multi.toml']") == (
        f"{at}goes in a circle: /etc/multi/multi.toml -> /etc/multi/multi.toml; take one of these includes out"
    )
    assert refusal(
        "include = ['a.toml']", files={"a.toml": "include = ['./b.toml']", "b.toml": "include = ['a.toml']"}
    ) == (
        "/etc/multi/./b.toml:1: include: goes in a circle: "
        "/etc/multi/a.toml -> /etc/multi/b.toml -> /etc/multi/./a.toml; take one of these includes out"
    )
    chain = {f"{number}.toml": f"include = ['{number + 1}.toml']" for number in range(50)}
    assert refusal("include = ['0.toml']", files=chain) == (
        "/etc/multi/18.toml:1: include: leads to more than 1000 files, or more than 20 files deep; include fewer files"
    )
    wide = {f"c/{number:04}.toml": "" for number in range(1001)}
    assert "leads to more than 1000 files" in refusal("include = ['c/*.toml']", files=wide)

    def unreadable(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(ConfigError) as caught:
        config.parse_config("include = ['a.toml']", "/etc/multi/multi.toml", {}, unreadable)
    assert (
        str(caught.value)
        == f"{at}/etc/multi/a.toml cannot be read: Permission denied; make it readable, or take it out"
    )


def test_a_mistake_in_an_included_file_names_that_file() -> None:
    """Not the one that includes it."""
    found = refusal("include = ['a.toml']", files={"a.toml": "\n[defaults]\nnice = 99"})
    assert found == "/etc/multi/a.toml:3: defaults.nice: '99' is not a niceness; write a whole number from -20 to 19"


# --- variables ------------------------------------------------------------------------------------

SUBSTITUTED = [
    ("plain", "plain"),
    ("${A}", "1"),
    ("x${A}y${A}", "x1y1"),
    ("${A:-d}", "1"),
    ("${EMPTY}", ""),
    ("${EMPTY:-d}", "d"),
    ("${NONE:-d}", "d"),
    ("${NONE:-}", ""),
    ("${NONE:-a b:-c}", "a b:-c"),
    ("${DOLLAR}", "${A}$$"),
    ("$$", "$"),
    ("$${A}", "${A}"),
    ("$$$$", "$$"),
    ("$A", "$A"),
    ("ready$", "ready$"),
    ("$(A) $1 $-", "$(A) $1 $-"),
]


@pytest.mark.parametrize(("text", "expected"), SUBSTITUTED)
def test_variables_are_substituted(text: str, expected: str) -> None:
    """``${NAME}``, ``${NAME:-default}`` and ``$$``; a value is not looked at again; any other dollar stays."""
    assert substitute(text, {"A": "1", "EMPTY": "", "DOLLAR": "${A}$$"}) == expected


def test_substitution_reaches_every_string_value() -> None:
    """In strings, arrays and tables, also where a number is wanted; never in keys."""
    found = parse(
        """
        include = ["${NAME}.toml"]
        [defaults]
        ready_timeout = "${T:-5}"
        cmd = ["python", "${NAME}"]
        rlimit = { NOFILE = "${T:-64}" }
        options = "-A ${NAME}"
        env = { "${NAME}" = "${NAME}" }
        [groups.g]
        nodes = ["${NAME}"]
        [groups.h]
        count = "${T:-2}"
        prefix = "${NAME}-"
        """,
        {"NAME": "x"},
        {"x.toml": ""},
    )
    assert found.defaults.values == {
        "ready_timeout": 5.0,
        "cmd": ("python", "x"),
        "rlimit": (("NOFILE", 64, 64),),
        "options": ("-A", "x"),
        "env": (("${NAME}", "x"),),
    }
    assert [group.nodes for group in found.groups] == [("x",), ("x-1", "x-2")]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("${X}", "${X} is not set in the environment; set it, or write ${X:-default}"),
        ("${X", "'${X' has no closing }; write $$ for a plain dollar sign"),
        ("${}", "'${}' does not name a variable; write ${NAME} or ${NAME:-default}, and $$ for a dollar"),
        ("${a-b}", "'${a-b}' does not name a variable; write ${NAME} or ${NAME:-default}, and $$ for a dollar"),
        ("${é}", "'${é}' does not name a variable; write ${NAME} or ${NAME:-default}, and $$ for a dollar"),
    ],
)
def test_a_substitution_that_fails_is_named_with_its_line(value: str, why: str) -> None:
    """An unset variable is an error, not an empty string."""
    assert refusal(f"\n[defaults]\npidfile = '{value}'") == f"/etc/multi/multi.toml:3: defaults.pidfile: {why}"
    assert refusal(f"[defaults.env]\nA = '1'\nB = '{value}'") == f"/etc/multi/multi.toml:3: defaults.env.B: {why}"


@given(st.text())
def test_doubled_dollars_are_plain_text(text: str) -> None:
    """Whatever a text is, it can be written so that it arrives as it is."""
    assert substitute(text.replace("$", "$$"), {}) == text


# --- the environment ------------------------------------------------------------------------------


def test_multi_variables_become_a_layer() -> None:
    """Each setting has its variable; empty is unset; names that are no setting are ignored."""
    layer = config.environment(
        {
            "MULTI_UMASK": "027",
            "MULTI_STOP_SCHEDULE": "TERM/3/KILL/1",
            "MULTI_ENV": "A=1 'B=x y' C-",
            "MULTI_ENV_FILE": "a.env 'b c.env'",
            "MULTI_RLIMIT": "NOFILE=64 CORE=0",
            "MULTI_NICE": "",
            "MULTI_CONFIG": "x.toml",
            "MULTI_FORCE_ROOT": "1",
            "MULTI_INSTANCE": "token",
            "MULTI_NONSENSE": "1",
            "UMASK": "077",
        }
    )
    assert layer.values == {
        "umask": 0o027,
        "stop_schedule": layer.values["stop_schedule"],
        "env": (("A", "1"), ("B", "x y"), ("C", None)),
        "env_file": ("a.env", "b c.env"),
        "rlimit": (("NOFILE", 64, 64), ("CORE", 0, 0)),
    }
    assert str(layer.values["stop_schedule"]) == "TERM/3/KILL/1"
    assert layer.origin("umask") == "MULTI_UMASK"
    assert config.environment({}).values == {}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("MULTI_NICE", "x", "'x' is not a niceness; write a whole number from -20 to 19"),
        ("MULTI_ENV", "'A=1", "has a quote that is not closed; close it"),
        (
            "MULTI_ENV",
            "A=1 B",
            "'B' is not KEY=VALUE; write KEY= for an empty value, or KEY- to take the variable away",
        ),
    ],
)
def test_a_wrong_variable_is_a_config_error(name: str, value: str, why: str) -> None:
    """The message names the variable."""
    with pytest.raises(ConfigError) as caught:
        config.environment({name: value})
    assert str(caught.value) == f"{name}: {why}"


# --- finding the file -----------------------------------------------------------------------------

HOME = "/home/u"
PLACES = [
    "/w/given.toml",
    "/w/named.toml",
    "/w/multi.toml",
    "/w/pyproject.toml",
    "/home/u/.config/multi/multi.toml",
    "/etc/multi/multi.toml",
]


def locate(
    present: Iterable[str], explicit: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """Path and reason of the file that is found when `present` exist."""
    contents = dict.fromkeys(present, b"[tool.multi]\n")

    def read(path: str) -> bytes:
        return contents[path] if path in contents else nothing(path)

    found = config.locate(explicit, environ or {}, "/w", HOME, read)
    return None if found is None else (found.path, found.why)


def test_the_first_file_found_counts() -> None:
    """The order of section 5: option, variable, directory, pyproject, user, system."""
    named = {"MULTI_CONFIG": "named.toml"}
    assert locate(PLACES, "given.toml", named) == ("/w/given.toml", "--multi-config")
    assert locate(PLACES, "/w/given.toml", named) == ("/w/given.toml", "--multi-config")
    assert locate(PLACES, None, named) == ("/w/named.toml", "MULTI_CONFIG")
    assert locate(PLACES, None, {"MULTI_CONFIG": ""}) == ("/w/multi.toml", "in the current directory")
    assert locate(PLACES[3:]) == ("/w/pyproject.toml", "[tool.multi] in the current directory")
    assert locate(PLACES[4:]) == ("/home/u/.config/multi/multi.toml", "in your configuration directory")
    assert locate(PLACES[5:]) == ("/etc/multi/multi.toml", "of the system")
    assert locate([]) is None


def test_the_users_directory_is_that_of_the_xdg_specification() -> None:
    """An absolute ``XDG_CONFIG_HOME`` replaces ``~/.config``, a relative one is ignored."""
    assert locate(["/xdg/multi/multi.toml"], environ={"XDG_CONFIG_HOME": "/xdg"}) is not None
    assert locate(PLACES[4:], environ={"XDG_CONFIG_HOME": "xdg"}) == (PLACES[4], "in your configuration directory")
    assert config.preset_directories({}, HOME) == ("/home/u/.config/multi/presets", "/etc/multi/presets")
    assert config.preset_directories({"XDG_CONFIG_HOME": "/xdg"}, HOME)[0] == "/xdg/multi/presets"


def test_a_pyproject_without_our_table_is_passed_over() -> None:
    """Whatever else it holds, also the word."""
    for text in (b"", b"[tool.ruff]\n", b"[project]\nname = 'multi'\n", b"tool = 3 # multi\n"):

        def read(path: str, text: bytes = text) -> bytes:
            return text if path == "/w/pyproject.toml" else nothing(path)

        assert config.locate(None, {}, "/w", HOME, read) is None


def test_a_file_that_was_asked_for_must_exist() -> None:
    """Going on without it would run something else."""
    for explicit, environ, word in (
        ("x.toml", {}, "--multi-config 'x.toml'"),
        (None, {"MULTI_CONFIG": "x.toml"}, "MULTI_CONFIG 'x.toml'"),
    ):
        with pytest.raises(ConfigError) as caught:
            locate(PLACES, explicit, environ)
        assert str(caught.value) == f"{word}: does not exist; name an existing file"
    with pytest.raises(ConfigError) as caught:
        locate(PLACES, "")
    assert str(caught.value) == "--multi-config: needs the path of a file; leave it out to search the usual places"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (PermissionError(13, "Permission denied"), "go to another directory, "),
        (IsADirectoryError(21, "Is a directory"), ""),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_not_skipped(error: OSError, hint: str) -> None:
    """Also where nobody asked for it: the next one would be another configuration."""

    def read(path: str) -> bytes:
        if path == "/w/multi.toml":
            raise error
        return nothing(path)

    with pytest.raises(ConfigError) as caught:
        config.locate(None, {}, "/w", HOME, read)
    assert str(caught.value) == (
        f"/w/multi.toml: cannot be read: {error.strerror}; {hint}make it readable, or name another with --multi-config"
    )


def test_a_path_that_can_be_no_file_name_is_an_error() -> None:
    """A NUL from a hostile environment is a message, not a traceback."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.locate("a\0b", {}, "/w", HOME, lambda path: Path(path).read_bytes())


# --- env files ------------------------------------------------------------------------------------


ENV_LINES = [
    ("A=1", "A", "1"),
    ("  B = two words  # comment", "B", "two words"),
    ("export C=x#y", "C", "x#y"),
    ("export\tD=1", "D", "1"),
    (r"E='single $A \n # no comment' # comment", "E", r"single $A \n # no comment"),
    (r'F="double \"q\" \n \t \\ \$A $A \x"', "F", 'double "q" \n \t \\ $A $A \\x'),
    ("G=", "G", ""),
    ("H=''", "H", ""),
    ('I="two\nlines"', "I", "two\nlines"),
    ("J='two\nlines' ", "J", "two\nlines"),
    (r"K=C:\new", "K", r"C:\new"),
    ("L=# nothing", "L", ""),
    ('M="go \\\non"', "M", "go on"),
    ("N.O-P=1", "N.O-P", "1"),
    ("Q==", "Q", "="),
]


@pytest.mark.parametrize(("line", "name", "value"), ENV_LINES)
def test_a_dotenv_line_is_read(line: str, name: str, value: str) -> None:
    """Export, quotes, escapes, comments, blanks; nothing is substituted."""
    assert parse_env_file(line, "x.env") == ((name, value),)


def test_env_files_are_read_as_dotenv() -> None:
    """Line after line, with comments between them; the last line of a name counts."""
    text = "# comment\n\n" + "\n  # comment\n".join(line for line, _, _ in ENV_LINES) + "\nA=2\n"
    expected = {name: value for _, name, value in ENV_LINES}
    assert dict(parse_env_file(text, "x.env")) == {**expected, "A": "2"}
    assert parse_env_file("\ufeffA=1\r\nB='x'\r\n", "x.env") == (("A", "1"), ("B", "x"))
    assert parse_env_file("", "x.env") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB", "x.env:2: 'B' is not KEY=VALUE; put a # before a comment"),
        ("=1", "x.env:1: '=1' is not KEY=VALUE; put a # before a comment"),
        ("A B=1", "x.env:1: 'A B=1' is not KEY=VALUE; put a # before a comment"),
        ("export A", "x.env:1: 'export A' is not KEY=VALUE; put a # before a comment"),
        ("A='x\n\n\nB=1", "x.env:1: has a quote that is not closed; put a ' at the end of the value"),
        ("\nA='x' y", "x.env:2: 'y' stands after the closing quote; put the whole value in quotes"),
        ("A='1\n2'\nB", "x.env:3: 'B' is not KEY=VALUE; put a # before a comment"),
        (
            "MULTI_INSTANCE=1",
            "x.env:1: MULTI_INSTANCE belongs to multi, which marks a node's processes with it; use another name",
        ),
        ("A=\0", "x.env:1: holds a NUL character; no path, word or variable can hold one; take it out"),
    ],
)
def test_a_wrong_env_file_is_named_with_its_line(text: str, expected: str) -> None:
    """One line that says where, why and what to try."""
    with pytest.raises(ConfigError) as caught:
        parse_env_file(text, "x.env")
    assert str(caught.value) == expected


def test_of_two_env_files_the_later_goes_first() -> None:
    """And one that cannot be read is an error."""
    files = {"a": b"A=1\nB=1", "b": b"B=2"}
    assert read_env_files(["a", "b"], files.__getitem__) == (("A", "1"), ("B", "2"))
    with pytest.raises(ConfigError) as caught:
        read_env_files(["a"], nothing)
    assert str(caught.value) == (
        "env_file a: cannot be read: No such file or directory; create it, or take it out of env_file"
    )
    with pytest.raises(ConfigError) as caught:
        read_env_files(["a"], lambda _: b"A=1\n\xff")
    assert str(caught.value) == "a:2: is not UTF-8 text; save the file as UTF-8"


@given(st.text() | st.text(alphabet="AB=\"' #\\\n\r\texport$", max_size=60))
def test_any_env_file_is_read_or_refused(text: str) -> None:
    """Never another exception, never a hang."""
    message = ""
    try:
        parse_env_file(text, "x.env")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])),
    )
)
def test_what_is_double_quoted_arrives(variables: dict[str, str]) -> None:
    """Every value can be written."""
    lines = []
    for name, value in variables.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name}="{escaped}"')
    assert dict(parse_env_file("\n".join(lines), "x.env")) == variables


# --- any bytes ------------------------------------------------------------------------------------

NAMES = [
    "defaults",
    "groups",
    "nodes",
    "include",
    "umask",
    "env",
    "options",
    "count",
    "prefix",
    "ready",
    "w1",
    "a.b",
    '"q"',
]
TEXTS = ["1", "0o22", "'x'", "'${X}'", '"""a\nb"""', "[1, ['a']]", "{a = 1}", "{}", "true", "1979-05-27", "nan"]
LINES = st.builds(
    lambda head, name, value: f"[{name}]" if head else f"{name} = {value}",
    st.booleans(),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(".".join),
    st.sampled_from([*TEXTS, "0x" + "f" * 5000]),
)


@given(
    st.binary() | st.text().map(str.encode) | st.lists(LINES, max_size=8).map(lambda lines: "\n".join(lines).encode())
)
@example(b"a." * 3000 + b"a = 1")
@example(b"[defaults.env]\n" + b"a." * 3000 + b"a = '1'")
@example(b"defaults.env = " + b"{a = " * 90 + b"1" + b"}" * 90)
@example(b"nodes = " + b"[" * 90 + b"]" * 90)
def test_any_bytes_are_a_config_or_a_config_error(data: bytes) -> None:
    """G9: never another exception, never more than one line."""
    message = ""
    try:
        config.parse_config(data, "multi.toml", {}, nothing, lambda _: ())
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


def keys_of(value: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every path to a key, not into arrays."""
    if not isinstance(value, dict):
        return set()
    found: set[tuple[str, ...]] = set()
    for key, item in value.items():
        found |= {(*path, key), *keys_of(item, (*path, key))}
    return found


def written(keys: tuple[str, ...], value: object) -> str:
    """One ``key = value`` with the key quoted where it needs it."""
    shown = ".".join(key if key.isascii() and key.isalnum() else "'" + key + "'" for key in keys)
    return f"{shown} = {value}"


VALUES = st.sampled_from(
    ["1", "'a # [b] = c'", '"x\\"y]"', '"""\n\n"quoted" = 1\n"""', "'''\n[x]\n''\n'''", "[1, # one\n [2], {z = 3},\n]",
     "1979-05-27 07:32:00", "{ k = 1, 'm n'.o = { p = ']' } }", "-0.5e3", '"""a"""""', "[]", "{}"]
)  # fmt: skip
KEYS = st.lists(st.sampled_from(["a", "b", "c1", "d e", "f.g", "h#", "[i]"]), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.tuples(st.booleans(), KEYS, VALUES, st.sampled_from(["", "\n", " # [x]\n", "\r\n"])), max_size=8))
def test_every_key_of_a_document_has_its_place(parts: list[tuple[bool, tuple[str, ...], str, str]]) -> None:
    """The walk finds exactly the keys that the parser finds, each on a line that begins with it."""
    text = ""
    for header, keys, value, blank in parts:
        line = f"[{written(keys, '').removesuffix(' = ')}]" if header else written(keys, value)
        text += blank + line + "\n"
    try:
        values = tomllib.loads(text)
    except ValueError:
        return
    places = document.statements(text)
    assert set(places) == {keys for keys in keys_of(values) if len(keys) <= 8}  # deeper ones mean nothing
    lines = text.replace("\r\n", "\n").split("\n")
    for keys, place in places.items():
        assert keys[-1] in lines[place.line - 1]


def test_a_number_in_octal_is_told_by_its_statement() -> None:
    """Which is how ``0o22`` is told from ``18``; in an inline table, too, and over several lines."""
    text = "a = 0o22 # mode\nb = { c = 0o3_3 }\nx = [\n 1,\n]\n[d]\ne.f = '''x\ny'''\ng = 18\n"
    found = document.read(text, "multi.toml")
    assert found.says_in_octal(("a",), 0o22)
    assert found.says_in_octal(("b", "c"), 0o33)
    assert not found.says_in_octal(("d", "g"), 18)
    assert not found.says_in_octal(("none",), 18)
    assert {keys: place.line for keys, place in document.statements(text).items()} == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 2,
        ("x",): 3,
        ("d",): 6,
        ("d", "e"): 7,
        ("d", "e", "f"): 7,
        ("d", "g"): 9,
    }
