"""Layers computed from the operations that an int8 file has for them."""

import functools
import inspect
import math

import keras
import numpy as np

from tfopt.quantization.layer_kinds import FIXED_RANGES


def attention(layer):
    # Keras documents `_compute_attention` as what one overrides; asked for its scores, it computes them outside a fused op (3.15).
    own = functools.partial(type(layer)._compute_attention, layer)

    def compute(*args, **kwargs):
        given = inspect.signature(own).bind(*args, **kwargs)
        if not keras.config.is_flash_attention_enabled():
            given.arguments["return_attention_scores"] = True
        return own(*given.args, **given.kwargs)

    return compute


def _silu(quantize, x):
    return x * quantize("sigmoid", keras.ops.sigmoid(x), FIXED_RANGES["sigmoid"])


def _hard_silu(quantize, x):
    return x * quantize("gate", _hard_sigmoid(quantize, x), FIXED_RANGES["hard_sigmoid"])


def _hard_sigmoid(quantize, x):
    return quantize("relu6", keras.ops.relu6(x + 3.0), (0.0, 6.0)) / 6.0


# Activation function -> the same from the ops that the file has for it, each rounded.
INNER = {
    "silu": _silu, "swish": _silu, "hard_silu": _hard_silu, "hard_swish": _hard_silu, "hard_sigmoid": _hard_sigmoid,
}  # fmt: skip


def _average(layer, quantize, inputs):
    return quantize("sum", functools.reduce(keras.ops.add, inputs)) * (1.0 / len(inputs))


def _rescaling(layer, quantize, inputs):
    scale, offset = (keras.ops.cast(value, layer.compute_dtype) for value in (layer.scale, layer.offset))
    scaled = keras.ops.cast(inputs, layer.compute_dtype) * scale
    return quantize("scaled", scaled) + offset if np.any(np.asarray(layer.offset)) else scaled


def _layer_normalization(layer, quantize, inputs, **_):
    # As `conversion.lower_layers` has it, without the negation that has no int8 kernel.
    axes = [axis % len(inputs.shape) for axis in (layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis])]
    shape = [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]
    centered = quantize("centered", inputs - quantize("mean", keras.ops.mean(inputs, axes, keepdims=True)))
    variance = quantize("variance", keras.ops.mean(quantize("square", centered * centered), axes, keepdims=True))
    inverse = quantize("inverse", keras.ops.rsqrt(quantize("shifted", variance + layer.epsilon)))
    outputs = centered * inverse
    if layer.scale:
        gamma = quantize("gamma", keras.ops.cast(layer.gamma, outputs.dtype))
        outputs = quantize("normalized", outputs) * keras.ops.reshape(gamma, shape)
    if layer.center:
        beta = quantize("beta", keras.ops.cast(layer.beta, outputs.dtype))
        outputs = quantize("scaled", outputs) + keras.ops.reshape(beta, shape)
    return outputs


def masked_softmax(layer, quantize, inputs, mask=None):
    # As `conversion.lower_attention` has it: masked scores of -1e38 would be the range of all.
    axes = layer.axis if isinstance(layer.axis, int) else tuple(layer.axis)
    sizes = [inputs.shape[axis] for axis in keras.tree.flatten(axes)]
    if mask is None or None in sizes:
        return type(layer).call(layer, inputs, mask)
    mask, depth = keras.ops.cast(mask, "bool"), math.log(math.prod(sizes) / 1e-6)
    seen = keras.ops.where(mask, inputs, keras.ops.min(inputs, axes, keepdims=True))
    above = keras.ops.relu(seen - (keras.ops.max(seen, axes, keepdims=True) - depth))
    return type(layer).call(layer, keras.ops.where(mask, quantize("above", above, (0.0, depth)), 0.0))


# Layer class -> the same from the ops that the file has for it, each rounded.
CALLS = {"Average": _average, "LayerNormalization": _layer_normalization, "Rescaling": _rescaling}


def separable(layer, quantize, activation, inputs):
    strides = layer.strides if isinstance(layer.strides, int) else tuple(layer.strides)
    x = keras.ops.depthwise_conv(
        inputs, layer.depthwise_kernel, strides=strides, padding=layer.padding, data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )  # fmt: skip
    x = quantize("depthwise", x, None)
    x = keras.ops.conv(x, layer.pointwise_kernel, padding="valid", data_format=layer.data_format)
    if layer.use_bias:
        shape = (1, *[1] * layer.rank, -1) if layer.data_format == "channels_last" else (1, -1, *[1] * layer.rank)
        x = keras.ops.add(x, keras.ops.reshape(layer.bias, shape))
    return x if activation is None else activation(x)
