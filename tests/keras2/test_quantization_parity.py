"""Keras 2 models that tfmot trained quantization-aware: the file against the model, and against Keras 3."""

import keras
import numpy as np
import pytest
import tf_keras
from keras2_models import float_ops, to_int8

import tfopt
from tfopt.keras2 import door
from tfopt.keras2.quantize_aware import quantize_aware
from tfopt.keras2.strip import strip
from tfopt.keras2.tfmot_layers import has_quantizers, input_quantizers
from tfopt.quantization.bake import baked

functions = door.tfmot().quantization.keras


def with_logits(model):
    """The classifier without its softmax."""

    def make(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "activation": "linear"} if layer.name == "digit" else config)

    copy = tf_keras.models.clone_model(model, clone_function=make)
    copy.set_weights(model.get_weights())
    return copy


def fit(kind, model, digits, batch_size=16):
    """Trains a classifier with logits for a moment."""
    (images, labels), _ = digits
    model.compile(kind.optimizers.Adam(1e-3), kind.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=batch_size, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def qat(legacy_classifier, digits):
    """The Conv-BN-ReLU classifier, trained quantization-aware."""
    return fit(tf_keras, quantize_aware(with_logits(legacy_classifier)), digits)


def scales(interpreter):
    return sorted(tensor.scale for tensor in interpreter.graph.tensors if tensor.dtype == "int8")


def test_the_file_is_int8_and_agrees_with_the_model(qat, legacy_classifier, digits):
    _, (images, labels) = digits
    test = (images[:200], labels[:200])
    result = tfopt.convert(qat, validation_data=test, float_model=with_logits(legacy_classifier), runs=2)
    (logits,) = result.check.outputs
    print(logits, result.check.accuracy, result.float_check.outputs)
    assert result.check.passed, result.check.reasons
    assert set(result.check.structure.dtypes("activation")) == {"int8"}
    assert logits.most_error_lsb <= 2
    assert logits.agreement >= 0.995
    assert result.float_check.outputs[0].agreement >= 0.97
    assert result.check.accuracy >= 0.96
    assert [tensor.name for tensor in result.check.structure.inputs] == ["image"]
    assert logits.name == "digit"
    assert result.benchmark.speedup is not None


def test_data_change_no_trained_range(qat, digits):
    (images, _), _ = digits
    assert scales(to_int8(qat)) == scales(to_int8(qat, samples=images[:50] * 3))


def test_ranges_begin_and_move_as_documented(qat, digits):
    (images, labels), _ = digits
    steps = 3 * -(-len(labels) // 16)
    ranges = {variable.name.partition(":")[0]: variable.numpy() for variable in qat.weights}
    lowest = next(value for name, value in ranges.items() if name.endswith("/output_min"))  # of a ReLU, which is never below 0
    np.testing.assert_allclose(lowest, -6 * 0.999**steps, rtol=1e-3)
    (entry,) = input_quantizers(qat)
    assert ranges[f"{entry.name}/{entry.name}_min"] == min(images.min(), 0.0)
    assert ranges[f"{entry.name}/{entry.name}_max"] == images.max()


def test_strip_gives_the_layers_and_weights_back(legacy_classifier, digits):
    (images, _), _ = digits
    model = with_logits(legacy_classifier)
    plain = strip(quantize_aware(model))
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]
    assert all(np.array_equal(*pair) for pair in zip(plain.get_weights(), model.get_weights(), strict=True))
    np.testing.assert_array_equal(plain(images[:9]), model(images[:9]))
    assert not has_quantizers(plain)
    assert not has_quantizers(model)
    assert [layer.name for layer in strip(functions.quantize_model(model)).layers] == [layer.name for layer in model.layers]


def test_a_saved_model_is_read_again_as_documented(legacy_classifier, qat, digits, tmp_path):
    (images, _), _ = digits
    qat.save(tmp_path / "qat.h5")
    with functions.quantize_scope():
        again = tf_keras.models.load_model(tmp_path / "qat.h5", compile=False)
    assert has_quantizers(again)
    np.testing.assert_array_equal(again(images[:9]), qat(images[:9]))
    np.testing.assert_array_equal(strip(again)(images[:9]), strip(qat)(images[:9]))
    qat.save_weights(tmp_path / "qat.weights.h5")
    again = quantize_aware(with_logits(legacy_classifier))
    again.load_weights(tmp_path / "qat.weights.h5")
    np.testing.assert_array_equal(again(images[:9]), qat(images[:9]))


def build(kind, first):
    return kind.Sequential(
        [
            first,
            kind.layers.Conv2D(16, 3, activation="relu", name="conv"),
            kind.layers.Flatten(name="flat"),
            kind.layers.Dense(32, activation="relu", name="hidden"),
            kind.layers.Dense(10, name="digit"),
        ]
    )


@pytest.mark.slow
def test_both_generations_end_alike(digits):
    """The oracle: the same weights, Keras 3 with its own quantization and Keras 2 with tfmot's."""
    (images, _), (test_images, test_labels) = digits
    keras.utils.set_random_seed(3)
    new = fit(keras, build(keras, keras.Input((8, 8, 1), name="image")), digits, batch_size=32)
    old = build(tf_keras, tf_keras.layers.InputLayer((8, 8, 1), name="image"))
    old.set_weights(new.get_weights())
    trained_old = fit(tf_keras, quantize_aware(old), digits)

    made = tfopt.calibrate(tfopt.quantize_aware(new), images[:256])
    plain = tfopt.strip_quantization(made)
    values = keras.Model(plain.inputs, [layer.output for layer in plain.layers])([images[:256]])
    found = {row.name: row.range for row in tfopt.quantization_report(made).activations}
    for layer, value in zip(plain.layers, values, strict=True):
        if layer.name != "flat":
            low, high = np.min(value), np.max(value)
            np.testing.assert_allclose(found[f"{layer.name}_quantize"], (min(low, 0), max(high, 0)), rtol=1e-3, atol=1e-4)
    fit(keras, made, digits, batch_size=32)

    accuracies = []
    for form in (baked(made), trained_old):
        interpreter = to_int8(form)
        assert float_ops(interpreter) == []
        logits = np.concatenate([interpreter.run({"image": image[None]})[0] for image in test_images])
        accuracies.append(np.mean(np.argmax(logits, -1) == test_labels))
    print(accuracies)
    assert abs(accuracies[0] - accuracies[1]) <= 0.015
    assert min(accuracies) >= 0.93
