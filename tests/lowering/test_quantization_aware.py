"""How far an int8 file may be from its quantization-aware model: by kind of network, or as the caller says."""

import keras
import numpy as np
import pytest
from small_nets import IMAGES, chain, classifier

import tfopt
from tfopt.lowering import quantization_aware

layers = keras.layers


def calibrated(model, **options):
    qat = tfopt.quantize_aware(model, verbose=False, **options)
    return tfopt.calibrate(qat, IMAGES if len(model.input_shape) == 4 else IMAGES[:, :, 0], verbose=False)


KINDS = {
    "plain": classifier,
    "normalizing": lambda: chain(layers.Dense(6), layers.LayerNormalization(), layers.Flatten(), layers.Dense(3), shape=(8, 3)),
    "recurrent": lambda: chain(layers.LayerNormalization(), layers.SimpleRNN(4), shape=(8, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_of_each_kind_of_network(kind):
    model = KINDS[kind]()
    qat = calibrated(model)
    data = IMAGES if len(model.input_shape) == 4 else IMAGES[:, :, 0]
    file = tfopt.Interpreter(tfopt.convert(qat, representative_data=data, runs=1).tflite)
    assert quantization_aware.error_limit(model, file) is None
    limit = quantization_aware.error_limit(qat, file)
    assert limit.kind == kind and limit.steps == quantization_aware.ERROR_LIMITS[kind] and "is allowed for a network" in str(limit)
    assert str(quantization_aware.error_limit(qat, file, 1.5)) == "no more than 1.5 is allowed"


def test_layers_that_were_left_out_lift_the_limit():
    qat = calibrated(classifier(), exclude="conv")
    file = tfopt.Interpreter(tfopt.convert(qat, representative_data=IMAGES, runs=1).tflite)
    assert quantization_aware.error_limit(qat, file) is None
    assert quantization_aware.error_limit(qat, file, 1.0).steps == 1.0


def test_a_file_beyond_the_limit_fails_its_check():
    """The weights of the model moved on after the file was made."""
    qat = calibrated(classifier())
    result = tfopt.convert(qat, validation_data=IMAGES, max_qat_error_lsb=1, min_sqnr=-100, runs=1)
    assert result.check.passed, result.check.reasons
    kernel = qat.get_layer("class").layer.kernel
    kernel.assign(kernel + 0.1 * np.random.default_rng(0).normal(size=kernel.shape))
    found = tfopt.check(result.tflite, reference=qat, data=IMAGES, min_sqnr=-100)
    steps = found.outputs[0].most_error_lsb
    (reason,) = [each for each in found.reasons if "quantization-aware" in each]
    assert reason.startswith(f"99.9 % of output 'class' lie within {steps:g} steps (LSB) of the quantization-aware model; ")
    assert "no more than 4 is allowed for a network without recurrent layers" in reason and not found.passed
    assert tfopt.check(result.tflite, reference=qat, data=IMAGES, min_sqnr=-100, max_qat_error_lsb=steps).passed
    plain = tfopt.strip_quantization(qat)  # another reference has no such limit
    assert tfopt.check(result.tflite, reference=plain, data=IMAGES, min_sqnr=-100).passed
