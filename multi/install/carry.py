"""Carry out a plan: all of it, or nothing. A plan that was cut off by KILL is made good by the next one."""

from __future__ import annotations

from multi.install.plan import Keep, Remove, Run, Step, Undo, Write
from multi.machine import FileWrite, MachineError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multi.install.plan import Plan
    from multi.machine import Machine


def carry_out(plan: Plan, machine: Machine) -> Iterator[Step]:
    """Do the steps, and yield each when it is done. Raises `MachineError`; then what was done is undone."""
    done: list[Step] = []
    try:
        for step in plan.steps:
            if isinstance(step, Run) and step.late:
                break
            done.append(step)  # undone also where it fails half starter
            _do(step, machine)
            yield step
    except GeneratorExit:
        raise
    except BaseException as error:
        left = _undo(done, machine)
        if isinstance(error, MachineError):
            what = f"not undone: {left}" if left else "all is as it was"
            raise MachineError(error.what, error.why, what, error.errno) from error
        raise
    for step in plan.steps[len(done) :]:
        try:
            _do(step, machine)
        except MachineError as error:
            raise MachineError(error.what, error.why, "what was installed stays", error.errno) from error
        yield step


def _do(step: Step, machine: Machine) -> None:
    match step:
        case Write(path, text, mode):
            _write(path, text, mode, machine)
        case Remove(path):
            machine.remove(path)
        case Run():
            _run(step, machine)
        case Keep() | Undo():
            pass


def _write(path: str, text: str, mode: int, machine: Machine) -> None:
    machine.make_directory(path.rpartition("/")[0], None, None)
    data = text.encode("utf-8", "surrogateescape")
    for error in machine.write([FileWrite(path, data, None, None, mode=mode)]):
        if error is not None:
            raise error


def _run(run: Run, machine: Machine) -> None:
    done = machine.run(run.words, run.data)
    if done.status:
        import shlex

        said = " ".join((done.err or done.out).split())
        how = f"exited with {done.status}" if done.status > 0 else f"was killed by signal {-done.status}"
        raise MachineError(f"'{shlex.join(run.words)}' {how}", said or "it printed nothing", "")


def _undo(steps: Sequence[Step], machine: Machine) -> str:
    """Undo the steps, the last first; what could not be undone, in words."""
    left: list[str] = []
    for step in reversed(steps):
        try:
            match step:
                case Write(path, _, _, None):
                    machine.remove(path)
                case Write(path, _, _, (text, mode)) | Remove(path, (text, mode)):
                    _write(path, text, mode, machine)
                case Run(undo=Run() as back) | Undo(back):
                    _run(back, machine)
                case _:
                    pass
        except MachineError as error:  # noqa: PERF203 -- a try costs nothing until it raises
            left.append(str(error))
    return "; ".join(left)
