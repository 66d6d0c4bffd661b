"""Nodes whose output a `run` shows keep the log that they have for that, unless somebody names another."""

from __future__ import annotations

from multi.typed import TYPE_CHECKING
from multi.value import replace
from multi.words.merge import nobody_said

if TYPE_CHECKING:
    from multi.selection.finder import Finder
    from multi.selection.words import Words
    from multi.words.spec import Selection


def with_shown_logs(selection: Selection, words: Words, finder: Finder) -> Selection:
    """The nodes as a command beside `run` takes them: it restarts them, compares them or reads their logs."""
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
