"""From a histogram of a tensor's values to the range that int8 should cover; pure NumPy.

A range that covers every value has no clipping error but a large step; a narrower one clips rare values and rounds the others
less. `minimal_error` weighs the two as Banner et al. do (arXiv:1810.05723), on the histogram instead of an assumed distribution.
"""

import numpy as np

LEVELS = 255  # steps between the lowest and the highest int8 value
_KEPT = np.geomspace(0.02, 1.0, 60)  # parts of each end that are tried


class Histogram:
    """Counts of values that arrive in pieces, over a range known beforehand.

    Args:
        low, high: float, the smallest and the largest value to come.
        bins: int >= 1.

    Attributes:
        counts: int64 (bins,), of the values other than 0: int8 holds 0 exactly in any range, so 0 tells nothing.
        edges: float64 (bins + 1,).
    """

    def __init__(self, low, high, bins=2048):
        self.edges = np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 1e-6, low + 1e-6, bins + 1)
        self.counts = np.zeros(bins, np.int64)

    def add(self, values):
        values = values[values != 0]
        width = self.edges[1] - self.edges[0]
        places = np.clip(((values - self.edges[0]) / width).astype(np.int64), 0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))


def percentile(histogram, share):
    """The range that `share` of the values lies in, the rest divided between both ends.

    Args:
        histogram: `Histogram`.
        share: float in (0, 1], such as 0.9999.

    Returns:
        (low, high), with low <= 0 <= high.
    """
    total = histogram.counts.sum()
    if not total:
        return _with_zero(histogram.edges[0], histogram.edges[-1])
    summed = np.cumsum(histogram.counts) / total
    # An end at 0 (after a ReLU) is nothing to cut off, so the other end may then give up all of it.
    ends = int(histogram.edges[0] < 0) + int(histogram.edges[-1] > 0)
    cut = (1 - share) / max(ends, 1)
    below, above = int(np.searchsorted(summed, cut, "right")), int(np.searchsorted(summed, 1 - cut, "left"))
    low = histogram.edges[min(below, len(summed) - 1)] if histogram.edges[0] < 0 else histogram.edges[0]
    high = histogram.edges[min(above, len(summed) - 1) + 1] if histogram.edges[-1] > 0 else histogram.edges[-1]
    return _with_zero(low, high)


def minimal_error(histogram):
    """The range whose int8 grid has the smallest mean squared error on the values.

    The error of [a, b] with step d = (b - a) / 255 is `sum (x - clip(x, a, b))^2 + n d^2 / 12`, n being the values inside.

    Args:
        histogram: `Histogram`.

    Returns:
        (low, high), with low <= 0 <= high.
    """
    low, high = _with_zero(histogram.edges[0], histogram.edges[-1])
    centres = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    lows = low * _KEPT if low < 0 else np.zeros(1)
    highs = high * _KEPT if high > 0 else np.zeros(1)
    below = np.array([_clipped(histogram.counts, end - centres) for end in lows])
    above = np.array([_clipped(histogram.counts, centres - end) for end in highs])
    total = histogram.counts.sum()
    outside_low = np.array([histogram.counts[centres < end].sum() for end in lows])
    outside_high = np.array([histogram.counts[centres > end].sum() for end in highs])
    inside = total - outside_low[:, None] - outside_high[None, :]
    step = (highs[None, :] - lows[:, None]) / LEVELS
    error = below[:, None] + above[None, :] + inside * step**2 / 12
    row, column = np.unravel_index(np.argmin(error), error.shape)
    return float(lows[row]), float(highs[column])


def _clipped(counts, distance):
    return float((counts * np.maximum(distance, 0.0) ** 2).sum())


def _with_zero(low, high):
    return min(float(low), 0.0), max(float(high), 0.0)
