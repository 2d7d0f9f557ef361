"""Upsampling, 3-D convolution and 3-D pooling computed from 2-D operations with int8 kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def upsampling(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: repetition as RESIZE_NEAREST_NEIGHBOR instead of RESHAPE and TILE."""
    rank = {"UpSampling1D": 1, "UpSampling2D": 2, "UpSampling3D": 3}.get(layer_kind(layer) or "")
    if rank is None or getattr(layer, "interpolation", "nearest") != "nearest" or not is_channels_last(layer):
        return None
    sizes = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)

    def call(inputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        batch, *space, channels = inputs.shape
        out = [length * size for length, size in zip(space, sizes, strict=True)]
        if rank == 1:
            return tf.reshape(_resize(inputs[:, :, None], (out[0], 1)), (batch, out[0], channels))
        if rank == 2:
            return _resize(inputs, out)
        flat = _resize(tf.reshape(inputs, (-1, *space[1:], channels)), out[1:])
        flat = _resize(tf.reshape(flat, (batch, space[0], -1, channels)), (out[0], out[1] * out[2]))
        return tf.reshape(flat, (batch, *out, channels))

    return {"call": call}


def three_dimensions(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: `Conv3D` as one 2-D convolution of stacked slices, pooling as 2-D pooling; neither has an int8 kernel in 3-D."""
    if not is_channels_last(layer):
        return None
    name = layer_kind(layer)
    if name == "Conv3D":
        return {"call": lambda inputs: _convolve(layer, inputs)} if getattr(layer, "groups", 1) == 1 else None
    if name in ("MaxPooling3D", "AveragePooling3D"):
        return {"call": lambda inputs: _pool(layer, inputs, "MAX" if name == "MaxPooling3D" else "AVG")}
    return None


def _convolve(layer: AnyLayer, inputs: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    (size, *area), (stride, *strides), (dilation, *dilations) = layer.kernel_size, layer.strides, layer.dilation_rate
    batch, depth, height, width, channels = inputs.shape
    reach = (size - 1) * dilation + 1
    if layer.padding == "same":
        missing = max((-(-depth // stride) - 1) * stride + reach - depth, 0)
        inputs = tf.pad(inputs, [[0, 0], [missing // 2, missing - missing // 2], [0, 0], [0, 0], [0, 0]])
        depth += missing
    count = (depth - reach) // stride + 1
    taps = [inputs[:, tap * dilation : tap * dilation + (count - 1) * stride + 1 : stride] for tap in range(size)]
    stacked = tf.reshape(tf.concat(taps, axis=-1), (batch * count, height, width, size * channels))
    kernel = tf.reshape(tf.transpose(tf.convert_to_tensor(layer.kernel), (1, 2, 0, 3, 4)), (*area, size * channels, -1))
    outputs = tf.nn.conv2d(stacked, kernel, strides, layer.padding.upper(), dilations=dilations)
    if layer.use_bias:
        outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(layer.bias))
    outputs = tf.reshape(outputs, (batch, count, *outputs.shape[1:]))
    return outputs if layer.activation is None else layer.activation(outputs)


def _pool(layer: AnyLayer, inputs: tf.Tensor, kind: Literal["MAX", "AVG"]) -> tf.Tensor:
    import tensorflow as tf

    (size, *area), (stride, *strides), padding = layer.pool_size, layer.strides, layer.padding.upper()
    batch, depth, height, width, channels = inputs.shape
    flat = tf.reshape(inputs, (batch * depth, height, width, channels))
    pool = tf.nn.max_pool2d if kind == "MAX" else tf.nn.avg_pool2d  # `tf.nn.pool` refuses strides beyond the window
    flat = pool(flat, area, strides, padding)
    _, height, width, _ = flat.shape
    flat = pool(tf.reshape(flat, (batch, depth, -1, channels)), [size, 1], [stride, 1], padding)
    return tf.reshape(flat, (batch, -1, height, width, channels))


def _resize(images: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    import tensorflow as tf

    return tf.image.resize(images, size, method="nearest")


def is_channels_last(layer: AnyLayer) -> bool:
    """Whether the last axis of a layer's input holds the channels."""
    if layer_kind(layer) == "GroupNormalization":
        return layer.axis == -1
    return getattr(layer, "data_format", None) in (None, "channels_last")
