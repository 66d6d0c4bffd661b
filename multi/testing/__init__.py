"""Real nodes for tests of your own: ready when the test begins, and proved gone when it ends.

    def test_mail(multi_nodes):
        multi_nodes.start("mail", preset="exec", cmd="python worker.py", ready="log:listening")
        ...
        assert "sent 1" in multi_nodes.log("mail")

    @pytest.mark.multi_nodes("w1", "w2", options="-A proj -P solo")
    def test_tasks(multi_nodes): ...

`multi_nodes` is a fixture of pytest that comes with `multi`; `Nodes` is what it gives, and works without pytest. Every
file of the nodes lies in a directory of their own, so tests may run side by side, and beside nodes of the machine.
"""

from __future__ import annotations

from multi import api
from multi.errors import UsageError
from multi.settings.table import SETTINGS
from multi.text import flag_values, nearest
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from multi.model.event import Event
    from multi.views import View

__all__ = ["NodeFailedError", "Nodes"]


class NodeFailedError(AssertionError):
    """What was asked of the nodes is not true; `events` are all that happened."""

    def __init__(self, said: str, events: Sequence[Event]) -> None:
        """Keep the events."""
        super().__init__(said)
        self.events = tuple(events)


class Nodes:
    """The nodes of one test, in a `directory`; a context manager, which proves at its end that they are gone."""

    def __init__(self, directory: Path) -> None:
        """Start nothing yet."""
        self.directory = directory
        self._begun = False

    def start(self, *names: str, options: str | Sequence[str] = (), **settings: object) -> tuple[View, ...]:
        """Start nodes and wait until each is ready; what was looked at then. Raises `NodeFailedError` and `MultiError`.

        `settings` are those of multi.toml, with its values: ``preset="exec"``, ``env={"A": "b"}``, ``startsecs=0``.
        `options` are the worker's, as on its command line: a shell-quoted string, or words.
        """
        import shlex

        theirs = shlex.split(options) if isinstance(options, str) else list(options)
        said = {"logfile": f"{self.directory}/log/%n.log", **settings}
        words = [*names, *(word for name, value in said.items() for word in _flags(name, value)), *theirs]
        self._begun = True
        return self._do("start", words)

    def stop(self, *names: str) -> tuple[View, ...]:
        """Stop nodes, or all, by their schedules, and wait until every process is gone. Raises `NodeFailedError`."""
        return self._do("stopwait", names)

    def restart(self, *names: str) -> tuple[View, ...]:
        """Stop and start nodes, or all, and wait until each is ready. Raises `NodeFailedError`."""
        return self._do("restart", names)

    def look(self, *names: str) -> tuple[View, ...]:
        """What is true of nodes, or of all that were started."""
        return api.look(api.select("status", [*names, self._pidfile]))

    def pid(self, name: str) -> int:
        """The pid of a node's main process. Raises `NodeFailedError` where it does not run."""
        (view,) = self.look(name)
        if not view.processes:
            raise NodeFailedError(f"{name} does not run", ())
        return view.processes[0].proc.pid

    def log(self, name: str) -> str:
        """All that a node has printed so far; empty where there is no log. Raises `NodeFailedError` for no node."""
        (view,) = self.look(name)
        if view.record is None:
            raise NodeFailedError(f"{name} is not on record", ())
        try:
            with open(view.node.logfile, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 -- as in presets
                return file.read()
        except FileNotFoundError:
            return ""

    def end(self) -> None:
        """Kill what still runs, every process of each tree. Raises `NodeFailedError` for what cannot be killed."""
        if self._begun:
            self._do("kill", ())

    def __enter__(self) -> Nodes:  # noqa: PYI034 -- typing.Self is Python 3.11
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all of them."""
        self.end()

    @property
    def _pidfile(self) -> str:
        return f"--pidfile={self.directory}/run/%n.pid"

    def _do(self, command: str, words: Sequence[str]) -> tuple[View, ...]:
        from multi import report

        selection = api.select(command, [*words, self._pidfile, "--multi-config=none"])
        events = list(api.run(command, selection))
        failed = [line for event in events if report.is_failure(event) for line in report.event_lines(event)]
        if failed:
            raise NodeFailedError("\n".join(failed), events)
        return api.look(selection)


def _flags(name: str, value: object) -> list[str]:
    """A setting as words of the command line."""
    import shlex

    setting = SETTINGS.get(name)
    if setting is None:
        raise UsageError(name, "is not a setting", nearest(name, SETTINGS))
    if setting.kind == "words" and not isinstance(value, str):
        value = shlex.join(value)  # type: ignore[arg-type]  # a sequence of words, by what multi.toml may say
    texts = flag_values(tuple(value) if isinstance(value, list) else value)
    return [f"{setting.flags[0]}={text}" for text in texts]
