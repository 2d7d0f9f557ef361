"""What is added up over the samples for each layer of a file: its error, its ranges, and the integer levels that it uses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.checking.output_errors import decibel

if TYPE_CHECKING:
    from tfopt.lowering.layer_calls import LayerCall
    from tfopt.tflite.flatbuffer import Tensor

Range = tuple[float, float]
"""(lowest value, highest value) in real units."""


@dataclasses.dataclass(frozen=True)
class LayerNumbers:
    """The output of one layer call in the file against the same output in the Keras model.

    Attributes:
        name, class_name: of the layer; an input of the model has the class "Input".
        call: 1 for a layer's first call; a shared layer has more.
        sqnr: signal to quantization noise of this output in dB; the error of all layers before it is included.
        saturated: share of the file's values at a limit of the integers (-128 or 127), in [0, 1]. A limit that stands for zero is
            not counted, as the zeros of a ReLU belong there. None for a float tensor.
        range_used: share of the integer levels between the smallest and the largest value seen, in [0, 1]; None for a float tensor.
        int8_range: the range that the integers can hold; None for a float tensor.
        float_range: the range seen in the Keras model.
        clipped: share of the Keras model's values that lie outside of `int8_range`, in [0, 1]; None for a float tensor.
        size: number of values that were compared.
        outlier_channel: the channel (index in the last axis) with the largest peak.
        outlier_ratio: the largest peak of a channel divided by the median peak, without channels that are always zero; None if
            fewer than 4 are left.
        negative: share of negative values in the Keras model, in [0, 1].
        tensor: name of the tensor in the file.
        index: index of the tensor in the file.
        fused: layers without a tensor of their own that the tensor's name mentions, too.
    """

    name: str
    class_name: str
    call: int
    sqnr: float
    saturated: float | None
    range_used: float | None
    int8_range: Range | None
    float_range: Range
    clipped: float | None
    size: int
    outlier_channel: int
    outlier_ratio: float | None
    negative: float
    tensor: str
    index: int
    fused: tuple[str, ...]


class Spread:
    """Range, peak of each channel and share of negative values of one tensor, added up over batches.

    Attributes:
        low, high: the smallest and the largest value so far; infinity and -infinity without values.
        size: number of values so far.
    """

    def __init__(self) -> None:
        self.low, self.high, self.size = math.inf, -math.inf, 0
        self._negative = 0
        self._peaks: npt.NDArray[Any] = np.zeros(1)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Adds one batch, whose last axis are the channels."""
        if not values.size:
            return
        # NumPy's, as Python's min() drops a NaN or keeps it depending on the order.
        self.low, self.high = float(np.minimum(self.low, values.min())), float(np.maximum(self.high, values.max()))
        self.size += values.size
        self._negative += int((values < 0).sum())
        self._peaks = np.maximum(self._peaks, np.abs(values).reshape(-1, values.shape[-1] if values.ndim else 1).max(axis=0))

    @property
    def range(self) -> Range:
        """(low, high)."""
        return self.low, self.high

    @property
    def negative(self) -> float:
        """The share of negative values, in [0, 1]."""
        return self._negative / self.size

    @property
    def outlier_channel(self) -> int:
        """The channel with the largest peak."""
        return int(np.argmax(self._peaks))

    @property
    def outlier_ratio(self) -> float | None:
        """The largest channel's peak divided by the median one; channels that are always 0 are left out."""
        alive = self._peaks[self._peaks > 0]
        return float(alive.max() / np.median(alive)) if alive.size >= 4 else None


class Comparison:
    """One tensor of the file against one output of the reference, added up over batches."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._spread = Spread()
        self._signal = self._noise = 0.0
        self._at_limits = self._clipped = 0
        self._used: tuple[float, float] = math.inf, -math.inf  # smallest and largest integer
        self._scale, self._zero_point, self._levels = 0.0, 0, 0
        self._range: Range | None = None
        if tensor.scale:
            limits = np.iinfo(tensor.dtype)
            self._scale, self._zero_point, self._levels = tensor.scale[0], tensor.zero_point[0], limits.max - limits.min
            self._range = (limits.min - self._zero_point) * self._scale, (limits.max - self._zero_point) * self._scale

    def add(self, wanted: npt.NDArray[Any], stored: npt.NDArray[Any]) -> None:
        """Adds one batch.

        Args:
            wanted: the reference's values.
            stored: the file's values as they are stored, in any shape of the same size.
        """
        wanted = np.asarray(wanted, np.float64)
        stored = stored.reshape(wanted.shape)
        found = (stored.astype(np.float64) - self._zero_point) * self._scale if self._scale else stored.astype(np.float64)
        self._spread.add(wanted)
        self._signal += float((wanted**2).sum())
        self._noise += float(((wanted - found) ** 2).sum())
        if self._range is not None:
            limits = np.iinfo(stored.dtype)
            self._at_limits += sum(int((stored == limit).sum()) for limit in (limits.min, limits.max) if limit != self._zero_point)
            # By more than rounding and one level, as the last level of a fixed range (softmax: 255 / 256) stands for the end.
            low, high = self._range
            self._clipped += int(((wanted < low - 1.5 * self._scale) | (wanted > high + 1.5 * self._scale)).sum())
            self._used = min(self._used[0], int(stored.min())), max(self._used[1], int(stored.max()))

    def numbers(self, call: LayerCall, fused: Sequence[str] = ()) -> LayerNumbers:
        """The result for what was added.

        Args:
            call: the layer call whose output was compared.
            fused: see `LayerNumbers`.
        """
        size, is_quantized = self._spread.size, self._range is not None
        return LayerNumbers(
            name=call.name,
            class_name=call.class_name,
            call=call.number,
            sqnr=decibel(self._signal, self._noise),
            saturated=self._at_limits / size if is_quantized else None,
            range_used=(self._used[1] - self._used[0]) / self._levels if is_quantized else None,
            int8_range=self._range,
            float_range=self._spread.range,
            clipped=self._clipped / size if is_quantized else None,
            size=size,
            outlier_channel=self._spread.outlier_channel,
            outlier_ratio=self._spread.outlier_ratio,
            negative=self._spread.negative,
            tensor=self._tensor.name,
            index=self._tensor.index,
            fused=tuple(fused),
        )
