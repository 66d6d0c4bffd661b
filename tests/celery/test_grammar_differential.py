"""Thousands of argument lists, read by Celery's own parser and by ours: no difference but those of the table.

The page is docs/reference/differences.md. A generated list is left out of the comparison only where a predicate in
`grammar_rows` says which row of the table it falls under; each row has a test of its own in test_grammar_rows.py.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

import celery.bin.multi
import pytest

import celery_oracle
from celery_oracle import Told
from grammar_generator import Generator
from grammar_rows import APP_OPTIONS, FLAGS, PREDICATES, infos, unscoped
from grammar_tools import GRAMMAR, expand_words, read
from multi.cli.commands import flags
from multi.errors import MultiError
from multi.model.request import traits
from multi.words import template
from multi.words.near import Misspelt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multi.model.node import Node

TEMPLATES = ("/run/%n.pid", "%h|%p|%d|%N|100%|%%|%%n|%i|%I", "plain")
PARTS = 8  # each is one test, so that they run side by side
CASES = 600  # in each part
NOT_HANDED_ON = frozenset({"-D", "--detach", "--append"})  # row D4; the words of --append are looked at as words


def decoded(words: Sequence[str]) -> dict[str, str | None]:
    """Options of a worker's argv; of a repeated one the last, as the worker takes it (row D10)."""
    found: dict[str, str | None] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else None
        elif position < len(words) and not words[position].startswith("-") and word not in FLAGS:
            found[word] = words[position]
            position += 1
        else:
            found[word] = None
    return found


def ours(node: Node, words: Sequence[str], appended: int) -> Told:
    """One of our nodes in the terms of the oracle: python -m celery APP worker OPTIONS -n NAME --logfile=LOG REST."""
    argv = node.words
    assert argv[1:3] == ("-m", "celery")
    passthrough = tuple(words[words.index("--") + 1 :]) if "--" in words else ()
    end = len(argv) - len(passthrough) - appended
    assert argv[end - 3 : end - 1] == ("-n", node.name)
    assert argv[end - 1].startswith("--logfile=")
    subcommand = argv.index("worker", 3)
    return Told(
        name=node.name,
        options=decoded(argv[3:subcommand] + argv[subcommand + 1 : end - 3]),
        passthrough=argv[end : end + len(passthrough)],
        argv=argv,
        pidfile=node.pidfile,
        logfile=node.logfile,
        rendered=tuple(template.expand(text, node.name) for text in TEMPLATES),
    )


def compare(words: Sequence[str]) -> None:
    """Names, options of each node and their order, passthrough, last words, paths, templates; no option is refused."""
    spec = read(words)
    spelling = Misspelt(spec, flags(), "start", traits("start"))
    assert spelling.check(spelling.suspects(lambda name: GRAMMAR.takes_value(name) is not None)) == ()
    told = celery_oracle.ask(words, TEMPLATES)
    nodes = expand_words(words).nodes
    assert [node.name for node in nodes] == [one.name for one in told]
    for one, node in zip(told, nodes, strict=True):
        appended = int(any(word.startswith("--append=") for word in words))
        own = ours(node, words, appended)
        options = {name: value for name, value in one.options.items() if name not in NOT_HANDED_ON}
        assert own.options == options
        assert own.argv[-1:][:appended] == one.argv[-1:][:appended]
        assert own.passthrough == one.passthrough[1:]  # row D7
        assert own.pidfile == one.pidfile
        assert own.logfile == one.logfile
        assert own.rendered == one.rendered
        if not any(word != unscoped(word) for word in words):
            # Row D25: celery multi turns the order of app options round.
            ordered = [name for name in options if name not in APP_OPTIONS]
            assert [name for name in own.options if name not in APP_OPTIONS] == ordered


@pytest.mark.parametrize("part", [0, 1, *(pytest.param(part, marks=pytest.mark.engine) for part in range(2, PARTS))])
def test_no_difference_outside_the_table(part: int) -> None:
    """What falls under a row still becomes nodes or one line of error; all else is the same in both."""
    compared = 0
    cited: Counter[str] = Counter()
    for seed in range(part * CASES, (part + 1) * CASES):
        words = Generator(seed, odd=(0.0, 0.02, 0.1, 0.3)[seed % 4]).words()
        found = infos(words)
        cited.update(found)
        if found:
            try:
                expand_words(words)
            except MultiError as error:
                if "\n" in str(error):
                    pytest.fail(f"seed {seed}: {words}: {error}")
            continue
        compared += 1
        try:
            compare(words)
        except (AssertionError, MultiError) as error:
            pytest.fail(f"seed {seed}: {words}: {error}")
    assert compared > CASES / 2, cited


def test_the_generator_reaches_every_row() -> None:
    """A predicate that nothing falls under would be a row that nobody tests."""
    reached: set[str] = set()
    for seed in range(PARTS * CASES):
        reached |= infos(Generator(seed, odd=0.3).words())
        if reached == {*PREDICATES}:
            return
    assert reached == {*PREDICATES}


def documented() -> list[tuple[str, tuple[str, ...]]]:
    """The examples of Celery's documentation: the words after ``celery multi``, and the commands shown below them."""
    examples: list[tuple[str, list[str]]] = []
    lines = iter(str(celery.bin.multi.__doc__).splitlines())
    for line in lines:
        text = line.strip()
        if text.startswith("$ celery multi "):
            examples.append((text.removeprefix("$ celery multi "), []))
        elif text.startswith("celery worker") and examples:
            examples[-1][1].append(text)
        elif text.startswith("-") and examples:
            examples[-1] = (f"{examples[-1][0]} {text}", examples[-1][1])
    return [(words, tuple(shown)) for words, shown in examples]


def test_the_documentation_was_found() -> None:
    """Among the examples are the longest one and one with a command below it."""
    examples = documented()
    assert len(examples) > 12
    assert "show 10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG" in [words for words, _ in examples]
    assert sum(len(shown) for _, shown in examples) > 15


@pytest.mark.parametrize(("line", "shown"), documented())
def test_documented_examples(line: str, shown: Sequence[str]) -> None:
    """Each example falls under no row, is the same in both, and gives the commands that are shown below it."""
    words = shlex.split(line)[1:]
    assert infos(words) == set()
    compare(words)
    if "--hostname" not in line:
        words = ["--hostname=myhost", *words]
    nodes = expand_words(words).nodes
    for node, command in zip(nodes, shown, strict=False):
        assert decoded(node.words[4:-1]) == decoded(command.split()[2:])
    assert not shown or len(shown) == len(nodes)


WRITTEN = """
w1 -A proj -l INFO
-A proj w1 -l info --logfile=/dev/null
worker -A proj.celery_app -l info -P eventlet --concurrency=4
-A tasks worker -l info -c 8 -Q flow --logfile=/x/flow.log --pidfile=/x/flow.pid
w1 w2 --app=proj -c 2 --logfile="/srv/logs/%n%I.log" --pidfile=/srv/pid/%n.pid
worker1 -A proj -l info --pidfile=/var/run/celery/%%n.pid --logfile=/var/log/celery/%%n%%I.log
high-node low-node msg-node -A proj --time-limit=300 --concurrency=1 -Q:high-node high -Q:low-node low -Q:msg-node msgs
-A proj ai -Q:ai ai -c:ai 6 --logfile=/x/logs/%n.log --pidfile=/x/pids/%n.pid -E -l info
-A proj node1 node2 -c:1 1 -Q:1 long -c:2 5 -Q:2 short
-A proj --pool=threads --concurrency=5 1 2 3
answers@robot updates@robot -A proj.celery -l info -c:1 4 -c:2 1 -Q:1 answer -Q:2 update
worker1@%h worker2@%h worker3@%h --pidfile=/x/pids/%n.pid --logfile=/x/logs/%n.log
1.%h 2.%h
jobs_a@box --pidfile=/opt/x/jobs_a@box.pid --logfile=/var/log/x/jobs_a@box.log
keeper --logfile=/mnt/log/celery-%N.log --pidfile=/mnt/run/celery-%N.pid -c 1 -c:keeper 5 -Q:keeper keeper
Worker -E
celery -B -E --logfile=/x/celery.log --pidfile=/x/celery.pid --loglevel=INFO
1 -A proj --logfile=/x/log/%p.log --pidfile=/x/pids/%p.pid
2 -Q:1 celery -Q:2 jobs -c:1 1 -c:2 1 -l info -A proj --pidfile=/x/%n.pid --logfile=/x/%p%n.log -B
2 -A proj -P prefork -c:1 1 -c:2 2 -Q:1 scheduler,system_log -Q:2 celery
3 -l INFO -c:2 1 -c:3 1 -Q:1 default -Q:2 blast -Q:3 monitor --app=proj.celery:app
3 -c 4 -A proj --logfile=/dev/null --pidfile=/tmp/celery%N.pid -Q send-sms,send-email
5 -A proj -f /x/%n-%i.log --pidfile=/x/celery-%n.pid
16 -A proj -Q:1-5 cq_a -Q:6-7 cq_core -Q:8 cq_videos -Q:9-14 cq_base -Q:15-16 celery -c 2 --hostname=redisbox
--app=proj default low -O fair -c:default 1 -Q:default default -c:low 1 -Q:low priority.low --time-limit:low=14400
a1 a2 a3 --time-limit=300 -c 8 -c:a2 4 -c:a3 2 --soft-time-limit:a1=60
default user long --hostname=my_host -Q:default default -c:default 8 -Q:user user -c:user 4 -Q:long long -c:long 4
worker1 worker2 beat -A proj --pidfile=/tmp/%n.pid --logfile=/tmp/%n%I.log -Q:worker1 celery -Q:worker2 net --beat:beat
serial jobs -Q:serial periodic,serialize -Q:jobs jobs -B:serial -c:serial 1 --autoscale:jobs=64,1 --scheduler=x.y.Z
celery "--pidfile=/w/site-%n.pid" "--logfile=/w/site-%n%I.log" --loglevel=DEBUG --queues:celery=a,mail --beat:celery
common mail files -A mq.worker -l INFO -c 2 -Q:common common -Q:mail mail -Q:files files -l info --logfile=/x/%n.log
w1 -A lib.celery worker -l INFO --without-gossip
worker-1 -c:worker-1 5
one two three -c 3 -c:1,2 10
worker1 worker2 worker3 --timeout=20
a b -A proj -E -Q:a a --autoscale:generic=4 -Q:b b --autoscale:b=4
w1 -A proj --config_filepath=/data/config.yaml --running_type=docker
w1 -A proj -Q default -- broker.connection_timeout=30 worker.prefetch_multiplier=1
""".strip().splitlines()


@pytest.mark.parametrize("line", WRITTEN)
def test_what_people_write(line: str) -> None:
    """Lines in the shapes found in public scripts, units and answers: under no row, and the same in both."""
    words = shlex.split(line)
    assert infos(words) == set()
    compare(words)
