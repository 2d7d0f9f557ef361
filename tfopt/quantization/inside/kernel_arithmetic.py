"""What the int8 kernels of a CPU compute before they round: integers times a float32 factor, or integers alone in a sum.

A quantization-aware model computes on multiples of steps, in float32. Its rounding would come out otherwise than in the file once
in some ten thousand times, where a number lies between two integers, and a normalization carries such a step to all of its row.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfopt.quantization.inside.known_steps import (
    SHAPES,
    common_step,
    is_constant,
    is_known,
    producer,
    reshaped,
    rounded_constant,
    step_of,
    zero_point_of,
)
from tfopt.quantization.inside.resizing import resized

if TYPE_CHECKING:
    import tensorflow as tf

_CONVOLUTIONS = ("Conv2D", "Conv3D", "PartitionedCall", "StatefulPartitionedCall")  # Keras calls a function for groups
_PRODUCTS = (*_CONVOLUTIONS, "BatchMatMulV2", "BatchMatMulV3", "Conv2DBackpropInput", "DepthwiseConv2dNative", "Einsum", "MatMul")
_SUMS = ("Add", "AddV2", "BiasAdd", "Sub")
_LARGEST = 127.0  # integer of a weight
_SMALLEST = 1e-20  # a step, while there is no range
_MOST_TAPS = 25  # values of a window that one convolution averages
_MULTIPLIER_BITS = 20  # XNNPACK: the larger factor of a sum has this many bits after the first one


def as_computed(x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """`x` as the kernel computes it that rounds it to multiples of `step`; `x` itself outside of a graph or of other operations.

    For products and averages, `x = n u + o` with integers n and steps u of the product, is `step ((n + round(o / u)) (u / step))`
    in float32: a bias o is rounded first. For sums, it is a multiple of `step`: see `_sum`. The gradient is that of `x`.

    Args:
        x: float32 tensor.
        step: float32 tensor of shape ().

    Source: XNNPACK, `src/microparams-init.c`.
    """
    import tensorflow as tf

    if not is_known(x) or is_constant(x.op):  # the converter computes constants in float
        return x
    step = tf.maximum(step, _SMALLEST)
    if x.op.type in ("Relu", "Relu6"):
        (inner,) = x.op.inputs
        clamp = tf.nn.relu if x.op.type == "Relu" else tf.nn.relu6
        computed = as_computed(inner, step)
        return x if computed is inner else clamp(computed)
    if x.op.type in ("ConcatV2", "Pack"):
        return _joined(x, step)
    computed = resized(x) if x.op.type == "ResizeBilinear" else _sum(x, step)
    if computed is None:
        computed = _inverse_root(x, step)
    if computed is None:
        found = _accumulated(x)
        if found is None:
            return x
        unit = found.unit
        number = tf.round(tf.math.divide_no_nan(found.values - found.offset, unit)) + _whole(found.offset, unit)
        computed = tf.round(number * (unit / step)) * step
        if found.is_rounded_twice is not None:
            twice = _rounded_twice(tf.cast(number, tf.float64), tf.cast(unit, tf.float64) / tf.cast(step, tf.float64)) * step
            computed = tf.where(found.is_rounded_twice, twice, computed)
    return x + tf.stop_gradient(computed - x)


def _joined(x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Tensors side by side, each as the kernel computes it that makes it."""
    import tensorflow as tf

    inputs = list(x.op.inputs)
    if x.op.type == "Pack":
        return tf.stack([as_computed(each, step) for each in inputs], x.op.get_attr("axis"))
    return tf.concat([as_computed(each, step) for each in inputs[:-1]], inputs[-1])


def _whole(offset: tf.Tensor | float, unit: tf.Tensor) -> tf.Tensor:
    """`round(offset / unit)`, in float64: a bias may be of more than 10,000 units."""
    import tensorflow as tf

    ratio = tf.math.divide_no_nan(*(tf.cast(each, tf.float64) for each in (offset, unit)))
    return tf.cast(tf.round(ratio), tf.float32)


def _sum(x: tf.Tensor, step: tf.Tensor) -> tf.Tensor | None:
    """The sum or difference of two tensors of one step each, a multiple of `step`; None if it is something else.

    `((n_a m_a + n_b m_b + 2^(k - 1)) >> k) step` with `m = round(2^k step_of_input / step)`, and k such that the larger m has 21
    bits.
    """
    import tensorflow as tf

    operation = producer(x)
    if operation.type not in _SUMS:
        return None
    operands = _operands(operation)
    if operands is None:
        return None
    numbers = [tf.cast(tf.round(tf.math.divide_no_nan(tensor, own)), tf.int32) for tensor, own in operands]
    factors = [own / step for _, own in operands]
    exponent = tf.bitwise.right_shift(tf.bitcast(tf.maximum(*factors), tf.int32), 23) - 127
    shift = tf.clip_by_value(_MULTIPLIER_BITS - exponent, 1, 30)
    power = tf.bitcast(tf.bitwise.left_shift(shift + 127, 23), tf.float32)
    first, second = (n * tf.cast(tf.round(factor * power), tf.int32) for n, factor in zip(numbers, factors, strict=True))
    total = (first - second if operation.type == "Sub" else first + second) + tf.bitwise.left_shift(1, shift - 1)
    computed = tf.cast(tf.bitwise.right_shift(total, shift), tf.float32) * step
    return tf.reshape(computed, tf.shape(x))


def _operands(operation: tf.Operation) -> Sequence[tuple[tf.Tensor, tf.Tensor]] | None:
    """The two inputs of an operation with their steps, a constant rounded as the converter does it; None if a step is not known."""
    tensors = list(operation.inputs)
    steps = [common_step(each) for each in tensors]
    for index, other in ((0, 1), (1, 0)):
        if steps[index] is None and steps[other] is not None and is_constant(tensors[index].op):
            tensors[index] = rounded_constant(tensors[index])
            steps[index] = common_step(tensors[index])
    return None if None in steps else list(zip(tensors, steps, strict=True))


def _inverse_root(x: tf.Tensor, step: tf.Tensor) -> tf.Tensor | None:
    """The reciprocal root of a tensor of one step, a multiple of `step`; None if `x` is something else.

    `round(2^20 n^(-1/2))` times `2^(-20) step_of_input^(-1/2) / step`, rounded twice, times `step`.
    """
    import tensorflow as tf

    if x.op.type != "Rsqrt":
        return None
    own = common_step(x.op.inputs[0])
    if own is None:
        return None
    number = tf.cast(tf.clip_by_value(tf.round(tf.math.divide_no_nan(x.op.inputs[0], own)), 0.0, 255.0), tf.int32)
    roots = tf.gather(tf.constant(_inverse_roots(), tf.float64), number)
    factor = tf.math.rsqrt(tf.maximum(own, _SMALLEST)) / step
    return _rounded_twice(roots, tf.cast(factor, tf.float64) / 2.0**20) * step


def _rounded_twice(number: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`round(round(number m) 2^e)` with `factor = m 2^e`, m from 0.5 to 1, halves away from 0; float64 in, float32 out.

    TensorFlow Lite's own kernels multiply so (`MultiplyByQuantizedMultiplier` in `kernels/internal/common.h`).
    """
    import tensorflow as tf

    exponent = tf.bitwise.right_shift(tf.bitcast(factor, tf.int64), 52) - 1022
    power = tf.cast(2.0, tf.float64) ** tf.cast(exponent, tf.float64)
    first = tf.floor(tf.abs(number) * (factor / power) + 0.5)
    return tf.cast(tf.sign(number) * tf.floor(first * power + 0.5), tf.float32)


@functools.cache
def _inverse_roots() -> Sequence[float]:
    """`round(2^20 n^(-1/2))` for n from 0 to 255, by five steps of Newton from 1 for 4^k n, which is at least 1/4 and below 1.

    Source: TensorFlow Lite, `GetInvSqrtQuantizedMultiplierExp` in `kernels/internal/common.h`.
    """
    roots = [2.0**20, 2.0**20]  # 0 is a divisor no more: see `FakeQuantize`
    for number in range(2, 256):
        power = 2.0 ** (number.bit_length() | 1)
        root = 1.0
        for _ in range(5):
            root = 1.5 * root - 0.5 * (number / power) * root**3
        roots.append(math.floor(2.0**20 * root / math.sqrt(power) + 0.5))
    return roots


@dataclasses.dataclass(frozen=True)
class _Accumulated:
    """A tensor that is `n unit + offset` with integers n.

    Attributes:
        values: the tensor, with constants in it rounded.
        data: the step of the data, or of a product of two tensors of data, of shape ().
        largest: the largest of the weights of each channel, which broadcasts to the tensor; None if there are no weights.
        offset: it broadcasts to the tensor.
        is_rounded_twice: bool tensor of shape (), whether TensorFlow Lite's own kernel computes it; None if the CPU delegate does.
    """

    values: tf.Tensor
    data: tf.Tensor
    largest: tf.Tensor | None = None
    offset: tf.Tensor | float = 0.0
    is_rounded_twice: tf.Tensor | None = None

    @property
    def unit(self) -> tf.Tensor:
        """The step of the data times that of the weights, as the converter finds it in float64."""
        import tensorflow as tf

        if self.largest is None:
            return self.data
        return self.data * tf.cast(tf.cast(self.largest, tf.float64) / _LARGEST, tf.float32)


def _accumulated(x: tf.Tensor) -> _Accumulated | None:
    """How `x` is made of integers; None if it is not the output of a product or of an average."""
    import tensorflow as tf

    operation = x.op
    kind, inputs = operation.type, list(operation.inputs)
    if kind in SHAPES:
        found = _accumulated(inputs[0])
        if found is None:
            return None
        largest, offset = (reshaped(each, operation) for each in (found.largest, found.offset))
        values = x if found.values is inputs[0] else reshaped(found.values, operation)
        return dataclasses.replace(found, values=values, largest=largest, offset=offset)
    if kind in _PRODUCTS:
        return _product(operation)
    if kind == "Neg":
        own = common_step(inputs[0])
        return None if own is None else _Accumulated(x, own)
    if kind == "Mean":
        own = common_step(inputs[0])
        share = tf.cast(tf.size(x), tf.float32) / tf.cast(tf.size(inputs[0]), tf.float32)
        return None if own is None else _Accumulated(x, own * share)
    if kind == "AvgPool":
        return _average(operation)
    if kind == "Mul":
        operands = _operands(operation)
        if operands is not None:
            (first, step), (second, other) = operands
            return _Accumulated(first * second, step * other)
    if kind not in ("Mul", *_SUMS):
        return None
    value, constant = inputs if is_constant(inputs[1].op) else inputs[::-1]
    if not is_constant(constant.op) or (kind == "Sub" and value is inputs[1]):
        return None
    found = _accumulated(value)
    if found is None:
        return None
    if found.values is not value or (kind == "Mul" and found.largest is None):
        return None
    if kind == "Mul":
        return dataclasses.replace(found, values=x, largest=found.largest * constant, offset=found.offset * constant)
    offset = found.offset - constant if kind == "Sub" else found.offset + constant
    return dataclasses.replace(found, values=x, offset=offset)


def _average(operation: tf.Operation) -> _Accumulated | None:
    """How an average over windows without padding is made of integers: a convolution with weights of 127."""
    import tensorflow as tf

    values, (_, *window, _) = operation.inputs[0], operation.get_attr("ksize")
    own = common_step(values)
    is_convolution = operation.get_attr("padding") == b"VALID" and math.prod(window) <= _MOST_TAPS and window != values.shape[1:-1]
    if own is None or not is_convolution:
        return None
    return _Accumulated(operation.outputs[0], own * tf.constant(1.0 / (_LARGEST * math.prod(window)), tf.float32))


def _product(operation: tf.Operation) -> _Accumulated | None:
    """How a product is made of integers: those of the accumulators."""
    import tensorflow as tf

    inputs = list(operation.inputs)
    kind = operation.type
    if kind == "Conv2DBackpropInput":
        inputs = [inputs[2], inputs[1]]
    if len(inputs) != 2:
        return None
    first, second = step_of(inputs[0]), step_of(inputs[1])
    if first is None or second is None or len(first.shape):
        return None
    if not len(second.shape):
        # The delegate takes second operands that have no zero point alone.
        is_rounded_twice = tf.not_equal(zero_point_of(inputs[1]), 0.0)
        return _Accumulated(operation.outputs[0], first * second, is_rounded_twice=is_rounded_twice)

    weights = tf.broadcast_to(second, tf.shape(inputs[1]))
    if kind in _CONVOLUTIONS and inputs[1].shape[-1] == operation.outputs[0].shape[-1]:
        channels = tf.reshape(weights, (-1, weights.shape[-1]))[0]
    elif kind == "DepthwiseConv2dNative":
        channels = tf.reshape(weights[0, 0], [-1])
    elif kind == "Conv2DBackpropInput":
        channels = weights[0, 0, :, 0]
    elif kind.startswith("BatchMatMul") and math.prod(inputs[1].shape[:-2]) == 1:
        flat = tf.reshape(weights, tf.shape(weights)[-2:])
        channels = flat[:, 0] if operation.get_attr("adj_y") else flat[0]
    elif kind == "MatMul":
        channels = weights[:, 0] if operation.get_attr("transpose_b") else weights[0]
    else:
        return None
    # float64, as TensorFlow's graphs move constant factors, which would move the last bit of float32
    return _Accumulated(operation.outputs[0], first, tf.cast(_LARGEST * tf.cast(channels, tf.float64), tf.float32))
