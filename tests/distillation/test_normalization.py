"""A teacher's batch normalization computes in one operation what Keras computes, or is left to Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfopt.distillation.features import Features


class Twice(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


class TrainsAlways(layers.Layer):
    """As Monte Carlo methods call it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, inputs):
        return self.norm(inputs, training=True)


CASES = {  # name -> (shape of a sample, layer, whether it becomes one operation)
    "images": ((6, 5, 4), layers.BatchNormalization, True),
    "axis 3": ((6, 5, 4), lambda: layers.BatchNormalization(axis=3), True),
    "no scale": ((6, 5, 4), lambda: layers.BatchNormalization(scale=False), True),
    "no center": ((6, 5, 4), lambda: layers.BatchNormalization(center=False), True),
    "renorm": ((6, 5, 4), lambda: layers.BatchNormalization(renorm=True), True),
    "not trainable": ((6, 5, 4), lambda: layers.BatchNormalization(trainable=False), True),
    "half precision": ((6, 5, 4), lambda: layers.BatchNormalization(dtype="mixed_float16"), False),
    "channels first": ((6, 5, 4), lambda: layers.BatchNormalization(axis=1), False),
    "epsilon that cuDNN has not": ((6, 5, 4), lambda: layers.BatchNormalization(epsilon=1e-6), False),
    "rows": ((4,), layers.BatchNormalization, False),
    "sequences": ((5, 4), layers.BatchNormalization, False),
    "another call": ((6, 5, 4), Twice, False),
    "called to train": ((6, 5, 4), TrainsAlways, False),
}


@pytest.mark.parametrize(("shape", "make", "is_one"), CASES.values(), ids=CASES)
def test_as_keras(shape, make, is_one):
    generator = np.random.default_rng(0)
    model = keras.Sequential([keras.Input(shape), make()])
    for variable in model.weights:
        variable.assign(0.3 + generator.random(tuple(variable.shape)).astype("float32"))
    before = model.get_weights()
    call = Features(model, (), infers=True)
    step = tf.function(lambda x: call(x, training=False)[0]).get_concrete_function(tf.TensorSpec((None, *shape)))
    found = [operation.type for operation in step.graph.get_operations()]
    assert ("FusedBatchNormV3" in found) is is_one
    for count in (5, 1, 0):  # a replica may have no image
        x = generator.normal(size=(count, *shape)).astype("float32")
        if make is TrainsAlways and not count:
            continue  # not a number, in Keras as well
        np.testing.assert_allclose(step(x), tf.function(model)(x, training=False), atol=1e-6)
        model.set_weights(before)
        np.testing.assert_allclose(call(x, training=False)[0], model(x, training=False), atol=1e-6)
        model.set_weights(before)
    assert "call" not in vars(model.layers[0])
