"""A job over several machines: the launchers of all nodes agree on the cluster, on the end, and on starting again.

The launcher of node 0 listens at the coordinator's port; every launcher, its own too, keeps a connection to it, of JSON lines:

    to node 0    {"rank", "nodes", "workers"} once, then {"code", "reason", "again"} after each run of its workers
    from node 0  {"cluster", "first", "restart"} starts a run, {"stop"} ends one, {"end": [code, reason]} is the last; or {"error"}

Worker i of the job listens at the coordinator's port + 1 + i; after a restart the next ports follow, so that no worker meets one of
the run before. A connection that breaks means a node that is gone.
"""

import queue
import socket
import threading
import time

from tfopt import errors
from tfopt.launcher import rendezvous
from tfopt.launcher.coordinator import ALL_HERE, Coordinator
from tfopt.launcher.messages import keep_alive, messages, send


class Node:
    """One launcher's end of the agreement.

    Args:
        coordinator: (host, port) of node 0.
        rank: int, number of this node.
        nodes: int, how many there are.
        workers: int, workers of this node.
        max_restarts: int; that of node 0 counts.
        events: `queue.SimpleQueue` that gets ("node", message) of node 0; ("node", {"gone": True}) if it is gone.

    Raises:
        LaunchError: the coordinator's port is taken, node 0 does not answer or does not agree.
    """

    def __init__(self, coordinator, rank, nodes, workers, max_restarts, events):
        self._events, self._rank, self._workers = events, rank, workers
        if rank == 0:
            try:
                listener = socket.create_server(("", coordinator[1]))
            except OSError as error:
                raise errors.LaunchError(
                    f"The port of --coordinator must be free on node 0. Received: {coordinator[1]} ({error.strerror}). "
                    "Choose another, the same on every node, with as many free ports behind it as there are workers."
                ) from None
            server = Coordinator(listener, coordinator, nodes, max_restarts)
            threading.Thread(target=server.serve, daemon=True).start()
        self._connection = self._connect(coordinator)
        keep_alive(self._connection)
        self._send({"rank": rank, "nodes": nodes, "workers": workers})
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _connect(self, coordinator):
        host, port = coordinator if self._rank else ("127.0.0.1", coordinator[1])
        deadline = time.monotonic() + ALL_HERE
        while True:
            try:
                return socket.create_connection((host, port), timeout=10.0)
            except OSError as error:
                # A name that does not resolve may be a pod that is not there yet.
                if time.monotonic() > deadline:
                    raise errors.LaunchError(
                        f"Node 0 must answer at --coordinator within {ALL_HERE:.0f} s. Received: {host}:{port} ({error}). "
                        "Start `tfopt launch --node-rank 0` there, and let the nodes reach each other's ports."
                    ) from None
            for _ in range(10):
                self._refuse_signal()
                time.sleep(0.1)

    def _refuse_signal(self):
        """Lets Ctrl-C end the waiting for node 0."""
        try:
            kind, value = self._events.get_nowait()
        except queue.Empty:
            return
        raise Interrupted(value) if kind == "signal" else RuntimeError(kind)

    def begin(self):
        """Waits for the next run.

        Returns:
            (cluster, index of this node's first worker, number of the restart), or None and the job's (exit code, reason).
        """
        while True:
            try:
                kind, message = self._events.get(timeout=0.5)[:2]
            except queue.Empty:
                # That it is gone may have ended the run before, and is told once.
                kind, message = "node", {} if self._listener.is_alive() else {"gone": True}
            if kind == "signal":
                raise Interrupted(message)
            if kind != "node":
                continue  # of the run before
            if "cluster" in message:
                return self._checked(message), None
            if "end" in message:
                return None, tuple(message["end"])
            if "error" in message:
                raise errors.LaunchError(message["error"])
            if "gone" in message:
                return None, (1, "Node 0 is gone")

    def _checked(self, message):
        cluster, first = message["cluster"], message["first"]
        for address in cluster[first : first + self._workers]:
            port = int(address.rpartition(":")[2])
            if not rendezvous.is_free(port):
                taken = (
                    "Worker i listens at the port of --coordinator + 1 + i, which must be free. Received: "
                    f"{port} of node {self._rank}, which is taken. Choose another coordinator's port, the same on every node."
                )
                self.tell(errors.LaunchError.exit_code, taken, False)
                raise errors.LaunchError(taken)
        return cluster, first, message["restart"]

    def tell(self, code, reason, again):
        """Tells node 0 how the run of this node's workers has ended, and whether a restart may help."""
        self._send({"code": code, "reason": reason, "again": again})

    def close(self):
        """Leaves the job."""
        self._connection.close()

    def send(self, message):
        send(self._connection, message)

    def _listen(self):
        self._connection.settimeout(None)
        for message in messages(self._connection):
            self._events.put(("node", message))
        self._events.put(("node", {"gone": True}))


class Interrupted(Exception):
    """A signal came while nothing ran; its number is the only argument."""
