"""The ranges to which a quantization-aware model rounds its tensors, and the rule for a mean that two of its layers round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

ALMOST_ONE = 1.0 - 2.0**-24
"""The largest float32 below 1; the converter would drop a slope of 1."""

_KEEPS_RANGE = ("BroadcastTo", "ExpandDims", "Identity", "Max", "Min", "Reshape", "Squeeze", "Transpose")


def have_one_range(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether the tensors that are no constants are known to have one range."""
    import tensorflow as tf

    ranges = {_given_range(each) for each in tensors if tf.get_static_value(each) is None}
    return len(ranges) == 1 and None not in ranges


def _given_range(tensor: tf.Tensor) -> tuple[float, float] | None:
    """The range to which a tensor was rounded; None if it was not."""
    import tensorflow as tf

    while tensor.op.type in _KEEPS_RANGE:
        tensor = tensor.op.inputs[0]
    if tensor.op.type != "FakeQuantWithMinMaxVars":
        return None
    low, high = (tf.get_static_value(each) for each in tensor.op.inputs[1:])
    return None if low is None or high is None else (float(low), float(high))


def _mean_again(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """A mean that another layer takes of the same tensor.

    TensorFlow computes it once for both, and the converter keeps a mean in float that is rounded to two ranges. A leaky ReLU makes
    another tensor of the same integers.
    """
    import tensorflow as tf

    tensor, axes = operation.inputs[0], tf.get_static_value(operation.inputs[1])
    ends = _given_range(tensor)
    same = [each for each in _readers(_root(tensor)) if each.type == "Mean" and _are_equal(each, operation)]
    if ends is None or axes is None or same[0] is operation:
        return None
    copy = tf.quantization.fake_quant_with_min_max_vars(tf.nn.leaky_relu(find(tensor), alpha=ALMOST_ONE), *ends)
    return tf.reduce_mean(copy, axes, operation.get_attr("keep_dims"))


def _are_equal(one: tf.Operation, other: tf.Operation) -> bool:
    import numpy as np
    import tensorflow as tf

    axes = [tf.get_static_value(each.inputs[1]) for each in (one, other)]
    return np.array_equal(*axes) and one.get_attr("keep_dims") == other.get_attr("keep_dims")


def _root(tensor: tf.Tensor) -> tf.Tensor:
    return _root(tensor.op.inputs[0]) if _changes_nothing(tensor.op) else tensor


def _readers(tensor: tf.Tensor) -> Iterator[tf.Operation]:
    """The operations that read a tensor, also through operations that do nothing."""
    for each in tensor.consumers():
        if _changes_nothing(each):
            yield from _readers(each.outputs[0])
        else:
            yield each


def _changes_nothing(operation: tf.Operation) -> bool:
    if operation.type == "FakeQuantWithMinMaxVars":  # of a tensor that was rounded to the same range before
        return _given_range(operation.inputs[0]) == _given_range(operation.outputs[0])
    return operation.type == "Identity"


GIVEN_RANGES: dict[str, dict[str, Rule]] = {"mean_again": {"Mean": _mean_again}}
