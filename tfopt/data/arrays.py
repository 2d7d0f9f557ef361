"""Arrays in memory or in files as samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfopt import sizes
from tfopt.data.conform import wrong_shape
from tfopt.data.samples import Sample, Samples
from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError
from tfopt.files import PathLike

_ROW = 128  # bytes of an array without its numbers


class Column(Protocol):
    """An array that is read row by row: `StoredArray`, `ImageFolder`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array, rows first."""
        ...

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Yields the rows at `indices`, which must rise."""
        ...


class _InMemory:
    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape

    def rows(self, indices: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        return (self._array[index] for index in indices)


def open_arrays(columns: Mapping[str, Any], specs: Sequence[TensorSpec], labels: Any, source: str) -> Samples:
    """Makes `Samples` of one array for each input.

    Args:
        columns: an array or a `Column` by input name, all with as many rows.
        specs: the model's inputs.
        labels: None, or anything that NumPy makes an array of numbers of, one row for each sample.
        source: the name of the data in messages.

    Raises:
        DataError: an array has no rows, the numbers of rows differ, or the samples do not fit an input.
    """
    opened = {name: _opened(column, name, source) for name, column in columns.items()}
    for name, column in opened.items():
        if not column.shape:
            raise DataError(f"Input {name!r} needs an array of samples. Received: a single number in {source}.")
    counts = {name: int(column.shape[0]) for name, column in opened.items()}
    count = counts[specs[0].name]
    if len(set(counts.values())) > 1:
        raise DataError(f"All inputs must have as many samples. Received: {counts} in {source}.")
    if not count:
        raise DataError(f"At least one sample is required. Received: no samples in {source}.")
    _require_shapes({name: tuple(column.shape) for name, column in opened.items()}, specs)
    targets = None if labels is None else _InMemory(_checked_labels(labels, count))

    def read(indices: Sequence[int] | None = None) -> Iterator[Sample]:
        chosen = range(count) if indices is None else indices
        streams = [opened[spec.name].rows(chosen) for spec in specs]
        answers = itertools.repeat(None) if targets is None else targets.rows(chosen)
        for *values, label in zip(*streams, answers):  # noqa: B905 (`repeat` has no end)
            yield {spec.name: value for spec, value in zip(specs, values, strict=True)}, label

    return Samples(source, count, read, labels is not None)


def _require_shapes(shapes: Mapping[str, tuple[int, ...]], specs: Sequence[TensorSpec]) -> None:
    """Raises `DataError` if the samples of an array, whose shapes are all alike, do not fit an input."""
    for spec in specs:
        shape = shapes[spec.name]
        if _fits(shape[1:], spec):
            continue
        text = wrong_shape({name: each[1:] for name, each in shapes.items()}, spec, specs, f"data of shape {shape}")
        raise DataError(f"{text} Is the batch axis missing? x[None] adds it." if _fits(shape, spec) else text)


def _fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    needed = spec.shape[1:]
    return len(shape) == len(needed) and all(size in (None, own) for own, size in zip(shape, needed, strict=True))


def read_labels(path: PathLike, column: Column, *, allow_large: bool) -> list[npt.NDArray[Any]]:
    """The rows of an array of labels in a file.

    Args:
        path: of the file, for messages.
        column: the labels.
        allow_large: whether they may take any memory.

    Raises:
        DataError: the labels are one number, or do not fit the free memory.
    """
    if not column.shape:
        raise DataError("As many labels as samples are required. Received: labels that are one number.")
    needed = column.shape[0] * (_ROW + sizes.array_room(column.shape[1:], 8))
    sizes.require_memory(needed, "the array of labels", allow_large=allow_large, path=path, error=DataError)
    return list(column.rows(range(column.shape[0])))


def _opened(column: Any, name: str, source: str) -> Column:
    if hasattr(column, "rows"):
        return column
    try:
        return _InMemory(np.asanyarray(column))
    except ValueError as error:  # lists of unequal lengths
        raise DataError(f"Input {name!r} needs one array. Received: {error} in {source}.") from error


def _checked_labels(labels: Any, count: int) -> npt.NDArray[Any]:
    if isinstance(labels, (dict, tuple)):
        raise DataError(
            "Labels must be one array, for the first output. "
            f"Received: a {type(labels).__name__} of {len(labels)}. Give the labels of the first output alone."
        )
    try:
        labels = np.asarray(labels)
    except ValueError as error:
        raise DataError(f"Labels must be one array, for the first output. Received: {error}.") from error
    if labels.dtype.kind not in "iubf":
        raise DataError(f"Labels must be class ids or one-hot rows. Received: an array of {labels.dtype}. Number the classes.")
    if labels.ndim == 0 or len(labels) != count:
        raise DataError(f"As many labels as samples, {count}, are required. Received: labels of shape {labels.shape}.")
    return labels
