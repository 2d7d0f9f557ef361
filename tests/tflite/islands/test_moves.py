"""`integer_join`, `integer_product`, `integer_sum` and `integer_top_k`: operations that read integers."""

import keras
import numpy as np
import pytest
from quantized_layers import float_ops as float_ops_of
from quantized_layers import parity
from quantized_layers import to_int8 as to_int8_of
from seeded_models import measure, seeded, to_int8

import tfopt


class Attend(keras.layers.Layer):
    """Attention whose keys are its values, after a rotation that only the keys get."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(8)

    def call(self, x):
        keys = self.dense(x)
        first, second = keras.ops.split(keys, 2, axis=-1)
        turned = keys * 0.8 + keras.ops.concatenate([-second, first], -1) * 0.6
        scores = keras.ops.softmax(keras.ops.matmul(turned, keras.ops.transpose(turned, (0, 2, 1))))
        return keras.ops.matmul(scores, keys)


def test_a_tensor_that_is_key_and_value():
    model = seeded(lambda k: k.Sequential([k.Input((6, 8)), Attend(), k.layers.Dense(4)]), "keras3")
    float_ops, (decibel,) = measure(model, to_int8(model))
    assert not float_ops and decibel >= 25.0


class Places(keras.layers.Layer):
    def call(self, x):
        return keras.ops.top_k(x, 3)[1]


def test_places_of_the_largest():
    model = seeded(lambda k: k.Sequential([k.Input((8,)), k.layers.Dense(8), Places()]), "keras3")
    float_ops, _ = measure(model, to_int8(model))
    assert not float_ops


@keras.saving.register_keras_serializable("tests")
class BeforeNormalization(keras.layers.Layer):
    """Adds what it computes of the normalized tensor to the tensor itself, twice."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norms = [keras.layers.LayerNormalization(), keras.layers.LayerNormalization()]
        self.dense = [keras.layers.Dense(8), keras.layers.Dense(8)]

    def call(self, x):
        for normalize, dense in zip(self.norms, self.dense, strict=True):
            x = x + dense(normalize(x))
        return x


@pytest.mark.slow
def test_a_sum_that_is_normalized_and_added_again():
    model = seeded(lambda k: k.Sequential([k.Input((6, 8)), BeforeNormalization(), k.layers.Dense(4)]), "keras3")
    data = np.random.default_rng(0).normal(size=(100, 6, 8)).astype("float32")
    qat = tfopt.calibrate(tfopt.quantize_aware(model, verbose=False), data, verbose=False)
    interpreter = to_int8_of(qat, data)
    assert not float_ops_of(interpreter)
    numbers = parity(qat, interpreter, data)[0]
    print(numbers)
    assert numbers.sqnr >= 25.0


class Waves(keras.layers.Layer):
    """Sines and cosines of positions beside each other, as rotary embeddings make them from data."""

    def call(self, x):
        ops = keras.ops
        return ops.concatenate([ops.concatenate([ops.sin(x), ops.cos(x)], -1), ops.sum(ops.stack([ops.sin(x), x], -1), -1)], -1)


def test_joined_sines_are_tables():
    model = seeded(lambda k: k.Sequential([k.Input((6, 8)), k.layers.Dense(8), Waves(), k.layers.Dense(4)]), "keras3")
    float_ops, (decibel,) = measure(model, to_int8(model))
    assert not float_ops and decibel >= 28.0
