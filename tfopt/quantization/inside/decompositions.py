"""Layers and activations made of the operations that the int8 file has for them, with each tensor in between rounded."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np

from tfopt.keras_model.patch import replaced_attributes
from tfopt.quantization.frozen import FrozenBatchNormalization
from tfopt.quantization.layer_kinds import FIXED_RANGES

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.fake_quantize import Range


# Attributes by which the attention of Keras multiplies the queries.
_QUERY_FACTORS = ("_inverse_sqrt_key_dim", "_inverse_sqrt_head_dim")


class Quantize(Protocol):
    """Rounds a tensor.

    `key` names it within its layer; `fixed` is the range that TFLite gives it, if there is one; `observe` says whether it may move
    the range.
    """

    def __call__(self, key: str, tensor: tf.Tensor, fixed: Range | None = None, /, *, observe: bool = True) -> tf.Tensor: ...


def can_be_unfused(layer: keras.layers.Layer) -> bool:
    """Whether a layer computes attention by a method that returns its scores if it is asked for them."""
    method = getattr(type(layer), "_compute_attention", None)
    return method is not None and "return_attention_scores" in inspect.signature(method).parameters


def unfused_attention(layer: keras.layers.Layer, quantize: Quantize) -> Callable[..., Any]:
    """A `_compute_attention` for `layer` that does not use a fused operation, inside which nothing can be rounded."""
    # Keras documents `_compute_attention` as the method to override; asked for its scores, it computes them step by step (3.15).
    own = functools.partial(type(layer)._compute_attention, layer)

    def compute(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(own).bind(*args, **kwargs)
        if keras.config.is_flash_attention_enabled():
            return own(*given.args, **given.kwargs)
        given.arguments["return_attention_scores"] = True
        factor = next((each for each in _QUERY_FACTORS if hasattr(layer, each)), None)
        if factor is None:
            return own(*given.args, **given.kwargs)
        query = given.arguments["query"]
        given.arguments["query"] = quantize("scaled_query", query * keras.ops.cast(getattr(layer, factor), query.dtype))
        with replaced_attributes({layer: {factor: 1.0}}):
            return own(*given.args, **given.kwargs)

    return compute


def _silu(quantize: Quantize, x: tf.Tensor) -> tf.Tensor:
    return x * quantize("sigmoid", keras.ops.sigmoid(x), FIXED_RANGES["sigmoid"])


def _hard_silu(quantize: Quantize, x: tf.Tensor) -> tf.Tensor:
    return x * quantize("gate", _hard_sigmoid(quantize, x), FIXED_RANGES["hard_sigmoid"])


def _hard_sigmoid(quantize: Quantize, x: tf.Tensor) -> tf.Tensor:
    return quantize("relu6", keras.ops.relu6(x + 3.0), (0.0, 6.0)) / 6.0


# Name of an activation function -> function of (quantize, x) that computes it.
ACTIVATIONS: Mapping[str | None, Callable[[Quantize, tf.Tensor], tf.Tensor]] = {
    "silu": _silu, "swish": _silu, "hard_silu": _hard_silu, "hard_swish": _hard_silu, "hard_sigmoid": _hard_sigmoid,
}  # fmt: skip


def _average(layer: keras.layers.Layer, quantize: Quantize, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    return quantize("sum", _in_pairs(keras.ops.add, "sum", quantize, inputs)) * (1.0 / len(inputs))


def _in_pairs(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], key: str, quantize: Quantize, inputs: Sequence[tf.Tensor]
) -> tf.Tensor:
    """A function of two tensors applied to many of them in turn, each result but the last rounded as the file does it."""
    result = inputs[0]
    for index, each in enumerate(inputs[1:]):
        result = function(quantize(f"{key}_{index}", result) if index else result, each)
    return result


def _sum(layer: keras.layers.Layer, quantize: Quantize, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    return _in_pairs(keras.ops.add, "sum", quantize, inputs)


def _product(layer: keras.layers.Layer, quantize: Quantize, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    return _in_pairs(keras.ops.multiply, "product", quantize, inputs)


def takes_many(layer: keras.layers.Layer) -> bool:
    """Whether a built layer that merges tensors has more than two of them."""
    shapes = (layer.get_build_config() or {}).get("input_shape")
    return isinstance(shapes, list | tuple) and len(shapes) > 2 and isinstance(shapes[0], list | tuple)


def _rescaling(layer: keras.layers.Layer, quantize: Quantize, inputs: tf.Tensor) -> tf.Tensor:
    scale, offset = (keras.ops.cast(value, layer.compute_dtype) for value in (layer.scale, layer.offset))
    scaled = keras.ops.cast(inputs, layer.compute_dtype) * scale
    return quantize("scaled", scaled) + offset if np.any(np.asarray(layer.offset)) else scaled


# The normalizations are as `tfopt.lowering.normalization` has them.


def _layer_normalization(layer: keras.layers.Layer, quantize: Quantize, inputs: tf.Tensor, **_: Any) -> tf.Tensor:
    axes = _axes(layer, inputs)
    centered = quantize("centered", inputs - quantize("mean", keras.ops.mean(inputs, axes, keepdims=True)))
    return _affine(layer, quantize, centered * _inverse_deviation(layer, quantize, centered, axes), _broadcast(inputs, axes))


def _group_normalization(layer: keras.layers.Layer, quantize: Quantize, inputs: tf.Tensor, **_: Any) -> tf.Tensor:
    last = len(inputs.shape) - 1
    channels = inputs.shape[-1]
    if _axes(layer, inputs) != [last]:
        return type(layer).call(layer, inputs)
    groups = channels if layer.groups == -1 else layer.groups
    shape = keras.ops.shape(inputs)
    grouped = keras.ops.reshape(inputs, (-1, math.prod(inputs.shape[1:-1]), groups, channels // groups))
    centered = quantize("centered", grouped - quantize("mean", keras.ops.mean(grouped, (1, 3), keepdims=True)))
    outputs = keras.ops.reshape(centered * _inverse_deviation(layer, quantize, centered, (1, 3)), shape)
    return _affine(layer, quantize, outputs, _broadcast(inputs, [last]))


def _rms_normalization(layer: keras.layers.Layer, quantize: Quantize, inputs: tf.Tensor, **_: Any) -> tf.Tensor:
    axes = _axes(layer, inputs)
    outputs = quantize("normalized", inputs * _inverse_deviation(layer, quantize, inputs, axes))
    gamma = quantize("gamma", keras.ops.cast(layer.scale, outputs.dtype))
    return outputs * keras.ops.reshape(gamma, _broadcast(inputs, axes))


def _inverse_deviation(layer: keras.layers.Layer, quantize: Quantize, x: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """`1 / sqrt(mean x^2 + epsilon)` over `axes`."""
    variance = quantize("variance", keras.ops.mean(quantize("square", x * x), axes, keepdims=True))
    return quantize("inverse", keras.ops.rsqrt(quantize("shifted", variance + layer.epsilon)))


def _axes(layer: keras.layers.Layer, inputs: tf.Tensor) -> list[int]:
    """The axes of a normalization as numbers from 0."""
    return [axis % len(inputs.shape) for axis in (layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis])]


def _broadcast(inputs: tf.Tensor, axes: Sequence[int]) -> list[int]:
    """The shape in which weights along `axes` broadcast to `inputs`."""
    return [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]


def _affine(layer: keras.layers.Layer, quantize: Quantize, outputs: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """`outputs` times the layer's scale plus its offset, where it has them."""
    if layer.scale:
        gamma = quantize("gamma", keras.ops.cast(layer.gamma, outputs.dtype))
        outputs = quantize("normalized", outputs) * keras.ops.reshape(gamma, shape)
    if layer.center:
        beta = quantize("beta", keras.ops.cast(layer.beta, outputs.dtype))
        outputs = quantize("scaled", outputs) + keras.ops.reshape(beta, shape)
    return outputs


def batch_normalization(
    layer: keras.layers.BatchNormalization,
    quantize: Quantize,
    constant: Callable[[tf.Tensor], tf.Tensor],
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """The `call` of a BatchNormalization that stands alone, which the file computes as a product and a sum.

    `constant` rounds the factors and the summands of the channels.
    """
    own = functools.partial(type(layer).call, layer)
    axes = list(range(len(inputs.shape) - 1))
    if layer.axis not in (-1, len(axes)):
        return own(inputs, training=training, mask=mask)
    mean, variance = layer.moving_mean, layer.moving_variance
    x = keras.ops.cast(inputs, variance.dtype)
    if training and layer.trainable and not isinstance(layer, FrozenBatchNormalization):
        own(inputs, training=True, mask=mask)  # which moves the statistics
        if mask is None:
            mean, variance = keras.ops.moments(x, axes, synchronized=layer.synchronized)
        else:
            seen = keras.ops.cast(mask, x.dtype)[..., None]
            mean = keras.ops.sum(x * seen, axes) / keras.ops.sum(seen)
            variance = keras.ops.sum(keras.ops.square(x - mean) * seen, axes) / keras.ops.sum(seen)
    factor = keras.ops.rsqrt(variance + layer.epsilon) * (layer.gamma if layer.scale else 1.0)
    summand = (layer.beta if layer.center else 0.0) - mean * factor
    outputs = quantize("scaled", x * constant(factor)) + constant(summand)
    return keras.ops.cast(outputs, layer.compute_dtype)


# Name of a layer class -> function of (layer, quantize, and the arguments of the layer's `call`) that computes its outputs.
LAYERS: Mapping[str, Callable[..., tf.Tensor]] = {
    "Add": _sum, "Average": _average, "GroupNormalization": _group_normalization, "LayerNormalization": _layer_normalization,
    "Multiply": _product, "Rescaling": _rescaling, "RMSNormalization": _rms_normalization,
}  # fmt: skip


# Keys of the tensors of which the file takes the reciprocal root.
DIVISORS = ("shifted",)


def leaky_relu(slope: float, x: tf.Tensor) -> tf.Tensor:
    """A leaky ReLU whose slope is a multiple of 1/256, which every kernel computes exactly between tensors of one scale.

    A slope that is off by up to 1/512 changes an output by up to a quarter of a step.
    """
    return keras.ops.leaky_relu(x, exact_slope(slope))


def exact_slope(slope: float) -> float:
    """The nearest multiple of 1/256 above 0."""
    return max(round(256.0 * slope), 1) / 256.0


def separable_convolution(
    layer: keras.layers.Layer, quantize: Quantize, activation: Callable[[tf.Tensor], tf.Tensor] | None, inputs: tf.Tensor
) -> tf.Tensor:
    """The `call` of a `SeparableConv1D` or `SeparableConv2D`, which the file computes as two convolutions."""
    strides = layer.strides if isinstance(layer.strides, int) else tuple(layer.strides)
    x = keras.ops.depthwise_conv(
        inputs, layer.depthwise_kernel, strides=strides, padding=layer.padding, data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )  # fmt: skip
    x = quantize("depthwise", x)
    x = keras.ops.conv(x, layer.pointwise_kernel, padding="valid", data_format=layer.data_format)
    if layer.use_bias:
        shape = (1, *[1] * layer.rank, -1) if layer.data_format == "channels_last" else (1, -1, *[1] * layer.rank)
        x = keras.ops.add(x, keras.ops.reshape(layer.bias, shape))
    return x if activation is None else activation(x)
