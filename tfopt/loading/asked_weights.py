"""The weights that a configuration asks for: bounded by what the file holds, before Keras makes them."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tfopt import sizes
from tfopt.errors import LoadError
from tfopt.keras2 import door

MOST_PER_HELD = 2
"""How many numbers a configuration may ask for per number in the file: two numbers of 4 bits lie in one byte."""

_BYTES = 4  # of a number: float32
_LOCK = threading.RLock()


@contextlib.contextmanager
def bounded(path: pathlib.Path, held: int, *, keras2: bool, allow_large: bool) -> Iterator[None]:
    """While the context lasts, a layer that would make more weights than the file holds raises an error instead.

    The weights of one model are counted together. Up to `sizes.SMALL` bytes are always made, since layers may have weights that
    files leave out.

    Args:
        path: of the file, for messages.
        held: numbers in the arrays of the file.
        keras2: whether Keras 2 makes the model.
        allow_large: whether nothing is bounded.

    Raises:
        LoadError: the configuration asks for more weights than the file holds, or than fit the free memory.
    """
    if allow_large:
        yield
        return
    import keras

    asked, refusals = 0, list[LoadError]()
    most = max(sizes.SMALL // _BYTES, MOST_PER_HELD * held)

    def count(layer: str, shape: Any) -> None:
        nonlocal asked
        asked += math.prod(size for size in shape or () if isinstance(size, int))
        if asked > most:
            refusals.append(
                LoadError(
                    f"A configuration that asks for no more weights than its file holds is required. Received: {path}, which holds "
                    f"{held:,} numbers, and whose configuration asks for at least {asked:,}, with a weight of shape "
                    f"{tuple(shape)} in layer {layer!r}; it was not made. Save the model again. {sizes.REMEDY}"
                )
            )
            raise refusals[-1]
        try:
            sizes.require_memory(_BYTES * asked, f"all weights up to layer {layer!r} together", allow_large=False, path=path)
        except LoadError as error:
            refusals.append(error)
            raise

    with _LOCK, contextlib.ExitStack() as stack:
        stack.enter_context(_counting(door.layer_class(), 1, count) if keras2 else _counting(keras.layers.Layer, 0, count))
        try:
            yield
        except Exception as error:
            # Keras puts errors into the text of others.
            if refusals:
                raise refusals[0] from error
            raise
        if refusals:
            raise refusals[0]


@contextlib.contextmanager
def _counting(layer_class: type[Any], place: int, count: Callable[[str, Any], None]) -> Iterator[None]:
    """Calls `count(name of the layer, shape)` before each `add_weight`, in which the shape has a place among the arguments."""
    own, thread = layer_class.add_weight, threading.get_ident()

    @functools.wraps(own)
    def add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:  # other threads make models of their own
            count(self.name, kwargs.get("shape", args[place] if len(args) > place else None))
        return own(self, *args, **kwargs)

    layer_class.add_weight = add_weight
    try:
        yield
    finally:
        layer_class.add_weight = own
