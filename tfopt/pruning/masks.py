"""Patterns and masks: which weights are removed, by their magnitudes, in NumPy. A mask is False where a weight is zero.

A pattern looks at a weight as a matrix (inputs, outputs) and divides the matrix into units that are kept or removed whole. Each
unit has a score, and the units of the lowest score are removed first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from tfopt import errors


@dataclasses.dataclass(frozen=True)
class Unstructured:
    """Single weights, wherever they lie."""

    unit: ClassVar[int] = 1  # weights that are kept or removed together

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a matrix of this shape cannot have the pattern, or None."""
        return None

    def scores(self, matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The magnitude of every unit, shape (units,)."""
        return np.abs(matrix).ravel()

    def expand(self, kept: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """The mask of a matrix of `shape`, from which units are kept, shape (units,)."""
        return kept.reshape(shape)


@dataclasses.dataclass(frozen=True)
class Block:
    """Blocks of neighboring weights.

    A block has `shape` = (rows, columns), rows along the inputs and columns along the outputs. The kernel of a convolution counts
    as a matrix (height x width x channels in, channels out). The score of a block is the mean of its magnitudes. A weight does not
    fit if its sides are not multiples of the sides of the block.

    Example: `tfopt.PruningCallback(schedule, pattern=tfopt.Block((4, 1)))`

    Args:
        shape: two ints above 0.

    Raises:
        ArgumentError: `shape` is something else.
    """

    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not (isinstance(self.shape, tuple | list) and len(self.shape) == 2 and all(map(_is_positive_int, self.shape))):
            raise errors.ArgumentError(
                f"a block has two sides, ints above 0, as in Block((4, 1)). Received: Block({self.shape!r})."
            )
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))

    @property
    def unit(self) -> int:
        """Weights in a block."""
        return self.shape[0] * self.shape[1]

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a matrix of this shape cannot have the pattern, or None."""
        rows, columns = self.shape
        if shape[0] % rows or shape[1] % columns:
            return f"a matrix of {shape[0]} x {shape[1]} does not divide into blocks of {rows} x {columns}"
        return None

    def scores(self, matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The mean magnitude of every block, shape (units,)."""
        rows, columns = self.shape
        blocks = np.abs(matrix).reshape(matrix.shape[0] // rows, rows, matrix.shape[1] // columns, columns)
        return blocks.mean(axis=(1, 3)).ravel()

    def expand(self, kept: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """The mask of a matrix of `shape`, from which blocks are kept, shape (units,)."""
        rows, columns = self.shape
        kept = kept.reshape(shape[0] // rows, shape[1] // columns)
        return np.repeat(np.repeat(kept, rows, axis=0), columns, axis=1)


@dataclasses.dataclass(frozen=True)
class NByM:
    """At most `n` of every `m` consecutive weights along the inputs are kept, as in 2:4.

    The final sparsity is `1 - n / m`, and no other is possible. On the way there, the weights that are to go are removed in the
    order of their magnitudes. A weight does not fit if the number of its inputs is not a multiple of `m`.

    Example: `tfopt.PruningCallback(tfopt.PolynomialDecay(0.5), pattern=tfopt.NByM(2, 4))`

    Args:
        n: int in [1, m).
        m: int above 1.

    Raises:
        ArgumentError: `n` or `m` is something else.

    References:
        Zhou et al., Learning N:M fine-grained structured sparse neural networks, arXiv:2102.04010.
    """

    n: int
    m: int
    unit: ClassVar[int] = 1  # weights that are kept or removed together

    def __post_init__(self) -> None:
        if not (_is_positive_int(self.n) and _is_positive_int(self.m) and self.n < self.m):
            raise errors.ArgumentError(f"n of m weights are kept: ints, 0 < n < m, as in NByM(2, 4). Received: {self!r}.")

    @property
    def sparsity(self) -> float:
        """The only sparsity that the pattern can end with."""
        return 1 - self.n / self.m

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Why a matrix of this shape cannot have the pattern, or None."""
        if shape[0] % self.m:
            return f"{shape[0]} inputs do not divide into groups of {self.m}"
        return None

    def scores(self, matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The magnitude of every weight that may go, infinite for the `n` largest of each group; shape (units,)."""
        groups = np.abs(matrix).reshape(-1, self.m, matrix.shape[1])
        rank = np.argsort(np.argsort(groups, axis=1, kind="stable"), axis=1, kind="stable")
        return np.where(rank < self.m - self.n, groups, np.inf).ravel()

    def expand(self, kept: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """The mask of a matrix of `shape`, from which weights are kept, shape (units,)."""
        return kept.reshape(shape)


Pattern: TypeAlias = Unstructured | Block | NByM


def count_zeros(units: int, sparsity: float) -> int:
    """How many of `units` are removed at a sparsity: `units - max(1, round(units (1 - sparsity)))`, half to even as in tfmot."""
    return units - max(1, round(units * (1 - sparsity)))


def remove_lowest(scores: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.bool_]:
    """Which units are kept when the `count` lowest are removed; of equal scores the first ones are removed first.

    Args:
        scores: shape (units,).
        count: in [0, units].

    Returns:
        Array of shape (units,).
    """
    kept = np.ones(len(scores), bool)
    if count:
        alive = scores[scores > 0]  # fewer from update to update, and selecting among equals is slow
        gone = len(scores) - len(alive)
        threshold = np.partition(alive, count - gone - 1)[count - gone - 1] if count > gone else 0
        kept = scores > threshold
        ties = np.flatnonzero(scores == threshold)
        surplus = len(scores) - int(kept.sum()) - count
        kept[ties[len(ties) - surplus :]] = True
    return kept


def make_masks(
    matrices: Sequence[npt.NDArray[np.floating]], pattern: Pattern, counts: Sequence[int] | int
) -> list[npt.NDArray[np.bool_]]:
    """The masks of several weights.

    Args:
        matrices: each of shape (inputs, outputs).
        pattern: a pattern that fits all matrices.
        counts: the number of units to remove from each matrix; or one int, the number of units to remove from all matrices
            together by one threshold.

    Returns:
        A mask for each matrix, of its shape.
    """
    scores = [pattern.scores(matrix) for matrix in matrices]
    if isinstance(counts, int):
        kept = np.split(remove_lowest(np.concatenate(scores), counts), np.cumsum([len(each) for each in scores])[:-1])
    else:
        kept = [remove_lowest(each, count) for each, count in zip(scores, counts, strict=True)]
    return [pattern.expand(each, matrix.shape) for each, matrix in zip(kept, matrices, strict=True)]


def to_matrix(array: npt.NDArray[Any], inputs: tuple[int, ...]) -> npt.NDArray[Any]:
    """A weight as a matrix (inputs, outputs).

    Args:
        array: a weight of any rank.
        inputs: the axes that are summed over; all other axes are outputs.
    """
    order = [*inputs, *(axis for axis in range(array.ndim) if axis not in inputs)]
    rows = int(np.prod([array.shape[axis] for axis in inputs]))
    return array.transpose(order).reshape(rows, -1)


def from_matrix(matrix: npt.NDArray[Any], shape: tuple[int, ...], inputs: tuple[int, ...]) -> npt.NDArray[Any]:
    """The inverse of `to_matrix`: an array of `shape`."""
    order = [*inputs, *(axis for axis in range(len(shape)) if axis not in inputs)]
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)
