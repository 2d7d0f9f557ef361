"""Layers computed from operations that have int8 kernels."""

import functools


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
