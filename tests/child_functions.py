"""What the tests of isolation run in the child process."""

import os
import sys
import time

from tfopt import errors


def count(request, progress):
    """Reports each step and returns them."""
    for done in range(request["to"]):
        progress({"stage": "count", "done": done + 1, "total": request["to"]})
    return list(range(request["to"]))


def refuse(request, progress):
    """Raises one of tfopt's errors."""
    raise getattr(errors, request["kind"])(request["message"])


def divide(request, progress):
    """Raises an error that tfopt did not foresee."""
    return 1 / 0


def die(request, progress):
    """Ends by a signal."""
    progress({"stage": "dig", "suspects": ["cave (LSTM)"]})
    os.kill(os.getpid(), request["signal"])
    time.sleep(60)


def leave(request, progress):
    """Exits without an answer."""
    os._exit(request["code"])


def sleep(request, progress):
    """Never returns in time."""
    progress({"stage": "sleep"})
    time.sleep(600)


def chatter(request, progress):
    """Prints more than a pipe holds, from Python and past it."""
    for _ in range(3000):
        print("from Python, on standard output")
        os.write(1, b"from C, on standard output\n")
    sys.stderr.write("and on standard error\n")
    return "done"


def pid(request, progress):
    """Tells the child's process id."""
    return os.getpid()
