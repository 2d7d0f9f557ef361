"""Samples of a model's inputs, with labels where there are some."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError

Sample = tuple[dict[str, npt.NDArray[Any]], Any]
"""(inputs by name without batch dimension, label); the label is None where there is none."""


class Read(Protocol):
    """Reads samples."""

    def __call__(self, indices: Sequence[int] | None = None) -> Iterator[Sample]:
        """Yields the samples at `indices`, which must rise; all samples for None."""
        ...


@dataclasses.dataclass(frozen=True)
class Samples:
    """Data that are read on demand, one sample at a time.

    Example: `for inputs, label in samples.read([0, 5]): ...`

    Attributes:
        source: the name of the data in messages.
        count: number of samples; None where it is unknown until all are read.
        read: reads some or all samples, as often as it is called.
        labeled: whether samples come with labels.
        may_be_endless: whether reading all samples may never end: a generator, a repeated dataset.
        endless: whether reading all samples surely never ends.
    """

    source: str
    count: int | None
    read: Read
    labeled: bool
    may_be_endless: bool = False
    endless: bool = False


def bind(data: Any, specs: Sequence[TensorSpec], source: str) -> dict[str, Any]:
    """Assigns arrays to the inputs of a model.

    Args:
        data: one array for a model of one input; a tuple or list in the model's order, or a dict by input name.
        specs: the model's inputs.
        source: the name of the data in messages.

    Returns:
        Array by input name, in the model's order.

    Raises:
        DataError: the names or the number of arrays are not those of the inputs.
    """
    names = [spec.name for spec in specs]
    if isinstance(data, dict):
        if set(data) == set(names):
            return {name: data[name] for name in names}
        if len(data) == len(names) == 1 and set(data) == {"x"}:
            return {names[0]: data["x"]}
        raise DataError(f"The arrays must be named as the inputs, {names}. Received: {source} {_difference(names, data)}.")
    listed = isinstance(data, list) and len(data) == 1 and np.ndim(data[0]) == len(specs[0].shape)
    if len(names) == 1 and not isinstance(data, tuple) and not listed:
        return {names[0]: data}
    if not isinstance(data, (tuple, list)) or len(data) != len(names):
        parts = f"{len(data)} arrays" if isinstance(data, (tuple, list)) else f"one {type(data).__name__}"
        labels = isinstance(data, tuple) and len(data) == 2 and len(names) == 1
        remedy = " If the second one holds labels, leave them out and give the inputs alone, such as x_train." if labels else ""
        raise DataError(f"One array for each of the inputs {names} is required. Received: {parts} in {source}.{remedy}")
    return dict(zip(names, data, strict=True))


def _difference(names: Sequence[str], data: dict[str, Any]) -> str:
    """Which inputs `data` lacks and which of its names are no inputs, in words."""
    missing, unknown = sorted(set(names) - set(data)), sorted(set(data) - set(names), key=str)
    return " and ".join(
        [*([f"without {missing}"] if missing else []), *([f"with {unknown}, which the model does not have"] if unknown else [])]
    )
