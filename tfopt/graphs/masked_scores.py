"""Scores of attention and what masks them, as an addend far below 0 or by a choice, found on the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

REST = 1e-6
"""Part of a query's attention that all masked keys together may get."""

_FAR = -1e3
"""A score that is lowered by more than this is masked."""


class Mask(NamedTuple):
    """What decides which scores count; a tensor of the traced function."""

    condition: tf.Tensor  # of truth, of whole numbers of which 0 is false, or of floats that are true from `level` on
    keeps: bool  # whether the scores count where the condition is true, or where it is false
    level: float = 0.5
    joined: tuple[Mask, ...] = ()  # masks of parts, as of the keys of a decoder and of an encoder; `condition` joins the parts

    def kept(self, find: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Where the scores count, a tensor of truth; `find` gives the tensor that stands for one of these."""
        import tensorflow as tf

        if self.joined:
            axis = tf.get_static_value(self.condition.op.inputs[-1])
            return tf.concat([each.kept(find) for each in self.joined], int(axis))
        truth = _truth(find(self.condition), self.level)
        return truth if self.keeps else tf.logical_not(truth)


def _truth(tensor: tf.Tensor, level: float) -> tf.Tensor:
    import tensorflow as tf

    if tensor.dtype == tf.bool:
        return tensor
    return tensor >= level if tensor.dtype.is_floating else tf.not_equal(tensor, 0)


def taken_apart(tensor: tf.Tensor, addends: Collection[int] = ()) -> tuple[list[tf.Tensor], list[Mask]]:
    """Terms whose sum are the scores, and what masks them: `where(mask, s, -1e9)`, `s + (1 - mask) * -1e9` and sums of such.

    Args:
        tensor: of a graph, the input of a softmax.
        addends: the id of each tensor that is known to be 0 where scores count, and far below 0 elsewhere.

    Returns:
        (terms, masks); (the tensor itself, no mask) if nothing is known to mask it.
    """
    operation = _without_shape(tensor).op
    if operation.type in ("SelectV2", "Select"):
        condition, one, other = operation.inputs
        for scores, far, keeps in ((one, other, True), (other, one, False)):
            if _is_far(far):
                terms, masks = taken_apart(scores, addends)
                return terms, [*masks, Mask(condition, keeps)]
    if operation.type in ("Add", "AddV2", "BiasAdd"):
        sides = []
        for side in operation.inputs:
            # `keras.ops.add` squeezes a tensor that has one sample, and adds it as a bias.
            side = side.op.inputs[0] if operation.type == "BiasAdd" and side.op.type == "Squeeze" else side
            mask = Mask(side, keeps=True, level=0.0) if id(_moved(side)) in addends else _truth_behind(side)
            sides.append(([], [mask]) if mask else taken_apart(side, addends))
        (terms, masks), (more, further) = sides
        if masks or further:
            return [*terms, *more], [*masks, *further]
    return [tensor], []


def _without_shape(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in ("Identity", "StopGradient"):
        tensor = tensor.op.inputs[0]
    return tensor


def _moved(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor whose numbers a tensor holds in another shape."""
    while tensor.op.type in ("ExpandDims", "Identity", "Reshape", "Squeeze", "StridedSlice"):
        tensor = tensor.op.inputs[0]
    return tensor


def _is_far(tensor: tf.Tensor) -> bool:
    import tensorflow as tf

    value: npt.NDArray[np.floating] | None = tf.get_static_value(tensor)
    return value is not None and value.dtype.kind == "f" and bool((value < _FAR).all())


def _truth_behind(addend: tf.Tensor) -> Mask | None:
    """The mask that an addend is with 0 where scores count, and far below 0 elsewhere."""
    import tensorflow as tf

    operation = _without_shape(addend).op
    if operation.type == "ConcatV2":
        parts = [(_truth_behind(part), part) for part in operation.inputs[:-1]]
        masks = tuple(mask for mask, part in parts if mask and mask.condition.shape == part.shape)
        is_whole = len(masks) == len(parts) and tf.get_static_value(operation.inputs[-1]) is not None
        return Mask(operation.outputs[0], keeps=True, joined=masks) if is_whole else None
    if operation.type == "Mul":
        for factor, other in (operation.inputs, list(operation.inputs)[::-1]):
            if _is_far(other):
                return _number_of_truth(factor)
    if operation.type in ("SelectV2", "Select"):
        condition, one, other = operation.inputs
        for far, near, keeps in ((other, one, True), (one, other, False)):
            value = tf.get_static_value(near)
            if _is_far(far) and value is not None and not value.any():
                return Mask(condition, keeps)
    return None


def _number_of_truth(factor: tf.Tensor) -> Mask | None:
    """The mask that a factor is with 1 where scores are masked, and 0 elsewhere."""
    import tensorflow as tf

    operation = _without_shape(factor).op
    if operation.type == "Cast" and (operation.inputs[0].dtype == tf.bool or operation.inputs[0].dtype.is_integer):
        return Mask(operation.inputs[0], keeps=False)
    if _moved(factor).op.type == "Placeholder" and factor.dtype.is_floating:  # an input
        return Mask(factor, keeps=False)
    if operation.type == "Sub":
        one = tf.get_static_value(operation.inputs[0])
        inner = _number_of_truth(operation.inputs[1])
        if one is not None and (one == 1).all() and inner:
            return inner._replace(keeps=not inner.keeps)
    return None
