"""`Node`: the part of each launcher, in a job on several machines, that follows the coordinator on node 0."""

from __future__ import annotations

import queue
import socket
import threading
import time

from tfopt import errors
from tfopt.launcher import rendezvous
from tfopt.launcher.coordinator import ALL_HERE, Coordinator
from tfopt.launcher.events import Events, Received, Signaled
from tfopt.launcher.job import Job, Outcome, Run
from tfopt.launcher.messages import Message, keep_alive, receive, send


class Interrupted(Exception):
    """A signal came while no worker ran.

    Attributes:
        number: the number of the signal.
    """

    number: int

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Node:
    """Connects this launcher to the coordinator; on node 0, starts the coordinator first.

    Args:
        job: the job of this machine.
        coordinator: (host, port) of the coordinator.
        events: the queue of this launcher, which gets the messages of the coordinator.

    Raises:
        LaunchError: the coordinator's port is taken, or node 0 does not answer.
        Interrupted: a signal came before node 0 answered.
    """

    def __init__(self, job: Job, coordinator: tuple[str, int], events: Events) -> None:
        self._job, self._events = job, events
        if job.node_rank == 0:
            try:
                listener = socket.create_server(("", coordinator[1]))
            except OSError as error:
                raise errors.LaunchError(
                    f"The port of --coordinator must be free on node 0. Received: {coordinator[1]} ({error.strerror}). "
                    "Choose another port, the same on every node; the ports after it must be free, too, one for each worker."
                ) from None
            server = Coordinator(listener, coordinator, job.nodes, job.max_restarts)
            threading.Thread(target=server.serve, daemon=True).start()
        self._connection = self._connect(coordinator)
        keep_alive(self._connection)
        send(self._connection, {"rank": job.node_rank, "nodes": job.nodes, "workers": job.workers})
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def begin(self) -> Run | Outcome:
        """Waits for the next run, or for the end of the job.

        Returns:
            The run, or the outcome of the job.

        Raises:
            LaunchError: the coordinator refuses this node, or a port of this node's workers is taken.
            Interrupted: a signal came.
        """
        while True:
            try:
                event = self._events.get(timeout=0.5)
            except queue.Empty:
                # A broken connection is reported once, and that report may have ended the run before.
                event = Received({} if self._listener.is_alive() else {"gone": True})
            if isinstance(event, Signaled):
                raise Interrupted(event.number)
            if not isinstance(event, Received):
                continue  # it belongs to the run before
            message = event.message
            if "cluster" in message:
                return self._checked(message)
            if "end" in message:
                return Outcome(*message["end"])
            if "error" in message:
                raise errors.LaunchError(message["error"])
            if "gone" in message:
                return Outcome(1, "Node 0 is gone")

    def tell(self, outcome: Outcome) -> None:
        """Tells the coordinator how the run of this node's workers has ended."""
        send(self._connection, outcome._asdict())

    def close(self) -> None:
        """Leaves the job."""
        self._connection.close()

    def _connect(self, coordinator: tuple[str, int]) -> socket.socket:
        host, port = coordinator if self._job.node_rank else ("127.0.0.1", coordinator[1])
        deadline = time.monotonic() + ALL_HERE
        while True:
            try:
                return socket.create_connection((host, port), timeout=10.0)
            except OSError as error:
                # A name that does not resolve may be a pod that does not run yet.
                if time.monotonic() > deadline:
                    raise errors.LaunchError(
                        f"Node 0 must answer at --coordinator within {ALL_HERE:.0f} s. Received: {host}:{port} ({error}). "
                        "Start `tfopt launch --node-rank 0` there, and let the nodes reach each other's ports."
                    ) from None
            self._wait_for_signal(1.0)

    def _wait_for_signal(self, seconds: float) -> None:
        """Waits, unless a signal such as Ctrl-C comes: no other event can come before the connection."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return
        assert isinstance(event, Signaled), event
        raise Interrupted(event.number)

    def _checked(self, message: Message) -> Run:
        """The run that a message starts, if the ports of this node's workers are free."""
        run = Run(message["cluster"], message["first"], message["restart"])
        for address in run.cluster[run.first : run.first + self._job.workers]:
            port = int(address.rpartition(":")[2])
            if not rendezvous.is_free(port):
                taken = (
                    "Worker i listens at the port of --coordinator + 1 + i, which must be free. Received: port "
                    f"{port} of node {self._job.node_rank}, which is taken. Choose another port for --coordinator on every node."
                )
                self.tell(Outcome(errors.LaunchError.exit_code, taken))
                raise errors.LaunchError(taken)
        return run

    def _listen(self) -> None:
        self._connection.settimeout(None)
        for message in receive(self._connection):
            self._events.put(Received(message))
        self._events.put(Received({"gone": True}))
