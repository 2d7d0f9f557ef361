"""Layers as operations that have int8 kernels: normalization, resizing, three dimensions and the like."""

import functools


def normalization(layer):
    """The rule: Keras computes `-mean * inv` (NEG) or SQUARE, which have no int8 kernel; a product of differences has."""
    rule = _NORMALIZATIONS.get(type(layer).__name__)
    return {"call": rule(layer)} if rule and _is_channels_last(layer) else None


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


def upsampling(layer):
    """The rule: repetition as RESIZE_NEAREST_NEIGHBOR instead of RESHAPE and TILE."""
    rank = {"UpSampling1D": 1, "UpSampling2D": 2, "UpSampling3D": 3}.get(type(layer).__name__)
    if rank is None or getattr(layer, "interpolation", "nearest") != "nearest" or not _is_channels_last(layer):
        return None
    sizes = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)

    def call(inputs):
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


def three_dimensions(layer):
    """The rule: `Conv3D` as one 2-D convolution of stacked slices, pooling as 2-D pooling; neither has an int8 kernel in 3-D."""
    if not _is_channels_last(layer):
        return None
    name = type(layer).__name__
    if name == "Conv3D":
        return {"call": lambda inputs: _convolve(layer, inputs)} if getattr(layer, "groups", 1) == 1 else None
    if name in ("MaxPooling3D", "AveragePooling3D"):
        return {"call": lambda inputs: _pool(layer, inputs, "MAX" if name == "MaxPooling3D" else "AVG")}
    return None


def _convolve(layer, inputs):
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


def _pool(layer, inputs, kind):
    import tensorflow as tf

    (size, *area), (stride, *strides), padding = layer.pool_size, layer.strides, layer.padding.upper()
    batch, depth, height, width, channels = inputs.shape
    flat = tf.reshape(inputs, (batch * depth, height, width, channels))
    pool = tf.nn.max_pool2d if kind == "MAX" else tf.nn.avg_pool2d  # `tf.nn.pool` refuses strides beyond the window
    flat = pool(flat, area, strides, padding)
    _, height, width, _ = flat.shape
    flat = pool(tf.reshape(flat, (batch, depth, -1, channels)), [size, 1], [stride, 1], padding)
    return tf.reshape(flat, (batch, -1, height, width, channels))


def time_distributed(layer):
    """The rule: steps as a batch, instead of one copy of the layer for each step."""
    if type(layer).__name__ != "TimeDistributed":
        return None

    def call(inputs, training=None, mask=None):
        import tensorflow as tf

        if mask is not None:
            return type(layer).call(layer, inputs, training=training, mask=mask)
        outputs = layer.layer(tf.reshape(inputs, (-1, *inputs.shape[2:])))
        return tf.reshape(outputs, (*inputs.shape[:2], *outputs.shape[1:]))

    return {"call": call}


def merging(layer):
    """The rule: `max(a, b) = a + relu(b - a)`, `min(a, b) = a - relu(a - b)`.

    MAXIMUM and MINIMUM give their inputs the range of their output, which cuts these off for whoever else takes them.
    """
    if type(layer).__name__ not in ("Maximum", "Minimum"):
        return None
    is_maximum = type(layer).__name__ == "Maximum"

    def combine(one, other):
        import tensorflow as tf

        return one + tf.nn.relu(other - one) if is_maximum else one - tf.nn.relu(one - other)

    if hasattr(layer, "weights"):
        return {"call": lambda inputs, **_: functools.reduce(combine, inputs)}
    return {"call": lambda x1, x2: combine(x1, x2) if x1.dtype.is_floating else type(layer).call(layer, x1, x2)}


def embedding(layer):
    """The rule: a lookup without the test for negative ids that Keras 3 makes."""
    if type(layer).__name__ != "Embedding":
        return None

    def call(inputs):
        import tensorflow as tf

        return tf.gather(tf.convert_to_tensor(layer.embeddings), tf.cast(_ids(inputs), "int32"))

    return {"call": call}


def _ids(tensor):
    """The integers that `tensor` was cast from; else `tensor` itself."""
    is_cast = tensor.op.type == "Cast" and tensor.op.inputs[0].dtype.is_integer
    return tensor.op.inputs[0] if is_cast else tensor


def masking(layer):
    """The rule: masked steps are selected, not multiplied by a mask, which would be cast to float; NOT_EQUAL has no int8 kernel."""
    if type(layer).__name__ == "NotEqual":  # the operation that a mask is in a Functional model
        return {"call": _differ}
    if type(layer).__name__ != "Masking":
        return None

    def compute_mask(inputs, mask=None):
        import tensorflow as tf

        return tf.reduce_any(_differ(inputs, layer.mask_value), axis=-1)

    def call(inputs):
        import tensorflow as tf

        mask = compute_mask(inputs)
        outputs = tf.where(tf.expand_dims(mask, -1), inputs, tf.zeros_like(inputs))
        outputs._keras_mask = mask  # Keras 2 asks no more for it: there, this layer's `call` hands it on
        return outputs

    return {"call": call, "compute_mask": compute_mask}


def _differ(values, others):
    import tensorflow as tf

    return tf.abs(values - others) > 0.0 if values.dtype.is_floating else tf.not_equal(values, others)


def input_scaling(layer):
    """The rule: pixels that come as integers are scaled as floats, so that the file's own input quantization takes them in."""
    if type(layer).__name__ not in ("Rescaling", "Normalization"):
        return None

    def call(inputs):
        return type(layer).call(layer, uncast(inputs))

    return {"call": call}


def uncast(tensor):
    """The float tensor that `tensor` was cast from by way of integers; else `tensor` itself."""
    source, by_integers = tensor, tensor.dtype.is_integer
    while source.op.type == "Cast":  # Keras may cast to the input's dtype and back again
        source = source.op.inputs[0]
        by_integers |= source.dtype.is_integer
    return source if by_integers and source.dtype.is_floating else tensor


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


def _resize(images, size):
    import tensorflow as tf

    return tf.image.resize(images, size, method="nearest")


def _is_channels_last(layer):
    if type(layer).__name__ == "GroupNormalization":
        return layer.axis == -1
    return getattr(layer, "data_format", None) in (None, "channels_last")
