"""Sends tasks to the workers of this app and shows what comes back.

    python drive.py call add 2 3 --queue short        send, wait, show the result and who made it
    python drive.py begin sleep_for 5 --queue long    send, wait until a worker has begun it, print its id
    python drive.py send add 20 22 --queue long       send, print its id
    python drive.py result ID                         wait for the result of an earlier one

Exits 1 when the answer does not come in time.
"""

from __future__ import annotations

import argparse
import sys
import time

from celery.exceptions import TimeoutError as NoResultError
from celery.result import AsyncResult

import tasks

POLL = 0.05  # seconds between two looks at the result file
TASKS = {"add": tasks.add, "sleep_for": tasks.sleep_for, "uninterruptible": tasks.uninterruptible}


def number(word: str) -> float:
    """``"2"`` -> 2, ``"0.5"`` -> 0.5."""
    return int(word) if word.lstrip("-").isdigit() else float(word)


def send(order: argparse.Namespace) -> AsyncResult:
    """Put the task into its queue."""
    return TASKS[order.task].apply_async(order.args, queue=order.queue)


def begun(result: AsyncResult, timeout: float) -> bool:
    """Wait until a worker reports progress, or has finished already."""
    end = time.monotonic() + timeout
    while result.state == "PENDING":
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def show(result: AsyncResult, timeout: float, what: str) -> bool:
    """Wait for the result and print it with the name of the worker."""
    try:
        value = result.get(timeout=timeout, interval=POLL)
    except NoResultError:
        return False
    print(f"{what} = {value}, by {result.worker}")
    return True


def parse(words: list[str]) -> argparse.Namespace:
    """Words -> what to do."""
    parser = argparse.ArgumentParser(description="Send tasks to the workers of this app.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("call", "begin", "send"):
        command = verbs.add_parser(verb)
        command.add_argument("task", choices=sorted(TASKS))
        command.add_argument("args", nargs="*", type=number)
        command.add_argument("--queue", default="celery")
        command.add_argument("--timeout", type=float, default=60, help="seconds")
    command = verbs.add_parser("result")
    command.add_argument("id")
    command.add_argument("--timeout", type=float, default=60, help="seconds")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    order = parse(words)
    if order.verb == "result":
        result, what = AsyncResult(order.id, app=tasks.app), order.id
    else:
        result, what = send(order), f"{order.queue}: {order.task}({', '.join(map(str, order.args))})"
    done = True
    if order.verb == "begin":
        done = begun(result, order.timeout)
    if order.verb in ("begin", "send"):
        print(result.id)
    else:
        done = show(result, order.timeout, what)
    if not done:
        print(f"{what}: nothing came back within {order.timeout:g} s; does a worker take this queue?", file=sys.stderr)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
