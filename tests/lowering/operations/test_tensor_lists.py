"""A `tf.TensorArray` of known places needs no list of the graph, and one of unknown places is left alone."""

import keras
import numpy as np
import tensorflow as tf
from seeded_models import largest_differences, measure, seeded, specs_of, to_int8

from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model


@keras.saving.register_keras_serializable("tests")
class Steps(keras.layers.Layer):
    """A state that goes from step to step, in a loop of Python."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        state, outputs = tf.zeros_like(x[:, 0]), tf.TensorArray(tf.float32, size=x.shape[1])
        for step in range(x.shape[1]):
            state = tf.tanh(0.5 * state + x[:, step] @ self.kernel)
            outputs = outputs.write(step, state)
        return tf.transpose(outputs.stack(), (1, 0, 2))


def model():
    return seeded(lambda k: k.Sequential([k.Input((5, 8)), Steps(), k.layers.Dense(4)]), "keras3")


def kinds(traced):
    return {operation.type for operation in traced.function.graph.get_operations()}


def test_a_loop_of_python():
    net = model()
    assert max(largest_differences(net)) <= 1e-5
    traced = trace_model(net, specs_of(net), lower.plan(net))
    assert not any(kind.startswith("TensorList") for kind in kinds(traced))
    float_ops, (decibel,) = measure(net, to_int8(net))
    assert not float_ops and decibel >= 25.0


class Places(keras.layers.Layer):
    """Writes to a place that the data choose."""

    def call(self, x):
        place = tf.cast(x[0, 0] > 0.0, tf.int32)
        return tf.transpose(tf.TensorArray(tf.float32, size=2, element_shape=x.shape).write(place, x).stack(), (1, 0, 2))


def test_a_place_that_the_data_choose_stays():
    net = keras.Sequential([keras.Input((4,)), Places()])
    traced = trace_model(net, specs_of(net), lower.plan(net))
    assert "TensorListSetItem" in kinds(traced)
    x = np.array([[1.0, 2.0, 3.0, 4.0]], "float32")
    np.testing.assert_array_equal(traced({net.inputs[0].name: x})[0], np.stack([0 * x, x], 1))
