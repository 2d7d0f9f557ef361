"""The rule for a softmax of masked scores, whoever masked them, in a range that int8 can hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule

REST = 1e-6
"""Part of a query's attention that all masked keys together may get."""

_FAR = -1e3
"""A score that is lowered by more than this is masked."""


class _Masked(NamedTuple):
    """Scores and what masks them; tensors of the traced function."""

    scores: tf.Tensor
    condition: tf.Tensor
    keeps: bool  # whether the scores count where the condition is true, or where it is false


def _masked_softmax(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """Scores stay in a range that int8 can hold, where masked scores are set to -1e9 or the like.

    The scores of a query are counted from a level so far below its largest one that the softmax does not notice; scores below the
    level and masked scores are 0: `softmax(mask relu(s - max(s) + d))`, `d = log(keys / REST)`. The largest score is that of the
    keys that are not masked.
    """
    import tensorflow as tf

    masks: list[_Masked] = []
    tensor = operation.inputs[0]
    while found := _find_mask(tensor):
        masks.append(found)
        tensor = found.scores
    if not masks or tensor.shape[-1] is None:
        return None
    keep = None
    for mask in masks:
        condition = find(mask.condition) if mask.keeps else tf.logical_not(find(mask.condition))
        keep = condition if keep is None else tf.logical_and(keep, condition)
    scores = find(tensor)
    # With the least in place of the masked ones, the range stays what it is.
    seen = tf.where(keep, scores, tf.reduce_min(scores, -1, keepdims=True))
    depth = math.log(tensor.shape[-1] / REST)
    above = tf.nn.relu(seen - (tf.reduce_max(seen, -1, keepdims=True) - depth))
    return tf.nn.softmax(tf.where(keep, above, 0.0))


def _find_mask(tensor: tf.Tensor) -> _Masked | None:
    """The scores that `tensor` is made of, and their mask: `where(mask, s, -1e9)` or `s + (1 - mask) * -1e9`."""
    operation = _without_shape(tensor).op
    if operation.type in ("SelectV2", "Select"):
        condition, one, other = operation.inputs
        if _is_far(other):
            return _Masked(one, condition, keeps=True)
        if _is_far(one):
            return _Masked(other, condition, keeps=False)
    if operation.type in ("Add", "AddV2"):
        for scores, addend in (operation.inputs, list(operation.inputs)[::-1]):
            if found := _truth_behind(addend):
                return _Masked(scores, *found)
    return None


def _without_shape(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in ("Identity", "StopGradient"):
        tensor = tensor.op.inputs[0]
    return tensor


def _is_far(tensor: tf.Tensor) -> bool:
    import tensorflow as tf

    value: npt.NDArray[np.floating] | None = tf.get_static_value(tensor)
    return value is not None and value.dtype.kind == "f" and bool((value < _FAR).all())


def _truth_behind(addend: tf.Tensor) -> tuple[tf.Tensor, bool] | None:
    """(condition, whether it keeps) of an addend that is 0 where scores count, and far below 0 elsewhere."""
    import tensorflow as tf

    operation = _without_shape(addend).op
    if operation.type == "Mul":
        for factor, other in (operation.inputs, list(operation.inputs)[::-1]):
            if _is_far(other):
                return _number_of_truth(factor)
    if operation.type in ("SelectV2", "Select"):
        condition, one, other = operation.inputs
        for far, near, keeps in ((other, one, True), (one, other, False)):
            value = tf.get_static_value(near)
            if _is_far(far) and value is not None and not value.any():
                return condition, keeps
    return None


def _number_of_truth(factor: tf.Tensor) -> tuple[tf.Tensor, bool] | None:
    """(condition, whether it keeps) of a factor that is 1 where scores are masked, and 0 elsewhere."""
    import tensorflow as tf

    operation = _without_shape(factor).op
    if operation.type == "Cast" and operation.inputs[0].dtype == tf.bool:
        return operation.inputs[0], False
    if operation.type == "Sub":
        one = tf.get_static_value(operation.inputs[0])
        inner = _number_of_truth(operation.inputs[1])
        if one is not None and (one == 1).all() and inner:
            return inner[0], not inner[1]
    return None


MASKED_SOFTMAX: dict[str, dict[str, Rule]] = {"attention": {"Softmax": _masked_softmax}}
