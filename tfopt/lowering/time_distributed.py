"""A layer that is applied to each step of a sequence, as one call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import is_keras_2, layer_kind

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def time_distributed(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: the steps become a batch, instead of one copy of the layer for each step."""
    if layer_kind(layer) != "TimeDistributed":
        return None

    def call(inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        import tensorflow as tf

        options = {}
        if mask is not None and is_keras_2(layer):  # it repeats the output of the step before a masked one
            return type(layer).call(layer, inputs, training=training, mask=mask)
        if mask is not None and "mask" in inspect.signature(type(layer.layer).call).parameters:
            options["mask"] = tf.reshape(mask, (-1, *mask.shape[2:]))
        outputs = layer.layer(tf.reshape(inputs, (-1, *inputs.shape[2:])), **options)
        return tf.reshape(outputs, (*inputs.shape[:2], *outputs.shape[1:]))

    return {"call": call}
