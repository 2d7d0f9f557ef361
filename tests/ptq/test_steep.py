"""`limited`: a padded row of zeros does not take the steps of all other rows."""

import keras
import pytest
from keras import ops
from seeded_models import measure, padded, to_int8


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
    model, data = padded(Normalize(power))
    float_ops, (decibel,) = measure(model, to_int8(model, data=data), data=data)
    assert not float_ops and decibel >= 25.0
