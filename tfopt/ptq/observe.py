"""Watch the tensors inside a float TFLite file over some samples: the range of each tensor and channel, and histograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfopt.ptq import ranges
from tfopt.tflite import flatbuffer

Batch = list[npt.NDArray[Any]]
"""One array (batch size, ...) for each input, in the file's order."""

Batches = Sequence[Batch]
"""Samples, cut into batches of the size that the file is made for."""


@dataclasses.dataclass(frozen=True)
class Ends:
    """How far one tensor reaches.

    Attributes:
        lowest, highest: (batches,), the smallest and the largest value in each batch.
        count: number of values in all batches.
    """

    lowest: npt.NDArray[np.float32]
    highest: npt.NDArray[np.float32]
    count: int


@dataclasses.dataclass(frozen=True)
class Activation(Ends):
    """One tensor over all samples; a channel is an element of the last axis.

    Attributes:
        low, high, mean: (channels,), the smallest and the largest value and the mean of each channel.
        histogram: of all values.
    """

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    histogram: ranges.Histogram

    @property
    def span(self) -> npt.NDArray[np.float32]:
        """(channels,), the largest magnitude in each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def each_batch(arrays: Sequence[npt.NDArray[Any]], size: int) -> Iterator[Batch]:
    """Yields batches of `size` samples, cut from arrays (n, ...); the last batch is filled up with the first samples."""
    count = len(arrays[0])
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        yield [array[rows] for array in arrays]


def as_batches(arrays: Sequence[npt.NDArray[Any]], size: int) -> list[Batch]:
    """All of `each_batch` at once, for `observe`, which needs them twice.

    Args:
        arrays: (n, ...), one for each input in the file's order.
        size: samples in a batch.
    """
    return list(each_batch(arrays, size))


def find_ends(content: bytes, batches: Batches) -> dict[int, Ends]:
    """Runs a float file and finds how far every float tensor reaches; quicker than `observe`.

    Args:
        content, batches: as for `observe`.

    Returns:
        Tensor index -> `Ends`, without tensors that hold NaN or infinity.
    """
    lowest: dict[int, list[np.float32]] = {}
    highest: dict[int, list[np.float32]] = {}
    counts: dict[int, int] = {}
    for tensors in _run(content, batches):
        for index, values in tensors:
            lowest.setdefault(index, []).append(values.min())
            highest.setdefault(index, []).append(values.max())
            counts[index] = counts.get(index, 0) + values.size
    found = {index: Ends(np.array(lowest[index]), np.array(highest[index]), count) for index, count in counts.items()}
    return {index: ends for index, ends in found.items() if np.isfinite([ends.lowest, ends.highest]).all()}


def observe(content: bytes, batches: Batches) -> dict[int, Activation]:
    """Runs a float file and watches every float tensor that is computed.

    Example:

    ```python
    seen = observe(calibrated, as_batches([images], size=1))
    seen[index].span                                         # the largest magnitude in each channel
    ```

    Args:
        content: a TFLite file whose inputs are not quantized.
        batches: the samples.

    Returns:
        Tensor index -> `Activation`, without tensors that hold NaN or infinity.
    """
    lows: dict[int, npt.NDArray[np.float32]] = {}
    highs: dict[int, npt.NDArray[np.float32]] = {}
    sums: dict[int, npt.NDArray[np.float64]] = {}
    lowest: dict[int, list[np.float32]] = {}
    highest: dict[int, list[np.float32]] = {}
    counts: dict[int, int] = {}
    for tensors in _run(content, batches):
        for index, values in tensors:
            rows = values.reshape(-1, values.shape[-1])
            low, high, total = rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0, dtype=np.float64)
            lows[index] = np.minimum(lows[index], low) if index in lows else low
            highs[index] = np.maximum(highs[index], high) if index in highs else high
            sums[index] = sums[index] + total if index in sums else total
            lowest.setdefault(index, []).append(low.min())
            highest.setdefault(index, []).append(high.max())
            counts[index] = counts.get(index, 0) + values.size
    finite = [index for index in lows if np.isfinite(lows[index]).all() and np.isfinite(highs[index]).all()]
    found = {index: ranges.Histogram(lows[index].min(), highs[index].max()) for index in finite}
    for tensors in _run(content, batches):  # a second time, as a histogram needs its range beforehand
        for index, values in tensors:
            if index in found:
                found[index].add(values.ravel())
    return {
        index: Activation(
            lowest=np.array(lowest[index]),
            highest=np.array(highest[index]),
            count=counts[index],
            low=lows[index],
            high=highs[index],
            mean=(sums[index] / len(batches)).astype(np.float32),
            histogram=histogram,
        )
        for index, histogram in found.items()
    }


def _run(content: bytes, batches: Batches) -> Iterator[list[tuple[int, npt.NDArray[np.float32]]]]:
    """Yields (index, values) of the inputs and of every float tensor that is computed, for each batch."""
    from ai_edge_litert import interpreter as litert

    # The delegate would hide the inner tensors, and without `preserve` they would share memory.
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    watched = inputs + [index for operator in flatbuffer.parse(content).operators for index in operator.outputs]
    kinds = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    watched = [index for index in dict.fromkeys(watched) if kinds.get(index) is np.float32]
    for batch in batches:
        for index, array in zip(inputs, batch, strict=True):
            interpreter.set_tensor(index, np.ascontiguousarray(array, kinds[index]))
        interpreter.invoke()
        values = ((index, interpreter.get_tensor(index)) for index in watched)
        yield [(index, array) for index, array in values if array.ndim and array.size]
