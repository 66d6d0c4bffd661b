"""Words in, an order out: the command line.

`main` finds the command and `multi`'s own flags in the raw words, has the command carried out, and turns every mistake
of the user into one line and an exit code. Click writes the help and speaks to the shells that complete; it is
imported for these alone, and never sees the words of the node grammar.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from multi import __version__
from multi.cli import commands
from multi.cli import options as own
from multi.cli.order import Order, Pipeline, Session
from multi.cli.screen import Screen, complete_streams
from multi.cli.words import joined, split, take
from multi.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PERMISSION, EXIT_USAGE, MultiError
from multi.value import replace

_COMPLETE = "_MULTI_COMPLETE"  # how the scripts of click ask, see click.shell_completion
# What the kernel may refuse without a mistake of ours; any other OSError is a bug.
_SHORT = "EMFILE ENFILE ENOMEM ENOSPC EDQUOT EFBIG EAGAIN"
_DENIED = "EACCES EPERM EROFS EIO"
_REFUSED = frozenset(getattr(errno, name) for name in f"{_SHORT} {_DENIED}".split())
_USAGE = "usage: multi COMMAND [NODES] [OPTIONS] [-- WORKER WORDS]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; `argv` without the program's name, `sys.argv` when None. The exit code of the process.

    Exit codes: 0 what was asked for is true of every node, 1 a node failed, 2 a mistake in words or config, 75 another
    `multi` holds a node, 77 permission, 130 interrupted; those of ``status`` are in its help.
    """
    complete_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    screen = Screen(sys.stdout, sys.stderr, os.environ)
    return serve(words, _pipeline, screen, os.environ)


def serve(
    words: Sequence[str],
    pipeline: Callable[[], Pipeline],
    screen: Screen,
    environ: Mapping[str, str],
    system: str = os.name,
) -> int:
    """`main` with everything it works with as arguments. Raises nothing but a bug."""
    try:
        code = _serve(words, pipeline, screen, environ, system)
    except MultiError as error:
        screen.complain(commands.remark(str(error)))
        code = error.exit_code
    except KeyboardInterrupt:
        screen.wipe()
        screen.complain(commands.remark("interrupted: nothing more is done; 'multi status' tells what runs"))
        code = EXIT_INTERRUPTED
    except _refusals() as error:
        refusal = _refusal(error)
        if refusal is None:  # a bug, and its traceback is for us
            raise
        screen.complain(commands.remark(refusal))
        code = EXIT_PERMISSION if getattr(error, "errno", 0) in {errno.EACCES, errno.EPERM} else EXIT_FAILED
    if screen.error is not None:
        screen.complain(commands.remark(f"standard output: {screen.error.strerror}; what it was to show is lost"))
        code = code or EXIT_FAILED
    return code


def _pipeline() -> Pipeline:
    from multi import api as pipeline

    return pipeline


def _serve(
    words: Sequence[str],
    pipeline: Callable[[], Pipeline],
    screen: Screen,
    environ: Mapping[str, str],
    system: str,
) -> int:
    if system == "nt":
        raise MultiError("Windows", "has no signals and no process groups, which multi needs", "run it under WSL")
    session = Session(pipeline, screen)
    if environ.get(_COMPLETE):
        from multi.cli import completion

        return completion.answer(environ[_COMPLETE], session)
    order = _order(words, screen)
    if order is None:
        return EXIT_USAGE
    if order.command.name == "start" and environ.get("C_FAKEFORK") and not order.has(own.DRY_RUN):
        order = replace(order, command=commands.find("run"))  # celery's word for "do not detach, I want to see it"
    if order.has(own.NO_COLOR):
        screen.without_colour()
    if order.has(own.VERSION):
        screen.say(f"multi {__version__}")
        return 0
    if order.command.announced and screen.out_is_terminal and not any(map(order.has, own.SILENT)):
        screen.say(f"multi v{__version__}")
    return order.command.carry_out(order, session)


def _order(words: Sequence[str], screen: Screen) -> Order | None:
    """The words as an order; None, after the usage was shown, when there is no command in them."""
    parts = split(words, commands.is_command)
    if parts.command is None:
        leading = take(parts.leading, (*own.GLOBAL, own.SHORT_HELP, own.VERSION))
        given = leading.given
        if own.VERSION.name in given or own.HELP.name in given or own.SHORT_HELP.name in given:
            return Order(command=commands.find("help"), given=given)
        screen.complain(_USAGE, "'multi help' lists the commands, 'multi help COMMAND' tells about one")
        return None
    command = commands.find(parts.command)
    # To look is to run dry, so `show` takes the flag out of the words as `start` does.
    options = (*own.GLOBAL, own.DRY_RUN, *command.options)
    leading = take(joined(parts.leading), (*options, own.SHORT_HELP, own.VERSION))
    first = take(parts.rest[:1], (own.SHORT_HELP,))
    rest = take((*first.words, *parts.rest[1:]), options)
    given = {**leading.given, **first.given, **rest.given}
    if own.HELP.name in given or own.SHORT_HELP.name in given:
        return Order(command=commands.find("help"), words=(command.name,), given=given)
    return Order(command=command, leading=leading.words, words=rest.words, given=given)


def _refusals() -> tuple[type[Exception], ...]:
    """What may be a refusal; asked for when something was raised, so that no command pays the import."""
    from multi.machine import MachineError

    return MachineError, OSError, ImportError


def _refusal(error: Exception) -> str | None:
    """What the machine refused (a full disk, no permission), which is nobody's mistake in the words; None for a bug."""
    if isinstance(error, ImportError):
        return f"{os.strerror(errno.EMFILE)}; raise 'ulimit -n'" if os.strerror(errno.EMFILE) in str(error) else None
    if isinstance(error, OSError):
        if error.errno not in _REFUSED:
            return None
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)
