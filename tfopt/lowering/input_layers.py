"""The layers that a model begins with, without the casts and comparisons that have no int8 kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def embedding(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: a lookup without the test for negative ids that Keras 3 makes, and a mask of integers even if ids are floats."""
    if layer_kind(layer) != "Embedding":
        return None

    def call(inputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.gather(tf.convert_to_tensor(layer.embeddings), tf.cast(_ids(inputs), "int32"))

    def compute_mask(inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor | None:
        return _differ(_ids(inputs), 0) if layer.mask_zero else None

    return {"call": call, "compute_mask": compute_mask}


def _ids(tensor: tf.Tensor) -> tf.Tensor:
    """The integers that `tensor` was cast from; else `tensor` itself."""
    import tensorflow as tf

    if not tf.is_symbolic_tensor(tensor):  # positions that a layer counts itself
        return tensor
    is_cast = tensor.op.type == "Cast" and tensor.op.inputs[0].dtype.is_integer
    return tensor.op.inputs[0] if is_cast else tensor


def masking(layer: AnyLayer | keras.Operation) -> dict[str, Any] | None:
    """The rule: masked steps are selected, not multiplied by a mask, which would be cast to float; NOT_EQUAL has no int8 kernel."""
    if layer_kind(layer) != "Masking":
        return None

    def compute_mask(inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        import tensorflow as tf

        return tf.reduce_any(_differ(inputs, layer.mask_value), axis=-1)

    def call(inputs: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        mask = compute_mask(inputs)
        outputs = tf.where(tf.expand_dims(mask, -1), inputs, tf.zeros_like(inputs))
        outputs._keras_mask = mask  # Keras 2 does not compute a mask here: it expects it of this layer's `call`
        return outputs

    return {"call": call, "compute_mask": compute_mask}


def _differ(values: tf.Tensor, others: tf.Tensor | float) -> tf.Tensor:
    import tensorflow as tf

    return tf.abs(values - others) > 0.0 if values.dtype.is_floating else tf.not_equal(values, others)


def input_scaling(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: pixels that arrive as integers are scaled as floats, so that the file's own input quantization converts them."""
    if layer_kind(layer) not in ("Rescaling", "Normalization"):
        return None

    def call(inputs: tf.Tensor) -> tf.Tensor:
        return type(layer).call(layer, _uncast(inputs))

    return {"call": call}


def _uncast(tensor: tf.Tensor) -> tf.Tensor:
    """The float tensor that `tensor` was cast from by way of integers; else `tensor` itself."""
    source, by_integers = tensor, tensor.dtype.is_integer
    while source.op.type == "Cast":  # Keras may cast to the input's dtype and back again
        source = source.op.inputs[0]
        by_integers |= source.dtype.is_integer
    return source if by_integers and source.dtype.is_floating else tensor
