"""What workers print, line by line with `[worker 1]` before it, and one traceback for one failure.

A script that fails usually fails in every worker, or in one and then, for lack of that one, in the others. So a traceback is held
back until it is known whose came first: that one is shown, of the others the last line. A worker that goes on after a traceback has
logged it, and it is shown as it is.
"""

import dataclasses
import os
import re
import signal
import threading
import time

# Seconds after which a traceback is shown though its worker has not ended: it may have been logged only.
_HOLD = 5.0
# Seconds for which it may still be the cause of another worker's end: what fails under TensorFlow may take long to end.
_SUSPECT = 30.0
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_LINE = 1 << 20
_START = re.compile(r"(Traceback \(most recent call last\):|  \+ Exception Group Traceback)")
_FRAME = re.compile(r"\s*File \".*\", line \d+")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(:|$)")


@dataclasses.dataclass
class _Held:
    """Lines from the beginning of a traceback on."""

    since: float  # time.monotonic() of its first line
    lines: list

    def error(self):
        """The line that names the exception: behind the last frame, not indented, or indented where TensorFlow quotes it."""
        frames = [number for number, line in enumerate(self.lines) if _FRAME.match(line)]
        after = self.lines[frames[-1] + 1 :] if frames else self.lines[1:]
        plain = next((line for line in after if _ERROR.match(line)), None)
        quoted = next((line.strip() for line in after if _ERROR.match(line.strip())), self.lines[0])
        return plain or quoted

    def key(self):
        """What two tracebacks of the same failure have in common: the frames and the kind of exception, not its message."""
        return tuple(line for line in self.lines if _FRAME.match(line)), self.error().partition(":")[0]


class Output:
    """Writes the lines of workers to this process's standard output and error.

    Args:
        stdout: binary file for what workers write to their standard output.
        stderr: binary file for the rest.
        events: `queue.SimpleQueue` that gets ("signal", SIGPIPE) when nobody reads these files any more.
    """

    def __init__(self, stdout, stderr, events):
        self._files = {"stdout": stdout, "stderr": stderr}
        self._events = events
        self._lock = threading.RLock()
        self._held = {}
        self._shown = {}  # key of a traceback: the worker that it was shown of
        self._since = {}  # worker: time of its last traceback, held or shown

    def pump(self, worker, name, pipe):
        """Copies a worker's `name`, "stdout" or "stderr", from the file number `pipe` until its end."""
        rest = b""
        while chunk := os.read(pipe, 1 << 16):
            *lines, rest = _LINE_END.split(rest + chunk)
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.line(worker, name, line.decode(errors="replace"))
        if rest:
            self.line(worker, name, rest.decode(errors="replace"))

    def line(self, worker, name, text):
        """Takes one line of a worker."""
        with self._lock:
            if name == "stderr" and worker in self._held:
                self._held[worker].lines.append(text)
            elif name == "stderr" and _START.match(text):
                self._held[worker] = _Held(time.monotonic(), [text])
                self._since[worker] = self._held[worker].since
            else:
                self._write(worker, name, text)

    def first_traceback(self, workers):
        """The one of `workers` whose traceback came first of those that are recent, or None."""
        with self._lock:
            recent = [worker for worker in workers if time.monotonic() - self._since.get(worker, -_SUSPECT) < _SUSPECT]
            return min(recent, key=self._since.get, default=None)

    def release(self, *, older_than=_HOLD):
        """Shows what is held for longer than `older_than` seconds."""
        with self._lock:
            for worker in [w for w, held in self._held.items() if time.monotonic() - held.since >= older_than]:
                self._show(worker)

    def finish(self, cause=None, *, elsewhere=False, interrupted=False):
        """Shows what is held after all workers have ended.

        Args:
            cause: number of the worker that failed first, or None. Of others the last line is shown.
            elsewhere: bool, whether what failed first was none of these workers.
            interrupted: bool, whether they were interrupted, and would not have failed by themselves.
        """
        with self._lock:
            if cause in self._held:
                self._show(cause)
            for worker in sorted(self._held, key=lambda worker: self._held[worker].since):
                error = self._held[worker].error()
                # Anywhere: the worker's own children were interrupted too, and what they write mixes with its lines.
                if interrupted and any("KeyboardInterrupt" in line for line in self._held[worker].lines):
                    del self._held[worker]
                elif cause is None and not elsewhere:
                    self._show(worker)
                else:
                    del self._held[worker]
                    first = "another node" if elsewhere else f"worker {cause}"
                    self._write(worker, "stderr", f"{error} (traceback left out: {first} failed first)")

    def _show(self, worker):
        held = self._held.pop(worker)
        before = self._shown.setdefault(held.key(), worker)
        if before != worker:
            self._write(worker, "stderr", f"{held.error()} (traceback left out: the same as that of worker {before})")
            return
        for line in held.lines:
            self._write(worker, "stderr", line)

    def _write(self, worker, name, text):
        file = self._files[name]
        try:
            file.write(f"[worker {worker}] {text}\n".encode(errors="replace"))
            file.flush()
        except BrokenPipeError:  # as in `tfopt launch ... | head`; the worker must not wait for a reader of its pipe meanwhile
            self._files[name] = open(os.devnull, "wb")  # noqa: SIM115 (until the process ends)
            self._events.put(("signal", signal.SIGPIPE))
