"""What is known of a running node's liveness: the noun, and its bytes beside the record. Times are the machine's `now`.

`NAME.health` gets a line each time that the node is asked, without a flush and without the node's lock: it means
nothing once the process is gone, and a stop must not wait for it. The last whole line counts.
"""

from __future__ import annotations

from multi.value import dataclass

HEALTH_LIMIT = 1 << 13  # bytes: some dozens of lines
_MOST_WHY = 300  # characters
_LAST_SECOND = 1e15
_KINDS = {"token": str, "asked": float, "failures": int, "since": float, "why": str, "fingerprint": str}


@dataclass(frozen=True, slots=True)
class Health:
    """Of the process that carries `token`: when it was `asked` last, and how often in a row it failed `since` when.

    `why` is of the last failure, or what a node does that is busy. `fingerprint` is that of the path that it has to
    write to.
    """

    token: str
    asked: float
    failures: int = 0
    since: float = 0.0
    why: str = ""
    fingerprint: str = ""


def encode(health: Health) -> bytes:
    """Health -> a line."""
    import json

    line = {name: getattr(health, name) for name in _KINDS} | {"why": health.why[:_MOST_WHY]}
    return json.dumps(line).encode("ascii") + b"\n"


def decode(data: bytes, token: str) -> Health | None:
    """The bytes of the file -> what its last whole line says of the process with that token; None when nothing."""
    import json

    last = data.rpartition(b"\n")[0].rpartition(b"\n")[2]
    try:
        raw = json.loads(last)
    except (ValueError, RecursionError):
        return None
    if not token or not isinstance(raw, dict) or raw.get("token") != token:
        return None
    if not all(type(raw.get(name)) is kind for name, kind in _KINDS.items()):
        return None
    sound = raw["failures"] >= 0 and all(0 <= raw[name] < _LAST_SECOND for name in ("asked", "since"))
    return Health(**{name: raw[name] for name in _KINDS}) if sound else None
