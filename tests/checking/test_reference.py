"""The inputs and outputs of a reference are matched with those of a file, whatever their names and order."""

import keras
import numpy as np
import pytest
from exported import tflite_of
from fake_files import FakeFile

import tfopt
from tfopt.checking.reference import bind_keras, interpreter_specs, open_reference, run_keras, run_tflite
from tfopt.data.signature import TensorSpec
from tfopt.loading.options import LoadOptions

RNG = np.random.default_rng(0)


def two_inputs(left, right, sizes=(3, 3), swapped=False):
    """left + 10 right, of two inputs with these names."""
    first, second = keras.Input((sizes[0],), name=left), keras.Input((sizes[1],), name=right)
    total = keras.ops.sum(first, -1, keepdims=True) + 10 * keras.ops.sum(second, -1, keepdims=True)
    return keras.Model([second, first] if swapped else [first, second], total)


def file_of(sizes=(3, 3), batch_size=1):
    return FakeFile({"left": (batch_size, sizes[0]), "right": (batch_size, sizes[1])}, {"total": (batch_size, 1)})


@pytest.mark.parametrize(
    ("model", "sizes", "pairs"),
    [
        (two_inputs("left", "right"), (3, 3), {"left": "left", "right": "right"}),
        (two_inputs("left", "right", swapped=True), (3, 3), {"left": "left", "right": "right"}),
        (two_inputs("a", "b"), (3, 3), {"left": "a", "right": "b"}),
        (two_inputs("a", "b", (2, 3), swapped=True), (2, 3), {"left": "a", "right": "b"}),
        (two_inputs("a", "b", (None, 3)), (2, 3), {"left": "a", "right": "b"}),
    ],
    ids=["names", "names in another order", "order", "shapes", "open sizes"],
)
def test_inputs_are_paired(model, sizes, pairs):
    bound = bind_keras(model, file_of(sizes, batch_size=2))
    assert bound.pairs == pairs
    assert {spec.name: spec.shape for spec in bound.specs} == {pairs["left"]: (2, sizes[0]), pairs["right"]: (2, sizes[1])}
    batch = {"left": RNG.normal(size=(2, sizes[0])), "right": RNG.normal(size=(2, sizes[1]))}
    (total,) = run_keras(bound, file_of(sizes, batch_size=2))(batch)
    np.testing.assert_allclose(total[:, 0], batch["left"].sum(1) + 10 * batch["right"].sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (two_inputs("a", "b", (4, 4)), "must be those of the file"),
        (keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), "as many inputs as the file, 2. Received: 1"),
    ],
    ids=["shapes", "number"],
)
def test_inputs_that_cannot_be_paired(model, words):
    with pytest.raises(tfopt.DataError, match=words):
        bind_keras(model, file_of())


def test_outputs_are_put_in_the_files_order():
    source = keras.Input((2,), name="x")
    model = keras.Model(source, [keras.layers.Identity(name=name)(factor * source) for name, factor in (("a", 1.0), ("b", 2.0))])
    x = RNG.normal(size=(1, 2)).astype("float32")
    for names, factors in ((("b", "a"), (2, 1)), (("other", "names"), (1, 2))):
        file = FakeFile({"x": (1, 2)}, dict.fromkeys(names, (1, 2)))
        outputs = run_keras(bind_keras(model, file), file)({"x": x})
        for output, factor in zip(outputs, factors, strict=True):
            np.testing.assert_allclose(output, factor * x, rtol=1e-6)


def test_another_file_is_paired_in_the_same_way():
    other = FakeFile(
        {"right": (1, 3), "left": (1, 3)}, {"b": (1, 1), "a": (1, 1)}, lambda arrays: [arrays["right"], arrays["left"]]
    )
    file = FakeFile({"left": (1, 3), "right": (1, 3)}, {"a": (1, 1), "b": (1, 1)})
    left, right = np.zeros((1, 3)), np.ones((1, 3))
    outputs = run_tflite(other, file)({"left": left, "right": right})
    assert outputs[0] is left and outputs[1] is right


def test_quantized_inputs_take_real_values(converted):
    file = tfopt.Interpreter(converted.tflite)
    assert file.graph.tensors[file.input_indices[0]].dtype == "int8"
    assert interpreter_specs(file) == [TensorSpec("image", (1, 8, 8, 1), "float32")]


def test_a_reference_is_opened_by_what_it_is(converted, classifier, model_files, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted.tflite)
    options = LoadOptions()
    assert open_reference(None, options, 1) is None and open_reference(classifier, options, 1).model is classifier
    for file in (converted.tflite, bytearray(converted.tflite), tmp_path / "model.tflite", str(tmp_path / "model.tflite")):
        assert isinstance(open_reference(file, options, 1), tfopt.Interpreter)
    assert open_reference(model_files / "keras3.keras", options, 1).model.count_params() == classifier.count_params()
    with pytest.raises(tfopt.ArgumentError, match="must be a Keras model or a path. Received: int"):
        open_reference(3, options, 1)


def test_a_check_pairs_inputs_of_another_order():
    model = two_inputs("left", "right")
    content = tflite_of(model, quantization="float32")
    data = {name: RNG.normal(size=(8, 3)).astype("float32") for name in ("left", "right")}
    for reference in (model, two_inputs("left", "right", swapped=True), content):
        assert tfopt.check(content, reference=reference, data=data).outputs[0].sqnr > 100
