"""`FakeQuantize` and the rounding of weights, against the same in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.quantization.fake_quantize import FakeQuantize, fake_quantize_weight

RNG = np.random.default_rng(0)


def rounded(x, low, high, bits=8):
    """An activation on its grid, in float64."""
    levels = 2**bits - 1
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / levels
    zero = round(-low / scale)
    return scale * (np.clip(np.round(x / scale) + zero, 0, levels) - zero)


@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 0.7), (-2.5, 0.0), (0.5, 4.0), (-3.0, -1.0)])
@pytest.mark.parametrize("bits", [8, 4])
def test_rounds_as_numpy_does(ends, bits):
    x = RNG.uniform(-5, 5, (50, 7)).astype("float32")
    np.testing.assert_allclose(FakeQuantize(bits, ranges=ends)(x), rounded(x, *ends, bits), atol=2e-6)


def test_zero_stays_zero():
    assert not np.any(FakeQuantize(ranges=(-0.37, 1.91))(np.zeros(9, "float32")))


@pytest.mark.parametrize("ranges", ["moving_average", "learned"])
def test_training_and_inference_round_alike(ranges):
    layer, x = FakeQuantize(ranges=ranges), RNG.normal(size=(40, 5)).astype("float32")
    first = layer(x, training=True)
    low, high = layer.range
    assert (low, high) == (x.min(), x.max())
    np.testing.assert_allclose(first, rounded(x, low, high), atol=2e-6)
    np.testing.assert_allclose(layer(x), first, atol=2e-6)


def test_gradient_passes_inside_the_range_and_not_outside():
    layer, x = FakeQuantize(ranges=(-1.0, 1.0)), tf.constant([-3.0, -0.4, 0.0, 0.6, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x))
    np.testing.assert_array_equal(tape.gradient(total, x), [0, 1, 1, 1, 0])


def test_learned_ends_are_drawn_out_by_what_they_cut():
    layer = FakeQuantize(ranges="learned")
    layer(tf.constant([-1.0, 1.0]), training=True)
    x = tf.constant([4.0, -0.5, 0.25])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((layer(x, training=True) - x) ** 2)
    low, high = tape.gradient(loss, [layer.minimum.value, layer.maximum.value])
    assert high < 0, "the loss falls as the upper end rises"
    assert abs(float(low)) < abs(float(high))


@pytest.mark.parametrize(("axes", "others"), [((-1,), (0, 1, 2)), ((-2, -1), (0, 1)), ((-2,), (0, 1, 3)), ((), (0, 1, 2, 3))])
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_round_as_numpy_does(axes, others, bits):
    weight = RNG.normal(size=(3, 3, 4, 5)).astype("float32")
    scale = np.abs(weight).max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)
    np.testing.assert_allclose(fake_quantize_weight(tf.constant(weight), axes, bits), np.round(weight / scale) * scale, atol=1e-6)


def test_gates_have_a_scale_each():
    weight = RNG.normal(size=(6, 8)).astype("float32") * np.repeat([1, 10, 100, 1000], 2).astype("float32")
    found = fake_quantize_weight(tf.constant(weight), (), 8, groups=4).numpy()
    for gate in np.split(np.arange(8), 4):
        scale = np.abs(weight[:, gate]).max() / 127
        np.testing.assert_allclose(found[:, gate], np.round(weight[:, gate] / scale) * scale, rtol=1e-5)


def test_refuses_ranges_that_it_does_not_know():
    with pytest.raises(tfopt.ArgumentError, match="Received: 'fixed'"):
        FakeQuantize(ranges="fixed")
