"""Corrected biases bring the means of rounded layers back; the rounding is the converter's own."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tfopt
from tfopt.conversion import export
from tfopt.ptq import bias_correction, observe, quantizer
from tfopt.tflite import flatbuffer


@pytest.fixture(scope="module")
def dense():
    """A dense layer of many inputs with positive means: (calibrated file, array, observed)."""
    keras.utils.set_random_seed(0)
    features = keras.Input((200,), name="features")
    model = keras.Model(features, keras.layers.Dense(8, bias_initializer="ones")(features))
    array = np.random.default_rng(0).uniform(0, 2, (64, 200)).astype("float32")
    calibrated = quantizer.collect_ranges(export._converter(small_models.trace(model), export.Variant("int8"), {"features": array}))
    return calibrated, array, observe.observe(calibrated, [[row[None]] for row in array])


def test_rounding_is_that_of_the_converter(dense):
    calibrated, _, _ = dense
    model = flatbuffer.unpack(calibrated)
    weights = flatbuffer.read_constant(model, model.subgraphs[0].tensors[int(model.subgraphs[0].operators[0].inputs[1])])
    file = flatbuffer.unpack(quantizer.quantize(calibrated, tf.int8, tf.int8))
    stored = file.subgraphs[0].tensors[int(file.subgraphs[0].operators[0].inputs[1])]
    values = np.asarray(file.buffers[stored.buffer].data, np.uint8).view(np.int8).reshape(weights.shape)
    wanted = values * stored.quantization.scale[:, None]
    np.testing.assert_allclose(bias_correction.round_weights(weights, 0), wanted, atol=1e-6)


def test_means_come_back(dense):
    calibrated, array, seen = dense
    content, count = bias_correction.correct(calibrated, seen)
    assert count == 1
    wanted = tfopt.Interpreter(calibrated)(array).mean(axis=0)
    before, after = (
        np.abs(tfopt.Interpreter(quantizer.quantize(file, tf.float32, tf.float32))(array).mean(axis=0) - wanted).mean()
        for file in (calibrated, content)
    )
    assert after < 0.5 * before


@pytest.mark.parametrize("builder", [small_models.residual, small_models.mobile], ids=lambda builder: builder.__name__)
def test_shift_is_the_mean_of_the_weight_error(builder):
    """Against a convolution of constant input: away from borders its rounded weights shift it by exactly this."""
    model, data = builder()
    (array,) = data.values()
    calibrated = quantizer.collect_ranges(
        export._converter(small_models.trace(model), export.Variant("int8"), small_models.rows(data, 0, 8))
    )
    seen = observe.observe(calibrated, [[row[None]] for row in array[:8]])
    content, _ = bias_correction.correct(calibrated, seen)
    before, after = flatbuffer.unpack(calibrated), flatbuffer.unpack(content)
    for old, new in zip(before.subgraphs[0].operators, after.subgraphs[0].operators, strict=True):
        if flatbuffer.op_name(before, old) != "CONV_2D":
            continue
        weights, bias = (flatbuffer.read_constant(before, before.subgraphs[0].tensors[int(index)]) for index in old.inputs[1:3])
        corrected = flatbuffer.read_constant(after, after.subgraphs[0].tensors[int(new.inputs[2])])
        mean = seen[int(old.inputs[0])].mean
        groups = len(mean) // weights.shape[-1]
        for channel in range(len(bias)):
            own = mean.reshape(groups, -1)[channel * groups // len(bias)]
            step = np.abs(weights[channel]).max() / 127
            shift = ((np.round(weights[channel] / step) * step - weights[channel]) * own).sum()
            assert corrected[channel] == pytest.approx(bias[channel] - shift, abs=1e-5)
