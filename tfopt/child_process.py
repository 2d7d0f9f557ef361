"""The child's side of `isolation`: calls functions of tfopt by name until the parent is gone."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tfopt import errors


def _imported(name: str) -> ModuleType:
    """A module, imported without garbage collection: its objects live to the end, and to look at each takes seconds in all."""
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what C++ and Python print must not mix with the answers
    requests: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(1)  # the parent is gone, and with it the reason to go on

    threading.Thread(target=listen, daemon=True).start()
    if sys.argv[1:] and sys.argv[1]:
        _imported(sys.argv[1])

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    while True:
        call = requests.get()
        module, _, function = call["target"].partition(":")
        try:
            found = getattr(_imported(module), function)
            with _ended_by_its_parent():
                result = found(call["request"], lambda report: answer({"progress": report}))
            answer({"result": result})
        except errors.TfoptError as error:
            answer({"error": type(error).__name__, "message": str(error)})
        except Exception as error:  # its traceback is shown by the parent
            answer({"error": f"{type(error).__name__}!", "message": str(error), "traceback": traceback.format_exc()})


@contextlib.contextmanager
def _ended_by_its_parent() -> Iterator[None]:
    """Inside this context, the kernel ends this process when the other end of its standard input closes.

    The thread that listens there cannot, while C++ code such as the converter's holds Python's lock. No request arrives
    meanwhile, so that the signal of new input means the end of the parent.
    """
    try:
        import fcntl
    except ImportError:  # a system without it has no such signal either
        yield
        return
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(0, fcntl.F_SETFL, flags)


if __name__ == "__main__":
    _main()
