"""Calls in a graph of their own: outside of graphs, nobody knows which operations made a tensor (TensorFlow 2.21)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import tensorflow as tf

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
        """`compute(args, kwargs)`, in a graph. Tensors keep the masks that Keras gave them.

        Args:
            compute: a function that returns tensors.
            args, kwargs: arguments, of which the arrays may change without a new trace.
            traits: everything else that decides what is traced.
        """
        import tensorflow as tf

        arrays = [value for value in keras.tree.flatten((args, kwargs)) if _is_array(value)]
        given = keras.tree.map_structure(lambda value: _ARRAY if _is_array(value) else value, (args, kwargs))

        def traced(tensors: list[tf.Tensor], masks: list[tf.Tensor | None]) -> tuple[Tensors, list[tf.Tensor | None]]:
            following = iter(_masked(tensors, masks))
            outputs = compute(*keras.tree.map_structure(lambda value: next(following) if value is _ARRAY else value, given))
            return outputs, _masks(keras.tree.flatten(outputs))

        function = self._traced.setdefault(repr((given, traits)), tf.function(traced, autograph=False))
        inputs = [tf.convert_to_tensor(value) for value in arrays], _masks(arrays)
        # A concrete function is a graph also where `tf.config.run_functions_eagerly` is in force.
        outputs, masks = function.get_concrete_function(*inputs)(*inputs)
        _masked(keras.tree.flatten(outputs), masks)
        return outputs


def _masks(values: Sequence[Any]) -> list[tf.Tensor | None]:
    return [getattr(value, "_keras_mask", None) for value in values]


def _masked(tensors: Sequence[tf.Tensor], masks: Sequence[tf.Tensor | None]) -> Sequence[tf.Tensor]:
    """The tensors, to which Keras finds these masks."""
    for tensor, mask in zip(tensors, masks, strict=True):
        if mask is not None:
            tensor._keras_mask = mask
    return tensors


def _is_array(value: object) -> bool:
    return hasattr(value, "shape")
