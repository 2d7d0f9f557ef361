"""What is added up over the samples for each layer of a file: its error, its ranges, and how it uses its levels."""

import dataclasses
import math

import numpy as np

from tfopt.checking.output_errors import decibel


@dataclasses.dataclass(frozen=True)
class LayerNumbers:
    """The output of one layer call: in the file against in the Keras model.

    Attributes:
        name, class_name: str, of the layer; an input of the model has the class "Input".
        call: int, 1 for a layer's first call; a shared layer has more.
        sqnr: float, signal to quantization noise of this output in dB, the error of all layers before included.
        saturated: float, share of the file's values at a limit of the integers (-128 or 127), without a limit that stands for
            zero, as ReLU's zeros are there rightly; None for a float tensor.
        range_used: float, share of the integer levels between the smallest and the largest value seen; None for a float tensor.
        int8_range: (low, high) in real units that the integers can hold; None for a float tensor.
        float_range: (low, high) seen in the Keras model.
        clipped: float, share of the Keras model's values that lie outside of `int8_range`; None for a float tensor.
        size: int, how many values were compared.
        outlier_channel: int, the channel (last axis) with the largest peak.
        outlier_ratio: float, the largest channel's peak over the median channel's; None with fewer than 4 channels alive.
        negative: float, share of negative values in the Keras model.
        tensor: str, the tensor's name in the file.
        index: int, the tensor's index in the file.
        fused: tuple of str, layers without a tensor of their own that the tensor's name mentions too.
    """

    name: str
    class_name: str
    call: int
    sqnr: float
    saturated: float | None
    range_used: float | None
    int8_range: tuple | None
    float_range: tuple
    clipped: float | None
    size: int
    outlier_channel: int
    outlier_ratio: float | None
    negative: float
    tensor: str
    index: int
    fused: tuple


class Spread:
    """Range, peak of each channel and share of negatives of one tensor, added up over batches."""

    def __init__(self):
        self.low, self.high, self.size, self._negative, self._peaks = math.inf, -math.inf, 0, 0, 0.0

    def add(self, values):
        if not values.size:
            return
        # NumPy's, as Python's min() drops a NaN or not by the order.
        self.low, self.high = float(np.minimum(self.low, values.min())), float(np.maximum(self.high, values.max()))
        self.size += values.size
        self._negative += int((values < 0).sum())
        self._peaks = np.maximum(self._peaks, np.abs(values).reshape(-1, values.shape[-1] if values.ndim else 1).max(axis=0))

    @property
    def range(self):
        return self.low, self.high

    @property
    def negative(self):
        return self._negative / self.size

    @property
    def outlier_channel(self):
        return int(np.argmax(self._peaks))

    @property
    def outlier_ratio(self):
        """The largest channel's peak over the median one's; channels that are always 0 are left out."""
        alive = np.asarray(self._peaks)[np.asarray(self._peaks) > 0]
        return float(alive.max() / np.median(alive)) if alive.size >= 4 else None


class Comparison:
    """One tensor of the file against one output of the reference, added up over batches.

    Args:
        tensor: `flatbuffer.Tensor`.
    """

    def __init__(self, tensor):
        self._tensor = tensor
        self._spread = Spread()
        self._signal = self._noise = 0.0
        self._limits = self._clipped = 0
        self._used = math.inf, -math.inf
        self._scale, self._zero = (tensor.scale[0], tensor.zero_point[0]) if tensor.scale else (0.0, 0)

    def add(self, wanted, stored):
        """Adds one batch: the reference's values, and the file's as stored."""
        wanted, stored = np.asarray(wanted, np.float64), stored.reshape(np.shape(wanted))
        found = (stored.astype(np.float64) - self._zero) * self._scale if self._scale else stored.astype(np.float64)
        self._spread.add(wanted)
        self._signal += float((wanted**2).sum())
        self._noise += float(((wanted - found) ** 2).sum())
        if self._scale:
            limits = np.iinfo(stored.dtype)
            self._limits += sum(int((stored == limit).sum()) for limit in (limits.min, limits.max) if limit != self._zero)
            # By more than rounding and one level, as the last level of a fixed range (softmax: 255 / 256) stands for the end.
            low, high = self._range()
            self._clipped += int(((wanted < low - 1.5 * self._scale) | (wanted > high + 1.5 * self._scale)).sum())
            self._used = min(self._used[0], int(stored.min())), max(self._used[1], int(stored.max()))

    def numbers(self, name, class_name, call=1, fused=()):
        """`LayerNumbers` of what was added."""
        size, quantized = self._spread.size, bool(self._scale)
        limits = np.iinfo(self._tensor.dtype) if quantized else None
        return LayerNumbers(
            name=name,
            class_name=class_name,
            call=call,
            sqnr=decibel(self._signal, self._noise),
            saturated=self._limits / size if quantized else None,
            range_used=(self._used[1] - self._used[0]) / (limits.max - limits.min) if quantized else None,
            int8_range=self._range() if quantized else None,
            float_range=self._spread.range,
            clipped=self._clipped / size if quantized else None,
            size=size,
            outlier_channel=self._spread.outlier_channel,
            outlier_ratio=self._spread.outlier_ratio,
            negative=self._spread.negative,
            tensor=self._tensor.name,
            index=self._tensor.index,
            fused=tuple(fused),
        )

    def _range(self):
        limits = np.iinfo(self._tensor.dtype)
        return (limits.min - self._zero) * self._scale, (limits.max - self._zero) * self._scale
