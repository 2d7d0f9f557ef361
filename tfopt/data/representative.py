"""Representative data: drawn from samples and checked before the converter starts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tfopt.data.conform import conform
from tfopt.data.samples import Samples
from tfopt.data.signature import TensorSpec
from tfopt.errors import DataError

SYNTHETIC = "synthetic"
"""The word that stands for random numbers in place of data."""

ENDLESS_LIMIT = 100_000
"""Of data that may be endless, the number of samples that are read."""


@dataclasses.dataclass(frozen=True)
class Representative:
    """Samples that were drawn and fit the model.

    Attributes:
        arrays: array (n, ...) by input name, in the input's dtype.
        source: the name of the data in messages.
        notes: what a user should know about the data.
        calibrated: False for random numbers.
    """

    arrays: dict[str, npt.NDArray[Any]]
    source: str
    notes: tuple[str, ...]
    calibrated: bool = True

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest value of each float input, by its name; {} for random numbers."""
        arrays = self.arrays if self.calibrated else {}
        return {name: (float(array.min()), float(array.max())) for name, array in arrays.items() if array.dtype.kind == "f"}


def draw(samples: Samples, specs: Sequence[TensorSpec], count: int, seed: int) -> Representative:
    """Draws `count` samples, or all if there are fewer, from the whole set, each equally likely, and checks them.

    Data of unknown length are drawn by reservoir sampling (Vitter, 1985, "Random sampling with a reservoir", Algorithm R) in one
    pass with `count` samples in memory.

    Example: `draw(open_samples("images.npy", specs), specs, count=200, seed=0)`

    Args:
        samples: to draw from.
        specs: the model's inputs, without dimensions of None (the batch size does not matter).
        count: >= 1.
        seed: >= 0.

    Raises:
        DataError: a sample has the wrong shape or dtype, NaN or infinity, or all samples are one constant.
    """
    notes: dict[str, None] = {}
    generator = np.random.default_rng(seed)
    drawn: list[dict[str, npt.NDArray[Any]]] = []
    for place, index, inputs in _choose(samples, count, generator, notes):
        # Copied, as a row of a batch would keep the batch in memory.
        drawn[place : place + 1] = [{name: value.copy() for name, value in conform(inputs, specs, index, notes).items()}]
    arrays = {spec.name: np.stack([sample[spec.name] for sample in drawn]) for spec in specs}
    constant = [name for name, array in arrays.items() if array.min() == array.max()]
    if len(constant) == len(arrays):
        raise DataError(
            f"Representative data must vary. Received: {samples.source}, where every drawn value of {constant} is "
            f"{arrays[constant[0]].flat[0]}. Give real samples."
        )
    for name in constant:
        notes[f"input {name!r} is constant in the representative data"] = None
    return Representative(arrays, samples.source, tuple(notes))


def _choose(
    samples: Samples, count: int, generator: np.random.Generator, notes: dict[str, None]
) -> Iterator[tuple[int, int, dict[str, npt.NDArray[Any]]]]:
    """Yields (place among the drawn, index in the data, inputs); a later sample may take the place of an earlier one."""
    if samples.count is not None:
        chosen = np.sort(generator.choice(samples.count, min(count, samples.count), replace=False)).tolist()
        for place, (index, (inputs, _)) in enumerate(zip(chosen, samples.read(chosen), strict=True)):
            yield place, index, inputs
        return
    limit = ENDLESS_LIMIT if samples.may_be_endless else None
    for index, (inputs, _) in enumerate(itertools.islice(samples.read(), limit)):
        place = index if index < count else int(generator.integers(0, index + 1))
        if place < count:
            yield place, index, inputs
        if index + 1 == limit:
            notes[f"the representative data were drawn from the first {limit:,} samples"] = None


def synthetic(specs: Sequence[TensorSpec], count: int, seed: int) -> Representative:
    """Makes random numbers in place of data; the result is marked as uncalibrated.

    Example: `synthetic(specs, count=200, seed=0)`

    Args:
        specs: the model's inputs, without dimensions of None (the batch size does not matter).
        count: >= 1.
        seed: >= 0.

    Returns:
        Numbers uniform in [0, 1) for float inputs, zeros for others.
    """
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in specs:
        shape = (count, *cast(tuple[int, ...], spec.shape[1:]))
        is_float = np.dtype(spec.dtype).kind == "f"
        arrays[spec.name] = generator.random(shape).astype(spec.dtype) if is_float else np.zeros(shape, spec.dtype)
    note = "UNCALIBRATED: the ranges come from random numbers, so accuracy and SQNR say nothing about real data"
    return Representative(arrays, SYNTHETIC, (note,), calibrated=False)
