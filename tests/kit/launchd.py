"""What launchd.plist(5) documents of the keys that `multi` may write: their types and values. No engine is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_LIMITS = dict.fromkeys(
    ("Core", "CPU", "Data", "FileSize", "MemoryLock", "NumberOfFiles", "NumberOfProcesses", "ResidentSetSize", "Stack"),
    int,
)
_ALIVE = {"SuccessfulExit": bool, "Crashed": bool, "PathState": {str: bool}, "OtherJobEnabled": {str: bool}}
# A type, a list of one, a table of keys or of any keys, or a choice of these.
KEYS: Mapping[str, object] = {
    **dict.fromkeys(("Label", "UserName", "GroupName", "Program", "RootDirectory", "WorkingDirectory"), str),
    **dict.fromkeys(("StandardInPath", "StandardOutPath", "StandardErrorPath", "ProcessType"), str),
    **dict.fromkeys(("Disabled", "RunAtLoad", "InitGroups", "AbandonProcessGroup", "LaunchOnlyOnce"), bool),
    **dict.fromkeys(("ExitTimeOut", "ThrottleInterval", "StartInterval", "Nice"), int),
    "Umask": (int, str),
    "ProgramArguments": [str],
    "EnvironmentVariables": {str: str},
    "KeepAlive": (bool, _ALIVE),
    "SoftResourceLimits": _LIMITS,
    "HardResourceLimits": _LIMITS,
}


def faults(job: Mapping[str, object]) -> list[str]:
    """What launchd would not take as it is meant; 0 of `ExitTimeOut` is infinity, with which a shutdown may stall."""
    found = [*_differs("", job, KEYS)]
    found += [key for key in ("Label",) if key not in job]
    found += [] if job.get("ProgramArguments") or "Program" in job else ["no program"]
    found += [f"{key}: {job[key]}" for key in ("ExitTimeOut", "ThrottleInterval") if job.get(key, 1) == 0]
    nice = job.get("Nice", 0)
    return found + ([] if isinstance(nice, int) and -20 <= nice <= 20 else [f"Nice: {nice}"])


def _differs(where: str, value: object, wanted: object) -> Iterator[str]:
    match wanted:
        case type():
            if type(value) is not wanted:  # a bool is no number
                yield f"{where}: {value!r}"
        case tuple():
            if all([*_differs(where, value, each)] for each in wanted):
                yield f"{where}: {value!r}"
        case [each]:
            for one in value if isinstance(value, list) else [None]:
                yield from _differs(where, one, each)
        case Mapping() if isinstance(value, dict):
            for key, one in value.items():
                if key in wanted or str in wanted:
                    yield from _differs(f"{where}/{key}", one, wanted.get(key, wanted.get(str)))
                else:
                    yield f"no such key: {where}/{key}"
        case _:
            yield f"{where}: {value!r}"
