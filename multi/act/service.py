"""What `run` tells the service manager that started it, sd_notify(3); nobody hears it where none did."""

from __future__ import annotations

from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Machine


def reloaded(machine: Machine) -> None:
    """The nodes have been sent their reload signals: the manager waits for both words (`Type=notify-reload`)."""
    machine.tell(f"RELOADING=1\nMONOTONIC_USEC={int(machine.now() * 1e6)}")
    machine.tell("READY=1")


def stopping(machine: Machine) -> None:
    """The stop schedules say how long a stop takes, so the manager is to wait as long as they are walked."""
    machine.tell("STOPPING=1\nSTATUS=stopping the nodes")
    machine.extend_timeout()
