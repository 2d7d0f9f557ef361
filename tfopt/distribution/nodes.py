"""A job over several machines: the launchers of all nodes agree on the cluster, on the end, and on starting again.

The launcher of node 0 listens at the coordinator's port; every launcher, its own too, keeps a connection to it, of JSON lines:

    to node 0    {"rank", "nodes", "workers"} once, then {"code", "reason", "again"} after each run of its workers
    from node 0  {"cluster", "first", "restart"} starts a run, {"stop"} ends one, {"end": [code, reason]} is the last; or {"error"}

Worker i of the job listens at the coordinator's port + 1 + i; after a restart the next ports follow, so that no worker meets one of
the run before. A connection that breaks means a node that is gone.
"""

import contextlib
import json
import queue
import socket
import threading
import time

from tfopt import errors
from tfopt.distribution import rendezvous

# Seconds until all nodes must have come: a cluster's scheduler may start them minutes apart.
_ALL_HERE = 600.0
_LONGEST_LINE = 1 << 20


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
            server = _Coordinator(listener, coordinator, nodes, max_restarts)
            threading.Thread(target=server.serve, daemon=True).start()
        self._connection = self._connect(coordinator)
        _keep_alive(self._connection)
        self._send({"rank": rank, "nodes": nodes, "workers": workers})
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _connect(self, coordinator):
        host, port = coordinator if self._rank else ("127.0.0.1", coordinator[1])
        deadline = time.monotonic() + _ALL_HERE
        while True:
            try:
                return socket.create_connection((host, port), timeout=10.0)
            except OSError as error:
                # A name that does not resolve may be a pod that is not there yet.
                if time.monotonic() > deadline:
                    raise errors.LaunchError(
                        f"Node 0 must answer at --coordinator within {_ALL_HERE:.0f} s. Received: {host}:{port} ({error}). "
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

    def _send(self, message):
        _send(self._connection, message)

    def _listen(self):
        self._connection.settimeout(None)
        for message in _messages(self._connection):
            self._events.put(("node", message))
        self._events.put(("node", {"gone": True}))


class Interrupted(Exception):
    """A signal came while nothing ran; its number is the only argument."""


class _Coordinator:
    """Node 0's other end: waits for all, starts runs, spreads the first failure."""

    def __init__(self, listener, coordinator, nodes, max_restarts):
        self._listener, self._nodes, self._max_restarts = listener, nodes, max_restarts
        self._host, self._port = coordinator
        self._members, self._sizes, self._hosts = {}, {}, {}
        self._news = queue.SimpleQueue()  # (rank, message, or None when it is gone)

    def serve(self):
        deadline = time.monotonic() + _ALL_HERE
        while len(self._members) < self._nodes:
            self._listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, (host, *_) = self._listener.accept()
            except TimeoutError:
                missing = sorted(set(range(self._nodes)) - set(self._members))
                text = f"All {self._nodes} nodes must come within {_ALL_HERE:.0f} s. Received: no node {missing}. Start them."
                self._send_all({"error": text})
                return
            self._admit(connection, host)
        self._listener.close()
        for rank, connection in self._members.items():
            threading.Thread(target=self._listen, args=(rank, connection), daemon=True).start()
        for restart in range(self._max_restarts + 1):
            code, reason, again = self._run(restart)
            if not (code and again and restart < self._max_restarts):
                break
        self._send_all({"end": [code, reason]})

    def _admit(self, connection, host):
        """Takes a node in, or tells it why not."""
        connection.settimeout(10.0)
        _keep_alive(connection)
        hello = next(_messages(connection), None)
        if not isinstance(hello, dict) or not {"rank", "nodes", "workers"} <= set(hello):
            connection.close()  # not one of ours
            return
        rank, wrong = hello["rank"], ""
        if hello["nodes"] != self._nodes:
            wrong = f"--nodes must be the same on every node. Received: {hello['nodes']} on node {rank}, {self._nodes} on node 0."
        elif rank in self._members:
            wrong = f"--node-rank must differ from node to node. Received: {rank} twice."
        if wrong:
            _send(connection, {"error": wrong})
            connection.close()
            return
        connection.settimeout(None)
        self._members[rank], self._sizes[rank] = connection, hello["workers"]
        self._hosts[rank] = host if rank else self._host

    def _run(self, restart):
        """One run of all workers; returns (code, reason, again) of the first failure, else code 0."""
        ranks, total = range(self._nodes), sum(self._sizes.values())
        hosts = [self._hosts[rank] for rank in ranks for _ in range(self._sizes[rank])]
        cluster = [f"{host}:{self._port + 1 + restart * total + index}" for index, host in enumerate(hosts)]
        for rank in ranks:
            first = sum(self._sizes[before] for before in range(rank))
            _send(self._members[rank], {"cluster": cluster, "first": first, "restart": restart})
        waiting, outcome = set(ranks), (0, "", False)
        while waiting:
            rank, message = self._news.get()
            gone = message is None
            if rank not in waiting and not gone:
                continue
            waiting.discard(rank)
            code, reason, again = (
                (1, f"Node {rank} is gone", False) if gone else (message["code"], message["reason"], message["again"])
            )
            if code and not outcome[0]:
                outcome = code, f"{reason} (node {rank})" if not gone else reason, again
                self._send_all({"stop": outcome[1]})
            elif gone:
                outcome = *outcome[:2], False  # it cannot start again
        return outcome

    def _send_all(self, message):
        for rank in sorted(self._members, reverse=True):  # node 0 last: after the end its process takes this thread along
            _send(self._members[rank], message)

    def _listen(self, rank, connection):
        for message in _messages(connection):
            self._news.put((rank, message))
        self._news.put((rank, None))


def _send(connection, message):
    with contextlib.suppress(OSError):  # it is gone, as its listener will tell
        connection.sendall(json.dumps(message).encode() + b"\n")


def _messages(connection):
    """The JSON lines of a connection until it ends, breaks, or says something else."""
    lines = connection.makefile("rb")
    try:
        while line := lines.readline(_LONGEST_LINE):
            yield json.loads(line)
    except (OSError, ValueError):
        return


def _keep_alive(connection):
    """Lets a machine that is gone without a word be noticed within 30 s."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPALIVE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # the second is the first's name on macOS
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
