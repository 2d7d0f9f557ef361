"""The mean of the steps that a mask leaves, without a division, which has no int8 kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def masked_pooling(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: `GlobalAveragePooling1D` with a mask is a product of the steps and their weights.

    The weights are 1 / count, where int8 holds a count of 3 as well as one of 300 only if they are taken apart: 1 / count = a b,
    where a is a power of 2 and b lies between 1/2 and 1. Powers of 2 hardly need rounding, and the sum of the steps times a has the
    size of a step.
    """
    if layer_kind(layer) != "GlobalAveragePooling1D" or layer.data_format != "channels_last":
        return None
    met: list[AnyLayer] = []

    def call(inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        import tensorflow as tf

        if mask is None:
            return type(layer).call(layer, inputs)
        met.append(layer)
        mask = mask if mask.dtype == tf.bool else tf.not_equal(mask, 0)
        counts = np.maximum(np.arange(inputs.shape[1] + 1), 1)
        powers = 2.0 ** -np.floor(np.log2(counts))
        count = tf.reduce_sum(tf.cast(mask, "int32"), 1, keepdims=True)
        power, rest = (tf.gather(tf.constant(table, inputs.dtype), count) for table in (powers, 1 / counts / powers))
        weights = tf.where(mask, power, tf.zeros_like(power))
        means = tf.matmul(weights[:, None], inputs) * rest[:, None]
        return means if layer.keepdims else means[:, 0]

    return {"call": call, "met": met}
