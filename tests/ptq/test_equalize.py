"""Equalized files compute what they computed before, with channels that fill their tensors' range."""

import dataclasses

import numpy as np
import pytest
import small_models

import tfopt
from tfopt.conversion import export
from tfopt.ptq import channel_groups, equalize, observe, quantizer
from tfopt.tflite import flatbuffer


def prepare(builder, samples=30, batch_size=1):
    model, data = builder()
    converter = export._converter(
        small_models.trace(model, batch_size), export.Variant("int8"), small_models.rows(data, 0, samples)
    )
    calibrated = quantizer.collect_ranges(converter)
    (array,) = data.values()
    batches = [[array[start : start + batch_size]] for start in range(0, samples, batch_size)]
    return calibrated, array[:samples], observe.observe(calibrated, batches), batches


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("builder", [small_models.hard_case, *small_models.SMALL], ids=lambda builder: builder.__name__)
def test_outputs_stay(builder, balance):
    calibrated, array, seen, _ = prepare(builder)
    content, changed, _ = equalize.equalize(calibrated, seen, balance=balance)
    assert changed > 0
    before, after = tfopt.Interpreter(calibrated).run(array), tfopt.Interpreter(content).run(array)
    for one, other in zip(before, after, strict=True):
        assert np.abs(one - other).max() <= 1e-4 * max(1.0, np.abs(one).max())


def test_channels_of_the_hard_case_become_even():
    calibrated, _, seen, batches = prepare(small_models.hard_case)
    content, _, known = equalize.equalize(calibrated, seen, balance=False)
    for file, observed, spread in ((calibrated, seen, (50, 400)), (content, observe.observe(content, batches), (1, 2))):
        first = next(operator for operator in flatbuffer.parse(file).operators if operator.name == "CONV_2D")
        span = observed[first.outputs[0]].span
        assert spread[0] <= span.max() / span.min() <= spread[1]
    # Each swish of an uneven tensor gets a multiplication, whose range no sigmoid exceeds.
    assert len(known) == 3
    assert all(-8 <= low <= high <= 8 for low, high in known.values())


def test_no_tensor_grows():
    calibrated, _, seen, batches = prepare(small_models.residual)
    content, _, _ = equalize.equalize(calibrated, seen, balance=False)
    after = observe.observe(content, batches)
    assert all(after[index].span.max() <= 1.0001 * seen[index].span.max() for index in seen)


def test_inputs_and_outputs_keep_their_scale():
    calibrated, *_ = prepare(small_models.two_outputs)
    model = flatbuffer.unpack(calibrated)
    found = channel_groups.group(model)
    for index in (*model.subgraphs[0].inputs, *model.subgraphs[0].outputs):
        assert not found.free[found.groups[int(index)]].any()


def test_even_channels_are_left_alone():
    calibrated, _, seen, _ = prepare(small_models.perceptron)
    even = {
        index: dataclasses.replace(one, low=np.full_like(one.low, -1), high=np.full_like(one.high, 1))
        for index, one in seen.items()
    }
    assert equalize.equalize(calibrated, even, balance=False) == (calibrated, 0, {})


def test_a_batch_is_observed_like_its_samples():
    _, _, one, _ = prepare(small_models.two_outputs)
    _, _, five, _ = prepare(small_models.two_outputs, batch_size=5)
    for first, second in zip(one.values(), five.values(), strict=True):
        np.testing.assert_allclose(first.span, second.span, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(first.mean, second.mean, rtol=1e-3, atol=1e-4)
