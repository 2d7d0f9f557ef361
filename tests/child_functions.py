"""Functions that tests run in a child process."""

import json
import os
import resource
import sys
import time

from tfopt import errors


def count(request, progress):
    """Reports each step and returns them."""
    total = json.loads(request)["to"]
    for done in range(total):
        progress({"stage": "count", "done": done + 1, "total": total})
    return list(range(total))


def refuse(request, progress):
    """Raises one of tfopt's errors."""
    asked = json.loads(request)
    raise getattr(errors, asked["kind"])(asked["message"])


def divide(request, progress):
    """Raises an error that tfopt did not foresee."""
    return 1 / 0


def die(request, progress):
    """Ends by a signal."""
    progress({"stage": "dig", "suspects": ["cave (LSTM)"]})
    os.kill(os.getpid(), json.loads(request)["signal"])
    time.sleep(60)


def leave(request, progress):
    """Exits without an answer."""
    os._exit(json.loads(request)["code"])


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


def change_folder(request, progress):
    """Goes to another working folder."""
    os.chdir(json.loads(request)["path"])


def read_model_file(request, progress):
    """Loads or inspects a model file that may do harm, with at most 4 GiB of memory, as a process of a user's would.

    Returns:
        "loaded" or the name of the tfopt error that refused the file.
    """
    import tfopt

    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
    os.environ.pop("TFOPT_IN_CHILD", None)
    asked = json.loads(request)
    path = asked["path"]
    try:
        if path.endswith(".tflite"):
            progress({"stage": "interpreter"})
            tfopt.Interpreter(path, probe=True)
            progress({"stage": "inspect"})
            tfopt.inspect(path)
        else:
            progress({"stage": "load"})
            (tfopt.inspect if asked["inspect"] else tfopt.load)(path)
    except tfopt.TfoptError as error:
        return type(error).__name__
    return "loaded"
