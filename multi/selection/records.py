"""What is on record of the nodes of a command line: they are found by it, and most run as it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multi import observe
from multi.decide.resolve import Said, half_said, resolve, says_anew, with_explicit
from multi.errors import ConfigError, NotPermittedError, UsageError
from multi.machine import File
from multi.model.node import Known, Ready, Unknown
from multi.model.request import Fallback
from multi.selection.finder import Finder, either, runs_already
from multi.settings.table import BY_FIELD
from multi.text import some
from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.words.expand import no_command
from multi.words.merge import nobody_said
from multi.words.spec import Selection

if TYPE_CHECKING:
    from multi.machine import Machine
    from multi.model.node import Node
    from multi.model.record import Record
    from multi.selection.words import Words

_FALLBACK_SECONDS = 5.0  # in this time an app is loaded and connected, or the node has died of it


class Records:
    """The nodes of one command line, and what is on record of them."""

    def __init__(self, words: Words, machine: Machine) -> None:
        """Look nothing up yet."""
        self._words = words
        self._machine = machine
        self._finder = Finder(words, machine)
        self._traits = words.traits
        self._spec = words.spec
        self._shared: tuple[Mapping[str, str], frozenset[str]] = ({}, frozenset())

    def select(self) -> Selection:
        """The nodes that the command is about, as it takes them."""
        match self._traits.nodes_from:
            case "words or records":
                return _with_fallbacks(self._words, self._exported(self._words.pure()))
            case "files":
                return self._checked(self._beside_run(self._configured()))
            case said if self._traits.default_command and not self._words.has_nodes:
                if self._spec.says_command or said == "words now":
                    return Selection(nodes=(), spec=self._spec)  # of which nodes, nobody says
        if self._words.has_nodes:
            return self._checked(self._beside_run(self._named(self._words.named(self._finder))))
        return self._checked(self._unnamed())

    def _beside_run(self, selection: Selection) -> Selection:
        if not (self._traits.restarts or self._traits.reconciles or self._traits.shows_logs):
            return selection
        return _with_shown_logs(selection, self._words, self._finder)

    def _said(self, node: Node, expansion: Selection) -> Said:
        command = self._spec.says_command
        if self._traits.default_command and isinstance(node.command, Known):
            command = command or _says_command(node.name, expansion)
        sources = expansion.sources[node.name]
        if sources is not self._shared[0]:  # nodes of which the same is said share them
            fields = (field for field, setting in BY_FIELD.items() if not nobody_said(setting.name, sources))
            self._shared = (sources, frozenset(fields))
        return Said(node, self._shared[1], node.name in expansion.configured, command, self._spec.says_words)

    def _named(self, expansion: Selection) -> Selection:
        """The nodes that are named or configured."""
        nodes: list[Node] = []
        recorded: dict[str, Node] = {}
        for one in expansion.nodes:
            said = self._said(one, expansion)
            anew = (self._traits.spawns or self._traits.default_command) and says_anew(self._traits, said, None)
            if anew and self._traits.spawns:
                self._finder.refuse_namesake(one, expansion.sources[one.name])
            if anew and self._traits.default_command:
                nodes.append(one)
                continue
            said = said if anew else replace(said, node=self._finder.found(one, expansion.sources[one.name]))
            record = self._recall(said.node)
            if record is None and self._traits.default_command:  # a bare worker, and where it is at home
                if isinstance(one.command, Unknown):
                    raise no_command(one.preset, one.name)
                if self._traits.spawns:
                    self._finder.refuse_namesake(one, expansion.sources[one.name])
                nodes.append(one)
                continue
            if record is None and self._traits.shows_logs:
                _refuse_others_log(said.node, self._machine)
            node = None if record is None else resolve(self._traits, said, record.node)
            if record is None or node is None:
                nodes.append(self._without_record(said))
            else:
                nodes.append(self._read_again(node, record.owner, record.node))
                recorded[node.name] = record.node
        return replace(self._words.selection(expansion, tuple(nodes)), recorded=recorded)

    def _recall(self, node: Node) -> Record | None:
        """What is on record of a node. What is to run again is not told by the record from before another tool's."""
        record = self._finder.recall(node)
        superseded = record is not None and not self._traits.default_command and _superseded(record, self._machine)
        return None if superseded and self._traits.repeats else record

    def _exported(self, selection: Selection) -> Selection:
        """The nodes as the words or the configuration say them, or else as they are on record."""
        logs = any(given.name == "--logfile" for given in self._spec.settings) or not self._words.foreground
        nodes: list[Node] = []
        for node in selection.nodes:
            said = self._said(node, selection)
            if says_anew(self._traits, said, None):
                nodes.append(node)
                continue
            record = self._finder.recall(self._finder.found(node, selection.sources[node.name]))
            if record is None or half_said(said, record.node) or isinstance(record.node.command, Unknown):
                raise UsageError(
                    node.name,
                    "cannot be exported: neither the words nor a configuration nor a record say what command it is",
                    "give the worker's options or --cmd as for 'multi start', or --pidfile where it is on record",
                )
            fields = said.fields if logs else said.fields - {"logfile"}
            nodes.append(with_explicit(record.node, node, fields))
        return replace(selection, nodes=tuple(nodes))

    def _without_record(self, said: Said) -> Node:
        """A node that is to be restarted as it was, and whose record does not say how that is.

        A process that `multi` started still shows its command, unless it shows a title instead. That of another tool is
        not ours to tell, so a good worker would be stopped for one that is started without its options.
        """
        node = said.node
        if not self._traits.restarts or said.command or said.configured:
            return node
        pid = self._finder.lost_pid(node)
        if pid is not None:
            return replace(node, command=observe.command_of(pid, self._machine))
        record = self._finder.recall(node)
        unknown = self._machine.read(node.recordfile, 0) is None or (record is not None and record.stopped)
        if unknown and self._machine.read(node.pidfile, 0) is not None:
            raise UsageError(
                node.name,
                "has a pidfile but no record of its command, because another tool started it",
                "give the worker's options, as for 'multi start'",
            )
        return node

    def _configured(self) -> Selection:
        """All nodes of the configuration, and those that it once started and no longer has."""
        words, machine = self._words, self._machine
        if words.config.path is None:
            why = "needs a configuration, and none was found"
            raise UsageError(words.command, why, "write a multi.toml, or give --multi-config")
        selection = words.selection(words.named(self._finder))
        everything = selection
        if self._spec.names:
            everything = words.selection(words.expand(replace(self._spec, names=())))
        rundirs = dict.fromkeys(node.rundir for node in everything.nodes)
        try:
            rundirs.update(dict.fromkeys(self._finder.unnamed()[0]))
        except UsageError:
            pass  # each node has a directory of its own, so there is none to look into for others
        # Where the configuration has moved a pidfile, the node still runs with the old one.
        users = {machine.me().uid, *map(self._finder.uid_of, everything.nodes)}
        for path, infos in self._finder.processes.by_pidfile.items():
            if any(info.uid in users for info in infos):
                rundirs[path.rpartition("/")[0]] = None
        wanted = {node.pidfile: node.short for node in everything.nodes}
        named = {node.name for node in selection.nodes}
        removed = tuple(
            record.node
            for rundir in rundirs
            for record in observe.survey(rundir, machine)[0]
            if record.node.origin == words.origin
            and wanted.get(record.node.pidfile) != record.node.short
            and (not self._spec.names or record.node.name in named)
            and not _superseded(record, self._machine)
        )
        return replace(selection, removed=removed)

    def _unnamed(self) -> Selection:
        """No node is named anywhere: all that are recorded in the run directories, or run with a pidfile in one."""
        words, machine = self._words, self._machine
        rundirs, user = self._finder.unnamed()
        surveys = [observe.survey(rundir, machine, user) for rundir in rundirs]
        records = [record for believed, _ in surveys for record in believed]
        if words.broken is not None and self._traits.disturbs:  # no more than the nodes of the configuration
            records = [record for record in records if record.node.origin == words.origin]
            surveys = []
        if self._traits.disturbs or self._traits.unattended:  # what another tool has started since is for that tool
            records = [record for record in records if not _superseded(record, self._machine)]
        nodes: dict[str, Node] = {}
        for node in (record.node for record in records):
            _add(nodes, node)
        for node in self._finder.lost(rundirs, nodes) if surveys and not self._traits.glances else ():
            _add(nodes, node)
        doubted = [record for _, others in surveys for record in others] if words.here.uid == 0 else []
        doubted = [record for record in doubted if record.node.name not in nodes]
        refused = self._refused(doubted)
        warnings: tuple[str, ...] = ()
        if not self._traits.unattended:
            known = {node.pidfile for node in (*nodes.values(), *(record.node for record in doubted))}
            foreign = {path: [one for one in machine.listing(path, ".pid") if one not in known] for path in rundirs}
            warnings = tuple(_foreign_pidfiles(rundir, paths) for rundir, paths in foreign.items() if paths)
            theirs = [record for record in doubted if record.owner] if not refused else []
            warnings += (_left_alone(theirs, machine),) if theirs else ()
        shown = " or ".join(rundirs)
        if not nodes:
            return Selection(nodes=refused, spec=self._spec, warnings=warnings, rundir=shown, config=words.config.path)
        may_say_anew = self._spec.says_command and self._traits.spawns and not self._traits.default_command
        asked = words.expand(replace(self._spec, names=tuple(nodes)), recorded=not may_say_anew)
        owners = {record.node.name: record.owner for record in records}
        merged: list[Node] = []
        recorded = dict(nodes)
        for node in asked.nodes:
            before = nodes[node.name]
            said = replace(self._said(node, asked), command=self._spec.says_command)
            again = resolve(self._traits, said, before)
            if again is not None:
                merged.append(self._read_again(again, owners.get(node.name), before))
                continue
            if node.pidfile != before.pidfile:
                self._finder.refuse_namesake(node, asked.sources[node.name])
            merged.append(node)
            del recorded[node.name]
        selection = words.selection(asked, (*merged, *refused))
        return replace(selection, warnings=(*selection.warnings, *warnings), recorded=recorded, rundir=shown)

    def _refused(self, doubted: Sequence[Record]) -> tuple[Node, ...]:
        """Nodes whose records must not be believed: they are shown, and refused, with the reason.

        Nothing of such a record counts but the name, so where the node logs is not known.
        """
        if self._traits.spawns or self._traits.shows_logs:
            return ()
        named = {record.node.name: record.node for record in doubted}
        if not named:
            return ()
        made = self._words.expand(replace(self._spec, names=tuple(named)), recorded=True)
        return tuple(replace(node, pidfile=named[node.name].pidfile, logfile="") for node in made.nodes)

    def _read_again(self, node: Node, owner: int | None, recorded: Node) -> Node:
        """An env file is read when the node starts. One that cannot be read is found here, before it is stopped.

        A file that a user's record names is one for that user to open: root could be made to tell what is in any.
        """
        if not node.env_files or not self._traits.spawns:
            return node
        local = self._words.local
        from multi.settings import envfile

        def read(path: str) -> bytes:
            return local.load_as(path, owner) if owner and path in recorded.env_files else local.load(path)

        return envfile.with_digests(node, envfile.read_env_files(node.env_files, read))

    def _checked(self, selection: Selection) -> Selection:
        """What only matters to commands that act."""
        selection = _not_beyond(selection, self._words, self._finder)
        if not self._traits.spawns:
            return selection
        for node in selection.nodes:
            # Of nodes that nobody named, one whose command is not known is refused alone.
            named = self._traits.restarts and self._spec.names
            if isinstance(node.command, Unknown) and (named or self._spec.says_words):
                raise UsageError(
                    node.name,
                    f"has no recorded command to start again: {node.command.why}",
                    "give the worker's options, as for 'multi start'",
                )
        selection = _with_fallbacks(self._words, selection)
        here = self._words.here
        if not here.cwd and any(node.workdir is None for node in selection.nodes):
            gone = "the current directory has been removed, and nodes without a workdir are started in it"
            selection = replace(selection, warnings=(*selection.warnings, f"{gone}; give --workdir"))
        checked = _without_needless_root(selection, here.environ, here.uid)
        return selection if self._traits.unattended else checked  # cron mails what `start` has said already


def _not_beyond(selection: Selection, words: Words, finder: Finder) -> Selection:
    """Nothing is started that runs where another user's environment put it; to stop it, more has to be said."""
    warnings: dict[str, list[str]] = {}
    acts = not words.traits.unattended and (words.traits.spawns or words.traits.disturbs)
    for node, there in finder.beyond(selection) if acts else ():
        if words.traits.spawns:
            raise runs_already(node, there)
        from multi.selection.found import template

        add = f"in {there.rundir}, where this command does not look; add --pidfile={template(there)}"
        warnings.setdefault(add, []).append(node.short)
    said = tuple(f"running elsewhere: {some(names)} {add}" for add, names in warnings.items())
    return replace(selection, warnings=(*selection.warnings, *said))


def _with_shown_logs(selection: Selection, words: Words, finder: Finder) -> Selection:
    """The nodes whose output a `run` shows, with the log that they have for that, unless somebody names another."""
    said = selection.sources  # by the name that the words make: one that is on record by another name is as it is there
    nobodys = [node for node in selection.nodes if node.name in said and nobody_said("logfile", said[node.name])]
    records = [(node, finder.recall(node)) for node in nobodys]
    shown = {
        node.name
        for node, record in records
        if record is not None and not record.stopped and record.node.logfile == record.node.outputfile
    }
    if not shown:
        return selection
    commands = {node.name: node.command for node in words.expand(words.spec, foreground=True).nodes}
    nodes = (
        replace(node, logfile=node.outputfile, command=commands.get(node.name, node.command))
        if node.name in shown and node.logfile != node.outputfile
        else node
        for node in selection.nodes
    )
    return replace(selection, nodes=tuple(nodes))


def _refuse_others_log(node: Node, machine: Machine) -> None:
    """Where the node of another user logs, only that user's record tells."""
    file = machine.read(node.recordfile, 1 << 20)
    if machine.me().uid != 0 or node.uid is not None or not isinstance(file, File):
        return
    if file.uid not in {0, machine.me().uid}:
        user = machine.user_name(file.uid)
        why = f"has a record that belongs to {user}, which root does not believe"
        raise UsageError(node.short, why, f"give --uid {user} if it is that user's node")


def _with_fallbacks(words: Words, selection: Selection) -> Selection:
    """The selection with the proofs of nodes that cannot give the one that is asked of them.

    A Python without our entry point cannot say READY, and a log that is a terminal or a pipe cannot be read.
    """
    fallbacks: dict[str, Fallback] = {}
    for node in selection.nodes:
        if node.ready.sign == "line" and not node.logs_to_file:
            note = f"its log is {node.logfile}, which cannot be read again, so OK only means that it stayed alive"
            fallbacks[node.name] = Fallback(Ready(), _FALLBACK_SECONDS, note)
        if node.ready.sign != "word":
            continue
        try:
            preset = words.preset(node.preset)
        except ConfigError:
            continue  # a recorded node is started as it was, also when its preset is gone by now
        if preset.ready_fallback is not None:
            note = preset.ready_fallback_note
            fallbacks[node.name] = Fallback(preset.ready_fallback, _FALLBACK_SECONDS, note, asks=True)
    return replace(selection, fallbacks=fallbacks)


def _add(nodes: dict[str, Node], node: Node) -> None:
    before = nodes.get(node.name, node)
    if before.rundir != node.rundir:
        raise either(node.short, before, node)
    nodes[node.name] = node


def _foreign_pidfiles(rundir: str, pidfiles: Sequence[str]) -> str:
    names = some([path.rpartition("/")[2].removesuffix(".pid") for path in pidfiles])
    return f"{rundir} holds pidfiles of other tools, which are left alone unless named: {names}"


def _left_alone(doubted: Sequence[Record], machine: Machine) -> str:
    names = some([record.node.short for record in doubted])
    users = dict.fromkeys(machine.user_name(record.owner) for record in doubted if record.owner is not None)
    hint = " or ".join(f"--uid {user}" for user in users)
    return (
        f"left alone: {names}, whose records belong to {' and '.join(users)}; give {hint} if they are that user's nodes"
    )


def _superseded(record: Record, machine: Machine) -> bool:
    """Whether another tool has started a node that `multi` had stopped: the pidfile is not ours."""
    return record.stopped and machine.read(record.node.pidfile, 0) is not None


def _says_command(name: str, expansion: Selection) -> bool:
    """Whether anybody says now what a node runs: the words, the configuration or the environment."""
    sources = expansion.sources[name]
    settings = ("cmd", "preset", "append", "executable")
    return name not in expansion.unsaid or not all(nobody_said(setting, sources) for setting in settings)


def _without_needless_root(selection: Selection, environ: Mapping[str, str], uid: int) -> Selection:
    """Root is no user for workers: warn, or refuse where `root` says ``deny``."""
    rooted = [node for node in selection.nodes if node.uid is None]
    if uid != 0 or not rooted:
        return selection
    policies = {selection.settings.get(node.name, {}).get("root", "warn") for node in rooted}
    if "deny" in policies:
        names = " ".join(node.short for node in rooted[:5])
        raise NotPermittedError(names, 'would run as root, which the setting root = "deny" refuses', "give --uid USER")
    if "warn" not in policies or any(environ.get(name) for name in ("C_FORCE_ROOT", "MULTI_FORCE_ROOT")):
        return selection
    number = "one node runs" if len(rooted) == 1 else f"{len(rooted)} nodes run"
    warning = f"{number} as root; give --uid USER, or --root=allow if it must be so"
    return replace(selection, warnings=(*selection.warnings, warning))
