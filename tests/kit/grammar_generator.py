"""Argument lists for ``celery multi`` and ``multi`` from seeds: what people write, and some things nobody should."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = socket.gethostname()
NAMES = ("w1", "w2", "image", "video-hi", "data.low", "x_y", "Leslie", "7", "12", "a", "worker", "1-3", "w+1", "~x")
HOSTS = ("example.com", "%h", "h-1", "10.0.0.1")
COUNTS = ("1", "2", "3", "5", "007")
ODD_COUNTS = ("0", "+2", "1_0", "-3")
ODD_NAMES = ("a/b", "a b", "w%n", "@h", "a@b@c", "w1", "a@", "..")
SHORT_VALUED = ("-c 3", "-c 10", "-l INFO", "-Q a,b", "-P solo", "-O fair", "-S /tmp/%n.state", "-s beat-%d", "-I m.t")
LONG_VALUED = (
    "--concurrency=4",
    "--time-limit=300",
    "--queues=q:1",
    "--loglevel=%h",
    "--pool=prefork",
    "--autoscale=10,3",
    "--schedule=/x/%%n-%i%I",
)
FLAGS = ("-E", "-B", "--beat", "--without-gossip", "--purge", "--task-events")
UNKNOWN = ("-Z val", "-L DEBUG", "-x", "-yes no", "--foo", "--foo=bar", "--foo=a=b:c", "---x=1", "-9", "-1")
APP = (
    "-A proj",
    "--app=proj.%n",
    "-b redis://h:6379/0",
    "--broker=amqp://u:p@h:5672//",
    "--config=c",
    "--loader=l",
    "-C",
)
OURS = (
    "--pidfile=/run/%n.pid",
    "--pidfile=/run/%h%I.pid",
    "-p /run/%%n.pid",
    "--logfile=/log/%n%I.log",
    "-f /log/%N-%i.log",
    "--logfile=/log/all.log",
    "--workdir=/srv/%n",
    "--uid=nobody",
    "--gid=nogroup",
    "--umask=022",
    "--executable=/usr/bin/python3",
    "--append=x.y=%n",
)
NAMING = (
    "--prefix=P",
    "--prefix=pre-",
    "--suffix=s.com",
    '--suffix=""',
    "--suffix=",
    "--hostname=h.com",
    "-n n.com",
    "--hostname=%h",
    "--range-prefix=worker",
    "--range-prefix=",
)
ODD_OPTIONS = (
    "-D",
    "--detach",
    "-c4",
    "-foo bar",
    "-Ofair",
    "-EB",
    "-c",
    "-",
    "",
    "--queues",
    "--concurrency 5",
    "-E w9",
    "-n w9@%h",
    "-Q a",
    "--opt=",
    "-:1",
)
ODD_SCOPES = ("0", "99", "2-1", "1-99", "nobody", "1,", "a:b", "", "1,nobody", "celery1", "Pw1", "1-2")
AFTER_DASHES = ((), ("worker.x=1",), ("--foo", "-c", "3"), ("a", "--", "b%n"))


class Generator:
    """One argument list from one seed; `odd`, from 0 to 1, is how much of it nobody should write."""

    def __init__(self, seed: int, odd: float) -> None:
        """Nothing is drawn yet."""
        self._random = random.Random(seed)
        self._odd = odd

    def words(self) -> list[str]:
        """The words after the command."""
        names = self._names()
        groups = [names, *(self._scoped(option.split(" "), names) for option in self._options())]
        if self._random.random() < 0.25:
            self._random.shuffle(groups)
        words = [word for group in groups for word in group]
        if self._random.random() < 0.15:
            words += ["--", *self._random.choice(AFTER_DASHES)]
        return words

    def _names(self) -> list[str]:
        pick = self._random
        if pick.random() < 0.35:
            return [pick.choice(ODD_COUNTS if pick.random() < self._odd else COUNTS)]
        names = [
            f"{name}@{pick.choice(HOSTS)}" if pick.random() < 0.2 else name
            for name in pick.sample(NAMES, pick.randint(1, 4))
        ]
        if pick.random() < self._odd / 4:
            names.append(pick.choice(ODD_NAMES))
        return names

    def _options(self) -> list[str]:
        pick = self._random
        kinds = pick.choices(
            (SHORT_VALUED, LONG_VALUED, FLAGS, UNKNOWN, APP, OURS, NAMING),
            weights=(6, 4, 2, 2, 3, 3, 2),
            k=pick.randint(0, 7),
        )
        return [pick.choice(ODD_OPTIONS if pick.random() < self._odd else kind) for kind in kinds]

    def _scoped(self, option: Sequence[str], names: Sequence[str]) -> list[str]:
        first, *rest = option
        head, equals, value = first.partition("=")
        if self._random.random() > 0.35 or not head.startswith("-") or any(head == n.split("=")[0] for n in NAMING):
            return [first, *rest]
        return [f"{head}:{self._scope(names)}{equals}{value}", *rest]

    def _scope(self, names: Sequence[str]) -> str:
        pick = self._random
        if pick.random() < self._odd:
            return pick.choice(ODD_SCOPES)
        counted = len(names) == 1 and names[0].isdigit()
        indexes = [str(number) for number in range(1, (int(names[0]) if counted else len(names)) + 1)] or ["1"]
        called = indexes if counted else names
        host = HOST if pick.random() < 0.7 else "s.com"
        kinds = [
            pick.choice(indexes),
            pick.choice(called),
            ",".join(pick.choices(indexes, k=pick.randint(2, 3))),
            ",".join(pick.choices(called, k=2)),
            ("celery" if counted else "") + pick.choice(called).partition("@")[0] + "@" + host,
        ]
        if counted:
            kinds.append("-".join(sorted(pick.choices(indexes, k=2), key=int)))
        return pick.choice(kinds)
