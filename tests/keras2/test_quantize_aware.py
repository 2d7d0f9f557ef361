"""`quantize_aware` of Keras 2 models: what tfmot quantizes, what it leaves out, and what is refused."""

import keras
import numpy as np
import pytest
import tf_keras
from keras2_models import IMAGE, SEQUENCE, Double, draw, float_ops, layers, quantized, small, to_int8, wrap

import tfopt
from tfopt.checking.output_errors import Tally
from tfopt.conversion import traced_model
from tfopt.conversion.settings import ConversionRequest, Settings
from tfopt.keras2.prune import prune
from tfopt.keras2.quantize_aware import quantize_aware
from tfopt.keras2.strip import strip
from tfopt.keras2.tfmot_layers import quantizers, unseen_quantizers
from tfopt.lowering import quantization_aware
from tfopt.tflite import op_audit


def compare(model, interpreter, data):
    """`OutputNumbers` of the file against the model, row by row."""
    tally, wanted = Tally(interpreter, compared=True), model.predict(data, verbose=0)
    for row in range(len(data)):
        batch = {model.input_names[0]: data[row : row + 1]}
        tally.add(batch, lambda batch, row=row: [wanted[row : row + 1]], [None])
    return tally.numbers()[0]


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
        "lone": "BatchNormalization that does not follow a Conv2D, DepthwiseConv2D or Dense", "own": "Double",
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
        left = to_int8(model, data, skip=("no_detour", "lookup_table"))
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
    with pytest.warns(UserWarning, match="BatchNormalization that does not follow"):
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


def test_refusals():
    dense = small(layers.Dense(4, activation="relu", name="a"), shape=(4,))
    low = tf_keras.Sequential([layers.InputLayer((4,)), layers.Dense(2, name="a", dtype="mixed_float16")])
    custom = tf_keras.Sequential([layers.InputLayer((4,)), Double(name="double")])
    new = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    fresh = quantize_aware(dense)
    pruned = prune(dense, tfopt.ConstantSparsity(0.5))
    data_error, argument_error = tfopt.DataError, tfopt.ArgumentError
    for kind, message, call in (
        (argument_error, r"tfopt\.legacy\.quantize_aware .*Keras 3.*tfopt\.quantize_aware\(model\)", lambda: quantize_aware(new)),
        (argument_error, "must not be quantization-aware yet.*strip", lambda: quantize_aware(fresh)),
        (argument_error, "must not be under pruning yet.*strip", lambda: quantize_aware(pruned)),
        (argument_error, "must not be quantization-aware yet.*strip", lambda: prune(fresh, tfopt.ConstantSparsity(0.5))),
        (argument_error, r"compute in float32. Received: a \(Dense\) in float16", lambda: quantize_aware(low)),
        (argument_error, r"that are not left out. .* with all layers left out", lambda: quantize_aware(dense, exclude="*")),
        (argument_error, r"layers that tfmot quantizes .* with Double \(double\)", lambda: quantize_aware(custom)),
        (data_error, r"no range for .*, a, out\. Train", lambda: quantization_aware.served(fresh, has_data=True)),
        (argument_error, r"'int16x8', .*tfopt\.legacy\.strip", lambda: ask(quantization="int16x8")),
        (argument_error, r"ptq='best'. .*tfopt\.legacy\.strip", lambda: ask(ptq="best")),
    ):
        with pytest.raises(kind, match=message):
            call()


def ask(**options):
    traced_model._require_fitting(ConversionRequest(model=None, settings=Settings(**options)), is_trained=True)
