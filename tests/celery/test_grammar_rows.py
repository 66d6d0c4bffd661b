"""Each difference of docs/reference/differences.md, as a test: what celery multi does, and what multi does instead."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import celery_oracle
from grammar_tools import GRAMMAR, ROOT, expand_words, listed, read
from multi import api
from multi.cli.order import LEADING_FLAGS, LEADING_WITH_VALUE
from multi.errors import UsageError
from multi.model.request import traits
from multi.testing.world import World
from multi.value import replace
from multi.words import expand, template
from multi.words.near import Misspelt
from multi.words.spec import Given

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "differences.md"
HOST = ROOT.hostname


def worker_words(words: str | list[str], short: str = "w1") -> list[str]:
    """What the node's worker gets, without Python, the name and the log."""
    node = expand.find(expand_words(words).nodes, short)
    assert node is not None
    argv = list(node.words)
    assert argv[:3] == ["/usr/bin/python3", "-m", "celery"]
    place = argv.index("-n")
    return argv[3:place] + argv[place + 3 :]


def names(words: str | list[str]) -> list[str]:
    """The short names that multi reads."""
    return [node.short for node in expand_words(words).nodes]


def theirs(words: str | list[str], short: str = "w1") -> dict[str, str | None]:
    """The options that Celery gives to the node."""
    told = celery_oracle.ask(listed(words))
    return next(dict(one.options) for one in told if one.name.startswith(short + "@"))


def refused(words: str | list[str], *, signals: bool = False, strict: bool = False) -> str:
    """The one line of error."""
    with pytest.raises(UsageError) as caught:  # noqa: PT012 -- one of two, both are the same mistake
        if signals:
            read(words, signals=True)
        else:
            expand_words(words, strict=strict)
    assert caught.value.hint, "every error says what to try"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_and_these_tests_have_the_same_rows() -> None:
    """Every row has a test, every test a row, and no number is used twice or left out."""
    infos = re.findall(r"^### D(\d+) ", TABLE.read_text(), re.MULTILINE)
    tested = {match[1] for name in globals() if (match := re.match(r"test_d(\d+)_", name))}
    assert infos == [str(number) for number in range(1, len(infos) + 1)]
    assert tested == set(infos)


def test_every_row_says_what_each_of_the_two_does() -> None:
    """A row is four cells, of which only the reason may be left out where it is plain."""
    for line in TABLE.read_text().splitlines():
        if re.match(r"\| D\d+ \|", line):
            cells = [cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")]
            assert len(cells) == 4, line
            assert all(cells[:3]), line


# --- words and options -------------------------------------------------------------------------------


def test_d1_a_known_option_takes_a_value_when_it_has_one() -> None:
    """A flag does not swallow a node, and a long option takes the next word as its value."""
    assert celery_oracle.values(["-E", "w1", "w2"]) == ["w2"]
    assert names("-E w1 w2") == ["w1", "w2"]
    assert celery_oracle.values(["w1", "--concurrency", "4"]) == ["w1", "4"]
    assert names("w1 --concurrency 4") == ["w1"]
    assert worker_words("w1 --concurrency 4") == ["worker", "--concurrency", "4"]
    assert worker_words("w1 w2 --concurrency:w1 4") == ["worker", "--concurrency", "4"]
    assert worker_words("w2 --concurrency:w2 4 -E:w1 w1") == ["worker", "-E"]
    # Unknown ones are as they were.
    assert names("-Z w1 w2") == ["w2"] == celery_oracle.values(["-Z", "w1", "w2"])
    assert names("w1 --foo w2") == ["w1", "w2"] == celery_oracle.values(["w1", "--foo", "w2"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("w1 -c", "-c: needs a value, but nothing follows; write -c VALUE"),
        ("w1 --concurrency", "--concurrency: needs a value, but nothing follows; write --concurrency=VALUE"),
        ("w1 -c:w1", "-c:w1: needs a value, but nothing follows; write -c:w1 VALUE"),
        ("w1 -Q -E", "-Q: needs a value, but '-E' follows; write -Q VALUE"),
        ("w1 -Q --", "-Q: needs a value, but '--' follows; write -Q VALUE"),
        ("w1 --pidfile -c 4", "--pidfile: needs a value, but '-c' follows; write --pidfile=VALUE"),
        ("w1 -BQ", "-BQ: needs a value, but nothing follows; write -BQ VALUE"),
        ("w1 --hostname", "--hostname: needs a value, but nothing follows; write --hostname=VALUE"),
        ("w1 --pidfile=", "--pidfile: is empty; leave it out for the default"),
    ],
)
def test_d2_an_option_that_needs_a_value_gets_one(words: str, why: str) -> None:
    """Without it there is an error, before the worker takes the next option for the value."""
    assert refused(words) == why


def test_d2_celery_multi_hands_on_what_is_left() -> None:
    """Its worker would then take the next option for the value."""
    assert theirs("w1 -c -E") == {"-c": None, "-E": None}


def test_d2_a_negative_number_is_a_value() -> None:
    """As the worker's own parser has it; and a command line may begin with a dash."""
    assert worker_words("w1 -c -1") == ["worker", "-c", "-1"]
    assert expand_words("w1 --nice -5").nodes[0].nice == -5
    assert worker_words(["w1", "--append", "-E --foo"]) == ["worker", "-E", "--foo"]


def test_d3_a_glued_short_option_is_one_word() -> None:
    """It takes nothing from the words that follow, it can be scoped, and flags can be bundled."""
    assert celery_oracle.values(["-c4", "w1"]) == []
    assert worker_words("-c4 w1") == ["worker", "-c4"]
    assert worker_words("w1 w2 -c 2 -Ofair:w1 -Odefault") == ["worker", "-c", "2", "-Ofair"]
    assert worker_words("w1 w2 -c 2 -Ofair:w1 -Odefault", "w2") == ["worker", "-c", "2", "-Odefault"]
    assert worker_words("w1 w2 --concurrency=2 -c4:1") == ["worker", "-c4"]
    assert worker_words("w1 -EB") == ["worker", "-E", "-B"]
    assert worker_words("-EBc 4 w1") == ["worker", "-E", "-B", "-c", "4"]
    assert worker_words("-EBc4 w1") == ["worker", "-E", "-B", "-c4"]
    assert worker_words("w1 w2 -EB:w2", "w2") == ["worker", "-E", "-B"]
    assert worker_words("w1 w2 -EB:w2") == ["worker"]
    assert expand_words(["w1", "-f/log/%n.log"]).nodes[0].logfile == "/log/w1.log"
    assert names("w1 -nexample.com") == ["w1"]
    assert expand_words(["w1", "-nexample.com"]).nodes[0].name == "w1@example.com"


def test_d3_a_bundle_with_an_unknown_letter_is_one_unknown_option() -> None:
    """`-EZ` is no `-E` with something; it is read as celery multi reads it."""
    assert worker_words("w1 -EZ x") == ["worker", "-EZ", "x"]
    assert theirs("w1 -EZ x") == {"-EZ": "x"}


@pytest.mark.parametrize("words", ["w1 -bredis://h:6379/0", "w1 -bredis://h/0", "w1 -bh:1:2"])
def test_d3_a_glued_value_with_colons_needs_a_word_of_its_own(words: str) -> None:
    """What stands after the colon would be a scope, and is none."""
    value = words.partition("-b")[2]
    assert refused(words).endswith(f"is not a scope; write the value as a word of its own: -b {value}")
    assert worker_words(f"w1 -b {value}") == ["-b", value, "worker"]


def test_d4_detach_is_dropped() -> None:
    """In each spelling, scoped, bundled, and in `--cmd`; and it takes no value."""
    assert theirs("w1 -D -E") == {"-D": None, "-E": None}
    for words in (
        "w1 -D",
        "-D w1",
        "w1 --detach",
        "w1 -D:w1",
        "--detach:1 w1",
        ["w1", "--cmd=-m celery worker --detach"],
    ):
        assert worker_words(words) == ["worker"]
    assert worker_words("w1 -DE") == ["worker", "-E"]


def test_d5_signals() -> None:
    """A signal is no option, takes no word, and may be written in four ways; the last one counts."""
    assert celery_oracle.values(["-TERM", "w1"]) == []
    for word, number in (
        ("-TERM", 15),
        ("-SIGTERM", 15),
        ("-term", 15),
        ("-15", 15),
        ("-9", 9),
        ("-QUIT", 3),
        ("-INT", 2),
        ("-1", 1),
    ):
        spec = read([word, "w1", "-c", "4"], signals=True)
        assert spec.signum == number
        assert spec.names == ("w1",)
        assert spec.options == (Given("-c", "4"),)
    assert read("w1 -HUP -KILL", signals=True).signum == 9
    assert read(["w1"], signals=True).signum is None
    assert read("w1 -- -TERM", signals=True).signum is None
    assert read("w1 -c -9", signals=True).options == (Given("-c", "-9"),)


@pytest.mark.parametrize(
    "word", ["-TREM", "-SIGFOO", "-sigfoo", "-99", "-0", "-trm", "-FOO", "-SIGQ", "-SIG", "-12345"]
)
def test_d5_an_unknown_signal_is_an_error(word: str) -> None:
    """A mistyped signal must not be taken for TERM and a worker option."""
    assert refused(["w1", word], signals=True).startswith(f"{word}: is not a signal of this system; try -TERM")


@pytest.mark.parametrize("word", ["-c4", "-Ofair", "-EB", "-E", "-x", "-Q:w1", "-Zx=1"])
def test_d5_what_can_be_an_option_is_no_signal(word: str) -> None:
    """The options of a restart are still the worker's."""
    spec = read(["w1", word, "v"], signals=True)
    assert spec.signum is None
    assert spec.options


def test_d5_only_commands_that_send_one_take_a_signal() -> None:
    """On the others the word is an option, as in celery multi."""
    assert read(["w1", "-TERM"]).options == (Given("-TERM"),)


def test_d6_an_empty_word_is_a_value() -> None:
    """Among names it is skipped, and it is an error when it is the only one."""
    assert theirs(["w1", "-Q", "", "-E"]) == {"-Q": None, "-E": None}
    assert worker_words(["w1", "-Q", "", "-E"]) == ["worker", "-Q", "", "-E"]
    assert worker_words(["w1", "--", "", "x", ""]) == ["worker", "", "x", ""]
    assert names(["", "w1", ""]) == ["w1"]
    assert refused(["", ""]) == "'': is no node name; leave the empty word out, or write a name"


def test_d7_the_words_after_the_dashes_are_handed_on_without_them() -> None:
    """They come after everything but `--append`, and nothing in them is filled in."""
    assert celery_oracle.ask(["w1", "--", "-c", "4"])[0].passthrough == ("--", "-c", "4")
    assert worker_words(["w1", "--append=z", "--", "--ready-timeout", "5", "--", "%n"])[1:] == [
        "--ready-timeout", "5", "--", "%n", "z"
    ]  # fmt: skip


def test_d8_every_word_reaches_the_worker_as_typed() -> None:
    """Blanks, quotes, backslashes, newlines and empty values are not touched."""
    odd = "a b\n\"c\" 'd' \\e $f *"
    assert theirs(["w1", f"--opt={odd}"]) == {"--opt": odd}
    assert f"--opt={odd}" not in celery_oracle.ask(["w1", f"--opt={odd}"[:-12]])[0].argv
    assert worker_words(["w1", f"--opt={odd}", "-Q", odd, "--", odd]) == ["worker", f"--opt={odd}", "-Q", odd, odd]
    assert "--opt" in celery_oracle.ask(["w1", "--opt="])[0].argv
    assert worker_words(["w1", "--opt="]) == ["worker", "--opt="]


@pytest.mark.parametrize(
    ("word", "hinted"),
    [
        ("-c 4 -Q celery -l INFO", True),
        ("-B -c 4", True),
        ("-A proj --concurrency=4", True),
        ("--loglevel=INFO --concurrency=4", True),
        ("-c 4", False),
        ("-Qa b", False),
        ("-Qa - b", False),
        ("--foo=a -b", False),
        ("--cmd=-m celery worker -E", False),
        ("--append=-E -B", False),
    ],
)
def test_d8_several_options_in_one_word_are_worth_a_hint(word: str, *, hinted: bool) -> None:
    """Quotes around several options, which celery multi takes apart, are a frequent mistake."""
    expansion = expand_words(["w1", word])
    assert expansion.warnings == ((f"{word!r} is one word; if it is several options, leave out the quotes",) * hinted)


def test_d9_a_lone_dash_is_a_word() -> None:
    """It can be a value and even a name."""
    with pytest.raises(IndexError):
        celery_oracle.ask(["w1", "-"])
    assert worker_words(["w1", "-Q", "-"]) == ["worker", "-Q", "-"]
    assert names(["w1", "-"]) == ["w1", "-"]


def test_d10_repeated_options_are_kept_in_order() -> None:
    """The worker decides what they mean; of a setting the last counts, or they add up."""
    assert theirs("w1 -Q a -c 3 -Q b") == {"-Q": "b", "-c": "3"}
    assert worker_words("w1 -Q a -c 3 -Q b") == ["worker", "-Q", "a", "-c", "3", "-Q", "b"]
    node = expand_words(
        "w1 --umask=22 --umask=77 --env A=1 --env B=2 --env A=3 --rlimit NOFILE=9 --rlimit CORE=0"
    ).nodes[0]
    assert node.umask == 0o77
    assert ("A", "3") in node.env
    assert ("B", "2") in node.env
    assert node.rlimits == (("NOFILE", 9, 9), ("CORE", 0, 0))


def test_d11_two_spellings_are_one_option() -> None:
    """The scoped one replaces the unscoped one, wherever it stands; the last pidfile counts."""
    assert theirs("w1 w2 --concurrency=3 -c:1 10") == {"--concurrency": "3", "-c": "10"}
    assert worker_words("w1 w2 --concurrency=3 -c:1 10") == ["worker", "-c", "10"]
    assert worker_words("w1 w2 -c:1 10 --concurrency=3") == ["worker", "-c", "10"]
    assert worker_words("w1 w2 -E --events:1 --task-events:1") == ["worker", "--events", "--task-events"]
    assert worker_words("w1 w2 --app=x -A:1 y") == ["-A", "y", "worker"]
    words = ["w1", "--pidfile=/a/%n", "-p", "/b/%n"]
    assert celery_oracle.ask(words)[0].pidfile == "/a/w1"
    assert expand_words(words).nodes[0].pidfile == "/b/w1"


# --- scopes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "they"),
    [
        ("w1 w2 -c:w1,w2 5 -c:w1 6", "5"),
        ("w1 w2 -c:1 7 -c:w1 6", "7"),
        ("w1 w2 -c:w1@h 5 --suffix=h -Q:w1 x -c:1 6", "5"),
        ("w1 w2 -c:w1,w2 5 --concurrency:2-9 7 -c:1-2 6", "5"),
    ],
)
def test_d12_the_last_typed_scope_wins(words: str, they: str) -> None:
    """Option by option, whatever kind of scope it is."""
    assert theirs(words)["-c"] == they
    assert "6" in worker_words(words)
    assert they not in worker_words(words)


def test_d12_a_scope_with_the_full_name_hides_nothing() -> None:
    """And one scope that is repeated adds up, in order."""
    words = f"w1 w2 -c:w1@{HOST} 5 -Q:w1 x"
    assert theirs(words) == {"-c": "5"}
    assert worker_words(words) == ["worker", "-c", "5", "-Q", "x"]
    assert worker_words("w1 -I:1 a -I:1 b -I c") == ["worker", "-I", "a", "-I", "b"]


def test_d13_ranges_are_for_named_nodes_too() -> None:
    """Unless a node bears that name."""
    words = "w1 w2 w3 -c:1-2 5"
    assert theirs(words) == {}
    assert [worker_words(words, short) for short in ("w1", "w2", "w3")] == [["worker", "-c", "5"]] * 2 + [["worker"]]
    assert [worker_words("w1 1-2 -c:1-2 5", short) for short in ("w1", "1-2")] == [["worker"], ["worker", "-c", "5"]]
    assert worker_words("w1 w2 w3 w4 -c:1-2,4 5", "w4") == ["worker", "-c", "5"]


def test_d14_a_scope_may_be_any_name_that_is_printed() -> None:
    """With prefix, as a counted node, as typed with `%h`; and an index reaches `w1@%h`."""
    assert worker_words("w1 --prefix=P -c:Pw1 5", "Pw1") == ["worker", "-c", "5"]
    assert worker_words("3 -c:celery2 5", "celery2") == ["worker", "-c", "5"]
    assert worker_words("2 --range-prefix=x- -c:x-2 5", "x-2") == ["worker", "-c", "5"]
    for scope in ("w1@%h", "1", f"w1@{HOST}", "w1"):
        assert worker_words(f"w1@%h w2 -c:{scope} 5") == ["worker", "-c", "5"]
    assert theirs("w1@%h w2 -c:1 5") == {}
    assert worker_words("w1 w2 -c:w1@%h 5") == ["worker", "-c", "5"]
    # A word that is somebody's own name is not also the prefixed name of another node.
    assert worker_words("a Pa --prefix=P -c:Pa 5", "Pa") == ["worker"]
    assert worker_words("a Pa --prefix=P -c:Pa 5", "PPa") == ["worker", "-c", "5"]
    assert theirs("a Pa --prefix=P -c:Pa 5", "PPa") == {"-c": "5"}


@pytest.mark.parametrize("words", ["w1 w2 -c:3 4", "2 -c:3 4", "w1 w2 -c:1,3 4", "2 -c:1,3 4", "w1 --pidfile:2=x"])
def test_d15_an_index_out_of_range_is_an_error(words: str) -> None:
    """Alone and in a list, for names and counts, for options and settings."""
    assert "there is no node with the index" in refused(words)
    assert "the nodes are 1 " in refused(words)


def test_d15_the_first_index_is_1() -> None:
    """Zero is out of range, too."""
    assert refused("w1 -c:0 4") == f"-c:0: the first node has the index 1; the nodes are 1 w1@{HOST}"


def test_d15_a_range_takes_what_fits_and_warns() -> None:
    """The warning lists the nodes; with --strict it is an error."""
    expansion = expand_words("2 -c:2-9 4")
    assert expansion.warnings == (
        f"-c:2-9: the range 2-9 reaches beyond the nodes; the nodes are 1 celery1@{HOST}, 2 celery2@{HOST}",
    )
    assert [("-c" in node.words) for node in expansion.nodes] == [False, True]
    assert refused("2 -c:2-9 4", strict=True) == expansion.warnings[0]
    assert len(expand_words("2 -c:0-1 4").warnings) == 1
    assert expand_words("2 -c:1-2 4").warnings == ()
    assert len(expand_words("2 -c:5-9 4").warnings) == 1


def test_d15_a_name_that_no_node_has_is_a_warning() -> None:
    """Said once for each scope, and an error with --strict."""
    expansion = expand_words("w1 -c:nobody 4 -Q:nobody x -c:w1,other 5")
    assert expansion.warnings == (
        f"-c:nobody: no node is named 'nobody'; the nodes are 1 w1@{HOST}",
        f"-c:w1,other: no node is named 'other'; the nodes are 1 w1@{HOST}",
    )
    assert worker_words("w1 -c:nobody 4 -Q:nobody x -c:w1,other 5") == ["worker", "-c", "5"]
    for nobody in ("x-2", "2-x", "1-", "-1", "1-2-3"):
        assert f"no node is named '{nobody}'" in expand_words(f"w1 w2 -c:{nobody} 4").warnings[0]
    assert refused("w1 -c:nobody 4", strict=True) == expansion.warnings[0]


def test_d15_many_nodes_are_not_all_listed() -> None:
    """Ten are enough to see what they are called."""
    assert expand_words("12 -c:x 4").warnings[0].endswith(f"10 celery10@{HOST} and 2 more")


def test_d16_a_number_is_an_index_unless_a_node_has_that_name() -> None:
    """Exactly that name: `01` is an index."""
    assert theirs("3 1 -c:1 4", "3") == {"-c": "4"} == theirs("3 1 -c:1 4", "1")
    assert [worker_words("3 1 -c:1 4", short) for short in "31"] == [["worker"], ["worker", "-c", "4"]]
    assert [worker_words("3 1 -c:01 4", short) for short in "31"] == [["worker", "-c", "4"], ["worker"]]
    assert [worker_words("1 2 3 -c:2 4", short) for short in "123"] == [["worker"], ["worker", "-c", "4"], ["worker"]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("w1 -c:a:b 4", "-c:a:b: has more than one ':'"),
        ("w1 --opt:a:b=4", "--opt:a:b=4: has more than one ':'"),
        ("w1 -c: 4", "-c:: names an empty scope"),
        ("w1 -c:w1, 4", "-c:w1,: has an empty item in its scope"),
        ("w1 -c:,1 4", "-c:,1: has an empty item in its scope"),
        ("w1 -c:1,,2 4", "-c:1,,2: has an empty item in its scope"),
        ("w1 -:w1 4", "-:w1: has a scope but no option before the ':'"),
        ("w1 --:w1=4", "--:w1=4: has a scope but no option before the ':'"),
        ("3 -c:3-1 4", "-c:3-1: the range 3-1 runs backwards; write 1-3"),
        ("w1 w2 -c:2-1 4", "-c:2-1: the range 2-1 runs backwards; write 1-2"),
        ("w1 --prefix:w1=x", "--prefix:w1=x: is about all names and takes no scope"),
        ("w1 -n:w1 x", "-n:w1: is about all names and takes no scope"),
        ("w1 -c4:", "-c4:: names an empty scope"),
    ],
)
def test_d17_a_scope_that_cannot_be_one_is_an_error(words: str, why: str) -> None:
    """It says what is wrong with the scope and shows a right one."""
    assert refused(words).startswith(why)


# --- names ---------------------------------------------------------------------------------------------


def test_d18_only_h_is_filled_in_in_names() -> None:
    """Also as it is written in a systemd unit; the worker is told exactly the name that we use."""
    assert celery_oracle.ask(["a@%h"])[0].name == f"a@{HOST}"
    words = ["a@%h", "b@%%h", "c%n", "d@x%-"]
    nodes = expand_words([*words, "--pidfile=/x/%h.pid"]).nodes
    assert [node.name for node in nodes] == [f"a@{HOST}", f"b@{HOST}", f"c%n@{HOST}", "d@x%-"]
    argv = nodes[2].words
    assert argv[argv.index("-n") + 1] == f"c%%n@{HOST}"
    assert nodes[2].pidfile == f"/x/c%n@{HOST}.pid"
    assert template.expand("%n-%d", nodes[2].name) == f"c%n-{HOST}"
    assert expand_words(["a", "--hostname=%h.x", "--prefix=%h-"]).nodes[0].name == f"{HOST}-a@{HOST}.x"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a/b"], "'/' cannot stand in a name, which becomes a file name; take it out"),
        (["a:b"], "':' cannot stand in a name"),
        (["a,b"], "',' cannot stand in a name"),
        (["a b"], "' ' cannot stand in a name"),
        (["a\tb"], "'\\t' cannot stand in a name"),
        (["a\x1bb"], "'\\x1b' cannot stand in a name"),
        (["a\u00a0b"], "'\\xa0' cannot stand in a name"),
        (["a@x/y"], "'/' cannot stand in a name"),
        (["a", "--prefix=../"], "'/' cannot stand in a name"),
        (["a", "--suffix=x y"], "' ' cannot stand in a name"),
        (["2", "--range-prefix=a/"], "'/' cannot stand in a name"),
        (["@h"], "has nothing before the '@'"),
        (["a@b@c"], "whose host has an '@'"),
        (["a", "-n", "a@%h"], "whose host has an '@'; write one '@' in a name, and none in --hostname or --suffix"),
        (["."], "cannot be a node name"),
        ([".."], "cannot be a node name"),
        (["x" * 201], "is too long for a node name"),
        (["x@" + "y" * 254], "is too long for a node name"),
        (["é" * 101], "is too long for a node name"),
    ],
)
def test_d19_a_name_that_cannot_be_a_file_name_is_refused(words: list[str], why: str) -> None:
    """Wherever the part comes from that makes it so."""
    assert why in refused(words)


def test_d20_no_two_nodes_share_a_name_or_a_file() -> None:
    """The error names both and says what to write; a log may be shared."""
    assert len(celery_oracle.ask(["w1", "w1"])) == 2
    assert refused("w1 w1") == f"w1@{HOST}: is named twice; name each node once"
    assert refused(f"w1 w1@{HOST}") == f"w1@{HOST}: is named twice; name each node once"
    assert refused("w1 w2 --pidfile=/x/m.pid") == (
        f"/x/m.pid: would be the pidfile of both w1@{HOST} and w2@{HOST}; "
        "put %n in --pidfile, so that each node has its own"
    )
    assert refused("w1@a w1@b").endswith("put %h in --pidfile, so that each node has its own")
    assert len(expand_words("w1@a w1@b --pidfile=/x/%h.pid").nodes) == 2
    assert expand_words(["w1", "--pidfile=/x/m.pid"]).nodes[0].pidfile == "/x/m.pid"
    assert len(expand_words("w1 w2 --logfile=/x/all.log").nodes) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("a b --pidfile:a=/x/m.pid --pidfile:b=/x/m.run", "would be the record or lock beside the pidfile of both"),
        ("a b --pidfile:a=/x/m.pid --pidfile:b=/x/y/../m.pid", "would be the pidfile of both"),
        ("a --pidfile=/x/m.json", "is the name of a file of multi's own"),
        ("a --pidfile=/x/m.lock", "is the name of a file of multi's own"),
        ("a --pidfile=/x/m.notify", "is the name of a file of multi's own"),
        ("a --pidfile=/x/", "is a directory"),
        ("a --pidfile=/x/..", "is a directory"),
        ("a --pidfile=/dev/null", "cannot hold a pid"),
        ("a --pidfile=/proc/self/fd/1", "cannot hold a pid"),
        ("a --logfile=/x/", "is a directory"),
        ("a --pidfile=/x/a.pid --logfile=/x/a.pid", "is the log of a@"),
        ("a b --pidfile=/x/%n.pid --logfile=/x/b.json", "is the log of a@"),
        ("a b --pidfile=/x/%n.pid --logfile=/x/b.notify", "is the log of a@"),
    ],
)
def test_d20_a_file_that_cannot_be_a_nodes_own_is_refused(words: str, why: str) -> None:
    """Pidfile, record and lock belong to one node each, and to nothing else."""
    assert why in refused(words)


def test_d20_the_shared_memory_disk_is_no_device() -> None:
    """Tests and containers keep pidfiles there."""
    assert expand_words(["a", "--pidfile=/dev/shm/a.pid"]).nodes[0].pidfile == "/dev/shm/a.pid"


@pytest.mark.parametrize("count", ["10001", "999999", "9" * 5000])
def test_d21_too_many_nodes_are_refused(count: str) -> None:
    """However long the number is."""
    assert "is more than 10000 nodes; write a smaller number" in refused([count])


def test_d21_no_nodes_are_an_error() -> None:
    """Ten thousand are not."""
    assert celery_oracle.ask(["0"]) == []
    assert refused(["0"]) == "0: is no number of nodes; write a number from 1, or the nodes' names"
    assert len(expand_words(["10000"]).nodes) == 10_000


# --- templates, the command ---------------------------------------------------------------------------------


def test_d22_what_is_a_traceback_there_is_a_line_here() -> None:
    """With what is wrong, why, and what to try."""
    with pytest.raises(ValueError, match="Unknown format"):
        celery_oracle.ask(["w1", "-Q", "%x"])
    assert refused(["w1", "-Q", "%x"]) == (
        "-Q: %x in '%x' means nothing; "
        "known are %n (short name), %h (full name), %d (host), %i, %I and %% (a percent sign)"
    )
    assert refused(["w1", "-b", "redis://:p%40ss@h"]).startswith("-b: %4 in 'redis://:p%40ss@h' means nothing")
    assert refused(["w1", "--pidfile=/x/%z"]).startswith("--pidfile: %z in '/x/%z' means nothing")
    assert refused(["w1", "--append=%z"]).startswith("--append: %z")
    assert refused(["w1", "--cmd=celery %z"]).startswith("--cmd: %z")
    with pytest.raises(KeyError):
        celery_oracle.ask(["w1", "-c:2", "4"])
    with pytest.raises(ValueError, match="invalid literal"):
        celery_oracle.ask(["3", "-c:a-b", "4"])
    assert len(expand_words("3 -c:a-b 4").warnings) == 1


def test_d23_cmd_is_a_program_or_a_module() -> None:
    """App options stand before the worker's subcommand in each of them."""

    def argv(*words: str) -> list[str]:
        node = expand_words(["w1", "-A", "proj", "-c", "4", *words]).nodes[0]
        return list(node.words[: node.words.index("-n")])

    python = "/usr/bin/python3"
    assert argv() == [python, "-m", "celery", "-A", "proj", "worker", "-c", "4"]
    assert argv("--cmd=-m celery worker --detach") == argv()
    assert argv("--cmd", "-m celery worker") == argv()
    assert argv("--cmd=celery worker") == ["celery", "-A", "proj", "worker", "-c", "4"]
    assert argv("--cmd=/opt/v/bin/celery worker") == ["/opt/v/bin/celery", "-A", "proj", "worker", "-c", "4"]
    assert argv("--cmd=uv run celery worker -E") == ["uv", "run", "celery", "-A", "proj", "worker", "-E", "-c", "4"]
    assert argv("--cmd=-u -m celery worker") == [python, "-u", "-m", "celery", "-A", "proj", "worker", "-c", "4"]
    assert argv("--cmd=-m proj") == [python, "-m", "proj", "-A", "proj", "-c", "4"]
    assert argv("--cmd=./run") == ["/cwd/run", "-A", "proj", "-c", "4"]
    assert argv("--cmd=~/run 'a b' %n") == ["/root/run", "-A", "proj", "a b", "w1", "-c", "4"]
    assert argv("--executable=/v/bin/python") == ["/v/bin/python", *argv()[1:]]
    assert argv("--executable=v/bin/python", "--workdir=/srv")[0] == "/srv/v/bin/python"
    assert argv("--executable=python3.12")[0] == "python3.12"


def test_d23_an_executable_that_nothing_uses_is_a_warning() -> None:
    """A program is not run by Python."""
    expansion = expand_words(["w1", "w2", "--cmd=celery worker", "--executable=/v/bin/python"])
    assert expansion.warnings == (
        "--executable has no effect, because the command runs 'celery' itself; write --cmd='-m MODULE'",
    )


def test_d24_the_worker_gets_its_name_and_its_log() -> None:
    """What multi does itself is not handed on; a descriptor is the worker's log anyway."""
    node = expand_words(
        "w1 --pidfile=/x/%n.pid --uid=u --gid=g --umask=22 --workdir=/srv --logfile=log/%n%I.log"
    ).nodes[0]
    assert node.words == (
        "/usr/bin/python3",
        "-m",
        "celery",
        "worker",
        "-n",
        f"w1@{HOST}",
        "--logfile=/srv/log/w1%I.log",
    )
    assert (node.uid, node.gid, node.umask, node.workdir) == ("u", "g", 0o22, "/srv")
    assert node.logfile == "/srv/log/w1.log"
    for log in ("/dev/stdout", "/dev/stderr", "/proc/self/fd/2", "/dev/fd/2", "/proc/1/fd/1"):
        node = expand_words(["w1", f"--logfile={log}"]).nodes[0]
        assert node.logfile == log
        assert node.words[-1] == f"w1@{HOST}"


def test_d25_app_options_keep_their_order() -> None:
    """And stand before the subcommand, flags too."""
    words = "w1 -c 4 -A a --config=c -b redis://h:1/0 --no-color -E"
    assert [word for word in celery_oracle.ask(words.split())[0].argv if word in {"-A", "-b"}] == ["-b", "-A"]
    assert worker_words(words) == [
        "-A", "a", "--config=c", "-b", "redis://h:1/0", "--no-color", "worker", "-c", "4", "-E"
    ]  # fmt: skip


def test_d26_where_the_files_are() -> None:
    """Root's are where celery multi has them; a user's are below the state directory; paths follow the workdir."""
    told = celery_oracle.ask(["w1"])[0]
    node = expand_words(["w1"]).nodes[0]
    assert (node.pidfile, node.logfile) == (told.pidfile, told.logfile)
    user = replace(ROOT, uid=1000, home="/home/u", environ={"XDG_STATE_HOME": "/home/u/%n state"})
    node = expand_words(["w1"], here=user).nodes[0]
    assert (node.pidfile, node.logfile) == ("/home/u/%n state/multi/run/w1.pid", "/home/u/%n state/multi/log/w1.log")
    assert node.words[-1] == "--logfile=/home/u/%%n state/multi/log/w1%I.log"
    node = expand_words("w1 --workdir=srv --pidfile=run/%n.pid --logfile=./%n.log").nodes[0]
    assert (node.workdir, node.pidfile, node.logfile) == ("/cwd/srv", "/cwd/srv/run/w1.pid", "/cwd/srv/w1.log")
    node = expand_words("w1 --pidfile=%n.pid --logfile=~/l/%n.log").nodes[0]
    assert (node.workdir, node.pidfile, node.logfile) == (None, "/cwd/w1.pid", "/root/l/w1.log")
    assert expand_words(["w1", "--pidfile=~celery/%n.pid"]).nodes[0].pidfile == "/home/celery/w1.pid"
    assert refused(["w1", "--pidfile=~nobody-here/%n.pid"]) == (
        "--pidfile: no home directory is known for ~nobody-here; write the whole path"
    )


def test_d27_show_and_get_print_commands_for_a_shell() -> None:
    """Quoted where a shell needs it; a node is found by short or full name."""
    expansion = expand_words(["w1@x", "w2", "-Q", "a b"])
    node = expand.find(expansion.nodes, "w1")
    assert node is expansion.nodes[0] is expand.find(expansion.nodes, "w1@x")
    assert expand.find(expansion.nodes, "w3") is None
    assert node is not None
    assert expand.command_line(node) == (
        "/usr/bin/python3 -m celery worker -Q 'a b' -n w1@x --logfile=/var/log/celery/w1%I.log"
    )


def test_d27_a_full_name_goes_before_a_short_one() -> None:
    """Of two nodes with one short name the first is found."""
    nodes = expand_words(["a@y", "a@x", "--pidfile=/x/%h.pid"]).nodes
    assert expand.find(nodes, "a") is nodes[0]
    assert expand.find(nodes, "a@x") is nodes[1]


def test_d28_settings_of_multi_are_its_own() -> None:
    """After `--` the same word is the worker's."""
    assert theirs("w1 --ready-timeout=5") == {"--ready-timeout": "5"}
    expansion = expand_words("w1 w2 --ready-timeout=5 --ready-timeout:w2=7 -- --ready-timeout=9")
    assert [node.ready_timeout for node in expansion.nodes] == [5, 7]
    assert [node.words[-1] for node in expansion.nodes] == ["--ready-timeout=9"] * 2
    assert theirs("w1 w2 --append:w1=x") == {"--append": "x"}
    assert [node.words[-1] for node in expand_words("w1 w2 --append:w1=x --append=y").nodes] == ["x", "y"]


def test_leading_options_are_celerys() -> None:
    """What may stand before `multi` on celery's command line is known here, with and without values."""
    celery = pytest.importorskip("celery.bin.celery").celery
    flags = {name for option in celery.params if option.is_flag for name in option.opts}
    valued = {name for option in celery.params if not option.is_flag for name in option.opts}
    assert flags <= LEADING_FLAGS
    assert valued <= LEADING_WITH_VALUE
    assert not LEADING_FLAGS & LEADING_WITH_VALUE


def test_d29_a_node_on_record_is_started_as_it_was() -> None:
    """Worker options replace the recorded command whole; with none it is used again, and a name without one is bare."""
    assert theirs("w1") == {}
    world = World()

    def command(*words: str) -> list[str]:
        selection = api.select("start", words, machine=world.fake())
        return [shlex.join(node.words).partition(" -m celery ")[2].partition(" -n ")[0] for node in selection.nodes]

    assert command("w1") == ["worker"]
    for asked in ("start", "stopwait"):
        words = ("w1", "-A", "proj", "-c", "3") if asked == "start" else ("w1",)
        list(api.run(asked, api.select(asked, words, machine=world.fake()), machine=world.fake()))
        assert command("w1") == command() == ["-A proj worker -c 3"]
        assert command("w1", "-c", "4") == ["worker -c 4"]
        assert command("w2") == ["worker"]
    assert command("-c", "4") == []


def test_d30_a_misspelt_option_is_nobodys() -> None:
    """Celery hands it to the worker; multi refuses it, and one that the worker really has goes after --."""
    assert theirs("w1 --dryrun") == {"--dryrun": None}
    for command in ("start", "stop", "kill", "apply"):
        spelling = Misspelt(read("w1 --dryrun"), {"--dry-run": ("start",)}, command, traits(command))
        with pytest.raises(UsageError, match=r"did you mean --dry-run( of 'multi start')?\?"):
            spelling.check(spelling.suspects(lambda name: GRAMMAR.takes_value(name) is not None))
    assert worker_words("w1 -- --dryrun") == ["worker", "--dryrun"]


def test_d30_a_name_that_begins_with_a_typographic_dash_is_refused() -> None:
    """Celery takes it for a node."""
    assert celery_oracle.values(["w1", "\N{EM DASH}dry-run"]) == ["w1", "\N{EM DASH}dry-run"]
    assert refused("w1 \N{EM DASH}dry-run").endswith("is not the dash of an option; type it as - or --")
