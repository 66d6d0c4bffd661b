"""The heart is one table; this is the same table, and each of its cells is tried.

Three writings of it are compared: the one here, that of the design, and the one that heads `multi.decide.table`.
"""

from __future__ import annotations

import re
import signal

import pytest

from multi.decide import table as decide
from multi.decide.resolve import needs_restart
from multi.decide.stay import stay
from multi.decide.table import route
from multi.model.node import Known, Unknown
from multi.model.process import Proc
from multi.model.record import Record
from multi.model.request import Due, Request
from multi.model.schedule import parse
from multi.model.state import SUSPENDED, Dead, Down, End, Lost, State, Stopping, Unsure, Up, proc_of
from multi.model.step import (
    Adopt,
    AwaitDown,
    AwaitEnd,
    AwaitReady,
    AwaitUp,
    Clear,
    Forget,
    Kill,
    PutOff,
    Refuse,
    Resume,
    Rewrite,
    Signal,
    Skip,
    Spawn,
    Step,
    Stop,
    Take,
)
from multi.testing.world import node_of
from multi.value import replace

COLUMNS = ("Down", "Up", "Stopping", "Dead", "Lost", "Unsure")
TABLE = """
start    | Spawn   | Skip               | AwaitEnd, Clear, Spawn | Clear, Spawn         | Adopt                     | Refuse
run      | Spawn   | Refuse; or Take; or as restart | AwaitEnd, Clear, Spawn | Clear, Spawn | Adopt, Refuse; or Take; or as restart | Refuse
stop     | Skip    | Signal             | Skip                   | Clear                | Adopt, Signal             | Refuse
stopwait | Skip    | Stop, Clear        | Stop, Clear            | Clear                | Adopt, Stop, Clear        | Refuse
restart  | Spawn   | Stop, Clear, Spawn | Stop, Clear, Spawn     | Clear, Spawn         | Adopt, Stop, Clear, Spawn | Refuse
kill     | Skip    | Kill, Clear        | Kill, Clear            | Clear                | Adopt, Kill, Clear        | Refuse
forget   | Skip; or Forget | Refuse     | Refuse                 | Refuse; or Clear, Forget | Refuse               | Refuse
remove   | Skip; or Forget | Stop, Clear, Forget | Stop, Clear, Forget | Clear, Forget   | Adopt, Stop, Clear, Forget | Refuse
ensure   | Skip    | Skip; or as restart | Skip                  | Clear, Spawn; or Skip | Adopt                    | Refuse
revive   | Skip    | Skip; or as restart | Skip                   | Clear, Spawn; or Skip | Skip                     | Refuse
apply    | Spawn   | Skip; or as restart | Stop, Clear, Spawn    | Clear, Spawn         | Adopt; or as restart      | Refuse
signal   | Refuse  | Signal             | Signal                 | Refuse               | Adopt, Signal             | Refuse
drain    | Refuse  | Drain              | Skip                   | Refuse               | Adopt, Drain              | Refuse
resume   | Refuse  | Consume            | Refuse                 | Refuse               | Adopt, Consume            | Refuse
up       | AwaitUp | Skip               | AwaitUp                | AwaitUp              | Skip                      | Refuse
down     | Skip    | AwaitDown          | AwaitDown              | Skip                 | AwaitDown                 | Refuse
"""  # noqa: E501 -- a table
# The rows that the design fixes, in its words.
DESIGN = """
start    | Spawn | Skip "already running" | Await its end by the schedule, Clear, Spawn | Clear, Spawn | Adopt | Refuse
stop     | Skip  | Signal first of schedule | Skip "already stopping" | Clear | Adopt, Signal | Refuse
stopwait | Skip  | Stop(schedule), Clear | Stop(schedule), Clear | Clear | Adopt, Stop, Clear | Refuse
restart  | Spawn | Stop, Clear, Spawn | Stop, Clear, Spawn | Clear, Spawn | Adopt, Stop, Clear, Spawn | Refuse
kill     | Skip  | Kill tree, Clear | Kill tree, Clear | Clear | Adopt, Kill tree, Clear | Refuse
"""

PROC = Proc(4000, "boot:1")
NODE = node_of(reload_signal=int(signal.SIGHUP))
RECORD = Record(node=NODE, proc=PROC)
SEEN: dict[str, State] = {
    "Down": Down(),
    "Up": Up(PROC),
    "Stopping": Stopping(PROC),
    "Dead": Dead("pid 4000 is gone"),
    "Lost": Lost(PROC, "its pidfile is gone"),
    "Unsure": Unsure("/run/w1.pid is a symbolic link"),
}
TERM, QUIT, KILL = int(signal.SIGTERM), int(signal.SIGQUIT), int(signal.SIGKILL)


def infos(text: str) -> dict[tuple[str, str], str]:
    """A written table as (command, sighting) -> cell. An empty first cell goes on with the row before."""
    table: dict[tuple[str, str], str] = {}
    command = ""
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[1:] == list(COLUMNS):
            continue
        command = cells[0] or command
        for column, cell in zip(COLUMNS, cells[1:], strict=True):
            table[command, column] = f"{table.get((command, column), '')} {cell}".strip()
    return table


PAGE = infos(TABLE)


def names(steps: tuple[Step, ...]) -> str:
    """Steps as a cell has them."""
    return ", ".join(type(step).__name__ for step in steps)


def steps(command: str, seen: State, signum: int | None = None) -> tuple[Step, ...]:
    """What is decided."""
    return route(Request(command, signum), seen, NODE).steps


@pytest.mark.parametrize(("command", "column"), PAGE, ids="-".join)
def test_each_cell(command: str, column: str) -> None:
    """What is decided is what the table says; before an ``; or`` stands the usual case."""
    assert names(steps(command, SEEN[column])) == PAGE[command, column].partition(";")[0]


def test_the_module_is_headed_by_the_same_table() -> None:
    """The table that a reader finds in `multi.decide.table` is this one, cell by cell."""
    lines = [line for line in (decide.__doc__ or "").splitlines() if line.strip().startswith("|")]
    assert infos("\n".join(lines)) == PAGE


def test_the_design_has_the_same_table() -> None:
    """The words of the design mean these steps."""
    for place, cell in infos(DESIGN).items():
        plain = re.sub(r'\(schedule\)| "[^"]*"| tree| first of schedule', "", cell)
        assert plain.replace("Await its end by the schedule", "AwaitEnd") == PAGE[place]


def test_every_command_has_a_row() -> None:
    """Nothing is decided outside the table, and nothing is in it that is not decided."""
    assert {command for command, _ in PAGE} | {"reload", "dump"} == set(decide._ROWS)  # noqa: SLF001 -- the table itself
    with pytest.raises(KeyError):
        route(Request("no such command"), Down(), NODE)


def test_unsure_is_never_touched() -> None:
    """Whatever is asked, a doubt is refused with its reason."""
    for command, _ in PAGE:
        assert steps(command, SEEN["Unsure"]) == (Refuse("/run/w1.pid is a symbolic link"),)


# --- what the cells carry --------------------------------------------------------------------------------------


def test_reasons_to_skip() -> None:
    """Nothing to do is success, and says why in the words of the design."""
    assert steps("start", Up(PROC)) == (Skip("already running"),)
    assert steps("stop", Stopping(PROC)) == (Skip("already stopping"),)
    for command in ("stop", "stopwait", "kill", "down", "ensure"):
        assert steps(command, Down()) == (Skip("not running"),)


def test_the_signal_of_a_stop() -> None:
    """A stop sends the first signal of the schedule, or the one that was given with the command."""
    assert steps("stop", Up(PROC)) == (Signal(PROC, TERM, stop=True),)
    assert steps("stop", Up(PROC), QUIT) == (Signal(PROC, QUIT, stop=True),)
    assert steps("stop", SEEN["Lost"], QUIT)[1] == Signal(PROC, QUIT, stop=True)


@pytest.mark.parametrize("column", ["Up", "Stopping", "Lost"])
@pytest.mark.parametrize(("command", "again"), [("stopwait", False), ("restart", True)])
def test_the_schedule_of_a_stop(command: str, column: str, again: bool) -> None:
    """Stops walk the node's own schedule, or with the first signal that was given, and know if a start follows."""
    schedule = parse("TERM/10/KILL/5")
    for signum, expected in ((None, schedule), (QUIT, parse("QUIT/10/KILL/5"))):
        decided = steps(command, SEEN[column], signum)
        assert [step for step in decided if isinstance(step, Stop)] == [Stop(PROC, expected, again)]
        assert [step for step in decided if isinstance(step, Clear)] == [Clear(keep=again)]


@pytest.mark.parametrize(
    ("command", "keep"), [("start", True), ("restart", True), ("ensure", True), ("stop", False), ("kill", False)]
)
def test_what_is_cleared(command: str, keep: bool) -> None:
    """Leftovers are cleared with their reason; the record stays where a start follows, so that nothing is lost (G3)."""
    assert steps(command, SEEN["Dead"])[0] == Clear("pid 4000 is gone", keep)


def test_adopt_says_why() -> None:
    """An adoption carries the process and the reason."""
    for command in ("start", "stop", "stopwait", "restart", "kill", "ensure", "signal", "apply"):
        assert steps(command, SEEN["Lost"], TERM)[0] == Adopt(PROC, "its pidfile is gone")


def test_start_over_a_stop() -> None:
    """A stop under way is waited for without a second signal; one whose signal was never sent gets it (G6)."""
    schedule = parse("TERM/10/KILL/5")
    assert steps("start", Stopping(PROC))[0] == AwaitEnd(PROC, schedule)
    assert steps("start", Stopping(PROC, sent=False))[0] == Stop(PROC, schedule, again=True)
    assert steps("start", Stopping(PROC), QUIT)[0] == AwaitEnd(PROC, parse("QUIT/10/KILL/5"))


def test_a_stop_that_was_cut_off() -> None:
    """A stop that was put on record but never sent is sent."""
    assert steps("stop", Stopping(PROC, sent=False)) == (Signal(PROC, TERM, stop=True),)


@pytest.mark.parametrize("command", ["start", "ensure", "apply"])
def test_what_is_not_ready_yet_is_waited_for(command: str) -> None:
    """Somebody else's start that was cut off is waited for: OK means running (G4)."""
    request = Request(command, recorded=NODE)
    assert route(request, Up(PROC, ready=False), NODE).steps == (AwaitReady(PROC),)


def test_waiting_touches_nothing() -> None:
    """``wait`` never starts, stops or adopts anything."""
    assert steps("up", Up(PROC, ready=False)) == (AwaitUp(),)
    harmless = (Skip, AwaitUp, AwaitDown, Refuse)
    for command in ("up", "down"):
        for seen in SEEN.values():
            assert all(isinstance(step, harmless) for step in steps(command, seen))


def test_nothing_is_explained_after_a_stop_that_was_asked_for() -> None:
    """The files of a node that ended because it was asked to are removed without a word; the node is not running."""
    stopped = Dead("pid 4000 is gone", on_purpose=True)
    for command in ("stop", "stopwait", "kill"):
        assert steps(command, stopped) == (Clear(""), Skip("not running"))
    assert steps("start", stopped) == (Clear("", keep=True), Spawn())
    assert steps("stopwait", Dead("pid 4000 is gone")) == (Clear("pid 4000 is gone"),)


def test_ensure_leaves_alone_what_was_stopped_on_purpose() -> None:
    """Only what died is started again; what was stopped by somebody stays stopped."""
    assert steps("ensure", Dead("pid 4000 is gone", on_purpose=True)) == (Skip("stopped on purpose"),)


def test_g14_what_was_stopped_is_started_from_its_record() -> None:
    """A start that says no command says where the command is from: the record, or the preset (G14)."""
    for state in (Down(), Down(on_record=True)):
        assert route(Request("start", recorded=NODE), state, NODE).steps == (Spawn("record"),)
        assert route(Request("start", says=False), state, NODE).steps == (Spawn("preset"),)
        for other in (Request("start"), Request("restart", recorded=NODE), Request("apply", recorded=NODE)):
            assert route(other, state, NODE).steps == (Spawn(),)


@pytest.mark.parametrize("state", [Down(on_record=True), Dead("why", on_purpose=True)], ids=str)
def test_g14_what_was_stopped_on_purpose_is_left_alone_unless_named(state: State) -> None:
    """Restarts, signals and waits for all nodes leave alone what was stopped; starts, and whoever names it, do not."""
    for command in ("restart", "signal", "reload", "up"):
        request = Request(command, TERM if command == "signal" else None, named=False)
        assert route(request, state, NODE).steps == (Skip("stopped on purpose"),)
    assert steps("restart", state)[-1] == Spawn()
    assert route(Request("start", named=False), state, NODE).steps[-1] == Spawn()
    assert route(Request("restart", named=False), Down(), NODE).steps == (Spawn(),), "it was never stopped"


def test_g14_a_restart_of_all_leaves_alone_what_is_being_stopped() -> None:
    """A stop that was asked for is not taken back; a restart that was cut off goes on (G14)."""
    unnamed = Request("restart", named=False)
    assert route(unnamed, Stopping(PROC), NODE).steps == (Skip("stopped on purpose"),)
    assert names(route(unnamed, Stopping(PROC, again=True), NODE).steps) == "Stop, Clear, Spawn"


def test_g14_forget() -> None:
    """Only what was stopped is forgotten. Without names the others are skipped, with a name they are refused (G14)."""
    gone = Dead("pid 4000 is gone")
    assert steps("forget", Down(on_record=True)) == (Forget(),)
    assert steps("forget", Dead("why", on_purpose=True)) == (Clear(keep=True), Forget())
    assert steps("forget", Down()) == (Skip("not on record"),)
    for state in (Up(PROC), Stopping(PROC), gone, Lost(PROC, "why")):
        assert route(Request("forget", named=False), state, NODE).steps == (Skip("not stopped"),)
    assert steps("forget", gone) == (
        Refuse("it is dead, not stopped: pid 4000 is gone; 'multi stop w1' puts it on record as stopped"),
    )
    assert steps("forget", Up(PROC)) == (Refuse("it runs; 'multi stopwait w1' stops it"),)
    assert steps("remove", Down(on_record=True)) == (Forget(),)


def test_ensure_restarts_what_is_due() -> None:
    """By its own schedule, saying why, and only the very process that is due: another one may have taken its place."""
    due = Due(PROC, "it is large", planned=True)
    request = Request("ensure", due=due)
    assert route(request, Up(PROC), NODE).steps == (
        Stop(PROC, NODE.stop, again=True, why="it is large"),
        Clear(keep=True),
        Spawn(),
    )
    assert names(route(request, Up(Proc(4001, "boot:9")), NODE).steps) == "Skip"
    assert names(route(request, Up(PROC, suspended=True), NODE).steps) == "Skip"
    assert names(route(request, Stopping(PROC), NODE).steps) == "Skip"
    assert names(route(request, Dead("it exited"), NODE).steps) == "Clear, Spawn"


def test_ensure_leaves_alone_for_a_while_what_keeps_failing() -> None:
    """A node that dies again and again is given a pause; that is said, and is no success."""
    known = replace(RECORD, node=replace(NODE, restart_delay=10.0), proc=None, failures=3, failed=1000.0)
    (skip,) = steps("ensure", Dead("it exited with status 1", end=End(known, 1001.0)))
    assert isinstance(skip, Skip)
    assert not skip.met
    assert skip.why.startswith("it exited with status 1")
    assert re.search(r"left alone for 3\ds more", skip.why)
    assert names(steps("ensure", Dead("it exited with status 1", end=End(known, 1040.0)))) == "Clear, Spawn"


def test_what_is_given_up_is_left_alone_until_somebody_asks() -> None:
    """`ensure` and `run` give it up on record, and then say so; whoever says start means now."""
    known = replace(RECORD, node=replace(NODE, restart="always", restart_limit=(1, 60.0)), ends=(999.0,))
    dead = Dead("why", end=End(known, 1000.0))
    for command in ("ensure", "revive"):
        assert names(steps(command, dead)) == "Clear, GiveUp"
        (skip,) = steps(command, Dead("why", end=End(replace(known, gave_up="so"), 1000.0)))
        assert skip == Skip("given up: so; 'multi start w1' starts it again", met=False)
    for command in ("start", "restart"):
        assert names(steps(command, dead)) == "Clear, Spawn"


def test_what_run_asks_of_a_node_that_has_ended() -> None:
    """It is started again, put off, or on record as ended, as the rule says; never one that runs, or was stopped."""
    known = replace(RECORD, node=replace(NODE, restart="on-failure"))
    dead = Dead("why", end=End(known, 1000.0))
    assert names(route(Request("revive", status=1), dead, NODE).steps) == "Clear, PutOff"
    assert names(route(Request("revive", status=0), dead, NODE).steps) == "Clear, Finish"
    at_once = Dead("why", end=End(replace(known, node=replace(known.node, restart_delay=0.0)), 1000.0))
    assert names(route(Request("revive", status=1), at_once, NODE).steps) == "Clear, Spawn"


def test_run_takes_what_a_run_has_left_that_is_no_more() -> None:
    """As it is, if it runs as is asked for; else it is restarted. What another command started is left alone."""
    asked = Request("run", recorded=NODE)
    assert route(asked, Up(PROC, orphan=True), NODE).steps == (Take(PROC),)
    assert route(asked, Up(PROC, ready=False, orphan=True), NODE).steps == (Take(PROC), AwaitReady(PROC))
    assert names(route(asked, Lost(PROC, "why", orphan=True), NODE).steps) == "Adopt, Take"
    other = replace(NODE, nice=5)
    assert names(route(asked, Up(PROC, orphan=True), other).steps) == "Stop, Clear, Spawn"
    assert names(route(asked, Up(PROC), NODE).steps) == "Refuse"


def test_ensure_has_patience_only_with_what_died() -> None:
    """Whoever says start means now."""
    for command in ("start", "restart"):
        known = replace(RECORD, proc=None, failures=20, failed=1000.0)
        assert names(steps(command, Dead("why", end=End(known, 1000.0)))) == "Clear, Spawn"


def test_signal() -> None:
    """A signal that is no stop is the one that was given, or the preset's to reload or to dump stacks; else refused."""
    assert steps("signal", Up(PROC), QUIT) == (Signal(PROC, QUIT),)
    assert steps("reload", Up(PROC)) == (Signal(PROC, int(signal.SIGHUP)),)
    (refused,) = route(Request("reload"), Up(PROC), replace(NODE, reload_signal=None)).steps
    assert isinstance(refused, Refuse)
    assert "has no reload signal" in refused.why
    dumps = replace(NODE, dump_signal=int(signal.SIGUSR1))
    assert route(Request("dump"), Up(PROC), dumps).steps == (Signal(PROC, int(signal.SIGUSR1)),)
    (refused,) = route(Request("dump"), Up(PROC), replace(NODE, dump_signal=None)).steps
    assert isinstance(refused, Refuse)
    assert "has no signal that dumps stacks" in refused.why


def test_g6_reload_ends_nobody() -> None:
    """Who would end on HUP is not reloaded by it; another signal, or HUP where that itself is asked for, is sent."""
    fragile = Up(PROC, ends_on_hup=True)
    (refused,) = steps("reload", fragile)
    assert isinstance(refused, Refuse)
    assert refused.why.startswith("another tool started it, and HUP would end it; ")
    usr1 = replace(NODE, reload_signal=int(signal.SIGUSR1))
    assert route(Request("reload"), fragile, usr1).steps == (Signal(PROC, int(signal.SIGUSR1)),)
    assert steps("signal", fragile, int(signal.SIGHUP)) == (Signal(PROC, int(signal.SIGHUP)),)


def test_signal_to_nobody() -> None:
    """There is nobody to signal, and the reason is told."""
    assert steps("signal", Down(), TERM) == (Refuse("not running"),)
    assert steps("signal", SEEN["Dead"], TERM) == (Refuse("not running: pid 4000 is gone"),)


def test_kill() -> None:
    """KILL goes to the tree, whatever signal was given."""
    assert steps("kill", Up(PROC), TERM) == (Kill(PROC), Clear())


@pytest.mark.parametrize("column", ["Up", "Stopping", "Lost"])
@pytest.mark.parametrize("command", ["start", "stop", "stopwait", "restart", "apply"])
def test_what_stands_still_is_let_go_on(command: str, column: str) -> None:
    """It could neither work nor end when it is asked to; then everything is as ever (G3, G6)."""
    seen = SEEN[column]
    assert isinstance(seen, (Up, Stopping, Lost))
    assert steps(command, replace(seen, suspended=True)) == (Resume(PROC), *steps(command, seen))


def test_what_stands_still_and_is_left_so() -> None:
    """KILL needs nobody's help, a signal is the user's own word, and who only waits touches nothing."""
    for command in ("kill", "signal", "up", "down"):
        for seen in (Up(PROC, suspended=True), Stopping(PROC, suspended=True), Lost(PROC, "why", suspended=True)):
            assert Resume(PROC) not in steps(command, seen, TERM)


def test_ensure_of_what_stands_still() -> None:
    """A stop that was cut off goes on; what somebody holds on purpose is left alone, and is no success."""
    assert steps("ensure", Stopping(PROC, suspended=True)) == (Resume(PROC), Skip("already stopping"))
    (skip,) = steps("ensure", Up(PROC, suspended=True))
    assert isinstance(skip, Skip)
    assert not skip.met
    assert skip.why == SUSPENDED


# --- a command that is not known ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", SEEN.values(), ids=str)
@pytest.mark.parametrize("command", sorted(decide.COMMANDS))
def test_what_nobody_can_tell_is_not_started(command: str, seen: State) -> None:
    """A route to a start of a node whose command is not known is refused before its first step; others are as ever."""
    request = Request(command, TERM if command == "signal" else None)
    known = route(request, seen, NODE).steps
    steps = route(request, seen, replace(NODE, command=Unknown("nobody knows it"))).steps
    if any(isinstance(step, Spawn) for step in known):
        (refusal,) = steps
        assert isinstance(refusal, Refuse)
        assert refusal.why.endswith("nobody knows it; give the worker's options, as for 'multi start'")
    else:
        assert steps == known


# --- apply ------------------------------------------------------------------------------------------------------


def apply(recorded: object, seen: State) -> str:
    """What ``apply`` decides for a node that was started as `recorded`."""
    assert recorded is None or isinstance(recorded, type(NODE))
    return names(route(Request("apply", recorded=recorded), seen, NODE).steps)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("command", Known(("other",))),
        ("logfile", "/log/other.log"),
        ("workdir", "/srv"),
        ("uid", "worker"),
        ("gid", "worker"),
        ("umask", 0o77),
        ("nice", 5),
        ("env", (("A", "1"),)),
        ("env_read", (("A", "digest"),)),
        ("rlimits", (("NOFILE", 1, 1),)),
    ],
)
def test_apply_restarts_what_runs_otherwise(name: str, value: object) -> None:
    """What a process keeps from its start to its end makes a restart, and is named."""
    recorded = replace(NODE, **{name: value})  # type: ignore[arg-type]  # fields by name
    assert apply(recorded, Up(PROC)) == "Stop, Clear, Spawn"
    assert apply(recorded, SEEN["Lost"]) == "Adopt, Stop, Clear, Spawn"
    assert needs_restart(recorded, NODE) == (name,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop", parse("INT/1/KILL/1")),
        ("kill_mode", "process"),
        ("reload_signal", None),
        ("ready_timeout", 1.0),
        ("startsecs", 9.0),
        ("lock_timeout", 9.0),
        ("origin", "elsewhere"),
    ],
)
def test_apply_rewrites_what_needs_no_restart(name: str, value: object) -> None:
    """What only `multi` needs to know is put on record, and the process goes on."""
    recorded = replace(NODE, **{name: value})  # type: ignore[arg-type]  # fields by name
    assert apply(recorded, Up(PROC)) == "Rewrite"
    assert apply(recorded, SEEN["Lost"]) == "Adopt, Rewrite"
    assert route(Request("apply", recorded=recorded), Up(PROC, ready=False), NODE).steps == (
        Rewrite(),
        AwaitReady(PROC),
    )


def test_apply_leaves_alone_what_is_as_it_should_be() -> None:
    """Nothing is done to a node that runs as it is configured, or that nobody knows how it was started."""
    assert apply(NODE, Up(PROC)) == "Skip"
    assert apply(NODE, SEEN["Lost"]) == "Adopt"
    assert apply(None, Up(PROC)) == "Skip"


def test_apply_starts_what_is_not_there() -> None:
    """What is configured is to run, however it ended."""
    assert apply(NODE, Down()) == "Spawn"
    assert apply(NODE, Dead("why", on_purpose=True)) == "Clear, Spawn"
    assert apply(NODE, Stopping(PROC)) == "Stop, Clear, Spawn"


def test_proc_of() -> None:
    """A pid exists only where a process was proved."""
    found = {column: proc_of(seen) for column, seen in SEEN.items()}
    assert found == {"Down": None, "Up": PROC, "Stopping": PROC, "Dead": None, "Lost": PROC, "Unsure": None}


def test_spawn_needs_nothing() -> None:
    """A start says nothing about any process: there is none."""
    assert steps("start", Down()) == (Spawn(),)


def test_a_spawn_whose_lock_was_lost() -> None:
    """G2: nothing is started where another multi was faster, or where there is a doubt."""
    found = [type(decide.spawn_again(SEEN[column])).__name__ for column in COLUMNS]
    assert found == ["Spawn", "Skip", "Skip", "Spawn", "Skip", "Refuse"]


PUT_OFF = replace(RECORD, node=replace(NODE, restart="always", restart_delay=2.0), proc=None, failures=1, failed=1000.0)
STOPPED, RESTARTING = replace(RECORD, desired="stopped"), replace(RECORD, desired="restarting")


@pytest.mark.parametrize(
    ("state", "record", "step"),
    [
        (SEEN["Up"], RECORD, AwaitDown(PROC)),
        (SEEN["Stopping"], STOPPED, AwaitDown(PROC)),
        (SEEN["Lost"], None, AwaitDown(PROC)),
        (SEEN["Unsure"], None, Refuse("/run/w1.pid is a symbolic link")),
        (SEEN["Down"], None, Skip("stopped on purpose")),
        (SEEN["Dead"], STOPPED, Skip("stopped on purpose")),
        (SEEN["Dead"], RESTARTING, Spawn()),
        (SEEN["Unsure"], RECORD, AwaitDown(PROC)),
        (SEEN["Dead"], RECORD, AwaitDown(PROC)),
        (SEEN["Dead"], replace(RECORD, proc=None), Refuse("pid 4000 is gone")),
        (Dead("why", end=End(RECORD, 1000.0)), replace(RECORD, proc=None), Refuse("why")),
        (Dead("why", end=End(RECORD, 1000.0)), PUT_OFF, PutOff(2.0)),
        (Dead("why", end=End(RECORD, 1002.0)), PUT_OFF, Spawn()),
        (Dead("why", end=End(RECORD, 1000.0)), replace(PUT_OFF, ends=(999.0,) * 6), Spawn()),
        (
            Dead("why", end=End(RECORD, 1000.0)),
            replace(PUT_OFF, gave_up="so"),
            Skip("given up: so; 'multi start w1' starts it again"),
        ),
        (SEEN["Up"], replace(RECORD, runner=Proc(77, "boot:1")), Skip("another command started it")),
        (SEEN["Down"], replace(RECORD, proc=None), Refuse("it is down")),
    ],
)
def test_what_run_does_about_a_node_of_its_own(state: State, record: Record | None, step: Step) -> None:
    """It stays with what runs, starts what a cut-off restart has stopped, and ends with what ended by itself."""
    found = stay(state, record, None)
    assert replace(found, after=2.0) == step if isinstance(found, PutOff) else found == step
