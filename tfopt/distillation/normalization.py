"""Batch normalization of a model that only infers, in one operation; Keras takes two, each of which goes over all values."""

import functools

import keras

from tfopt.keras_model.walk import walk_layers

_LEAST_EPSILON = 1.001e-5  # below it `fused_batch_norm` takes this in silence, as cuDNN asks for it


def in_one_operation(model):
    """What `surgery.replaced` takes so that `model` computes `gamma (x - mean) / sqrt(variance + epsilon) + beta` at once.

    Meant for images in float32, (batch, height, width, channels); others are normalized as before, and so is a layer that is called
    with `training=True`. TensorFlow then joins the operation with the convolution before it, where it can.

    Args:
        model: a Keras 3 model.

    Returns:
        dict of layer -> {"call": function}.
    """
    return {layer: {"call": _faster(layer)} for layer in walk_layers(model) if _fits(layer)}


def _fits(layer):
    kind = keras.layers.BatchNormalization
    return isinstance(layer, kind) and type(layer).call is kind.call and layer.axis in (-1, 3) and layer.epsilon >= _LEAST_EPSILON


def _faster(layer):
    own = layer.call

    @functools.wraps(own)
    def call(inputs, training=None, mask=None):
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
