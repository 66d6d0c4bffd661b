"""Whose port it is that accepts a connection: /proc/net/tcp (proc_net(5)) on Linux, elsewhere what psutil says."""

from __future__ import annotations

import os
import socket
import struct

from multi.model import proof
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multi.model.process import Proc

_LISTENS = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_NOBODYS = "socket:[0]"  # a socket that no file is open for is the kernel's own
_MAPPED = b"\0" * 10 + b"\xff\xff"  # an address of IPv4 as one of IPv6
_LOOPBACK_4, _LOOPBACK_6 = (4, 127), bytes(15) + b"\x01"  # 127.0.0.0/8 by its length and first byte, and ::1
_AT_ONCE = 0.25  # seconds in which a port of this machine accepts or refuses; more only where it is overrun


def whose(procs: Sequence[Proc], at: tuple[str, int], same: Callable[[Proc], bool], *, procfs: bool) -> str:
    """See `Machine.listens`. `same` tells whether a pid still is that process."""
    address, port = _packed(at[0]), at[1]
    if not _is_here(address):
        return "away"
    sockets = _listening(address, port) if procfs else set()
    found = "no"
    for proc in procs:
        answer = _by_proc(proc.pid, sockets) if procfs else _by_psutil(proc.pid, address, port)
        if answer == "yes" and same(proc):
            return "yes"
        if answer == "unknown":
            found = "unknown"
    return found


def taken(what: str) -> bool:
    """See `Machine.taken`."""
    host, port = proof.address(what)
    for one in ("127.0.0.1", "::1") if host == "localhost" else (host,):
        try:
            (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
                one, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            if not _is_here(_packed(one)):
                continue
            with socket.socket(family, kind, protocol) as client:
                client.settimeout(_AT_ONCE)
                client.connect(address)
                if client.getsockname() != client.getpeername():  # else it has met itself
                    return True
        except TimeoutError:
            return True
        except (OSError, ValueError):
            continue
    return False


def _packed(host: str) -> bytes:
    """The address as the kernel has it, in network order, without its zone."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    return packed.removeprefix(_MAPPED)


def _is_here(address: bytes) -> bool:
    """Whether it is an address of this machine, or rather of this network namespace."""
    if not any(address) or address == _LOOPBACK_6 or (len(address), address[0]) == _LOOPBACK_4:
        return True
    import psutil

    families = {socket.AF_INET, socket.AF_INET6}
    found = (own for interface in psutil.net_if_addrs().values() for own in interface if own.family in families)
    return any(_packed(own.address) == address for own in found)


def _by_proc(pid: int, sockets: set[str]) -> str:
    """Whether the process has one of the sockets that such a connection goes to.

    Nobody in this network namespace listens where the kernel hands a connection on to another one (NAT).
    """
    if not sockets:
        return "unknown"
    directory = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):
        return "no"
    except OSError:
        return "unknown"  # as of a program with file capabilities, or without CAP_SYS_PTRACE in a container
    for number in numbers:
        try:
            if os.readlink(f"{directory}/{number}") in sockets:
                return "yes"
        except OSError:
            continue
    return "unknown" if not numbers or _NOBODYS in sockets else "no"  # one whose first thread has ended shows none


def _listening(address: bytes, port: int) -> set[str]:
    """The sockets that a connection to this address goes to: the kernel prefers the one that names it."""
    wanted = [("tcp6", address), ("tcp6", bytes(16))]
    if len(address) == 4:  # noqa: PLR2004 -- the bytes of an address of IPv4
        wanted = [("tcp", address), ("tcp6", _MAPPED + address), ("tcp", bytes(4)), ("tcp6", bytes(16))]
    return next((found for name, where in wanted if (found := _listed(name, where, port))), set())


def _listed(name: str, address: bytes, port: int) -> set[str]:
    """The sockets that listen at this address and port. Listeners stand first in the kernel's table."""
    # Words of 32 bits, each a number of this machine's own byte order.
    shown = "".join(f"{word:08X}" for word in struct.unpack(f"={len(address) // 4}I", address)) + f":{port:04X}"
    found: set[str] = set()
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                if fields[3] != _LISTENS:
                    break
                if fields[1] == shown:
                    found.add(f"socket:[{fields[9]}]")
    except OSError:
        return set()  # as where the kernel has no IPv6
    return found


def _by_psutil(pid: int, address: bytes, port: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        look = process.net_connections if hasattr(process, "net_connections") else process.connections  # before 6.0
        listening = [one.laddr for one in look(kind="tcp") if one.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return "no"
    except psutil.Error:
        return "unknown"
    ours = {address, bytes(4), bytes(16)}
    return "yes" if any(where.port == port and _packed(where.ip) in ours for where in listening) else "no"
