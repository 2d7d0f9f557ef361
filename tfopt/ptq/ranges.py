"""From the values of a tensor to the range that int8 should cover; pure NumPy.

A range that covers every value has no clipping error but a large step; a narrower one clips rare values and rounds the others
less. `minimal_error` weighs the two as Banner et al. do (arXiv:1810.05723), on the histogram instead of an assumed distribution.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEVELS = 255  # steps between the lowest and the highest int8 value
_KEPT = np.geomspace(0.02, 1.0, 60)  # parts of each end that are tried
_LEAST = 1e-6  # each end of the range of a tensor of zeros, as a range without width has no scale
_LEAST_TAIL = 16  # samples that tell how a tail falls
_FURTHER = np.linspace(0.0, 3.0, 31)  # distances beyond the last value that are tried, in mean excesses of the tail
_WORTH = 0.8  # an end is moved if at most this part of the expected error is left


class Histogram:
    """Counts of values that arrive in pieces, over a range known beforehand.

    Example:

    ```python
    found = Histogram(values.min(), values.max())
    for part in np.array_split(values, 10):
        found.add(part)
    low, high = percentile(found, 0.999)
    ```

    Args:
        low, high: the smallest and the largest value to come.
        bins: at least 1.

    Attributes:
        counts: (bins,), of the values other than 0: int8 holds 0 exactly in any range, so zeros tell nothing.
        edges: (bins + 1,), from `low` to `high`.
    """

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]

    def __init__(self, low: float, high: float, bins: int = 2048) -> None:
        low, high = float(low), float(high)
        if low == high:
            reach = max(_LEAST, _LEAST * abs(low))
            low, high = low - reach, high + reach
        self.edges = np.linspace(low, high, bins + 1)
        self.counts = np.zeros(bins, np.int64)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Counts values between `low` and `high`, in an array of any shape."""
        values = values[values != 0]
        width = self.edges[1] - self.edges[0]
        places = np.clip(((values - self.edges[0]) / width).astype(np.int64), 0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))


def extended(lows: npt.ArrayLike, highs: npt.ArrayLike, count: int) -> tuple[float, float]:
    """The range of all values; wider where the samples are so few that values beyond them have to be expected.

    The largest values of the samples are taken to have an exponential tail (peaks over a threshold: Pickands, 1975): `k` of them, a
    root of their number and at least 16, lie above `u`, on average by `b`. An end at `c`, with the step
    `d = (c + other end) / 255`, then has the expected squared error `k 2 b^2 exp(-(c - u) / b) + n d^2 / 12`. It is moved outwards,
    by at most 3 b, where that makes the error smaller by a fifth: where few values were seen, and not where they end abruptly, as
    after a ReLU6, nor for one sample that is unlike the others.

    Args:
        lows, highs: (samples,), the smallest and the largest value of each sample.
        count: `n`, the number of values in all samples.

    Returns:
        (low, high), with low <= 0 <= high.
    """
    low, high = with_zero(np.min(lows), np.max(highs))
    if low == high:
        return -_LEAST, _LEAST
    below, above = (np.asarray(ends, np.float64) for ends in (lows, highs))
    return -_extended_end(-below, -low, high, count), _extended_end(above, high, -low, count)


def percentile(histogram: Histogram, share: float) -> tuple[float, float]:
    """The range that `share` of the values lies in; the values beyond are divided between both ends.

    Args:
        histogram: of the values.
        share: in (0, 1], such as 0.9999.

    Returns:
        (low, high), with low <= 0 <= high.
    """
    total = histogram.counts.sum()
    if not total:
        return with_zero(histogram.edges[0], histogram.edges[-1])
    summed = np.cumsum(histogram.counts) / total
    # Nothing is cut off at an end at 0, as after a ReLU, so that the other end may give up the whole share.
    ends = int(histogram.edges[0] < 0) + int(histogram.edges[-1] > 0)
    cut = (1 - share) / max(ends, 1)
    below, above = int(np.searchsorted(summed, cut, "right")), int(np.searchsorted(summed, 1 - cut, "left"))
    low = histogram.edges[min(below, len(summed) - 1)] if histogram.edges[0] < 0 else histogram.edges[0]
    high = histogram.edges[min(above, len(summed) - 1) + 1] if histogram.edges[-1] > 0 else histogram.edges[-1]
    return with_zero(low, high)


def minimal_error(histogram: Histogram) -> tuple[float, float]:
    """The range whose int8 grid has the smallest mean squared error on the values.

    The error of [a, b] with step d = (b - a) / 255 is `sum (x - clip(x, a, b))^2 + n d^2 / 12`, n being the values inside.

    Args:
        histogram: of the values.

    Returns:
        (low, high), with low <= 0 <= high.
    """
    low, high = with_zero(histogram.edges[0], histogram.edges[-1])
    centers = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    lows = low * _KEPT if low < 0 else np.zeros(1)
    highs = high * _KEPT if high > 0 else np.zeros(1)
    below = np.array([_clipped(histogram.counts, end - centers) for end in lows])
    above = np.array([_clipped(histogram.counts, centers - end) for end in highs])
    total = histogram.counts.sum()
    outside_low = np.array([histogram.counts[centers < end].sum() for end in lows])
    outside_high = np.array([histogram.counts[centers > end].sum() for end in highs])
    inside = total - outside_low[:, None] - outside_high[None, :]
    step = (highs[None, :] - lows[:, None]) / LEVELS
    error = below[:, None] + above[None, :] + inside * step**2 / 12
    row, column = np.unravel_index(np.argmin(error), error.shape)
    return float(lows[row]), float(highs[column])


def _extended_end(peaks: npt.NDArray[np.float64], end: float, other: float, count: int) -> float:
    """One end of `extended`, seen as the upper one: `peaks` are the largest values of the samples, `-other` is the lower end."""
    wanted = min(max(_LEAST_TAIL, round(len(peaks) ** 0.5)), len(peaks) // 2)
    if end <= 0 or wanted < 2:
        return end
    tail = np.sort(peaks)[-wanted:]
    excess = float(np.mean(tail - tail[0]))
    if excess <= 0:
        return end
    tried = end + excess * _FURTHER
    clipped = wanted * 2 * excess**2 * np.exp(-(tried - tail[0]) / excess)
    error = clipped + count * ((tried + other) / LEVELS) ** 2 / 12
    best = int(np.argmin(error))
    return float(tried[best]) if error[best] < _WORTH * error[0] else end


def _clipped(counts: npt.NDArray[np.int64], distance: npt.NDArray[np.float64]) -> float:
    """The squared error of the values that lie beyond an end, by `distance` each."""
    return float((counts * np.maximum(distance, 0.0) ** 2).sum())


def with_zero(low: float, high: float) -> tuple[float, float]:
    """The range from `low` to `high`, stretched to hold 0 as well."""
    return min(float(low), 0.0), max(float(high), 0.0)
