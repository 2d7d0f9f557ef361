"""Ranges from histograms against NumPy on the values themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfopt.ptq import ranges


def histogram(values):
    found = ranges.Histogram(values.min(), values.max())
    for part in np.array_split(values, 7):
        found.add(part)
    return found


def error(values, low, high):
    """Mean squared error of an int8 grid over [low, high], by quantizing the values."""
    step = (high - low) / 255
    return np.mean((np.clip(np.round(values / step), np.round(low / step), np.round(high / step)) * step - values) ** 2)


def test_counts_all_but_zeros():
    values = np.array([-1.0, 0.0, 0.0, 0.5, 2.0], np.float32)
    assert histogram(values).counts.sum() == 3


@pytest.mark.parametrize("share", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("kind", ["normal", "relu"])
def test_percentile_is_that_of_numpy(kind, share):
    values = np.random.default_rng(0).normal(size=50000)
    values = np.maximum(values, 0) if kind == "relu" else values
    kept = values[values != 0]
    cut = 100 * (1 - share) / (1 if kind == "relu" else 2)
    wanted = (0.0 if kind == "relu" else np.percentile(kept, cut)), np.percentile(kept, 100 - cut)
    # As far apart as the last values may lie, which is more than a bin of the histogram.
    np.testing.assert_allclose(ranges.percentile(histogram(values), share), wanted, atol=0.03)


def test_least_error_beats_all_values_where_outliers_are_few():
    values = np.random.default_rng(0).standard_t(4, size=100000)
    low, high = ranges.minimal_error(histogram(values))
    assert error(values, low, high) < 0.9 * error(values, values.min(), values.max())
    # No range of a fine search is better by more than a tenth.
    tried = [error(values, -a, b) for a in np.linspace(2, -values.min(), 40) for b in np.linspace(2, values.max(), 40)]
    assert error(values, low, high) <= 1.1 * min(tried)


def test_least_error_keeps_even_values_whole():
    values = np.random.default_rng(0).uniform(-1, 3, 50000)
    np.testing.assert_allclose(ranges.minimal_error(histogram(values)), (values.min(), values.max()), rtol=0.1)


def extended(values):
    """From values (samples, numbers of each)."""
    return ranges.extended(values.min(axis=1), values.max(axis=1), values.size)


def seen(values):
    """The ends of all values and of 0; of zeros alone, the least range that has a scale."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    return (low, high) if low < high else (-1e-6, 1e-6)


@pytest.mark.parametrize("size", [1, 8, 64])
@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize("draw", ["normal", "laplace", "exponential"])
def test_extended_errs_less_on_values_to_come(draw, count, size):
    generator = np.random.default_rng(count)
    sample = getattr(generator, draw)
    unseen = sample(size=200_000)
    errors = []
    for values in sample(size=(30, count, size)):
        errors.append((error(unseen, *seen(values)), error(unseen, *extended(values))))
    before, after = np.mean(errors, axis=0)
    assert after < (0.9 if count * size < 4000 else 1.2) * before


def one_outlier():
    values = np.random.default_rng(0).normal(size=(40, 200))
    values[7] *= 6
    return values


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(200, 5000)), one_outlier(), np.random.default_rng(0).uniform(-1, 3, (200, 20)),
        np.zeros((9, 1)), np.full((9, 1), -3.0), np.array([[2.0]]), np.repeat([[0.0], [1.0]], 40, axis=0),
        np.clip(np.random.default_rng(0).normal(3, 3, (200, 50)), 0, 6), np.full((20, 3), [0.0, 1.0, -3e38], "float32"),
    ],
    ids=["many", "one outlier", "uniform", "zeros", "one value", "one", "two values", "relu6", "infinite mask"],
)  # fmt: skip
def test_extended_leaves_what_ends_there(values):
    np.testing.assert_allclose(extended(values), seen(values), rtol=0.02)


@pytest.mark.parametrize("choose", [ranges.minimal_error, lambda found: ranges.percentile(found, 0.999)])
@pytest.mark.parametrize("values", [np.zeros(9), np.full(9, 3.0), np.full(9, -3.0), np.linspace(2, 4, 99)], ids=str)
def test_zero_lies_in_every_range(choose, values):
    low, high = choose(histogram(values))
    assert low <= 0 <= high and low <= values.min() + 0.1 * abs(values.min()) and np.isfinite([low, high]).all()


FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
VALUES = arrays.arrays(np.float32, st.integers(1, 200), elements=FINITE)
SAMPLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=FINITE)


@settings(deadline=None)
@given(VALUES)
def test_every_value_but_zeros_is_counted_once(values):
    assert histogram(values).counts.sum() == np.count_nonzero(values)


@settings(deadline=None)
@given(VALUES, st.sampled_from([0.5, 0.9, 0.999, 1.0]))
def test_chosen_ranges_hold_zero_and_no_more_than_the_values(values, share):
    found = histogram(values)
    for low, high in (ranges.percentile(found, share), ranges.minimal_error(found)):
        assert low <= 0 <= high and np.isfinite([low, high]).all()
        # Beyond the values only as far as the bins of equal values reach.
        assert low >= min(values.min(), 0) - 1e-5 * (1 + abs(values.min()))
        assert high <= max(values.max(), 0) + 1e-5 * (1 + abs(values.max()))


@settings(deadline=None)
@given(SAMPLES)
def test_extended_holds_all_values_and_treats_both_ends_alike(values):
    low, high = extended(values)
    assert low <= min(values.min(), 0) <= max(values.max(), 0) <= high and low < high
    np.testing.assert_allclose(extended(-values), (-high, -low), rtol=1e-6)
