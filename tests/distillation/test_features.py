"""`Features`: outputs of layers wherever they are in a model, and the model is afterwards as it was."""

import threading

import keras
import numpy as np
import pytest
from keras import layers
from small_distillers import X, net

import tfopt
from tfopt.distillation.features import Features, find_layer


def nested():
    return keras.Sequential([keras.Input((8, 8, 3)), net(4, "inner"), layers.Dense(2, name="head")], name="outer")


def test_outputs_of_layers_in_nested_models():
    model = nested()
    inner = model.get_layer("inner")
    outputs, found = Features(model, ["inner/relu", "class", "head"])(X[:3], training=False)
    np.testing.assert_allclose(outputs, model(X[:3]), atol=1e-6)
    assert set(found) == {"inner/relu", "class", "head"} and found["head"] is outputs
    expected = keras.Model(inner.input, inner.get_layer("relu").output)(X[:3])
    np.testing.assert_allclose(found["inner/relu"], expected, atol=1e-6)
    assert all("call" not in vars(layer) for layer in (*model.layers, *inner.layers))


def test_a_failing_call_leaves_the_layers_as_they_were():
    model = nested()
    with pytest.raises(ValueError):
        Features(model, ["head"])(X[:2, :4], training=False)
    assert "call" not in vars(model.get_layer("head"))


def test_threads_keep_their_outputs_apart():
    model = net(4, "net")
    features, seen = Features(model, ["class"]), {}

    def call(count):
        for _ in range(5):
            outputs, found = features(X[:count], training=False)
            seen.setdefault(count, []).append(found["class"] is outputs and len(outputs) == count)

    threads = [threading.Thread(target=call, args=(count,)) for count in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {count: [True] * 5 for count in (1, 2, 3)}
    assert "call" not in vars(model.get_layer("class"))


def test_the_outermost_layer_of_a_name_is_meant_and_others_by_their_path():
    model = keras.Sequential([keras.Input((8, 8, 3)), net(4, "inner"), layers.Dense(2, name="class")], name="outer")
    assert find_layer(model, "class") is model.layers[-1]
    assert find_layer(model, "inner/class") is model.get_layer("inner").layers[-1]


@pytest.mark.parametrize(("name", "hint"), [("hed", "Closest: head"), (3, "There are: inner, head"), ("x", "There are: inner")])
def test_names_that_the_model_does_not_have(name, hint):
    with pytest.raises(tfopt.ArgumentError, match=f"must be one of 'outer'. Received: {name!r}. {hint}"):
        find_layer(nested(), name)
