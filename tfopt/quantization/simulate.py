"""What a layer computes between its borders, tensor by tensor, as the int8 file does: replacements for `surgery.replaced`."""

import functools
import inspect
import itertools
import math

import keras
import numpy as np

from tfopt import surgery

# Activation functions whose int8 output has a range whatever the data: TFLite's own, or all that the function can give.
FIXED_RANGES = {
    "softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128), "hard_sigmoid": (0.0, 1.0),
}  # fmt: skip
# What keeps integers and their scale as they are, so that nothing is rounded behind it.
KEEPS_SCALE = {
    "ActivityRegularization", "AlphaDropout", "Cropping1D", "Cropping2D", "Cropping3D", "Dropout", "ExpandDims", "Flatten",
    "GaussianDropout", "GaussianNoise", "GetItem", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "Identity",
    "Masking", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "Permute", "RepeatVector", "Reshape", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D", "Squeeze", "Transpose", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
}  # fmt: skip
# Nothing at all in the file.
DROPPED = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D",
}  # fmt: skip
# Computed with the scale of what goes in, to whose integers the results are rounded.
ROUNDS_AS_BEFORE = {"AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "Resizing", "UpSampling2D"}
# Layers whose inner layers run in a loop, or whose inner calls are none of the file's.
_LOOPS = ("RNN", "TimeDistributed")


def keeps_scale(layer):
    """Whether what comes out of `layer` has the integers and the scale of what goes in."""
    name = type(layer).__name__
    nearest = name.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") == "nearest"
    return (name in KEEPS_SCALE or nearest) and _is_keras(layer)


def rounds_as_before(layer):
    """Whether what comes out of `layer` is rounded to the grid of what goes in."""
    return type(layer).__name__ in ROUNDS_AS_BEFORE and _is_keras(layer) and not keeps_scale(layer)


def is_fused_activation(layer):
    """Whether `layer` is a ReLU that the op before it takes in."""
    name = type(layer).__name__
    if not _is_keras(layer):
        return False
    if name == "ReLU":
        return layer.max_value in (None, 6, 6.0) and not layer.negative_slope and not layer.threshold
    return name in ("Relu", "Relu6") or (name == "Activation" and _name(layer.activation) in ("relu", "relu6"))


def fixed_range(layer):
    """The range that TFLite gives to whatever leaves `layer`; None where the data decide."""
    name = type(layer).__name__
    if not _is_keras(layer):
        return None
    if name in ("Softmax", "Sigmoid", "Tanh"):
        return FIXED_RANGES[name.lower()]
    return FIXED_RANGES.get(_name(getattr(layer, "activation", None))) if not _is_loop(layer) else None


def has_activation(layer):
    """Whether `layer` applies an activation function that is not linear."""
    function = getattr(layer, "activation", None)
    return function is not None and _name(function) != "linear"


def rounds_inside(layer):
    """Whether a layer without others in it has tensors to be rounded between its borders."""
    return bool(Simulation(lambda key, tensor, fixed: tensor).inside(layer))


def is_recurrent(layer):
    """Whether `layer` computes step by step."""
    return type(layer).__name__ == "Bidirectional" or any(kind.__name__ == "RNN" for kind in type(layer).__mro__)


def is_composite(layer):
    """Whether `layer` is made of others that it calls, each once in a forward pass and not in a loop."""
    return not _is_loop(layer) and bool(surgery.sublayers(layer))


def detached(tensor):
    """What the converter takes for another tensor than the rounded one that it is: a product with almost 1, as it drops 1 (2.21).

    Behind a given range it fails on an LSTM, and it gives the steps of other recurrent layers the ranges of their parts.
    """
    return tensor * (1.0 + 2.0**-20) if _is_float(tensor) else tensor


class Simulation:
    """One call of a layer with what it computes inside rounded.

    Args:
        quantize: function of (key, tensor, fixed range or None) that returns the rounded tensor.
        is_baked: bool, whether ranges are constants, so that rounding twice is rounding once.
    """

    def __init__(self, quantize, is_baked=False):
        self._quantize, self._is_baked = quantize, is_baked
        self._rounded = {}  # id -> tensor, as ids are only unique among the living

    def mark(self, tensors):
        """Says that these come in rounded."""
        self._rounded.update((id(tensor), tensor) for tensor in keras.tree.flatten(tensors))

    def is_rounded(self, tensors):
        """Whether each float tensor of these was rounded last of all."""
        return all(id(tensor) in self._rounded for tensor in keras.tree.flatten(tensors) if _is_float(tensor))

    def replacements(self, layer):
        """For `surgery.replaced`: `layer`, or each layer inside it, rounding."""
        if not is_composite(layer):
            return {layer: self.inside(layer)}
        found = {layer: {"_compute_attention": _attention(layer)}} if hasattr(layer, "_compute_attention") else {}
        for path, leaf in _leaves(layer, ""):
            attributes = self.inside(leaf, path)
            call = functools.partial(self._bordered, leaf, path, attributes.get("call", leaf.call))
            found[leaf] = {**attributes, "call": call}
        return found

    def _bordered(self, leaf, path, call, *args, **kwargs):
        keeps = keeps_scale(leaf)
        inputs = [tensor for tensor in keras.tree.flatten((args, kwargs)) if _is_float(tensor)]
        if not keeps:
            args, kwargs = keras.tree.map_structure(self._entering(path), (args, kwargs))
        outputs = call(*args, **kwargs)
        if keeps:
            if self.is_rounded(inputs):
                self.mark(outputs)
            return outputs
        count = itertools.count()
        return keras.tree.map_structure(
            lambda tensor: self._round(_numbered(f"{path}/output", count), tensor, fixed_range(leaf)), outputs
        )

    def _entering(self, path):
        count = itertools.count()

        def enter(value):
            if not _is_float(value):
                return value
            key = _numbered(f"{path}/input", count)
            return value if self.is_rounded(value) else self._round(key, value, None)

        return enter

    def _round(self, key, tensor, fixed):
        if not _is_float(tensor):
            return tensor
        rounded = self._quantize(key, tensor, fixed)
        self.mark(rounded)
        return rounded

    def inside(self, layer, path=""):
        """Attributes of a layer whose own call rounds what the file rounds between its borders."""
        if _is_loop(layer) or not _is_keras(layer):
            return {}

        def quantize(key, tensor, fixed=None):
            return self._quantize(f"{path}/{key}" if path else key, tensor, fixed)

        found = {}
        function = getattr(layer, "activation", None)
        kind = _name(function)
        compute = functools.partial(_INNER[kind], quantize) if kind in _INNER else function
        if type(layer).__name__ == "Activation":
            if kind in _INNER:
                found["activation"] = compute
        elif has_activation(layer) and kind not in ("relu", "relu6"):
            found["activation"] = lambda x: compute(quantize("before_activation", x))
        if type(layer).__name__ in _CALLS:
            found["call"] = functools.partial(_CALLS[type(layer).__name__], layer, quantize)
        if type(layer).__name__ == "Softmax" and path:  # of attention; alone it has nothing inside
            found["call"] = functools.partial(_masked_softmax, layer, quantize)
        if type(layer).__name__ == "Concatenate":
            found["call"] = functools.partial(self._concatenate, layer, f"{path}/joined" if path else "joined")
        if type(layer).__name__ in ("SeparableConv1D", "SeparableConv2D"):
            found["call"] = functools.partial(_separable, layer, quantize, found.pop("activation", function))
        return found

    def _concatenate(self, layer, key, inputs):
        # The file joins integers of one scale. Rounded only once they are joined, the converter would take the first one's. It
        # refuses to round what is rounded, but for an operation in between (2.21).
        if self._is_baked:
            inputs = [self._round(key, detached(each) if self.is_rounded(each) else each, None) for each in inputs]
        return self._round(key, type(layer).call(layer, inputs), None)


def _leaves(layer, path):
    for index, inner in enumerate(surgery.sublayers(layer)):
        own = f"{type(inner).__name__}_{index}"  # Keras may name it anew when it loads it
        name = f"{path}/{own}" if path else own
        if is_composite(inner):
            yield from _leaves(inner, name)
        else:
            yield name, inner


def _numbered(key, count):
    number = next(count)
    return f"{key}_{number}" if number else key


def _is_float(tensor):
    return hasattr(tensor, "dtype") and hasattr(tensor, "shape") and "float" in keras.backend.standardize_dtype(tensor.dtype)


def _attention(layer):
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
_INNER = {
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


def _masked_softmax(layer, quantize, inputs, mask=None):
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
_CALLS = {"Average": _average, "LayerNormalization": _layer_normalization, "Rescaling": _rescaling}


def _separable(layer, quantize, activation, inputs):
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


def _name(function):
    module = getattr(function, "__module__", None) or ""
    return getattr(function, "__name__", "") if module.startswith("keras.") else None


def _is_keras(layer):
    return type(layer).__module__.startswith("keras.")


def _is_loop(layer):
    return any(kind.__name__ in _LOOPS for kind in type(layer).__mro__)
