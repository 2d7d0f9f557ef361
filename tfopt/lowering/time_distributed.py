"""A layer that is applied to each step of a sequence, as one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def time_distributed(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: the steps become a batch, instead of one copy of the layer for each step."""
    if type(layer).__name__ != "TimeDistributed":
        return None

    def call(inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        import tensorflow as tf

        if mask is not None:
            return type(layer).call(layer, inputs, training=training, mask=mask)
        outputs = layer.layer(tf.reshape(inputs, (-1, *inputs.shape[2:])))
        return tf.reshape(outputs, (*inputs.shape[:2], *outputs.shape[1:]))

    return {"call": call}
