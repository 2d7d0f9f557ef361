"""The events that a launcher waits for. They come in one queue: a worker has ended, a signal came, node 0 sent a message."""

from __future__ import annotations

import dataclasses
import queue

from tfopt.launcher.messages import Message


@dataclasses.dataclass(frozen=True)
class Exited:
    """A worker has ended, and all of its output was read.

    Attributes:
        index: the number of the worker in the cluster.
        code: its exit code; negative for a signal, as in `subprocess`.
    """

    index: int
    code: int


@dataclasses.dataclass(frozen=True)
class Signaled:
    """This launcher got a signal that ends the job.

    Attributes:
        number: the number of the signal.
    """

    number: int


@dataclasses.dataclass(frozen=True)
class Received:
    """Node 0 sent a message, or its connection broke.

    Attributes:
        message: the message; `{"gone": True}` if the connection broke.
    """

    message: Message


Event = Exited | Signaled | Received
Events = queue.SimpleQueue[Event]  # a signal handler may put into this kind of queue while the main thread gets
