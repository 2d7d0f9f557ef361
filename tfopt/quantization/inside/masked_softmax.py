"""The softmax of masked scores as the int8 file computes it, in a range that int8 can hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.graphs.masked_scores import REST, taken_apart
from tfopt.quantization.layer_kinds import is_keras

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.inside.decompositions import Quantize

Again = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]
"""Rounds the second tensor to the range to which the first one was rounded, so that the converter knows the range of both."""


def masked_softmax(
    layer: keras.layers.Layer, quantize: Quantize, again: Again, inputs: tf.Tensor, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """The `call` of a `Softmax` of attention. Masked scores of -1e38 would otherwise set the range of all scores."""
    if mask is None:
        inputs, mask = without_mask(quantize, inputs)
    if mask is None:
        return type(layer).call(layer, inputs, mask)
    axes = layer.axis if isinstance(layer.axis, int) else tuple(layer.axis)
    return type(layer).call(layer, above_level(quantize, again, inputs, keras.ops.cast(mask, "bool"), axes))


def without_mask(quantize: Quantize, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """(the scores, where they count) of scores that were masked on the way; (the scores, None) of others."""
    import tensorflow as tf

    terms, masks = taken_apart(scores) if tf.is_symbolic_tensor(scores) else ([], [])
    if not terms or not masks:
        return scores, None
    total = functools.reduce(tf.add, terms)
    keep = functools.reduce(tf.logical_and, [mask.kept(lambda tensor: tensor) for mask in masks])
    return quantize("scores", total) if len(terms) > 1 else total, keep


def has_masked_scores(layer: keras.layers.Layer, inputs: Sequence[tf.Tensor]) -> bool:
    """Whether a layer is a `Softmax` whose input was masked on the way."""
    import tensorflow as tf

    is_softmax = is_keras(layer) and type(layer).__name__ == "Softmax" and len(inputs) == 1
    return is_softmax and tf.is_symbolic_tensor(inputs[0]) and bool(taken_apart(inputs[0])[1])


def above_level(
    quantize: Quantize, again: Again, scores: tf.Tensor, keep: tf.Tensor, axes: int | tuple[int, ...] = -1
) -> tf.Tensor:
    """Scores for a softmax that are 0 where masked, and elsewhere counted from a level that it does not notice."""
    # As `tfopt.lowering.operations.masked_softmax` has it.
    shape = keras.ops.shape(scores)
    sizes = [shape[axis] for axis in keras.tree.flatten(axes)]
    is_known = all(isinstance(size, int) for size in sizes)  # in a file, all of them are
    depth = math.log(math.prod(sizes) / REST) if is_known else _logarithm(sizes, scores.dtype)
    seen = again(scores, keras.ops.where(keep, scores, keras.ops.min(scores, axes, keepdims=True)))
    level = quantize("level", keras.ops.max(seen, axes, keepdims=True) - depth)
    above = quantize("above", keras.ops.relu(seen - level), (0.0, depth) if is_known else None)
    return keras.ops.where(keep, above, 0.0)


def _logarithm(sizes: Sequence[Any], dtype: Any) -> tf.Tensor:
    count = functools.reduce(keras.ops.multiply, [keras.ops.cast(size, dtype) for size in sizes])
    return keras.ops.log(count / REST)
