"""Both halves of TensorFlow's quantization in a row do what the whole does. Tells when the private names change."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

import tfopt
from tfopt.conversion import export
from tfopt.ptq import quantizer
from tfopt.tflite import flatbuffer


@pytest.mark.parametrize("io", ["int8", "uint8", "float32"])
def test_two_halves_make_the_whole(io):
    model, data = small_models.mobile()
    traced, samples = small_models.trace(model), small_models.rows(data, 0, 20)
    whole = tfopt.Interpreter(
        export.to_tflite(traced, export.Variant("int8", io=io), samples=samples, skip_lowering=("wider_ranges",)).content
    )
    calibrated = quantizer.collect_ranges(export._converter(traced, export.Variant("int8", io=io), samples))
    halves = tfopt.Interpreter(quantizer.quantize(calibrated, tf.as_dtype(io), tf.as_dtype(io)))
    np.testing.assert_array_equal(halves(data["image"]), whole(data["image"]))
    assert {tensor.dtype for tensor in halves.graph.tensors if tensor.role in ("input", "output")} == {io}


def test_calibrated_file_is_float_and_holds_ranges():
    model, data = small_models.mobile()
    samples = small_models.rows(data, 0, 20)
    converter = export._converter(small_models.trace(model), export.Variant("int8"), samples)
    calibrated = quantizer.collect_ranges(converter)
    assert not converter._experimental_calibrate_only
    wanted = small_models.predict(model, data["image"])[0]
    np.testing.assert_allclose(tfopt.Interpreter(calibrated)(data["image"]), wanted, atol=1e-4)
    subgraph = flatbuffer.unpack(calibrated).subgraphs[0]
    found = subgraph.tensors[subgraph.inputs[0]].quantization
    assert found.min[0] == samples["image"].min() and found.max[0] == samples["image"].max()


def test_bad_file():
    with pytest.raises((tfopt.ConversionError, tfopt.TfoptError)):
        quantizer.quantize(b"no file", tf.int8, tf.int8)
