"""`limited`: a padded row of zeros does not take the steps of all other rows."""

import keras
import pytest
from keras import ops
from seeded_models import measure, padded, specs_of, to_int8

from tfopt.lowering.trace import trace_model
from tfopt.ptq import headroom


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


def test_rows_of_zeros_in_a_model_whose_tensors_are_not_watched(monkeypatch):
    monkeypatch.setattr(headroom, "_LARGEST", 0)  # as if the model were large
    model, data = padded(Normalize(power=True))
    float_ops, (decibel,) = measure(model, to_int8(model, data=data), data=data)
    assert not float_ops and decibel >= 25.0


def _scaled():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Rescaling(1 / 3)])


@pytest.mark.parametrize(
    ("build", "ends"), [(lambda: padded(Normalize(True))[0], "limited"), (_scaled, "seen")], ids=["reciprocal", "others"]
)
def test_ends_of_a_large_model(monkeypatch, build, ends):
    monkeypatch.setattr(headroom, "_LARGEST", 0)
    model = build()
    assert headroom.suited(trace_model(model, specs_of(model)).function) == ends
