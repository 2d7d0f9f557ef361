"""Without rounding, a layer made of the operations of the int8 file computes what Keras computes."""

import keras
import numpy as np
import pytest
from keras import activations, layers

from tfopt.quantization.inside import decompositions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 8)).astype("float32") * 4
IMAGE = RNG.normal(size=(2, 7, 7, 3)).astype("float32")


def exact(key, tensor, fixed=None):
    """Rounds nothing; values are where a fixed range says that they are."""
    if fixed is not None:
        assert fixed[0] - 0.01 <= np.min(tensor) and np.max(tensor) <= fixed[1] + 0.01, key
    return tensor


@pytest.mark.parametrize("name", decompositions.ACTIVATIONS)
def test_activations(name):
    np.testing.assert_allclose(decompositions.ACTIVATIONS[name](exact, X), activations.get(name)(X), atol=1e-5)


LAYERS = {
    "Add": (layers.Add(), [X, -2 * X, X**2]),
    "Average": (layers.Average(), [X, -2 * X, X**2]),
    "GroupNormalization": (layers.GroupNormalization(2), X),
    "GroupNormalization, image": (layers.GroupNormalization(-1, center=False), IMAGE),
    "GroupNormalization, other axis": (layers.GroupNormalization(2, axis=1), X),
    "LayerNormalization": (layers.LayerNormalization(), X),
    "LayerNormalization, axes": (layers.LayerNormalization(axis=(1, 2)), X),
    "LayerNormalization, plain": (layers.LayerNormalization(center=False, scale=False, axis=1), X),
    "Multiply": (layers.Multiply(), [X, -2 * X, X**2]),
    "RMSNormalization": (layers.RMSNormalization(), X),
    "RMSNormalization, axes": (layers.RMSNormalization(axis=(1, 2)), X),
    "Rescaling": (layers.Rescaling(0.5, offset=-0.1), X),
    "Rescaling, no offset": (layers.Rescaling(1 / 3), X),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer, inputs = LAYERS[name]
    expected = layer(inputs)
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    expected = layer(inputs)
    compute = decompositions.LAYERS[type(layer).__name__]
    np.testing.assert_allclose(compute(layer, exact, inputs), expected, atol=1e-5)


def test_every_layer_has_a_case():
    assert {name.partition(",")[0] for name in LAYERS} == set(decompositions.LAYERS)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2, "use_bias": False},
        {"activation": "relu", "depth_multiplier": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("kind", "inputs"), [(layers.SeparableConv1D, X), (layers.SeparableConv2D, IMAGE)], ids=["1D", "2D"])
def test_separable_convolution(kind, inputs, options):
    layer = kind(5, 3, **options)
    expected = layer(inputs)
    found = decompositions.separable_convolution(layer, exact, layer.activation, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_attention_without_a_fused_operation():
    layer, asked = layers.MultiHeadAttention(2, 4), []
    layer(X, X)
    query = RNG.normal(size=(3, 6, 2, 4)).astype("float32")
    own = layer._compute_attention(query, query, query)[0]
    layer._masked_softmax = lambda scores, mask: asked.append(scores) or keras.ops.softmax(scores)
    rounded = {}

    def quantize(key, tensor, fixed=None, /, *, observe=True):
        return rounded.setdefault(key, tensor)

    found, scores = decompositions.unfused_attention(layer, quantize)(query, query, query)
    np.testing.assert_allclose(rounded.pop("scaled_query"), query / 2, atol=1e-6)
    assert not rounded and layer._inverse_sqrt_key_dim == 0.5
    assert asked and scores is not None, "the scores were computed step by step"
    np.testing.assert_allclose(found, own, atol=1e-5)
