"""Whether the ranges of a model are being found: batches pass unchanged and widen them."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_OBSERVING = contextvars.ContextVar("observing", default=False)


@contextlib.contextmanager
def observing() -> Iterator[None]:
    """Inside this context, `FakeQuantize` layers widen their ranges by each batch and let the batch pass unchanged."""
    token = _OBSERVING.set(True)
    try:
        yield
    finally:
        _OBSERVING.reset(token)


def is_observing() -> bool:
    """Whether `observing` is in force."""
    return _OBSERVING.get()
