"""Run a function of tfopt in a child process, so that a crash, a hang or an out-of-memory there is an error here.

The parent writes one JSON request per line to the standard input of the child, `child_process`, which answers with JSON lines on
its former standard output. Everything that TensorFlow and its C++ code print goes to the child's standard error, a log file.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from tfopt import errors
from tfopt.progress import Progress, ignore
from tfopt.request import Request

_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",  # conversion gains nothing from a GPU that the caller may be using
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TFOPT_IN_CHILD": "1",
}


class Child:
    """A child process that runs functions of tfopt by name. A context manager: leaving it kills the child.

    Example:

    ```python
    with Child(preload="tensorflow") as child:        # starts at once, so that its imports overlap with your work
        child.call("tfopt.conversion.export_job:export_saved", request, timeout=60)
    ```

    Args:
        preload: name of a module to import before the first call.
        verbose: bool, whether the output of the child goes to this process's standard error instead of a hidden log.
    """

    def __init__(self, *, preload: str = "", verbose: bool = False) -> None:
        self._log = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        package = str(pathlib.Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        # -P: the working folder may hold anything, so it must not be a place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tfopt.child_process", preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # both are pipes
        self._requests, self._output = self._process.stdin, self._process.stdout
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._is_busy = False
        self._log_start = 0  # where the log of the current call begins
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # a request that the child never read
            self._requests.close()
        self._output.close()
        if self._log:
            self._log.close()

    def is_idle(self) -> bool:
        """Whether the process lives and waits for a call."""
        return not self._is_busy and self._process.poll() is None

    def call(
        self, target: str, request: Request, *, timeout: float, progress: Progress = ignore, suspects: Sequence[str] = ()
    ) -> Any:
        """Calls `target(request.to_json(), progress)` in the child.

        Args:
            target: "module:function" of tfopt. The function takes the request as JSON and a `Progress`.
            request: the `Request` that it is called with.
            timeout: seconds that the call may take.
            progress: called with each report of the child's function: "stage" names the current work, "suspects" the layers to
                name if the child dies.
            suspects: layers to name if the child dies before a report names others.

        Returns:
            The function's result, through JSON.

        Raises:
            ConversionError: the child died or took longer than `timeout`.
            TfoptError: the kind that the function raised.
        """
        stage, deadline = "start", time.monotonic() + timeout
        self._is_busy = True
        try:
            if self._log:
                self._log_start = self._log.seek(0, os.SEEK_END)
            self._requests.write(json.dumps({"target": target, "request": request.to_json()}) + "\n")
            self._requests.flush()
        except BrokenPipeError:
            pass  # it died already, which the answers below tell
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise errors.ConversionError(
                    f"The work must end within {timeout:g} s. Received: no end in the stage {stage!r}.{_accuse(suspects)} "
                    "Allow more time with --timeout (Python: timeout=...)."
                ) from None
            if answer is None:
                raise errors.ConversionError(self._death(stage, suspects))
            self._is_busy = "progress" in answer
            if "result" in answer:
                return answer["result"]
            if "error" in answer:
                kind = getattr(errors, answer["error"], None)
                if kind is None:
                    raise RuntimeError(f"tfopt failed in its child process, in the stage {stage!r}:\n{answer['traceback']}")
                raise kind(answer["message"])
            report = answer["progress"]
            stage = report.get("stage", stage)
            suspects = report.get("suspects", suspects)
            progress(report)

    def _listen(self) -> None:
        try:
            for line in self._output:
                self._answers.put(json.loads(line))
        except ValueError:
            pass  # the pipe was closed, or the child died within a line
        self._answers.put(None)

    def _death(self, stage: str, suspects: Sequence[str]) -> str:
        code = self._process.wait()
        name = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        memory = " Perhaps the memory ran out." if code == -signal.SIGKILL else ""
        return (
            f"The stage {stage!r} must end well. Received: its process died with {name}.{memory}{_accuse(suspects)}"
            f"{self._last_words()} This process and its files are unharmed. Try the model without the layers to suspect, or with "
            "--quantization dynamic (Python: quantization='dynamic')."
        )

    def _last_words(self) -> str:
        if not self._log:
            return ""
        self._log.seek(self._log_start)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        fatal = [line for line in lines if "error:" in line or "terminate called" in line or "Check failed" in line]
        return f" It last said: {fatal[-1][:300]}." if fatal else ""


_SHOWN = 8
"""Most layers that an error lists."""

_warm: dict[str, Child] = {}  # by preloaded module, the idle child that the next `warm_child` takes
_warm_lock = threading.Lock()
_owner = os.getpid()  # a fork of this process must not share the pipes of the children


@contextlib.contextmanager
def warm_child(preload: str = "tensorflow") -> Iterator[Child]:
    """Yields a child that has imported a module, and keeps it for the next call of this process.

    The first call starts the child. A child that died, or whose caller was interrupted, is not used again. Two calls at once have
    a child each; one of them is kept. The child ends with this process.

    Args:
        preload: name of the module that a new child imports before its first call; "" for none. Each module has a child of its own.
    """
    global _owner
    with _warm_lock:
        if _owner != os.getpid():
            _warm.clear()
            _owner = os.getpid()
        child = _warm.pop(preload, None)
    if child is not None and not child.is_idle():
        child.__exit__()
        child = None
    child = child or Child(preload=preload)
    try:
        yield child
    finally:
        with _warm_lock:
            kept = preload not in _warm and child.is_idle()
            if kept:
                _warm[preload] = child
        if not kept:
            child.__exit__()


@atexit.register
def end_warm_children() -> None:
    """Ends the children that `warm_child` keeps, if there are any, and frees their memory."""
    with _warm_lock:
        children = list(_warm.values()) if _owner == os.getpid() else []
        _warm.clear()
    for child in children:
        child.__exit__()


def run(target: str, request: Request, *, timeout: float = 3600.0, progress: Progress = ignore, verbose: bool = False) -> Any:
    """Calls one function in a child of its own: see `Child.call`."""
    with Child(verbose=verbose) as child:
        return child.call(target, request, timeout=timeout, progress=progress)


def is_child() -> bool:
    """Whether this process is such a child, whose death its parent survives."""
    return os.environ.get("TFOPT_IN_CHILD") == "1"


def _accuse(suspects: Sequence[str]) -> str:
    others = f" and {len(suspects) - _SHOWN} others" if len(suspects) > _SHOWN else ""
    return f" Layers to suspect: {', '.join(suspects[:_SHOWN])}{others}." if suspects else ""
