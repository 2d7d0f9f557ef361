"""A BatchNormalization that keeps its statistics while its scale and shift train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable("tfopt")
class FrozenBatchNormalization(keras.layers.BatchNormalization):
    """Normalizes by its moving statistics in training too, and does not change them.

    To call a plain layer with `training=False` does not suffice, as a Functional model overrides it (Keras 3.15).
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """`inputs` normalized, with their shape and dtype; `training` has no effect."""
        return super().call(inputs, training=False, mask=mask)


def with_class(
    kind: type[keras.layers.BatchNormalization], layer: keras.layers.BatchNormalization
) -> keras.layers.BatchNormalization:
    """A layer of the class `kind` with the configuration and the weights of `layer`.

    Args:
        kind: `FrozenBatchNormalization` or `keras.layers.BatchNormalization`.
        layer: a built layer of the other class.
    """
    copy = kind.from_config(layer.get_config())
    copy.build_from_config(layer.get_build_config())
    copy.set_weights(layer.get_weights())
    copy.trainable = layer.trainable
    return copy
