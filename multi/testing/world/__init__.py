"""A machine that is made up: processes, files, locks and a clock in memory, behind the same door as the real one.

`World` is what all share; a `Fake` is what one `multi` has of it, and keeps the contract of `multi.machine.Machine`, so
every function of `multi.api` takes it. No real time passes. `Fake.wait` moves the clock to the next thing that is due,
and fails when nothing ever would be: what would hang is seen at once.

    world = World()
    world.natures["w1@host"] = Nature(ignores=frozenset({signal.SIGTERM}))
    with world.fake() as machine:
        events = list(api.run("stopwait", api.select("stopwait", ["w1"], machine=machine), machine=machine))

How a process behaves is its `Nature`. What goes wrong is a `Fake.trap`: it is asked before every call and may raise
`MachineError` (the machine refuses) or call `Fake.die` (``kill -9`` hits `multi` here: the kernel gives its locks back
and shuts its gates, and everything else stays as it is).
"""

from multi.testing.world.bodies import Body, Child, Nature
from multi.testing.world.fake import Fake
from multi.testing.world.files import Entry
from multi.testing.world.local import KilledError
from multi.testing.world.world import EPOCH, World, node_of

__all__ = ["EPOCH", "Body", "Child", "Entry", "Fake", "KilledError", "Nature", "World", "node_of"]
