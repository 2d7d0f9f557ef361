"""What the int8 kernel of the CPU delegate computes in a bilinear resize: shares in steps of 1/2048, and integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfopt.quantization.inside.known_steps import common_step, zero_point_of

if TYPE_CHECKING:
    import tensorflow as tf

_BITS = 11  # of a share


def resized(x: tf.Tensor) -> tf.Tensor | None:
    """A bilinear resize as the kernel rounds it, in the steps of its input; None where a step or a size is not known.

    Args:
        x: output of an operation ResizeBilinear, float32 of shape (samples, rows, columns, channels).

    Source: XNNPACK, `src/indirection.c` and `src/s8-ibilinear`.
    """
    import tensorflow as tf

    inputs = x.op.inputs[0]
    step = common_step(inputs)
    if step is None or None in inputs.shape[1:3] or None in x.shape[1:3] or x.op.get_attr("align_corners"):
        return None
    zero_point = tf.cast(zero_point_of(inputs), tf.float32)
    number = tf.cast(tf.round(tf.math.divide_no_nan(inputs, step)) + zero_point, tf.int32)
    is_half = x.op.get_attr("half_pixel_centers")
    for axis in (1, 2):
        lower, upper, share = _places(inputs.shape[axis], x.shape[axis], is_half)
        shares = tf.reshape(tf.constant(share, tf.int32), [-1 if each == axis else 1 for each in range(4)])
        before, after = (tf.gather(number, places, axis=axis) for places in (lower, upper))
        number = before * ((1 << _BITS) - shares) + after * shares
    rounded = tf.bitwise.right_shift(number + (1 << 2 * _BITS - 1), 2 * _BITS)
    return (tf.cast(rounded, tf.float32) - zero_point) * step


def _places(size: int, count: int, is_half: bool) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """(pixel before, pixel after, share of the one after in 1/2048) of each pixel along an axis."""
    middle = 0.5 if is_half else 0.0
    places = [min(max((place + middle) * size / count - middle, 0.0), size - 1.0) for place in range(count)]
    lower = [int(place) for place in places]
    upper = [min(place + 1, size - 1) for place in lower]
    return lower, upper, [round((place - before) * (1 << _BITS)) for place, before in zip(places, lower, strict=True)]
