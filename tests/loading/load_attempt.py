"""A model file that may do harm, read in a child process."""

import dataclasses
import os
import resource

from tfopt.request import Request

MEMORY = 4 << 30  # bytes that the child may have


@dataclasses.dataclass(frozen=True)
class Attempt(Request):
    """The path of a file, and whether it is inspected rather than loaded."""

    path: str
    inspect: bool = False


def attempt(request, progress):
    """Reads one file, in the child.

    Returns:
        "loaded" or the name of the tfopt error that refused the file.
    """
    import tfopt

    if resource.getrlimit(resource.RLIMIT_DATA)[0] != MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.environ.pop("TFOPT_IN_CHILD", None)  # as in a process of a user's, which must survive
    asked = Attempt.from_json(request)
    try:
        if asked.path.endswith(".tflite"):
            progress({"stage": "interpreter"})
            tfopt.Interpreter(asked.path, probe=True)
            progress({"stage": "inspect"})
            tfopt.inspect(asked.path)
        else:
            progress({"stage": "load"})
            (tfopt.inspect if asked.inspect else tfopt.load)(asked.path)
    except tfopt.TfoptError as error:
        return type(error).__name__
    return "loaded"
