"""Calls from eager code that are computed in a graph: elsewhere nobody knows which operations made a tensor (TensorFlow 2.21)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import keras

Tensors = Any
"""A tensor, or lists, tuples and dicts of tensors, as `keras.tree` flattens them."""

_ARRAY = "an array"  # in the place of one among the arguments of a call


class InGraph:
    """Traces a function once for each kind of arguments, and calls it."""

    def __init__(self) -> None:
        self._traced: dict[Hashable, Any] = {}

    def __call__(
        self, compute: Callable[..., Tensors], args: tuple[Any, ...], kwargs: dict[str, Any], traits: Hashable = None
    ) -> Tensors:
        """`compute(args, kwargs)`, in a graph.

        Args:
            compute: a function that returns tensors.
            args, kwargs: arguments, of which the arrays may change without a new trace.
            traits: everything else that decides what is traced.
        """
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(value) for value in keras.tree.flatten((args, kwargs)) if _is_array(value)]
        given = keras.tree.map_structure(lambda value: _ARRAY if _is_array(value) else value, (args, kwargs))

        def traced(*tensors: tf.Tensor) -> Tensors:
            following = iter(tensors)
            return compute(*keras.tree.map_structure(lambda value: next(following) if value is _ARRAY else value, given))

        function = self._traced.setdefault(repr((given, traits)), tf.function(traced, autograph=False))
        return function.get_concrete_function(*tensors)(*tensors)  # also where `tf.config.run_functions_eagerly` is in force


def _is_array(value: object) -> bool:
    return hasattr(value, "shape")
