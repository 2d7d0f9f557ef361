"""Files that end earlier than their model: parts of a concatenation with their own scales, and logits."""

import keras
import numpy as np
import pytest

import tfopt

L = keras.layers


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    source = keras.Input((12,), name="x")
    hidden = L.Dense(32, activation="relu")(source)
    boxes = L.Rescaling(320.0, name="boxes")(L.Dense(4, activation="sigmoid")(hidden))
    scores = L.Dense(3, activation="sigmoid", name="scores")(hidden)
    model = keras.Model(source, L.Concatenate(name="found")([boxes, scores]))
    return model, np.random.default_rng(0).normal(size=(60, 12)).astype("float32")


def test_parts_that_need_other_scales_fail_together_and_pass_apart(detector):
    model, data = detector
    together = tfopt.convert(model, representative_data=data, runs=1, verbose=False)
    (numbers,) = together.check.outputs
    assert not together.check.passed and numbers.sqnr > 30
    assert any(reason.startswith(f"{numbers.worst_part.name} of output 'found' is lost") for reason in together.check.reasons)
    assert any("split_outputs=True" in note for note in together.check.notes)
    assert numbers.worst_part.name in str(together)

    apart = tfopt.convert(model, representative_data=data, split_outputs=True, runs=1, verbose=False)
    assert apart.check.passed and not any("split_outputs" in note for note in apart.check.notes)
    assert [output.name for output in apart.check.outputs] == ["found_boxes", "found_scores"]
    assert tfopt.Interpreter(apart.tflite).output_names == ["found_boxes", "found_scores"]
    assert any("output 'found' is split: 'found_boxes', 'found_scores'" in note for note in apart.notes)
    again = tfopt.check(apart.tflite, reference=model, data=data, layers=True, verbose=False)
    assert again.passed and [output.name for output in again.outputs] == ["found_boxes", "found_scores"]
    assert apart.report(name="x.tflite")["settings"]["split_outputs"] is True


def test_logits_keep_the_classes_apart():
    keras.utils.set_random_seed(0)
    source = keras.Input((32,), name="x")
    layer = L.Dense(1500, activation="softmax", name="word")
    model = keras.Model(source, layer(source))
    directions = np.random.default_rng(0).normal(size=(1500, 32))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    layer.set_weights([2.0 * directions.T, np.zeros(1500)])
    labels = np.arange(0, 1500, 15)
    data = directions[labels].astype("float32")
    coarse = tfopt.convert(model, representative_data=data, validation_data=(data, labels), runs=1, verbose=False)
    assert not coarse.check.passed
    assert any("a softmax of 1,500 classes" in reason and "logits=True (--logits)" in reason for reason in coarse.check.reasons)
    fine = tfopt.convert(model, representative_data=data, validation_data=(data, labels), logits=True, runs=1, verbose=False)
    assert fine.check.passed and fine.check.accuracy == 1
    assert fine.check.outputs[0].name == "word_logits" and tfopt.Interpreter(fine.tflite).output_names == ["word_logits"]
    again = tfopt.check(fine.tflite, reference=model, data=data, labels=labels, layers=True, verbose=False)
    assert again.passed and again.accuracy == 1 and again.outputs[0].name == "word_logits" and again.causes == ()
    assert any("'word_logits' holds logits, to which softmax is still to apply" in note for note in fine.notes)


@pytest.mark.parametrize("option", ["logits", "split_outputs"])
def test_a_quantization_aware_model_is_refused(detector, option):
    aware = tfopt.quantize_aware(detector[0])
    with pytest.raises(tfopt.ArgumentError, match=f"`{option}` needs a plain model. Received: a quantization-aware one"):
        tfopt.convert(aware, representative_data=detector[1], verbose=False, **{option: True})
