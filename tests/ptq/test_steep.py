"""`limited`: a padded row of zeros does not take the steps of all other rows."""

import keras
import numpy as np
import pytest
from keras import ops
from seeded_models import measure, seeded, to_int8


class Normalize(keras.layers.Layer):
    """Rows by the root of their mean square, as the layers of large language models do, in two ways to write it."""

    def __init__(self, power):
        super().__init__()
        self.power = power

    def call(self, x, mask):
        x = x * ops.cast(mask, x.dtype)[..., None]
        square = ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6
        return x * ops.power(square, -0.5) if self.power else x / ops.sqrt(square)


@pytest.mark.parametrize("power", [True, False], ids=["power", "quotient"])
def test_rows_of_zeros(power):
    def build(k):
        x, mask = k.Input((6, 8), name="x"), k.Input((6,), dtype="int32", name="mask")
        return k.Model([x, mask], k.layers.Dense(4)(Normalize(power)(k.layers.Dense(8)(x), mask)))

    model = seeded(build, "keras3")
    random = np.random.default_rng(0)
    mask = (np.arange(6) < random.integers(1, 7, (64, 1))).astype("int32")
    data = {"x": random.normal(size=(64, 6, 8)).astype("float32"), "mask": mask}
    float_ops, (decibel,) = measure(model, to_int8(model, data=data), data=data)
    assert not float_ops and decibel >= 25.0
