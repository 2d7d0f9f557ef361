"""Every weight of a model is found once, under its full name."""

import keras

from tfopt.keras_model.weights import walk_weights


class Block(keras.layers.Layer):
    """A layer with a weight of its own and layers in a list in a dict."""

    def __init__(self):
        super().__init__(name="block")
        self.parts = {"a": [keras.layers.Dense(2, name="deep", use_bias=False)]}

    def build(self, shape):
        self.own = self.add_weight(shape=(3,), name="own")
        self.parts["a"][0].build(shape)

    def call(self, x):
        return self.parts["a"][0](x)


def test_nested_and_shared_and_custom_layers():
    row = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="dense"), shared], name="inner")
    model = keras.Model(row, Block()(shared(inner(row))))
    weights = list(walk_weights(model))
    assert sorted(weight.name for weight in weights) == [
        "block/deep/kernel", "block/own", "inner/dense/bias", "inner/dense/kernel", "shared/bias", "shared/kernel",
    ]  # fmt: skip
    assert len({id(weight.variable) for weight in weights}) == len(model.weights) == len(weights)


def test_wrapped_layers_and_cells(framework):
    layers = framework.layers
    rows = framework.Input((5, 4))
    hidden = layers.Bidirectional(layers.LSTM(3, name="lstm", return_sequences=True), name="both")(rows)
    model = framework.Model(rows, layers.TimeDistributed(layers.Dense(2, name="each"), name="each")(hidden))
    weights = list(walk_weights(model))
    assert len(weights) == len({id(variable) for variable in model.weights})
    kinds = [weight.kind for weight in weights if weight.layers[0].name == "both"]
    assert sorted(kinds) == ["bias"] * 2 + ["kernel"] * 2 + ["recurrent_kernel"] * 2
    assert [weight.name for weight in weights if weight.layers[0].name == "each"] == ["each/kernel", "each/bias"]


def test_a_layer_alone_is_around_its_weights():
    layer = keras.layers.Dense(2, name="alone")
    layer.build((None, 4))
    assert [weight.name for weight in walk_weights(layer)] == ["alone/kernel", "alone/bias"]
