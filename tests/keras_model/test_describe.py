"""The names of layers in messages."""

import keras
import pytest

from tfopt.keras_model.describe import crash_suspects, describe, layer_path, told_by


def test_layers_are_named_with_their_class(framework):
    assert describe(framework.layers.Dense(4, name="digit")) == "digit (Dense)"


def test_paths_join_the_names_from_the_outside_in(framework):
    inner = framework.layers.Dense(4, name="inner")
    outer = framework.Sequential([framework.Input((4,)), inner], name="outer")
    assert layer_path((outer, inner)) == "outer/inner"
    assert layer_path((inner,)) == "inner"
    own = framework.layers.TimeDistributed(inner, name="each")
    assert layer_path((own, inner)) == "each/inner"
    alike = framework.layers.TimeDistributed(framework.layers.Dense(4, name="each"), name="each")
    assert layer_path((alike, alike.layer)) == "each"  # a wrapper with the name of its layer is left out


class Own(keras.layers.Layer):
    pass


@pytest.mark.parametrize(
    "layers, suspects",
    [
        ([keras.layers.Dense(2, name="a"), Own(name="own"), keras.layers.GRU(2, name="gru")], ["gru (GRU)"]),
        ([keras.layers.Dense(2, name="a"), Own(name="own")], ["own (Own)"]),
        ([keras.layers.ReLU(), keras.layers.Dense(2, name="a"), keras.layers.Dense(2, name="b")], ["Dense", "ReLU"]),
    ],
    ids=["recurrent", "own", "classes"],
)
def test_layers_to_name_when_the_converter_crashes(layers, suspects):
    assert crash_suspects(iter(layers)) == suspects


def test_what_a_layer_raises_is_told_without_the_text_around_it():
    class Gate(keras.layers.Layer):
        def call(self, x):
            raise RuntimeError("the gate is closed\nfor good")

    with pytest.raises(RuntimeError) as raised:
        Gate(name="gate")(keras.ops.ones((1, 3)))
    assert told_by(raised.value) == "in Gate.call(): the gate is closed."
    assert told_by(KeyError()) == "KeyError."
