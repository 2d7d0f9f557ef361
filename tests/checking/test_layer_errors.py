"""`check --layers`: which tensor belongs to which layer, with numbers that NumPy confirms."""

import math

import keras
import numpy as np
import pytest
from exported import tflite_of

import tfopt
from tfopt.data import signature
from tfopt.lowering.layer_calls import trace_layer_calls
from tfopt.tflite.interpreter import Interpreter


def by_name(result):
    return {(layer.name, layer.call): layer for layer in result.layers}


def noise(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


@pytest.fixture(scope="module")
def checked(converted, classifier, digits):
    images, labels = digits[1]
    return tfopt.check(converted.tflite, reference=classifier, data=images[:50], labels=labels[:50], layers=True)


def test_fused_layers_are_one_row_and_the_worst_comes_first(checked, classifier):
    names = [layer.name for layer in classifier.layers]
    rows = by_name(checked)
    assert [name for name in names if (name, 1) in rows] == [names[2], names[5], names[6], "digit"]
    assert rows[names[5], 1].fused, "the convolution and its BatchNormalization have no tensors of their own"
    assert [layer.sqnr for layer in checked.layers] == sorted(layer.sqnr for layer in checked.layers)
    assert {layer.class_name for layer in checked.layers} == {"Input", "ReLU", "Flatten", "Dense"}


def test_numbers_against_numpy(checked, converted, classifier, digits):
    images, last = digits[1][0][:50], by_name(checked)["digit", 1]
    # With `keep_all`, as the layers are read: the delegate's kernels, which depend on the CPU, round in another way.
    run = tfopt.Interpreter(converted.tflite, keep_all=True)
    wanted, found = np.asarray(classifier(images), np.float64), run(images).astype(np.float64)
    assert last.sqnr == pytest.approx(10 * math.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()), abs=0.01)
    assert last.float_range == pytest.approx((wanted.min(), wanted.max()), abs=1e-5)
    assert last.int8_range == pytest.approx((0, 255 / 256)) and last.size == wanted.size
    assert last.saturated == pytest.approx((found >= 255 / 256 - 1e-6).mean(), abs=0.02) and last.negative == 0
    image = next(layer for layer in checked.layers if layer.class_name == "Input")
    assert image.name == "image" and image.float_range == (0, 1) and image.range_used == 1 and image.clipped == 0


def test_a_healthy_model_has_no_causes(checked):
    assert checked.passed and checked.causes == ()


def test_layers_are_not_compared_unless_asked_for(converted, classifier, digits):
    result = tfopt.check(converted.tflite, reference=classifier, data=digits[1][0][:5])
    assert result.layers == () and result.causes == ()


@pytest.mark.parametrize("kind", ["none", "tflite", "data"])
def test_a_keras_reference_and_data_are_asked_for(converted, classifier, digits, kind):
    arguments = {
        "none": {"data": digits[1][0]},
        "tflite": {"data": digits[1][0], "reference": converted.tflite},
        "data": {"reference": classifier},
    }[kind]
    with pytest.raises(tfopt.ArgumentError, match="--data" if kind == "data" else "--reference MODEL"):
        tfopt.check(converted.tflite, layers=True, **arguments)


def test_keras_2_models(converted, legacy_classifier, digits):
    images = digits[0][0][:100]
    result = tfopt.check(tflite_of(legacy_classifier, images), reference=legacy_classifier, data=images, layers=True)
    assert [layer.class_name for layer in result.layers if layer.sqnr < 20] == []
    assert sorted(layer.class_name for layer in result.layers) == ["Dense", "Flatten", "Input", "ReLU", "ReLU"]


class Residual(keras.Model):
    """A subclassed model with a nested model and a shared layer."""

    def __init__(self):
        super().__init__()
        self.body = keras.Sequential([keras.layers.Dense(6, name="inner", activation="relu")], name="body")
        self.shared = keras.layers.Dense(6, name="shared", activation="tanh")
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, inputs):
        return self.shared(self.dropout(self.shared(self.body(inputs)))) + inputs


def test_nested_and_shared_layers_of_a_subclassed_model():
    keras.utils.set_random_seed(0)
    model, data = Residual(), noise(50, 6)
    specs = [signature.TensorSpec("row", (1, 6), "float32")]
    content = tflite_of(model, data, specs=specs)
    rows = by_name(tfopt.check(content, reference=model, data=data, layers=True))
    assert set(rows) == {("row", 1), ("inner", 1), ("shared", 1), ("shared", 2)}
    assert all(row.sqnr > 25 for row in rows.values())
    first = np.asarray(model.shared(model.body(data)))
    assert rows["shared", 1].float_range == pytest.approx((first.min(), first.max()), abs=1e-5)


def test_calls_inside_loops_are_left_out():
    row = keras.Input((5, 3))
    model = keras.Model(row, keras.layers.Dense(2, name="head")(keras.layers.SimpleRNN(4, name="rnn")(row)))
    calls, traced = trace_layer_calls(model, signature.fix_sizes(signature.input_specs(model), 2))
    assert [call.name for call in calls] == ["rnn", "head"]
    x = noise(2, 5, 3)
    np.testing.assert_allclose(traced({traced.inputs[0].name: x})[1], np.asarray(model(x)), atol=1e-5)
    assert "call" not in vars(model.layers[1])


def test_a_tracing_leaves_names_of_one_layer_that_another_has():
    """The second trace gives `conv2d` the scope `conv2d_1`, which is another layer's name."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    first = keras.layers.Conv2D(3, 3, padding="same", name="conv2d", activation="relu")(image)
    second = keras.layers.Conv2D(3, 3, padding="same", name="conv2d_1", activation="tanh")(first)
    model, data = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pool")(second)), noise(40, 6, 6, 3)
    for _ in range(2):
        rows = by_name(tfopt.check(tflite_of(model, data), reference=model, data=data, layers=True))
        assert {"conv2d", "conv2d_1", "pool"} < {name for name, _ in rows} and min(row.sqnr for row in rows.values()) > 20


@pytest.fixture(scope="module")
def default_names():
    """A trained model whose layers have the names that Keras gives them in a new process, in part."""
    keras.utils.set_random_seed(0)
    image = hidden = keras.Input((8, 8, 1))
    for number in ("", "_1"):
        hidden = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name=f"conv2d{number}")(hidden)
    hidden = keras.layers.Flatten(name="flatten")(hidden)
    for number in ("", "_1", "_2"):
        activation = "softmax" if number == "_2" else "tanh"
        hidden = keras.layers.Dense(10, activation=activation, name=f"dense{number}")(hidden)
    model, data = keras.Model(image, hidden), noise(200, 8, 8, 1)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(data, np.arange(200) % 10, epochs=2, verbose=0)
    return model, data


@pytest.mark.parametrize("source", ["memory", "file", "quantization-aware"])
def test_default_names_are_not_confused(default_names, source, tmp_path):
    """TensorFlow gives `dense` the scope `dense_1`, and `dense_1` the scope `dense_1_2`, while the output is named `dense_2`."""
    model, data = default_names
    if source == "file":
        model.save(tmp_path / "model.keras")
        model = tmp_path / "model.keras"
    if source == "quantization-aware":
        model = tfopt.calibrate(tfopt.quantize_aware(model), data)
    content = tfopt.convert(model, representative_data=data, verbose=False).tflite
    result = tfopt.check(content, reference=model, data=data, layers=True)
    rows = by_name(result)
    assert {name for name, _ in rows} >= {"conv2d", "conv2d_1", "flatten", "dense", "dense_1", "dense_2"}
    assert min(row.sqnr for row in rows.values()) > 25 and result.causes == ()
    assert rows["dense_2", 1].int8_range == pytest.approx((0, 255 / 256)) and rows["dense", 1].int8_range[0] < -0.5
    assert {row.class_name for row in rows.values()} == {"Input", "Conv2D", "Flatten", "Dense"}
    assert not any(name.endswith("_quantize") for row in rows.values() for name in row.fused)


def test_other_kinds_of_files(classifier, digits):
    images = digits[0][0][:60]
    for quantization, least in (("float32", 100), ("int16x8", 30)):
        result = tfopt.check(tflite_of(classifier, images, quantization), reference=classifier, data=images, layers=True)
        assert result.causes == () and {layer.name for layer in result.layers} >= {"digit", classifier.layers[6].name}
        assert min(layer.sqnr for layer in result.layers) > least
        assert (result.layers[-1].saturated is None) == (quantization == "float32")


def test_values_that_are_not_finite():
    source = keras.Input((3,), name="source")
    model = keras.Model(source, keras.layers.Activation(keras.ops.sqrt, name="root")(source))
    data = np.array([[1.0, 4.0, 9.0], [-1.0, -1.0, -1.0]], "float32")
    result = tfopt.check(tflite_of(model, data, "float32"), reference=model, data=data, layers=True)
    assert result.layers[0].name == "root" and math.isnan(result.layers[0].sqnr) and result.causes == ()
    output, layer = (line for line in str(result).splitlines() if line.startswith("root"))
    assert "Activation" in layer and "not finite" in layer and "exact" not in layer and "exact" not in output


def test_a_model_without_a_layer_to_compare():
    source = keras.Input((3,), name="source")
    model = keras.Model(source, keras.ops.relu(keras.layers.Dropout(0.5)(source)))
    data = noise(20, 3)
    for form in (data, lambda: iter(data)):
        result = tfopt.check(tflite_of(model, data), reference=model, data=form, layers=True)
        assert [layer.name for layer in result.layers] == ["source"]


def test_a_batch_that_is_not_full():
    keras.utils.set_random_seed(0)
    model, data = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="head")]), noise(10, 4)
    rows = by_name(tfopt.check(tflite_of(model, data, batch_size=4), reference=model, data=data, layers=True))
    assert rows["head", 1].size == 30 and rows["head", 1].sqnr > 25


def test_a_file_that_takes_and_gives_floats(classifier, digits):
    images = digits[0][0][:60]
    result = tfopt.check(tflite_of(classifier, images / 255, io="float32"), reference=classifier, data=images, layers=True)
    rows = by_name(result)
    assert rows["image", 1].saturated > 0.1 and rows["digit", 1].int8_range == pytest.approx((0, 255 / 256))
    assert [cause.kind for cause in result.causes] == ["calibration-scaling"]


def test_every_tensor_can_be_read_after_a_run(converted, digits):
    run = Interpreter(converted.tflite, keep_all=True)
    run.run(digits[1][0][:1])
    first = run.graph.operators[0].outputs[0]
    before = run.tensor(first).copy()
    run.run(digits[1][0][1:2])
    assert before.any() and (before != run.tensor(first)).any()
