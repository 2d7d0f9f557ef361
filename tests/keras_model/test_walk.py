"""Every layer of a model is found once, whatever it is nested or wrapped in."""

import importlib

import numpy as np
import pytest

from tfopt.keras_model.describe import describe
from tfopt.keras_model.ends import input_scaling
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk_layers


@pytest.fixture(params=["keras", "tf_keras"])
def framework(request):
    return importlib.import_module(request.param)


def dense(framework, name):
    return framework.layers.Dense(4, name=name)


def flat(framework):
    row = framework.Input((4,), name="row")
    return framework.Model(row, dense(framework, "second")(dense(framework, "first")(row)))


def nested(framework):
    inner = framework.Sequential([dense(framework, "inner")], name="middle")
    row, other = framework.Input((4,), name="row"), framework.Input((4,), name="other")
    outer = framework.Model(other, inner(dense(framework, "before")(other)), name="outer")
    return framework.Model(row, dense(framework, "after")(outer(row)))


def shared(framework):
    row, layer = framework.Input((4,), name="row"), dense(framework, "shared")
    return framework.Model(row, layer(layer(dense(framework, "first")(row))))


def shared_by_two_models(framework):
    row, layer = framework.Input((4,), name="row"), dense(framework, "shared")
    left = framework.Sequential([layer], name="left")
    right = framework.Sequential([layer, dense(framework, "own")], name="right")
    return framework.Model(row, right(left(row)))


def time_distributed(framework):
    rows = framework.Input((5, 4), name="rows")
    inner = framework.Sequential([framework.Input((4,)), dense(framework, "inner")], name="body")
    return framework.Model(rows, framework.layers.TimeDistributed(inner, name="each")(rows))


def bidirectional(framework):
    rows = framework.Input((5, 4), name="rows")
    cell = framework.layers.SimpleRNNCell(3, name="cell")
    return framework.Model(rows, framework.layers.Bidirectional(framework.layers.RNN(cell, name="rnn"), name="both")(rows))


def stacked_cells(framework):
    rows = framework.Input((5, 4), name="rows")
    cells = [framework.layers.SimpleRNNCell(3, name="lower"), framework.layers.SimpleRNNCell(2, name="upper")]
    return framework.Model(rows, framework.layers.RNN(cells, name="rnn")(rows))


def subclassed(framework):
    class Model(framework.Model):
        def __init__(self):
            super().__init__()
            self.first = dense(framework, "first")
            self.body = framework.Sequential([dense(framework, "inner")], name="body")
            self.more = [dense(framework, "third"), dense(framework, "fourth")]

        def call(self, inputs):
            for layer in (self.first, self.body, *self.more):
                inputs = layer(inputs)
            return inputs

    return Model()


MODELS = {
    flat: ["first", "second"],
    nested: ["outer", "before", "middle", "inner", "after"],
    shared: ["first", "shared"],
    shared_by_two_models: ["left", "shared", "right", "own"],
    time_distributed: ["each", "body", "inner"],
    # Keras builds and runs two copies of the layer that it was given, not that layer itself.
    bidirectional: ["both", "forward_rnn", "cell", "backward_rnn", "cell"],
    stacked_cells: ["rnn", "lower", "upper"],
    subclassed: ["first", "body", "inner", "third", "fourth"],
}


@pytest.mark.parametrize(("build", "names"), MODELS.items(), ids=[build.__name__ for build in MODELS])
def test_walk_finds_every_layer_once_and_depth_first(build, names, framework):
    model = build(framework)
    layers = list(walk_layers(model))
    assert model not in layers and len({id(layer) for layer in layers}) == len(layers)
    passive = ("InputLayer", "StackedRNNCells")
    assert [layer.name for layer in layers if type(layer).__name__ not in passive] == names


def test_walk_does_not_change_the_model(framework):
    model = nested(framework)
    before = model.to_json(), [id(variable) for variable in model.variables]
    layers = list(walk_layers(model))
    assert [id(layer) for layer in walk_layers(model)] == [id(layer) for layer in layers]
    assert (model.to_json(), [id(variable) for variable in model.variables]) == before


def test_layers_are_named_with_their_kind(framework):
    assert describe(dense(framework, "digit")) == "digit (Dense)"


def rescaling(framework):
    return framework.layers.Rescaling(1 / 255, name="scaling")


def normalization(framework):
    return framework.layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3, name="scaling")


def sequential(framework, *layers):
    return framework.Sequential([framework.Input((4, 4, 3)), *layers])


def functional(framework, *layers):
    image = outputs = framework.Input((4, 4, 3))
    for layer in layers:
        outputs = layer(outputs)
    return framework.Model(image, outputs)


@pytest.mark.parametrize("make", [rescaling, normalization])
@pytest.mark.parametrize("build", [sequential, functional])
def test_input_scaling_is_found_where_it_comes_first(build, make, framework):
    layer = make(framework)
    assert input_scaling(build(framework, layer, framework.layers.Flatten())) is layer
    inner = build(framework, layer, framework.layers.Flatten())
    assert input_scaling(build(framework, inner)) is layer
    assert input_scaling(build(framework, build(framework, inner), framework.layers.Flatten())) is layer


@pytest.mark.parametrize("make", [rescaling, normalization])
@pytest.mark.parametrize("build", [sequential, functional])
def test_input_scaling_is_none_where_it_comes_later_or_never(build, make, framework):
    pooling = framework.layers.MaxPooling2D(2)
    assert input_scaling(build(framework, pooling)) is None
    assert input_scaling(build(framework, pooling, make(framework))) is None
    assert input_scaling(build(framework, build(framework, framework.layers.ReLU()), make(framework))) is None


def test_the_first_of_two_scaling_layers_counts(framework):
    first, second = rescaling(framework), framework.layers.Rescaling(2.0, name="second")
    assert input_scaling(sequential(framework, first, second)) is first


def test_replaced_attributes_reach_nested_layers_and_leave_nothing_behind(framework):
    inner = framework.Sequential([framework.layers.Dense(4, name="inner")])
    row = framework.Input((4,))
    model = framework.Model(row, inner(row))
    x = np.ones((2, 4), "float32")
    before, layer = model(x).numpy(), inner.layers[-1]
    with (
        pytest.raises(ZeroDivisionError),
        replaced_attributes({layer: {"call": lambda inputs: 0 * inputs + 7, "activation": None}}),
    ):
        assert (model(x).numpy() == 7).all()
        1 / 0  # noqa: B018
    np.testing.assert_array_equal(model(x), before)
    assert "call" not in vars(layer) and layer.activation is not None
