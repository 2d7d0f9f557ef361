"""The function that becomes TFLite's LSTM computes as Keras does, and becomes one operation."""

import keras
import numpy as np
import pytest
from seeded_models import KERAS, chain, draw, largest_differences, measure, seeded, specs_of, to_int8

from tfopt.lowering import lower
from tfopt.lowering.recurrent.fused_lstm import fused_lstm
from tfopt.lowering.trace import trace_model
from tfopt.tflite import flatbuffer

LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"


@pytest.mark.parametrize("is_time_major", [False, True])
def test_it_computes_as_the_lstm_of_keras(is_time_major):
    layer = keras.layers.LSTM(3, return_sequences=True, bias_initializer="normal")
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    expected = np.asarray(layer(x))
    cell = layer.cell
    given = x.swapaxes(0, 1) if is_time_major else x
    last, outputs = fused_lstm(given, cell.kernel, cell.recurrent_kernel, cell.bias, is_time_major=is_time_major)
    np.testing.assert_allclose(last, expected[:, -1], atol=1e-6)
    np.testing.assert_allclose(outputs, expected.swapaxes(0, 1) if is_time_major else expected, atol=1e-6)


@pytest.mark.parametrize("kind", list(KERAS))
def test_a_plain_lstm_is_one_operation_of_the_file(kind):
    model = seeded(lambda k: chain(k, (5, 4), k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True))), kind)
    content = to_int8(model)
    names = [operator.name for operator in flatbuffer.parse(content).operators]
    assert names.count(LSTM) == 2 and not {"FULLY_CONNECTED", "WHILE"} & set(names)
    float_ops, (decibel,) = measure(model, content)
    assert not float_ops and decibel >= 25.0


def test_no_layer_of_the_other_keras_is_made():
    model = seeded(lambda k: chain(k, (5, 4), k.layers.LSTM(6)), "keras3")
    traced = trace_model(model, specs_of(model), lower.plan(model))
    assert {id(variable) for variable in traced.function.variables} == {id(weight.value) for weight in model.weights}


def test_other_lstms_are_unrolled():
    def build(k):
        x = k.Input((4, 3))
        given = k.layers.LSTM(5, return_sequences=True, return_state=True)(x)[0]
        return k.Model(x, k.layers.LSTM(5, recurrent_activation="hard_sigmoid")(given))

    model = seeded(build, "keras3")
    lowering = lower.plan(model)
    assert not lowering.keeps_functions
    assert max(largest_differences(model, data=draw(specs_of(model), 4, seed=1), lowering=lowering)) <= 1e-5
