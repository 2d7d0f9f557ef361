"""`lookup_table` and `fine_tanh`: functions of one int8 number as tables of 256 values."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from seeded_models import Compute, measure, padded, seeded, to_int8

from tfopt.tflite import flatbuffer


def model_of(function):
    def build(k):
        x = k.Input((6, 8))
        return k.Model(x, k.layers.Dense(4)(Compute(function)(k.layers.Dense(8)(x))))

    return seeded(build, "keras3")


def operations(content):
    return [operator.name for operator in flatbuffer.parse(content).operators]


@pytest.mark.parametrize(
    "function",
    [tf.sin, tf.floor, lambda x: tf.sign(x) * tf.abs(x) ** 0.4, lambda x: x - tf.floor(x), tf.math.atan, tf.math.erf],
    ids=["sin", "floor", "several", "two ways", "no builtin", "approximated"],
)
def test_a_function_of_one_number_is_a_table(function):
    model = model_of(function)
    content = to_int8(model)
    float_ops, (decibel,) = measure(model, content)
    _, (plain_decibel,) = measure(model, to_int8(model, skip=("lookup_table",)))
    assert not float_ops and "GATHER" in operations(content)
    assert decibel >= plain_decibel - 0.5  # and where it was float, it is no worse


def test_roundings_on_the_way_are_spared():
    model = model_of(lambda x: 1.0 / (1.0 + tf.exp(-x)))
    _, (decibel,) = measure(model, to_int8(model))
    _, (stepwise,) = measure(model, to_int8(model, skip=("lookup_table",)))
    assert decibel >= 30.0 and decibel > stepwise + 5.0


@pytest.mark.parametrize("function", [tf.nn.relu, tf.nn.sigmoid, lambda x: x * 2.0 + 1.0], ids=["relu", "sigmoid", "product"])
def test_fast_operations_stay(function):
    assert "GATHER" not in operations(to_int8(model_of(function)))


def test_constants_for_each_channel_make_no_table():
    offsets = np.linspace(-1, 1, 8).astype("float32")
    model = model_of(lambda x: tf.sin(x + offsets))
    content = to_int8(model)
    float_ops, (decibel,) = measure(model, content)
    assert not float_ops and decibel >= 25.0


PAIRS = {
    "size": lambda x, y: tf.sqrt(x * x + y * y),
    "at least": lambda x, y: tf.sqrt(tf.maximum(tf.square(x) + tf.square(y), 1e-6)),
    "shapes": lambda x, y: tf.sqrt(tf.reshape(x * x, (-1, 1, 6, 8)) + y * y)[:, 0],
    "angle": lambda x, y: tf.cos(tf.atan2(y, x + 9.0)),
    "power": lambda x, y: tf.pow(tf.abs(x) + 0.5, y * 0.5),
    "logarithm": lambda x, y: tf.math.log(x * x + y * y + 0.1),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_of_two_numbers_is_a_table(name):
    model = model_of(lambda x: PAIRS[name](x, tf.roll(x, 1, 1)))
    content = to_int8(model)
    float_ops, (decibel,) = measure(model, content)
    _, (without,) = measure(model, to_int8(model, skip=("pair_table",)))
    assert not float_ops and "GATHER" in operations(content)
    assert decibel >= 28.0 and decibel > without - 0.5


@pytest.mark.parametrize(
    "function",
    [lambda x, y: x * y, lambda x, y: x * tf.sigmoid(y), lambda x, y: tf.maximum(x, y) + x, lambda x, y: tf.sin(x) * y],
    ids=["product", "gate", "maximum", "table of one"],
)
def test_operations_on_two_tensors_stay(function):
    model = model_of(lambda x: function(x, tf.roll(x, 1, 1)))
    tables = [tensor.shape for tensor in flatbuffer.parse(to_int8(model)).tensors if tuple(tensor.shape) == (65536,)]
    assert not tables


def test_a_small_tanh_keeps_its_steps():
    model = model_of(lambda x: tf.tanh(x * 0.01) * tf.roll(x, 1, 1))
    _, (decibel,) = measure(model, to_int8(model))
    _, (without,) = measure(model, to_int8(model, skip=("fine_tanh", "pair_table")))
    assert decibel >= 30.0 and decibel > without + 6.0


class Positions(keras.layers.Layer):
    """Adds the number of seen steps, and keeps half as many steps as were seen, less one: arithmetic of floats between integers."""

    def call(self, x, mask):
        places = keras.ops.cumsum(mask, axis=-1)
        count = keras.ops.cast(keras.ops.sum(mask, axis=-1, keepdims=True), "float32")
        kept = keras.ops.cast(keras.ops.floor((count - 1.0) / 2.0) + 1.0, "int32")
        x = x + 0.3 * keras.ops.cast(places, "float32")[..., None]
        return keras.ops.where((keras.ops.arange(6) < kept)[..., None], x, 0.0)


def test_counts_that_are_read_as_floats_are_tables():
    model, data = padded(Positions())
    content = to_int8(model, data=data)
    float_ops, (decibel,) = measure(model, content, data=data)
    assert not float_ops and decibel >= 28.0
