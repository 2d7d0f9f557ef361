"""Functions that tests run in a child process."""

import contextlib
import ctypes
import gc
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


def hold(request, progress):
    """Keeps Python's lock for ten minutes, as C++ code does that never lets it go."""
    progress({"stage": str(os.getpid())})
    ctypes.PyDLL(None).sleep(600)


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


def read_file(request, progress):
    """Reads a file that may do harm, with at most 4 GiB of memory, as a process of a user's would.

    Returns:
        "loaded" or the name of the tfopt error that refused the file. The last report has the most memory of a process in MiB.
    """
    import tfopt

    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
    os.environ.pop("TFOPT_IN_CHILD", None)
    asked = json.loads(request)
    try:
        _read(asked["path"], asked["kind"], asked["inspect"], progress)
        outcome = "loaded"
    except tfopt.TfoptError as error:
        outcome = type(error).__name__
        assert len(str(error)) > 20, f"a message that says nothing: {error}"
    # `ru_maxrss` of this process would begin with that of the process that started it.
    with open("/proc/self/status") as file:
        own = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    progress({"peak": max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024})
    return outcome


def _read(path, kind, inspect, progress):
    import numpy as np

    import tfopt
    from tfopt.data.open_samples import open_samples
    from tfopt.data.representative import draw
    from tfopt.data.signature import TensorSpec
    from tfopt.loading.custom_objects import by_name

    if path.endswith(".tflite"):
        progress({"stage": "inspect" if inspect else "benchmark"})
        if inspect:
            tfopt.inspect(path, verbose=False)
        else:
            tfopt.benchmark(path, runs=1, warmup=0, verbose=False)
    elif kind in (".npy", ".npz", "image"):
        progress({"stage": "data"})
        spec = TensorSpec("x", (None, 8, 8, 3) if kind == "image" else (None, 4), "float32")
        samples = open_samples(path, [spec], scale="0..1" if kind == "image" else None)
        for _ in samples.read():
            pass
        draw(samples, [spec], 5, 0)
        if kind == ".npy":
            open_samples(np.zeros((12, 4), "float32"), [spec], labels=path)
    elif kind == "custom_objects":
        progress({"stage": "custom objects"})
        by_name(path)
    else:
        progress({"stage": "load"})
        model = (tfopt.inspect if inspect else tfopt.load)(path, verbose=False)
        if kind == "saved_model" and not inspect:
            progress({"stage": "run"})
            _run(model)


def _run(model):
    """Runs a model; TensorFlow may refuse to."""
    import numpy as np
    import tensorflow as tf

    with contextlib.suppress(tf.errors.OpError, ValueError, TypeError, LookupError, AttributeError):
        model(np.ones([size or 1 for size in model.inputs[0].shape], "float32"))


def garbage(request, progress):
    """Whether garbage is collected, and how many objects are left out."""
    return gc.isenabled(), gc.get_freeze_count()
