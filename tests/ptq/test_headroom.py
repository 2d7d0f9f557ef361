"""A model that was calibrated with few samples holds on others; where there is nothing to widen the file is TensorFlow's own."""

import keras
import numpy as np
import pytest
import small_models
from lowering_cases import CASES
from seeded_models import draw, measure, seeded, specs_of, to_int8
from whole_models import MODELS

import tfopt
from tfopt.conversion import export
from tfopt.lowering import lower
from tfopt.lowering.trace import trace_model
from tfopt.ptq import headroom

layers = keras.layers
SKIP = (headroom.NAME,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "two in, two out", "gru"])
def test_few_samples_hold_on_others(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    specs = specs_of(model)
    with_room, without = [], []
    for seed in range(3):
        data, unseen = draw(specs, 40, seed), draw(specs, 48, seed + 100)
        for found, skip in ((with_room, ()), (without, SKIP)):
            float_ops, decibel = measure(model, to_int8(model, data=data, skip=skip), data=unseen)
            assert not float_ops
            found.append(min(decibel))
    print(name, with_room, without)
    assert np.mean(with_room) >= np.mean(without) + 4 and min(with_room) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("ptq", ["default", "best"])
def test_inputs_that_the_converter_shuffles(ptq):
    """As it does with those of a fused LSTM."""
    kind, build, _ = next(case[1:] for case in CASES if case[0] == "LSTM_initial_state-keras3")
    model = seeded(build, kind)
    (decibel,) = measure(model, to_int8(model, data=draw(specs_of(model), 256, seed=2), ptq=ptq))[1]
    assert decibel >= 25


def test_the_scale_of_a_fused_lstm_is_left():
    """It lies in the op, so another one of the output would cost a QUANTIZE."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 4)), layers.LSTM(8, return_sequences=True), layers.LSTM(5), layers.Dense(3)])
    traced = trace_model(model, specs_of(model), lower.plan(model))
    exported = export.to_tflite(traced, export.Variant("int8"), samples=draw(specs_of(model), 40, seed=0))
    assert "requantize" not in exported.edits
    assert exported.notes[0].startswith("2 of 2 activation ranges were widened")  # of the input and the Dense layer


def _large():
    return keras.Sequential([keras.Input((64, 64, 3)), layers.Conv2D(64, 3, padding="same"), layers.GlobalMaxPooling2D()])


def _heavy():
    return keras.Sequential([keras.Input((600,)), layers.Dense(600), layers.Dense(1)])


def _trained():
    return tfopt.quantize_aware(keras.Sequential([keras.Input((8,)), layers.Dense(4)]))


def test_what_does_not_fit():
    for model, fits in ((_large(), False), (_trained(), False), (_heavy(), True), (MODELS["custom layer"](), True)):
        assert headroom.fits(trace_model(model, specs_of(model)).function) is fits


def test_the_file_of_tensorflow_where_it_is_left_out():
    model, data = small_models.perceptron()
    traced, samples = small_models.trace(model), small_models.rows(data, 0, 20)
    skipped = export.to_tflite(traced, export.Variant("int8"), samples=samples, skip_lowering=SKIP)
    own = export._converter(traced, export.Variant("int8"), samples).convert()
    unseen = next(iter(data.values()))
    np.testing.assert_array_equal(tfopt.Interpreter(skipped.content).run(unseen), tfopt.Interpreter(own).run(unseen))
    assert skipped.notes == ()


def test_the_report_tells():
    model, data = small_models.perceptron()
    samples = small_models.rows(data, 0, 20)
    result = tfopt.convert(model, representative_data=samples, runs=1)
    assert any(
        "activation ranges were widened" in note and "may not contain the extremes; more samples help" in note
        for note in result.notes
    )
    result = tfopt.convert(model, representative_data=samples, runs=1, skip_lowering=SKIP)
    assert not any("widened" in note for note in result.notes)
