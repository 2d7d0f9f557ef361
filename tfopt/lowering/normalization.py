"""Normalizations computed without NEG, which has no int8 kernel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import layer_kind
from tfopt.lowering.convolution import is_channels_last

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def normalization(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: Keras computes `-mean * inv` (NEG) or SQUARE, which have no int8 kernel; a product of differences has."""
    rule = _NORMALIZATIONS.get(layer_kind(layer) or "")
    return {"call": rule(layer)} if rule and is_channels_last(layer) else None


def _layer_normalization(layer: AnyLayer) -> Callable[..., tf.Tensor]:
    # (x - mean) / sqrt(var + epsilon) * gamma + beta, arXiv:1607.06450
    def call(inputs: tf.Tensor, **_: Any) -> tf.Tensor:
        import tensorflow as tf

        axes = _axes(layer.axis, inputs)
        centered = inputs - tf.reduce_mean(inputs, axes, keepdims=True)
        variance = tf.reduce_mean(centered * centered, axes, keepdims=True)
        return _affine(layer, centered * tf.math.rsqrt(variance + layer.epsilon), inputs, axes)

    return call


def _group_normalization(layer: AnyLayer) -> Callable[..., tf.Tensor]:
    # arXiv:1803.08494
    def call(inputs: tf.Tensor, **_: Any) -> tf.Tensor:
        import tensorflow as tf

        *rest, channels = inputs.shape
        groups = channels if layer.groups == -1 else layer.groups
        # Space as one axis: MEAN over five dimensions is slower.
        grouped = tf.reshape(inputs, (rest[0], -1, groups, channels // groups))
        centered = grouped - tf.reduce_mean(grouped, [1, 3], keepdims=True)
        variance = tf.reduce_mean(centered * centered, [1, 3], keepdims=True)
        normalized = tf.reshape(centered * tf.math.rsqrt(variance + layer.epsilon), inputs.shape)
        return _affine(layer, normalized, inputs, [len(inputs.shape) - 1])

    return call


def _unit_normalization(layer: AnyLayer) -> Callable[..., tf.Tensor]:
    # x / sqrt(max(sum x^2, 1e-12))
    def call(inputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        total = tf.reduce_sum(inputs * inputs, _axes(layer.axis, inputs), keepdims=True)
        return inputs * tf.math.rsqrt(tf.maximum(total, 1e-12))

    return call


def _rms_normalization(layer: AnyLayer) -> Callable[..., tf.Tensor]:
    # x / sqrt(mean x^2 + epsilon) * scale, arXiv:1910.07467
    def call(inputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        axes = _axes(layer.axis, inputs)
        mean = tf.reduce_mean(inputs * inputs, axes, keepdims=True)
        return inputs * tf.math.rsqrt(mean + layer.epsilon) * tf.reshape(layer.scale, _broadcast(inputs, axes))

    return call


_NORMALIZATIONS: dict[str, Callable[[AnyLayer], Callable[..., tf.Tensor]]] = {
    "LayerNormalization": _layer_normalization,
    "GroupNormalization": _group_normalization,
    "UnitNormalization": _unit_normalization,
    "RMSNormalization": _rms_normalization,
}


def _axes(axis: int | Sequence[int], inputs: tf.Tensor) -> list[int]:
    """Axes as numbers from 0."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    return [each % len(inputs.shape) for each in axes]


def _broadcast(inputs: tf.Tensor, axes: Collection[int]) -> list[int]:
    """The shape in which weights along `axes` broadcast to `inputs`."""
    return [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]


def _affine(layer: AnyLayer, values: tf.Tensor, inputs: tf.Tensor, axes: Collection[int]) -> tf.Tensor:
    """`values` times the layer's scale plus its offset, where it has them."""
    import tensorflow as tf

    shape = _broadcast(inputs, axes)
    if layer.scale:
        values *= tf.reshape(layer.gamma, shape)
    if layer.center:
        values += tf.reshape(layer.beta, shape)
    return values
