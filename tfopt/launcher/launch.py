"""A job of several workers: all start, all end when one fails, and all start again if that was asked for."""

import contextlib
import dataclasses
import os
import pathlib
import queue
import signal
import sys
import time

from tfopt import errors
from tfopt.launcher import nodes, rendezvous
from tfopt.launcher.output import Output
from tfopt.launcher.workers import Worker

# Seconds from the request to end until what still runs is killed: after a failure, and after Ctrl-C, when scripts may want to save.
_GRACE = {signal.SIGTERM: 10.0, signal.SIGINT: 20.0}
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What sizes the thread pools of TensorFlow (the first two), of oneDNN with OpenMP, and of OpenBLAS and MKL below NumPy.
_THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, and how often.

    Args:
        script: str, path of a Python file, or the name of a module.
        arguments: sequence of str for the script.
        workers: int, 1 or more.
        module: bool, whether `script` is the name of a module, as in `python -m`.
        threads_per_worker: int, 1 or more, or None: as TensorFlow chooses, a thread for every CPU.
        max_restarts: int, 0 or more; of several nodes, that of node 0 counts.
        nodes: int, machines that each run such a job, 1 or more.
        node_rank: int, the number of this one, from 0 on.
        coordinator: str, HOST:PORT at which the others reach node 0; None if there is one node.

    Raises:
        LaunchError: a number is out of range, or there is no such script.
    """

    script: str
    arguments: tuple = ()
    workers: int = 1
    module: bool = False
    threads_per_worker: int | None = None
    max_restarts: int = 0
    nodes: int = 1
    node_rank: int = 0
    coordinator: str | None = None

    def __post_init__(self):
        _at_least(1, "-n", self.workers)
        _at_least(1, "--threads-per-worker", 1 if self.threads_per_worker is None else self.threads_per_worker)
        _at_least(0, "--max-restarts", self.max_restarts)
        rendezvous.refuse_nodes(self.nodes, self.node_rank, self.coordinator)
        path = pathlib.Path(self.script)
        if not self.module and not (path.is_file() or (path / "__main__.py").is_file()):
            raise errors.LaunchError(
                f"The script must be a Python file. Received: {self.script!r}, which does not exist. "
                "Give its path, or `-m` and the name of a module."
            )

    def command(self):
        """The command line of a worker."""
        return [sys.executable, *(["-m"] if self.module else []), self.script, *self.arguments]

    def cpus(self, place):
        """The CPUs of the worker at `place` among those of this machine; empty: all."""
        threads, affinity = self.threads_per_worker, getattr(os, "sched_getaffinity", None)
        if not threads or not affinity:
            return ()
        cpus = sorted(affinity(0))
        if threads > len(cpus):
            return ()
        # The pools are not all the threads of TensorFlow: unpinned, a worker with pools of one used more than one CPU.
        return tuple(sorted({cpus[(place * threads + thread) % len(cpus)] for thread in range(threads)}))

    def environment(self, cluster, index, restart):
        """The environment of a worker."""
        threads = {} if self.threads_per_worker is None else dict.fromkeys(_THREAD_VARIABLES, str(self.threads_per_worker))
        return {
            "PYTHONUNBUFFERED": "1",  # a pipe would hold lines back; the user's own setting goes first
            **os.environ,
            **threads,
            "TF_CONFIG": rendezvous.tf_config(cluster, index),
            "TFOPT_RESTART": str(restart),
        }


def run(job):
    """Runs a job to its end, from the main thread, as signals are handled.

    Returns:
        int, the exit code: 0, or that of the worker that failed first, 128 + its number for a signal, as in a shell.

    Raises:
        LaunchError: `TF_CONFIG` is set already, a port is not free, or the nodes do not come together.
    """
    rendezvous.refuse_cluster(os.environ)
    events = queue.SimpleQueue()  # a signal handler may put into this kind while the main thread gets
    handlers = {number: signal.signal(number, lambda number, _: events.put(("signal", number))) for number in _FORWARDED}
    try:
        code, reason = (_run_here if job.nodes == 1 else _run_on_nodes)(job, events)
    except nodes.Interrupted as interrupted:
        code, reason = 128 + interrupted.args[0], _ended_by(interrupted.args[0])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if reason:
        _say(reason)
    return code


def _run_here(job, events):
    for restart in range(job.max_restarts + 1):
        cluster = [f"127.0.0.1:{port}" for port in rendezvous.free_ports(job.workers)]
        code, reason, again = _attempt(job, cluster, 0, restart, events)
        if not (again and restart < job.max_restarts):
            break
        _say(f"{reason}; all start again, {restart + 1} of {job.max_restarts}")
    return code, reason


def _run_on_nodes(job, events):
    host_port = rendezvous.address(job.coordinator)
    with contextlib.closing(nodes.Node(host_port, job.node_rank, job.nodes, job.workers, job.max_restarts, events)) as node:
        _say(f"waiting for all {job.nodes} nodes")
        while True:
            run, end = node.begin()
            if end:
                return end
            code, reason, again = _attempt(job, *run, events)
            if code and again:
                _say(f"{reason}; asking node 0 whether all start again")
            node.tell(code, reason, again)


def _attempt(job, cluster, first, restart, events):
    """Runs all workers of this machine once; returns (exit code, why if not 0, whether a restart may help)."""
    output = Output(sys.stdout.buffer, sys.stderr.buffer, events)
    command, workers = job.command(), {}
    stop = cause = elsewhere = deadline = None
    try:
        for index in range(first, first + job.workers):
            environment = job.environment(cluster, index, restart)
            workers[index] = Worker(index, command, environment, cpus=job.cpus(index - first), output=output, events=events)
        running, codes = set(workers), {}
        while running:
            kind, *values = _next(events) or ("tick",)
            if kind == "exit":
                index, codes[index] = values[0], values[1]
                running.discard(index)
                if codes[index] and deadline is None:
                    # A worker may raise, and another, left alone by it, be gone sooner; but nobody is killed for that.
                    traced = None if codes[index] == -signal.SIGKILL else output.first_traceback({index, *running})
                    cause, asked = (index if traced is None else traced), set(running)
                    deadline = _end(workers, running, signal.SIGTERM)
            elif kind == "node" and deadline is None and ("stop" in values[0] or "gone" in values[0]):
                elsewhere = values[0].get("stop", "Node 0 is gone")
                deadline = _end(workers, running, signal.SIGTERM)
            elif kind == "signal" and (stop is None or time.monotonic() - stop[1] > 0.5):  # a second one ends the patience
                deadline = _end(workers, running, values[0]) if stop is None else 0.0
                stop = stop or (values[0], time.monotonic())
            if deadline is None:
                output.release()
            elif time.monotonic() > deadline:
                for index in running:
                    workers[index].signal(signal.SIGKILL)
    finally:
        for worker in workers.values():
            worker.close()
        output.finish(cause, elsewhere=elsewhere is not None, interrupted=stop is not None)
    if stop is not None:
        return 128 + stop[0], _ended_by(stop[0]), False
    if elsewhere is not None:
        return 1, elsewhere, False  # node 0 knows the code, and whether all start again
    if cause is None:
        return 0, "", False
    code = codes[cause]
    if cause in asked and code in (0, -signal.SIGTERM, -signal.SIGKILL):
        code = 1  # it had raised and was ended before it could say so
    died = f"was killed by {_signal_name(-code)}" if code < 0 else f"failed with exit code {code}"
    others = "; all others were ended" if len(cluster) > 1 else ""
    return 128 - code if code < 0 else code, f"Worker {cause} of {len(cluster)} {died}{others}", True


def _end(workers, running, number):
    """Asks workers to end; returns when they must have."""
    if number == signal.SIGPIPE:  # Python ignores it
        number = signal.SIGTERM
    for index in running:
        workers[index].signal(number)
    return time.monotonic() + _GRACE.get(number, _GRACE[signal.SIGTERM])


def _next(events):
    try:
        return events.get(timeout=0.2)
    except queue.Empty:
        return None


def _ended_by(number):
    return f"Ended by {signal.Signals(number).name}: all workers have ended"


def _signal_name(number):
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _say(text):
    print(f"[launch] {text}", file=sys.stderr, flush=True)


def _at_least(least, name, value):
    if value < least:
        raise errors.LaunchError(f"{name} must be {least} or more. Received: {value}.")
