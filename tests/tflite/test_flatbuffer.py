"""Naming a file's inputs and outputs changes nothing else in it."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfopt
from tfopt.tflite import flatbuffer
from tfopt.tflite.signature import attach_signature


def test_new_names_same_numbers(converted, digits):
    renamed = attach_signature(converted.tflite, ["picture"], ["scores"])
    images = digits[1][0][:5]
    np.testing.assert_array_equal(tfopt.Interpreter(renamed)(images), tfopt.Interpreter(converted.tflite)(images))
    assert tfopt.Interpreter(renamed).input_names == ["picture"]
    before, after = flatbuffer.parse(converted.tflite), flatbuffer.parse(renamed)
    assert before.operators == after.operators
    assert [tensor.scale for tensor in before.tensors] == [tensor.scale for tensor in after.tensors]


def test_signature_runner_of_litert_finds_the_names(converted):
    run = litert.Interpreter(model_content=converted.tflite)
    assert run.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["digit"]}}


def test_weights_stay_aligned(converted):
    """Kernels read weights in 16-byte lanes, so each buffer must begin at a multiple of 16."""
    from ai_edge_litert import schema_py_generated as schema

    content = attach_signature(converted.tflite, ["a"], ["b"])
    model = schema.Model.GetRootAs(content, 0)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            data = buffer.DataAsNumpy()
            starts.append(data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0])
    assert len(starts) > 3 and all(start % 16 == 0 for start in starts)


def test_wrong_number_of_names(converted):
    with pytest.raises(ValueError):
        attach_signature(converted.tflite, ["a", "b"], ["c"])
