"""Misspelt options (G13): what is near one of ours is refused on every command; what a preset knows never is."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import grammar_tools
from grammar_tools import PRESETS, listed
from multi.cli.commands import COMMANDS, flags
from multi.errors import UsageError
from multi.model.request import traits
from multi.settings import presets
from multi.settings.table import BY_FLAG
from multi.text import near_misses, nearest
from multi.words.grammar import Grammar, parse
from multi.words.near import Misspelt

FLAGS = flags()
NODES = tuple(row.name for row in COMMANDS if row.takes_nodes)
OURS = sorted(flag for flag in {*FLAGS, *BY_FLAG, "--multi-config", "--hostname"} if flag.startswith("--"))


def check(command: str, words: str, preset: str = "celery") -> tuple[str, ...]:
    """The warnings about the options of a command line."""
    (warnings,) = check_all((command,), words, preset)
    return warnings


def check_all(commands: Iterable[str], words: str, preset: str) -> set[tuple[str, ...]]:
    """Those of several commands with the same words."""
    grammar = Grammar(PRESETS.get(preset) or presets.load(preset))
    spec = parse(listed(words), grammar)
    found = set()
    for command in commands:
        options = Misspelt(spec, FLAGS, command, traits(command))
        found.add(options.check(options.suspects(lambda name: grammar.takes_value(name) is not None)))
    return found


@pytest.mark.parametrize("preset", presets.available())
def test_every_option_of_every_preset_stays_what_it_is(preset: str) -> None:
    """On every command that takes worker options, and where scripts hand them over, none is refused or warned of."""
    known = presets.load(preset)
    grammar = Grammar(known)
    words = ["w1"]
    for option in sorted(known.flags | known.valued):
        value = ("=x" if option.startswith("--") else " x") if grammar.takes_value(option) else ""
        words.append(option + value)
    commands = [name for name in NODES if not traits(name).takes_no_others]
    assert check_all(commands, " ".join(words), preset) == {()}


def test_the_options_that_lie_near_are_among_them() -> None:
    """Without the preset that knows them they would be refused."""
    near = {"--app": "gunicorn", "--pid": "celery", "--log-file": "celery", "--pid-file": "celery"}
    for option, other in near.items():
        with pytest.raises(UsageError, match="did you mean"):
            check("start", f"w1 {option}=x", other)


def misspelt(flag: str) -> set[str]:
    """A flag with a letter less, a letter more, another letter, two letters swapped, and its beginning."""
    name = flag[2:]
    words = {name[:at] + name[at + 1 :] for at in range(len(name))}
    words |= {name[:at] + "x" + name[at:] for at in range(len(name) + 1)}
    words |= {name[:at] + "x" + name[at + 1 :] for at in range(len(name))}
    words |= {name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in range(len(name) - 1)}
    words |= {name[:3], name.replace("-", "_"), name.upper()} if len(name) > 3 else set()
    return {f"--{word}" for word in words} - {*OURS, "--"}


@pytest.mark.parametrize("flag", OURS)
def test_every_misspelling_of_every_flag_is_refused(flag: str) -> None:
    """One edit each, `_` for `-`, capitals, the first three letters; unless it is a real option of the preset."""
    known = PRESETS["celery"].flags | PRESETS["celery"].valued
    for word in sorted(misspelt(flag) - known):
        assert near_misses(word, [flag]) == [flag], word
    for command in ("start", "kill", "status", "apply"):
        with pytest.raises(UsageError, match="did you mean --"):
            check(command, f"w1 {max(misspelt(flag) - known, key=len)}=1")


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("--dry", "--dry-run", True),
        ("--dr", "--dry-run", False),
        ("--dyr_urn", "--dry-run", True),
        ("--dyr-nru", "--dry-run", False),
        ("--josn", "--json", True),
        ("--jsn", "--json", True),
        ("--jn", "--json", False),
        ("--qiuet", "--quiet", True),
        ("--queues", "--quiet", False),
        ("--loglevel", "--logfile", False),
        ("--log-file", "--logfile", True),
        ("wbe", "web", True),
        ("w", "web", False),
        ("", "web", False),
        ("x" * 5000, "web", False),
    ],
)
def test_near(word: str, known: str, near: bool) -> None:
    """One edit for up to five letters, two for more; a swap is one; a beginning has three letters."""
    assert near_misses(word, [known]) == [known] * near


def test_the_nearest_comes_first() -> None:
    """By edits, then in the order given; what only begins so comes last."""
    assert near_misses("--uid", ["--uid-map", "--gid", "--uid"]) == ["--uid", "--gid", "--uid-map"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stat", "status"),
        ("Stopw", "stopwait"),
        ("c", "check"),
        ("sta", "start"),
        ("stop-v", "stop_verify"),
        ("h", None),
    ],
)
def test_what_begins_like_one_alone_is_that_one(word: str, meant: str | None) -> None:
    """A word that is the beginning of one known word means that, also where another is nearer by edits."""
    known = ["start", "status", "stop", "stopwait", "stop_verify", "help", "history", "check"]
    assert nearest(word, known).startswith(f"did you mean {meant!r}?" if meant else "it can be ")


@pytest.mark.parametrize(
    "words", ["w1 --config_filepath=/data/c.yaml --running_type=docker", "w1 --timeout=20", "w1 --tenant=x -Z t --all"]
)
def test_options_that_a_user_adds_are_the_workers(words: str) -> None:
    """They are handed on where a worker's words are taken, also those of the name of another command's flag."""
    for command in ("start", "restart", "show", "get", "check", "run", "names", "expand", "export"):
        assert check(command, words) == ()


def test_elsewhere_they_have_no_effect() -> None:
    """`stop` gets the words of `start` from scripts; it warns of what neither multi nor the worker knows, once."""
    assert check("stop", "w1 w2 -A proj -c:w2 4 --tenant=x --tenant:w2=y") == (
        "--tenant has no effect on stop: neither multi nor the worker has it",
    )
    assert check("stop", "w1 --wait") == ("--wait has no effect on stop: 'multi stopwait' waits",)
    assert check("status", "w1 -A proj -l INFO") == ()


def test_a_near_miss_of_another_command_s_flag_says_whose_it_is() -> None:
    """Who follows the hint would hand it to the worker."""
    with pytest.raises(UsageError, match=r"did you mean --now of 'multi install'\? \(after"):
        check("start", "w1 --new")


def test_after_dashes_everything_is_the_workers() -> None:
    """Near or not."""
    assert check("start", "w1 -- --dryrun --all") == ()


def test_the_tools_of_these_tests_know_the_presets() -> None:
    """The walk covers those that come with multi."""
    assert {*grammar_tools.PRESETS} <= {*presets.available()}
