"""`convert` end to end: every quantization and input/output dtype, both Keras generations, and what a result holds."""

import keras
import numpy as np
import pytest

import tfopt
from tfopt.checking.comparison import FileUnderTest, compare
from tfopt.conversion.settings import ConversionRequest, Settings
from tfopt.conversion.traced_model import trace_with_data
from tfopt.progress import ignore


@pytest.mark.parametrize("origin", ["keras3.keras", "keras3.h5", "keras2.h5", "saved_model"])
def test_classifier_becomes_a_right_int8_file(model_files, origin):
    result = tfopt.convert(
        model_files / origin, representative_data=model_files / "train.npy", validation_data=str(model_files / "test.npz"), runs=5
    )
    found, output = result.check.structure, result.check.outputs[0]
    assert result.check.passed, result.check.reasons
    assert {tensor.dtype for tensor in (*found.inputs, *found.outputs)} == {"int8"}
    assert not found.float_ops and not [tensor.name for tensor in found.tensors if tensor.dtype.startswith("float")]
    assert found.quantization == "int8" and found.partitions == 1
    assert output.sqnr >= 25 and output.agreement >= 0.99
    assert result.check.samples == 400 and result.check.reference_accuracy > 0.95
    assert result.check.accuracy_drop <= 0.005


# SQNR that the digits reach with margin: float formats lose nothing but rounding, dynamic rounds the weights alone.
@pytest.mark.parametrize(
    ("quantization", "io", "dtype", "sqnr"),
    [
        ("int8", "uint8", "uint8", 25),
        ("int8", "float32", "float32", 25),
        ("int16x8", "int8", "int16", 30),
        ("int16x8", "float32", "float32", 30),
        ("dynamic", "int8", "float32", 30),
        ("float16", "int8", "float32", 55),
        ("float32", "int8", "float32", 100),
    ],
)
def test_every_quantization(classifier, digits, quantization, io, dtype, sqnr):
    (images, _), test = digits
    result = tfopt.convert(
        classifier, representative_data=images, validation_data=test, quantization=quantization, io=io, runs=3, samples=50
    )
    found = result.check.structure
    assert result.check.passed, result.check.reasons
    assert found.quantization == quantization
    assert {tensor.dtype for tensor in (*found.inputs, *found.outputs)} == {dtype}
    assert result.check.outputs[0].sqnr >= sqnr
    assert (result.benchmark.against is None) == (quantization == "float32")


def test_batch_size_is_fixed_in_the_file(classifier, digits):
    (images, _), (test, labels) = digits
    result = tfopt.convert(
        classifier, representative_data=images[:30], validation_data=(test[:37], labels[:37]), batch_size=4, runs=3
    )
    assert result.check.passed and result.check.samples == 37
    assert tfopt.Interpreter(result.tflite).batch_size == 4
    assert tfopt.Interpreter(result.tflite)(test[:6]).shape == (6, 10)


def test_two_inputs_and_two_outputs_keep_order_and_names(tmp_path):
    keras.utils.set_random_seed(1)
    image, extra = keras.Input((8, 8, 1), name="image"), keras.Input((5,), name="extra")
    features = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    joined = keras.layers.Concatenate()([features, keras.layers.Dense(16, activation="relu")(extra)])
    z_first = keras.layers.Dense(3, name="z_first")(joined)
    a_second = keras.layers.Dense(2, name="a_second")(joined)
    model = keras.Model([image, extra], [z_first, a_second])
    generator = np.random.default_rng(0)
    data = {"extra": generator.normal(size=(64, 5)).astype("float32"), "image": generator.random((64, 8, 8, 1)).astype("float32")}
    result = tfopt.convert(model, representative_data=data, runs=3)
    assert result.check.passed, result.check.reasons
    assert "as no validation data were given" in result.check.data
    assert [output.name for output in result.check.outputs] == ["z_first", "a_second"]
    run = tfopt.Interpreter(result.tflite)
    assert run.input_names == ["image", "extra"]
    outputs = run(data)
    expected = model([data["image"], data["extra"]])
    for name, wanted in zip(("z_first", "a_second"), expected, strict=True):
        # 20 dB is the promise of the check: the error is at most a tenth of the signal.
        assert np.linalg.norm(outputs[name] - wanted) <= 0.1 * np.linalg.norm(wanted)


def test_integer_inputs_and_open_sizes():
    keras.utils.set_random_seed(1)
    ids = keras.Input((None,), dtype="int32", name="ids")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(ids))
    model = keras.Model(ids, keras.layers.Dense(3, name="score")(pooled))
    data = np.random.default_rng(0).integers(0, 50, (64, 12)).astype("int32")
    with pytest.raises(tfopt.ArgumentError, match="--input-shape ids=1,32"):
        tfopt.convert(model, quantization="float32")
    result = tfopt.convert(model, representative_data=data, runs=3)
    assert result.check.passed, result.check.reasons
    (tensor,) = result.check.structure.inputs
    assert (tensor.dtype, tensor.shape) == ("int32", (1, 12))
    assert tfopt.convert(model, quantization="float32", input_shapes={"ids": (1, 7)}, runs=3).check.structure.inputs[0].shape == (
        1,
        7,
    )


def test_int8_without_data_shows_how_to_give_some(classifier):
    with pytest.raises(tfopt.DataError, match=r"--calibrate DATA.*representative_data="):
        tfopt.convert(classifier)


def test_synthetic_data_are_marked(classifier, digits):
    result = tfopt.convert(classifier, representative_data="synthetic", validation_data=digits[1], runs=3)
    assert any("UNCALIBRATED" in note for note in result.notes)
    assert "synthetic" in result.report()["representative_data"]


def test_wrong_scaling_fails_the_check_and_is_not_saved(classifier, digits, tmp_path):
    (images, _), test = digits
    result = tfopt.convert(classifier, representative_data=images / 255.0, validation_data=test, runs=3)
    assert not result.check.passed and any("SQNR" in reason for reason in result.check.reasons)
    assert any("255x off" in reason for reason in result.check.reasons)
    assert "layers=True" in str(result).splitlines()[-1], "where to look"
    with pytest.raises(tfopt.OutputError, match="must pass its check"):
        result.save(tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
    result.save(tmp_path / "model.tflite", keep_failed=True)
    assert "FAILED" in (tmp_path / "model.report.md").read_text()


def _volume():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6, 6, 6, 1)), keras.layers.Conv3D(2, 3, name="volume"), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    return model, np.random.default_rng(0).random((20, 6, 6, 6, 1)).astype("float32")


def test_a_float_op_fails_the_check_and_names_its_layer():
    model, data = _volume()
    result = tfopt.convert(model, representative_data=data, skip_lowering=("three_dimensions",), runs=3)
    assert not result.check.passed
    assert any("float CONV_3D op of layer 'volume'" in reason for reason in result.check.reasons)


def test_a_float_op_that_is_allowed_is_a_note():
    model, data = _volume()
    result = tfopt.convert(model, representative_data=data, skip_lowering=("three_dimensions",), allow_float=True, runs=3)
    assert result.check.passed, result.check.reasons
    assert any("float CONV_3D op of layer 'volume'" in note for note in result.check.notes)


def test_a_layer_without_any_int8_form_fails_by_name():
    keras.utils.set_random_seed(1)
    bins = keras.layers.Discretization([-1.0, 0.0, 1.0], name="bins")
    model = keras.Sequential([keras.Input((6,)), bins, keras.layers.Embedding(4, 8), keras.layers.Flatten(), keras.layers.Dense(2)])
    data = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    result = tfopt.convert(model, representative_data=data, runs=3)
    assert not result.check.passed
    assert any("float BUCKETIZE op of layer 'bins'" in reason for reason in result.check.reasons)


def test_flex_ops_are_an_error_that_names_the_layer():
    class Singular(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.svd(inputs, compute_uv=False)

    model = keras.Sequential([keras.Input((4, 4)), Singular(name="singular_values")])
    with pytest.raises(tfopt.ConversionError, match=r"must be a TFLite builtin.*tf\.Svd.*singular_values"):
        tfopt.convert(model, quantization="float32", runs=3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((0, 8, 8, 1), "float32"), "At least one sample"),
        (np.zeros((9, 8, 8), "float32"), "Add the channel"),
        (np.zeros((9, 7, 8, 1), "float32"), r"must have the shape \(8, 8, 1\)"),
        (np.full((9, 8, 8, 1), np.nan, "float32"), "must be finite"),
        (np.full((9, 8, 8, 1), "x"), "must be numbers"),
        (np.ones((9, 8, 8, 1), "float32"), "must vary"),
    ],
    ids=["empty", "rank", "size", "nan", "dtype", "constant"],
)
def test_bad_data_stop_before_the_converter_starts(classifier, data, words):
    with pytest.raises(tfopt.DataError, match=words):
        tfopt.convert(classifier, representative_data=data)


def test_labels_of_the_wrong_length(classifier, digits):
    (images, _), (test, labels) = digits
    with pytest.raises(tfopt.DataError, match="As many labels as samples, 400"):
        tfopt.convert(classifier, representative_data=images, validation_data=(test, labels[:-1]))


@pytest.mark.parametrize("model", [None, 3, {}, "nothing.h5"])
def test_not_a_model(model):
    with pytest.raises(tfopt.TfoptError, match="Received: "):
        tfopt.convert(model, representative_data=np.zeros((1, 2)))


def test_the_same_seed_gives_the_same_file_and_the_callers_model_is_untouched(classifier, digits, converted):
    before = [weight.copy() for weight in classifier.get_weights()]
    again = tfopt.convert(classifier, representative_data=digits[0][0], validation_data=digits[1], runs=5)
    assert again.tflite == converted.tflite
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_subclassed_model_with_given_shape():
    class Small(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, name="head")

        def call(self, inputs):
            return self.dense(keras.ops.relu(inputs))

    keras.utils.set_random_seed(0)
    data = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    with pytest.raises(tfopt.ArgumentError, match="--input-shape"):
        tfopt.convert(Small(), representative_data=data)
    result = tfopt.convert(Small(), representative_data=data, input_shapes={"x": (1, 4)}, runs=3)
    assert result.check.passed, result.check.reasons
    assert tfopt.Interpreter(result.tflite).input_names == ["x"]


def test_endless_validation_data_are_refused(classifier, digits):
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices(digits[1]).batch(8).repeat()
    with pytest.raises(tfopt.DataError, match=r"must end.*\.take"):
        tfopt.convert(classifier, representative_data=endless.take(3), validation_data=endless, runs=3)


def test_names_that_tensorflow_would_refuse_are_kept():
    keras.utils.set_random_seed(0)
    source = keras.Input((4,), name="two words & more")
    model = keras.Model(source, keras.layers.Dense(2, name="score")(source))
    data = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    run = tfopt.Interpreter(tfopt.convert(model, representative_data=data, runs=3).tflite)
    assert (run.input_names, run.output_names) == (["two words & more"], ["score"])


def test_a_model_that_cannot_run_is_one_clear_error():
    class Picky(keras.layers.Layer):
        def call(self, inputs):
            if inputs.shape[0] is not None:
                raise RuntimeError("only without a batch size")
            return inputs

    model = keras.Sequential([keras.Input((3,)), Picky()])
    with pytest.raises(
        tfopt.ConversionError,
        match=r"float32\(1, 3\)\. Received: RuntimeError, in Picky\.call\(\): only without a batch size\. Call",
    ):
        tfopt.convert(model, quantization="float32")


def test_no_room_for_the_traced_model(classifier, digits, monkeypatch):
    import tensorflow as tf

    def save(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(tfopt.OutputError, match=r"No space left.*TMPDIR"):
        tfopt.convert(classifier, representative_data=digits[0][0])


def test_two_inputs_with_labels():
    keras.utils.set_random_seed(0)
    first, second = keras.Input((4,), name="b"), keras.Input((3,), name="a")
    model = keras.Model([first, second], keras.layers.Dense(3)(keras.layers.Concatenate()([first, second])))
    generator = np.random.default_rng(0)
    b, a = (generator.normal(size=(60, size)).astype("float32") for size in (4, 3))
    labels = np.asarray(model([b, a])).argmax(1)
    settings = Settings(quantization="float32", runs=1)

    def check(content, validation_data):
        """The check of a conversion without the conversion: the data are opened, paired and compared."""
        request = ConversionRequest(model=model, representative_data=(b, a), validation_data=validation_data, settings=settings)
        samples, origin = trace_with_data(model, request, ignore).samples_to_check()
        file = FileUnderTest(interpreter=tfopt.Interpreter(content), samples=samples, origin=origin)
        return compare(file, None, settings)

    result = tfopt.convert(model, representative_data=(b, a), validation_data=((b, a), labels), quantization="float32", runs=1)
    assert result.check.accuracy == 1.0 and result.check.samples == 60
    for data in ((b, a), {"a": a, "b": b}):
        for target in (labels, labels[:, None], np.eye(3)[labels]):
            assert check(result.tflite, (data, target)).accuracy == 1.0
    without = check(result.tflite, (b, a))
    assert without.accuracy is None and without.samples == 60


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((np.zeros(400), np.zeros(400)), "one array"),
        (np.full(400, "cat"), "class ids or one-hot"),
        ({"a": np.zeros(400)}, "one array"),
    ],
    ids=["tuple", "strings", "dict"],
)
def test_labels_that_cannot_be_used(classifier, digits, labels, words):
    with pytest.raises(tfopt.DataError, match=words):
        tfopt.convert(classifier, representative_data=digits[0][0], validation_data=(digits[1][0], labels))


def test_half_precision_models_are_rebuilt_under_float32():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16", name="half")])
    result = tfopt.convert(model, quantization="float32", runs=1)
    assert any("rebuilt under float32" in note for note in result.notes)
    x = np.ones((1, 4), "float32")
    np.testing.assert_allclose(tfopt.Interpreter(result.tflite)(x), model(x), atol=1e-2)


@pytest.mark.parametrize(
    "arguments",
    [{"quantization": "dynamic", "io": "uint8"}, {"input_shapes": {"image": (4, 8, 8, 1)}}, {"quantization": "int4"}],
    ids=["io", "batch", "quantization"],
)
def test_arguments_that_contradict_each_other(classifier, digits, arguments):
    with pytest.raises(tfopt.ArgumentError, match="Received: "):
        tfopt.convert(classifier, representative_data=digits[0][0], **arguments)


# The last two end the child process that all conversions of this process share.


def test_a_model_that_kills_the_converter_is_an_error_and_we_live_on():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 8)), keras.layers.LSTM(16, name="memory"), keras.layers.Dense(4)])
    data = np.random.default_rng(0).normal(size=(32, 20, 8)).astype("float32")
    with pytest.raises(tfopt.ConversionError, match=r"'convert to int8'.*SIG\w+.*Layers to suspect: memory \(LSTM\)"):
        tfopt.convert(model, representative_data=data, skip_lowering=("recurrent",))


def test_a_hanging_converter_is_ended(classifier, digits):
    with pytest.raises(tfopt.ConversionError, match=r"must end within 0\.01 s.*--timeout"):
        tfopt.convert(classifier, representative_data=digits[0][0], timeout=0.01)


@pytest.mark.parametrize("factor", [255.0, 1 / 255])
def test_representative_data_of_another_scale(factor):
    """Whatever the number of channels. Without validation data, which alone can show it, a note says so."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 2), name="image")
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(hidden))
    x = np.random.default_rng(0).random((60, 8, 8, 2), np.float32)
    blind = tfopt.convert(model, representative_data=x * factor, runs=1)
    assert any("wrong scale of these data cannot be seen" in note and "--validate" in note for note in blind.notes)
    seen = tfopt.convert(model, representative_data=x * factor, validation_data=x, runs=1)
    assert not any("cannot be seen" in note for note in seen.notes)
    assert any("no accuracy was measured" in note for note in seen.notes)
    assert any("255x off" in text for text in (seen.check.notes if seen.check.passed else seen.check.reasons))
    right = tfopt.convert(model, representative_data=x, validation_data=x, runs=1)
    assert not any("x off" in text for text in (*right.check.notes, *right.check.reasons))


def test_no_scale_is_missed_where_nothing_is_calibrated(classifier, digits):
    result = tfopt.convert(classifier, representative_data=digits[0][0][:50], quantization="float16", runs=1)
    assert not any("cannot be seen" in note for note in result.notes)


def test_names_of_tensors_are_those_of_the_model(classifier, digits):
    """The road through a child process puts the call of a function before each name; the command line does not."""
    result = tfopt.convert(classifier, representative_data=digits[0][0], samples=20, runs=1)
    names = [tensor.name for tensor in result.check.structure.tensors]
    assert not any("StatefulPartitionedCall/" in name for name in names)
    assert all(len(set(paths)) == len(paths) for paths in (name.split(";") for name in names))
