"""Words in, an exit code out: the command line.

`main` finds the command and `multi`'s own flags in the raw words, has the command carried out, and turns every mistake
of the user into one line and an exit code. A command that takes no nodes is a module of this folder. Click writes the
help and speaks to the shells that complete; it is imported for these alone, and never sees the words of the node
grammar.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence

from multi import __version__
from multi.cli import order as ours
from multi.cli.order import Order, split, take
from multi.cli.screen import Screen, complete_streams
from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PERMISSION, EXIT_USAGE, MultiError
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.machine import Machine

# What the kernel may refuse without a mistake of ours; any other OSError is a bug.
_SHORT = "EMFILE ENFILE ENOMEM ENOSPC EDQUOT EFBIG EAGAIN"
_DENIED = "EACCES EPERM EROFS EIO"
_REFUSED = frozenset(getattr(errno, name) for name in f"{_SHORT} {_DENIED}".split())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; `argv` without the program's name, `sys.argv` when None. The exit code of the process.

    Exit codes: 0 what was asked for is true of every node, 1 a node failed, 2 a mistake in words or config, 75 another
    `multi` holds a node, 77 permission, 130 interrupted; those of ``status`` are in its help.
    """
    complete_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    return serve(words, Screen(sys.stdout, sys.stderr, os.environ), os.environ)


def serve(
    words: Sequence[str],
    screen: Screen,
    environ: Mapping[str, str],
    machine: Machine | None = None,
    system: str = os.name,
) -> int:
    """`main` with everything it works with as arguments; `machine` None is the real one. Raises nothing but a bug."""
    try:
        code = _serve(words, screen, environ, machine, system)
    except KeyboardInterrupt:
        screen.wipe()
        screen.remark("interrupted: nothing more is done; 'multi status' tells what runs")
        code = EXIT_INTERRUPTED
    except Exception as error:
        why, code = _refusal(error)
        if not why:  # a bug, and its traceback is for us
            raise
        if _tells_states(words):
            from multi.cli import monitor

            code = monitor.unable(words, why, screen)
        else:
            screen.remark(why)
    if screen.error is not None:
        screen.remark(f"standard output: {screen.error.strerror}; what it was to show is lost")
        code = code or EXIT_FAILED
    return code


def _serve(
    words: Sequence[str], screen: Screen, environ: Mapping[str, str], machine: Machine | None, system: str
) -> int:
    if system == "nt":
        raise MultiError("Windows", "has no signals and no process groups, which multi needs", "run it under WSL")
    question = environ.get("_MULTI_COMPLETE")  # how the scripts of click ask, see click.shell_completion
    if question:
        from multi.cli import completion

        return completion.answer(question, screen, machine)
    leading, command, rest = split(words, _is_command)
    if command is None:
        return _without_command(take(leading, (*ours.GLOBAL, ours.SHORT_HELP, ours.VERSION))[1], screen)
    from multi.cli import commands

    row = commands.find(command)
    # To look is to run dry, so `show` takes the flag out of the words as `start` does.
    options = (*ours.GLOBAL, ours.DRY_RUN, *row.options)
    before = (*ours.GLOBAL, ours.DRY_RUN, *(option.leading for option in row.options))
    leading, given = take(leading, (*before, ours.SHORT_HELP, ours.VERSION))
    rest, more = take(rest, (*options, ours.SHORT_HELP) if rest[:1] == ours.SHORT_HELP.flags else options)
    given |= more
    if ours.VERSION.name in given:
        return _without_command(given, screen)
    if ours.HELP.name in given or ours.SHORT_HELP.name in given:
        from multi.cli import help as manual

        screen.say(manual.page(row, screen.width))
        return 0
    if row.traits.stays_as and environ.get("C_FAKEFORK") and ours.DRY_RUN.name not in given:
        row = commands.find(row.traits.stays_as)  # celery's word for "do not detach, I want to see it"
    order = Order(command=row, leading=leading, words=rest, given=given, screen=screen, machine=machine)
    if not row.takes_nodes:
        from importlib import import_module

        module = "importing" if row.name == "import" else row.name  # that is a word of the language
        code: int = import_module(f"multi.cli.{module}").carry_out(order)
        return code
    if order.has(ours.NO_COLOR):
        screen.colour = screen.error_colour = False
    if row.announced and screen.out_is_terminal and order.has(ours.VERBOSE) and not any(map(order.has, ours.SILENT)):
        screen.say(f"multi v{__version__}")
    return commands.carry_out(order)


def _is_command(word: str) -> bool:
    from multi.cli.commands import BY_NAME

    return word in BY_NAME


def _tells_states(words: Sequence[str]) -> bool:
    from multi.model.request import traits

    command = split(words, _is_command)[1]
    return command is not None and traits(command).tells_states


def _without_command(given: Mapping[str, str | None], screen: Screen) -> int:
    if ours.VERSION.name in given:
        screen.say(f"multi {__version__}")
        return 0
    if ours.HELP.name in given or ours.SHORT_HELP.name in given:
        from multi.cli import help as manual

        screen.say(manual.overview(screen.width))
        return 0
    screen.complain(
        "usage: multi COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]",
        "'multi help' lists the commands, 'multi help COMMAND' tells about one",
    )
    return EXIT_USAGE


def _refusal(error: Exception) -> tuple[str, int]:
    """What the user got wrong or the machine refused (a full disk, no permission), and the exit code; "" for a bug."""
    from multi.machine import MachineError  # no command that goes well pays the import

    code = EXIT_PERMISSION if getattr(error, "errno", 0) in {errno.EACCES, errno.EPERM} else EXIT_FAILED
    match error:
        case MultiError():
            return str(error), error.exit_code
        case MachineError():
            return str(error), code
        case ImportError() if os.strerror(errno.EMFILE) in str(error):
            return f"{os.strerror(errno.EMFILE)}; raise 'ulimit -n'", EXIT_FAILED
        case OSError() if error.errno in _REFUSED:
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}", code
    return "", code
