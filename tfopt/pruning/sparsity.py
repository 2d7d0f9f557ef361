"""`sparsity_report()`: how many zeros a model has, and what they are worth."""

import dataclasses
import gzip

import numpy as np

from tfopt.keras_model.describe import require_built
from tfopt.keras_model.walk import walk_weights
from tfopt.pruning import masks
from tfopt.pruning.prunable_weights import Target


@dataclasses.dataclass(frozen=True)
class WeightSparsity:
    """The zeros of one weight."""

    name: str
    layer_class: str
    shape: tuple
    parameters: int
    zeros: int
    zero_outputs: int  # output channels that are zero as a whole

    @property
    def sparsity(self):
        """Fraction of zeros, in [0, 1]."""
        return self.zeros / self.parameters if self.parameters else 0.0


@dataclasses.dataclass(frozen=True)
class SparsityReport:
    """The zeros of a model: `weights` of rank 2 and more, each a `WeightSparsity`, and sizes in bytes."""

    weights: tuple
    parameters: int  # all of the model, biases and statistics too
    int8_bytes: int  # of the weights listed, one byte each, with one scale for each output
    int8_gzip_bytes: int  # the same in gzip

    @property
    def sparsity(self):
        """Fraction of zeros in all weights listed, in [0, 1]."""
        total = sum(weight.parameters for weight in self.weights)
        return sum(weight.zeros for weight in self.weights) / total if total else 0.0

    def __str__(self):
        rows = [("weight", "class", "shape", "parameters", "zeros")]
        for weight in self.weights:
            shape = " x ".join(map(str, weight.shape))
            rows.append((weight.name, weight.layer_class, shape, f"{weight.parameters:,}", f"{weight.sparsity:.2%}"))
        rows.append(("all", "", "", f"{sum(weight.parameters for weight in self.weights):,}", f"{self.sparsity:.2%}"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        outputs = sum(weight.zero_outputs for weight in self.weights)
        return "\n".join(
            [
                *lines,
                f"as int8 {self.int8_bytes:,} B, in gzip {self.int8_gzip_bytes:,} B",
                "Zeros make a file smaller in gzip (a download, an update), not on disk or in memory: every zero is stored.",
                "The CPU runtime multiplies by zeros like by other weights: none of these zeros makes it faster.",
                f"{outputs:,} output channels are zero as a whole."
                + (" Only a model without them would be smaller and faster." if outputs else ""),
            ]
        )


def sparsity_report(model):
    """Counts the zeros in the weights of a model and says what they bring.

    Example: `print(tfopt.sparsity_report(model))`

    Args:
        model: a built Keras 3 or Keras 2 model.

    Returns:
        A `SparsityReport`; `str()` of it is a table.
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
