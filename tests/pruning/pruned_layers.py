"""Every layer that is pruned, as a small model of it; shapes fit every pattern of the tests."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
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


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer that is pruned."""

    shape: tuple  # of its input
    make: Callable  # function of a name that returns the layer
    pruned: list  # names of the weights that are pruned
    include: bool = False  # whether it must be included to be pruned


CASES = {
    "Dense": Case((8,), lambda name: layers.Dense(8, name=name), ["kernel"]),
    "EinsumDense": Case((8, 8), lambda name: layers.EinsumDense("abc,cde->abde", (8, 4, 8), name=name), ["kernel"]),
    "Conv1D": Case((8, 8), lambda name: layers.Conv1D(8, 3, name=name), ["kernel"]),
    "Conv2D": Case((6, 6, 8), lambda name: layers.Conv2D(8, 3, name=name), ["kernel"]),
    "Conv3D": Case((4, 4, 4, 4), lambda name: layers.Conv3D(8, 2, name=name), ["kernel"]),
    "Conv1DTranspose": Case((8, 8), lambda name: layers.Conv1DTranspose(8, 3, name=name), ["kernel"]),
    "Conv2DTranspose": Case((4, 4, 8), lambda name: layers.Conv2DTranspose(4, 3, name=name), ["kernel"]),
    "Conv3DTranspose": Case((3, 3, 3, 4), lambda name: layers.Conv3DTranspose(4, 2, name=name), ["kernel"]),
    "SeparableConv1D": Case((8, 8), lambda name: layers.SeparableConv1D(8, 3, name=name), ["pointwise_kernel"]),
    "SeparableConv2D": Case((6, 6, 8), lambda name: layers.SeparableConv2D(8, 3, name=name), ["pointwise_kernel"]),
    "MultiHeadAttention": Case((8, 8), lambda name: layers.MultiHeadAttention(2, 4, name=name), ["kernel"] * 4),
    "LSTM": Case((4, 8), lambda name: layers.LSTM(8, name=name), ["kernel", "recurrent_kernel"]),
    "GRU": Case((4, 8), lambda name: layers.GRU(8, name=name), ["kernel", "recurrent_kernel"]),
    "Bidirectional": Case((4, 8), lambda name: layers.Bidirectional(layers.LSTM(8), name=name), ["kernel", "recurrent_kernel"] * 2),
    "TimeDistributed": Case((4, 8), lambda name: layers.TimeDistributed(layers.Dense(8), name=name), ["kernel"]),
    "DepthwiseConv2D": Case((6, 6, 8), lambda name: layers.DepthwiseConv2D(4, name=name), ["kernel"], True),
    "Embedding": Case((8,), lambda name: layers.Embedding(8, 8, name=name), ["embeddings"], True),
    "custom": Case((8,), lambda name: Projection(8, name=name), ["kernel", "projection"], True),
}


def build(names):
    """(model with a branch for each case, its inputs, its targets); the tested layers are called `tested_NAME`."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    sources, outputs, x, y = [], [], [], []
    for name in names:
        case = CASES[name]
        source, layer = keras.Input(case.shape), case.make(f"tested_{name}")
        tested = layer(source, source) if name == "MultiHeadAttention" else layer(source)
        sources.append(source)
        outputs.append(layers.Dense(2, name=f"head_{name}")(layers.Flatten()(tested)))
        shape = (16, *case.shape)
        x.append(rng.integers(0, 8, shape) if name == "Embedding" else rng.normal(size=shape).astype("float32"))
        y.append(rng.normal(size=(16, 2)).astype("float32"))
    return keras.Model(sources, outputs), x, y
