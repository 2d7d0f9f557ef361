"""The calls of a model, made again as they were and with other layers."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

from tfopt.errors import ArgumentError
from tfopt.keras_model.functional_graph import Graph, is_functional


def functional():
    """A model with a shared layer, a nested model, a bare operation, and inputs and outputs that are dicts."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = layers.Dense(4, activation="relu", name="shared")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="deep"), layers.BatchNormalization()], name="inner")
    total = shared(left) + inner(shared(right))
    return keras.Model({"left": left, "right": right}, {"total": total, "last": layers.Dense(2, name="last")(total)}, name="net")


@pytest.fixture(scope="module")
def model():
    return functional()


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(3, 4)).astype("float32") for name in ("left", "right")}


def names(calls):
    return [call.layer.name.rstrip("_0123456789") for call in calls]


def test_calls_are_listed_on_copies(model):
    graph = Graph(model)
    assert sorted(names(graph.calls)) == ["add", "inner", "last", "shared", "shared"]
    made_before = {id(tensor) for call in graph.calls for tensor in keras.tree.flatten(call.outputs)}
    assert {id(tensor) for tensor in graph.calls[-1].inputs} <= made_before
    own = {id(layer) for layer in model.layers}
    for call in graph.calls:
        assert id(call.layer) not in own
        assert graph.origins[id(call.layer)].name == call.layer.name


def test_a_replay_computes_the_same_with_weights_of_its_own(model, inputs):
    made = Graph(model).replay(lambda layer: None)
    assert made.name == "net" and set(made.input) == {"left", "right"} and set(made.output) == {"total", "last"}
    for name, value in model(inputs).items():
        np.testing.assert_array_equal(made(inputs)[name], value)
    made.get_layer("shared").kernel.assign(np.zeros((4, 4)))
    assert model.get_layer("shared").kernel.numpy().any()


def test_other_layers_calls_and_contexts(model, inputs):
    asked, entered = [], []

    def make(layer):
        asked.append(layer.name)
        return layers.Dense(2, use_bias=False, kernel_initializer="ones", name="last") if layer.name == "last" else None

    def call(each, layer, args, kwargs):
        outputs = layer(*args, **kwargs)
        return 2.0 * outputs if each.layer.name == "last" else outputs

    made = Graph(model).replay(
        make,
        begin=lambda tensor, name: tensor * 0.0 if name == "left" else tensor,
        call=call,
        around=lambda each: contextlib.nullcontext(entered.append(each.layer.name)),
    )
    assert asked.count("shared") == 1 and entered.count("shared") == 2  # one layer, two calls
    total = model({**inputs, "left": 0 * inputs["left"]})["total"].numpy()
    found = made(inputs)
    np.testing.assert_allclose(found["total"], total, rtol=1e-6)
    np.testing.assert_allclose(found["last"], np.repeat(2 * total.sum(axis=1, keepdims=True), 2, axis=1), rtol=1e-5)


def test_frozen_layers_stay_frozen():
    model = functional()
    model.get_layer("inner").get_layer("deep").trainable = False
    made = Graph(model).replay(lambda layer: None)
    assert [layer.trainable for layer in made.get_layer("inner").layers] == [False, True]


def test_the_only_call_that_takes_a_tensor():
    source = keras.Input((4,))
    first = layers.Dense(4, name="first")(source)
    dropped = layers.Dropout(0.1, name="dropout")(first)
    model = keras.Model(source, [layers.ReLU(name="relu")(dropped), layers.Dense(2, name="a")(source)])
    graph = Graph(model)
    calls = {call.layer.name: call for call in graph.calls}
    assert graph.sole_consumer(calls["first"].outputs) is calls["dropout"]
    assert graph.sole_consumer(calls["first"].outputs, ("Dropout",)) is calls["relu"]
    assert graph.sole_consumer(calls["relu"].outputs) is None  # an output of the model
    assert graph.sole_consumer(calls["first"].inputs[0]) is None  # two layers take it


def test_models_whose_calls_can_be_listed(model):
    class Net(keras.Model):
        def call(self, x):
            return x

    sequential = keras.Sequential([layers.Dense(2)])
    assert is_functional(model) and not is_functional(sequential) and not is_functional(layers.Dense(2))
    sequential.build((None, 4))
    assert is_functional(sequential) and not is_functional(Net())
    made = Graph(sequential).replay(lambda layer: None)
    np.testing.assert_array_equal(made(np.ones((1, 4))), sequential(np.ones((1, 4))))


def test_a_layer_without_a_configuration_is_named():
    class Scaled(layers.Layer):
        def __init__(self, factor):
            super().__init__(name="scaled")
            self.factor = factor

        def call(self, x):
            return x * self.factor

    model = keras.Sequential([keras.Input((4,)), Scaled(np.ones(4, "float32"))])
    with pytest.raises(ArgumentError, match=r"classes need `get_config`. Received: scaled \(Scaled\) in sequential.*: "):
        Graph(model)
