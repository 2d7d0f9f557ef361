"""Quantization-aware training of Keras 2 models by tfmot: the file against the model and Keras 3, what tfmot leaves out."""

import warnings

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.checking.output_errors import Tally
from tfopt.conversion import export, traced_model
from tfopt.conversion.settings import ConversionRequest, Settings
from tfopt.data import signature
from tfopt.keras2 import door
from tfopt.keras2.model import has_quantizers
from tfopt.keras2.pruning import prune
from tfopt.keras2.quantization import quantize_aware
from tfopt.keras2.quantizers import input_quantizers, quantizers, unseen_quantizers
from tfopt.keras2.strip import strip
from tfopt.lowering import lower, quantization_aware
from tfopt.lowering.trace import trace_model
from tfopt.tflite import op_audit
from tfopt.tflite.interpreter import Interpreter

layers = tf_keras.layers
IMAGE, SEQUENCE = (6, 6, 4), (6, 8)
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


def wrap(make, shape):
    """A functional model of the layers that `make` calls, with a Dense behind."""
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input(shape, name="data")
    return tf_keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten(name="flat")(make(inputs))))


def quantized(model, **options):
    """(the quantization-aware model, the text of its warning); its ranges have seen one batch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = quantize_aware(model, **options)
    texts = [str(each.message) for each in caught if "stay float" in str(each.message)]
    assert len(texts) < 2
    made(draw(model), training=True)
    return made, "".join(texts)


def draw(model):
    return np.random.default_rng(0).normal(size=(48, *model.input_shape[1:])).astype("float32")


def to_int8(model, samples=None, skip=()):
    """The int8 file, converted in this process."""
    specs = signature.fix_sizes(signature.input_specs(model), 1)
    traced = trace_model(model, specs, lower.plan(model))
    samples = None if samples is None else {specs[0].name: samples}
    return Interpreter(export.to_tflite(traced, export.Variant("int8"), samples=samples, skip_lowering=skip).content)


def float_ops(interpreter):
    return [op.op for op in op_audit.examine(interpreter, (), "int8").float_ops]


def compare(model, interpreter, data):
    """`OutputNumbers` of the file against the model, row by row."""
    tally, wanted = Tally(interpreter, compared=True), model.predict(data, verbose=0)
    for row in range(len(data)):
        batch = {model.input_names[0]: data[row : row + 1]}
        tally.add(batch, lambda batch, row=row: [wanted[row : row + 1]], [None])
    return tally.numbers()[0]


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


def test_strip_gives_the_layers_and_weights_back(legacy_classifier, qat, digits, tmp_path):
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
    qat.save(tmp_path / "qat.h5")
    with functions.quantize_scope():
        again = tf_keras.models.load_model(tmp_path / "qat.h5", compile=False)
    assert has_quantizers(again)
    np.testing.assert_array_equal(again(images[:9]), qat(images[:9]))
    np.testing.assert_array_equal(strip(again)(images[:9]), strip(qat)(images[:9]))


class Double(layers.Layer):
    """A layer of the caller's own."""

    def call(self, inputs):
        return inputs * 2.0


def unknown_layers():
    """A model with a layer of each kind that tfmot refuses, and (name, reason) of these."""
    image, ids = tf_keras.Input(IMAGE, name="image"), tf_keras.Input((6,), name="ids")
    x = layers.BatchNormalization(name="lone")(layers.Conv2D(4, 3, activation="relu", name="known")(image))
    x = Double(name="own")(layers.Activation("elu", name="elu")(layers.Conv2D(4, 1)(x)))
    x = layers.Lambda(lambda y: y * 2, name="lambda")(layers.Conv2D(4, 1, activation="relu6", name="relu6")(x))
    x = layers.Multiply(name="multiply")([x, layers.Conv2D(4, 1)(x)])
    x = layers.LayerNormalization(name="norm")(layers.Reshape((8, 8))(x))
    x = layers.LSTM(4, name="lstm")(layers.Conv1D(4, 3, name="conv1d")(x) + 1.0)
    x = layers.Concatenate()([x, layers.Flatten()(layers.Embedding(8, 4, name="embedding")(ids))])
    model = tf_keras.Model([image, ids], layers.Dense(3, name="head")(x))
    (operation,) = [layer.name for layer in model.layers if type(layer).__name__ == "TFOpLambda"]
    return model, {
        "lone": "BatchNormalization that is no part of a Conv2D, DepthwiseConv2D or Dense before it", "own": "Double",
        "elu": "the activation 'elu' of Activation", "relu6": "the activation 'relu6' of Conv2D", "lambda": "Lambda",
        "multiply": "Multiply", "norm": "LayerNormalization", "lstm": "LSTM", "conv1d": "Conv1D", "embedding": "Embedding",
        operation: "TFOpLambda",
    }  # fmt: skip


def test_what_tfmot_cannot_quantize_is_left_out_and_listed():
    model, reasons = unknown_layers()
    before = model.get_weights()
    with pytest.warns(UserWarning, match="stay float in training.*representative data: ") as caught:
        made = quantize_aware(model)
    (text,) = [str(each.message) for each in caught if each.filename == __file__]
    listed = text.partition("data: ")[2].removesuffix(".").split("; ")
    assert sorted(listed) == sorted(f"{reason} ({name})" for name, reason in reasons.items())
    names = {layer.name for layer in quantizers(made)}
    assert {"known", "head"} <= names
    assert not names & set(reasons)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(4, *IMAGE)).astype("float32"), rng.integers(0, 8, (4, 6))]
    plain = strip(made)
    assert {layer.name for layer in plain.layers} == {layer.name for layer in model.layers}
    np.testing.assert_array_equal(plain(inputs), model(inputs))
    made(inputs, training=True)
    assert unseen_quantizers(made) == []


LEFT_OUT = {
    "conv1d": (SEQUENCE, lambda x: layers.Conv1D(8, 3, activation="relu", name="it")(x)),
    "multiply": (IMAGE, lambda x: layers.Multiply(name="it")([x, layers.Conv2D(4, 3, padding="same")(x)])),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_representative_data_tell_the_ranges_that_training_did_not(case):
    shape, make = LEFT_OUT[case]
    model, _ = quantized(wrap(make, shape))
    without, data = to_int8(model), draw(model)
    with pytest.raises(tfopt.DataError, match=r"Training must have reached all ranges, .*'it'.*--calibrate"):
        quantization_aware.require_covered(without, [layer.name for layer in model.layers])
    calibrated = to_int8(model, data)
    assert float_ops(calibrated) == []
    now = compare(model, calibrated, data).sqnr
    assert now > 25
    if case == "multiply":  # one that reads what a trained range has rounded, and is calibrated: without the edit, by other ranges
        left = to_int8(model, data, skip=("no_detour",))
        assert float_ops(left) == ["DEQUANTIZE", "QUANTIZE"]
        assert "QUANTIZE" not in op_audit.examine(calibrated).ops
        assert now > compare(model, left, data).sqnr


def test_weights_before_a_relu_are_rounded():
    model, text = quantized(wrap(lambda x: layers.ReLU()(layers.Conv2D(8, 3, name="conv")(x)), IMAGE))
    assert not text
    names = [variable.name for variable in model.get_layer("conv").weights]
    assert "conv/kernel_min:0" in names
    assert "conv/post_activation_min:0" not in names
    assert compare(model, to_int8(model), draw(model)).most_error_lsb <= 1


def test_models_inside_are_quantized():
    inner = tf_keras.Sequential(
        [layers.InputLayer((6, 6, 8)), layers.Conv2D(8, 3, name="deep"), layers.BatchNormalization(), layers.ReLU()], name="inner"
    )
    model = wrap(lambda x: inner(layers.Conv2D(8, 1, activation="relu", name="first")(x)), IMAGE)
    made, text = quantized(model)
    assert not text
    assert [layer.name for layer in made.layers if layer.name == "inner"]
    assert {"first", "deep", "head"} <= {layer.name for layer in quantizers(made)}
    interpreter = to_int8(made)
    assert float_ops(interpreter) == []
    assert "QUANTIZE" not in op_audit.examine(interpreter).ops  # what comes in is rounded once
    assert compare(made, interpreter, draw(made)).most_error_lsb <= 1
    np.testing.assert_array_equal(strip(made).get_layer("inner").get_weights()[0], inner.get_weights()[0])
    with pytest.warns(UserWarning, match="BatchNormalization that is no part of"):
        quantize_aware(model, exclude="inner/deep")


def test_separable_convolutions_get_names_that_are_free():
    model = wrap(lambda x: layers.SeparableConv2D(8, 3)(layers.Conv2D(8, 1, name="conv2d")(x)), IMAGE)
    tf_keras.backend.clear_session()
    made = quantize_aware(model)
    assert [layer.name for layer in made.layers if layer.name.startswith("conv2d")] == ["conv2d", "conv2d_1"]
    np.testing.assert_allclose(strip(made)(draw(model)), model(draw(model)), atol=1e-6)


def test_include_and_exclude():
    model = wrap(lambda x: layers.Conv2D(4, 3, name="conv")(x), IMAGE)
    for options in ({"exclude": "conv"}, {"include": ["flat", layers.Dense]}, {"exclude": lambda layer: layer.name == "conv"}):
        made, text = quantized(model, **options)
        assert not text
        assert "head/kernel_min:0" in [variable.name for variable in made.weights]
        assert "conv/kernel_min:0" not in [variable.name for variable in made.weights]
    with pytest.raises(tfopt.ArgumentError, match="exclude must match layers.*Closest: conv"):
        quantize_aware(model, exclude="konv")


def test_refusals(qat, legacy_classifier):
    low = tf_keras.Sequential([layers.InputLayer((4,)), layers.Dense(2, name="a", dtype="mixed_float16")])
    custom = tf_keras.Sequential([layers.InputLayer((4,)), Double(name="double")])
    new = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    fresh = quantize_aware(legacy_classifier)
    pruned = prune(legacy_classifier, tfopt.ConstantSparsity(0.5))
    data_error, argument_error = tfopt.DataError, tfopt.ArgumentError
    for kind, message, call in (
        (argument_error, r"Keras 3.*tfopt\.quantize_aware\(model\)", lambda: quantize_aware(new)),
        (argument_error, "must not be quantization-aware yet.*strip", lambda: quantize_aware(qat)),
        (argument_error, "must not be under pruning yet.*strip", lambda: quantize_aware(pruned)),
        (argument_error, "must not be quantization-aware yet.*strip", lambda: prune(qat, tfopt.ConstantSparsity(0.5))),
        (argument_error, r"compute in float32. Received: a \(Dense\) in float16", lambda: quantize_aware(low)),
        (argument_error, r"that are not left out. .* with all left out", lambda: quantize_aware(new_copy(low), exclude="*")),
        (argument_error, r"layers that tfmot quantizes .* with Double \(double\)", lambda: quantize_aware(custom)),
        (data_error, r"no range for .*conv2d.*, re_lu.*, digit. Train", lambda: quantization_aware.served(fresh, has_data=True)),
        (argument_error, r"'int16x8', .*tfopt\.legacy\.strip", lambda: ask(quantization="int16x8")),
        (argument_error, r"ptq='best'. .*tfopt\.legacy\.strip", lambda: ask(ptq="best")),
    ):
        with pytest.raises(kind, match=message):
            call()


def new_copy(model):
    return tf_keras.Sequential([layers.InputLayer(model.input_shape[1:]), layers.Dense(2)])


def ask(**options):
    traced_model._require_fitting(ConversionRequest(model=None, settings=Settings(**options)), is_trained=True)


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
    for form in (quantization_aware.baked(made), trained_old):
        interpreter = to_int8(form)
        assert float_ops(interpreter) == []
        logits = np.concatenate([interpreter.run({"image": image[None]})[0] for image in test_images])
        accuracies.append(np.mean(np.argmax(logits, -1) == test_labels))
    print(accuracies)
    assert abs(accuracies[0] - accuracies[1]) <= 0.015
    assert min(accuracies) >= 0.93
