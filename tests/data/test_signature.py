"""Inputs and outputs of models of both Keras generations: names, order, dtypes, and sizes that are left open."""

import importlib

import numpy as np
import pytest

import tfopt
from tfopt.data.signature import TensorSpec, fix_sizes, input_specs, output_names


@pytest.fixture(params=["keras", "tf_keras"])
def framework(request):
    return importlib.import_module(request.param)


def functional(framework):
    image = framework.Input((8, 8, 1), name="image")
    return framework.Model(image, framework.layers.Dense(3, name="digit")(framework.layers.Flatten()(image)))


def sequential(framework):
    return framework.Sequential([framework.Input((4,), name="row"), framework.layers.Dense(3, name="digit")])


def sequential_without_input(framework):
    model = framework.Sequential([framework.layers.Dense(5, name="first"), framework.layers.Dense(3, name="digit")])
    model.build((None, 4))
    return model


def two_tensors(framework):
    return framework.Input((4,), name="zeta"), framework.Input((None, 3), dtype="int32", name="alpha")


def multi_input(framework):
    zeta, alpha = two_tensors(framework)
    pooled = framework.layers.GlobalMaxPooling1D(name="small")(framework.layers.Rescaling(0.1)(alpha))
    return framework.Model([zeta, alpha], [framework.layers.Dense(2, name="wide")(zeta), pooled])


def dict_input(framework):
    zeta, alpha = two_tensors(framework)
    outputs = {"second": framework.layers.Dense(2, name="p")(zeta), "first": framework.layers.Rescaling(0.1, name="q")(alpha)}
    return framework.Model({"zeta": zeta, "alpha": alpha}, list(outputs.values()))


def dict_input_of_one(framework):
    row = framework.Input((4,), name="row")
    return framework.Model({"row": row}, framework.layers.Dense(2, name="digit")(row))


def fixed_batch(framework):
    row = framework.Input(shape=(4,), batch_size=2, name="row")
    return framework.Model(row, framework.layers.Dense(2, name="digit")(row))


def nested(framework):
    row = framework.Input((4,), name="row")
    return framework.Model(row, framework.Sequential([framework.layers.Dense(2, name="inner")], name="body")(row))


MODELS = {
    functional: (["image float32(?, 8, 8, 1)"], ["digit"]),
    sequential: (["row float32(?, 4)"], ["digit"]),
    multi_input: (["zeta float32(?, 4)", "alpha int32(?, ?, 3)"], ["wide", "small"]),
    dict_input: (["alpha int32(?, ?, 3)", "zeta float32(?, 4)"], ["p", "q"]),
    dict_input_of_one: (["row float32(?, 4)"], ["digit"]),
    fixed_batch: (["row float32(2, 4)"], ["digit"]),
    nested: (["row float32(?, 4)"], ["body"]),
}


@pytest.mark.parametrize(
    ("build", "inputs", "outputs"), [(build, *names) for build, names in MODELS.items()], ids=[build.__name__ for build in MODELS]
)
def test_names_shapes_and_dtypes_in_the_order_of_the_model(build, inputs, outputs, framework):
    model = build(framework)
    assert [str(spec) for spec in input_specs(model)] == inputs
    assert output_names(model) == outputs


def test_a_sequential_model_without_an_input_layer(framework):
    """Keras makes the input's name up."""
    (spec,) = input_specs(sequential_without_input(framework))
    assert (spec.shape, spec.dtype) == ((None, 4), "float32") and spec.name
    assert output_names(sequential_without_input(framework)) == ["digit"]


def test_names_of_dict_outputs_belong_to_their_tensors(framework):
    row = framework.Input((4,), name="row")
    units = {"two": 2, "three": 3, "five": 5}
    model = framework.Model(row, {name: framework.layers.Dense(size, name=name)(row) for name, size in units.items()})
    names = output_names(model)
    assert sorted(names) == sorted(units)
    assert [units[name] for name in names] == [tensor.shape[-1] for tensor in model.outputs]


def test_outputs_of_a_shared_layer_have_names_of_their_own(framework):
    row, layer = framework.Input((4,), name="row"), framework.layers.Dense(4, name="shared")
    names = output_names(framework.Model(row, [layer(row), layer(layer(row))]))
    assert len(names) == len(set(names)) == 2


def test_names_hold_no_slash():
    tf_keras = importlib.import_module("tf_keras")
    row = tf_keras.Input((4,), name="scope/row")
    assert [spec.name for spec in input_specs(tf_keras.Model(row, tf_keras.layers.Dense(2)(row)))] == ["scope_row"]


def subclassed(framework):
    class Model(framework.Model):
        def __init__(self):
            super().__init__()
            self.dense = framework.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    return Model()


def subclassed_and_called(framework):
    model = subclassed(framework)
    model(np.zeros((1, 4), "float32"))
    return model


def sequential_never_built(framework):
    return framework.Sequential([framework.layers.Dense(2)])


@pytest.mark.parametrize("build", [subclassed, subclassed_and_called, sequential_never_built])
def test_models_that_name_no_inputs_need_their_shapes(build, framework):
    model = build(framework)
    with pytest.raises(tfopt.ArgumentError) as caught:
        input_specs(model)
    assert "Received:" in str(caught.value) and "--input-shape" in str(caught.value) and "input_shapes=" in str(caught.value)
    assert input_specs(model, {"row": (1, 4)}) == [TensorSpec("row", (1, 4), "float32")]
    assert output_names(model) is None


@pytest.mark.parametrize("shape", [(), (1, 0), (1, -4)], ids=["empty", "zero", "negative"])
def test_shapes_of_a_subclassed_model_must_be_possible(shape, framework):
    with pytest.raises(tfopt.ArgumentError, match="Received:"):
        input_specs(subclassed(framework), {"row": shape})


def open_image(framework):
    image = framework.Input((None, None, 3), name="image")
    return framework.Model(image, framework.layers.GlobalAveragePooling2D()(image))


@pytest.mark.parametrize("batch", [None, 4], ids=lambda batch: f"batch {batch}")
def test_input_shapes_fill_open_sizes(batch, framework):
    specs = input_specs(open_image(framework), {"image": [batch, 16, 24, 3]})
    assert fix_sizes(specs, 4) == [TensorSpec("image", (4, 16, 24, 3), "float32")]


def test_input_shapes_of_another_batch_size(framework):
    specs = input_specs(open_image(framework), {"image": [7, 16, 24, 3]})
    with pytest.raises(tfopt.ArgumentError, match="must be 7, .* Received: 4"):
        fix_sizes(specs, 4)


def test_samples_fill_open_sizes(framework):
    specs = input_specs(open_image(framework), {"image": (1, 16, None, 3)})
    assert fix_sizes(specs, 1, {"image": (99, 24, 3)}) == [TensorSpec("image", (1, 16, 24, 3), "float32")]


def test_known_sizes_are_not_taken_from_samples():
    specs = [TensorSpec("image", (None, 8, 8, 1), "float32"), TensorSpec("ids", (None, None), "int32")]
    assert fix_sizes(specs, 2, {"image": (9, 9, 1), "ids": (20,)}) == [
        TensorSpec("image", (2, 8, 8, 1), "float32"),
        TensorSpec("ids", (2, 20), "int32"),
    ]


@pytest.mark.parametrize(
    ("shape", "samples", "example"),
    [
        ((None, None, None, 3), None, "x=1,32,32,3"),
        ((None, 16, None, 3), None, "x=1,16,32,3"),
        ((None, None), {}, "x=1,32"),
        ((None, None, 3), {"x": (20, 20, 3)}, "x=1,32,3"),
    ],
    ids=["no samples", "one open", "no sample of it", "sample of another rank"],
)
def test_sizes_that_nobody_gave_are_asked_for_with_an_example(shape, samples, example):
    with pytest.raises(tfopt.ArgumentError) as caught:
        fix_sizes([TensorSpec("x", shape, "float32")], 1, samples)
    message = str(caught.value)
    assert "Received:" in message and f"--input-shape {example}" in message
    assert f"input_shapes={{'x': ({example.removeprefix('x=')})}}" in message


def test_a_batch_size_that_the_model_prescribes(framework):
    specs = input_specs(fixed_batch(framework))
    assert fix_sizes(specs, 2) == specs
    with pytest.raises(tfopt.ArgumentError, match=r"must be 2, .* Received: 1"):
        fix_sizes(specs, 1)


@pytest.mark.parametrize(
    ("shapes", "received"),
    [
        ({"picture": (1, 16, 16, 3)}, r"\['picture'\]"),
        ({"image": (16, 16, 3)}, r"\(16, 16, 3\)"),
        ({"image": (1, 16, 16, 1)}, r"\(1, 16, 16, 1\)"),
        ({"image": (1, 0, 16, 3)}, r"\(1, 0, 16, 3\)"),
        ({"image": (1, 16, -1, 3)}, r"\(1, 16, -1, 3\)"),
        ({"image": ()}, r"\(\)"),
    ],
    ids=["unknown name", "no batch", "another size", "zero", "negative", "empty"],
)
def test_input_shapes_must_fit_the_model(shapes, received, framework):
    with pytest.raises(tfopt.ArgumentError, match=f"Received: {received}") as caught:
        input_specs(open_image(framework), shapes)
    assert "image" in str(caught.value)


def test_an_input_of_any_shape_is_refused_by_name():
    import tf_keras

    any_shape = tf_keras.layers.InputLayer(name="anything").output
    with pytest.raises(tfopt.ArgumentError, match="'anything', a tensor of any shape"):
        input_specs(tf_keras.Model(any_shape, tf_keras.layers.ReLU()(any_shape)))
