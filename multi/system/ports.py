"""Whose port it is that accepts a connection: /proc/net/tcp (proc_net(5)) on Linux, elsewhere what psutil says."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from multi.model.process import Proc

    Is = Callable[[Proc], bool]

_LISTENS = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_MAPPED = b"\0" * 10 + b"\xff\xff"  # an address of IPv4 as one of IPv6
_LOOPBACK_4, _LOOPBACK_6 = (4, 127), bytes(15) + b"\x01"  # 127.0.0.0/8 by its length and first byte, and ::1
_AT_ONCE = 0.25  # seconds in which a port of this machine accepts or refuses; more only where it is overrun


def whose(procs: Sequence[Proc], at: tuple[str, int], same: Is, *, procfs: bool) -> str:
    """See `Machine.listens`. `same` tells whether a pid still is that process."""
    host, port = at[0].partition("%")[0], at[1]
    address = _packed(host)
    if not _is_here(address):
        return "away"
    answers = _by_proc(procs, address, port) if procfs else _by_psutil(procs, address, port)
    found = "no"
    for proc, answer in answers:
        if answer == "yes" and same(proc):
            return "yes"
        if answer == "unknown":
            found = "unknown"
    return found


def taken(what: str) -> bool:
    """See `Machine.taken`."""
    host, _, port = what.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    for one in ("127.0.0.1", "::1") if host == "localhost" else (host,):
        try:
            (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
                one, int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            if not _is_here(_packed(one.partition("%")[0])):
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
    """The address as the kernel has it, in network order."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    return packed.removeprefix(_MAPPED)


def _is_here(address: bytes) -> bool:
    """Whether it is an address of this machine, or rather of this network namespace."""
    if not any(address) or address == _LOOPBACK_6 or (len(address), address[0]) == _LOOPBACK_4:
        return True
    import psutil

    for interface in psutil.net_if_addrs().values():
        for own in interface:
            if own.family in {socket.AF_INET, socket.AF_INET6} and _packed(own.address.partition("%")[0]) == address:
                return True
    return False


def _by_proc(procs: Sequence[Proc], address: bytes, port: int) -> Iterator[tuple[Proc, str]]:
    """What each process has to do with the sockets that such a connection goes to.

    Nobody in this network namespace listens where the kernel hands a connection on to another one (NAT).
    """
    try:
        sockets = _listening(address, port)
    except OSError:
        sockets = set()
    for proc in procs:
        yield proc, _holds(proc.pid, sockets) if sockets else "unknown"


def _holds(pid: int, sockets: set[str]) -> str:
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
    # One whose first thread has ended shows none. What no file is open for is the kernel's own.
    return "unknown" if not numbers or _NOBODYS in sockets else "no"


_NOBODYS = "socket:[0]"


def _listening(address: bytes, port: int) -> set[str]:
    """The sockets that a connection to this address goes to: the kernel prefers the one that names it. May raise."""
    four = len(address) == 4  # noqa: PLR2004 -- the bytes of an address of IPv4
    wanted = [("tcp", address), ("tcp6", _MAPPED + address)] if four else [("tcp6", address)]
    wanted += [("tcp", bytes(4)), ("tcp6", bytes(16))] if four else [("tcp6", bytes(16))]
    tables = {name: dict(_table(name, port)) for name in {name for name, _ in wanted}}
    for name, where in wanted:
        found = tables[name].get(_shown(where))
        if found:
            return found
    return set()


def _shown(address: bytes) -> str:
    """As /proc/net has it: words of 32 bits, each a number of this machine's own byte order."""
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(address) // 4}I", address))


def _table(name: str, port: int) -> Iterable[tuple[str, set[str]]]:
    """The addresses at which somebody listens on this port, each with its sockets. Listeners stand first there."""
    found: dict[str, set[str]] = {}
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                if fields[3] != _LISTENS:
                    break
                where, _, number = fields[1].partition(":")
                if int(number, 16) == port:
                    found.setdefault(where, set()).add(f"socket:[{fields[9]}]")
    except FileNotFoundError:
        if name == "tcp":
            raise
    return found.items()


def _by_psutil(procs: Sequence[Proc], address: bytes, port: int) -> Iterator[tuple[Proc, str]]:
    import psutil

    for proc in procs:
        try:
            process = psutil.Process(proc.pid)
            look = process.net_connections if hasattr(process, "net_connections") else process.connections  # before 6.0
            sockets = look(kind="tcp")
        except psutil.NoSuchProcess:
            yield proc, "no"
            continue
        except psutil.Error:
            yield proc, "unknown"
            continue
        listening = (one.laddr for one in sockets if one.status == psutil.CONN_LISTEN)
        here = any(where.port == port and _packed(where.ip) in {address, bytes(4), bytes(16)} for where in listening)
        yield proc, "yes" if here else "no"
