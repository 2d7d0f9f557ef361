"""`FakeQuantize` and the rounding of weights, against the same in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tfopt
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.observing import observing
from tfopt.quantization.weights import fake_quantize_weight, weight_scale

RNG = np.random.default_rng(0)
PROPERTY = settings(deadline=None, max_examples=40)


def grid(low, high, bits):
    """(step, zero points that the range may have): two zero points where float32 cannot tell to which side one is rounded."""
    levels = 2**bits - 1
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / levels
    zero = -low / scale
    return scale, {round(zero - 1e-2), round(zero), round(zero + 1e-2)}


def rounded(x, low, high, bits=8):
    """An activation on its grid, in float64."""
    scale, _ = grid(low, high, bits)
    zero = round(-min(low, 0.0) / scale)
    return scale * (np.clip(np.round(x / scale) + zero, 0, 2**bits - 1) - zero)


def assert_rounded(found, x, low, high, bits):
    """`found` is `x` on the grid of the range; a value halfway between two steps may be either of them."""
    scale, zeros = grid(low, high, bits)
    x = np.asarray(x, "float64")
    is_halfway = np.abs(np.abs(x / scale - np.floor(x / scale)) - 0.5) < 0.05
    errors = []
    for zero in zeros:
        expected = scale * (np.clip(np.round(x / scale) + zero, 0, 2**bits - 1) - zero)
        steps = np.abs(found - expected) / scale
        errors.append(np.max(steps - is_halfway, initial=0.0))
    assert min(errors) < 0.05, (errors, scale, zeros)


@st.composite
def ranges(draw):
    """(low, high) that hold 0, or lie on one side of it."""
    low, high = sorted(draw(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2, unique=True)))
    return (low, high) if max(high, 0.0) - min(low, 0.0) > 1e-3 and high > low else (low, low + 1.0)


VALUES = arrays("float32", array_shapes(max_dims=3, max_side=5), elements=st.floats(-2e3, 2e3, width=32, allow_subnormal=False))


@PROPERTY
@given(VALUES, ranges(), st.integers(2, 16))
def test_rounds_as_numpy_does(x, ends, bits):
    layer = FakeQuantize(bits, ranges=ends)
    found = layer(x).numpy()
    assert_rounded(found, x, *ends, bits)
    assert found.shape == x.shape and not np.any(found[x == 0]), "zero stays zero"
    assert_rounded(layer(found).numpy(), found, *ends, bits)
    order = np.argsort(x, axis=None)
    assert np.all(np.diff(found.ravel()[order]) >= 0), "rounding keeps the order"
    assert layer.range == (min(ends[0], 0.0), max(ends[1], 0.0))
    assert float(layer.scale()) == pytest.approx(grid(*ends, bits)[0], rel=1e-5)


def usable(batch):
    """Whether the extremes of a batch and 0 are a range."""
    return np.isfinite(batch).all() and np.any(batch)


BATCHES = st.lists(
    arrays(
        "float32",
        (2, 3),
        elements=st.one_of(st.floats(-100, 100, width=32, allow_subnormal=False), st.sampled_from([0.0, np.nan, np.inf])),
    ),
    min_size=1,
    max_size=6,
)


@PROPERTY
@given(BATCHES, st.floats(0, 0.999))
def test_a_moving_average_follows_the_usable_batches(batches, momentum):
    layer, expected = FakeQuantize(momentum=momentum), None
    for batch in batches:
        layer(batch, training=True)
        layer(1000 * batch)  # inference moves nothing
        if usable(batch) and np.ptp([*batch.ravel(), 0.0]) > 0:
            ends = np.array([min(batch.min(), 0.0), max(batch.max(), 0.0)])
            expected = ends if expected is None else momentum * expected + (1 - momentum) * ends
    assert (layer.range is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(layer.range, expected, rtol=1e-4, atol=1e-4)


@PROPERTY
@given(BATCHES, st.sampled_from(["moving_average", "learned"]))
def test_observing_takes_in_the_extremes_of_all_usable_batches_and_rounds_nothing(batches, rule):
    layer = FakeQuantize(ranges=rule)
    with observing():
        for batch in batches:
            np.testing.assert_array_equal(layer(batch), batch)
            layer(np.full_like(batch, 1e6), observe=False)
    seen = [batch for batch in batches if usable(batch)]
    if not seen:
        assert layer.range is None
    else:
        values = np.concatenate([batch.ravel() for batch in seen])
        np.testing.assert_allclose(layer.range, (min(values.min(), 0.0), max(values.max(), 0.0)))


@pytest.mark.parametrize("rule", ["moving_average", "learned"])
def test_training_and_inference_round_alike(rule):
    layer, x = FakeQuantize(ranges=rule), RNG.normal(size=(40, 5)).astype("float32")
    np.testing.assert_array_equal(layer(x), x, "there is no range yet")
    first = layer(x, training=True)
    low, high = layer.range
    assert (low, high) == (x.min(), x.max())
    np.testing.assert_allclose(first, rounded(x, low, high), atol=2e-6)
    np.testing.assert_allclose(layer(x), first, atol=2e-6)


def test_ranges_stay_while_the_layer_is_not_trainable():
    layer = FakeQuantize()
    layer(np.ones((2, 2), "float32"), training=True)
    layer.trainable = False
    layer(np.full((2, 2), 9.0, "float32"), training=True)
    assert layer.range == (0.0, 1.0)


def test_other_dtypes_pass():
    assert FakeQuantize(ranges=(0.0, 1.0))(np.arange(5)).dtype == "int64"
    assert FakeQuantize(ranges=(0.0, 1.0))(tf.constant([0.3], "float16")).dtype == "float16"


def test_an_input_with_nan_is_an_error_in_training():
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or infinite values in the input 'image'"):
        FakeQuantize(is_input=True, name="image_quantize")(np.array([np.nan], "float32"), training=True)


def test_gradient_passes_inside_the_range_and_not_outside():
    layer, x = FakeQuantize(ranges=(-1.0, 1.0)), tf.constant([-3.0, -0.4, 0.0, 0.6, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x))
    np.testing.assert_array_equal(tape.gradient(total, x), [0, 1, 1, 1, 0])


def test_learned_ends_are_drawn_out_by_values_that_they_cut_off():
    layer = FakeQuantize(ranges="learned")
    layer(tf.constant([-1.0, 1.0]), training=True)
    x = tf.constant([4.0, -0.5, 0.25])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((layer(x, training=True) - x) ** 2)
    low, high = tape.gradient(loss, [layer.minimum.value, layer.maximum.value])
    assert high < 0, "the loss falls as the upper end rises"
    assert abs(float(low)) < abs(float(high))


@st.composite
def weights(draw):
    """(weight, axes along which scales differ)."""
    shape = draw(array_shapes(min_dims=2, max_dims=4, max_side=4))
    axes = tuple(draw(st.sets(st.integers(-len(shape), -1))))
    return draw(arrays("float32", shape, elements=st.floats(-100, 100, width=32, allow_subnormal=False))), axes


@PROPERTY
@given(weights(), st.sampled_from([4, 8]))
def test_weights_round_as_numpy_does(case, bits):
    weight, axes = case
    others = tuple(axis for axis in range(weight.ndim) if axis - weight.ndim not in axes)
    most = 2 ** (bits - 1) - 1
    scale = np.abs(weight).max(axis=others, keepdims=True).astype("float64") / most
    scale = np.where(scale > 1e-30, scale, 0.0)
    np.testing.assert_allclose(weight_scale(tf.constant(weight), axes, bits), scale, rtol=1e-5, atol=1e-30)
    with tf.GradientTape() as tape:
        variable = tf.Variable(weight)
        found = fake_quantize_weight(variable, axes, bits)
        total = tf.reduce_sum(found)
    np.testing.assert_array_equal(tape.gradient(total, variable), np.ones_like(weight))
    steps = np.divide(found, scale, out=np.zeros(weight.shape), where=scale > 0)
    np.testing.assert_allclose(steps, np.round(steps), atol=2e-3, err_msg="each value is on the grid")
    assert np.abs(steps).max() <= most + 2e-3 and not np.any(found.numpy()[weight == 0])
    assert np.all(np.abs(found - weight) <= 0.502 * np.broadcast_to(scale, weight.shape) + 1e-30), "to the nearest step"
    np.testing.assert_array_equal(fake_quantize_weight(tf.constant(-weight), axes, bits), -found.numpy())


@PROPERTY
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_groups_of_columns_have_a_scale_each(groups, rows, columns, seed):
    weight = np.random.default_rng(seed).normal(size=(rows, groups * columns)).astype("float32")
    weight *= np.repeat(10.0 ** np.arange(groups), columns).astype("float32")
    found = fake_quantize_weight(tf.constant(weight), (), 8, groups=groups).numpy()
    for part in np.split(np.arange(groups * columns), groups):
        alone = fake_quantize_weight(tf.constant(weight[:, part]), (), 8)
        np.testing.assert_allclose(found[:, part], alone, rtol=1e-6)


BAD = [
    ({"bits": 1}, "`bits` must be an integer from 2 to 16. Received: bits=1."),
    ({"bits": 17}, "bits=17"),
    ({"bits": 8.0}, "bits=8.0"),
    ({"bits": True}, "bits=True"),
    ({"bits": None}, "bits=None"),
    ({"ranges": "fixed"}, "`ranges` must be one of moving_average, learned, or a pair .*Received: ranges='fixed'."),
    ({"ranges": None}, "ranges=None"),
    ({"ranges": (1.0, 0.0)}, r"low < high. Received: ranges=\(1.0, 0.0\)"),
    ({"ranges": (1.0, 1.0)}, "low < high"),
    ({"ranges": (0.0, 1.0, 2.0)}, "Received: ranges="),
    ({"ranges": (0.0, np.inf)}, "pair of finite numbers"),
    ({"ranges": (np.nan, 1.0)}, "pair of finite numbers"),
    ({"ranges": ("0", "1")}, "Received: ranges="),
    ({"momentum": 1.0}, "`momentum` must be a number of at least 0 and below 1. Received: momentum=1.0."),
    ({"momentum": -0.1}, "momentum=-0.1"),
    ({"momentum": np.nan}, "momentum=nan"),
    ({"momentum": "0.9"}, "momentum='0.9'"),
    ({"is_input": 1}, "`is_input` must be True or False. Received: is_input=1."),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(options) for options, _ in BAD])
def test_refuses_other_arguments(options, message):
    with pytest.raises(tfopt.ArgumentError, match=message):
        FakeQuantize(**options)


@pytest.mark.parametrize(
    "options", [{}, {"bits": np.int64(4), "ranges": [np.float32(-1), 2]}, {"ranges": "learned", "momentum": 0, "is_input": True}]
)
def test_is_made_again_from_its_configuration(options):
    layer = FakeQuantize(**options, name="made")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is FakeQuantize and again.get_config() == layer.get_config()


@pytest.mark.parametrize("ranges", ["moving_average", "learned", (0.0, 2.0)], ids=str)
def test_a_divisor_is_at_least_one_step_but_for_the_exported_form(ranges):
    layer = FakeQuantize(ranges=ranges, is_divisor=True)
    x = np.array([0.0, 1e-4, 1.0, 2.0], "float32")
    step = 2.0 / 255
    for training in (True, False):
        np.testing.assert_allclose(layer(x, training=training)[:2], [step, step] if isinstance(ranges, str) else [0, 0], rtol=1e-5)
    assert FakeQuantize.from_config(layer.get_config()).is_divisor
    layer.bake()
    np.testing.assert_array_equal(layer(x)[:2], [0, 0])
