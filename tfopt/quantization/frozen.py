"""A BatchNormalization whose statistics stay as they are while its scale and shift train."""

import keras


@keras.saving.register_keras_serializable("tfopt")
class FrozenBatchNormalization(keras.layers.BatchNormalization):
    """Keeps its moving statistics and uses them in training too; a Functional model overrides `training=False` (Keras 3.15)."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def with_class(kind, layer):
    """A layer of the class `kind` with the configuration and the weights of `layer`, which is built.

    Args:
        kind: `FrozenBatchNormalization` or `keras.layers.BatchNormalization`.
        layer: one of the other class.
    """
    copy = kind.from_config(layer.get_config())
    copy.build_from_config(layer.get_build_config())
    copy.set_weights(layer.get_weights())
    copy.trainable = layer.trainable
    return copy
