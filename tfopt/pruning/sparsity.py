"""`sparsity_report()`: how many zeros a model has, and what they are worth."""

from __future__ import annotations

import dataclasses
import gzip
from typing import TYPE_CHECKING

import numpy as np

from tfopt.keras_model.requirements import require_built
from tfopt.keras_model.weights import walk_weights
from tfopt.pruning import masks
from tfopt.pruning.prunable_weights import Target
from tfopt.reporting import units
from tfopt.reporting.tables import Block, Summarized, Table

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyModel


@dataclasses.dataclass(frozen=True)
class WeightSparsity:
    """The zeros of one weight."""

    name: str
    layer_class: str
    shape: tuple[int, ...]
    parameters: int
    zeros: int
    zero_outputs: int  # output channels that are zero as a whole

    @property
    def sparsity(self) -> float:
        """Fraction of zeros, in [0, 1]."""
        return self.zeros / self.parameters if self.parameters else 0.0


@dataclasses.dataclass(frozen=True)
class SparsityReport(Summarized):
    """The zeros of a model; `print` shows a table."""

    weights: tuple[WeightSparsity, ...]  # of rank 2 and more
    parameters: int  # of the whole model, with biases and statistics
    int8_bytes: int  # size of `weights` as int8, one byte each, with one scale for each output
    int8_gzip_bytes: int  # the same in gzip

    @property
    def sparsity(self) -> float:
        """Fraction of zeros in `weights`, in [0, 1]."""
        total = sum(weight.parameters for weight in self.weights)
        return sum(weight.zeros for weight in self.weights) / total if total else 0.0

    def __repr__(self) -> str:
        return (
            f"SparsityReport({units.percent(self.sparsity)} zeros in {units.plural(len(self.weights), 'weight')}, "
            f"int8 {units.byte_count(self.int8_bytes)}, in gzip {units.byte_count(self.int8_gzip_bytes)})"
        )

    def _summary(self) -> list[Block]:
        rows = [
            [
                weight.name,
                weight.layer_class,
                " x ".join(map(str, weight.shape)),
                f"{weight.parameters:,}",
                units.percent(weight.sparsity),
            ]
            for weight in self.weights
        ]
        total = sum(weight.parameters for weight in self.weights)
        rows.append(["all", "", "", f"{total:,}", units.percent(self.sparsity)])
        return [Table(["weight", "class", "shape", "parameters", "zeros"], rows), *self._remarks()]

    def _remarks(self) -> list[str]:
        found = [
            (weight.name.rpartition("/")[0] or weight.name, weight.zero_outputs) for weight in self.weights if weight.zero_outputs
        ]
        outputs = sum(count for _, count in found)
        where = ", ".join(f"{count} of {layer}" for layer, count in found[:5]) + (", ..." if len(found) > 5 else "")
        return [
            f"as int8 {units.byte_count(self.int8_bytes)}, in gzip {units.byte_count(self.int8_gzip_bytes)}",
            "Zeros make a file smaller in gzip (a download, an update), not on disk or in memory, where every zero is stored.",
            "The CPU runtime multiplies by zeros as by other weights: none of these zeros makes it faster.",
            f"{units.plural(outputs, 'output channel')} {'is' if outputs == 1 else 'are'} zero as a whole"
            + (f": {where}. A model without them would be smaller and faster." if outputs else "."),
        ]


def sparsity_report(model: AnyModel) -> SparsityReport:
    """Counts the zeros in the weights of a model and says what they are worth.

    Example: `print(tfopt.sparsity_report(model))`

    Args:
        model: a built Keras 3 or Keras 2 model.

    Returns:
        The zeros of each weight of rank 2 and more, and the sizes of all these weights.

    Raises:
        ArgumentError: `model` is not a built Keras model.
    """
    require_built(model)
    rows, stored = [], []
    for weight in walk_weights(model):
        if len(weight.variable.shape) < 2:
            continue
        value = np.asarray(weight.variable.numpy())
        inputs = Target(weight).inputs
        columns = masks.to_matrix(value.astype("float32"), inputs)
        rows.append(
            WeightSparsity(
                name=weight.name,
                layer_class=type(weight.layers[-1]).__name__,
                shape=tuple(value.shape),
                parameters=value.size,
                zeros=value.size - int(np.count_nonzero(value)),
                zero_outputs=int((~columns.any(axis=0)).sum()),
            )
        )
        largest = np.abs(columns).max(axis=0, initial=0)
        scale = np.where(largest > 0, largest / 127, 1)
        stored.append(masks.from_matrix(np.round(columns / scale).astype("int8"), value.shape, inputs).tobytes())
    content = b"".join(stored)
    return SparsityReport(
        weights=tuple(rows),
        parameters=sum(int(np.prod(variable.shape)) for variable in model.weights),
        int8_bytes=len(content),
        int8_gzip_bytes=len(gzip.compress(content, mtime=0)),
    )
