"""`Coordinator`: the part of node 0's launcher that waits for all nodes, starts runs, and tells all nodes of the first failure."""

from __future__ import annotations

import queue
import socket
import threading
import time

from tfopt.launcher.job import Outcome
from tfopt.launcher.messages import Message, keep_alive, receive, send

# Seconds until all nodes must have come: the scheduler of a cluster may start them minutes apart.
ALL_HERE = 600.0
_HELLO = 10.0  # seconds in which a connection must send its first message


class Coordinator:
    """Serves the launchers of all nodes, node 0's included; the module `messages` describes the messages.

    Args:
        listener: a socket that listens at the coordinator's port.
        address: (host, port) of the coordinator.
        nodes: 2 or more, the number of nodes.
        max_restarts: 0 or more.
    """

    def __init__(self, listener: socket.socket, address: tuple[str, int], nodes: int, max_restarts: int) -> None:
        self._listener, self._nodes, self._max_restarts = listener, nodes, max_restarts
        self._host, self._port = address
        # All by rank: connections, numbers of workers, and hosts.
        self._members: dict[int, socket.socket] = {}
        self._sizes: dict[int, int] = {}
        self._hosts: dict[int, str] = {}
        # (rank, message, or None when the connection has broken)
        self._news: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Serves until the job has ended; for a thread of its own."""
        deadline = time.monotonic() + ALL_HERE
        while len(self._members) < self._nodes:
            self._listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, (host, *_) = self._listener.accept()
            except TimeoutError:
                missing = ", ".join(str(rank) for rank in range(self._nodes) if rank not in self._members)
                text = f"All {self._nodes} nodes must connect within {ALL_HERE:.0f} s. Received: no connection from node {missing}."
                self._send_all({"error": f"{text} Start `tfopt launch` on all nodes."})
                return
            self._admit(connection, host)
        self._listener.close()
        for rank, connection in self._members.items():
            threading.Thread(target=self._listen, args=(rank, connection), daemon=True).start()
        restart = 0
        while True:
            outcome = self._run(restart)
            if not (outcome.code and outcome.again and restart < self._max_restarts):
                break
            restart += 1
        self._send_all({"end": [outcome.code, outcome.reason]})

    def _admit(self, connection: socket.socket, host: str) -> None:
        """Admits a node, or tells it the reason why not."""
        connection.settimeout(_HELLO)
        keep_alive(connection)
        hello = next(receive(connection), None)
        if hello is None or not {"rank", "nodes", "workers"} <= set(hello):
            connection.close()  # not the launcher of a node
            return
        rank, wrong = hello["rank"], ""
        if hello["nodes"] != self._nodes:
            wrong = f"--nodes must be the same on every node. Received: {hello['nodes']} on node {rank}, {self._nodes} on node 0."
        elif rank in self._members:
            wrong = f"--node-rank must be different on every node. Received: {rank} on two nodes."
        if wrong:
            send(connection, {"error": f"{wrong} Correct it on one of them."})
            connection.close()
            return
        connection.settimeout(None)
        self._members[rank], self._sizes[rank] = connection, hello["workers"]
        self._hosts[rank] = host if rank else self._host

    def _run(self, restart: int) -> Outcome:
        """Starts a run of all workers, and returns the first failure after all nodes have ended the run."""
        ranks, total = range(self._nodes), sum(self._sizes.values())
        hosts = [self._hosts[rank] for rank in ranks for _ in range(self._sizes[rank])]
        cluster = [f"{host}:{self._port + 1 + restart * total + index}" for index, host in enumerate(hosts)]
        for rank in ranks:
            first = sum(self._sizes[before] for before in range(rank))
            send(self._members[rank], {"cluster": cluster, "first": first, "restart": restart})
        waiting, outcome = set(ranks), Outcome(0)
        while waiting:
            rank, message = self._news.get()
            if rank not in waiting and message is not None:
                continue
            waiting.discard(rank)
            if message is None:
                found = Outcome(1, f"Node {rank} is gone")
            else:
                found = Outcome(message["code"], f"{message['reason']} (node {rank})", message["again"])
            if found.code and not outcome.code:
                outcome = found
                self._send_all({"stop": outcome.reason})
            elif message is None:
                outcome = outcome._replace(again=False)  # this node cannot start again
        return outcome

    def _send_all(self, message: Message) -> None:
        for rank in sorted(self._members, reverse=True):  # node 0 comes last: its process ends this thread after {"end"}
            send(self._members[rank], message)

    def _listen(self, rank: int, connection: socket.socket) -> None:
        for message in receive(connection):
            self._news.put((rank, message))
        self._news.put((rank, None))
