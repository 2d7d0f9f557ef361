"""`Attempt`: one run of the workers of this machine, from their start to the end of the last one."""

from __future__ import annotations

import queue
import signal
import sys
import time

from tfopt.launcher.events import Event, Events, Exited, Received, Signaled
from tfopt.launcher.job import Job, Outcome, Run
from tfopt.launcher.output import Output
from tfopt.launcher.workers import Worker

# Seconds from the request to end until the remaining workers are killed. After Ctrl-C they get more time, as scripts may save then.
GRACE = {signal.SIGTERM: 10.0, signal.SIGINT: 20.0}
# Seconds in which a second signal counts as the first: a wrapper may forward the Ctrl-C that the terminal has sent to all.
_SAME_SIGNAL = 0.5
_TICK = 0.2  # seconds


class Attempt:
    """Runs all workers of this machine once.

    The first worker that fails is the cause, and the others are asked to end. A signal to this launcher, or a failure on another
    node, ends all workers, too.

    Args:
        job: the script and the number of workers.
        run: the cluster of this run.
        events: the queue with the events of this launcher.
    """

    def __init__(self, job: Job, run: Run, events: Events) -> None:
        self._job, self._run, self._events = job, run, events
        self._output = Output(sys.stdout.buffer, sys.stderr.buffer, events)
        self._workers: dict[int, Worker] = {}
        self._running: set[int] = set()
        self._codes: dict[int, int] = {}  # of the workers that have ended
        self._deadline: float | None = None  # for the workers that were asked to end, of time.monotonic()
        self._cause: int | None = None  # the worker that failed first
        self._asked: set[int] = set()  # the workers that were asked to end after the failure of another one
        self._elsewhere: str | None = None  # the reason for the end, if it is on another node
        self._signal: tuple[int, float] | None = None  # the signal that ends the job, and when it came

    def run(self) -> Outcome:
        """Starts the workers and returns after the last one has ended."""
        try:
            self._start()
            while self._running:
                event = self._next_event()
                if isinstance(event, Exited):
                    self._take_exit(event)
                elif isinstance(event, Received):
                    self._take_message(event)
                elif isinstance(event, Signaled):
                    self._take_signal(event)
                self._keep_deadline()
        finally:
            for worker in self._workers.values():
                worker.close()
            self._output.finish(self._cause, elsewhere=self._elsewhere is not None, interrupted=self._signal is not None)
        return self._outcome()

    def _start(self) -> None:
        command = self._job.command()
        for place in range(self._job.workers):
            index = self._run.first + place
            environment, cpus = self._job.environment(self._run, index), self._job.cpus(place)
            self._workers[index] = Worker(index, command, environment, cpus=cpus, output=self._output, events=self._events)
            self._running.add(index)

    def _next_event(self) -> Event | None:
        try:
            return self._events.get(timeout=_TICK)
        except queue.Empty:
            return None

    def _take_exit(self, event: Exited) -> None:
        self._codes[event.index] = event.code
        self._running.discard(event.index)
        if event.code == 0 or self._deadline is not None:
            return
        # A worker that raised may end after another worker that fails without it. A worker that was killed is the cause itself.
        traced = None if event.code == -signal.SIGKILL else self._output.first_traceback({event.index, *self._running})
        self._cause = event.index if traced is None else traced
        self._asked = set(self._running)
        self._end(signal.SIGTERM)

    def _take_message(self, event: Received) -> None:
        if self._deadline is None and ("stop" in event.message or "gone" in event.message):
            self._elsewhere = event.message.get("stop", "Node 0 is gone")
            self._end(signal.SIGTERM)

    def _take_signal(self, event: Signaled) -> None:
        if self._signal is None:
            self._signal = event.number, time.monotonic()
            self._end(event.number)
        elif time.monotonic() - self._signal[1] > _SAME_SIGNAL:
            self._deadline = 0.0

    def _end(self, number: int) -> None:
        """Asks the running workers to end, and sets the deadline."""
        if number == signal.SIGPIPE:  # Python ignores it
            number = signal.SIGTERM
        for index in self._running:
            self._workers[index].signal(number)
        self._deadline = time.monotonic() + GRACE.get(signal.Signals(number), GRACE[signal.SIGTERM])

    def _keep_deadline(self) -> None:
        if self._deadline is None:
            self._output.release()
        elif time.monotonic() > self._deadline:
            for index in self._running:
                self._workers[index].signal(signal.SIGKILL)

    def _outcome(self) -> Outcome:
        if self._signal is not None:
            return Outcome(128 + self._signal[0], f"Stopped by {_name(self._signal[0])}: all workers have ended")
        if self._elsewhere is not None:
            return Outcome(1, self._elsewhere)  # node 0 knows the code, and whether all nodes start again
        if self._cause is None:
            return Outcome(0)
        code = self._codes[self._cause]
        if self._cause in self._asked and code in (0, -signal.SIGTERM, -signal.SIGKILL):
            code = 1  # it had raised, and was asked to end before Python returned its code
        died = f"was killed by signal {-code} ({_name(-code)})" if code < 0 else f"failed with exit code {code}"
        others = "; the other workers were stopped" if len(self._run.cluster) > 1 else ""
        reason = f"Worker {self._cause} of {len(self._run.cluster)} {died}{others}"
        return Outcome(128 - code if code < 0 else code, reason, again=True)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "a real-time signal"
