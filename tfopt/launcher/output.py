"""`Output`: prints the lines of all workers with `[worker 1]` before each, and one traceback for one failure.

A script that fails usually fails in every worker, or in one worker and then in the others because they miss it. So a traceback is
held back until it is known which one came first. This traceback is shown, and the last line of each of the others. If a worker
continues after a traceback, it has only logged the traceback, which is then shown as it is.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import threading
import time
from collections.abc import Collection
from typing import BinaryIO, Literal

from tfopt.launcher.events import Events, Signaled

Stream = Literal["stdout", "stderr"]

# Seconds until a traceback is shown although its worker has not ended: the worker may only have logged it.
_HOLD = 5.0
# Seconds in which a traceback may be the cause of another worker's end: a failed program may need long to end under TensorFlow.
_SUSPECT = 30.0
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_LINE = 1 << 20
_START = re.compile(r"(Traceback \(most recent call last\):|  \+ Exception Group Traceback)")
_FRAME = re.compile(r"\s*File \".*\", line \d+")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(:|$)")


@dataclasses.dataclass
class _Held:
    """The lines of one worker since the start of a traceback."""

    since: float  # time.monotonic() of the first line
    lines: list[str]

    def error(self) -> str:
        """The line that names the exception: it follows the last frame, without indent unless TensorFlow quotes the exception."""
        frames = [number for number, line in enumerate(self.lines) if _FRAME.match(line)]
        after = self.lines[frames[-1] + 1 :] if frames else self.lines[1:]
        plain = next((line for line in after if _ERROR.match(line)), None)
        quoted = next((line.strip() for line in after if _ERROR.match(line.strip())), self.lines[0])
        return plain or quoted

    def key(self) -> tuple[tuple[str, ...], str]:
        """The parts that are equal in two tracebacks of the same failure: the frames and the kind of exception."""
        return tuple(line for line in self.lines if _FRAME.match(line)), self.error().partition(":")[0]


class Output:
    """Writes the lines of workers to this process's standard output and error.

    Args:
        stdout: binary file for the standard output of the workers.
        stderr: binary file for their standard error, and for notes about it.
        events: queue that gets SIGPIPE when nobody reads these files any more.
    """

    def __init__(self, stdout: BinaryIO, stderr: BinaryIO, events: Events) -> None:
        self._files: dict[Stream, BinaryIO] = {"stdout": stdout, "stderr": stderr}
        self._events = events
        self._lock = threading.RLock()
        self._held: dict[int, _Held] = {}
        self._shown: dict[tuple[tuple[str, ...], str], int] = {}  # key of a traceback -> the worker whose traceback was shown
        self._since: dict[int, float] = {}  # worker -> time of its last traceback, held or shown

    def pump(self, worker: int, name: Stream, pipe: int) -> None:
        """Copies a stream of a worker from the file number `pipe` until its end."""
        rest = b""
        while chunk := os.read(pipe, 1 << 16):
            *lines, rest = _LINE_END.split(rest + chunk)
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.line(worker, name, line.decode(errors="replace"))
        if rest:
            self.line(worker, name, rest.decode(errors="replace"))

    def line(self, worker: int, name: Stream, text: str) -> None:
        """Prints one line of a worker, or holds it back if it may belong to a traceback."""
        with self._lock:
            if name == "stderr" and worker in self._held:
                self._held[worker].lines.append(text)
            elif name == "stderr" and _START.match(text):
                self._held[worker] = _Held(time.monotonic(), [text])
                self._since[worker] = self._held[worker].since
            else:
                self._write(worker, name, text)

    def first_traceback(self, workers: Collection[int]) -> int | None:
        """Returns the worker with the first of the recent tracebacks of `workers`; None if there is no recent traceback."""
        with self._lock:
            recent = {worker: since for worker, since in self._since.items() if time.monotonic() - since < _SUSPECT}
            return min((worker for worker in workers if worker in recent), key=lambda worker: recent[worker], default=None)

    def release(self, *, older_than: float = _HOLD) -> None:
        """Shows the tracebacks that were held for `older_than` seconds (default 5) or longer."""
        with self._lock:
            for worker in [w for w, held in self._held.items() if time.monotonic() - held.since >= older_than]:
                self._show(worker)

    def finish(self, cause: int | None = None, *, elsewhere: bool = False, interrupted: bool = False) -> None:
        """Shows the held tracebacks after all workers have ended.

        Args:
            cause: the worker that failed first, whose traceback is shown, and of the other tracebacks the last line; None: no
                worker failed.
            elsewhere: whether the first failure was on another node.
            interrupted: whether the workers were interrupted, and would not have failed by themselves.
        """
        with self._lock:
            if cause is not None and cause in self._held:
                self._show(cause)
            for worker in sorted(self._held, key=lambda worker: self._held[worker].since):
                error = self._held[worker].error()
                # In any line: processes that the worker started were interrupted too, and their lines mix with its own.
                if interrupted and any("KeyboardInterrupt" in line for line in self._held[worker].lines):
                    del self._held[worker]
                elif cause is None and not elsewhere:
                    self._show(worker)
                else:
                    del self._held[worker]
                    first = "another node" if elsewhere else f"worker {cause}"
                    self._write(worker, "stderr", f"{error} (traceback left out: {first} failed first)")

    def _show(self, worker: int) -> None:
        held = self._held.pop(worker)
        before = self._shown.setdefault(held.key(), worker)
        if before != worker:
            self._write(worker, "stderr", f"{held.error()} (traceback left out: the same as in worker {before})")
            return
        for line in held.lines:
            self._write(worker, "stderr", line)

    def _write(self, worker: int, name: Stream, text: str) -> None:
        file = self._files[name]
        try:
            file.write(f"[worker {worker}] {text}\n".encode(errors="replace"))
            file.flush()
        except BrokenPipeError:  # as in `tfopt launch ... | head`; the worker must not wait for a reader of its pipe until it ends
            self._files[name] = open(os.devnull, "wb")  # noqa: SIM115 (until the process ends)
            self._events.put(Signaled(signal.SIGPIPE))
