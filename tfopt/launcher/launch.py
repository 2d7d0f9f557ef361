"""`run()`: starts all workers of a job, ends all of them when one fails, and starts them again if the job allows it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from tfopt.launcher import nodes, rendezvous
from tfopt.launcher.attempt import Attempt
from tfopt.launcher.events import Events, Signaled
from tfopt.launcher.job import Job, Outcome, Run

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(job: Job) -> int:
    """Runs a job to its end. Call it from the main thread, as it handles signals.

    Example:

    ```python
    sys.exit(launch.run(launch.Job(script="train.py", arguments=("--epochs", "3"), workers=2)))
    ```

    Returns:
        The exit code: 0, or the code of the worker that failed first; 128 + its number for a signal, as in a shell.

    Raises:
        LaunchError: `TF_CONFIG` is set already, a port is not free, or the nodes do not reach each other.
    """
    rendezvous.check_no_cluster(os.environ)
    events = Events()
    handlers = {number: signal.signal(number, lambda number, _: events.put(Signaled(number))) for number in _FORWARDED}
    try:
        if job.coordinator is None:
            outcome = _run_here(job, events)
        else:
            outcome = _run_on_nodes(job, rendezvous.address(job.coordinator), events)
    except nodes.Interrupted as interrupted:
        outcome = Outcome(128 + interrupted.number, f"Stopped by {signal.Signals(interrupted.number).name}")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if outcome.reason:
        _say(outcome.reason)
    return outcome.code


def _run_here(job: Job, events: Events) -> Outcome:
    """Runs a job of one machine."""
    restart = 0
    while True:
        cluster = [f"127.0.0.1:{port}" for port in rendezvous.free_ports(job.workers)]
        outcome = Attempt(job, Run(cluster, 0, restart), events).run()
        if not (outcome.again and restart < job.max_restarts):
            return outcome
        restart += 1
        _say(f"{outcome.reason}; restarting all workers (restart {restart} of {job.max_restarts})")


def _run_on_nodes(job: Job, coordinator: tuple[str, int], events: Events) -> Outcome:
    """Runs this machine's workers of a job on several machines."""
    _say(f"waiting for {job.nodes} nodes")
    with contextlib.closing(nodes.Node(job, coordinator, events)) as node:
        while True:
            begun = node.begin()
            if isinstance(begun, Outcome):
                return begun
            outcome = Attempt(job, begun, events).run()
            if outcome.code and outcome.again:
                _say(f"{outcome.reason}; asking node 0 for a restart")
            node.tell(outcome)


def _say(text: str) -> None:
    print(f"[launch] {text}", file=sys.stderr, flush=True)
