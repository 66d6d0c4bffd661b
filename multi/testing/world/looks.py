"""The process table of a made-up machine."""

from __future__ import annotations

from multi import value
from multi.model.process import Proc, ProcessInfo, ProcessTable
from multi.model.usage import Holdings
from multi.testing.world.bodies import Body
from multi.testing.world.local import Local


class Looks(Local):
    """Processes, whoever started them."""

    def processes(self) -> ProcessTable:
        self._call("processes")
        world = self.world
        infos = {body.pid: self._info(body) for body in world.bodies.values() if not body.hidden}
        return ProcessTable(world.time, world.wall, infos, settled=not world.restless)

    def sketch(self) -> ProcessTable:
        """There are so few that it is always the whole table."""
        return self.processes()

    def reaching(self, processes: ProcessTable, proc: Proc | None) -> ProcessTable:  # noqa: ARG002 -- as above
        """The table tells all."""
        return processes

    def look(self, pid: int) -> ProcessInfo | None:
        body = self.world.bodies.get(pid)
        return None if body is None or body.hidden else value.replace(self._info(body), instance=None)

    def _info(self, body: Body) -> ProcessInfo:
        return ProcessInfo(
            proc=body.proc,
            ppid=body.ppid,
            pgrp=body.pgrp,
            session=body.session,
            uid=body.uid,
            gone=body.gone,
            age=self.world.time - body.born,
            suspended=body.suspended and not body.gone,
            instance=body.instance,
            rss=body.rss,
            cpu=body.cpu,
            status=body.status,
        )

    def holdings(self, proc: Proc, *, pss: bool = False) -> Holdings | None:
        body = self.world.bodies.get(proc.pid)
        if body is None or body.proc != proc or body.gone:
            return None
        return body.holdings if pss else value.replace(body.holdings, pss=None)

    def kernel_says(self, pid: int, since: float) -> str:  # noqa: ARG002 -- no pid is given twice
        return self.world.kernel.get(pid, "")

    def exists(self, pid: int) -> bool:
        return pid in self.world.bodies

    def cmdline(self, pid: int) -> tuple[str, ...]:
        body = self.world.bodies.get(pid)
        if body is None or body.gone or body.hidden:
            return ()
        return (body.nature.title,) if body.ran and body.nature.title else body.argv

    def executed(self, pid: int) -> tuple[str, ...]:
        body = self.world.bodies.get(pid)
        return () if body is None or (body.ran and body.nature.title) else self.cmdline(pid)
