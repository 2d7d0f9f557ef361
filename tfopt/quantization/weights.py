"""Which weights of a layer become integers, along which axes their scales differ, and how they are rounded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tfopt.keras_model.weights import Weight, walk_weights
from tfopt.quantization.inside.known_steps import note

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# (layer class, own name of the weight) -> axes along which scales differ, counted from the end: the output channels.
_AXES: dict[tuple[str, str], tuple[int, ...]] = {
    ("Conv1DTranspose", "kernel"): (-2,),
    ("Conv2DTranspose", "kernel"): (-2,),
    ("Conv3DTranspose", "kernel"): (-2,),
    ("DepthwiseConv1D", "kernel"): (-2, -1),
    ("DepthwiseConv2D", "kernel"): (-2, -1),
    ("SeparableConv1D", "depthwise_kernel"): (-2, -1),
    ("SeparableConv2D", "depthwise_kernel"): (-2, -1),
    ("PReLU", "alpha"): (),
}
# Layers that TFLite computes with 4-bit weights.
_FOUR_BITS = ("Conv1D", "Conv2D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
OF_RANK_1 = "a vector: in the file it is int32, or multiplied into the weights before it"


@dataclasses.dataclass(frozen=True)
class Grid:
    """How a weight is rounded: symmetrically, without the lowest integer, so that 0 stays 0.

    Attributes:
        axes: the axes along which scales differ, counted from the end, below 0; empty for one scale.
        groups: number of equal parts of the last axis with one scale each; 1 unless the parts are the gates of an LSTM.
        has_four_bits: whether TFLite has a kernel for the weight with 4 bits.
    """

    axes: tuple[int, ...]
    groups: int = 1
    has_four_bits: bool = False

    def __str__(self) -> str:
        """The scales in words, as `quantization_report` shows them."""
        if self.groups > 1:
            return f"{self.groups} gates"
        return f"per channel, axis {', '.join(map(str, self.axes))}" if self.axes else "per tensor"


def grids(layer: keras.layers.Layer) -> list[tuple[Weight, Grid | str]]:
    """Each weight of `layer` with its `Grid`, or with the reason why it stays float.

    Args:
        layer: a built Keras 3 layer; the weights of layers inside it are listed as well.
    """
    return [(weight, _grid(weight.layers[-1], weight.kind, weight.variable)) for weight in walk_weights(layer)]


def _grid(owner: keras.layers.Layer, kind: str, variable: keras.Variable) -> Grid | str:
    name = type(owner).__name__
    if "float" not in str(variable.dtype):
        return "it is no float"
    if name == "Embedding":
        return "a lookup has the scale of its output"
    if kind in ("bias", "forward_bias") or (len(variable.shape) < 2 and (name, kind) not in _AXES):
        return OF_RANK_1
    if _is_normalization(owner):
        return "part of a normalization"
    if not variable.trainable and kind not in ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel"):
        return "a state, not a weight"
    if (name, kind) in _AXES:
        return Grid(_AXES[name, kind], has_four_bits=name in _FOUR_BITS)
    if name == "EinsumDense" and kind == "kernel":
        return Grid(_kept_axes(owner.equation))
    if name == "LSTMCell":
        return Grid((), groups=4)
    return Grid((-1,), has_four_bits=name in _FOUR_BITS)


def _is_normalization(layer: keras.layers.Layer) -> bool:
    return type(layer).__name__.endswith("Normalization")


def _kept_axes(equation: str) -> tuple[int, ...]:
    """The axes of an `EinsumDense` kernel that its output has too: d and e in `abc,cde->abde`."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    kernel = inputs.partition(",")[2]
    return tuple(index - len(kernel) for index, label in enumerate(kernel) if label in output)


def weight_scale(weight: tf.Tensor, axes: tuple[int, ...], bits: int) -> tf.Tensor:
    """`max |w| / (2^(bits - 1) - 1)` over all axes of a float32 tensor but `axes`, in a shape that broadcasts to the weight."""
    import tensorflow as tf

    kept = {axis % len(weight.shape) for axis in axes}
    others = [axis for axis in range(len(weight.shape)) if axis not in kept]
    # float64, as TensorFlow's graphs divide by a constant as they multiply by its reciprocal, which moves the last bit of float32
    largest = tf.cast(tf.reduce_max(tf.abs(weight), others, keepdims=True), tf.float64)
    return tf.cast(largest / (2.0 ** (bits - 1) - 1.0), tf.float32)


def fake_quantize_weight(weight: tf.Tensor, axes: tuple[int, ...], bits: int, groups: int = 1) -> tf.Tensor:
    """A weight on its symmetric grid; the gradient passes as if the weight were not rounded.

    Args:
        weight: float tensor of any shape.
        axes: the axes along which scales differ.
        bits: 2 to 8.
        groups: number of equal parts of the last axis that have one scale each, such as the gates of an LSTM. If it is above 1,
            `axes` must be empty.

    Returns:
        Tensor with the shape and dtype of `weight`.
    """
    import tensorflow as tf

    whole = tf.cast(weight, "float32")
    grouped = tf.reshape(whole, (*whole.shape[:-1], groups, -1)) if groups > 1 else whole
    scale = weight_scale(grouped, (-2,) if groups > 1 else axes, bits)
    rounded = tf.reshape(tf.round(tf.math.divide_no_nan(grouped, scale)) * scale, whole.shape)
    outputs = tf.cast(whole + tf.stop_gradient(rounded - whole), weight.dtype)
    if groups == 1:
        note(outputs, scale)
    return outputs
