"""`low_rank_report()`: how many parameters and multiplications a low rank saves, layer by layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfopt.distillation.factors import CLASSES, split
from tfopt.errors import ArgumentError
from tfopt.keras_model.walk import short_names, walk
from tfopt.reporting.tables import Block, Summarized, Table
from tfopt.reporting.units import percent, plural

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class LowRankRow:
    """A layer that became two.

    Attributes:
        name: the name of the layer.
        rank: the rank of its kernel, at least 1.
        error: `||W - W_r|| / ||W||` in the Frobenius norm, for the weights as they are now.
        weights: number of weights before and after, without biases.
        macs: multiplications for one sample before and after; None if the model leaves sizes open.
    """

    name: str
    rank: int
    error: float
    weights: tuple[int, int]
    macs: tuple[int, int] | None


@dataclasses.dataclass(frozen=True, repr=False)
class LowRankReport(Summarized):
    """The layers that `low_rank` changed in a model; `print` shows them as a table.

    Attributes:
        rows: a `LowRankRow` for each layer.
    """

    rows: tuple[LowRankRow, ...]

    def __repr__(self) -> str:
        """The number of layers and of weights, in one line."""
        return f"LowRankReport({plural(len(self.rows), 'layer')}, weights {_change(_sum([row.weights for row in self.rows]))})"

    def _summary(self) -> list[Block]:
        rows: list[tuple[object, ...]] = [
            (row.name, row.rank, percent(row.error), _change(row.weights), _change(row.macs) if row.macs else "open")
            for row in self.rows
        ]
        weights = _sum([row.weights for row in self.rows])
        macs = _sum([row.macs for row in self.rows if row.macs])
        rows.append(("sum", None, None, _change(weights), _change(macs)))
        return [Table(("layer", "rank", "error", "weights", "multiplications"), rows)]


def _sum(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(before for before, _ in pairs), sum(after for _, after in pairs)


def _change(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,} -> {pair[1]:,}"


def low_rank_report(model: keras.Model, small: keras.Model) -> LowRankReport:
    """Compares the layers that `low_rank` changed with the layers before.

    Example:

    ```python
    print(tfopt.low_rank_report(model, tfopt.low_rank(model, rank=0.25)))
    ```

    Args:
        model: the model that `low_rank` was given.
        small: the model that it returned, before or after training.

    Returns:
        A `LowRankReport`.

    Raises:
        ArgumentError: `small` does not come from `model`.
    """
    old, new = ({place.path: place.layer for place in walk(each)} for each in (model, small))
    names, rows = short_names(model), []
    for name, layer in old.items():
        first, second = new.get(f"{name}_in"), new.get(name)
        if first is None or second is None or type(layer).__name__ not in CLASSES or f"{name}_in" in old:
            continue
        halves = split(layer)
        if halves is None:
            continue
        matrix, rank = halves.matrix, first.kernel.shape[-1]
        product = first.kernel.numpy().reshape(-1, rank) @ second.kernel.numpy().reshape(rank, -1)
        error = float(np.linalg.norm(matrix - product) / max(np.linalg.norm(matrix), np.finfo("float32").tiny))
        sizes = matrix.size, rank * sum(matrix.shape)
        uses = _uses(layer, matrix.shape[0])
        macs = None if uses is None else (uses * sizes[0], uses * sizes[1])
        rows.append(LowRankRow(names[id(layer)], rank, error, sizes, macs))
    if not rows:
        raise ArgumentError("`small` must be a model that low_rank made of `model`. Received: models that share no such layer.")
    return LowRankReport(tuple(rows))


def _uses(layer: keras.layers.Layer, contracted: int) -> int | None:
    """How often one sample meets each weight of a layer that sums over `contracted` values at once; None if sizes are open."""
    is_convolution = type(layer).__name__.startswith("Conv")
    try:
        shape = layer.output.shape[1:-1] if is_convolution else layer.input.shape[1:]
    except (AttributeError, ValueError):
        return None  # the layer is called more than once, or not in a graph
    if None in shape:
        return None
    return math.prod(shape) if is_convolution else math.prod(shape) // contracted
