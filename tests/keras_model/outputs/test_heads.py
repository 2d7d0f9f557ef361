"""Models without their last softmax or sigmoid, and models that return the parts of their last concatenation."""

import keras
import numpy as np
import pytest
import tf_keras

import tfopt
from tfopt.data.signature import output_names
from tfopt.keras_model.outputs.heads import split_concatenations, without_last_activation

X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


HEADS = {
    "layer": (lambda L, ops: lambda x: L.Softmax(name="y")(L.Dense(4)(x)), softmax),
    "activation of a Dense": (lambda L, ops: L.Dense(4, activation="softmax", name="y"), softmax),
    "Activation": (lambda L, ops: lambda x: L.Activation("sigmoid", name="y")(L.Dense(1)(x)), sigmoid),
    "sigmoid of a Dense": (lambda L, ops: L.Dense(1, activation="sigmoid", name="y"), sigmoid),
}


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
@pytest.mark.parametrize("head", HEADS)
def test_logits(kind, head):
    make, squash = HEADS[head]
    source = kind.Input((6,))
    model = kind.Model(source, make(kind.layers, None)(kind.layers.Dense(5, activation="tanh")(source)))
    wanted = model.predict(X, verbose=0)
    changed, (note,) = without_last_activation(model, output_names(model))
    np.testing.assert_allclose(squash(changed.predict(X, verbose=0)), wanted, atol=1e-6)
    assert output_names(changed) == ["y_logits"] and "'y_logits' holds logits" in note and squash.__name__ in note
    np.testing.assert_array_equal(model.predict(X, verbose=0), wanted)
    assert output_names(model) == ["y"]


def test_logits_of_an_operation_and_of_a_sequential_model():
    source = keras.Input((6,))
    model = keras.Model(source, keras.ops.softmax(keras.layers.Dense(4)(source)))
    changed, _ = without_last_activation(model, output_names(model))
    np.testing.assert_allclose(softmax(changed.predict(X, verbose=0)), model.predict(X, verbose=0), atol=1e-6)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="softmax", name="digit")])
    changed, _ = without_last_activation(model, output_names(model))
    np.testing.assert_allclose(softmax(changed.predict(X, verbose=0)), model.predict(X, verbose=0), atol=1e-6)
    assert output_names(changed) == ["digit_logits"]


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
def test_parts_of_a_concatenation_beside_another_output(kind):
    source = kind.Input((6,))
    parts = [kind.layers.Dense(4, name="boxes")(source), kind.layers.Dense(3, activation="sigmoid", name="scores")(source)]
    other = kind.layers.Dense(2, name="other")(source)
    model = kind.Model(source, [other, kind.layers.Concatenate(name="found")(parts)])
    wanted = model.predict(X, verbose=0)
    changed, (note,) = split_concatenations(model, output_names(model))
    assert output_names(changed) == ["other", "found_boxes", "found_scores"]
    assert "concatenated along axis -1" in note
    first, *found = changed.predict(X, verbose=0)
    np.testing.assert_allclose(first, wanted[0], atol=1e-6)
    np.testing.assert_allclose(np.concatenate(found, -1), wanted[1], atol=1e-6)
    both, notes = without_last_activation(changed, output_names(changed))
    assert output_names(both) == ["other", "found_boxes", "found_scores_logits"] and len(notes) == 1


def test_outputs_in_a_dict_keep_their_names():
    source = keras.Input((6,))
    model = keras.Model(
        source, {"b": keras.layers.Dense(2, activation="softmax")(source), "a": keras.layers.Dense(3, name="plain")(source)}
    )
    changed, _ = without_last_activation(model, output_names(model))
    assert output_names(changed) == ["a", "b_logits"]
    first, second = changed.predict(X, verbose=0)
    assert first.shape == (5, 3) and second.shape == (5, 2)


def test_models_without_such_an_end_are_refused():
    source = keras.Input((6,))
    model = keras.Model(source, keras.layers.Dense(2, name="plain")(source))
    with pytest.raises(tfopt.ArgumentError, match="`logits` needs an output that a Softmax layer.*Received: outputs of .*plain"):
        without_last_activation(model, output_names(model))
    with pytest.raises(tfopt.ArgumentError, match="`split_outputs` needs an output that a Concatenate layer computes.*plain"):
        split_concatenations(model, output_names(model))
