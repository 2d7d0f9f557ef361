"""The side of node 0 in a job on several machines."""

import queue
import threading
import time

from tfopt.launcher.messages import keep_alive, messages, send

# Seconds until all nodes must have come: a cluster's scheduler may start them minutes apart.
ALL_HERE = 600.0


class Coordinator:
    """Node 0's other end: waits for all, starts runs, spreads the first failure."""

    def __init__(self, listener, coordinator, nodes, max_restarts):
        self._listener, self._nodes, self._max_restarts = listener, nodes, max_restarts
        self._host, self._port = coordinator
        self._members, self._sizes, self._hosts = {}, {}, {}
        self._news = queue.SimpleQueue()  # (rank, message, or None when it is gone)

    def serve(self):
        deadline = time.monotonic() + ALL_HERE
        while len(self._members) < self._nodes:
            self._listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, (host, *_) = self._listener.accept()
            except TimeoutError:
                missing = sorted(set(range(self._nodes)) - set(self._members))
                text = f"All {self._nodes} nodes must come within {ALL_HERE:.0f} s. Received: no node {missing}. Start them."
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
        keep_alive(connection)
        hello = next(messages(connection), None)
        if not isinstance(hello, dict) or not {"rank", "nodes", "workers"} <= set(hello):
            connection.close()  # not one of ours
            return
        rank, wrong = hello["rank"], ""
        if hello["nodes"] != self._nodes:
            wrong = f"--nodes must be the same on every node. Received: {hello['nodes']} on node {rank}, {self._nodes} on node 0."
        elif rank in self._members:
            wrong = f"--node-rank must differ from node to node. Received: {rank} twice."
        if wrong:
            send(connection, {"error": wrong})
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
            send(self._members[rank], {"cluster": cluster, "first": first, "restart": restart})
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
            send(self._members[rank], message)

    def _listen(self, rank, connection):
        for message in messages(connection):
            self._news.put((rank, message))
        self._news.put((rank, None))
