"""Affine quantization in NumPy: ranges, scales and zero points as TFLite defines them."""

import math

import numpy as np

from tfopt.errors import ArgumentError

# Activation functions whose int8 output has a range whatever the data: TFLite's own, or all that the function can give.
FIXED_RANGES = {
    "softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128), "hard_sigmoid": (0.0, 1.0),
}  # fmt: skip


def scale_and_zero_point(minimum, maximum, bits=8):
    """Of an activation: `scale = (max - min) / (2^bits - 1)`, `zero_point = round(-2^(bits - 1) - min / scale)`.

    Example:

    ```python
    scale, zero_point = scale_and_zero_point(0.0, 2.55)   # 0.01, -128
    ```

    Args:
        minimum, maximum: float, the range; it is widened to hold 0, which must be a value of the grid.
        bits: int, 2 to 16.

    Returns:
        (float, int): real value = scale (integer - zero_point), integer in [-2^(bits - 1), 2^(bits - 1) - 1].

    Raises:
        ArgumentError: the range is empty or not finite.

    Source: Jacob et al., arXiv:1712.05877.
    """
    minimum, maximum = min(float(minimum), 0.0), max(float(maximum), 0.0)
    if not (math.isfinite(minimum) and math.isfinite(maximum) and minimum < maximum):
        raise ArgumentError(f"A range needs two finite numbers, the first below the second. Received: ({minimum}, {maximum}).")
    scale = (maximum - minimum) / (2**bits - 1)
    lowest = -(2 ** (bits - 1))
    return scale, int(np.clip(round(lowest - minimum / scale), lowest, -lowest - 1))


def fake_quantize(values, minimum, maximum, bits=8):
    """`values` rounded to the grid of the range: `scale (clip(round(x / scale) + zero_point) - zero_point)`.

    Args:
        values: float array of any shape.
        minimum, maximum, bits: as for `scale_and_zero_point`.

    Returns:
        float64 array of the same shape.
    """
    scale, zero_point = scale_and_zero_point(minimum, maximum, bits)
    lowest = -(2 ** (bits - 1))
    integers = np.clip(np.round(np.asarray(values, np.float64) / scale) + zero_point, lowest, -lowest - 1)
    return scale * (integers - zero_point)


def weight_scales(values, axes, bits=8):
    """Symmetric scales of a weight: `max |w| / (2^(bits - 1) - 1)` over all axes but `axes`.

    Args:
        values: float array.
        axes: tuple of int, the axes along which scales differ; empty for one scale.
        bits: int, 2 to 8.

    Returns:
        Array that broadcasts to `values`; 0 where all weights are 0.
    """
    values = np.asarray(values)
    kept = {axis % values.ndim for axis in axes}
    others = tuple(axis for axis in range(values.ndim) if axis not in kept)
    return np.abs(values).max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)


def quantize_weight(values, axes, bits=8):
    """A weight as (int8 array in [-(2^(bits - 1) - 1), 2^(bits - 1) - 1], its `weight_scales`): `w = integer * scale`."""
    scales = weight_scales(values, axes, bits)
    integers = np.round(np.divide(values, scales, out=np.zeros_like(values), where=scales > 0))
    return integers.astype(np.int8), scales
