"""Words -> Spec: what is a name, an option, a scope, a setting, a signal; and every sentence about it in the design."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grammar_tools import GRAMMAR, PRESETS, SIGNALS, read
from multi.errors import ConfigError, MultiError, UsageError
from multi.settings.presets import Preset
from multi.words import grammar as parse
from multi.words.spec import Given, Spec

ANY_WORD = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["-c", "-c4", "-E", "-EB", "--", "-", "", "-c:1", "--opt", "--opt=", "--pidfile", "--pidfile=x", "-TERM", "-9",
         "-n", "--prefix:w1=x", "w1", "3", "-:", ":", "--:=", "-c::", "--cmd", "-\0", "-é", "-SIGé", "--=", "---", "-²"]
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("w1 -c 3", [Given("-c", "3")]),
        ("w1 --opt=v", [Given("--opt", "v", joined=True)]),
        ("w1 --opt=", [Given("--opt", "", joined=True)]),
        ("w1 --opt", [Given("--opt")]),
        ("w1 --opt=a=b:c", [Given("--opt", "a=b:c", joined=True)]),
        ("w1 -c:w1 4", [Given("-c", "4", "w1")]),
        ("w1 --opt:w1@h,2,1-3=v", [Given("--opt", "v", "w1@h,2,1-3", joined=True)]),
        ("w1 --opt:w1", [Given("--opt", None, "w1")]),
        ("w1 -Z v", [Given("-Z", "v")]),
        ("w1 -Z:1 v", [Given("-Z", "v", "1")]),
        ("w1 -Z -E", [Given("-Z"), Given("-E")]),
        ("w1 -c4", [Given("-c", "4", joined=True)]),
        ("w1 -c=4", [Given("-c", "=4", joined=True)]),
        ("w1 -Ofair:w1", [Given("-O", "fair", "w1", joined=True)]),
        ("w1 -foo.log", []),
        ("w1 -yes no", [Given("-yes", "no")]),
        ("w1 --beat=x", [Given("--beat", "x", joined=True)]),
        ("w1 -b redis://h:6379/0", [Given("-b", "redis://h:6379/0")]),
        ("w1 --broker=redis://h:6379/0", [Given("--broker", "redis://h:6379/0", joined=True)]),
        ("w1 --broker redis://h:6379/0", [Given("--broker", "redis://h:6379/0")]),
        ("w1 -Q a -E -Q b", [Given("-Q", "a"), Given("-E"), Given("-Q", "b")]),
        ("w1 -c -", [Given("-c", "-")]),
        ("w1 ---x=1", [Given("---x", "1", joined=True)]),
        ("w1 --=1", [Given("--", "1", joined=True)]),
    ],
)
def test_options(words: str, options: list[Given]) -> None:
    """As they were typed, in order, with scope and value apart."""
    assert read(words) == Spec(names=("w1",), options=tuple(options), settings=read(words).settings)


def test_names_and_passthrough() -> None:
    """Names may stand anywhere; everything from the dashes on is passed through as it is."""
    spec = read(["w1", "-c", "3", "w2@%h", "-E", "a-b", "--", "-c", "--", "w9", "", "a b"])
    assert spec.names == ("w1", "w2@%h", "a-b")
    assert spec.passthrough == ("-c", "--", "w9", "", "a b")
    assert read(["w1", "--"]).passthrough == ()
    assert read([]) == Spec()


def test_what_names_are_made_of() -> None:
    """`--hostname` goes before `-n` wherever it stands, as in celery multi; each takes the next word."""
    spec = read("w1 --prefix=P --suffix s --range-prefix=r -n a")
    assert (spec.prefix, spec.suffix, spec.range_prefix, spec.hostname) == ("P", "s", "r", "a")
    assert read("w1 --hostname b -n a").hostname == "b"
    assert read("w1 -n a --hostname=b").hostname == "b"
    assert read("w1 -n a -n c").hostname == "c"
    assert read("w1 --prefix=").prefix == ""
    assert read("w1").prefix is None


def test_settings_are_not_options() -> None:
    """They are taken by each of their flags, scoped or not, and may stand for a glued one."""
    spec = read("w1 --pidfile=a -p b --retry 5 --stop-schedule:1=TERM/9 -f/x --uid:w1 me")
    assert spec.options == ()
    assert spec.settings == (
        Given("--pidfile", "a", joined=True),
        Given("-p", "b"),
        Given("--retry", "5"),
        Given("--stop-schedule", "TERM/9", "1", joined=True),
        Given("-f", "/x", joined=True),
        Given("--uid", "me", "w1"),
    )


def test_a_command_line_as_a_value_may_begin_with_a_dash() -> None:
    """But never be the dashes that end the options."""
    assert read(["w1", "--cmd", "-m celery worker"]).settings == (Given("--cmd", "-m celery worker"),)
    assert read(["w1", "--append", "-x"]).settings == (Given("--append", "-x"),)
    with pytest.raises(UsageError, match="needs a value"):
        read(["w1", "--cmd", "--", "x"])


def test_what_stood_before_the_command_is_handed_in_front() -> None:
    """`celery -A proj multi start w1` becomes these words."""
    assert read("-A proj w1") == Spec(names=("w1",), options=(Given("-A", "proj"),))
    assert read("--app proj --no-color w1").names == ("w1",)


@pytest.mark.parametrize(
    ("words", "hinted"),
    [
        ("w1 -A proj worker", True),
        ("w1 w2 -A proj worker -c 4", True),
        ("w1 --workdir=/x worker", True),
        ("-A proj worker", False),  # the only node: then it was meant, or does no harm
        ("worker other -A proj", False),
        ("w1 -Q worker", False),
    ],
)
def test_the_subcommand_among_the_names_is_worth_a_hint(words: str, *, hinted: bool) -> None:
    """It becomes a node, as in celery multi, but was probably not meant as one."""
    spec = read(words)
    assert ("worker" in spec.names) is ("-Q" not in words)
    assert spec.hints == (
        ("'worker' was taken as the name of a node; leave it out if it is meant as the worker's subcommand",)
        if hinted
        else ()
    )


def test_presets_without_a_subcommand_have_no_such_hint() -> None:
    """Nothing is known of what may be a mistake there."""
    spec = parse.parse(["a", "--cmd=x", "worker"], parse.Grammar(PRESETS["exec"]))
    assert spec.hints == ()


def test_nothing_is_known_of_the_options_of_a_bare_command() -> None:
    """They are read as celery multi reads all options."""
    spec = parse.parse(["a", "-c4", "b", "-x", "1", "--long", "c"], parse.Grammar(PRESETS["exec"]))
    assert spec.names == ("a", "c")
    assert spec.options == (Given("-c4", "b"), Given("-x", "1"), Given("--long"))
    assert parse.parse(["a", "-foo"], parse.Grammar(PRESETS["exec"], signals=True)).options == ()
    with pytest.raises(UsageError, match="is not a signal"):
        parse.parse(["a", "-FOO"], parse.Grammar(PRESETS["exec"], signals=True))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--preset", "exec"], "exec"),
        (["w1", "--preset=exec", "-x"], "exec"),
        (["--preset=a", "--preset", "b"], "b"),
        (["--preset="], ""),
        (["--preset"], None),
        (["--preset", "--"], None),
        (["--", "--preset=exec"], None),
        (["--preset:w1=exec"], None),
        (["--preset-dir=x"], None),
        ([], None),
    ],
)
def test_an_option_can_be_found_before_the_rest_is_known(words: list[str], found: str | None) -> None:
    """The preset decides how the other words are read; what comes after the dashes is not looked at."""
    assert parse.opening(words).preset == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("w1 --strict -c 4", parse.Opening(("w1", "-c", "4"), strict=True, multi_config=None, preset=None)),
        (
            "--multi-config --strict x",
            parse.Opening(("--multi-config", "x"), strict=True, multi_config="x", preset=None),
        ),
        ("w1 -- --strict", parse.Opening(("w1", "--", "--strict"), strict=False, multi_config=None, preset=None)),
        (
            "--multi-config=x --multi-config",
            parse.Opening(("--multi-config=x", "--multi-config"), strict=False, multi_config="x", preset=None),
        ),
    ],
)
def test_the_opening_of_a_command_line(words: str, found: parse.Opening) -> None:
    """``--strict`` is about how the words are taken and none of them; of a repeated option the last value counts."""
    assert parse.opening(words.split()) == found


def test_the_configuration_file_is_no_option_of_the_worker() -> None:
    """It was found before, and its value is no node."""
    assert read("w1 --multi-config /x.toml") == Spec(names=("w1",))
    assert read("w1 --multi-config=/x.toml") == Spec(names=("w1",))


# --- options of the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("-c 4 -E", [Given("-c", "4"), Given("-E")]),
        ("--port 80 in.txt", [Given("--port", "80"), Given("in.txt")]),
        ("--verbose --port=80", [Given("--verbose"), Given("--port", "80", joined=True)]),
        ("x -- -c y", [Given("x"), Given("-c"), Given("y")]),
        ("-D --detach -E", [Given("-E")]),
    ],
)
def test_options_of_the_configuration(words: str, options: list[Given]) -> None:
    """No node is named there, so an unknown option may have a value, and other words stay in place."""
    assert parse.parse_options(words.split(), GRAMMAR, "multi.toml [defaults] options") == tuple(options)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--pidfile=x", "--pidfile is no worker option but a setting; write pidfile = ... instead"),
        ("-p x", "-p is no worker option but a setting; write pidfile = ... instead"),
        ("-c:w1 4", "-c:w1 cannot stand here; write options under [nodes.w1] instead"),
        ("-n x", "-n cannot stand here"),
        ("-c", "-c: needs a value, but nothing follows"),
        ("-c:: 4", "has more than one ':'"),
    ],
)
def test_what_is_no_worker_option_is_an_error_of_the_configuration(words: str, why: str) -> None:
    """It names the place, and what to write there."""
    with pytest.raises(ConfigError) as caught:
        parse.parse_options(words.split(), GRAMMAR, "m.toml [defaults] options")
    assert str(caught.value).startswith("m.toml [defaults] options: ")
    assert why in str(caught.value)


# --- properties --------------------------------------------------------------------------------------------


@given(st.lists(ANY_WORD, max_size=12), st.sampled_from([GRAMMAR, SIGNALS, parse.Grammar(PRESETS["exec"])]))
@example(["-²"], SIGNALS)
@example(["-c:" + "9" * 5000, "4"], GRAMMAR)
def test_any_words_give_a_spec_or_one_line(words: list[str], grammar: parse.Grammar) -> None:
    """Never another exception (G9), with and without signals."""
    try:
        assert isinstance(parse.parse(words, grammar), Spec)
    except MultiError as error:
        assert str(error).isprintable()  # noqa: PT017 -- the property is about both outcomes


@given(st.lists(ANY_WORD, max_size=12))
def test_any_options_of_the_configuration_give_options_or_one_line(words: list[str]) -> None:
    """Never another exception (G9)."""
    try:
        parse.parse_options(words, GRAMMAR, "here")
    except ConfigError as error:
        assert str(error).startswith("here: ")  # noqa: PT017 -- as above


@given(st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_any_value_is_kept_exactly(value: str) -> None:
    """After an equals sign, as a word of its own, and after the dashes (G11)."""
    spec = parse.parse(["w1", f"--opt={value}", f"--opt:w1={value}", "--", value], GRAMMAR)
    assert [one.value for one in spec.options] == [value, value]
    assert spec.passthrough == (value,)
    if not value.startswith("-"):
        spec = parse.parse(["w1", "-Q", value, "--queues", value, "--pidfile", value], GRAMMAR)
        assert [one.value for one in (*spec.options, *spec.settings)] == [value] * 3


@given(st.lists(ANY_WORD.filter(lambda word: "\0" not in word and word), max_size=10))
def test_every_word_goes_somewhere(words: list[str]) -> None:
    """Nothing that was typed is lost silently but what the design says is dropped."""
    grammar = parse.Grammar(Preset(name="bare", defaults={}))
    try:
        spec = parse.parse(words, grammar)
    except MultiError:
        return
    naming = [spec.prefix, spec.suffix, spec.hostname, spec.range_prefix]
    if "-n" in " ".join(words) or any(value is not None for value in naming):
        return  # of a repeated one only the last is kept
    count = len(spec.names) + len(spec.passthrough) + ("--" in words)
    for one in (*spec.options, *spec.settings):
        count += 1 if one.value is None or one.joined else 2
    assert count == len(words)


def test_a_nul_is_refused() -> None:
    """No command line can carry one."""
    with pytest.raises(UsageError, match="NUL"):
        parse.parse(["w1", "a\0b"], GRAMMAR)
