"""Messages between the launchers of a job on several machines, one JSON line each.

The launcher of node 0 listens at the coordinator's port. Every launcher, node 0's included, keeps a connection to this port:

    to node 0    {"rank", "nodes", "workers"} once, then {"code", "reason", "again"} after each run of its workers
    from node 0  {"cluster", "first", "restart"} starts a run and {"stop"} ends it; {"end": [code, reason]} or {"error"} is the last

Worker i of the job listens at the coordinator's port + 1 + i. After a restart the next ports follow, so that no worker meets one of
the run before. A broken connection means that the node is gone.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

_LONGEST_LINE = 1 << 20  # bytes


def send(connection: socket.socket, message: Message) -> None:
    """Sends one message. A broken connection is ignored, as the receiving side of the connection reports it."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> Iterator[Message]:
    """Yields the messages of a connection until it ends, breaks, or sends a line that is not a JSON object."""
    lines = connection.makefile("rb")
    try:
        while line := lines.readline(_LONGEST_LINE):
            message = json.loads(line)
            if not isinstance(message, dict):
                return
            yield message
    except (OSError, ValueError):
        return


def keep_alive(connection: socket.socket) -> None:
    """Makes a connection break within 30 s if the other machine is gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPALIVE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # the second name is that of the first on macOS
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
