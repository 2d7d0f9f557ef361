"""A softmax of masked scores is computed as the file does it, from scores that int8 can hold."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfopt.quantization.inside import masked_softmax

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6, 8)).astype("float32")


def exact(key, tensor, fixed=None, /, *, observe=True):
    return tensor


@pytest.mark.parametrize("axis", [-1, (1, 2)])
def test_masked_softmax(axis):
    layer, mask = layers.Softmax(axis=axis), RNG.random(X.shape) > 0.4
    mask[:, :, 0] = True  # a row without any score is of no use to attention

    def again(rounded, tensor):
        assert rounded is X  # the scores, whose range the masked ones take
        return tensor

    np.testing.assert_allclose(masked_softmax.masked_softmax(layer, exact, again, X, mask), layer(X, mask), atol=1e-5)
    np.testing.assert_allclose(masked_softmax.masked_softmax(layer, exact, again, X), layer(X), atol=1e-6)


@pytest.mark.parametrize(
    "masked",
    [
        lambda x, keep: tf.where(keep, x, -1e9),
        lambda x, keep: x + (1.0 - tf.cast(keep, tf.float32)) * -1e9,
        lambda x, keep: x * 0.5 + tf.where(keep, 0.0, -1e9) + x,
    ],
    ids=["a choice", "an addend", "several terms"],
)
def test_scores_that_were_masked_on_the_way(masked):
    keep, rounded = RNG.random(X.shape) > 0.4, {}
    keep[:, :, 0] = True

    def quantize(key, tensor, fixed=None, /, *, observe=True):
        rounded[key] = tensor
        return tensor

    @tf.function
    def weights(x, keep):
        scores, found = masked_softmax.without_mask(quantize, masked(x, keep))
        return tf.nn.softmax(masked_softmax.above_level(quantize, lambda _, tensor: tensor, scores, found))

    np.testing.assert_allclose(weights(X, keep), tf.nn.softmax(masked(tf.constant(X), keep)), atol=1e-5)
    assert {"level", "above"} <= set(rounded) <= {"level", "above", "scores"}


def test_scores_without_a_mask_stay_what_they_are():
    @tf.function
    def has_mask(x):
        return masked_softmax.without_mask(exact, x * 2.0)[1] is not None

    assert not has_mask(X)
