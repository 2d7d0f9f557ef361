"""Normalizations computed without NEG, which has no int8 kernel."""

from tfopt.lowering.convolution import is_channels_last


def normalization(layer):
    """The rule: Keras computes `-mean * inv` (NEG) or SQUARE, which have no int8 kernel; a product of differences has."""
    rule = _NORMALIZATIONS.get(type(layer).__name__)
    return {"call": rule(layer)} if rule and is_channels_last(layer) else None


def _layer_normalization(layer):
    # (x - mean) / sqrt(var + epsilon) * gamma + beta, arXiv:1607.06450
    def call(inputs, **_):
        import tensorflow as tf

        axes = _axes(layer.axis, inputs)
        centered = inputs - tf.reduce_mean(inputs, axes, keepdims=True)
        variance = tf.reduce_mean(centered * centered, axes, keepdims=True)
        return _affine(layer, centered * tf.math.rsqrt(variance + layer.epsilon), inputs, axes)

    return call


def _group_normalization(layer):
    # arXiv:1803.08494
    def call(inputs, **_):
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


def _unit_normalization(layer):
    # x / sqrt(max(sum x^2, 1e-12))
    def call(inputs):
        import tensorflow as tf

        total = tf.reduce_sum(inputs * inputs, _axes(layer.axis, inputs), keepdims=True)
        return inputs * tf.math.rsqrt(tf.maximum(total, 1e-12))

    return call


def _rms_normalization(layer):
    # x / sqrt(mean x^2 + epsilon) * scale, arXiv:1910.07467
    def call(inputs):
        import tensorflow as tf

        axes = _axes(layer.axis, inputs)
        mean = tf.reduce_mean(inputs * inputs, axes, keepdims=True)
        return inputs * tf.math.rsqrt(mean + layer.epsilon) * tf.reshape(layer.scale, _broadcast(inputs, axes))

    return call


_NORMALIZATIONS = {
    "LayerNormalization": _layer_normalization,
    "GroupNormalization": _group_normalization,
    "UnitNormalization": _unit_normalization,
    "RMSNormalization": _rms_normalization,
}


def _axes(axis, inputs):
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    return [each % len(inputs.shape) for each in axes]


def _broadcast(inputs, axes):
    return [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]


def _affine(layer, values, inputs, axes):
    import tensorflow as tf

    shape = _broadcast(inputs, axes)
    if layer.scale:
        values *= tf.reshape(layer.gamma, shape)
    if layer.center:
        values += tf.reshape(layer.beta, shape)
    return values
