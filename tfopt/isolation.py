"""Run a function of tfopt in a child process, so that a crash, a hang or an out-of-memory there is an error here.

The parent writes one JSON request per line to the child's standard input; the child answers with JSON lines on what was its
standard output. Everything that TensorFlow and its C++ print goes to the child's standard error, a log file.
"""

import importlib
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
import traceback

from tfopt import errors

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
        child.call("tfopt.conversion.export:convert_saved", request, timeout=60)
    ```

    Args:
        preload: name of a module to import while waiting for the first call.
        verbose: bool, whether what the child prints goes to this process's standard error instead of a hidden log.
    """

    def __init__(self, *, preload="", verbose=False):
        self._log = None if verbose else tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        package = str(pathlib.Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        # -P: the working folder may hold anything, so it must not be a place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tfopt.isolation", preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
            text=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        if self._log:
            self._log.close()

    def call(self, target, request, *, timeout, progress=None, suspects=()):
        """Calls `target(request, progress)` in the child.

        Args:
            target: str, "module:function" of tfopt.
            request: JSON-able argument.
            timeout: float, seconds.
            progress: None or a function that is called with each dict that the child's function reports; "stage" in it
                names what goes on, "suspects" the layers to name if the child dies.
            suspects: layers to name if the child dies.

        Returns:
            What the function returned, through JSON.

        Raises:
            ConversionError: the child died or took longer than `timeout`.
            TfoptError: whatever kind the function raised.
        """
        stage, deadline = "start", time.monotonic() + timeout
        try:
            self._process.stdin.write(json.dumps({"target": target, "request": request}) + "\n")
            self._process.stdin.flush()
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
            if progress:
                progress(report)

    def _listen(self):
        try:
            for line in self._process.stdout:
                self._answers.put(json.loads(line))
        except ValueError:
            pass  # the pipe was closed, or the child died within a line
        self._answers.put(None)

    def _death(self, stage, suspects):
        code = self._process.wait()
        name = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        memory = " Perhaps the memory ran out." if code == -signal.SIGKILL else ""
        return (
            f"The stage {stage!r} must end well. Received: its process died with {name}.{memory}{_accuse(suspects)}"
            f"{self._last_words()} This process and its files are unharmed. Try the model without the layers to suspect, or with "
            "--quantization dynamic (Python: quantization='dynamic')."
        )

    def _last_words(self):
        if not self._log:
            return ""
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        fatal = [line for line in lines if "error:" in line or "terminate called" in line or "Check failed" in line]
        return f" It last said: {fatal[-1][:300]}." if fatal else ""


def run(target, request, *, timeout=3600.0, progress=None, verbose=False):
    """Calls one function in a child of its own: see `Child.call`."""
    with Child(verbose=verbose) as child:
        return child.call(target, request, timeout=timeout, progress=progress)


def is_child():
    """Whether this process is a child already, whose death its parent survives."""
    return os.environ.get("TFOPT_IN_CHILD") == "1"


def _accuse(suspects):
    return f" Layers to suspect: {', '.join(suspects)}." if suspects else ""


def _main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what C++ and Python print must not mix with the answers
    requests = queue.Queue()

    def listen():
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(1)  # the parent is gone, and with it the reason to go on

    threading.Thread(target=listen, daemon=True).start()
    if sys.argv[1:] and sys.argv[1]:
        importlib.import_module(sys.argv[1])

    def answer(content):
        answers.write(json.dumps(content) + "\n")

    while True:
        call = requests.get()
        module, _, function = call["target"].partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
            answer({"result": found(call["request"], lambda report: answer({"progress": report}))})
        except errors.TfoptError as error:
            answer({"error": type(error).__name__, "message": str(error)})
        except Exception as error:  # its traceback is shown by the parent
            answer({"error": f"{type(error).__name__}!", "message": str(error), "traceback": traceback.format_exc()})


if __name__ == "__main__":
    _main()
