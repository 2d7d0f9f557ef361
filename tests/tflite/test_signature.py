"""Naming a file's inputs and outputs changes nothing else in it."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.tflite import flatbuffer
from tfopt.tflite.signature import attach_signature, in_signature_order, plain_names


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


# Few different names, so that some of them collide.
NAMES = st.lists(st.from_regex(r"[a-c](:[0-2])?", fullmatch=True), min_size=1, max_size=6)


@settings(deadline=None)
@given(NAMES)
def test_plain_names_are_unique(names):
    found = plain_names(names)
    assert len(found) == len(names) == len(set(found))


@settings(deadline=None)
@given(st.permutations(range(8)), st.integers(1, 8), st.booleans())
def test_a_signature_names_each_tensor_and_numbers_tell_the_order(order, count, numbered):
    indices = order[:count]
    details = [{"index": index} for index in indices]
    prefix = "output_" if numbered else "name_"
    signed = {f"{prefix}{place}": {"index": index} for place, index in enumerate(sorted(indices))}
    found, names = in_signature_order(signed, details, [f"tensor_{index}" for index in indices])
    assert [detail["index"] for detail in found] == [signed[name]["index"] for name in names]
    assert [detail["index"] for detail in found] == (sorted(indices) if numbered else indices)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=2), st.integers(0, 4), max_size=5), st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_no_signature_loses_a_tensor(signature, indices):
    signed = {name: {"index": index} for name, index in signature.items()}
    names = [f"tensor_{place}" for place in range(len(indices))]
    found, named = in_signature_order(signed, [{"index": index} for index in indices], names)
    assert sorted(detail["index"] for detail in found) == sorted(indices) and len(named) == len(indices)
