"""`lower`: the rewritten model computes what the model does, stays int8, and leaves no trace in the model."""

import pytest
from lowering_cases import CASES, draw, largest_difference, measure, seeded, specs_of, to_int8

IDS = [case[0] for case in CASES]
# The converter sees the same operations for both Keras; a fused LSTM takes it seconds.
INT8 = [case for case in CASES if case[1] == "keras3"]


def with_masked_steps(model, data):
    """Some steps are all zero, at the beginning, within and at the end."""
    if any(type(layer).__name__ == "Masking" for layer in model.layers):
        for array in data.values():
            array[::2, :2], array[1::2, 3:] = 0, 0
    return data


@pytest.mark.parametrize(("kind", "build", "rule"), [case[1:] for case in CASES], ids=IDS)
def test_the_rewritten_model_computes_the_same(kind, build, rule):
    model = seeded(build, kind)
    data = with_masked_steps(model, draw(specs_of(model), 4, seed=1, high=3))  # often the id 0, which is masked
    difference, lowering = largest_difference(model, batch_size=2, data=data)
    assert rule in lowering.touched
    assert difference <= 1e-5


@pytest.mark.parametrize(("kind", "build", "rule"), [case[1:] for case in INT8], ids=[case[0] for case in INT8])
def test_int8_without_float_ops(kind, build, rule):
    model = seeded(build, kind)
    specs = specs_of(model)
    content = to_int8(model, data=with_masked_steps(model, draw(specs, 256, seed=2)))
    float_ops, decibel = measure(model, content, data=with_masked_steps(model, draw(specs, 48, seed=3)))
    print("SQNR", [round(each, 1) for each in decibel])
    assert not float_ops
    assert min(decibel) >= 20.0
