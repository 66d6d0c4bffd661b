"""What the forms for containers share: `multi run` as the first process, and YAML.

The image holds `multi` beside the worker, as in examples/container. `multi run` reaps, keeps the stop schedule and asks
for readiness, so nearly nothing of a node is lost; the log is its standard error. Who runs it, with which variables and
how much of the machine is the engine's to say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping

from multi.errors import UsageError
from multi.export import form, run
from multi.export.form import Order
from multi.export.run import Run
from multi.model.node import Known, Node
from multi.model.schedule import FOREVER
from multi.settings.table import SETTINGS
from multi.text import printable, seconds_text
from multi.typed import cast
from multi.value import dataclass, replace

_MARGIN = 5  # seconds that `multi` has to end after its nodes, before the engine kills it
UNITS = ("b", "k", "m", "g")  # of memory, to engines
PROBE_SECONDS = 10  # that a probe may take: where processor time is short, Python needs some to start
HOME = "/tmp"  # noqa: S108 -- of the container: what can be written where its root cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One node, or counted nodes that differ in their number alone.

    `label` is what the engine calls it, `name` what `multi run` does. `nodes` are the full names that it stands for.
    `run` makes it. It is `logged` where it had a log of its own.
    """

    label: str
    name: str
    node: Node
    run: Run
    nodes: tuple[str, ...]
    logged: bool = False

    @property
    def probe(self) -> list[str]:
        """The command that asks for its health: one look at the files of the node, no question to a broker."""
        return ["multi", "status", self.name, "--health", "--multi-config=none"]

    @property
    def health(self) -> Mapping[str, str | int]:
        """How often and how long it is asked."""
        return {
            "interval": f"{seconds_text(max(1, self.node.alive_every))}s",
            "timeout": f"{PROBE_SECONDS}s",
            "retries": self.node.alive_failures,
            "start_period": f"{seconds_text(max(1, self.node.ready_timeout))}s",
        }

    @property
    def grace(self) -> int:
        """Seconds until the engine may kill: the whole schedule, and the time to say so."""
        total = self.node.stop.total
        return form.LONG if total == FOREVER else math.ceil(total) + _MARGIN


def services(order: Order, label: Callable[[str], str], *, counted: bool = True) -> list[Service]:
    """The services of the nodes; `label` makes a name that the engine takes. With `counted` one can have replicas.

    Raises `UsageError` where two have one.
    """
    if re.search(r"\s", order.wanted.image):
        raise UsageError(f"--image={order.wanted.image}", "is no name of an image", "write it like REGISTRY/NAME:TAG")
    found: list[Service] = []
    alone = {node.name: ("", (node.name,)) for node in order.nodes}
    stems = {**alone, **(_counted(order) if counted else {})}
    first = [node for node in order.nodes if stems[node.name][1][0] == node.name]  # the others are replicas of it
    for made, node in form.named(replace(order, nodes=first), lambda node: label(stems[node.name][0] or node.short)):
        stem, names = stems[node.name]
        name = (stem or node.short) + ("" if stem or node.host == order.hostname else f"@{node.host}")
        name += "@%h" if name.isdigit() else ""  # a number alone is how many
        here = _of_a_container(order, node)
        command = run.of(here, name, order.hostname)
        found.append(Service(label=made, name=name, node=here, run=command, nodes=names, logged=node.logs_to_file))
    return found


def check_namespace(order: Order, pattern: str) -> None:
    """Raise `UsageError` for a namespace that the engine would refuse."""
    name = order.wanted.namespace
    if name and not re.fullmatch(pattern, name):
        raise UsageError(f"--namespace={name}", "is no such name", "take small letters, digits and dashes")


def _counted(order: Order) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """The nodes that are counted from 1 and differ in nothing else, each with its stem and the names of all of them."""
    stems: dict[str, list[tuple[int, Node]]] = {}
    for node in order.nodes:
        match = re.fullmatch(r"(.*?[^\d-])-?([1-9]\d*)", node.short)
        if match and node.host == order.hostname:
            stems.setdefault(match[1], []).append((int(match[2]), node))
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for stem, nodes in stems.items():
        counted = [number for number, _ in nodes] == list(range(1, len(nodes) + 1))
        alike = {repr(_anonymous(node)) for _, node in nodes}
        taken = any(node.short == stem for node in order.nodes)
        if len(nodes) > 1 and counted and len(alike) == 1 and not taken:
            names = tuple(node.name for _, node in nodes)
            found |= dict.fromkeys(names, (stem, names))
    return found


def _anonymous(node: Node) -> object:
    """All of the node but what is its own: name and files."""
    bare = _without_log(node)
    words = tuple(word.replace(node.name, "%h") for word in bare.words)
    return replace(bare, name="", short="", pidfile="", logfile="", env_read=(), command=Known(words))


def _of_a_container(order: Order, node: Node) -> Node:
    """The node with the interpreter of the image in the place of ours, and without its log."""
    node = _without_log(node)
    if node.words[:1] == order.program[:1] and node.words[1:2] == ("-m",):
        node = replace(node, command=Known(node.words[1:]))  # the Python that runs `multi` there
    return _with_words(order, node)


def _without_log(node: Node) -> Node:
    """The node without the option that says its log, which is the container's standard error."""
    kept: list[str] = []
    for word in node.words:
        if node.logs_to_file and form.says_log(node, word):
            if "=" not in word and kept and kept[-1].startswith("-"):
                kept.pop()  # the option before it
            continue
        kept.append(word)
    return replace(node, command=Known(tuple(kept)), logfile="/dev/stderr")


def is_single(order: Order, service: Service) -> bool:
    """Whether a project has only one of it. Raises `UsageError` where more were asked for."""
    preset = order.presets.get(service.node.preset)
    if preset is None or not preset.single:
        return False
    count = order.wanted.replicas or len(service.nodes)
    if count > 1:
        why = f"is one alone in a project, and {count} of it would do everything {count} times"
        raise UsageError(service.node.name, why, "export it by itself, as one")
    return True


def _with_words(order: Order, node: Node) -> Node:
    """The node with what its preset needs in a container with a read-only root, unless that option is given."""
    words = order.presets[node.preset].container if node.preset in order.presets else ()
    if not words:
        return node
    spellings = next((each for each in order.presets[node.preset].spellings if words[0] in each), words[:1])
    if any(word.partition("=")[0] in spellings for word in node.words):
        return node
    return replace(node, command=Known((*node.words, *words)))


def number_of(name: str) -> int | None:
    """The number of a user or a group in the image, None where only the image knows it."""
    return 0 if name == "root" else int(name) if name.isascii() and name.isdigit() else None


def variables(order: Order, service: Service) -> tuple[dict[str, str], dict[str, str]]:
    """The variables that its preset says, and those that a user says, who may not want everybody to read them.

    Without those that the command in the container sets.
    """
    node = service.node
    preset = order.presets.get(node.preset)
    shipped = dict(cast("tuple[tuple[str, str], ...]", preset.defaults.get("env", ()))) if preset else {}
    known = {*dict(node.env_read), *service.run.sets}
    said = {name: value for name, value in form.set_env(node).items() if name not in known}
    of_preset = {name: value for name, value in said.items() if shipped.get(name) == value}
    return of_preset, {name: value for name, value in said.items() if name not in of_preset}


_OURS = frozenset(SETTINGS) - {"gid", "restart", "restart_delay", "restart_limit"}  # held by `multi run`, or said below


def no_image(order: Order, what: str = "IMAGE") -> list[str]:
    """What stands for the image where nobody said one, as a sentence."""
    return [] if order.wanted.image else [f"{what} is the image with the worker and multi: see examples/container."]


def remarks(order: Order, service: Service, held: Iterable[str], *others: str) -> list[str]:
    """What else there is to know of it, as sentences like `others`; `held` is what the form says of the rest."""
    found: list[str] = []
    if len(service.nodes) > 1:
        names = " ".join(name.partition("@")[0] for name in service.nodes)
        found.append(f"for {names}: each replica is a node with the name of its own host")
    if service.logged:
        found.append("logfile: its log is what the container prints")
    found += _elsewhere(service.node)
    found += form.lost(service.node, {*_OURS, *held, *(["gid"] if service.node.uid else [])})
    found += [order.remarks[name] for name in service.nodes if name in order.remarks]
    return [printable(remark) for remark in (*found, *others)]


def no_wait(service: Service, made: Mapping[str, str]) -> list[str]:
    """That it waits for no node of `after` which is not among those `made`, as a sentence."""
    absent = [name.partition("@")[0] for name in service.node.after if name not in made]
    return [f"does not wait here for {' '.join(absent)}"] if absent else []


def _elsewhere(node: Node) -> list[str]:
    """What is another file in the image than here, and what a container loses."""
    ours = dict.fromkeys(path for path in (node.words[0], node.workdir or "") if path.startswith("/"))
    lost = dict.fromkeys(word for word in node.words if word.rpartition("=")[2].startswith(f"{HOME}/"))
    return [
        *([f"paths of this machine, which the image has to have as well: {' '.join(ours)}"] if ours else []),
        *([f"in {HOME}, and so lost with the container, unless a volume is there: {' '.join(lost)}"] if lost else []),
    ]


# --- YAML -------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"(?:--|-|/)?[A-Za-z][A-Za-z0-9_./=%-]*|[1-9][0-9]*(?:s|[bkmg]|Ki|Mi|Gi)")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])  # to some readers these are no text


def yaml(node: Node, value: object, indent: int = 0) -> list[str]:
    """The lines of a mapping or a sequence. Raises `UsageError` for text that YAML cannot hold."""
    space = " " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, each in value.items():
            name = scalar(node, key)
            if isinstance(each, (Mapping, list)) and each:
                lines += [f"{space}{name}:", *yaml(node, each, indent + 2)]
            else:
                lines.append(f"{space}{name}: {scalar(node, each)}")
        return lines
    assert isinstance(value, list)  # noqa: S101 -- nothing else has lines
    for each in value:
        inner = yaml(node, each, indent + 2) if isinstance(each, (Mapping, list)) and each else []
        lines += [f"{space}- {inner[0].lstrip()}", *inner[1:]] if inner else [f"{space}- {scalar(node, each)}"]
    return lines


def scalar(node: Node, value: object) -> str:
    """JSON is YAML, but for what YAML has no pairs of escapes for, and what it does not allow unescaped."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    if form.undecodable(text):
        bad = next(char for char in text if form.undecodable(char))
        raise form.refusal(node, bad, "YAML can hold nothing but Unicode")
    return "".join(map(_character, text))


def _character(char: str) -> str:
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"  # noqa: PLR2004 -- four digits
