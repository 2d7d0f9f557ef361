"""`check` tells good files from bad ones, with numbers that NumPy confirms."""

import math

import keras
import numpy as np
import pytest
from exported import tflite_of

import tfopt


def test_numbers_against_numpy(converted, classifier, digits):
    _, (images, labels) = digits
    result = tfopt.check(converted.tflite, reference=classifier, data=images, labels=labels)
    wanted = np.asarray(classifier(images), np.float64)
    found = tfopt.Interpreter(converted.tflite)(images).astype(np.float64)
    error = np.abs(wanted - found)
    (numbers,) = result.outputs
    # The reference runs in another graph than classifier(images): float32 rounding is all that may differ.
    assert numbers.sqnr == pytest.approx(10 * math.log10((wanted**2).sum() / (error**2).sum()), abs=0.01)
    assert numbers.cosine == pytest.approx((wanted * found).sum() / math.sqrt((wanted**2).sum() * (found**2).sum()), abs=1e-6)
    assert numbers.max_error == pytest.approx(error.max(), abs=1e-5)
    assert numbers.max_error_lsb == pytest.approx(256 * error.max(), abs=1e-2)
    assert numbers.mean_error_lsb == pytest.approx(256 * error.mean(), rel=1e-3)
    assert numbers.agreement == (wanted.argmax(1) == found.argmax(1)).mean()
    assert result.accuracy == (found.argmax(1) == labels).mean()
    assert result.reference_accuracy == (wanted.argmax(1) == labels).mean()
    assert result.accuracy_drop == result.reference_accuracy - result.accuracy
    assert result.passed and result.samples == len(images)


@pytest.mark.parametrize("reference", ["keras3.keras", "keras3.h5", "saved_model"])
def test_reference_from_a_file(converted, model_files, reference, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    result = tfopt.check(tmp_path / "model.tflite", reference=model_files / reference, data=str(model_files / "test.npz"))
    assert result.passed and result.outputs[0].sqnr > 25 and result.accuracy > 0.9


def test_another_tflite_file_as_reference(converted, digits):
    result = tfopt.check(converted.tflite, reference=converted.tflite, data=digits[1][0])
    assert result.outputs[0].sqnr == math.inf and result.outputs[0].cosine == pytest.approx(1)


def test_structure_alone(converted):
    result = tfopt.check(converted.tflite)
    assert result.passed and result.outputs == () and result.accuracy is None
    found = result.structure
    assert found.quantization == "int8" and found.ops["CONV_2D"] == 2
    assert found.dtypes("weight")["int8"] == 3 and set(found.dtypes("activation")) == {"int8"}
    kernel = next(tensor for tensor in found.tensors if tensor.role == "weight" and tensor.dtype == "int8")
    assert len(kernel.scale) == kernel.shape[0] and set(kernel.zero_point) == {0}


def test_one_hot_and_column_labels_count_like_class_ids(converted, classifier, digits):
    _, (images, labels) = digits
    accuracies = {
        tfopt.check(converted.tflite, reference=classifier, data=images, labels=form).accuracy
        for form in (labels, np.eye(10)[labels], labels[:, None], labels.astype("float32"))
    }
    assert len(accuracies) == 1


@pytest.mark.parametrize("labels", [lambda n: np.linspace(0, 1, n), lambda n: np.full(n, 10)], ids=["fractions", "out of range"])
def test_labels_that_are_no_classes_are_told(converted, classifier, digits, labels):
    images = digits[1][0][:20]
    result = tfopt.check(converted.tflite, reference=classifier, data=images, labels=labels(20))
    assert result.accuracy is None and any("labels" in note for note in result.notes)


@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid", None], ids=["probability", "hard probability", "logit"])
def test_one_output_decides_at_its_half(activation):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation=activation, kernel_initializer="ones")])
    content = tflite_of(model, quantization="float32")
    data = np.array([[-2.0], [-0.1], [0.2], [0.4], [3.0]], "float32")
    labels = np.array([0, 0, 1, 1, 1])
    assert tfopt.check(content, data=data, labels=labels).accuracy == 1.0
    result = tfopt.check(content, reference=model, data=data, labels=labels)
    assert result.accuracy == result.reference_accuracy == 1.0


def test_accuracy_drop_fails(converted, classifier, digits):
    _, (images, _) = digits
    predicted = np.asarray(classifier(images)).argmax(1)
    broken = keras.models.clone_model(classifier)
    broken.set_weights(classifier.get_weights())
    broken.layers[-1].set_weights([weight[..., ::-1] for weight in classifier.layers[-1].get_weights()])
    result = tfopt.check(converted.tflite, reference=broken, data=images, labels=9 - predicted, min_sqnr=-100)
    assert not result.passed and any("accuracy drops by" in reason for reason in result.reasons)
    assert tfopt.check(
        converted.tflite, reference=broken, data=images, labels=9 - predicted, min_sqnr=-100, max_accuracy_drop=1
    ).passed


def test_low_sqnr_fails(converted, classifier, digits):
    result = tfopt.check(converted.tflite, reference=classifier, data=digits[1][0], min_sqnr=80)
    assert not result.passed and "at least 80 dB" in result.reasons[0]


def test_nan_fails():
    class Root(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.sqrt(inputs)

    model = keras.Sequential([keras.Input((3,)), Root(name="root")])
    content = tflite_of(model, quantization="float32")
    result = tfopt.check(content, reference=model, data=np.array([[1.0, 4.0, 9.0], [-1.0, 1.0, 1.0]], "float32"))
    assert not result.passed
    assert any("of the file is NaN" in reason for reason in result.reasons)
    assert any("of the reference is NaN" in reason for reason in result.reasons)


def test_other_outputs_than_the_reference(converted):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(tfopt.DataError, match="must have the shape"):
        tfopt.check(converted.tflite, reference=model, data=np.ones((2, 8, 8, 1), "float32"))


@pytest.mark.parametrize("arguments", [{"labels": np.zeros(3)}, {"reference": "x.keras"}], ids=["labels", "reference"])
def test_data_are_asked_for(converted, arguments):
    with pytest.raises(tfopt.ArgumentError, match="--data"):
        tfopt.check(converted.tflite, **arguments)


def test_float_island_is_named_with_its_layer():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv3D(2, 3, name="volume"), keras.layers.Flatten(), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((6, 6, 6, 1)), *layers])
    data = np.random.default_rng(0).random((20, 6, 6, 6, 1)).astype("float32")
    content = tflite_of(model, data)
    result = tfopt.check(content, reference=model, data=data)
    assert {op.op for op in result.structure.float_ops} >= {"CONV_3D"}
    assert {op.layer for op in result.structure.float_ops if op.op == "CONV_3D"} == {"volume"}
    assert not result.passed


def permuting_file():
    """A model of three outputs, and a file of it by the plain converter, which keeps neither their order nor their names."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    source = keras.Input((4,), name="source")
    model = keras.Model(source, [keras.layers.Dense(3, name=name)(source) for name in ("cls", "mm", "aa")])
    return model, tf.lite.TFLiteConverter.from_keras_model(model).convert()


def test_file_of_the_plain_converter_is_read_in_the_models_order():
    model, content = permuting_file()
    data = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    expected = [np.asarray(output) for output in model(data)]
    for output, wanted in zip(tfopt.Interpreter(content).run(data), expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-5)
    result = tfopt.check(content, reference=model, data=data, labels=expected[0].argmax(1))
    assert result.passed and result.accuracy == result.reference_accuracy == 1.0


def test_noise_above_the_variation_fails_whatever_the_constant_part():
    keras.utils.set_random_seed(0)
    source = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="relu")(source)
    model = keras.Model(source, keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(1000.0))(hidden))
    data = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    content = tflite_of(model, data)
    result = tfopt.check(content, reference=model, data=data)
    numbers = result.outputs[0]
    wanted, found = np.asarray(model(data), np.float64), tfopt.Interpreter(content)(data)
    variation = ((wanted - wanted.mean(0)) ** 2).sum() / ((wanted - found) ** 2).sum()
    assert numbers.variation_sqnr == pytest.approx(10 * math.log10(variation), abs=0.1)
    assert numbers.sqnr > 40 and not result.passed and "exceeds the variation of the output" in result.reasons[0]


@pytest.mark.parametrize("quantization", ["int8", "dynamic"])
def test_a_file_that_stayed_float_fails(quantization):
    source = keras.Input((4, 4, 4, 2))
    model = keras.Model(source, keras.layers.Conv3D(3, 2, name="volume")(source))
    data = np.random.default_rng(0).random((20, 4, 4, 4, 2)).astype("float32")
    result = tfopt.convert(model, representative_data=data, quantization=quantization, skip_lowering=("all",), runs=1)
    assert not result.check.passed
    if quantization == "int8":
        assert not tfopt.check(result.tflite).passed, "quantized inputs claim an int8 file"


def test_identical_outputs_and_outputs_without_a_row_for_each_sample():
    source = keras.Input((10, 4), name="source")
    same = keras.layers.Dense(3, name="same")(source)
    model = keras.Model(source, [same, same, keras.ops.reshape(same, (-1, 3)), keras.ops.sum(same)])
    data = np.random.default_rng(0).random((20, 10, 4)).astype("float32")
    content = tflite_of(model, quantization="float32")
    result = tfopt.check(content, reference=model, data=data)
    assert result.passed and len(result.outputs) == 4
    with pytest.raises(tfopt.DataError, match="has no row for each sample"):
        tfopt.Interpreter(content)(data)
    outputs = tfopt.Interpreter(content).run(data[:1])
    np.testing.assert_allclose(outputs[2], np.asarray(model(data[:1])[2]), atol=1e-5)


def test_infinity_in_the_file_is_a_verdict():
    class Exponential(keras.layers.Layer):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def call(self, inputs):
            return keras.ops.exp(self.factor * inputs)

    content = tflite_of(keras.Sequential([keras.Input((3,)), Exponential(100.0)]), quantization="float32")
    result = tfopt.check(content, reference=keras.Sequential([keras.Input((3,)), Exponential(1.0)]), data=np.full((3, 3), 5.0))
    assert not result.passed and "of the file is NaN or infinite" in result.reasons[0]


@pytest.mark.parametrize(
    "arguments", [{"min_sqnr": float("nan")}, {"min_sqnr": "20"}, {"max_accuracy_drop": -1}, {"reference": 3}], ids=str
)
def test_bad_arguments(converted, arguments):
    with pytest.raises(tfopt.ArgumentError, match="Received: "):
        tfopt.check(converted.tflite, data=np.ones((1, 8, 8, 1)), **arguments)


def test_samples_that_are_alike_have_no_variation(converted, classifier, digits):
    image = digits[1][0][:1]
    for data in (image, np.repeat(image, 5, axis=0)):
        result = tfopt.check(converted.tflite, reference=classifier, data=data)
        assert result.outputs[0].variation_sqnr is None and result.passed
