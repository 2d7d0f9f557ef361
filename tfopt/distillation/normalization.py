"""Batch normalization for inference in one operation; Keras uses two, and each of them passes over all values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    import tensorflow as tf

    Calls = dict[keras.layers.Layer, dict[str, Callable[..., Any]]]  # layer -> {"call": function}

# `fused_batch_norm` silently replaces a smaller epsilon by this one, as cuDNN requires it.
_LEAST_EPSILON = 1.001e-5


def in_one_operation(model: keras.Model) -> Calls:
    """For `replaced_attributes`: with it, `model` computes `gamma (x - mean) / sqrt(variance + epsilon) + beta` at once.

    Only images in float32, (batch, height, width, channels), are normalized in one operation; other inputs are normalized as
    before, and so are the inputs of a layer that is called with `training=True`. TensorFlow joins the operation with the
    convolution before it where it can.

    Args:
        model: a Keras 3 model.

    Returns:
        The new `call` of each layer that can be computed in this way.
    """
    return {layer: {"call": _faster(layer)} for layer in walk_layers(model) if _fits(layer)}


def _fits(layer: keras.layers.Layer) -> bool:
    kind = keras.layers.BatchNormalization
    return isinstance(layer, kind) and type(layer).call is kind.call and layer.axis in (-1, 3) and layer.epsilon >= _LEAST_EPSILON


def _faster(layer: keras.layers.BatchNormalization) -> Callable[..., tf.Tensor]:
    own = layer.call

    @functools.wraps(own)
    def call(inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        import tensorflow as tf

        trains = training and layer.trainable
        if trains or mask is not None or len(inputs.shape) != 4 or keras.backend.standardize_dtype(inputs.dtype) != "float32":
            return own(inputs, training=training, mask=mask)
        mean = tf.convert_to_tensor(layer.moving_mean)
        gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones_like(mean)
        beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(mean)
        return tf.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, mean, layer.moving_variance, epsilon=layer.epsilon, is_training=False
        )[0]

    return call
