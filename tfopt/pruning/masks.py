"""What to prune: from the magnitudes of weights to masks, in NumPy. A mask is False where a weight is zero.

A pattern looks at a weight as a matrix (inputs, outputs) and divides it into units that are kept or removed whole; each unit
has a score, and those of the lowest score go first.
"""

import dataclasses

import numpy as np

from tfopt import errors


@dataclasses.dataclass(frozen=True)
class Unstructured:
    """Single weights, wherever they lie."""

    unit = 1  # weights that are kept or removed together

    def misfit(self, shape):
        """Why a matrix of this shape cannot have the pattern, or None."""
        return

    def scores(self, matrix):
        """Magnitude of every unit, float array (units,)."""
        return np.abs(matrix).ravel()

    def expand(self, kept, shape):
        """Mask of a matrix, bool array of `shape`, from which units are kept, bool array (units,)."""
        return kept.reshape(shape)


@dataclasses.dataclass(frozen=True)
class Block:
    """Blocks of `shape` = (rows, columns) neighbouring weights, rows along the inputs and columns along the outputs.

    A convolution's kernel counts as a matrix (height x width x channels in, channels out). The score of a block is the mean of
    its magnitudes. A weight whose sides are no multiples of the block's does not fit.

    Example: `tfopt.PruningCallback(schedule, pattern=tfopt.Block((4, 1)))`

    Args:
        shape: two ints above 0.

    Raises:
        ArgumentError: `shape` is something else.
    """

    shape: tuple

    def __post_init__(self):
        if not (isinstance(self.shape, tuple | list) and len(self.shape) == 2 and all(map(_is_positive_int, self.shape))):
            raise errors.ArgumentError(
                f"a block has two sides, ints above 0, as in Block((4, 1)). Received: Block({self.shape!r})."
            )
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))

    @property
    def unit(self):
        """Weights in a block."""
        return self.shape[0] * self.shape[1]

    def misfit(self, shape):
        """Why a matrix of this shape cannot have the pattern, or None."""
        rows, columns = self.shape
        if shape[0] % rows or shape[1] % columns:
            return f"a matrix of {shape[0]} x {shape[1]} does not divide into blocks of {rows} x {columns}"
        return None

    def scores(self, matrix):
        """Mean magnitude of every block, float array (units,)."""
        rows, columns = self.shape
        blocks = np.abs(matrix).reshape(matrix.shape[0] // rows, rows, matrix.shape[1] // columns, columns)
        return blocks.mean(axis=(1, 3)).ravel()

    def expand(self, kept, shape):
        """Mask of a matrix, bool array of `shape`, from which units are kept, bool array (units,)."""
        rows, columns = self.shape
        kept = kept.reshape(shape[0] // rows, shape[1] // columns)
        return np.repeat(np.repeat(kept, rows, axis=0), columns, axis=1)


@dataclasses.dataclass(frozen=True)
class NByM:
    """At most `n` of every `m` weights that follow each other along the inputs are left, as in 2:4.

    Its sparsity is `1 - n / m` and can be no other in the end. On the way there, the weights that are to go are removed in the
    order of their magnitudes. A weight whose inputs are no multiple of `m` does not fit.

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
    unit = 1  # weights that are kept or removed together

    def __post_init__(self):
        if not (_is_positive_int(self.n) and _is_positive_int(self.m) and self.n < self.m):
            raise errors.ArgumentError(f"n of m weights are left: ints, 0 < n < m, as in NByM(2, 4). Received: {self!r}.")

    @property
    def sparsity(self):
        """The only sparsity that the pattern can end with."""
        return 1 - self.n / self.m

    def misfit(self, shape):
        """Why a matrix of this shape cannot have the pattern, or None."""
        if shape[0] % self.m:
            return f"{shape[0]} inputs do not divide into groups of {self.m}"
        return None

    def scores(self, matrix):
        """Magnitude of every weight that may go, infinite for the `n` largest of each group; float array (units,)."""
        groups = np.abs(matrix).reshape(-1, self.m, matrix.shape[1])
        rank = np.argsort(np.argsort(groups, axis=1, kind="stable"), axis=1, kind="stable")
        return np.where(rank < self.m - self.n, groups, np.inf).ravel()

    def expand(self, kept, shape):
        """Mask of a matrix, bool array of `shape`, from which units are kept, bool array (units,)."""
        return kept.reshape(shape)


def count_zeros(units, sparsity):
    """How many of `units` go at a sparsity: `units - max(1, round(units (1 - sparsity)))`, half to even as in tfmot."""
    return units - max(1, round(units * (1 - sparsity)))


def remove_lowest(scores, count):
    """Which units are kept when the `count` lowest go, bool array; among equals the first go first.

    Args:
        scores: float array (units,).
        count: int in [0, units].
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


def make_masks(matrices, pattern, counts):
    """The masks of several weights.

    Args:
        matrices: list of float arrays (inputs, outputs).
        pattern: `Unstructured`, `Block` or `NByM`, which fits them all.
        counts: list of ints, the units to remove from each, or one int, the units to remove from all together, by one
            threshold.

    Returns:
        list of bool arrays of the matrices' shapes.
    """
    scores = [pattern.scores(matrix) for matrix in matrices]
    if isinstance(counts, int):
        kept = remove_lowest(np.concatenate(scores), counts)
        kept = np.split(kept, np.cumsum([len(each) for each in scores])[:-1])
    else:
        kept = [remove_lowest(each, count) for each, count in zip(scores, counts, strict=True)]
    return [pattern.expand(each, matrix.shape) for each, matrix in zip(kept, matrices, strict=True)]


def to_matrix(array, inputs):
    """A weight as a matrix (inputs, outputs).

    Args:
        array: array of any rank.
        inputs: tuple of ints, the axes that are summed over; all others are outputs.
    """
    order = [*inputs, *(axis for axis in range(array.ndim) if axis not in inputs)]
    rows = int(np.prod([array.shape[axis] for axis in inputs]))
    return array.transpose(order).reshape(rows, -1)


def from_matrix(matrix, shape, inputs):
    """The inverse of `to_matrix`: an array of `shape`."""
    order = [*inputs, *(axis for axis in range(len(shape)) if axis not in inputs)]
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _is_positive_int(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0
