"""`compare` measures a file against its intentions; samples are read in full batches."""

import dataclasses

import keras
import numpy as np
import pytest
from fake_files import FakeFile
from seeded_models import to_int8

import tfopt
from tfopt.checking.comparison import FileUnderTest, batches, compare, spread_batches
from tfopt.checking.settings import CheckSettings
from tfopt.data.open_samples import open_samples
from tfopt.data.signature import TensorSpec

SPECS = [TensorSpec("x", (None, 2), "float32")]


def rows(count):
    return np.arange(2.0 * count, dtype="float32").reshape(count, 2)


def structure_of(content, **intended):
    file = FileUnderTest(interpreter=tfopt.Interpreter(content), samples=None, origin="", **intended)
    return compare(file, None, CheckSettings())


@pytest.fixture(scope="module")
def with_float_op():
    """An int8 file with one layer in float."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv3D(2, 3, name="volume"), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 6, 6, 1), name="x"), *layers])
    data = {"x": np.random.default_rng(0).random((20, 6, 6, 6, 1)).astype("float32")}
    return to_int8(model, data=data, skip=("three_dimensions",))


def test_structure_alone(converted):
    result = structure_of(converted.tflite)
    assert result.passed and result.reasons == () and result.structure.quantization == "int8"
    assert result.samples == 0 and result.data == "no data" and result.accuracy is result.reference_accuracy is None
    assert result.notes == ("only the structure was checked: no data were given",)


def test_another_quantization_than_intended_fails(converted):
    result = structure_of(converted.tflite, quantization="dynamic")
    assert result.reasons == ("the file should be dynamic, but it is int8",)


def test_a_float_op_fails_with_the_name_of_its_layer_unless_it_is_allowed(with_float_op):
    reason = "the int8 model holds a float CONV_3D op of layer 'volume'"
    failed = structure_of(with_float_op, layer_names=("volume",))
    assert not failed.passed and reason in failed.reasons
    allowed = structure_of(with_float_op, layer_names=("volume",), allow_float=True)
    assert allowed.passed and reason in allowed.notes
    nameless = structure_of(with_float_op)
    assert any(reason.startswith("the int8 model holds a float CONV_3D op (tensor ") for reason in nameless.reasons)


def test_progress_counts_the_samples(converted, digits):
    samples = open_samples(digits[1][0][:7], [TensorSpec("image", (None, 8, 8, 1), "float32")], labels=digits[1][1][:7])
    seen = []
    file = FileUnderTest(interpreter=tfopt.Interpreter(converted.tflite), samples=samples, origin="seven digits")
    result = compare(file, None, CheckSettings(), seen.append)
    assert seen == [{"stage": "check", "done": done + 1, "total": 7} for done in range(7)]
    assert result.samples == 7 and result.data == "seven digits" and result.outputs == ()
    assert result.accuracy is not None and result.reference_accuracy is None and result.accuracy_drop is None


def test_samples_that_never_end_are_refused(converted):
    samples = dataclasses.replace(open_samples(rows(3), SPECS), endless=True)
    file = FileUnderTest(interpreter=tfopt.Interpreter(converted.tflite), samples=samples, origin="")
    with pytest.raises(tfopt.DataError, match=r"must end. Received: arrays in memory, which repeats forever\. Add `\.take"):
        compare(file, None, CheckSettings())


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_the_last_sample_fills_up_the_last_batch(count):
    file, x = FakeFile({"x": (4, 2)}), rows(count)
    stream = enumerate(open_samples(x, SPECS, labels=np.arange(count)).read())
    found = list(batches(file, stream))
    assert [list(labels) for _, labels in found] == [list(range(count))[start : start + 4] for start in range(0, count, 4)]
    padded = np.concatenate([arrays["x"] for arrays, _ in found])
    np.testing.assert_array_equal(padded, x[np.minimum(np.arange(len(padded)), count - 1)])
    assert len(padded) % 4 == 0


def test_a_few_samples_are_spread_over_the_data():
    file, x = FakeFile({"x": (2, 2)}), rows(101)
    for data, chosen in ((x, [0, 25, 50, 75, 100]), (lambda: iter(x), [0, 1, 2, 3, 4])):  # a generator's length is not known
        found = list(spread_batches(file, open_samples(data, SPECS), 5))
        assert [count for _, count in found] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate([arrays["x"] for arrays, _ in found])[:5], x[chosen])
    assert [count for _, count in spread_batches(file, open_samples(x[:3], SPECS), 64)] == [2, 1], "all, if there are fewer"
