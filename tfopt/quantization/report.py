"""`quantization_report()`: what is rounded in a quantization-aware model, to what, and what stays float for which reason."""

import dataclasses

from tfopt.keras_model.describe import layer_path
from tfopt.keras_model.requirements import require_built
from tfopt.keras_model.walk import sublayers
from tfopt.keras_model.weights import walk_weights
from tfopt.quantization import weights
from tfopt.quantization.bake import quantization_layers
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.wrapper import QuantizeWrapper


@dataclasses.dataclass(frozen=True)
class Row:
    """One weight or one tensor between layers.

    Attributes:
        name: str, such as `conv2d/kernel` or `conv2d_quantize`.
        bits: int; None where it stays float.
        grid: str, along what the scales differ.
        range: pair of floats, of tensors; None for weights, and where no range is known.
        reason: str, why it stays float or has no range; empty otherwise.
    """

    name: str
    bits: int | None
    grid: str
    range: tuple | None
    reason: str


@dataclasses.dataclass(frozen=True)
class QuantizationReport:
    """All weights and rounded tensors of a model; `str()` of it is a table.

    Attributes:
        weights, activations: tuples of `Row`.
    """

    weights: tuple
    activations: tuple

    @property
    def unseen(self):
        """Names of the tensors whose range no batch has told: the file needs representative data for them."""
        return tuple(row.name for row in self.activations if row.range is None)

    def __str__(self):
        rows = [("tensor", "bits", "scales", "range", "")]
        for row in (*(row for row in self.weights if row.reason != weights.OF_RANK_1), *self.activations):
            ends = "{:.4g} .. {:.4g}".format(*row.range) if row.range else ""
            rows.append((row.name, str(row.bits or "float"), row.grid, ends, row.reason))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def quantization_report(model):
    """Lists what is rounded in a model and what is not.

    Example: `print(tfopt.quantization_report(qat))`

    Args:
        model: what `quantize_aware` returned.

    Returns:
        A `QuantizationReport`.
    """
    require_built(model)
    rounded = {
        id(weight.variable): (grid, wrapper.weight_bits)
        for wrapper in quantization_layers(model)
        if isinstance(wrapper, QuantizeWrapper)
        for weight, grid in weights.grids(wrapper.layer)
    }
    ranges = {
        id(variable) for layer in quantization_layers(model) if isinstance(layer, FakeQuantize) for variable in layer.variables
    }
    listed = []
    for weight in walk_weights(model):
        if id(weight.variable) in ranges or "float" not in str(weight.variable.dtype):
            continue
        grid, bits = rounded.get(id(weight.variable), (_left_out(weight), None))
        if isinstance(grid, weights.Grid):
            listed.append(Row(weight.name, bits, str(grid), None, ""))
        else:
            listed.append(Row(weight.name, None, "", None, grid))
    return QuantizationReport(tuple(listed), tuple(_activations(model, ())))


def _activations(layer, around):
    for inner in sublayers(layer):
        if isinstance(inner, FakeQuantize):
            missing = "" if inner.range else "no batch has passed with values other than 0: train, or tfopt.calibrate"
            yield Row(layer_path((*around, inner)), inner.bits, "per tensor", inner.range, missing)
        yield from _activations(inner, (*around, inner))


def _left_out(weight):
    if len(weight.variable.shape) < 2:
        return weights.OF_RANK_1
    return "left out by include or exclude"
