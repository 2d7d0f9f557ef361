"""Messages between the launchers of a job, one JSON line each."""

import contextlib
import json
import socket

_LONGEST_LINE = 1 << 20


def send(connection, message):
    with contextlib.suppress(OSError):  # it is gone, as its listener will tell
        connection.sendall(json.dumps(message).encode() + b"\n")


def messages(connection):
    """The JSON lines of a connection until it ends, breaks, or says something else."""
    lines = connection.makefile("rb")
    try:
        while line := lines.readline(_LONGEST_LINE):
            yield json.loads(line)
    except (OSError, ValueError):
        return


def keep_alive(connection):
    """Lets a machine that is gone without a word be noticed within 30 s."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPALIVE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # the second is the first's name on macOS
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
