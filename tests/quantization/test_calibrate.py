"""`calibrate`: the ranges are those of the data, and training continues from them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_nets import IMAGES, LABELS, classifier, compiled

import tfopt


def test_ranges_are_those_of_the_data_and_training_continues_from_them():
    model = classifier()
    qat = tfopt.quantize_aware(model)
    assert "image_quantize" in tfopt.quantization_report(qat).unseen
    np.testing.assert_allclose(qat(IMAGES), model(IMAGES), atol=0.1)
    weights = [value.copy() for value in qat.get_layer("conv").layer.get_weights()]
    assert tfopt.calibrate(qat, IMAGES) is qat
    activations = keras.Model(model.input, model.layers[3].output)(IMAGES).numpy()
    np.testing.assert_allclose(qat.layers[5].range, (0, activations.max()), rtol=0.01)  # of rounded weights
    assert qat.layers[1].range == (0.0, IMAGES.max())
    for value, old in zip(qat.get_layer("conv").layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, old)
    compiled(qat, run_eagerly=True).fit(IMAGES[:16], LABELS[:16], batch_size=16, verbose=0)
    assert qat.layers[1].range[1] == pytest.approx(0.99 * IMAGES.max() + 0.01 * IMAGES[:16].max())


@pytest.mark.parametrize(
    "data",
    [
        lambda: {"image": IMAGES},
        lambda: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(50),
        lambda: iter([IMAGES[:100], IMAGES[100:]]),
    ],
    ids=["dict", "dataset with labels", "iterator"],
)
def test_takes_data_in_other_forms(data):
    qat = tfopt.calibrate(tfopt.quantize_aware(classifier()), data(), batch_size=100, verbose=False)
    assert qat.layers[1].range == (0.0, IMAGES.max()) and not tfopt.quantization_report(qat).unseen


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((4, 8, 8, 3), np.nan, "float32"), "must be finite numbers. Received: NaN or infinity in batch 0"),
        (iter(()), "Received: no data"),
        ([], "Received: no data"),
        (IMAGES[:0], "Received: no data"),
    ],
    ids=["NaN", "iterator", "list", "array"],
)
def test_refuses_data_that_are_not_finite_or_missing(data, message):
    with pytest.raises(tfopt.DataError, match=message):
        tfopt.calibrate(tfopt.quantize_aware(classifier()), data)


def test_refuses_a_float_model():
    with pytest.raises(tfopt.ArgumentError, match=r"tfopt.quantize_aware returned. Received: net \(Functional\)"):
        tfopt.calibrate(classifier(), IMAGES)


def test_tells_its_progress(monkeypatch):
    seen = []

    class Bar:
        def __enter__(self):
            return seen.append

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("tfopt.quantization.calibrate.progress_bar", lambda verbose: Bar())
    tfopt.calibrate(tfopt.quantize_aware(classifier()), IMAGES, batch_size=50)
    assert [(each["done"], each["total"]) for each in seen] == [(1, 3), (2, 3), (3, 3)]
