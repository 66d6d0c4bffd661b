"""The kinds of probes, a row each: proofs that a node is ready or alive, and what a node needs. One grammar for all.

No other module names them. A kind whose sign is an answer is asked by the module of its name in `multi.system.probes`.
"""

from __future__ import annotations

from multi.errors import UsageError
from multi.text import quoted, seconds_in, seconds_text
from multi.typed import TYPE_CHECKING, Literal
from multi.value import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The settings that hold probes, each with what one of theirs is.
PURPOSES = {"ready": "a proof of readiness", "alive": "a probe", "needs": "a probe"}
_ALL = tuple(PURPOSES)
_LOOPBACK = "127.0.0.1"  # the host of a port that is named alone
_LAST_PORT = 65535
_SHORTEST, _LONGEST = 0.1, 1e6  # seconds of silence
_BEATS = 10.0  # seconds in which a worker's loop writes two heartbeats


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to prove something of a node.

    `serves` are the settings that can hold it. `sign` is what shows it: that the node lives, a word of the node
    (sd_notify(3)), a line of its log, a path that is made or written, an answer to a probe, the beats of its loop, or
    its watchdog. `argument` is what stands behind the colon, as help shows it; `read` makes it final or raises
    `UsageError`. With `listens` it begins with the address of a TCP port, which a foreign process may have. `never`
    says why a node is late that gave no sign.
    """

    sign: Literal["life", "word", "line", "path", "answer", "beat", "watchdog"]
    argument: str = ""
    read: Callable[[str, str], str] | None = None
    serves: tuple[str, ...] = ("ready",)
    listens: bool = False
    never: str = "its probe did not end"


def address(what: str) -> tuple[str, int]:
    """Host, without brackets, and port of ``[HOST:]PORT``. Raises `ValueError` for a port that is no number."""
    host, _, port = what.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f"{quoted(port)} is not a port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host or _LOOPBACK, int(port)


def _regex(kind: str, what: str) -> str:
    import re
    import warnings

    if not what:
        raise UsageError(kind, f"{kind}: needs a regular expression", f"write it like '{kind}:ready to serve'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pattern that a later Python may read in another way is valid today
            re.compile(what)
    except (re.error, OverflowError, RecursionError) as error:
        why = f"{quoted(what)} is not a regular expression: {error}"
        raise UsageError(kind, why, "put a backslash before a special character") from None
    return what


def _address(kind: str, what: str) -> str:
    word = quoted(f"{kind}:{what}")
    try:
        host, port = address(what)
    except ValueError:
        host, port = "", 0
    if not 0 < port <= _LAST_PORT or what.rfind(":") == 0:
        raise UsageError(kind, f"{word} names no port", f"write it like {kind}:8000 or {kind}:10.0.0.1:8000")
    if ":" in host and not what.startswith(f"[{host}]"):
        raise UsageError(kind, f"{word} names no host", f"write an IPv6 address like {kind}:[::1]:8000")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(kind: str, what: str) -> str:
    """``8000/health`` and ``//localhost/health``, which is a URL without its first word -> ``HOST:PORT/PATH``."""
    where, _, path = what.removeprefix("//").partition("/")
    if what.startswith("//") and (":" not in where or where.endswith("]")):
        where += ":80"
    return f"{_address(kind, where)}/{path}"


def _path(kind: str, what: str) -> str:
    if not what:
        raise UsageError(kind, f"{kind}: needs a path", f"write it like {kind}:/run/%n.ready")
    return what


def _command(kind: str, what: str) -> str:
    import shlex

    try:
        words = shlex.split(what)
    except ValueError:
        why = f"{quoted(what)} has a quote that is not closed"
        raise UsageError(kind, why, "close it, or put a backslash before it") from None
    if not words:
        raise UsageError(kind, f"{kind}: needs a command", f"write it like {kind}:'curl -fs localhost:8000'")
    return what


def _seconds(kind: str, what: str) -> str:
    number, least = seconds_in(what), _BEATS if kind == "heartbeat" else _SHORTEST
    if number is None or not least <= number <= _LONGEST:
        word = quoted(f"{kind}:{what}")
        why = f"{word} names no seconds from {least:g} to {_LONGEST:.0f}"
        raise UsageError(kind, why, f"write it like {kind}:30")
    return seconds_text(number)


# fmt: off
KINDS: Mapping[str, Kind] = {
    "alive": Kind("life"),
    "notify": Kind("word", never="it sent nothing to NOTIFY_SOCKET"),
    "log": Kind("line", "REGEX", _regex, never="no line that it wrote to its log matches"),
    "tcp": Kind("answer", "[HOST:]PORT", _address, _ALL, listens=True),
    "http": Kind("answer", "[HOST:]PORT/PATH", _url, _ALL, listens=True),
    "file": Kind("path", "PATH", _path, _ALL, never="nothing was made or written there since it started"),
    "exec": Kind("answer", "COMMAND", _command, _ALL),
    "heartbeat": Kind("beat", "SECONDS", _seconds, ("alive",)),
    "watchdog": Kind("watchdog", "SECONDS", _seconds, ("alive",)),
}
# fmt: on


def notations(purpose: str = "ready") -> tuple[str, ...]:
    """How the kinds that serve a purpose are written."""
    found = ((name, kind.argument) for name, kind in KINDS.items() if purpose in kind.serves)
    return tuple(f"{name}:{argument}" if argument else name for name, argument in found)


def suggestion(purpose: str = "ready") -> str:
    """What to write instead of a probe that does not serve the purpose."""
    *most, last = notations(purpose)
    return f"it can be {', '.join(most)} or {last}"


def parse(text: str, purpose: str = "ready") -> tuple[str, str]:
    """``"tcp:8000"`` -> kind ``tcp`` and argument ``127.0.0.1:8000``. Raises `UsageError`.

    `purpose` is the setting that is to hold it, one of `PURPOSES`.
    """
    name, colon, what = text.partition(":")
    kind = KINDS.get(name)
    if kind is None or purpose not in kind.serves:
        raise UsageError(text, f"{quoted(text)} is not {PURPOSES[purpose]}", suggestion(purpose))
    if kind.read is not None:
        return name, kind.read(name, what)
    if colon:
        raise UsageError(text, f"{quoted(text)} says too much", f"write just {name}")
    return name, ""
