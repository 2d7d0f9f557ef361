"""Every layer that is pruned, as a small model of it; shapes fit every pattern of the tests."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("tests")
class Projection(layers.Layer):
    """A layer with a weight of its own and a Dense inside."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units, name="inner")

    def build(self, shape):
        self.projection = self.add_weight(shape=(shape[-1], self.units), name="projection")
        self.inner.build((*shape[:-1], self.units))

    def call(self, x):
        return self.inner(x @ self.projection)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def self_attention(x):
    """Attention of a sequence to itself."""
    return layers.MultiHeadAttention(2, 4)(x, x)


# name -> (input shape, what makes the layer, names of the weights that are pruned, what must be included)
CASES = {
    "Dense": ((8,), lambda: layers.Dense(8), ["kernel"], None),
    "EinsumDense": ((8, 8), lambda: layers.EinsumDense("abc,cde->abde", (8, 4, 8)), ["kernel"], None),
    "Conv1D": ((8, 8), lambda: layers.Conv1D(8, 3), ["kernel"], None),
    "Conv2D": ((6, 6, 8), lambda: layers.Conv2D(8, 3), ["kernel"], None),
    "Conv3D": ((4, 4, 4, 4), lambda: layers.Conv3D(8, 2), ["kernel"], None),
    "Conv1DTranspose": ((8, 8), lambda: layers.Conv1DTranspose(8, 3), ["kernel"], None),
    "Conv2DTranspose": ((4, 4, 8), lambda: layers.Conv2DTranspose(4, 3), ["kernel"], None),
    "Conv3DTranspose": ((3, 3, 3, 4), lambda: layers.Conv3DTranspose(4, 2), ["kernel"], None),
    "SeparableConv1D": ((8, 8), lambda: layers.SeparableConv1D(8, 3), ["pointwise_kernel"], None),
    "SeparableConv2D": ((6, 6, 8), lambda: layers.SeparableConv2D(8, 3), ["pointwise_kernel"], None),
    "MultiHeadAttention": ((8, 8), lambda: self_attention, ["kernel"] * 4, None),
    "LSTM": ((4, 8), lambda: layers.LSTM(8), ["kernel", "recurrent_kernel"], None),
    "GRU": ((4, 8), lambda: layers.GRU(8), ["kernel", "recurrent_kernel"], None),
    "Bidirectional": ((4, 8), lambda: layers.Bidirectional(layers.LSTM(8)), ["kernel", "recurrent_kernel"] * 2, None),
    "TimeDistributed": ((4, 8), lambda: layers.TimeDistributed(layers.Dense(8)), ["kernel"], None),
    "DepthwiseConv2D": ((6, 6, 8), lambda: layers.DepthwiseConv2D(4, name="tested"), ["kernel"], "tested"),
    "Embedding": ((8,), lambda: layers.Embedding(8, 8, name="tested"), ["embeddings"], "tested"),
    "custom": ((8,), lambda: Projection(8, name="tested"), ["kernel", "projection"], "tested"),
}


def build(name):
    """(model, inputs, targets) of a case."""
    import numpy as np

    keras.utils.set_random_seed(1)
    shape, make, _, _ = CASES[name]
    inputs = keras.Input(shape)
    outputs = layers.Dense(2, name="head")(layers.Flatten()(make()(inputs)))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, (16, *shape)) if name == "Embedding" else rng.normal(size=(16, *shape)).astype("float32")
    return keras.Model(inputs, outputs), x, rng.normal(size=(16, 2)).astype("float32")
