"""Samples of a model's inputs, checked, with labels where there are some."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from tfopt.errors import DataError


@dataclasses.dataclass(frozen=True)
class Samples:
    """Data that are read when asked for, one sample (without batch dimension) at a time.

    Attributes:
        source: str, how messages name the data.
        count: int, or None where only reading tells.
        read: `read(indices)` yields (inputs, label) of those samples in rising order, of all for None. `inputs` is a dict by
            input name, `label` is None where there is none.
        labelled: bool, whether samples come with labels.
        may_be_endless: bool, whether reading all of them may never end: a generator, a repeated dataset.
        endless: bool, whether it surely does not.
    """

    source: str
    count: int | None
    read: Callable
    labelled: bool
    may_be_endless: bool = False
    endless: bool = False


def open_arrays(columns, specs, labels, source):
    columns = {name: column if hasattr(column, "rows") else _as_array(column, name, source) for name, column in columns.items()}
    for name, column in columns.items():
        if not column.shape:
            raise DataError(f"Input {name!r} needs an array of samples. Received: a single number in {source}.")
    counts = {name: int(column.shape[0]) for name, column in columns.items()}
    count = counts[specs[0].name]
    if len(set(counts.values())) > 1:
        raise DataError(f"All inputs must have as many samples. Received: {counts} in {source}.")
    _require_count(count, source)
    labels = _checked_labels(labels, count)

    def read(indices=None):
        indices = range(count) if indices is None else indices
        streams = [_rows(columns[spec.name], indices) for spec in specs]
        targets = itertools.repeat(None) if labels is None else _rows(labels, indices)
        for *values, label in zip(*streams, targets):  # noqa: B905 (`repeat` has no end)
            yield {spec.name: value for spec, value in zip(specs, values, strict=True)}, label

    return Samples(source, count, read, labels is not None)


def bind(data, specs, source):
    """Names the inputs: {input name: array}, in the model's order."""
    names = [spec.name for spec in specs]
    if isinstance(data, dict):
        if set(data) == set(names):
            return {name: data[name] for name in names}
        if len(data) == len(names) == 1 and set(data) == {"x"}:
            return {names[0]: data["x"]}
        missing, unknown = sorted(set(names) - set(data)), sorted(set(data) - set(names))
        raise DataError(
            f"The arrays must be named as the inputs, {names}. Received: {source} without {missing} and with {unknown}."
        )
    listed = isinstance(data, list) and len(data) == 1 and np.ndim(data[0]) == len(specs[0].shape)
    if len(names) == 1 and not isinstance(data, tuple) and not listed:
        return {names[0]: data}
    if not isinstance(data, (tuple, list)) or len(data) != len(names):
        parts = f"{len(data)} arrays" if isinstance(data, (tuple, list)) else f"one {type(data).__name__}"
        raise DataError(f"One array for each of the inputs {names} is required. Received: {parts} in {source}.")
    return dict(zip(names, data, strict=True))


def _as_array(column, name, source):
    try:
        return np.asanyarray(column)
    except ValueError as error:  # lists of unequal lengths
        raise DataError(f"Input {name!r} needs one array. Received: {error} in {source}.") from error


def _rows(column, indices):
    if hasattr(column, "rows"):
        return column.rows(indices)
    return (column[index] for index in indices)


def _checked_labels(labels, count):
    if labels is None:
        return None
    if isinstance(labels, (dict, tuple)):
        raise DataError(
            f"Labels must be one array, for the first output. Received: a {type(labels).__name__} of {len(labels)}. Give that one."
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


def _require_count(count, source):
    if not count:
        raise DataError(f"At least one sample is required. Received: none in {source}.")
