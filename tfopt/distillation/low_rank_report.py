"""How many parameters and multiplications a low rank saves, layer by layer."""

import dataclasses
import math

import numpy as np

from tfopt.distillation.factors import CLASSES, split
from tfopt.errors import ArgumentError
from tfopt.keras_model.walk import walk_layers


@dataclasses.dataclass(frozen=True)
class LowRankRow:
    """What became of a layer.

    Attributes:
        name: str, of the layer.
        rank: int.
        error: float, `||W - W_r|| / ||W||`, the Frobenius norm; of the weights as they are now.
        weights: pair of ints, before and after, biases left out.
        macs: pair of ints, multiplications of a sample before and after; None where sizes are open.
    """

    name: str
    rank: int
    error: float
    weights: tuple
    macs: tuple | None


@dataclasses.dataclass(frozen=True)
class LowRankReport:
    """What `low_rank` made of a model; `print` shows it as a table.

    Attributes:
        rows: tuple of `LowRankRow`.
    """

    rows: tuple

    def __str__(self):
        lines = [f"{'layer':24}{'rank':>6}{'error':>9}{'weights':>20}{'MACs':>26}"]
        for row in self.rows:
            macs = f"{row.macs[0]:,} -> {row.macs[1]:,}" if row.macs else "open"
            lines.append(f"{row.name:24}{row.rank:>6}{row.error:>9.4f}{f'{row.weights[0]:,} -> {row.weights[1]:,}':>20}{macs:>26}")
        known = [row.macs for row in self.rows if row.macs]
        total = f"{sum(each[0] for each in known):,} -> {sum(each[1] for each in known):,}"
        weights = [sum(row.weights[index] for row in self.rows) for index in (0, 1)]
        return "\n".join([*lines, f"{'together':39}{f'{weights[0]:,} -> {weights[1]:,}':>20}{total:>26}"])


def low_rank_report(model, small):
    """Compares the layers that `low_rank` changed with what they were.

    Example:

    ```python
    print(tfopt.low_rank_report(model, tfopt.low_rank(model, rank=0.25)))
    ```

    Args:
        model: the model that `low_rank` was given.
        small: the model that it returned, trained on or not.

    Returns:
        `LowRankReport`.

    Raises:
        ArgumentError: `small` does not come from `model`.
    """
    old, new = ({layer.name: layer for layer in walk_layers(each)} for each in (model, small))
    rows = []
    for name, layer in old.items():
        first, second = new.get(f"{name}_in"), new.get(name)
        if first is None or second is None or type(layer).__name__ not in CLASSES or f"{name}_in" in old:
            continue
        matrix, rank = split(layer)[0], first.kernel.shape[-1]
        product = first.kernel.numpy().reshape(-1, rank) @ second.kernel.numpy().reshape(rank, -1)
        error = float(np.linalg.norm(matrix - product) / max(np.linalg.norm(matrix), np.finfo("float32").tiny))
        sizes = matrix.size, rank * sum(matrix.shape)
        uses = positions(layer, matrix.shape[0])
        macs = None if uses is None else (uses * sizes[0], uses * sizes[1])
        rows.append(LowRankRow(name, rank, error, sizes, macs))
    if not rows:
        raise ArgumentError("`small` must be what low_rank made of `model`. Received: models without such layers.")
    return LowRankReport(tuple(rows))


def positions(layer, contracted):
    """How often a sample meets each weight of a layer, which sums over `contracted` values at once; None if that is open."""
    is_convolution = type(layer).__name__.startswith("Conv")
    try:
        shape = layer.output.shape[1:-1] if is_convolution else layer.input.shape[1:]
    except (AttributeError, ValueError):
        return None  # called more than once, or not in a graph
    if None in shape:
        return None
    return math.prod(shape) if is_convolution else math.prod(shape) // contracted
