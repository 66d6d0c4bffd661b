"""What a unit takes away from a node, as far as workers stand it (systemd.exec(5)).

Left out on purpose: `PrivateTmp` (sockets and uploads are passed on in /tmp), `ProtectHome` (projects live there),
`PrivateDevices` and `ProtectClock` (they hide graphics cards), `MemoryDenyWriteExecute` (just-in-time compilers and
libffi), `RestrictNamespaces` and the calls of @mount and @debug (browsers put themselves into a sandbox),
`RestrictSUIDSGID` (copies of directories that are setgid), `ProtectProc` and `PrivateUsers` (`multi` looks at
processes).
"""

from __future__ import annotations

from collections.abc import Sequence

# What a service manager of a user can do, too: it has no privileges.
_FILTERS = (
    "NoNewPrivileges=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
    "SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap",
    "SystemCallErrorNumber=EPERM",
)
_MOUNTS = (
    "ProtectSystem=full",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectHostname=yes",
    "PrivateMounts=yes",
    "ProtectControlGroups=yes",
)
# A worker that runs as root was meant to: it loses what changes the kernel, and nothing else.
_KERNEL = (
    *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "PERFMON"),
    *("SYSLOG", "SYS_BOOT", "SYS_MODULE", "SYS_PACCT", "SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM"),
)
_READ_ONLY = ("/usr", "/boot", "/efi", "/etc")  # what ProtectSystem=full makes read-only


# Below systemd-nspawn these show another boot id, and then `multi` elsewhere takes the node's process for another.
# A user who is not root may write neither, but for the control groups that were delegated to the unit.
_NOT_FOR_MULTI = frozenset({"ProtectKernelTunables=yes", "ProtectControlGroups=yes"})


def lines(*, root: bool, user_manager: bool, keeps: bool = False) -> Sequence[str]:
    """The lines for a worker of root or of another user, under the machine's service manager or under a user's.

    With `keeps` it is `multi` itself.
    """
    if user_manager:
        return _FILTERS
    kept = f"~{' '.join(f'CAP_{name}' for name in _KERNEL)}" if root else ""
    mounts = (line for line in _MOUNTS if not (keeps and line in _NOT_FOR_MULTI))
    return (f"CapabilityBoundingSet={kept}", *_FILTERS, *mounts)


def is_read_only(path: str) -> bool:
    """Whether a directory is one that the worker could not write to any more."""
    return any(f"{path}/".startswith(f"{top}/") for top in _READ_ONLY)
