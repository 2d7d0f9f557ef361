"""`Comparison` and `Spread` add up over batches what NumPy computes on everything at once."""

import math

import numpy as np
import pytest

from tfopt.checking.layer_numbers import Comparison, Spread
from tfopt.lowering.layer_calls import LayerCall
from tfopt.tflite.flatbuffer import Tensor

SCALE, ZERO = 0.02, -10
CALL = LayerCall("conv", "Conv2D", 2)


def tensor(dtype="int8", scale=(SCALE,), zero_point=(ZERO,)):
    return Tensor(7, "net/conv/Relu", (1, 5, 6), dtype, "activation", scale, zero_point)


def compared(wanted, stored, kind):
    comparison = Comparison(kind)
    for start in range(0, len(wanted), 4):
        comparison.add(wanted[start : start + 4], stored[start : start + 4])
    return comparison.numbers(CALL, ["norm"])


@pytest.fixture(scope="module")
def wanted():
    return np.random.default_rng(0).normal(scale=1.2, size=(10, 5, 6)).astype("float32")


def quantized(values):
    return np.clip(np.round(values / SCALE) + ZERO, -128, 127).astype("int8")


def test_an_int8_tensor(wanted):
    stored = quantized(wanted)
    numbers, found = compared(wanted, stored.reshape(10, 30), tensor()), (stored.astype(np.float64) - ZERO) * SCALE
    assert (numbers.name, numbers.class_name, numbers.call) == ("conv", "Conv2D", 2)
    assert (numbers.tensor, numbers.index, numbers.fused) == ("net/conv/Relu", 7, ("norm",))
    error = wanted.astype(np.float64) - found
    assert numbers.sqnr == pytest.approx(10 * math.log10((wanted.astype(np.float64) ** 2).sum() / (error**2).sum()))
    assert numbers.int8_range == pytest.approx(((-128 - ZERO) * SCALE, (127 - ZERO) * SCALE))
    assert numbers.float_range == (wanted.min(), wanted.max())
    assert numbers.saturated == ((stored == -128) | (stored == 127)).mean() > 0
    low, high = numbers.int8_range
    assert numbers.clipped == ((wanted < low - 1.5 * SCALE) | (wanted > high + 1.5 * SCALE)).mean() > 0
    assert numbers.range_used == 1 and numbers.size == wanted.size and numbers.negative == (wanted < 0).mean()


def test_levels_that_are_not_used(wanted):
    stored = np.clip(quantized(wanted), -40, 23)
    assert compared(wanted, stored, tensor()).range_used == 63 / 255


def test_a_limit_that_stands_for_zero_is_no_saturation():
    wanted = np.maximum(np.random.default_rng(0).normal(size=(8, 20)), 0)
    stored = np.clip(np.round(wanted / 0.02) - 128, -128, 127).astype("int8")
    numbers = compared(wanted, stored, tensor(scale=(0.02,), zero_point=(-128,)))
    assert (stored == -128).mean() > 0.4 and numbers.saturated == (stored == 127).mean() and numbers.negative == 0


def test_a_float_tensor_has_no_levels(wanted):
    numbers = compared(wanted, wanted, tensor("float32", (), ()))
    assert numbers.sqnr == math.inf and numbers.float_range == (wanted.min(), wanted.max())
    assert (numbers.saturated, numbers.range_used, numbers.int8_range, numbers.clipped) == (None, None, None, None)


def test_the_channel_that_peaks_highest(wanted):
    stretched = wanted.copy()
    stretched[..., 3] *= 50
    stretched[..., 5] = 0
    numbers, peaks = compared(stretched, stretched, tensor("float32", (), ())), np.abs(stretched).max(axis=(0, 1))
    assert numbers.outlier_channel == 3 and numbers.outlier_ratio == pytest.approx(peaks[3] / np.median(peaks[:5]))
    few = stretched[..., 3:]
    assert compared(few, few, tensor("float32", (), ())).outlier_ratio is None, "two channels that are not zero"


def test_nan_shows_in_the_range_whatever_its_place():
    for values in ([np.nan, 1.0], [1.0, np.nan]):
        spread = Spread()
        for value in values:
            spread.add(np.array([value]))
        assert np.isnan(spread.range).all()


def test_no_values_change_nothing():
    spread = Spread()
    spread.add(np.zeros((0, 4)))
    assert spread.range == (math.inf, -math.inf) and spread.size == 0
